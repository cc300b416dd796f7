"""Triggers that go on with their whole row, to which encrypt_column adds a column."""

from collections.abc import Iterator

import pytest
from cluster import Cluster
from conftest import Connection, rows
from psycopg import errors


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> Iterator[Cluster]:
    with cluster.temporary_database("row_triggers"):
        yield cluster


@pytest.fixture
def admin(database: Cluster) -> Iterator[Connection]:
    """A superuser, and a table with a table for its history."""
    with database.connect("row_triggers") as connection:
        connection.execute("CREATE SCHEMA rt")
        connection.execute("SET search_path = rt, pgkeymgr")
        try:
            rows(connection, "CREATE TABLE t (id integer PRIMARY KEY, s text, note text)")
            rows(connection, "CREATE TABLE history (op text, at timestamptz, LIKE t)")
            rows(connection, "CREATE TABLE log (row jsonb, text text)")
            rows(connection, "CREATE FUNCTION of_row(t) RETURNS text LANGUAGE sql AS 'SELECT $1.note'")
            rows(
                connection, "CREATE FUNCTION of_rows(t[]) RETURNS integer LANGUAGE sql AS 'SELECT cardinality($1)'"
            )
            yield connection
        finally:
            connection.execute("DROP SCHEMA rt CASCADE")


def make_trigger(admin: Connection, statement: str, timing: str) -> None:
    rows(
        admin,
        "CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN"
        f" IF TG_OP = 'INSERT' THEN {statement}; END IF; RETURN NEW; END $f$",
    )
    rows(admin, f"CREATE TRIGGER audit {timing} EXECUTE FUNCTION audit()")


ROW = "AFTER INSERT OR UPDATE ON t FOR EACH ROW"
TABLES = "AFTER INSERT ON t REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT"
COPIES = {
    "select": ("INSERT INTO history SELECT 'I', now(), NEW.*", ROW),
    "values": ("INSERT INTO history VALUES ('I', now(), new . *)", ROW),
    "parentheses": ("insert into history select 'I', now(), (NEW).*", ROW),
    "execute": ("EXECUTE 'INSERT INTO history SELECT ''I'', now(), ($1).*' USING NEW", ROW),
    "alias": ("INSERT INTO history SELECT 'I', now(), r.* FROM new_rows AS r", TABLES),
    "star": ("INSERT INTO history SELECT * FROM (SELECT 'I', now()) AS a, new_rows", TABLES),
    "argument": ("NEW.note := of_row(NEW)", "BEFORE INSERT ON t FOR EACH ROW"),
    "array": ("PERFORM of_rows(ARRAY[NEW])", ROW),
}


@pytest.mark.parametrize("name", COPIES)
def test_triggers_that_copy_whole_rows_are_refused(admin: Connection, name: str) -> None:
    """No INSERT would work any more."""
    make_trigger(admin, *COPIES[name])
    with pytest.raises(errors.FeatureNotSupported, match=r"whole rows|rows of the view") as refused:
        rows(admin, "SELECT encrypt_column('t', 's')")
    assert "DROP TRIGGER audit ON rt.t" in (refused.value.diag.message_hint or "")
    rows(admin, "INSERT INTO t VALUES (1, 'one', 'note')")


WHOLE = {
    "json": ("INSERT INTO log VALUES (to_jsonb(NEW.*), ROW(NEW.*)::text)", ROW),
    "json of a table": ("INSERT INTO log SELECT to_jsonb(new_rows) FROM new_rows", TABLES),
    "count": ("INSERT INTO log (text) SELECT count(*) FROM new_rows", TABLES),
    "comparison": ("IF NEW.* IS DISTINCT FROM OLD.* THEN PERFORM 1; END IF", ROW),
    "comment": ("INSERT INTO log (text) -- NEW.*\n VALUES ('x')", ROW),
    "columns": ("INSERT INTO log (text) VALUES (NEW.note)", ROW),
    "variable": ("DECLARE r record; BEGIN r := NEW; INSERT INTO log (text) VALUES (r.note); END", ROW),
}


@pytest.mark.parametrize("name", WHOLE)
def test_triggers_that_insert_no_whole_row_are_accepted(admin: Connection, name: str) -> None:
    make_trigger(admin, *WHOLE[name])
    rows(admin, "SELECT encrypt_column('t', 's')")
    rows(admin, "INSERT INTO t VALUES (1, 'LEAKED', 'note')")
    rows(admin, "UPDATE t SET s = 'LEAKED, too'")
    assert rows(admin, "SELECT * FROM t") == [(1, "LEAKED, too", "note")]
    assert "LEAKED" not in str(rows(admin, "SELECT * FROM log"))
