"""The walls around definitions that are read as text: no search_path gives their names another meaning.

A function or operator in a later schema of the path is found before PostgreSQL's own, if it has the very types of
the arguments, and PostgreSQL's has a polymorphic one.
"""

import pytest
import walls_database
from conftest import Connection, rows, value
from psycopg import errors
from walls_database import Database, run

server = walls_database.server
database = walls_database.database
superuser = walls_database.superuser
owner = walls_database.owner

TRAPS = (
    "CREATE FUNCTION shared.tell() RETURNS boolean LANGUAGE plpgsql AS"
    " $$ BEGIN RAISE WARNING 'LOOT %', current_user; RETURN true; END $$",
    "CREATE FUNCTION shared.array_length(integer[], integer) RETURNS integer LANGUAGE plpgsql AS"
    " $$ BEGIN PERFORM shared.tell(); RETURN 1; END $$",
    "CREATE FUNCTION shared.same(own.grade, own.grade) RETURNS boolean LANGUAGE plpgsql AS"
    " $$ BEGIN RETURN shared.tell(); END $$",
    "CREATE OPERATOR shared.= (leftarg = own.grade, rightarg = own.grade, function = shared.same)",
)
"""The statements of another role, which may make objects in a schema that is in the search_path of others."""


def make_table(owner: Connection, superuser: Connection, checks: str) -> None:
    """Make a table of wall_owner's with encrypted columns, which wall_victim may write."""
    run(
        owner,
        "CREATE TYPE own.grade AS ENUM ('good', 'bad')",
        "CREATE FUNCTION own.is_few(integer[]) RETURNS boolean LANGUAGE plpgsql AS"
        " $$ BEGIN RETURN cardinality($1) < 3; END $$",
        "CREATE FUNCTION own.is_fine(integer[]) RETURNS boolean LANGUAGE sql AS $$ SELECT is_few($1) $$",
        f"CREATE TABLE own.t (id integer PRIMARY KEY, a integer[], g own.grade, {checks})",
        "GRANT ALL ON own.t TO wall_victim",
    )
    run(superuser, "SELECT encrypt_column('own.t', 'a')", "SELECT encrypt_column('own.t', 'g')")


@pytest.mark.parametrize("path", ["shared, own", "own, shared"])
def test_a_writer_does_not_change_a_check(
    database: Database, owner: Connection, superuser: Connection, path: str
) -> None:
    make_table(
        owner, superuser, "CHECK (own.is_fine(a)), CHECK (array_length(a, 1) < 2 AND (g = 'good' OR g <> 'bad'))"
    )
    with database.session("wall_victim") as attacker:
        run(attacker, *TRAPS)
        # The first call of a session reads the text.
        for session in (attacker, superuser, owner):
            rows(session, f"SET search_path = {path}")
            for wrong in ("'{1,2}', 'good'", "'{1}', 'bad'", "'{1,2,3}', 'good'"):
                with pytest.raises(errors.CheckViolation):
                    rows(session, f"INSERT INTO own.t VALUES (1, {wrong})")
            rows(session, "INSERT INTO own.t VALUES (1, '{1}', 'good')")
            rows(session, "DELETE FROM own.t")
    assert database.loot() == []


def test_an_expression_that_cannot_be_qualified_keeps_the_pinned_path(
    database: Database, owner: Connection, superuser: Connection
) -> None:
    checks = "CHECK (cardinality(a) IS NOT NULL OR own.is_few(a)), CHECK (g IS NOT DISTINCT FROM 'good')"
    make_table(owner, superuser, checks)
    with database.session("wall_victim") as attacker:
        run(attacker, *TRAPS)
        for session in (attacker, superuser):
            rows(session, "SET search_path = shared, own")
            with pytest.raises(errors.CheckViolation):
                rows(session, "INSERT INTO own.t VALUES (1, '{1}', 'bad')")
    assert database.loot() == []


def test_a_materialized_view_keeps_its_functions(
    database: Database, owner: Connection, superuser: Connection
) -> None:
    run(
        owner,
        "CREATE TYPE own.grade AS ENUM ('good', 'bad')",
        "CREATE TABLE own.t (id integer PRIMARY KEY, a integer[], g own.grade)",
        "INSERT INTO own.t VALUES (1, '{1,2}', 'good')",
        "CREATE MATERIALIZED VIEW own.seen AS"
        " SELECT id, array_length(a, 1) AS n, g = 'good'::own.grade AS is_good FROM own.t",
        "CREATE UNIQUE INDEX seen_n ON own.seen (abs(n))",
        "CREATE MATERIALIZED VIEW own.never AS SELECT id FROM own.t WITH NO DATA",
    )
    with database.session("wall_victim") as attacker:
        run(attacker, *TRAPS, "CREATE FUNCTION shared.abs(integer) RETURNS integer LANGUAGE sql AS 'SELECT 1'")
    database.search_path = "shared,own,pgkeymgr"
    definitions = "SELECT pg_get_viewdef('own.seen'::regclass), pg_get_indexdef('own.seen_n'::regclass)"
    before = rows(superuser, definitions)
    with database.session() as session:
        run(
            session,
            "SELECT encrypt_column('own.t', 'a')",
            "SELECT encrypt_column('own.t', 'g')",
            "CALL migrate_column('own.t', 'a')",
            "CALL decrypt_column('own.t', 'a')",
        )
        assert rows(superuser, definitions) == before
        assert rows(session, "SELECT * FROM own.seen") == [(1, 2, True)]
        populated = "SELECT relispopulated FROM pg_class WHERE oid = 'own.never'::regclass"
        assert value(session, populated) is False
    assert database.loot() == []
