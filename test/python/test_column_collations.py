"""Collations of columns: the constraints of encrypted columns compare by them, and follow their names."""

import contextlib
from collections.abc import Iterator

import pytest
from conftest import Connection, rows
from psycopg import errors


@pytest.fixture
def session(connection: Connection) -> Iterator[Connection]:
    """A session with a schema of its own, and a collation for which case does not matter."""
    connection.execute("""
        CREATE SCHEMA collated;
        SET search_path = collated, pgkeymgr, public;
        CREATE COLLATION caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
    """)
    try:
        yield connection
    finally:
        connection.execute("DROP SCHEMA IF EXISTS collated, renamed CASCADE")


CHECKS = {
    "the column's": ("s text COLLATE caseless, p text", "s <> 'secret' AND p <> 'other'"),
    "a domain's and another's": ('s word, p text COLLATE "C"', "s <> 'secret' AND p < 'a'"),
    "a generated column's": (
        "s text, p text, g text COLLATE caseless GENERATED ALWAYS AS (p) STORED",
        "g <> 'plain' OR s IS NULL",
    ),
}
WRITES = ("('SECRET', 'X')", "('x', 'PLAIN')", "('x', 'OTHER')", "('x', 'b')", "('secret', 'X')", "('x', 'plain')")


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_compares_by_the_collation(session: Connection, name: str) -> None:
    """The same rows are taken and refused as on a plain table."""
    columns, condition = CHECKS[name]
    session.execute("CREATE DOMAIN word AS text COLLATE caseless")
    for table in ("plain", "t"):
        rows(session, f"CREATE TABLE {table} ({columns}, CHECK ({condition}))")
    rows(session, "SELECT encrypt_column('t', 's')")
    taken: dict[str, list[str]] = {"plain": [], "t": []}
    for table, values in taken.items():
        for row in WRITES:
            with contextlib.suppress(errors.CheckViolation):
                rows(session, f"INSERT INTO {table} (s, p) VALUES {row}")
                values.append(row)
    assert taken["t"] == taken["plain"]
    assert 0 < len(taken["t"]) < len(WRITES)


def test_a_collation_gets_another_name(session: Connection) -> None:
    rows(session, "CREATE TABLE t (id integer PRIMARY KEY, s text COLLATE caseless CHECK (s <> 'no'))")
    rows(session, "CREATE TABLE u (s text COLLATE caseless, n text COLLATE caseless)")
    rows(session, "INSERT INTO t VALUES (1, 'a')")
    rows(session, "INSERT INTO u VALUES ('a', 'b')")
    for table in ("t", "u"):
        rows(session, f"SELECT encrypt_column('{table}', 's')")
        rows(session, f"CALL migrate_column('{table}', 's')")
    for statement in (
        "ALTER COLLATION caseless RENAME TO other",
        "CREATE SCHEMA moved",
        "ALTER COLLATION other SET SCHEMA moved",
        "ALTER SCHEMA moved RENAME TO renamed",
    ):
        rows(session, statement)
        # The second UPDATE compares the row, which this transaction has written.
        with session.transaction():
            rows(session, "UPDATE t SET s = s || 'b'")
            rows(session, "UPDATE t SET id = id + 1, s = s || 'c'")
            rows(session, "UPDATE u SET n = n || 'd'")
        with pytest.raises(errors.CheckViolation):
            rows(session, "UPDATE t SET s = 'NO'")
    rows(session, "ALTER TABLE t_encrypted ADD COLUMN later integer")
    rows(session, "CALL rotate_column('t', 's')")
    assert rows(session, "SELECT id, s FROM t WHERE s = 'ABCBCBCBC'") == [(5, "abcbcbcbc")]
    assert rows(session, "SELECT * FROM u") == [("a", "bdddd")]
    for table in ("t", "u"):
        rows(session, f"CALL decrypt_column('{table}', 's')")
    with pytest.raises(errors.CheckViolation):
        rows(session, "UPDATE t SET s = 'No'")
