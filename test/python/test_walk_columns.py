"""migrate_columns, rotate_columns and decrypt_columns: several columns in one pass."""

import random

import column_workload
import pytest
from column_database import key_ids
from column_workload import OPERATIONS, SEED, STATES, Target
from conftest import Connection, rows, value
from partitioned_table import (
    Procedure,
    begin,
    contents,
    count_updates,
    encrypt,
    make_table,
    start_writers,
    stop_writers,
)
from psycopg import errors
from waiting import wait_until

server = column_workload.server
target = column_workload.target

PLAIN = """
    CREATE TABLE customer (
        id bigint PRIMARY KEY, region text NOT NULL, ssn text, email text, n integer NOT NULL DEFAULT 0
    ) WITH (autovacuum_enabled = off)
"""


def make_ready(connection: Connection, operation: str) -> None:
    """Bring the table to where an operation on ``ssn`` and ``email`` can begin."""
    encrypt(connection, "ssn", "email")
    if operation != "migrate":
        connection.execute("CALL pgkeymgr.migrate_columns('customer')")


def states(connection: Connection) -> list[str]:
    """Return the states of the encrypted columns."""
    return [row[0] for row in rows(connection, "SELECT state::text FROM pgkeymgr.encrypted_columns ORDER BY 1")]


def check(connection: Connection, operation: str) -> None:
    """Check what an operation that has ended has made of the table."""
    assert rows(connection, "TABLE pgkeymgr.column_progress") == []
    if operation == "decrypt":
        assert states(connection) == []
        return
    assert states(connection) == ["encrypted", "encrypted"]
    assert value(connection, "SELECT count(*) FROM customer_encrypted WHERE num_nonnulls(ssn, email) > 0") == 0
    connection.execute("SET search_path = pgkeymgr, public")
    for column in ("ssn", "email"):
        query = f"SELECT max(id) FROM pgkeymgr.key WHERE name = 'public.customer.{column}'"
        assert key_ids(connection, "customer_encrypted", f"{column}_encrypted") == {value(connection, query)}
        assert rows(connection, f"SELECT * FROM verify_column('customer', '{column}')") == []
    connection.execute("RESET search_path")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_row_is_written_once(target: Target, operation: str) -> None:
    with target.session() as admin:
        expected = make_table(admin, 3_000, PLAIN)
        make_ready(admin, operation)
    written = "SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname IN ('customer', 'customer_encrypted')"
    with target.session() as admin:
        before = value(admin, written)
        Procedure(target, f"{operation}_columns('customer', ARRAY['ssn', 'email'], 300)").finish()
        # A session reports what it has written at its end.
        wait_until(lambda: value(admin, written) > before, "statistics")
        assert value(admin, written) - before == sum(row[1:] != (None, None) for row in expected.values())
        check(admin, operation)
        assert contents(admin) == expected


@pytest.mark.parametrize("operation", OPERATIONS)
def test_columns_that_are_not_equally_far(target: Target, operation: str) -> None:
    """A call for one column was stopped, and later rows of the other one have no value."""
    with target.session() as admin, target.session() as locker:
        expected = make_table(admin, 600, PLAIN)
        make_ready(admin, operation)
        begin(target, admin, f"{operation}_column('customer', 'ssn', 1)")
        begin(target, admin, f"{operation}_columns('customer', batch_size => 1)")
        locker.execute("BEGIN")
        locker.execute("SELECT FROM customer WHERE id = 599 FOR UPDATE")
        call = Procedure(target, f"{operation}_columns('customer', batch_size => 20)")
        wait_until(lambda: call.waits_for_last_row(admin), "it waits for the row")
        query = "SELECT column_name, operation, rows_done, rows_total FROM pgkeymgr.column_progress ORDER BY 1"
        emails, ssns = (sum(row[number] is not None for row in expected.values()) for number in (2, 1))
        assert rows(admin, query) == [
            ("email", STATES[operation], emails - 1, emails),
            ("ssn", STATES[operation], ssns - 1, ssns),
        ]
        locker.execute("COMMIT")
        call.finish()
        check(admin, operation)
        assert contents(admin) == expected


@pytest.mark.parametrize("operation", OPERATIONS)
def test_locked_rows_have_one_value(target: Target, operation: str) -> None:
    """For a row that it waits for, the need of the other column's operation is unknown to SQL."""
    with target.session() as admin, target.session() as locker:
        expected = make_table(admin, 600, PLAIN)
        make_ready(admin, operation)
        # The first rows are done before these are locked.
        late = [number for number in expected if number > 500]
        without_ssn = next(number for number in late if expected[number][1] is None and expected[number][2])
        without_email = next(number for number in late if expected[number][1] and expected[number][2] is None)
        begin(target, admin, f"{operation}_columns('customer', batch_size => 1)")
        locker.execute("BEGIN")
        locker.execute("SELECT FROM customer WHERE id IN (%s, %s) FOR UPDATE", [without_ssn, without_email])
        call = Procedure(target, f"{operation}_columns('customer', batch_size => 50)")
        wait_until(lambda: not call.is_alive() or call.waits_for_row(admin), "it waits for the row")
        locker.execute("COMMIT")
        call.finish()
        check(admin, operation)
        assert contents(admin) == expected


@pytest.mark.parametrize("operation", OPERATIONS)
def test_killed_while_others_write_and_call(target: Target, operation: str) -> None:
    chance = random.Random(f"{SEED} columns {operation}")  # noqa: S311
    with target.session() as admin:
        expected = make_table(admin, 3_000, PLAIN)
        make_ready(admin, operation)
    # A row that a writer has written can need nothing any more. Most rows are left for the procedure in any case.
    untouched = {number: row for number, row in expected.items() if number > 300}
    writers = start_writers(target, {n: expected[n] for n in expected.keys() - untouched.keys()}, 2)
    query = "SELECT coalesce(sum(rows_done), 0) FROM pgkeymgr.column_progress"
    for _ in range(2):
        call = Procedure(target, f"{operation}_columns('customer', batch_size => {chance.randrange(5, 15)})")
        with target.session() as watcher:
            goal = value(watcher, query) + chance.randrange(1, 500)
            wait_until(lambda: not call.is_alive() or value(watcher, query) >= goal, "progress")  # noqa: B023
            assert call.is_alive(), call.error
            call.kill()
            target.server.wait_until_recovered(watcher)
    calls = [
        Procedure(target, f"{operation}_columns('customer', batch_size => 30)"),
        Procedure(target, f"{operation}_column('customer', 'email', 50)"),
    ]
    for call in calls:
        call.finish()
    expected = untouched | stop_writers(writers)
    with target.session() as admin:
        check(admin, operation)
        assert contents(admin) == expected


def test_before_triggers_are_undone_for_all_columns(target: Target) -> None:
    """They fire for a caller who may not set session_replication_role."""
    with target.session() as admin, target.session("keeper") as keeper:
        expected = make_table(admin, 60, PLAIN)
        count_updates(admin)
        admin.execute("ALTER TABLE customer OWNER TO keeper")
        make_ready(admin, "migrate")
        for call in ("migrate_columns('customer')", "rotate_columns('customer', batch_size => 7)"):
            rows(keeper, f"CALL pgkeymgr.{call}")
            check(admin, "rotate")
            assert contents(admin) == expected
            assert value(admin, "SELECT sum(n) FROM customer") == 0


def versions(connection: Connection, name: str) -> int:
    """Count the versions of a key."""
    number = value(connection, f"SELECT count(*) FROM pgkeymgr.key WHERE name = '{name}'")
    assert isinstance(number, int)
    return number


def test_rotation_to_the_present_version(target: Target) -> None:
    """A version that somebody else has made: on the node that distributes the keys, for instance."""
    name = "public.customer.ssn"
    with target.session() as admin:
        expected = make_table(admin, 100, PLAIN)
        make_ready(admin, "rotate")
        made = value(admin, "SELECT pgkeymgr.supersede_data_key(%s::text)".replace("%s", f"'{name}'"))
        admin.execute("INSERT INTO customer VALUES (101, 'eu', 'new', 'new')")
        expected[101] = ("eu", "new", "new")
        before = dict(rows(admin, "SELECT id, xmin::text FROM customer_encrypted"))
        rows(admin, "CALL pgkeymgr.rotate_column('customer', 'ssn', supersede => false)")
        assert versions(admin, name) == 2
        check(admin, "rotate")
        assert contents(admin) == expected
        admin.execute("SET search_path = pgkeymgr, public")
        assert key_ids(admin, "customer_encrypted", "ssn_encrypted") == {made}
        admin.execute("RESET search_path")
        after = dict(rows(admin, "SELECT id, xmin::text FROM customer_encrypted"))
        assert after[101] == before[101]
        # Then there is nothing to do.
        rows(admin, "CALL pgkeymgr.rotate_columns('customer', supersede => false)")
        assert dict(rows(admin, "SELECT id, xmin::text FROM customer_encrypted")) == after
        assert versions(admin, name) == 2
        old = value(admin, f"SELECT min(id) FROM pgkeymgr.key WHERE name = '{name}'")
        admin.execute("SELECT pgkeymgr.destroy_data_key(%s, %s)", [old, name])
        assert contents(admin) == expected


def test_shared_key_is_superseded_once(target: Target) -> None:
    with target.session() as admin:
        expected = make_table(admin, 100, PLAIN)
        admin.execute("SELECT pgkeymgr.create_data_key('shared')")
        for column in ("ssn", "email"):
            admin.execute("SELECT pgkeymgr.encrypt_column('customer', %s, 'shared')", [column])
        rows(admin, "CALL pgkeymgr.migrate_columns('customer')")
        rows(admin, "CALL pgkeymgr.rotate_columns('customer', '{ssn,email}')")
        assert versions(admin, "shared") == 2
        admin.execute("SET search_path = pgkeymgr, public")
        assert len(key_ids(admin, "customer_encrypted", "ssn_encrypted || email_encrypted")) == 1
        assert contents(admin) == expected
        # The other column shares the version that is made for one of them.
        rows(admin, "CALL pgkeymgr.rotate_column('customer', 'ssn')")
        rows(admin, "CALL pgkeymgr.rotate_column('customer', 'email', supersede => false)")
        assert versions(admin, "shared") == 3
        newest = value(admin, "SELECT max(id) FROM pgkeymgr.key WHERE name = 'shared'")
        for column in ("ssn_encrypted", "email_encrypted"):
            assert key_ids(admin, "customer_encrypted", column) == {newest}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    ("columns", "sqlstate"),
    [
        ("'{}'", "22023"),
        ("'{NULL}'", "22000"),
        ("'{ssn,NULL}'", "22000"),
        ("'{ssn,n}'", "42704"),
        ("'{ssn,nothing}'", "42704"),
    ],
)
def test_calls_for_several_columns_are_refused(
    target: Target, operation: str, columns: str, sqlstate: str
) -> None:
    with target.session() as admin:
        make_table(admin, 10, PLAIN)
        make_ready(admin, operation)
        before = states(admin)
        with pytest.raises(errors.DatabaseError) as refusal:
            rows(admin, f"CALL pgkeymgr.{operation}_columns('customer', {columns})")
        assert refusal.value.sqlstate == sqlstate, refusal.value
        assert states(admin) == before
        assert rows(admin, "TABLE pgkeymgr.column_progress") == []
        if operation == "rotate":
            with pytest.raises(errors.DataException, match="supersede"):
                rows(admin, "CALL pgkeymgr.rotate_column('customer', 'ssn', supersede => NULL)")


def test_all_columns_or_none(target: Target) -> None:
    """No key is superseded if another column of the call is not ready."""
    with target.session() as admin:
        make_table(admin, 10, PLAIN)
        encrypt(admin, "ssn")
        rows(admin, "CALL pgkeymgr.migrate_columns('customer')")
        encrypt(admin, "email")
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match='"email" of customer is migrating'):
            rows(admin, "CALL pgkeymgr.rotate_columns('customer')")
        assert versions(admin, "public.customer.ssn") == 1
        # Of what is migrated, nothing is left to do.
        rows(admin, "CALL pgkeymgr.migrate_columns('customer', '{ssn,email,ssn}')")
        assert states(admin) == ["encrypted", "encrypted"]


def test_two_operations_begin_while_others_use_the_table(target: Target) -> None:
    """Each wants the table for itself at its beginning, and holds no lock on it while it waits for that."""
    with target.session() as admin, target.session() as user:
        expected = make_table(admin, 40, PLAIN)
        make_ready(admin, "decrypt")
        user.execute("BEGIN")
        user.execute("SELECT FROM customer")
        calls = [Procedure(target, f"decrypt_column('customer', '{column}')") for column in ("ssn", "email")]
        wait_until(lambda: all(call.notices for call in calls), "both wait for the table")
        user.execute("COMMIT")
        for call in calls:
            call.finish()
        check(admin, "decrypt")
        assert contents(admin) == expected
