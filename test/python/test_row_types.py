"""The row types of views, whose values are encrypted."""

from collections.abc import Iterator

import pytest
from cluster import Cluster
from conftest import Connection, rows
from psycopg import errors


@pytest.fixture
def admin(cluster: Cluster) -> Iterator[Connection]:
    with cluster.temporary_database("row_types"), cluster.connect("row_types") as connection:
        connection.execute("SET search_path = public, pgkeymgr")
        yield connection


def test_a_view_gets_a_column(admin: Connection) -> None:
    """CREATE OR REPLACE VIEW adds a field to the row type: values from before could not be read."""
    rows(admin, "CREATE VIEW address AS SELECT 'x'::text AS street, 3 AS zip")
    rows(admin, "CREATE TABLE t (id integer PRIMARY KEY, a address[])")
    rows(admin, "INSERT INTO t VALUES (1, ARRAY[ROW('Main', 7)::address])")
    rows(admin, "SELECT encrypt_column('t', 'a')")
    rows(admin, "CALL migrate_column('t', 'a')")
    more = "CREATE OR REPLACE VIEW address AS SELECT 'x'::text AS street, 3 AS zip, 1 AS floor"
    for statement in (more, f"DO $$ BEGIN EXECUTE '{more.replace(chr(39), chr(39) * 2)}'; END $$"):
        with pytest.raises(errors.FeatureNotSupported, match="would become unreadable"):
            rows(admin, statement)
    rows(admin, "CREATE OR REPLACE VIEW address AS SELECT 'y'::text AS street, 3 AS zip")
    rows(admin, "CREATE VIEW other AS SELECT * FROM t")
    assert rows(admin, "SELECT a[1].zip FROM t") == [(7,)]
