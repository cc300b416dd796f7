"""DROP of types and other objects that encrypted columns depend on."""

from collections.abc import Iterator

import pytest
from cluster import Cluster
from conftest import Connection, rows, value
from psycopg import errors

IN_USE = errors.DependentObjectsStillExist
UNREADABLE = errors.FeatureNotSupported

REFUSED = {
    "an enum": ("CREATE TYPE ty AS ENUM ('a')", "ty", "'a'", "DROP TYPE ty CASCADE", IN_USE),
    "a domain": ("CREATE DOMAIN ty AS text", "ty", "'a'", "DROP DOMAIN ty CASCADE", IN_USE),
    "a composite type": ("CREATE TYPE ty AS (a int)", "ty", "'(1)'", "DROP TYPE ty CASCADE", IN_USE),
    "a row type": ("CREATE TABLE ty (a int)", "ty", "'(1)'", "DROP TABLE ty CASCADE", IN_USE),
    "elements of an array": ("CREATE TYPE ty AS ENUM ('a')", "ty[]", "'{a}'", "DROP TYPE ty CASCADE", IN_USE),
    "a range": ("CREATE TYPE ty AS RANGE (subtype = int4)", "ty", "'[1,2)'", "DROP TYPE ty CASCADE", IN_USE),
    "in an extension": (
        "CREATE EXTENSION hstore SCHEMA dt",
        "hstore",
        "'a=>1'",
        "DROP EXTENSION hstore CASCADE",
        IN_USE,
    ),
    "in a schema": (
        "CREATE SCHEMA dt2; CREATE TYPE dt2.ty AS ENUM ('a')",
        "dt2.ty",
        "'a'",
        "DROP SCHEMA dt2 CASCADE",
        IN_USE,
    ),
    "a field of a type": (
        "CREATE TYPE part AS ENUM ('a'); CREATE TYPE ty AS (p part, n int)",
        "ty",
        "'(a,1)'",
        "DROP TYPE part CASCADE",
        UNREADABLE,
    ),
    "a collation": (
        "CREATE COLLATION ty (locale = 'C')",
        "text COLLATE ty",
        "'a'",
        "DROP COLLATION ty CASCADE",
        IN_USE,
    ),
    "a function in a CHECK": (
        "CREATE FUNCTION ty(text) RETURNS boolean IMMUTABLE LANGUAGE sql RETURN $1 <> ''",
        "text CHECK (ty(v))",
        "'a'",
        "DROP FUNCTION ty CASCADE",
        UNREADABLE,
    ),
    "a type in a CHECK": (
        "CREATE TYPE ty AS ENUM ('a')",
        "text CHECK (v::ty = 'a')",
        "'a'",
        "DROP TYPE ty CASCADE",
        UNREADABLE,
    ),
}


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> Iterator[Cluster]:
    with cluster.temporary_database("types"):
        yield cluster


@pytest.fixture
def admin(database: Cluster) -> Iterator[Connection]:
    """A superuser, and a schema for the test."""
    with database.connect("types") as connection:
        connection.execute("CREATE SCHEMA dt")
        connection.execute("SET search_path = dt, pgkeymgr")
        try:
            yield connection
        finally:
            connection.execute("DROP SCHEMA IF EXISTS dt, dt2 CASCADE")
            assert rows(connection, "SELECT base_relation FROM encrypted_columns") == []


def check_works(admin: Connection, plain: str) -> None:
    assert rows(admin, "SELECT id, v::text FROM t") == [(1, plain)]
    admin.execute("INSERT INTO t (id) VALUES (2)")
    rows(admin, "CALL decrypt_column('t', 'v')")
    assert rows(admin, "SELECT id, v::text FROM t ORDER BY id") == [(1, plain), (2, None)]


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("is_migrated", [True, False])
def test_dropping_a_needed_type_is_refused(admin: Connection, name: str, is_migrated: bool) -> None:
    setup, type_, literal, statement, error = REFUSED[name]
    rows(admin, setup)
    rows(admin, f"CREATE TABLE t (id integer PRIMARY KEY, v {type_})")
    rows(admin, f"INSERT INTO t VALUES (1, {literal})")
    (plain,) = (row[0] for row in rows(admin, "SELECT v::text FROM t"))
    rows(admin, "SELECT encrypt_column('t', 'v')")
    if is_migrated:
        rows(admin, "CALL migrate_column('t', 'v')")
    with pytest.raises(error) as refused:
        rows(admin, statement)
    assert refused.value.sqlstate in ("2BP01", "0A000")
    if not is_migrated:
        rows(admin, "CALL migrate_column('t', 'v')")
    check_works(admin, plain)


@pytest.mark.parametrize("column", ["id", "tenant"])
def test_the_type_of_a_column_that_is_needed(admin: Connection, column: str) -> None:
    """The primary key, and the column that has the keys."""
    rows(admin, "CREATE TYPE ty AS ENUM ('a')")
    types = {"id": "integer", "tenant": "text", column: "ty"}
    rows(admin, f"CREATE TABLE t (id {types['id']} PRIMARY KEY, tenant {types['tenant']}, v text)")
    rows(admin, "SELECT encrypt_column('t', 'v', key_by => 'tenant')")
    with pytest.raises(IN_USE, match=f'column "{column}"'):
        rows(admin, "DROP TYPE ty CASCADE")
    assert rows(admin, "SELECT * FROM t") == []


def test_the_type_of_another_column(admin: Connection) -> None:
    """As on a plain table, the column goes. The view comes back without it."""
    rows(admin, "CREATE TYPE ty AS ENUM ('a')")
    rows(admin, "CREATE TABLE t (id integer PRIMARY KEY, other ty, v text)")
    rows(admin, "INSERT INTO t VALUES (1, 'a', 'x')")
    rows(admin, "SELECT encrypt_column('t', 'v')")
    rows(admin, "CALL migrate_column('t', 'v')")
    rows(admin, "DROP TYPE ty CASCADE")
    assert rows(admin, "SELECT * FROM t") == [(1, "x")]
    check_works(admin, "x")


def test_everything_is_dropped(admin: Connection) -> None:
    """A table goes together with its type."""
    rows(admin, "CREATE SCHEMA dt2")
    rows(admin, "CREATE TYPE dt2.ty AS ENUM ('a')")
    rows(admin, "CREATE TABLE dt2.t (id dt2.ty PRIMARY KEY, v dt2.ty)")
    rows(admin, "SELECT encrypt_column('dt2.t', 'v')")
    rows(admin, "DROP SCHEMA dt2 CASCADE")
    assert value(admin, "SELECT count(*) FROM encrypted_columns") == 0


def test_functions_with_similar_names(admin: Connection) -> None:
    rows(admin, "CREATE FUNCTION ty() RETURNS integer LANGUAGE sql RETURN 1")
    rows(admin, "CREATE TABLE t (id integer PRIMARY KEY, v text CHECK (v <> 'ty'))")
    rows(admin, "SELECT encrypt_column('t', 'v')")
    rows(admin, "DROP FUNCTION ty")
    with pytest.raises(errors.CheckViolation):
        rows(admin, "INSERT INTO t VALUES (1, 'ty')")


def test_where_event_triggers_do_not_fire(admin: Connection) -> None:
    """The error names the column, and the table can be dropped."""
    rows(admin, "CREATE TYPE ty AS ENUM ('a')")
    rows(admin, "CREATE TABLE t (id integer PRIMARY KEY, v ty)")
    rows(admin, "SELECT encrypt_column('t', 'v')")
    rows(admin, "SET session_replication_role = replica")
    rows(admin, "DROP TYPE ty CASCADE")
    rows(admin, "RESET session_replication_role")
    for statement in ("SELECT refresh_encrypted_view('t_encrypted')", "CALL decrypt_column('t_encrypted', 'v')"):
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match='column "v"') as refused:
            rows(admin, statement)
        assert refused.value.diag.message_hint
    rows(admin, "DROP TABLE t_encrypted")
