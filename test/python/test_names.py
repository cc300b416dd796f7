"""No search_path leads pgkeymgr's code to other types, operators, functions and tables than it means.

scripts/lint_names.py reads the statements in the package, and a test here those that it generates. The hostile
mode of ``make test-hostile`` runs other tests with a schema of traps, as a test here does with a few statements.
"""

import pytest
from cluster import Cluster
from conftest import Connection, rows, value
from lint_names import unqualified, unqualified_in_plpgsql
from pgkeymgr import client

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
    """They run in the search_path of the writer: no type, operator, function or table is looked up in it."""
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
        ("SELECT 1 IS NOT DISTINCT FROM NULL", []),
        ("SELECT lower('A')", ["function lower"]),
        ("SELECT 'a'::text", ["type text"]),
        ("SELECT 'a'::integer, 'a'::pg_catalog.text", []),
        ("SELECT FROM pg_class", ["relation pg_class"]),
        ("WITH a AS (SELECT) SELECT FROM a", []),
        ("SELECT FROM s.a AS b FOR UPDATE OF b", []),
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


TRAPPED = "-c search_path=hostile,pg_catalog,public,pgkeymgr"


def test_a_session_full_of_traps(cluster: Cluster) -> None:
    """Functions, triggers and procedures do what they always do, also after a COMMIT of their own."""
    cluster.create_database("traps", has_traps=True)
    with cluster.connect("traps", options=TRAPPED) as connection:
        # A trap that fires writes to the log, which the tests of the hostile mode read.
        for name in (
            "regtype('text')",
            "regoperator('=(integer,integer)')",
            "regprocedure('lower(pg_catalog.text)')",
        ):
            assert str(value(connection, f"SELECT pg_catalog.to_{name}::pg_catalog.oid")) > "16384", name
        same = "id OPERATOR(pg_catalog.=) 1"
        for statement in (
            "SELECT pgkeymgr.create_data_key('k')",
            "SELECT pgkeymgr.supersede_data_key('k')",
            "CREATE TABLE public.t"
            " (id integer PRIMARY KEY, a pg_catalog.text, b pg_catalog.date, c pg_catalog.text)",
            "INSERT INTO public.t VALUES (1, 'a', '2000-01-01', 'c')",
            "SELECT pgkeymgr.encrypt_column('public.t', 'a', key => 'k')",
            "SELECT pgkeymgr.encrypt_column('public.t', 'b', key_by => 'id')",
            "SELECT pgkeymgr.encrypt_column('public.t', 'c', deterministic => true)",
            "SELECT pgkeymgr.add_blind_index('public.t', 'b')",
            f"UPDATE public.t SET a = 'x', b = '2000-01-02' WHERE {same}",
            "CALL pgkeymgr.migrate_column('public.t', 'a')",
            "CALL pgkeymgr.migrate_column('public.t', 'b')",
            "CALL pgkeymgr.migrate_column('public.t', 'c')",
            "CALL pgkeymgr.rotate_column('public.t', 'a')",
            f"UPDATE public.t SET b = '2000-01-03' WHERE {same}",
            "INSERT INTO public.t VALUES (2, 'two', '2002-02-02', 'zwei')",
            """SELECT pgkeymgr.upsert('public.t', '{"id": 2, "b": "2000-02-03"}')""",
            "GRANT SELECT ON public.t TO pg_monitor",
            "CALL pgkeymgr.decrypt_column('public.t', 'c')",
        ):
            rows(connection, statement)
        assert value(connection, f"SELECT a FROM public.t WHERE {same}") == "x"
        assert value(connection, "SELECT pgkeymgr.token_decrypt(pgkeymgr.token_encrypt('k', '\\x61'))") == b"a"
        blind = "pgkeymgr.blind_index('public.t', 'b', '2000-02-03')"
        assert rows(connection, f"SELECT id FROM public.t WHERE b_bidx OPERATOR(pg_catalog.=) {blind}") == [(2,)]
        assert rows(connection, "SELECT (pgkeymgr.verify_column('public.t', 'a')).problem") == []
        calls = client.Client(connection, client.fetch_fingerprint(connection))
        calls.add_passphrase("k", "secret")
        calls.unlock_data_key("k", "secret")
        calls.lock()
        rows(connection, "SELECT pgkeymgr.doctor()")
