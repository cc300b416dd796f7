"""Types whose texts do not stand for all of their values: refused when the column is encrypted, or later."""

from collections.abc import Iterator

import pytest
from conftest import Connection, rows
from psycopg import errors


@pytest.fixture
def session(connection: Connection) -> Iterator[Connection]:
    """A session with a schema of its own, and types with casts to text."""
    connection.execute("""
        CREATE SCHEMA texts;
        SET search_path = texts, pgkeymgr, public;
        CREATE TYPE mood AS ENUM ('sad', 'ok');
        CREATE DOMAIN mood_of_day AS mood;
        CREATE TYPE place AS (street text, zip text);
        CREATE FUNCTION named(mood) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'in a mood' $$;
        CREATE FUNCTION guessed(text) RETURNS mood LANGUAGE sql IMMUTABLE AS $$ SELECT 'ok'::mood $$;
        CREATE FUNCTION named(place) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT ($1).street $$;
    """)
    try:
        yield connection
    finally:
        connection.execute("DROP SCHEMA texts CASCADE")


CASTS = {
    "a domain": ("mood_of_day", "'sad'", "(mood AS text) WITH FUNCTION named(mood)"),
    "a text": ("mood", "'sad'", "(text AS mood) WITH FUNCTION guessed(text)"),
    "a row": ("place", "ROW('Main', '1')", "(place AS text) WITH FUNCTION named(place)"),
}


@pytest.mark.parametrize("name", CASTS)
def test_a_cast_makes_other_texts(session: Connection, name: str) -> None:
    """A value that such a cast has written cannot be read back, or is read as another one."""
    type_, value, cast = CASTS[name]
    rows(session, f"CREATE TABLE t (id integer PRIMARY KEY, v {type_}, w text)")
    rows(session, f"INSERT INTO t VALUES (1, {value}, 'x')")
    before = rows(session, "SELECT id, v, w FROM t")
    rows(session, f"CREATE CAST {cast}")
    with pytest.raises(errors.FeatureNotSupported, match="of a cast would make another text"):
        rows(session, "SELECT encrypt_column('t', 'v')")
    # A column of another type is not concerned.
    rows(session, "SELECT encrypt_column('t', 'w')")
    rows(session, f"DROP CAST {cast.partition(' WITH')[0]}")
    rows(session, "SELECT encrypt_column('t', 'v')")
    rows(session, "CALL migrate_columns('t')")
    with pytest.raises(errors.FeatureNotSupported, match="values of t would become unreadable: function texts"):
        rows(session, f"CREATE CAST {cast}")
    assert rows(session, "SELECT id, v, w FROM t") == before
    rows(session, "CALL decrypt_column('t', 'v')")
    rows(session, f"CREATE CAST {cast}")


def test_a_cast_of_a_key(session: Connection) -> None:
    """Rows of two keys could have one text, and two tenants one key."""
    rows(session, "CREATE TABLE t (k mood PRIMARY KEY, v text)")
    rows(session, "INSERT INTO t VALUES ('sad', 'x')")
    rows(session, "SELECT encrypt_column('t', 'v')")
    with pytest.raises(errors.FeatureNotSupported, match="values of t would become unreadable"):
        rows(session, "CREATE CAST (mood AS text) WITH FUNCTION named(mood)")
    rows(session, "CREATE TABLE other (id integer PRIMARY KEY, k mood, v text)")
    rows(session, "DROP TABLE t_encrypted CASCADE")
    rows(session, "CREATE CAST (mood AS text) WITH FUNCTION named(mood)")
    with pytest.raises(errors.FeatureNotSupported, match="of a cast would make another text"):
        rows(session, "SELECT encrypt_column('other', 'v', key_by => 'k')")
    rows(session, "SELECT encrypt_column('other', 'v')")


def test_blanks_at_the_end(session: Connection) -> None:
    session.execute("""
        CREATE DOMAIN blank AS bpchar;
        CREATE TABLE t (id integer PRIMARY KEY, v bpchar, u blank, w char(4), x bpchar[]);
        INSERT INTO t VALUES (1, 'a ', 'b ', 'c ', '{"d "}');
    """)
    for name in ("v", "u"):
        with pytest.raises(errors.FeatureNotSupported, match="has no length"):
            rows(session, f"SELECT encrypt_column('t', '{name}')")
    rows(session, "SELECT encrypt_column('t', 'w'), encrypt_column('t', 'x')")
    rows(session, "CALL migrate_columns('t')")
    assert rows(session, "SELECT v, u, octet_length(w), x::text FROM t") == [("a ", "b ", 4, '{"d "}')]


def test_a_constraint_that_values_may_violate(session: Connection) -> None:
    """PostgreSQL reads such a value from its column, but makes none of a text: no row could be read any more."""
    session.execute("""
        CREATE DOMAIN word AS text;
        CREATE TYPE pair AS (one word, other integer);
        CREATE TABLE t (id integer PRIMARY KEY, v word, w word[], x pair);
        ALTER DOMAIN word ADD CONSTRAINT is_short CHECK (length(VALUE) < 3) NOT VALID;
    """)
    for name in ("v", "w", "x"):
        with pytest.raises(errors.FeatureNotSupported, match="a constraint that is NOT VALID"):
            rows(session, f"SELECT encrypt_column('t', '{name}')")
    rows(session, "ALTER DOMAIN word DROP CONSTRAINT is_short")
    rows(session, "SELECT encrypt_column('t', 'x')")
