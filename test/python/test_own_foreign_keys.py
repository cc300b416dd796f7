"""An UPDATE through the view of a table with a foreign key to itself, whose action changes rows of the statement.

PostgreSQL performs the action after all rows of a table are updated, and after each row that the view's trigger
updates.
"""

from collections.abc import Iterator

import pytest
from conftest import Connection, rows
from psycopg import errors

READ = "SELECT * FROM {} ORDER BY id"


@pytest.fixture
def session(connection: Connection) -> Iterator[Connection]:
    """A session with an encrypted table of tenants' folders, and a plain copy."""
    connection.execute("""
        CREATE SCHEMA self;
        SET search_path = self, pgkeymgr, public;
        CREATE TABLE plain (
            tenant integer, id integer, parent integer, n integer, s text, PRIMARY KEY (tenant, id),
            FOREIGN KEY (tenant, parent) REFERENCES plain ON UPDATE CASCADE
        );
        CREATE TABLE folder (
            tenant integer, id integer, parent integer, n integer, s text, PRIMARY KEY (tenant, id),
            FOREIGN KEY (tenant, parent) REFERENCES folder ON UPDATE CASCADE
        );
        INSERT INTO plain VALUES (1, 1, NULL, 0, 'a'), (1, 2, 1, 0, 'b'), (1, 3, 2, 0, 'c'), (2, 4, NULL, 0, 'd');
        INSERT INTO folder TABLE plain;
        SELECT encrypt_column('folder', 's');
    """)
    rows(connection, "CALL migrate_column('folder', 's')")
    try:
        yield connection
    finally:
        connection.execute("DROP SCHEMA self CASCADE")


CHANGES = (
    "tenant = 5, s = s || 'x' WHERE tenant = 1",
    "tenant = 5, n = id, s = s || 'x' WHERE id IN (1, 3)",
    "s = upper(s), n = 7 WHERE tenant = 1",
    "tenant = tenant + 10, s = NULL",
)


def test_an_update_that_a_foreign_key_has_overtaken(session: Connection) -> None:
    """Columns that the foreign key has left alone get their values all the same."""
    for change in CHANGES:
        with session.transaction(force_rollback=True):
            plain, encrypted = (
                session.execute(f"UPDATE {table} SET {change}".encode()).rowcount for table in ("plain", "folder")
            )
            assert plain == encrypted, change
            assert rows(session, READ.format("folder")) == rows(session, READ.format("plain")), change


def test_returning_shows_such_a_row(session: Connection) -> None:
    session.execute("ALTER TABLE folder_encrypted ADD COLUMN twice integer GENERATED ALWAYS AS (n * 2) STORED")
    found = rows(session, "UPDATE folder SET tenant = 5, n = id, s = s || 'x' WHERE tenant = 1 RETURNING s, twice")
    assert sorted(found) == [("ax", 2), ("bx", 4), ("cx", 6)]


def test_a_key_that_the_statement_does_not_give(session: Connection) -> None:
    """To find no row would lose the rest of the update in silence."""
    before = rows(session, READ.format("folder"))
    change = "UPDATE folder SET tenant = CASE id WHEN 1 THEN 5 ELSE tenant END, s = s || 'x' WHERE tenant = 1"
    with pytest.raises(errors.TriggeredDataChangeViolation, match='a row of "folder" was changed') as refused:
        rows(session, change)
    assert refused.value.diag.message_hint == 'Update the table "self"."folder_encrypted" instead.'
    assert rows(session, READ.format("folder")) == before


def test_a_row_that_is_found_twice(session: Connection) -> None:
    """It is written once."""
    other = "(VALUES (1, 'p'), (1, 'q')) AS v (i, w) WHERE i = id"
    assert session.execute(f"UPDATE folder SET s = w FROM {other}".encode()).rowcount == 1
    same = "(VALUES (1, 'r'), (1, 'r')) AS v (i, w) WHERE i = id"
    assert session.execute(f"UPDATE folder SET s = w FROM {same}".encode()).rowcount == 1
    assert rows(session, "SELECT s FROM folder WHERE id = 1") == [("r",)]
