"""migrate_column, rotate_column and decrypt_column with other sessions: locks, refusals, triggers, progress."""

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import column_workload
import psycopg
import pytest
from column_workload import (
    LIMITS,
    OPERATIONS,
    STATES,
    Call,
    Target,
    Workload,
    check_result,
    initial_rows,
    left,
    make_ready,
    make_table,
    needs,
    state_of,
)
from conftest import Connection, rows, value
from psycopg import errors
from waiting import wait_until

server = column_workload.server
target = column_workload.target
report = column_workload.report


@pytest.mark.parametrize("is_not_null", [False, True], ids=["nullable", "not null"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_two_sessions_at_once(target: Target, operation: str, is_not_null: bool) -> None:
    with target.session() as admin:
        expected = make_table(admin, 1_500)
        if is_not_null:
            expected = {number: (ssn or "", n) for number, (ssn, n) in expected.items()}
            admin.execute("UPDATE customer SET ssn = '' WHERE ssn IS NULL")
            admin.execute("ALTER TABLE customer ALTER ssn SET NOT NULL")
        for _ in range(2):
            make_ready(admin, operation)
            for call in [Call(target, operation, 50), Call(target, operation, 200)]:
                call.finish()
            check_result(admin, operation, expected)
            found = {number: (ssn, n) for number, ssn, n in rows(admin, "SELECT id, ssn, n FROM customer")}
            assert found == expected


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_locked_row_holds_up_nobody_else(target: Target, operation: str, report: Callable[[str], None]) -> None:
    with target.session() as admin, target.session() as locker:
        initial = make_table(admin, 6_000)
        make_ready(admin, operation)
        # Both are locked, and one of them is written, which encrypts or decrypts it as well.
        last, other = sorted((number for number, (ssn, _) in initial.items() if ssn), reverse=True)[:2]
        with Workload(target, initial, options=LIMITS, writers=2, readers=2, reserved=[last, other]) as workload:
            # It begins, so that the row is locked when it has; while it begins, it lets others end first.
            call = Call(target, operation, 10)
            call.wait_for(admin, 1)
            admin.execute("SELECT pg_cancel_backend(%s)", [call.pid])
            with pytest.raises(errors.QueryCanceled):
                call.finish()
            locker.execute("BEGIN")
            locker.execute(f"SELECT FROM customer WHERE id IN ({last}, {other}) FOR UPDATE".encode())
            call = Call(target, operation, 300)
            waits = f"SELECT wait_event IN ('transactionid', 'tuple') FROM pg_stat_activity WHERE pid = {call.pid}"
            wait_until(lambda: value(admin, waits), "it waits for the row")
            workload.work(500)
            assert call.is_alive(), call.error
            assert left(admin, operation) > 0
            locker.execute(f"UPDATE customer SET n = n + 1 WHERE id = {last}".encode())
            state = workload.model.note(last, (initial[last][0], initial[last][1] + 1))
            locker.execute("COMMIT")
            workload.model.confirm(last, state)
            call.finish()
            workload.settle(admin)
            check_result(admin, operation, workload.model.rows())
            workload.resume()
        report(f"{operation}, a row locked: the longest transaction of others took {workload.longest:.2f} s")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_open_transactions_delay_the_end_only(
    target: Target, operation: str, report: Callable[[str], None]
) -> None:
    """One transaction has read the table. The other has not yet, but will see it as it was before."""
    with target.session() as admin, target.session() as reader, target.session() as old:
        initial = make_table(admin, 4_000)
        make_ready(admin, operation)
        with Workload(target, initial, options=LIMITS, writers=2, readers=2) as workload:
            workload.pause()
            before = workload.model.rows()
            old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            old.execute("SELECT")
            workload.resume()
            call = Call(target, operation, 50)
            call.wait_for(admin, 1)
            reader.execute("BEGIN")
            reader.execute("SELECT count(ssn) FROM customer")
            if operation == "rotate":
                # Nothing is dropped: it need not wait.
                call.finish()
            else:
                wait_until(lambda: left(admin, operation) == 0, "all rows")
                workload.work(500)
                assert call.is_alive(), call.error
                assert state_of(admin) == STATES[operation]
                reader.execute("SELECT count(ssn) FROM customer")
            reader.execute("COMMIT")
            workload.work(200)
            seen = {number: (ssn, n) for number, ssn, n in rows(old, "SELECT id, ssn, n FROM customer")}
            old.execute("COMMIT")
            assert seen == before
            call.finish()
            workload.settle(admin)
            check_result(admin, operation, workload.model.rows())
            workload.resume()
        report(f"{operation}, a long reader: the longest transaction of others took {workload.longest:.2f} s")


def test_rotation_waits_for_writers_under_the_old_key(target: Target) -> None:
    """A row that a transaction has written, and not committed yet, would stay under the old version."""
    with target.session() as admin, target.session() as writer:
        make_table(admin, 100)
        make_ready(admin, "rotate")
        writer.execute("BEGIN")
        writer.execute("INSERT INTO customer (ssn, n) VALUES ('late', 1)")
        call = Call(target, "rotate")
        wait_until(lambda: state_of(admin) == STATES["rotate"], "the new version of the key")
        # Without the wait, it would end now.
        call.join(2)
        assert call.is_alive(), call.error
        writer.execute("COMMIT")
        call.finish()
        keys = rows(admin, "SELECT (pgkeymgr.token_info(ssn_encrypted)).key_id FROM customer_encrypted")
        assert len(keys) == 101
        assert len({*keys} - {(None,)}) == 1


def test_no_update_is_lost(target: Target) -> None:
    """Sessions count up the same rows, while all the procedures go by."""
    sessions, times = 6, 120
    with target.session() as admin:
        initial = make_table(admin, 500)
        admin.execute("SELECT pgkeymgr.encrypt_column('customer', 'ssn')")
        retries: Counter[int] = Counter()
        failures: list[str] = []

        def count_up(number: int) -> None:
            try:
                with target.session() as connection:
                    for _ in range(times):
                        while True:
                            try:
                                connection.execute("UPDATE customer SET n = n + 1 WHERE id = 2")
                                break
                            except errors.SerializationFailure:
                                retries[number] += 1
            except psycopg.Error as error:
                failures.append(f"{error.sqlstate}: {error}")

        threads = [threading.Thread(target=count_up, args=(number,), daemon=True) for number in range(sessions)]
        for thread in threads:
            thread.start()
        for operation in OPERATIONS:
            Call(target, operation, 20).finish()
        for thread in threads:
            thread.join(60)
        assert not failures
        assert sum(retries.values()) > 0
        assert value(admin, "SELECT n FROM customer WHERE id = 2") == initial[2][1] + sessions * times


# What is refused

SNAPSHOT = """
    SELECT (SELECT array_agg(b::text ORDER BY id) FROM customer_encrypted AS b),
        (SELECT array_agg(c::text) FROM pgkeymgr.encrypted_column AS c),
        (SELECT array_agg(o::text) FROM pgkeymgr.column_operation AS o),
        (SELECT array_agg(k::text ORDER BY id) FROM pgkeymgr.key AS k)
"""


@contextlib.contextmanager
def refused(admin: Connection, code: str, match: str = "") -> Iterator[None]:
    """Check that what is in the block is refused, and that nothing has changed."""
    before = rows(admin, SNAPSHOT)
    with pytest.raises(psycopg.Error, match=match) as refusal:
        yield
    assert str(refusal.value.sqlstate).startswith(code), refusal.value
    assert rows(admin, SNAPSHOT) == before


@pytest.mark.parametrize("operation", OPERATIONS)
def test_calls_of_procedures_are_refused(target: Target, operation: str) -> None:
    call = f"CALL pgkeymgr.{operation}_column('customer', 'ssn')"
    with target.session() as admin, target.session("keeper") as keeper, target.session("stranger") as stranger:
        make_table(admin, 300)
        admin.execute("ALTER TABLE customer OWNER TO keeper")
        make_ready(admin, operation)
        for begin in ("BEGIN", "BEGIN ISOLATION LEVEL SERIALIZABLE", "BEGIN READ ONLY"):
            admin.execute(begin.encode())
            with target.session() as watcher, refused(watcher, "0A000", "cannot run inside a transaction block"):
                rows(admin, call)
            admin.execute("ROLLBACK")
        admin.execute(
            f"CREATE FUNCTION wrapped() RETURNS void LANGUAGE plpgsql AS $$ BEGIN {call}; END $$".encode()
        )
        with refused(admin, "0A000", "cannot run inside a transaction block"):
            rows(admin, "SELECT wrapped()")
        with refused(admin, "42501", "must be owner"):
            rows(stranger, call)
        name = value(admin, "SELECT key_name FROM pgkeymgr.encrypted_columns")
        for usage in ("encrypt", "decrypt"):
            admin.execute("SELECT pgkeymgr.revoke_data_key(%s, 'keeper')", [name])
            other = "decrypt" if usage == "encrypt" else "encrypt"
            admin.execute("SELECT pgkeymgr.grant_data_key(%s, 'keeper', %s)", [name, [other]])
            with refused(admin, "42501", "permission denied"):
                rows(keeper, call)
        admin.execute("SELECT pgkeymgr.grant_data_key(%s, 'keeper')", [name])
        for bad in ("0", "-1", "NULL", "1000001"):
            with refused(admin, "22", "batch_size"):
                rows(admin, call.replace(")", f", {bad})"))
        for relation, column in (("customer", "n"), ("customer", "nothing"), ("ledger", "number")):
            with refused(admin, "42704", "encrypted"):
                rows(admin, f"CALL pgkeymgr.{operation}_column('{relation}', '{column}')")
        for arguments in ("NULL, 'ssn'", "'customer', NULL"):
            with refused(admin, "22", "must not be NULL"):
                rows(admin, f"CALL pgkeymgr.{operation}_column({arguments})")
        # And it works for who may.
        rows(keeper, call)
        check_result(admin, operation, initial_rows(300))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_refused_where_rows_would_be_overlooked(target: Target, operation: str) -> None:
    """FORCE ROW LEVEL SECURITY hides rows from their owner: it would drop a column with values in it."""
    call = f"CALL pgkeymgr.{operation}_column('customer', 'ssn')"
    with target.session() as admin, target.session("keeper") as keeper:
        initial = make_table(admin, 300)
        admin.execute("ALTER TABLE customer OWNER TO keeper")
        make_ready(admin, operation)
        admin.execute("ALTER TABLE customer_encrypted ENABLE ROW LEVEL SECURITY")
        admin.execute("ALTER TABLE customer_encrypted FORCE ROW LEVEL SECURITY")
        admin.execute("CREATE POLICY visible ON customer_encrypted USING (n < 3)")
        assert value(keeper, "SELECT count(*) FROM customer") < 200
        with refused(admin, "42501", "row-level security"):
            rows(keeper, call)
        # It does for the superuser, whom no policy concerns.
        rows(admin, call)
        check_result(admin, operation, initial)
        assert {number: (ssn, n) for number, ssn, n in rows(admin, "SELECT id, ssn, n FROM customer")} == initial


TRIGGERS = """
    CREATE TABLE audit (id bigint);
    GRANT ALL ON audit TO PUBLIC;
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        NEW.updated := now();
        RETURN NEW;
    END $$;
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO public.audit VALUES (NEW.id);
        RETURN NULL;
    END $$;
    CREATE TRIGGER touch BEFORE UPDATE ON customer FOR EACH ROW EXECUTE FUNCTION touch();
    CREATE TRIGGER note AFTER UPDATE ON customer FOR EACH ROW EXECUTE FUNCTION note();
"""


@pytest.mark.parametrize("operation", OPERATIONS)
def test_triggers_do_not_fire_for_batches(target: Target, operation: str) -> None:
    with target.session() as admin, target.session("keeper") as keeper:
        make_table(admin, 400, ", updated timestamptz NOT NULL DEFAULT '2020-01-01'")
        rows(admin, TRIGGERS)
        admin.execute("ALTER TABLE customer OWNER TO keeper")
        make_ready(admin, operation)
        touched = "SELECT array_agg(id) FROM customer WHERE updated > '2021-01-01'"
        # The effect of BEFORE triggers on a row can be undone; that of AFTER triggers elsewhere cannot.
        with refused(admin, "42501", "triggers"):
            rows(keeper, f"CALL pgkeymgr.{operation}_column('customer', 'ssn')")
        admin.execute("UPDATE customer SET n = n WHERE id = 7")
        rows(admin, f"CALL pgkeymgr.{operation}_column('customer', 'ssn', 30)")
        assert value(admin, touched) == [7]
        assert rows(admin, "TABLE audit") == [(7,)]
        # Afterwards, they do their work again.
        admin.execute("UPDATE customer SET n = n WHERE id = 8")
        assert sorted(value(admin, touched)) == [7, 8]
        assert rows(admin, "TABLE audit") == [(7,), (8,)]


@pytest.mark.parametrize("mode", ["ALWAYS", "REPLICA"])
def test_triggers_of_replication_do_not_fire_either(target: Target, mode: str) -> None:
    """These heed session_replication_role in their own way: who cannot keep them from firing has to refuse."""
    with target.session() as admin:
        make_table(admin, 50, ", updated timestamptz NOT NULL DEFAULT '2020-01-01'")
        rows(admin, TRIGGERS)
        make_ready(admin, "migrate")
        admin.execute(f"ALTER TABLE customer_encrypted ENABLE {mode} TRIGGER note".encode())
        with contextlib.suppress(errors.FeatureNotSupported, errors.InsufficientPrivilege):
            rows(admin, "CALL pgkeymgr.migrate_column('customer', 'ssn')")
        assert rows(admin, "TABLE audit") == []


# How far it is, and what it takes


@pytest.mark.parametrize("operation", OPERATIONS)
def test_progress_is_true(target: Target, operation: str) -> None:
    with target.session() as admin:
        make_table(admin, 20_000)
        make_ready(admin, operation)
        before = left(admin, operation) if operation == "migrate" else 18_000
        assert before == 18_000
        call = Call(target, operation, 20)
        found = []
        query = (
            "SELECT rows_done, rows_total, rows_per_second, extract(epoch FROM eta),"
            f" (SELECT count(*) FROM customer_encrypted WHERE {needs(operation)})"
            " FROM pgkeymgr.column_progress"
        )
        while call.is_alive():
            with contextlib.suppress(errors.UndefinedColumn, errors.UndefinedTable):
                found += rows(admin, query)
        call.finish()
        found = [sample for sample in found if 0 < sample[0] < sample[1]]
        assert len({done for done, *_ in found}) > 10
        for done, total, rate, eta, todo in found:
            assert total == before
            assert abs(done / total - (before - todo) / before) <= 0.05
            assert rate > 0
            # At the rate so far, the rest takes as long as eta says.
            assert abs(float(eta) * rate - (total - done)) <= 0.05 * total


def memory(pid: int) -> int:
    """Return the bytes of memory that a backend has for itself: all but the shared buffers that it has touched."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return 1024 * sum(int(status[name].split()[0]) for name in ("RssAnon", "RssFile"))


def test_memory_is_bounded(target: Target, report: Callable[[str], None]) -> None:
    """With 200,000 rows, or as many as ``$PGKEYMGR_TEST_ROWS`` says."""
    count = int(os.environ.get("PGKEYMGR_TEST_ROWS", "200000"))
    with target.session() as admin:
        admin.execute("CREATE TABLE customer (id bigint PRIMARY KEY, ssn text, n integer NOT NULL)")
        numbers = f"generate_series(1, {count}) AS i"
        admin.execute(f"INSERT INTO customer SELECT i, 'value of ' || i, i % 7 FROM {numbers}".encode())
        for operation in OPERATIONS:
            make_ready(admin, operation)
            call = Call(target, operation, 1000)
            call.wait_for(admin, 20_000)
            early = memory(call.pid)
            late = early
            while call.is_alive():
                with contextlib.suppress(FileNotFoundError, KeyError):
                    late = memory(call.pid)
                call.join(0.01)
            call.finish()
            report(
                f"{operation}, {count} rows: {call.seconds:.1f} s, {early / 2**20:.1f} MiB after 20,000 rows, "
                f"{late / 2**20:.1f} MiB at the end"
            )
            assert abs(late - early) < 20 * 2**20
        wrong = value(admin, "SELECT count(*) FROM customer WHERE ssn <> 'value of ' || id OR ssn IS NULL")
        assert wrong == 0
