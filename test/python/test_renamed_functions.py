"""Objects that the CHECK constraints of encrypted columns name are renamed and moved: the constraints are text."""

from collections.abc import Iterator

import pytest
from cluster import Cluster
from conftest import Connection, rows
from psycopg import errors


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> Iterator[Cluster]:
    with cluster.temporary_database("renamed_functions"):
        yield cluster


@pytest.fixture
def admin(database: Cluster) -> Iterator[Connection]:
    """A superuser, and an encrypted table with a constraint that names a function, an operator and a collation."""
    with database.connect("renamed_functions") as connection:
        connection.execute("CREATE SCHEMA rf")
        connection.execute("CREATE SCHEMA elsewhere")
        connection.execute("SET search_path = rf, pgkeymgr")
        try:
            for statement in (
                "CREATE FUNCTION is_good(text, text) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT $1 <> $2'",
                "CREATE FUNCTION twice(integer) RETURNS integer IMMUTABLE LANGUAGE sql AS 'SELECT 2 * $1'",
                "CREATE OPERATOR ### (LEFTARG = text, RIGHTARG = text, FUNCTION = is_good)",
                'CREATE COLLATION bytewise FROM "C"',
                "CREATE EXTENSION fuzzystrmatch SCHEMA rf",
                "CREATE TABLE t (id integer PRIMARY KEY, s text, n integer,"
                " g integer GENERATED ALWAYS AS (twice(n)) STORED, CHECK (is_good(s, 'bad')),"
                " CHECK (s ### 'worse'),"
                " CHECK (s COLLATE bytewise > 'B'), CHECK (levenshtein(s, 'x') < 9), CHECK (s <> 'x' OR g < 100))",
                "SELECT encrypt_column('t', 's')",
            ):
                rows(connection, statement)
            yield connection
        finally:
            connection.execute("DROP SCHEMA rf, elsewhere CASCADE")


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER FUNCTION is_good(text, text) RENAME TO is_fine",
        "ALTER FUNCTION is_good(text, text) SET SCHEMA elsewhere",
        "ALTER ROUTINE is_good(text, text) RENAME TO is_fine",
        "DO $$ BEGIN EXECUTE 'ALTER FUNCTION is_good(text, text) RENAME TO is_fine'; END $$",
        "ALTER OPERATOR ### (text, text) SET SCHEMA elsewhere",
        "ALTER COLLATION bytewise RENAME TO another",
        "ALTER EXTENSION fuzzystrmatch SET SCHEMA elsewhere",
    ],
)
def test_renaming_an_object_that_a_check_names_is_refused(admin: Connection, statement: str) -> None:
    """The table would take no rows any more."""
    with pytest.raises(errors.FeatureNotSupported, match="would become invalid"):
        rows(admin, statement)
    rows(admin, "INSERT INTO t VALUES (1, 'good', 1)")
    with pytest.raises(errors.CheckViolation):
        rows(admin, "UPDATE t SET s = 'bad'")


def test_a_generated_column_follows(admin: Connection) -> None:
    """The constraint has the column, and not the function that makes it."""
    rows(admin, "ALTER FUNCTION twice(integer) RENAME TO double")
    rows(admin, "INSERT INTO t VALUES (1, 'x', 49)")
    with pytest.raises(errors.CheckViolation):
        rows(admin, "INSERT INTO t VALUES (2, 'x', 50)")


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER FUNCTION is_good(text, text) COST 5",
        "ALTER EXTENSION fuzzystrmatch UPDATE",
        "ALTER FUNCTION free() RENAME TO f",
    ],
)
def test_other_changes(admin: Connection, statement: str) -> None:
    rows(admin, "CREATE FUNCTION free() RETURNS integer LANGUAGE sql AS 'SELECT 1'")
    rows(admin, statement)
    rows(admin, "INSERT INTO t VALUES (1, 'good', 1)")
