"""The code that is generated for a table names everything with its schema.

scripts/lint_names.py reads the rest.
"""

import pytest
from conftest import Connection, rows
from lint_names import unqualified, unqualified_in_plpgsql

# Generated functions differ by what a table has: these have something of each.
STATEMENTS = (
    "CREATE TYPE names_mood AS ENUM ('sad', 'glad')",
    "CREATE FUNCTION names_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "CREATE TABLE names_person (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant text, t text UNIQUE,"
    " born date CHECK (born > '1900-01-01'), n numeric(6, 2) DEFAULT 0 NOT NULL, mood names_mood, tags text[],"
    " bytes bytea, lookup text, doubled integer GENERATED ALWAYS AS (2) STORED)",
    "CREATE TRIGGER change BEFORE INSERT OR UPDATE ON names_person FOR EACH ROW EXECUTE FUNCTION names_change()",
    "SELECT encrypt_column('names_person', 't')",
    "SELECT encrypt_column('names_person', 'born', key_by => 'tenant')",
    "SELECT encrypt_column('names_person', 'n')",
    "SELECT encrypt_column('names_person', 'mood')",
    "SELECT encrypt_column('names_person', 'tags')",
    "SELECT encrypt_column('names_person', 'bytes')",
    "SELECT encrypt_column('names_person', 'lookup', deterministic => true)",
    "SELECT add_blind_index('names_person', 'born')",
    "CREATE TABLE names_granted (id integer PRIMARY KEY, t text, plain text)",
    "SELECT encrypt_column('names_granted', 't')",
    "CALL migrate_column('names_granted', 't')",
    "CREATE ROLE names_reader",
    "GRANT SELECT (id, t), INSERT (id, t), UPDATE (t) ON names_granted TO names_reader",
)


def test_generated_functions_name_schemas(connection: Connection) -> None:
    """They run in the search_path of whoever writes: no type, operator, function or table is looked up in it."""
    for statement in STATEMENTS:
        rows(connection, statement)
    generated = rows(
        connection,
        "SELECT p.proname, pg_get_functiondef(p.oid) FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang"
        " WHERE p.pronamespace = 'pgkeymgr'::regnamespace AND l.lanname IN ('sql', 'plpgsql')"
        " AND coalesce(array_to_string(p.proconfig, ','), '') !~ 'search_path=(pg_catalog|\"\")'",
    )
    assert generated
    found = {name: found for name, text in generated if (found := unqualified_in_plpgsql(text))}
    assert not found


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT 1 OPERATOR(pg_catalog.=) 1 FROM pg_catalog.pg_class", []),
        ("SELECT 1 = 1", ["operator ="]),
        ("SELECT 'a' LIKE 'b'", ["operator ~~"]),
        ("SELECT 1 IN (1, 2)", ["the operators of IN"]),
        ("SELECT 1 WHERE 1 IN (SELECT 1)", ["the operator of IN"]),
        ("SELECT CASE 1 WHEN 2 THEN 3 END", ["the operator of CASE … WHEN"]),
        ("SELECT 1 IS DISTINCT FROM 2", ["the operators of IS DISTINCT FROM"]),
        ("SELECT lower('A')", ["function lower"]),
        ("SELECT 'a'::text", ["type text"]),
        ("SELECT 'a'::integer, 'a'::pg_catalog.text", []),
        ("SELECT FROM pg_class", ["relation pg_class"]),
        ("WITH a AS (SELECT) SELECT FROM a", []),
        ("SELECT FROM a.b JOIN a.c USING (d)", ["the operator of JOIN … USING"]),
    ],
)
def test_names_are_found(statement: str, expected: list[str]) -> None:
    assert unqualified(statement) == expected


def test_names_in_plpgsql_are_found() -> None:
    function = """CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    made record;
    written_1 date;
    fine pg_catalog.date;
BEGIN
    fine := NEW.a;
    IF NEW.a = 1 THEN INSERT INTO t VALUES (lower(NEW.b)); END IF;
    RETURN NEW;
END $$"""
    assert unqualified_in_plpgsql(function) == [
        "type record",
        "type date",
        "operator =",
        "relation t",
        "function lower",
    ]
