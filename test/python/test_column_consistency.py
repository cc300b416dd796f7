"""Ciphertexts, blind indexes and RETURNING agree, whichever way a row is written: faults that test_model found."""

from collections.abc import Iterator

import psycopg
import pytest
from cluster import Cluster
from conftest import Connection, rows, value
from psycopg import errors

SCHEMA = "consistency"


@pytest.fixture
def session(cluster: Cluster) -> Iterator[Connection]:
    """A superuser's session in an empty schema, which is dropped afterwards."""
    with cluster.connect("test") as connection:
        connection.execute(f"CREATE SCHEMA {SCHEMA}")
        connection.execute(f"SET search_path = {SCHEMA}, pgkeymgr, public")
        yield connection
        connection.execute(f"DROP SCHEMA {SCHEMA} CASCADE")


def make_indexed(connection: Connection) -> None:
    connection.execute("CREATE TABLE person (id integer PRIMARY KEY, email text)")
    connection.execute("SELECT encrypt_column('person', 'email')")
    connection.execute("SELECT add_blind_index('person', 'email')")
    connection.execute("INSERT INTO person VALUES (1, 'ann@example.org'), (2, 'bob@example.org')")


def found(connection: Connection, email: str) -> list[int]:
    query = f"SELECT id FROM person WHERE email_bidx = blind_index('person', 'email', '{email}') ORDER BY id"
    return [row[0] for row in rows(connection, query)]


def test_blind_index_follows_a_ciphertext_of_an_upsert(session: Connection) -> None:
    make_indexed(session)
    session.execute(
        "INSERT INTO person_encrypted (id, email) VALUES (1, 'new@example.org')"
        " ON CONFLICT (id) DO UPDATE SET email_encrypted = EXCLUDED.email_encrypted"
    )
    assert value(session, "SELECT email FROM person WHERE id = 1") == "new@example.org"
    assert found(session, "new@example.org") == [1]
    assert found(session, "ann@example.org") == []
    assert rows(session, "SELECT * FROM verify_column('person', 'email')") == []


def test_blind_index_follows_a_ciphertext_of_an_insert(session: Connection) -> None:
    make_indexed(session)
    session.execute("CREATE TABLE kept AS SELECT * FROM person_encrypted WHERE id = 2")
    session.execute("DELETE FROM person WHERE id = 2")
    session.execute("INSERT INTO person_encrypted (id, email_encrypted) SELECT id, email_encrypted FROM kept")
    assert found(session, "bob@example.org") == [2]
    assert rows(session, "SELECT * FROM verify_column('person', 'email')") == []


def test_unique_blind_index_sees_a_ciphertext(session: Connection) -> None:
    session.execute("CREATE TABLE person (id integer PRIMARY KEY, email text UNIQUE)")
    session.execute("SELECT encrypt_column('person', 'email')")
    session.execute("INSERT INTO person VALUES (1, 'ann@example.org'), (2, 'bob@example.org')")
    with pytest.raises(errors.UniqueViolation):
        session.execute(
            "INSERT INTO person_encrypted (id, email) VALUES (1, 'new@example.org'), (2, 'new@example.org')"
            " ON CONFLICT (id) DO UPDATE SET email_encrypted = EXCLUDED.email_encrypted"
        )


def make_with_column_trigger(connection: Connection) -> None:
    connection.execute(
        "CREATE TABLE item (id integer PRIMARY KEY, n integer, note text, secret text, changes integer DEFAULT 0,"
        " twice integer GENERATED ALWAYS AS (n * 2) STORED)"
    )
    connection.execute(
        "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN NEW.note := upper(NEW.note); RETURN NEW; END'"
    )
    connection.execute("CREATE TRIGGER shout BEFORE UPDATE OF note ON item FOR EACH ROW EXECUTE FUNCTION shout()")
    connection.execute(
        "CREATE FUNCTION count_change() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN NEW.changes := OLD.changes + 1; RETURN NEW; END'"
    )
    connection.execute(
        "CREATE TRIGGER count_change BEFORE UPDATE ON item FOR EACH ROW EXECUTE FUNCTION count_change()"
    )
    connection.execute("INSERT INTO item VALUES (1, 5, 'a', 's')")
    connection.execute("SELECT encrypt_column('item', 'secret')")
    connection.execute("CALL migrate_column('item', 'secret')")


def test_returning_has_what_the_table_made_with_triggers_for_columns(session: Connection) -> None:
    make_with_column_trigger(session)
    shown = rows(
        session, "UPDATE item SET n = 7, note = 'b' WHERE id = 1 RETURNING n, note, secret, changes, twice"
    )
    assert shown == [(7, "B", "s", 1, 14)]
    assert rows(session, "SELECT n, note, secret, changes, twice FROM item") == shown


def test_update_without_a_change_fires_triggers_of_rows(session: Connection) -> None:
    make_with_column_trigger(session)
    before = value(session, "SELECT secret_encrypted FROM item_encrypted")
    assert rows(session, "UPDATE item SET n = n WHERE id = 1 RETURNING changes, note") == [(1, "a")]
    assert value(session, "SELECT secret_encrypted FROM item_encrypted") == before


def test_returning_with_privileges_on_columns(cluster: Cluster, session: Connection) -> None:
    session.execute("CREATE ROLE consistency_narrow LOGIN")
    try:
        session.execute(
            "CREATE TABLE entry (id integer PRIMARY KEY, n integer, secret text,"
            " twice integer GENERATED ALWAYS AS (n * 2) STORED)"
        )
        session.execute("INSERT INTO entry VALUES (1, 5, 's')")
        session.execute(f"GRANT USAGE ON SCHEMA {SCHEMA} TO consistency_narrow")
        session.execute("GRANT SELECT, INSERT (id, n), UPDATE (n) ON entry TO consistency_narrow")
        session.execute("SELECT encrypt_column('entry', 'secret')")
        session.execute("CALL migrate_column('entry', 'secret')")
        path = f"-c search_path={SCHEMA},pgkeymgr"
        with cluster.connect("test", user="consistency_narrow", options=path) as narrow:
            assert rows(narrow, "UPDATE entry SET n = 7 RETURNING n, secret, twice") == [(7, "s", 14)]
            # Nothing is changed, and no column may be named for which the role has no privilege.
            assert rows(narrow, "UPDATE entry SET n = 7 RETURNING n, secret, twice") == [(7, "s", 14)]
            insert = "INSERT INTO entry (id, n) VALUES ({}) RETURNING id, n, secret, twice"
            assert rows(narrow, insert.format("2, 3")) == [(2, 3, None, 6)]
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                narrow.execute("UPDATE entry SET secret = 'x'")
    finally:
        session.execute("DROP OWNED BY consistency_narrow")
        session.execute("DROP ROLE consistency_narrow")


def test_composite_values_whatever_array_nulls_is(session: Connection) -> None:
    session.execute("CREATE TYPE part AS (numbers integer[], words text[])")
    session.execute("CREATE DOMAIN named AS part CHECK ((VALUE).numbers IS DISTINCT FROM '{0}')")
    session.execute("CREATE TYPE pair AS (first part, number integer)")
    session.execute("CREATE TABLE thing (id integer PRIMARY KEY, a part, b named, c pair, d part[])")
    part = """'("{1,NULL}","{NULL,""NULL"",\\\\""}")'"""
    session.execute(
        f"INSERT INTO thing VALUES (1, {part}, {part}, ROW({part}, NULL), ARRAY[{part}::part])".encode()
    )
    session.execute("INSERT INTO thing VALUES (2, '(,)', NULL, '(,)', '{}')")
    shown = rows(session, "SELECT id, a::text, b::text, c::text, d::text FROM thing ORDER BY id")
    assert "NULL" in shown[0][1]
    for name in "abcd":
        session.execute(f"SELECT encrypt_column('thing', '{name}')")
        session.execute(f"CALL migrate_column('thing', '{name}')")
    for setting in ("on", "off"):
        session.execute(f"SET array_nulls = {setting}")
        assert rows(session, "SELECT id, a::text, b::text, c::text, d::text FROM thing ORDER BY id") == shown
    session.execute("UPDATE thing SET id = id + 10")
    session.execute("CALL decrypt_column('thing', 'c')")
    moved = [(row[0] + 10, *row[1:]) for row in shown]
    assert rows(session, "SELECT id, a::text, b::text, c::text, d::text FROM thing ORDER BY id") == moved
    assert rows(session, "SELECT num_nulls(a, b) FROM thing WHERE id = 12") == [(1,)]
