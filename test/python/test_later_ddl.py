"""DDL on encrypted tables in their later life: inheritance, and defaults."""

from collections.abc import Iterator

import pytest
from cluster import Cluster
from conftest import Connection, rows, value
from psycopg import errors


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> Iterator[Cluster]:
    with cluster.temporary_database("later"):
        yield cluster


@pytest.fixture
def admin(database: Cluster) -> Iterator[Connection]:
    """A superuser, and an encrypted table in a schema of the test."""
    with database.connect("later") as connection:
        connection.execute("CREATE SCHEMA ld")
        connection.execute("SET search_path = ld, pgkeymgr")
        try:
            rows(connection, "CREATE TABLE t (id integer PRIMARY KEY, v text DEFAULT 'old', w integer)")
            rows(connection, "INSERT INTO t VALUES (1, 'x', 1)")
            rows(connection, "SELECT encrypt_column('t', 'v')")
            yield connection
        finally:
            connection.execute("DROP SCHEMA ld CASCADE")


PARENT = "CREATE TABLE parent (id integer NOT NULL, v text, w integer, v_encrypted bytea)"
INHERITANCE = {
    "a new child": "CREATE TABLE child () INHERITS (t_encrypted)",
    "a new child in a function": "DO $$ BEGIN EXECUTE 'CREATE TABLE child (x int) INHERITS (t_encrypted)'; END $$",
    "a parent": "ALTER TABLE t_encrypted INHERIT parent",
    "a child": "ALTER TABLE child INHERIT t_encrypted",
    "a partition": "ALTER TABLE divided ATTACH PARTITION t_encrypted DEFAULT",
}


@pytest.mark.parametrize("name", INHERITANCE)
def test_inheritance_is_refused(admin: Connection, name: str) -> None:
    """A view of the table would show rows of other tables, which its triggers do not find."""
    rows(admin, "CALL migrate_column('t', 'v')")
    rows(admin, PARENT)
    if name == "a child":
        rows(admin, "CREATE TABLE child (LIKE t_encrypted INCLUDING ALL)")
    if name == "a partition":
        rows(admin, f"{PARENT.replace('parent', 'divided')} PARTITION BY LIST (w)")
    with pytest.raises(errors.FeatureNotSupported, match="inherits from"):
        rows(admin, INHERITANCE[name])
    assert rows(admin, "SELECT FROM pg_inherits WHERE 't_encrypted'::regclass IN (inhrelid, inhparent)") == []
    assert rows(admin, "SELECT * FROM t") == [(1, "x", 1)]


def test_other_tables_inherit(admin: Connection) -> None:
    rows(admin, PARENT)
    rows(admin, "CREATE TABLE child () INHERITS (parent)")
    rows(admin, "CREATE TABLE other (LIKE t)")
    rows(admin, "ALTER TABLE child NO INHERIT parent")
    assert value(admin, "SELECT count(*) FROM t") == 1


@pytest.mark.parametrize("is_migrated", [False, True])
def test_default(admin: Connection, is_migrated: bool) -> None:
    """It is set and dropped on the view. A default of the base table moves to the view."""
    if is_migrated:
        rows(admin, "CALL migrate_column('t', 'v')")
    for number, (statement, default) in enumerate(
        (
            ("SELECT", "old"),
            ("ALTER TABLE t ALTER v SET DEFAULT 'one'", "one"),
            ("ALTER TABLE t_encrypted ALTER v SET DEFAULT 'two'", "two"),
            ("ALTER TABLE t_encrypted ALTER w SET DEFAULT 7, ALTER v SET DEFAULT upper('three')", "THREE"),
            ("ALTER VIEW t ALTER v DROP DEFAULT", None),
            ("ALTER TABLE t_encrypted ALTER v SET DEFAULT NULL", None),
        ),
        start=10,
    ):
        rows(admin, statement)
        rows(admin, f"INSERT INTO t (id) VALUES ({number})")
        assert value(admin, f"SELECT v FROM t WHERE id = {number}") == default, statement
        assert value(admin, "SELECT count(v) FROM t_encrypted WHERE id > 1") == 0
    if not is_migrated:
        rows(admin, "CALL migrate_column('t', 'v')")
    rows(admin, "ALTER TABLE t_encrypted ALTER v SET DEFAULT 'last'")
    rows(admin, "CALL decrypt_column('t', 'v')")
    rows(admin, "INSERT INTO t (id) VALUES (2)")
    assert rows(admin, "SELECT v, w FROM t WHERE id = 2") == [("last", 7)]


def comments(admin: Connection) -> list[str | None]:
    found = "SELECT obj_description(c.oid, 'pg_class') FROM pg_class AS c WHERE c.relname IN ('t', 't_encrypted')"
    return [row[0] for row in rows(admin, f"{found} AND c.relnamespace = 'ld'::regnamespace ORDER BY c.relname")]


def test_comments(admin: Connection) -> None:
    """The table and the view say what they are where the user's table has no comment, which is kept otherwise."""
    view, base = comments(admin)
    assert view
    assert view.startswith("pgkeymgr: a view with encrypted columns")
    assert base
    assert base.startswith("pgkeymgr: the base table")
    number = value(admin, "SELECT attnum FROM pg_attribute WHERE attname = 'v_encrypted'")
    assert value(admin, f"SELECT col_description('t_encrypted'::regclass, {number})").startswith("pgkeymgr: ")
    rows(admin, "DROP VIEW t")
    rows(admin, "SELECT refresh_encrypted_view('t_encrypted')")
    assert comments(admin) == [view, base]
    rows(admin, "CALL migrate_column('t', 'v')")
    rows(admin, "CALL decrypt_column('t', 'v')")
    assert comments(admin) == [None]
    rows(admin, "COMMENT ON TABLE t IS 'mine'")
    rows(admin, "SELECT encrypt_column('t', 'v')")
    assert comments(admin) == ["mine", "mine"]
    rows(admin, "COMMENT ON VIEW t IS 'other'")
    rows(admin, "CALL migrate_column('t', 'v')")
    rows(admin, "CALL decrypt_column('t', 'v')")
    assert comments(admin) == ["other"]


MAKE_FUNCTION = "CREATE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {}; RETURN NEW; END $$"
READING = {
    "an argument": "BEFORE INSERT OR UPDATE ON t_encrypted FOR EACH ROW"
    " EXECUTE FUNCTION tsvector_update_trigger('words', 'pg_catalog.simple', 'v')",
    "a body": "AFTER UPDATE ON t_encrypted FOR EACH ROW EXECUTE FUNCTION reading()",
    "whole rows": "AFTER INSERT ON t_encrypted FOR EACH ROW EXECUTE FUNCTION copying()",
}


@pytest.mark.parametrize("name", READING)
def test_triggers_that_read_the_column_are_refused(admin: Connection, name: str) -> None:
    """The base table has NULL in the column, so that such a trigger would write wrong values in silence."""
    rows(admin, "ALTER TABLE t_encrypted ADD COLUMN words tsvector")
    rows(admin, "CREATE TABLE copies (LIKE t)")
    for function, body in (("reading", "PERFORM NEW.v"), ("copying", "INSERT INTO copies SELECT NEW.*")):
        rows(admin, MAKE_FUNCTION.format(function, body))
    with pytest.raises(errors.FeatureNotSupported, match=r'column "v" of t is encrypted.*trigger "reads"'):
        rows(admin, f"CREATE TRIGGER reads {READING[name]}")
    assert rows(admin, "SELECT FROM pg_trigger WHERE tgname = 'reads'") == []


@pytest.mark.parametrize("body", ["PERFORM NEW.v", "INSERT INTO copies SELECT NEW.*"])
def test_new_bodies_that_read_the_column_are_refused(admin: Connection, body: str) -> None:
    """A trigger can get another body of its function later, also from a role that owns no table."""
    rows(admin, "CREATE TABLE copies (LIKE t)")
    rows(admin, MAKE_FUNCTION.format("counting", "NEW.w := 5"))
    rows(admin, "CREATE TRIGGER counts BEFORE UPDATE ON t_encrypted FOR EACH ROW EXECUTE FUNCTION counting()")
    replace = MAKE_FUNCTION.replace("CREATE", "CREATE OR REPLACE")
    with pytest.raises(errors.FeatureNotSupported, match=r'column "v" of t is encrypted.*trigger "counts"'):
        rows(admin, replace.format("counting", body))
    rows(admin, replace.format("counting", "NEW.w := 6"))
    rows(admin, "UPDATE t SET v = 'y'")
    assert rows(admin, "SELECT * FROM t") == [(1, "y", 6)]
    # A function of no trigger can do anything.
    rows(admin, MAKE_FUNCTION.format("free", body))
    rows(admin, replace.format("free", body))


def test_triggers_that_read_other_columns_are_accepted(admin: Connection) -> None:
    rows(admin, MAKE_FUNCTION.format("counting", "NEW.w := 5"))
    rows(admin, "CREATE TRIGGER counts BEFORE UPDATE ON t_encrypted FOR EACH ROW EXECUTE FUNCTION counting()")
    rows(admin, "UPDATE t SET v = 'y'")
    assert rows(admin, "SELECT * FROM t") == [(1, "y", 5)]
