"""The index that distinguished the rows of an encrypted table is dropped and created again."""

from collections.abc import Iterator

import pytest
from cluster import Cluster
from conftest import Connection, rows, value


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> Iterator[Cluster]:
    with cluster.temporary_database("lost_keys"):
        yield cluster


@pytest.fixture
def admin(database: Cluster) -> Iterator[Connection]:
    """A superuser, with an empty schema of the test."""
    with database.connect("lost_keys") as connection:
        connection.execute("CREATE SCHEMA lk")
        connection.execute("SET search_path = lk, pgkeymgr")
        try:
            yield connection
        finally:
            connection.execute("DROP SCHEMA lk CASCADE")


LOSSES = {
    "primary key": ("id integer PRIMARY KEY", "ALTER TABLE t_encrypted DROP CONSTRAINT t_pkey"),
    "unique constraint": ("id integer NOT NULL UNIQUE", "ALTER TABLE t_encrypted DROP CONSTRAINT t_id_key"),
    "unique index": ("id integer NOT NULL", "DROP INDEX an_index"),
    "unique index, beside a later primary key": ("id integer NOT NULL", "DROP INDEX an_index"),
    "in a function": (
        "id integer PRIMARY KEY",
        "DO $$ BEGIN EXECUTE 'ALTER TABLE t_encrypted DROP CONSTRAINT t_pkey'; END $$",
    ),
}


def encrypted(admin: Connection, column: str, *, index: str = "") -> None:
    rows(admin, f"CREATE TABLE t ({column}, n integer, s text)")
    if index:
        rows(admin, f"CREATE UNIQUE INDEX an_index ON t ({index})")
    rows(admin, "INSERT INTO t VALUES (1, 1, 'one'), (3, 3, 'three')")
    rows(admin, "SELECT encrypt_column('t', 's')")
    rows(admin, "CALL migrate_column('t', 's')")


@pytest.mark.parametrize("name", LOSSES)
def test_an_update_writes_no_other_row(admin: Connection, name: str) -> None:
    """Without the index, rows can have the same key: an UPDATE of one must not reach the others."""
    column, loss = LOSSES[name]
    encrypted(admin, column, index="id" if "index" in loss.lower() else "")
    if "later" in name:
        rows(admin, "ALTER TABLE t_encrypted ADD PRIMARY KEY (n)")
    rows(admin, loss)
    rows(admin, "INSERT INTO t VALUES (1, 2, 'two')")
    rows(admin, "UPDATE t SET s = 'second' WHERE n = 2")
    assert rows(admin, "UPDATE t SET n = 22 WHERE n = 2 RETURNING s") == [("second",)]
    assert rows(admin, "SELECT * FROM t ORDER BY n") == [(1, 1, "one"), (3, 3, "three"), (1, 22, "second")]


def test_a_row_without_a_key(admin: Connection) -> None:
    """It has no encrypted value, and can be updated."""
    encrypted(admin, "id integer NOT NULL UNIQUE")
    rows(admin, "ALTER TABLE t_encrypted ALTER COLUMN id DROP NOT NULL")
    rows(admin, "INSERT INTO t (n) VALUES (2)")
    assert rows(admin, "UPDATE t SET n = 22 WHERE n = 2 RETURNING *") == [(None, 22, None)]
    assert rows(admin, "SELECT * FROM t ORDER BY n") == [(1, 1, "one"), (3, 3, "three"), (None, 22, None)]


@pytest.mark.parametrize(
    "gain", ["CREATE UNIQUE INDEX ON t_encrypted (id)", "ALTER TABLE t_encrypted ADD PRIMARY KEY (id)"]
)
def test_the_index_comes_back(admin: Connection, gain: str) -> None:
    """Rows are found by it again, which is fast."""
    encrypted(admin, "id integer PRIMARY KEY")
    source = "SELECT prosrc FROM pg_proc WHERE proname ~ '^_update_[0-9]+$' ORDER BY oid DESC LIMIT 1"
    before = value(admin, source)
    rows(admin, "ALTER TABLE t_encrypted DROP CONSTRAINT t_pkey")
    assert value(admin, source) != before
    rows(admin, gain)
    assert value(admin, source) == before


def test_an_index_with_another_collation(admin: Connection) -> None:
    """Its values can be equal to the column's collation, by which the triggers compare."""
    rows(
        admin,
        "CREATE COLLATION any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
    )
    rows(admin, "CREATE TABLE t (k text COLLATE any_case NOT NULL, n integer, s text)")
    rows(admin, 'CREATE UNIQUE INDEX ON t (k COLLATE "C")')
    rows(admin, "SELECT encrypt_column('t', 's')")
    rows(admin, "INSERT INTO t VALUES ('a', 1, 'one'), ('A', 2, 'two')")
    rows(admin, "UPDATE t SET n = 11 WHERE n = 1")
    assert rows(admin, "SELECT * FROM t ORDER BY n") == [("A", 2, "two"), ("a", 11, "one")]
