"""Further ways in which triggers insert their whole row elsewhere; see test_row_triggers.py for the plain ones."""

from collections.abc import Iterator

import pytest
from cluster import Cluster
from conftest import Connection, rows
from pgkeymgr.column import obstacles
from psycopg import errors

COPIES = {
    "parameter": "EXECUTE 'INSERT INTO history SELECT $1.*' USING NEW;",
    "variable": "r := NEW; INSERT INTO history VALUES (r.*);",
    "variable in parentheses": "r = (NEW) ; INSERT INTO history SELECT (R).*;",
    "variable by select": "SELECT NEW.* INTO STRICT r; INSERT INTO history VALUES (r.*);",
    "text": "INSERT INTO history SELECT (NEW::text::history).*;",
    "populated": "INSERT INTO history SELECT * FROM jsonb_populate_record(NULL::history, to_jsonb(NEW));",
}
REFUSED_BODIES = (
    ("DECLARE r history := NEW; BEGIN INSERT INTO history VALUES (r.*); END", False),
    ("INSERT INTO h SELECT * FROM hstore_populate_record(NULL::h, hstore(OLD) - 'x')", False),
    ("INSERT INTO h SELECT * FROM json_populate_recordset(NULL::h, json_agg(NEW.*))", False),
    ("INSERT INTO h TABLE new_rows", True),
)
ACCEPTED_BODIES = (
    ("INSERT INTO h TABLE other", False),
    ("INSERT INTO h SELECT * FROM jsonb_populate_record(NULL::h, NEW.payload)", False),
    ("INSERT INTO h SELECT to_jsonb(NEW.*)", False),
    ("r := NEW; INSERT INTO h VALUES (r.note)", False),
    ("r := NEW.payload; INSERT INTO h VALUES (r.*)", False),
    ("r := to_jsonb(NEW); INSERT INTO h VALUES (r)", False),
    ("EXECUTE 'INSERT INTO h VALUES ($1)' USING NEW.note", False),
)
CONVERTED = (
    "DECLARE r t%ROWTYPE; BEGIN r := NEW; r.n := 8; RETURN r; END",
    "DECLARE r t; BEGIN SELECT NEW.* INTO STRICT r; r.n := 8; NEW = (r); RETURN NEW; END",
    "DECLARE r made.t % ROWTYPE := NEW; BEGIN r.n := 8; RETURN (r); END",
    'DECLARE r CONSTANT "t" NOT NULL DEFAULT NEW; BEGIN NEW.n := 8 + r.n * 0; RETURN NEW; END',
    "DECLARE r t; BEGIN SELECT * INTO r FROM jsonb_populate_record(NULL::t, to_jsonb(NEW)); RETURN NEW; END",
    "BEGIN NEW := jsonb_populate_record(NULL::made.t, to_jsonb(NEW) || '{\"n\": 8}'); RETURN NEW; END",
    "BEGIN RETURN jsonb_populate_record(CAST(NULL AS t), to_jsonb(NEW) || '{\"n\": 8}'); END",
    "DECLARE r t; BEGIN SELECT * INTO r FROM t WHERE id = NEW.id; IF FOUND THEN NEW := r; END IF; RETURN NEW; END",
)
NOT_CONVERTED = (
    "DECLARE r record; BEGIN r := NEW; r.n := 8; RETURN r; END",
    "DECLARE r t; BEGIN SELECT * INTO r FROM t WHERE id = NEW.id - 1; NEW.n := coalesce(r.n, 8); RETURN NEW; END",
    "DECLARE i t.id%TYPE := NEW.id; BEGIN NEW.n := 8 + i * 0; RETURN NEW; END",
    "BEGIN NEW := jsonb_populate_record(NEW, '{\"n\": 8}'); RETURN NEW; END",
    "DECLARE r t2 := NEW; BEGIN NEW.n := 8 + r.id * 0; RETURN NEW; END",
)
LONG_BODIES = (
    "x := " + "+" * 50000 + " new" + " " * 50000,
    "".join(f"x{number} := new; " for number in range(20000)),
    "a " * 50000,
    "(new::" * 50000,
    "populate_record( " * 20000,
    "insert into x $1 . " * 20000,
    "select new . * " * 20000,
)


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> Iterator[Cluster]:
    with cluster.temporary_database("row_copies"):
        yield cluster


@pytest.fixture
def table(database: Cluster) -> Iterator[Connection]:
    """A superuser, and a table with a trigger that does nothing yet."""
    with database.connect("row_copies") as admin:
        rows(admin, "CREATE SCHEMA made")
        rows(admin, "SET search_path = made, pgkeymgr")
        try:
            rows(admin, "CREATE TABLE t (id integer PRIMARY KEY, s text, n integer)")
            rows(admin, "CREATE TABLE t2 (id integer)")
            make_function(admin, "BEGIN RETURN NEW; END")
            trigger = "TRIGGER made BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION make_row()"
            rows(admin, f"CREATE {trigger}")
            yield admin
        finally:
            rows(admin, "DROP SCHEMA made CASCADE")


def make_function(admin: Connection, body: str) -> None:
    rows(admin, f"CREATE OR REPLACE FUNCTION make_row() RETURNS trigger LANGUAGE plpgsql AS $f$ {body} $f$")


def test_triggers_that_copy_whole_rows_are_refused(database: Cluster) -> None:
    """The history would lack the value, or the table would take no writes."""
    with database.connect("row_copies") as admin:
        rows(admin, "SET search_path = public, pgkeymgr")
        rows(admin, "CREATE TABLE t (id serial PRIMARY KEY, s text)")
        rows(admin, "CREATE TABLE history (id integer, s text)")
        for name, statements in COPIES.items():
            rows(
                admin,
                "CREATE OR REPLACE FUNCTION copy_row() RETURNS trigger LANGUAGE plpgsql AS $f$"
                f" DECLARE r history; BEGIN {statements} RETURN NEW; END $f$",
            )
            trigger = "TRIGGER copying AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION copy_row()"
            rows(admin, f"CREATE OR REPLACE {trigger}")
            rows(admin, f"INSERT INTO t (s) VALUES ('{name}')")
            assert rows(admin, f"SELECT s FROM history WHERE s = '{name}'") == [(name,)]
            with pytest.raises(errors.FeatureNotSupported, match="inserts whole rows elsewhere"):
                rows(admin, "SELECT encrypt_column('t', 's')")


@pytest.mark.parametrize(("source", "has_tables"), REFUSED_BODIES)
def test_bodies_that_copy(source: str, *, has_tables: bool) -> None:
    assert obstacles._copies_rows(source, has_transition_tables=has_tables)


@pytest.mark.parametrize(("source", "has_tables"), ACCEPTED_BODIES)
def test_bodies_that_do_not_copy(source: str, *, has_tables: bool) -> None:
    assert not obstacles._copies_rows(source, has_transition_tables=has_tables)


def test_long_bodies_take_no_long_time() -> None:
    """Time that grows with the square of the length would be hours for these."""
    for source in LONG_BODIES:
        obstacles._copies_rows(source, has_transition_tables=True)
        obstacles._converts_rows(source, "new")


@pytest.mark.parametrize("body", CONVERTED)
def test_a_trigger_that_converts_its_row_is_refused(table: Connection, body: str) -> None:
    """The type of the table's name becomes that of the view's rows, and the table would take no writes."""
    make_function(table, body)
    rows(table, "INSERT INTO t VALUES (1, 'a', 1)")
    with pytest.raises(errors.FeatureNotSupported, match="converts its row to type"):
        rows(table, "SELECT encrypt_column('t', 's')")
    rows(table, "INSERT INTO t VALUES (2, 'b', 2)")
    assert rows(table, "SELECT id, s FROM t ORDER BY id") == [(1, "a"), (2, "b")]


@pytest.mark.parametrize("body", NOT_CONVERTED)
def test_a_trigger_that_does_not_convert_its_row_is_accepted(table: Connection, body: str) -> None:
    make_function(table, body)
    rows(table, "SELECT encrypt_column('t', 's')")
    rows(table, "INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2)")
    rows(table, "UPDATE t SET n = 5 WHERE id = 1")
    assert rows(table, "SELECT * FROM t ORDER BY id") == [(1, "a", 8), (2, "b", 8)]


def test_a_trigger_does_not_begin_to_convert_its_row(table: Connection) -> None:
    make_function(table, NOT_CONVERTED[0])
    rows(table, "SELECT encrypt_column('t', 's')")
    for body in CONVERTED:
        with pytest.raises(errors.FeatureNotSupported, match="converts its row to type"):
            make_function(table, body)
    rows(table, "INSERT INTO t VALUES (1, 'a', 1)")
    assert rows(table, "SELECT * FROM t") == [(1, "a", 8)]
