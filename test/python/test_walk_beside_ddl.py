"""The procedures for columns, and verify_column, beside DDL of other sessions on the same table."""

import column_workload
import pytest
from column_workload import Target
from conftest import Connection, rows, value
from partitioned_table import Procedure, Statement, contents, encrypt, make_table
from test_walk_columns import PLAIN, states
from waiting import wait_until

server = column_workload.server
target = column_workload.target


def waits(connection: Connection, call: Statement, event: str = "relation") -> bool:
    """Return whether a call waits for a lock of a kind, or has ended."""
    return not call.is_alive() or call.waits_for(connection, event)


def make_encrypted(connection: Connection) -> dict[int, tuple[str, str | None, str | None]]:
    """Make the table with the encrypted column ``ssn``."""
    expected = make_table(connection, 200, PLAIN)
    encrypt(connection, "ssn")
    connection.execute("CALL pgkeymgr.migrate_column('customer', 'ssn')")
    return expected


@pytest.mark.parametrize("operation", ["migrate", "decrypt"])
def test_another_column_is_encrypted_while_a_procedure_waits(target: Target, operation: str) -> None:
    """The procedure writes the view and the triggers as the table is then, and not as it was before."""
    with target.session() as admin, target.session() as user:
        expected = make_encrypted(admin) if operation == "decrypt" else make_table(admin, 200, PLAIN)
        if operation == "migrate":
            encrypt(admin, "ssn")
        user.execute("BEGIN")
        user.execute("SELECT FROM customer")
        call = Procedure(target, f"{operation}_column('customer', 'ssn')")
        wait_until(lambda: call.notices or not call.is_alive(), "it waits for the table")
        ddl = Statement(target, "SELECT pgkeymgr.encrypt_column('customer', 'email')")
        wait_until(lambda: waits(admin, ddl), "DDL waits for the table")
        user.execute("COMMIT")
        ddl.finish()
        call.finish()
        assert states(admin) == (["migrating"] if operation == "decrypt" else ["encrypted", "migrating"])
        admin.execute("INSERT INTO customer VALUES (1000, 'eu', 'new', 'new')")
        expected[1000] = ("eu", "new", "new")
        assert contents(admin) == expected
        assert value(admin, "SELECT email FROM customer_encrypted WHERE id = 1000") is None
        rows(admin, "CALL pgkeymgr.migrate_columns('customer')")
        assert contents(admin) == expected


@pytest.mark.parametrize(
    "ddl",
    ["CREATE INDEX CONCURRENTLY ON customer_encrypted (n)", "REINDEX TABLE CONCURRENTLY customer_encrypted"],
)
def test_index_is_made_concurrently_while_a_procedure_waits(target: Target, ddl: str) -> None:
    """It waits for the end of all transactions, and the procedure waits for the table."""
    with target.session() as admin, target.session() as user:
        expected = make_encrypted(admin)
        user.execute("BEGIN")
        user.execute("SELECT FROM customer")
        call = Procedure(target, "decrypt_column('customer', 'ssn')")
        wait_until(lambda: call.notices or not call.is_alive(), "it waits for the table")
        index = Statement(target, ddl)
        wait_until(lambda: waits(admin, index, "virtualxid"), "it waits for transactions, or has ended")
        user.execute("COMMIT")
        index.finish()
        call.finish()
        assert states(admin) == []
        assert contents(admin) == expected


def test_procedure_waits_for_a_locked_table(target: Target) -> None:
    """CREATE INDEX, for instance, locks a table for a long time. The procedure keeps nothing in the meantime."""
    with target.session() as admin, target.session() as other:
        expected = make_table(admin, 200, PLAIN)
        encrypt(admin, "ssn")
        other.execute("BEGIN")
        other.execute("LOCK TABLE customer_encrypted IN SHARE MODE")
        call = Procedure(target, "migrate_column('customer', 'ssn')")
        query = (
            "SELECT count(*) FILTER (WHERE NOT granted) > 0 AND count(*) FILTER (WHERE relation ="
            f" 'pgkeymgr.column_turn'::regclass) = 0 FROM pg_locks WHERE pid = {call.pid}"
        )
        wait_until(lambda: not call.is_alive() or value(admin, query), "it waits for the table only")
        other.execute("COMMIT")
        call.finish()
        assert states(admin) == ["encrypted"]
        assert contents(admin) == expected


def test_column_is_renamed_while_its_rotation_begins(target: Target) -> None:
    with target.session() as admin, target.session() as other:
        expected = make_encrypted(admin)
        other.execute("BEGIN")
        other.execute("SELECT FROM pgkeymgr.key WHERE name = 'public.customer.ssn' FOR UPDATE")
        call = Procedure(target, "rotate_column('customer', 'ssn')")
        wait_until(lambda: waits(admin, call, "transactionid"), "it waits for the key")
        admin.execute("ALTER VIEW customer RENAME COLUMN ssn TO number")
        other.execute("COMMIT")
        call.finish()
        query = "SELECT column_name, state::text FROM pgkeymgr.encrypted_columns"
        assert rows(admin, query) == [("number", "encrypted")]
        found = rows(admin, "SELECT id, region, number, email FROM customer")
        assert {number: tuple(row) for number, *row in found} == expected


def test_blind_index_is_not_dropped_during_a_batch(target: Target) -> None:
    """A batch has its turn before it asks for the table; so this must have its turn before that, too."""
    with target.session() as admin, target.session() as batch:
        make_encrypted(admin)
        admin.execute("SELECT pgkeymgr.add_blind_index('customer', 'ssn')")
        batch.execute("BEGIN")
        query = "SELECT id FROM pgkeymgr.encrypted_column WHERE column_name = 'ssn' AND blind_column = 'ssn_bidx'"
        (column,) = rows(admin, query)[0]
        batch.execute("INSERT INTO pgkeymgr.column_turn VALUES (%s) ON CONFLICT DO NOTHING", [column])
        batch.execute("SELECT FROM pgkeymgr.column_turn WHERE column_id = %s FOR UPDATE", [column])
        ddl = Statement(target, "SELECT pgkeymgr.drop_blind_index('customer', 'ssn')")
        wait_until(lambda: waits(admin, ddl, "transactionid"), "it waits for its turn")
        assert ddl.is_alive()
        batch.execute("LOCK TABLE customer, customer_encrypted IN ACCESS EXCLUSIVE MODE NOWAIT")
        batch.execute("COMMIT")
        ddl.finish()


def test_values_are_verified_after_ddl_that_has_begun(target: Target) -> None:
    with target.session() as admin, target.session() as other:
        make_encrypted(admin)
        admin.execute("SELECT pgkeymgr.add_blind_index('customer', 'ssn')")
        other.execute("BEGIN")
        other.execute("SELECT pgkeymgr.drop_blind_index('customer', 'ssn')")
        verification = Statement(target, "SELECT * FROM pgkeymgr.verify_column('customer', 'ssn')")
        wait_until(lambda: waits(admin, verification), "it waits for the table")
        other.execute("COMMIT")
        assert verification.finish() == []


def test_type_is_renamed_while_another_column_is_encrypted(target: Target) -> None:
    """The triggers' functions are written as the table is when the other session has committed."""
    with target.session() as admin, target.session() as other:
        make_table(admin, 10, PLAIN)
        admin.execute("CREATE TYPE mood AS ENUM ('sad', 'glad')")
        admin.execute("ALTER TABLE customer ADD COLUMN mood mood")
        encrypt(admin, "mood")
        other.execute("BEGIN")
        other.execute("SELECT pgkeymgr.encrypt_column('customer', 'email')")
        ddl = Statement(target, "ALTER TYPE mood RENAME TO state_of_mind")
        wait_until(lambda: waits(admin, ddl), "it waits for the table")
        other.execute("COMMIT")
        ddl.finish()
        admin.execute("INSERT INTO customer (id, region, email, mood) VALUES (1000, 'eu', 'new', 'glad')")
        assert rows(admin, "SELECT email, mood::text FROM customer WHERE id = 1000") == [("new", "glad")]
        assert value(admin, "SELECT email FROM customer_encrypted WHERE id = 1000") is None


HOLD = """
    CREATE FUNCTION hold() RETURNS event_trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_catalog.pg_advisory_xact_lock(1); END $$;
    CREATE EVENT TRIGGER a_hold ON ddl_command_end WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION hold();
"""


def test_column_is_encrypted_at_the_end_of_a_concurrent_index(target: Target) -> None:
    """CREATE INDEX CONCURRENTLY has given up its lock on the table when its event triggers run."""
    with target.session() as admin, target.session() as other:
        make_table(admin, 10, PLAIN)
        encrypt(admin, "ssn")
        rows(admin, HOLD)
        admin.execute("SELECT pg_advisory_lock(1)")
        ddl = Statement(target, "CREATE INDEX CONCURRENTLY ON customer_encrypted (n)")
        wait_until(lambda: waits(admin, ddl, "advisory"), "it has made the index")
        other.execute("BEGIN")
        other.execute("SELECT pgkeymgr.encrypt_column('customer', 'email')")
        admin.execute("SELECT pg_advisory_unlock(1)")
        wait_until(lambda: waits(admin, ddl), "it waits for the table")
        other.execute("COMMIT")
        ddl.finish()
        admin.execute("INSERT INTO customer (id, region, email) VALUES (1000, 'eu', 'new')")
        assert rows(admin, "SELECT email FROM customer WHERE id = 1000") == [("new",)]
        assert value(admin, "SELECT email FROM customer_encrypted WHERE id = 1000") is None
