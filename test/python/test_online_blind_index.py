"""build_blind_index: a blind index that is filled in batches, while others read and write."""

import random

import column_workload
import pytest
from column_workload import SEED, Target
from conftest import Connection, rows, value
from partitioned_table import (
    PARTITIONS,
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
    )
"""
INDEXES = """
    SELECT c.relname::text, i.indisvalid FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
    WHERE c.relname ~ 'bidx' ORDER BY 1
"""


def make_ready(connection: Connection, count: int, ddl: str) -> dict[int, tuple[str, str | None, str | None]]:
    """Make the table, with both columns encrypted."""
    expected = make_table(connection, count, ddl)
    encrypt(connection, "ssn", "email")
    connection.execute("CALL pgkeymgr.migrate_columns('customer')")
    return expected


def make_index(connection: Connection, more: str = "") -> list[str]:
    """Run the statements that make the index, and return them."""
    query = f"SELECT * FROM pgkeymgr.blind_index_statements('customer', 'email'{more})"
    statements = [row[0] for row in rows(connection, query)]
    for statement in statements:
        connection.execute(statement.encode())
    assert rows(connection, query) == []
    return statements


def find(connection: Connection, email: str) -> list[int]:
    """Return the rows that a search finds."""
    query = "SELECT id FROM customer WHERE email_bidx = pgkeymgr.blind_index('customer', 'email', %s) ORDER BY 1"
    return [row[0] for row in connection.execute(query, [email])]


def findings(connection: Connection, check: str) -> list[tuple[str, str | None]]:
    """Return the findings of a check of the doctor."""
    found = rows(
        connection, f"SELECT status, object FROM pgkeymgr.doctor() WHERE check_name = '{check}' ORDER BY 1, 2"
    )
    return [(status, name) for status, name in found]


@pytest.mark.parametrize("ddl", [PLAIN, PARTITIONS], ids=["plain", "partitioned"])
def test_built_with_kills_while_others_write(target: Target, ddl: str) -> None:
    chance = random.Random(f"{SEED} index")  # noqa: S311
    with target.session() as admin:
        expected = make_ready(admin, 3_000, ddl)
    # Writers fill the index of the rows that they write. Most rows are left for the procedure in any case.
    untouched = {number: row for number, row in expected.items() if number > 300}
    writers = start_writers(target, {n: expected[n] for n in expected.keys() - untouched.keys()}, 2)
    query = "SELECT coalesce(sum(rows_done), 0) FROM pgkeymgr.column_progress WHERE operation = 'indexing'"
    normalize = ", 'casefold'"
    for _ in range(2):
        with target.session() as watcher:
            goal = value(watcher, query) + chance.randrange(20, 200)
            # It takes hundreds of batches, so that it still works when a busy machine has seen its progress.
            call = Procedure(target, f"build_blind_index('customer', 'email'{normalize}, batch_size => 5)")
            wait_until(lambda: not call.is_alive() or value(watcher, query) >= goal, "progress")  # noqa: B023
            assert call.is_alive(), call.error
            call.kill()
            target.server.wait_until_recovered(watcher)
        # It goes on with the normalization with which it has begun.
        normalize = ""
        with target.session() as admin:
            with pytest.raises(errors.ObjectNotInPrerequisiteState, match="is being built"):
                rows(admin, "SELECT pgkeymgr.blind_index('customer', 'email', 'email 1')")
            assert (
                rows(admin, "SELECT FROM pg_attribute WHERE attrelid = 'customer'::regclass AND attnum = 6") == []
            )
            columns = "SELECT blind_index FROM pgkeymgr.encrypted_columns WHERE column_name = 'email'"
            assert rows(admin, columns) == [(None,)]
            assert findings(admin, "columns_unfinished") == [("warning", "public.customer.email")]
            assert rows(admin, "SELECT * FROM pgkeymgr.verify_column('customer', 'email')") == []
    call = Procedure(target, "build_blind_index('customer', 'email', batch_size => 100)")
    call.finish()
    assert any("blind_index_statements('public.customer', 'email')" in notice for notice in call.notices)
    with target.session() as admin:
        assert findings(admin, "blind_indexes") == [("notice", "public.customer.email")]
        statements = make_index(admin)
        assert sum("CREATE INDEX CONCURRENTLY" in each for each in statements) == (1 if ddl == PLAIN else 4)
        assert findings(admin, "blind_indexes") == [("ok", None)]
    expected = untouched | stop_writers(writers)
    with target.session() as admin:
        assert rows(admin, "TABLE pgkeymgr.column_progress") == []
        assert contents(admin) == expected
        assert rows(admin, "SELECT * FROM pgkeymgr.verify_column('customer', 'email')") == []
        missing = "SELECT count(*) FROM customer WHERE (email IS NULL) <> (email_bidx IS NULL)"
        assert value(admin, missing) == 0
        number, (_, _, email) = next(pair for pair in expected.items() if pair[1][2])
        assert find(admin, (email or "").upper()) == [number]
        admin.execute("SET enable_seqscan = off")
        plan = rows(
            admin,
            "EXPLAIN SELECT id FROM customer WHERE email_bidx = pgkeymgr.blind_index('customer', 'email', 'a')",
        )
        assert any("email_bidx_idx" in line for (line,) in plan), plan
        assert all(is_valid for _, is_valid in rows(admin, INDEXES))
        # A call after the end does nothing, and one with another normalization is refused.
        rows(admin, "CALL pgkeymgr.build_blind_index('customer', 'email', 'casefold')")
        with pytest.raises(errors.DuplicateObject):
            rows(admin, "CALL pgkeymgr.build_blind_index('customer', 'email', 'digits')")
        admin.execute("SELECT pgkeymgr.drop_blind_index('customer', 'email')")
        assert rows(admin, INDEXES) == []


def test_statements_are_refused_while_a_blind_index_is_built(target: Target) -> None:
    with target.session() as admin:
        expected = make_ready(admin, 400, PLAIN)
        begin(target, admin, "build_blind_index('customer', 'email', batch_size => 1)")
        for statement in (
            "CALL pgkeymgr.rotate_column('customer', 'email')",
            "SELECT pgkeymgr.add_blind_index('customer', 'email')",
            "SELECT pgkeymgr.blind_index('customer', 'email', 'email 1')",
        ):
            with pytest.raises(errors.ObjectNotInPrerequisiteState, match="is being built"):
                rows(admin, statement)
        with pytest.raises(errors.DuplicateObject, match="normalization none"):
            rows(admin, "CALL pgkeymgr.build_blind_index('customer', 'email', 'casefold')")
        # An upsert does not trust it: it compares the values.
        admin.execute("CREATE UNIQUE INDEX ON customer_encrypted (email_bidx)")
        row = '{"id": 397, "region": "us", "email": "email 397", "ssn": "changed"}'
        admin.execute(f"SELECT pgkeymgr.upsert('customer', '{row}'::jsonb, '{{email}}')".encode())
        expected[397] = ("us", "changed", "email 397")
        assert contents(admin) == expected
        rows(admin, "CALL pgkeymgr.build_blind_index('customer', 'email')")
        assert find(admin, "email 397") == [397]
        assert rows(admin, "SELECT * FROM pgkeymgr.verify_column('customer', 'email')") == []


@pytest.mark.parametrize("how", ["drop_blind_index", "decrypt_column"])
def test_given_up(target: Target, how: str) -> None:
    with target.session() as admin:
        expected = make_ready(admin, 400, PLAIN)
        begin(target, admin, "build_blind_index('customer', 'email', batch_size => 1)")
        keys = "SELECT count(*) FROM pgkeymgr.key WHERE name ~ 'bidx' AND state <> 'destroyed'"
        assert value(admin, keys) == 1
        if how == "drop_blind_index":
            admin.execute("SELECT pgkeymgr.drop_blind_index('customer', 'email')")
        else:
            rows(admin, "CALL pgkeymgr.decrypt_column('customer', 'email')")
        assert rows(admin, "TABLE pgkeymgr.column_progress") == []
        assert rows(admin, "SELECT FROM pg_attribute WHERE attname ~ 'bidx'") == []
        assert value(admin, keys) == 0
        assert contents(admin) == expected


def test_unique_index_and_failed_one(target: Target) -> None:
    with target.session() as admin:
        make_ready(admin, 60, PLAIN)
        admin.execute("INSERT INTO customer VALUES (61, 'eu', 'x', 'email 1')")
        rows(admin, "CALL pgkeymgr.build_blind_index('customer', 'email')")
        with pytest.raises(errors.UniqueViolation):
            make_index(admin, ", true")
        assert rows(admin, INDEXES) == [("customer_email_bidx_idx", False)]
        admin.execute("DELETE FROM customer WHERE id = 61")
        statements = make_index(admin, ", true")
        assert statements[0].startswith("DROP INDEX CONCURRENTLY ")
        assert [is_valid for _, is_valid in rows(admin, INDEXES)] == [True]
        with pytest.raises(errors.UniqueViolation):
            admin.execute("INSERT INTO customer VALUES (62, 'eu', 'x', 'email 1')")


def test_blind_index_of_a_unique_constraint_is_shown(target: Target) -> None:
    """It is filled and has an index already."""
    with target.session() as admin:
        make_table(admin, 60, PLAIN)
        admin.execute("ALTER TABLE customer ADD UNIQUE (email)")
        encrypt(admin, "email")
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match="is migrating"):
            rows(admin, "CALL pgkeymgr.build_blind_index('customer', 'email')")
        rows(admin, "CALL pgkeymgr.migrate_column('customer', 'email')")
        rows(admin, "CALL pgkeymgr.build_blind_index('customer', 'email')")
        assert rows(admin, "SELECT * FROM pgkeymgr.blind_index_statements('customer', 'email')") == []
        assert find(admin, "email 1") == [1]


def test_triggers(target: Target) -> None:
    """UPDATE triggers would change rows, and nothing undoes it: they need a caller who keeps them from firing."""
    with target.session() as admin, target.session("keeper") as keeper:
        expected = make_table(admin, 60, PLAIN)
        count_updates(admin)
        admin.execute("ALTER TABLE customer OWNER TO keeper")
        encrypt(admin, "email")
        rows(admin, "CALL pgkeymgr.migrate_column('customer', 'email')")
        with pytest.raises(errors.InsufficientPrivilege, match="triggers"):
            rows(keeper, "CALL pgkeymgr.build_blind_index('customer', 'email')")
        assert rows(admin, "SELECT FROM pg_attribute WHERE attname ~ 'bidx'") == []
        rows(admin, "CALL pgkeymgr.build_blind_index('customer', 'email')")
        assert value(admin, "SELECT sum(n) FROM customer") == 0
        assert contents(admin) == expected


def test_under_a_given_key(target: Target) -> None:
    """The hashes are those of add_blind_index() under this key, so that several databases can be compared."""
    with target.session() as admin:
        make_ready(admin, 20, PLAIN)
        admin.execute("SELECT pgkeymgr.create_data_key('shared'), pgkeymgr.create_data_key('other')")
        admin.execute("SELECT pgkeymgr.add_blind_index('customer', 'ssn', key => 'shared')")
        admin.execute("UPDATE customer SET email = ssn")
        admin.execute("CALL pgkeymgr.build_blind_index('customer', 'email', key => 'shared')")
        assert value(admin, "SELECT count(*) FROM customer WHERE email_bidx = ssn_bidx") == value(
            admin, "SELECT count(ssn) FROM customer"
        )
        admin.execute("CALL pgkeymgr.build_blind_index('customer', 'email', key => 'shared')")
        with pytest.raises(errors.DuplicateObject, match="under another key"):
            admin.execute("CALL pgkeymgr.build_blind_index('customer', 'email', key => 'other')")
        admin.execute("SELECT pgkeymgr.drop_blind_index('customer', 'email')")
        with pytest.raises(errors.UndefinedObject, match='key "none" does not exist'):
            admin.execute("CALL pgkeymgr.build_blind_index('customer', 'email', key => 'none')")
        assert rows(admin, "SELECT FROM pg_attribute WHERE attname ~ 'email_bidx'") == []
