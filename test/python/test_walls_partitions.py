"""The walls between roles where a table is partitioned."""

import pytest
import walls_database
from conftest import Connection, rows, value
from psycopg import errors
from walls_database import SPY, Database, run, spy

server = walls_database.server
database = walls_database.database
superuser = walls_database.superuser
owner = walls_database.owner

BOUND = "FOR VALUES FROM (100) TO (200)"


def test_a_policy_of_a_table_that_is_attached(
    database: Database, owner: Connection, superuser: Connection
) -> None:
    """A superuser attaches another role's table: its policies do not run with the rights of the table's owner."""
    run(superuser, "CREATE SCHEMA vic AUTHORIZATION wall_victim", "GRANT USAGE ON SCHEMA vic TO PUBLIC")
    with database.session("wall_victim") as victim:
        run(
            victim,
            "CREATE TABLE vic.v (id integer, day integer, s text) PARTITION BY RANGE (day)",
            "CREATE TABLE vic.v1 PARTITION OF vic.v FOR VALUES FROM (0) TO (100)",
            "INSERT INTO vic.v VALUES (1, 1, 'secret')",
        )
    run(superuser, "SELECT encrypt_column('vic.v', 's')", "CALL migrate_column('vic.v', 's')")
    checks = value(
        superuser,
        "SELECT string_agg(format('ADD CONSTRAINT %I %s', conname, pg_get_constraintdef(oid)), ', ')"
        " FROM pg_constraint WHERE conrelid = 'vic.v_encrypted'::regclass AND contype = 'c'",
    )
    run(
        owner,
        SPY,
        spy("seen", ""),
        "CREATE TABLE m (id integer, day integer, s text, s_encrypted bytea)",
        f"ALTER TABLE m {checks}",
        "INSERT INTO m VALUES (1, 101)",
        "GRANT SELECT ON m TO PUBLIC",
        "ALTER TABLE m ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY seen ON m USING (own.seen())",
    )
    attach = f"ALTER TABLE vic.v_encrypted ATTACH PARTITION own.m {BOUND}"
    for statement in (attach, f"DO $do$ BEGIN EXECUTE '{attach}'; END $do$"):
        with pytest.raises(errors.FeatureNotSupported):
            rows(superuser, statement)
        assert database.loot() == []


PROCEDURES = ("migrate_column", "rotate_column", "build_blind_index", "decrypt_column")


@pytest.mark.parametrize("depth", [1, 2])
def test_a_function_in_the_partition_key(
    database: Database, owner: Connection, superuser: Connection, depth: int
) -> None:
    """It checks the rows of each partition, and is not to work past the triggers of others in the meantime."""
    run(
        owner,
        "CREATE FUNCTION own.part(i integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN"
        " IF current_setting('session_replication_role') = 'replica' THEN RAISE WARNING 'LOOT replica'; END IF;"
        " RETURN i; END $$",
        "CREATE TABLE t (id integer, n integer, s text) PARTITION BY RANGE (own.part(n))",
        "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (100)"
        + (" PARTITION BY RANGE (id)" if depth > 1 else ""),
        *(["CREATE TABLE t1_1 PARTITION OF t1 DEFAULT"] if depth > 1 else []),
        "INSERT INTO t SELECT g, g, 's' || g FROM generate_series(1, 3) AS g",
        "CREATE FUNCTION own.fire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE TRIGGER fire BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION own.fire()",
    )
    run(superuser, "SELECT encrypt_column('t', 's')")
    for procedure in PROCEDURES:
        if procedure == "build_blind_index":  # nothing undoes what the trigger would do
            with pytest.raises(errors.InsufficientPrivilege, match=r"own\.part"):
                rows(superuser, f"CALL {procedure}('t', 's')")
        else:
            rows(superuser, f"CALL {procedure}('t', 's')")
        assert database.loot() == []
    assert rows(owner, "SELECT s FROM t ORDER BY id") == [("s1",), ("s2",), ("s3",)]
