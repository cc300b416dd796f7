"""The types of encrypted columns and of primary keys: nobody changes one behind the values."""

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import walls_database
from cluster import Cluster
from conftest import Connection, rows
from psycopg import errors
from walls_database import Database, new_database, run

server = walls_database.server
database = walls_database.database
superuser = walls_database.superuser
owner = walls_database.owner


LABELS = {
    "typed": "{}",
    "in DO": "DO $$ BEGIN EXECUTE '{quoted}'; END $$",
    "in pieces": "DO $$ BEGIN EXECUTE replace('{quoted}', 'ALTER', 'AL' || 'TER'); END $$",
    "in a function": "SELECT own.execute('{quoted}')",
    "in a transaction": "BEGIN; CREATE TABLE IF NOT EXISTS own.more (i integer); {}; COMMIT",
}
SETUP = (
    "CREATE FUNCTION own.execute(text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE $1; END $$",
    "CREATE TYPE own.e AS ENUM ('a', 'b')",
    "CREATE DOMAIN own.ed AS own.e",
    "CREATE TYPE own.inner_row AS (e own.e, n integer)",
    "CREATE TYPE own.outer_row AS (i own.inner_row, t text)",
    "CREATE DOMAIN own.positive AS integer CHECK (VALUE > 0)",
    "CREATE DOMAIN own.deep AS own.outer_row[]",
    "CREATE TABLE own.address (street text, e own.e)",
    "CREATE TYPE own.span AS RANGE (subtype = own.e)",
)
COLUMNS = {
    "own.e": "'a'",
    "own.ed": "'a'",
    "own.e[]": "'{a,b}'",
    "own.inner_row": "ROW('a', 1)",
    "own.outer_row": "ROW(ROW('a', 1), 't')",
    "own.deep": "ARRAY[ROW(ROW('a', 1), 't')::own.outer_row]",
    "own.address": "ROW('Main', 'a')",
    "own.span": "'[a,b]'",
    "own.positive": "5",
}
CHANGES = {
    "ALTER TYPE own.e RENAME VALUE 'a' TO 'z'": set(COLUMNS) - {"own.positive"},
    "ALTER TYPE own.inner_row ADD ATTRIBUTE z integer": {"own.inner_row", "own.outer_row", "own.deep"},
    "ALTER TYPE own.inner_row DROP ATTRIBUTE n": {"own.inner_row", "own.outer_row", "own.deep"},
    "ALTER TYPE own.outer_row ALTER ATTRIBUTE t TYPE integer": {"own.outer_row", "own.deep"},
    "ALTER TABLE own.address ADD COLUMN city text": {"own.address"},
    "ALTER TABLE own.address DROP COLUMN street": {"own.address"},
    "ALTER DOMAIN own.positive ADD CONSTRAINT small CHECK (VALUE < 3)": {"own.positive"},
    "ALTER DOMAIN own.positive ADD CONSTRAINT small CHECK (VALUE < 3) NOT VALID": {"own.positive"},
    "ALTER DOMAIN own.positive SET NOT NULL": {"own.positive"},
    "ALTER DOMAIN own.ed SET NOT NULL": {"own.ed"},
    "ALTER DOMAIN own.deep ADD CHECK (array_length(VALUE, 1) > 7)": {"own.deep"},
}
HARMLESS = (
    "ALTER TYPE own.e ADD VALUE 'c' BEFORE 'b'",
    "ALTER TYPE own.e RENAME TO e2",
    "ALTER TYPE own.e2 RENAME TO e",
    "ALTER TYPE own.inner_row RENAME ATTRIBUTE n TO m",
    "ALTER DOMAIN own.positive RENAME CONSTRAINT positive_check TO above",
    "ALTER DOMAIN own.positive DROP CONSTRAINT above",
    "ALTER DOMAIN own.positive SET DEFAULT 1",
    "ALTER DOMAIN own.positive DROP NOT NULL",
    "ALTER DOMAIN own.positive RENAME TO positive2",
    "ALTER DOMAIN own.positive2 SET SCHEMA shared",
    "ALTER TABLE own.address RENAME COLUMN street TO way",
    "ALTER TABLE own.address ADD CHECK (way <> '')",
)


@pytest.fixture(scope="module")
def typed(server: Cluster) -> Iterator[Database]:
    """A database to copy, with a table for each type of COLUMNS."""
    with new_database(server) as made:
        with made.session("wall_owner") as owner, made.session() as superuser:
            run(owner, *SETUP)
            for number, (type_, literal) in enumerate(COLUMNS.items()):
                run(owner, f"CREATE TABLE t{number} (id integer PRIMARY KEY, s {type_})")
                run(owner, f"INSERT INTO t{number} VALUES (1, {literal}), (2, NULL)")
                run(
                    superuser, f"SELECT encrypt_column('t{number}', 's')", f"CALL migrate_column('t{number}', 's')"
                )
        yield made


@pytest.fixture
def types(server: Cluster, typed: Database) -> Iterator[Database]:
    """A copy of that database."""
    with new_database(server, typed.name) as made:
        yield made


def readings(connection: Connection) -> list[Any]:
    """Return the values of all columns, and check that they can be written."""
    found = []
    for number in range(len(COLUMNS)):
        found += rows(connection, f"SELECT s::text FROM own.t{number} ORDER BY id")
        rows(connection, f"UPDATE own.t{number} SET s = s WHERE id = 1")
    return found


@pytest.mark.parametrize("way", LABELS)
def test_a_type_is_not_changed_behind_values(types: Database, way: str) -> None:
    """A change that would make values unreadable is refused in every form, even for the owner of the type."""
    with types.session("wall_owner") as owner, types.session() as superuser:
        before = readings(owner)
        run(superuser, "ALTER DEFAULT PRIVILEGES GRANT USAGE ON TYPES TO wall_victim")
        for change, concerned in CHANGES.items():
            statement = LABELS[way].format(change, quoted=change.replace("'", "''"))
            for session in (owner, superuser):
                # By PostgreSQL itself where a rule of the view mentions the type, or a domain is not to be NULL,
                # which the old column of an encrypted one always is.
                with pytest.raises((errors.FeatureNotSupported, errors.NotNullViolation)):
                    rows(session, statement)
                with contextlib.suppress(psycopg.Error):
                    rows(session, "ROLLBACK")
            assert readings(owner) == before, change
            assert concerned
        for statement in HARMLESS:
            rows(owner, statement)
        # Of the labels that came since, none is lost either.
        run(owner, "INSERT INTO t0 VALUES (3, 'c')")
        with pytest.raises(errors.FeatureNotSupported, match="label 'c' was renamed"):
            rows(owner, "ALTER TYPE own.e RENAME VALUE 'c' TO 'd'")
        assert readings(owner)[:2] == before[:2]


def test_a_type_of_others(types: Database) -> None:
    """As PostgreSQL keeps a type from being changed that a table uses, whosever each is."""
    with types.session("wall_owner") as owner, types.session() as superuser:
        run(superuser, "ALTER TYPE own.e OWNER TO wall_victim")
        with types.session("wall_victim") as victim, pytest.raises(errors.FeatureNotSupported, match="renamed"):
            rows(victim, "ALTER TYPE own.e RENAME VALUE 'a' TO 'z'")
        assert rows(owner, "SELECT s::text FROM t0 WHERE id = 1") == [("a",)]
        # Where nothing is encrypted any more, it is free.
        for number, (type_, _) in enumerate(COLUMNS.items()):
            if type_ != "own.positive":
                run(superuser, f"CALL decrypt_column('t{number}', 's')")
        with types.session("wall_victim") as victim:
            rows(victim, "ALTER TYPE own.e RENAME VALUE 'a' TO 'z'")
        assert rows(owner, "SELECT s::text FROM t0 WHERE id = 1") == [("z",)]


KEYS = {
    "own.e": ("'a'", ["ALTER TYPE own.e RENAME VALUE 'a' TO 'z'"]),
    "own.ed": ("'a'", ["ALTER TYPE own.e RENAME VALUE 'a' TO 'z'"]),
    "integer": ("7", ["ALTER TABLE t_encrypted ALTER COLUMN k TYPE text"]),
    "date": ("'2024-01-01'", ["ALTER TABLE t_encrypted ALTER COLUMN k TYPE timestamp"]),
}


@pytest.mark.parametrize("type_", KEYS)
def test_a_type_of_a_key(owner: Connection, superuser: Connection, type_: str) -> None:
    """A value is bound to what its row's key is, which is its text or its bytes."""
    literal, changes = KEYS[type_]
    run(owner, *SETUP, f"CREATE TABLE t (k {type_} PRIMARY KEY, s text)", f"INSERT INTO t VALUES ({literal}, 'x')")
    run(superuser, "SELECT encrypt_column('t', 's')", "CALL migrate_column('t', 's')")
    for change, session in itertools.product(changes, (owner, superuser)):
        rows(session, "BEGIN")
        if "TABLE" in change:
            rows(session, "DROP VIEW t")
        with pytest.raises(errors.FeatureNotSupported, match="bound to"):
            rows(session, change)
        rows(session, "ROLLBACK")
    assert rows(owner, "SELECT s FROM t") == [("x",)]
    if type_ == "integer":
        run(owner, "DROP VIEW t", "ALTER TABLE t_encrypted ALTER COLUMN k TYPE bigint")
    if type_ == "own.ed":
        # PostgreSQL has the values, and checks them.
        run(owner, "ALTER DOMAIN own.ed ADD CHECK (VALUE <> 'b')", "ALTER DOMAIN own.ed DROP CONSTRAINT ed_check")
    assert rows(owner, "SELECT s FROM t") == [("x",)]
