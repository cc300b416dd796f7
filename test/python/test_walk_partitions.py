"""migrate_column, rotate_column and decrypt_column on partitioned tables: they go partition by partition."""

import random

import column_workload
import pytest
from column_database import key_ids
from column_workload import OPERATIONS, SEED, Target
from conftest import Connection, rows, value
from partitioned_table import (
    LEAVES,
    Procedure,
    begin,
    contents,
    encrypt,
    make_table,
    start_writers,
    stop_writers,
)
from psycopg import errors
from waiting import wait_until

server = column_workload.server
target = column_workload.target

STATE = "SELECT state::text FROM pgkeymgr.encrypted_columns WHERE relation = 'customer'::regclass"
DONE = 10**9
PROGRESS = "SELECT partition::text, rows_done, rows_total, is_done FROM pgkeymgr.partition_progress ORDER BY 1"


def make_ready(connection: Connection, operation: str) -> None:
    """Bring the table to where an operation on ``ssn`` can begin."""
    encrypt(connection, "ssn")
    if operation != "migrate":
        connection.execute("CALL pgkeymgr.migrate_column('customer', 'ssn')")


def check(connection: Connection, operation: str) -> None:
    """Check what an operation that has ended has made of the table."""
    assert rows(connection, "TABLE pgkeymgr.column_progress") == []
    assert rows(connection, "TABLE pgkeymgr.operation_leaf") == []
    if operation == "decrypt":
        assert value(connection, "SELECT relkind FROM pg_class WHERE oid = 'customer'::regclass") == "p"
        columns = "SELECT FROM pg_attribute WHERE attrelid = 'customer'::regclass AND NOT attisdropped"
        assert rows(connection, f"{columns} AND attnum > 5") == []
        return
    assert value(connection, STATE) == "encrypted"
    assert value(connection, "SELECT count(*) FROM customer_encrypted WHERE ssn IS NOT NULL") == 0
    connection.execute("SET search_path = pgkeymgr, public")
    current = value(connection, "SELECT max(id) FROM pgkeymgr.key WHERE superseded_by IS NULL")
    assert key_ids(connection, "customer_encrypted", "ssn_encrypted") == {current}
    assert rows(connection, "SELECT * FROM verify_column('customer', 'ssn')") == []
    connection.execute("RESET search_path")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_progress_and_resumption_by_partition(target: Target, operation: str) -> None:
    with target.session() as admin, target.session() as locker:
        expected = make_table(admin, 800)
        make_ready(admin, operation)
        needed = dict(
            rows(
                admin,
                "SELECT tableoid::regclass::text, count(*) FROM customer_encrypted"
                " WHERE coalesce(ssn, ssn_encrypted::text) IS NOT NULL GROUP BY 1",
            )
        )
        assert sorted(needed) == LEAVES
        # Of one partition, the last row is locked: the procedure goes through all of the table, and waits.
        last = max(number for number, row in expected.items() if row[0] == "us" and row[1])
        begin(target, admin, f"{operation}_column('customer', 'ssn', 1)")
        locker.execute("BEGIN")
        locker.execute("SELECT FROM customer WHERE id = %s FOR UPDATE", [last])
        call = Procedure(target, f"{operation}_column('customer', 'ssn', 10)")
        wait_until(lambda: call.waits_for_last_row(admin), "it waits for the row")
        progress = rows(admin, PROGRESS)
        assert [row[0] for row in progress] == LEAVES
        assert {row[0]: row[2] for row in progress} == needed
        (late,) = (row for row in progress if not row[3])
        assert late[0].startswith("customer_us_")
        assert late[1] == late[2] - 1
        assert all(row[1] == row[2] for row in progress if row[3])
        whole = "SELECT rows_done, rows_total, partitions_done, partitions_total FROM pgkeymgr.column_progress"
        assert rows(admin, whole) == [(719, 720, 3, 4)]
        call.stop(admin)
        assert rows(admin, PROGRESS) == progress
        locker.execute("COMMIT")
        Procedure(target, f"{operation}_column('customer', 'ssn', 10)").finish()
        check(admin, operation)
        assert contents(admin) == expected


@pytest.mark.parametrize("operation", OPERATIONS)
def test_killed_at_random_points_while_others_write(target: Target, operation: str) -> None:
    chance = random.Random(f"{SEED} {operation}")  # noqa: S311
    with target.session() as admin:
        expected = make_table(admin, 3_000)
        make_ready(admin, operation)
    writers = start_writers(target, expected, 3)
    blocks: dict[str, int] = {}
    position = (
        f"SELECT leaf::text, CASE WHEN is_done THEN {DONE} ELSE position_block END FROM pgkeymgr.operation_leaf"
    )
    killed = 0
    for _ in range(4):
        call = Procedure(target, f"{operation}_column('customer', 'ssn', {chance.randrange(5, 40)})")
        rows_done = chance.randrange(0, 500)
        with target.session() as watcher:
            done = value(watcher, "SELECT coalesce(sum(rows_done), 0) FROM pgkeymgr.column_progress")
            query = "SELECT coalesce(sum(rows_done), 0) FROM pgkeymgr.column_progress"
            wait_until(
                lambda: not call.is_alive() or value(watcher, query) >= done + rows_done,  # noqa: B023
                "progress",
            )
            if not call.is_alive():
                call.finish()
                break
            call.kill()
            target.server.wait_until_recovered(watcher)
        killed += 1
        with target.session() as watcher:
            now = {leaf: int(block) for leaf, block in rows(watcher, position)}
        # Only the end of a pass begins with a partition again.
        assert all(now[leaf] >= block for leaf, block in blocks.items())
        blocks = now
    assert killed > 0
    with target.session() as watcher:
        # decrypt_column may have ended before the last kill.
        is_encrypted = rows(watcher, "SELECT FROM pgkeymgr.encrypted_columns WHERE column_name = 'ssn'")
    if is_encrypted:
        Procedure(target, f"{operation}_column('customer', 'ssn')").finish()
    expected = stop_writers(writers)
    with target.session() as admin:
        check(admin, operation)
        assert contents(admin) == expected
    assert sum(writer.figures["region"] for writer in writers) > 0


@pytest.mark.parametrize("operation", OPERATIONS)
def test_row_that_is_moved_while_the_procedure_waits_for_it(target: Target, operation: str) -> None:
    """PostgreSQL reports a serialization failure to a session that waits for such a row."""
    with target.session() as admin, target.session() as mover:
        expected = make_table(admin, 800)
        make_ready(admin, operation)
        begin(target, admin, f"{operation}_column('customer', 'ssn', 1)")
        moved = [number for number, row in expected.items() if row[0] == "ch" and row[1]]
        # It does not begin while others write, so at first the rows are locked only.
        mover.execute("BEGIN")
        mover.execute("SELECT FROM customer WHERE id = ANY (%s) FOR UPDATE", [moved])
        call = Procedure(target, f"{operation}_column('customer', 'ssn')")
        wait_until(lambda: call.waits_for_last_row(admin), "it waits for a row, and says so")
        assert "customer" in call.notices[0]
        for number in moved:
            mover.execute("UPDATE customer SET region = 'eu' WHERE id = %s", [number])
            expected[number] = ("eu", *expected[number][1:])
        mover.execute("COMMIT")
        call.finish()
        check(admin, operation)
        assert contents(admin) == expected


def test_rows_that_are_moved_within_the_time_of_a_batch(target: Target) -> None:
    """A batch waits for a tenth of a second before it skips a row."""
    with target.session() as admin, target.session() as mover:
        expected = make_table(admin, 80)
        make_ready(admin, "migrate")
        moved = [number for number, row in expected.items() if row[0] == "ch" and row[1]]
        mover.execute("BEGIN")
        mover.execute("UPDATE customer SET region = 'eu' WHERE id = ANY (%s)", [moved])
        for number in moved:
            expected[number] = ("eu", *expected[number][1:])
        call = Procedure(target, "migrate_column('customer', 'ssn')")
        while not call.waits_for_row(admin):
            assert call.is_alive(), call.error
        mover.execute("COMMIT")
        call.finish()
        check(admin, "migrate")
        assert contents(admin) == expected


@pytest.mark.parametrize("operation", OPERATIONS)
def test_partitions_come_and_go(target: Target, operation: str) -> None:
    with target.session() as admin, target.session() as locker:
        expected = make_table(admin, 800)
        make_ready(admin, operation)
        begin(target, admin, f"{operation}_column('customer', 'ssn', 1)")
        row = max(number for number, row in expected.items() if row[0] == "eu" and row[1])
        locker.execute("BEGIN")
        locker.execute("SELECT FROM customer_eu WHERE id = %s FOR UPDATE", [row])
        call = Procedure(target, f"{operation}_column('customer', 'ssn', 50)")
        wait_until(lambda: call.waits_for_last_row(admin), "it waits for the row")
        admin.execute("CREATE TABLE customer_fr PARTITION OF customer_encrypted FOR VALUES IN ('fr')")
        admin.execute("INSERT INTO customer (id, region, ssn) VALUES (901, 'fr', 'new')")
        expected[901] = ("fr", "new", None)
        if operation == "migrate":
            # The row of a publisher that has not migrated it is not sealed when it arrives.
            admin.execute("SET session_replication_role = replica")
            admin.execute("INSERT INTO customer_encrypted (id, region, ssn) VALUES (902, 'fr', 'plain')")
            admin.execute("RESET session_replication_role")
            expected[902] = ("fr", "plain", None)
        admin.execute("DROP TABLE customer_us_1")
        gone = set(expected) - set(contents(admin))
        assert gone
        expected = {number: each for number, each in expected.items() if number not in gone}
        admin.execute("ALTER TABLE customer_encrypted DETACH PARTITION customer_rest")
        expected = {number: each for number, each in expected.items() if each[0] not in ("ch", "jp")}
        assert contents(admin) == expected
        locker.execute("COMMIT")
        call.finish()
        check(admin, operation)
        assert contents(admin) == expected


def test_no_deadlock_with_ddl_on_partitions(target: Target) -> None:
    """DDL locks the partitioned table, and then its partitions; so does the procedure."""
    with target.session() as admin, target.session() as locker:
        expected = make_table(admin, 80)
        # pg_get_expr() waits for the table, too, while the procedure has not locked a partition yet.
        admin.execute("ALTER TABLE customer ALTER n DROP DEFAULT")
        make_ready(admin, "migrate")
        row = max(number for number, row in expected.items() if row[0] == "eu" and row[1])
        locker.execute("BEGIN")
        locker.execute("SELECT FROM customer_eu WHERE id = %s FOR UPDATE", [row])
        call = Procedure(target, "migrate_column('customer', 'ssn')")
        wait_until(lambda: call.waits_for_last_row(admin), "it waits for the row")
        # The next statement of the procedure reads the bounds of the partition again.
        admin.execute("ANALYZE customer_eu")
        admin.execute("BEGIN")
        admin.execute("LOCK TABLE ONLY customer_encrypted IN ACCESS EXCLUSIVE MODE")
        locker.execute("COMMIT")
        wait_until(lambda: call.waits_for(admin, "relation"), "it waits for the partitioned table")
        admin.execute("LOCK TABLE ONLY customer_eu IN ACCESS EXCLUSIVE MODE")
        admin.execute("COMMIT")
        call.finish()
        check(admin, "migrate")
        assert contents(admin) == expected


def test_statistics_of_all_partitions_are_removed(target: Target) -> None:
    """They hold values of the column, those of the partitioned table as well as those of each partition."""
    with target.session() as admin:
        make_table(admin, 400)
        admin.execute("ANALYZE customer")
        query = "SELECT count(*) FROM pg_stats WHERE attname = 'ssn' AND most_common_vals IS NOT NULL"
        query = query.replace("most_common_vals", "histogram_bounds")
        assert value(admin, query) == 6
        make_ready(admin, "rotate")
        assert value(admin, query) == 0
        assert value(admin, query.replace("ssn", "email")) > 0


SPY = """
    CREATE TABLE seen (name text);
    GRANT ALL ON seen TO PUBLIC;
    CREATE FUNCTION spy(integer) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO public.seen VALUES (current_user);
        RETURN true;
    END $$;
    ALTER TABLE customer_eu ADD CHECK (spy(n));
"""


def test_partition_of_another_owner(target: Target) -> None:
    """A partition runs the code of its owner, with no more than the rights of its owner."""
    call = "CALL pgkeymgr.migrate_column('customer', 'ssn')"
    with target.session() as admin, target.session("keeper") as keeper:
        expected = make_table(admin, 100)
        for table in ("customer", "customer_us", *LEAVES):
            admin.execute(f"ALTER TABLE {table} OWNER TO keeper".encode())
        make_ready(admin, "migrate")
        admin.execute("CREATE ROLE boss")
        admin.execute("GRANT keeper TO boss")
        admin.execute("GRANT CREATE ON SCHEMA public TO boss")
        try:
            admin.execute("ALTER TABLE customer_eu OWNER TO boss")
            rows(admin, SPY)
            admin.execute("DELETE FROM seen")
            with pytest.raises(errors.InsufficientPrivilege, match=r"must be owner of public\.customer_eu"):
                rows(keeper, call)
            assert rows(admin, "TABLE seen") == []
            # At the end, PostgreSQL asks keeper for the rights of the owner of each partition.
            with pytest.raises(errors.InsufficientPrivilege, match="must be owner of table customer_eu"):
                rows(admin, call)
            assert {name for (name,) in rows(admin, "TABLE seen")} == {"boss"}
        finally:
            admin.execute("ALTER TABLE customer_eu OWNER TO keeper")
            admin.execute("DROP OWNED BY boss")
            admin.execute("DROP ROLE boss")
        rows(keeper, call)
        check(admin, "migrate")
        assert contents(admin) == expected


ATTACHED = """
    CREATE TABLE customer_fr (LIKE customer_encrypted INCLUDING CONSTRAINTS);
    ALTER TABLE customer_fr DROP CONSTRAINT pgkeymgr_1_opened;
    INSERT INTO customer_fr SELECT id + 900, 'fr', ssn, email, n, ssn_encrypted FROM kept;
"""
ARRIVALS = {
    "attached": "ALTER TABLE customer_encrypted ATTACH PARTITION customer_fr FOR VALUES IN ('fr')",
    "replicated": "INSERT INTO customer_encrypted SELECT id + 900, region, ssn, email, n, ssn_encrypted FROM kept",
}


@pytest.mark.parametrize("how", ["attached", "replicated"])
def test_ciphertext_that_comes_at_the_end_of_decrypt_column(target: Target, how: str) -> None:
    """The column is dropped after it: a CHECK keeps out what nobody has decrypted."""
    with target.session() as admin, target.session() as old:
        expected = make_table(admin, 40)
        make_ready(admin, "decrypt")
        admin.execute("CREATE TABLE kept AS SELECT * FROM customer_encrypted WHERE id = 1")
        old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT")
        call = Procedure(target, "decrypt_column('customer', 'ssn')")
        waits = "the transactions that see earlier versions of rows"
        wait_until(lambda: any("earlier versions" in notice for notice in call.notices), waits)
        rows(admin, ATTACHED if how == "attached" else "SET session_replication_role = replica")
        with pytest.raises(errors.DatabaseError) as refusal:
            rows(admin, ARRIVALS[how])
        assert refusal.value.sqlstate == ("42804" if how == "attached" else "23514"), refusal.value
        old.execute("COMMIT")
        call.finish()
        check(admin, "decrypt")
        assert contents(admin) == expected
