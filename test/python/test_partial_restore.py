"""Dumps of some of the tables, copies of encrypted tables, and keys that only such tables need."""

from collections.abc import Iterator, Sequence

import pytest
from cluster import Cluster
from conftest import Connection, rows, value
from psycopg import errors

TABLES = ("public.one", "public.two", "apart.three")


@pytest.fixture
def source(cluster: Cluster) -> Iterator[Connection]:
    """A superuser in a database with three encrypted tables, one of which has a type of another schema."""
    cluster.create_database("whole")
    try:
        with cluster.connect("whole") as connection:
            connection.execute("CREATE SCHEMA apart")
            connection.execute("CREATE TYPE apart.mood AS ENUM ('glad')")
            for table, type_ in zip(TABLES, ("text", "text", "apart.mood"), strict=True):
                rows(connection, f"CREATE TABLE {table} (id integer PRIMARY KEY, v {type_})")
                rows(connection, f"INSERT INTO {table} VALUES (1, 'glad')")
                rows(connection, f"SELECT pgkeymgr.encrypt_column('{table}', 'v')")
                rows(connection, f"CALL pgkeymgr.migrate_column('{table}', 'v')")
            connection.execute("SET search_path = public, pgkeymgr")
            yield connection
    finally:
        with cluster.connect() as server:
            server.execute("DROP DATABASE IF EXISTS part WITH (FORCE)")
            server.execute("DROP DATABASE whole WITH (FORCE)")


def restore(cluster: Cluster, dump: Sequence[str], *options: str) -> None:
    """Restore a dump of the database to another one, with all errors."""
    with cluster.connect() as server:
        server.execute("DROP DATABASE IF EXISTS part WITH (FORCE)")
        server.execute("CREATE DATABASE part TEMPLATE template0")
    file = str(cluster.directory / "dump")
    cluster.client(["pg_dump", "-Fc", *dump, "--file", file, "whole"])
    cluster.client(["pg_restore", "--exit-on-error", *options, "--dbname=part", file])


@pytest.mark.parametrize(
    ("dump", "missing"),
    [
        (("--exclude-table=public.one*",), "public.one"),
        (("--exclude-schema=apart",), "apart.three"),
        (("--exclude-schema=apart", "--inserts"), "apart.three"),
    ],
)
def test_some_of_the_tables(cluster: Cluster, source: Connection, dump: Sequence[str], missing: str) -> None:
    """The other tables work, and no key is taken for one that nobody needs."""
    with source.transaction():
        restore(cluster, dump)
    with cluster.connect("part") as part:
        part.execute("SET search_path = public, pgkeymgr")
        there = [table for table in TABLES if table != missing]
        for table in there:
            assert rows(part, f"SELECT id, v::text FROM {table}") == [(1, "glad")]
            rows(part, f"INSERT INTO {table} VALUES (2, 'glad')")
            assert rows(part, f"SELECT v::text FROM {table} WHERE id = 2") == [("glad",)]
        found = rows(part, "SELECT relation::text FROM encrypted_columns ORDER BY column_name, 1")
        assert {name.removeprefix("public.") for (name,) in found} == {
            name.removeprefix("public.") for name in there
        }
        for table in TABLES:
            with pytest.raises(errors.ObjectNotInPrerequisiteState, match="still needed"):
                rows(part, f"SELECT destroy_data_key(id, name) FROM data_keys WHERE name = '{table}.v'")
        (name,) = (missing.split(".")[1],)
        assert rows(part, "SELECT object, status FROM doctor() WHERE check_name = 'column_tables'") == [
            (f"table {name}", "notice")
        ]
        # DDL does not stumble over the table that is not there, and a second dump keeps its name.
        notices: list[str | None] = []
        part.add_notice_handler(lambda notice: notices.append(notice.message_primary))
        part.execute("CREATE TYPE other AS (a integer)")
        part.execute("ALTER TYPE other ADD ATTRIBUTE b integer")
        assert notices == []
        names = "SELECT base_name FROM encrypted_relation WHERE base = 0"
        assert value(part, names) == f"{missing}_encrypted"
        file = cluster.client(["pg_dump", "part"]).stdout
        assert f"{missing}_encrypted" in file


def test_data_only(cluster: Cluster, source: Connection) -> None:
    """With disabled triggers, the tables of the registry are complete when their triggers are enabled again."""
    restore(cluster, (), "--schema-only")
    file = str(cluster.directory / "dump")
    cluster.client(["pg_restore", "--data-only", "--disable-triggers", "--exit-on-error", "--dbname=part", file])
    with cluster.connect("part") as part:
        part.execute("SET search_path = public, pgkeymgr")
        for table in TABLES:
            assert rows(part, f"SELECT id, v::text FROM {table}") == [(1, "glad")]
            rows(part, f"SELECT refresh_encrypted_view('{table}')")
            rows(part, f"CALL rotate_column('{table}', 'v')")
        assert value(part, "SELECT count(*) FROM encrypted_columns") == 3


def test_a_copy_takes_the_place_of_the_table(source: Connection) -> None:
    """As tools do that move tables. The copy is not registered; its key is needed, and the doctor names it."""
    with source.transaction():
        source.execute("CREATE TABLE copy (LIKE one_encrypted INCLUDING ALL)")
        source.execute("INSERT INTO copy SELECT * FROM one_encrypted")
        source.execute("ALTER TABLE one_encrypted RENAME TO former")
        source.execute("ALTER TABLE copy RENAME TO one_encrypted")
        source.execute("DROP TABLE former CASCADE")
    assert rows(source, "SELECT object, status FROM doctor() WHERE check_name = 'column_tables'") == [
        ("public.one_encrypted", "warning")
    ]
    destroy = "SELECT destroy_data_key(id, name) FROM data_keys WHERE name = 'public.one.v'"
    with pytest.raises(
        errors.ObjectNotInPrerequisiteState, match=r"public\.one_encrypted, which is not registered"
    ):
        rows(source, destroy)
    source.execute("DROP TABLE one_encrypted")
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="was dropped"):
        rows(source, destroy)
    rows(source, "SELECT forget_dropped_table(id) FROM dropped_encrypted_columns")
    rows(source, destroy)


def test_dropped_where_event_triggers_do_not_fire(source: Connection) -> None:
    source.execute("SET session_replication_role = replica")
    source.execute("DROP TABLE one_encrypted CASCADE")
    source.execute("RESET session_replication_role")
    rows(source, "SELECT supersede_data_key('public.one.v')")
    destroy = "SELECT destroy_data_key(min(id), 'public.one.v') FROM data_keys WHERE name = 'public.one.v'"
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="does not exist here"):
        rows(source, destroy)
    (hint,) = (row[0] for row in rows(source, "SELECT hint FROM doctor() WHERE object = 'table one'"))
    rows(source, hint.split(": ", 1)[1])
    rows(source, destroy)
