"""Blind indexes with search terms follow their tables: dumps, partitions, copies, names and privileges."""

import column_database
import pytest
from cluster import Cluster
from column_database import adopt_a_copy, new_database
from conftest import Connection, rows, value
from database_session import Database
from psycopg import errors

server = column_database.server
database = column_database.database
admin = column_database.admin

TABLE = "CREATE TABLE person (id integer PRIMARY KEY, tenant integer, name text, born date)"
PARTITIONED = """
    CREATE TABLE person (id integer PRIMARY KEY, tenant integer, name text, born date) PARTITION BY RANGE (id);
    CREATE TABLE person_1 PARTITION OF person FOR VALUES FROM (0) TO (100);
    CREATE TABLE person_2 PARTITION OF person FOR VALUES FROM (100) TO (200)
"""


def make(connection: Connection, ddl: str = TABLE, more: str = "") -> None:
    """Make the table, with two encrypted columns and their indexes, and two rows."""
    rows(connection, ddl)
    rows(connection, "INSERT INTO person VALUES (1, 7, 'Annabel', '1990-01-01')")
    rows(connection, f"SELECT encrypt_column('person', 'name'{more}), encrypt_column('person', 'born')")
    rows(connection, "CALL migrate_columns('person')")
    rows(connection, "SELECT add_blind_index('person', 'name', 'casefold', kind => 'text')")
    rows(connection, "SELECT add_blind_index('person', 'born', kind => 'range')")
    rows(connection, "INSERT INTO person VALUES (101, 8, 'Joanna', '1991-01-01')")


def check(
    connection: Connection, expected: list[int], part: str = "%anna%", view: str = "person", name: str = "name"
) -> None:
    """Search by both indexes, also without a scan of the table."""
    query = (
        f"SELECT id FROM {view} WHERE search_ilike('{view}', '{name}', name_terms, {name}, '{part}') ORDER BY 1"
    )
    assert rows(connection, query) == [(number,) for number in expected]
    since = "daterange('1980-01-01', NULL)"
    query = f"SELECT id FROM {view} WHERE search_within('{view}', 'born', born_terms, born, {since}) ORDER BY 1"
    assert {(number,) for number in expected} <= set(rows(connection, query))
    for column in (name, "born"):
        assert rows(connection, f"SELECT * FROM verify_column('{view}', '{column}')") == []


def test_dump_and_restore(server: Cluster, admin: Connection, database: Database) -> None:
    make(admin)
    rows(admin, "SELECT add_blind_index('person', 'born')")
    described = "SELECT * FROM encrypted_columns ORDER BY column_name"
    before = rows(admin, described)
    with new_database(server, "template0") as target:
        dump = server.client(["pg_dump", database.name]).stdout
        server.client(["psql", "--set=ON_ERROR_STOP=1"], dbname=target.name, input=dump)
        with target.session() as connection:
            assert rows(connection, described) == before
            check(connection, [1, 101])
            rows(connection, "INSERT INTO person VALUES (3, 7, 'Hannah', '2000-01-01')")
            check(connection, [1, 3, 101])
            rows(connection, "CALL rotate_blind_index('person', 'name', kind => 'text')")
            check(connection, [1, 3, 101])
            rows(connection, "CALL decrypt_columns('person')")
            assert value(connection, "SELECT count(*) FROM encrypted_terms") == 0


def test_partitions_come_and_go(admin: Connection) -> None:
    make(admin, PARTITIONED)
    check(admin, [1, 101])
    rows(admin, "CREATE TABLE person_3 PARTITION OF person_encrypted FOR VALUES FROM (200) TO (300)")
    rows(admin, "INSERT INTO person VALUES (201, 1, 'Susanna', '2001-01-01')")
    check(admin, [1, 101, 201])
    rows(admin, "ALTER TABLE person_encrypted DETACH PARTITION person_2")
    check(admin, [1, 201])
    view = value(
        admin, "SELECT relation::text FROM encrypted_columns WHERE base_relation = 'person_2'::regclass LIMIT 1"
    )
    rows(admin, f"INSERT INTO {view} VALUES (102, 8, 'Anna', '1992-01-01')")
    check(admin, [101, 102], view=view)
    rows(admin, "ALTER TABLE person_encrypted ATTACH PARTITION person_2 FOR VALUES FROM (100) TO (200)")
    check(admin, [1, 101, 102, 201])
    rows(admin, "CREATE TABLE person_4 (id integer PRIMARY KEY, tenant integer, name text, born date)")
    rows(admin, "INSERT INTO person_4 VALUES (301, 9, 'Rosanna', '2003-01-01')")
    rows(admin, "CALL attach_encrypted_partition('person', 'person_4', 'FOR VALUES FROM (300) TO (400)')")
    check(admin, [1, 101, 102, 201, 301])
    rows(admin, "CALL rotate_blind_index('person', 'name', kind => 'text')")
    check(admin, [1, 101, 102, 201, 301])


def test_a_copy_is_adopted(admin: Connection) -> None:
    make(admin)
    adopt_a_copy(admin, "person_encrypted")
    check(admin, [1, 101])
    rows(admin, "UPDATE person SET name = 'Anna ' || name")
    check(admin, [1, 101], "anna %")


def test_names_and_keys_by_tenant(admin: Connection) -> None:
    make(admin, more=", key_by => 'tenant'")
    rows(admin, "ALTER TABLE person RENAME COLUMN name TO called")
    check(admin, [1, 101], name="called")
    rows(admin, "UPDATE person SET tenant = 9")
    check(admin, [1, 101], name="called")
    with pytest.raises(errors.FeatureNotSupported, match="follows the name"):
        rows(admin, "ALTER TABLE person RENAME COLUMN name_terms TO terms")
    with pytest.raises(errors.Error, match="pgkeymgr's own"):
        rows(admin, "ALTER TABLE person_encrypted DROP COLUMN name_terms CASCADE")
    with pytest.raises(errors.Error, match="key"):
        rows(admin, "SELECT destroy_data_key(id, name) FROM data_keys WHERE name ~ 'name.terms'")
    rows(
        admin,
        "CREATE VIEW anna AS SELECT id FROM person"
        " WHERE search_ilike('person', 'called', name_terms, called, '%anna%')",
    )
    assert value(admin, "SELECT count(*) FROM anna") == 2


def test_privileges_on_columns(admin: Connection, database: Database) -> None:
    """A role that may write the value writes its terms, and one that may not read it reads none."""
    make(admin)
    rows(admin, "GRANT SELECT (id), INSERT (id, name, born) ON person TO col_app")
    for name in ("name", "born"):
        rows(admin, f"SELECT grant_data_key('public.person.{name}', 'col_app', '{{encrypt}}')")
    with database.session("col_app") as connection:
        rows(connection, "INSERT INTO person (id, name, born) VALUES (5, 'Annika', '1993-01-01')")
        for column in ("name", "name_terms"):
            with pytest.raises(errors.InsufficientPrivilege):
                rows(connection, f"SELECT {column} FROM person")
    check(admin, [5], "anni%")
