"""The row type of a table changes with the tables from which it inherits, and encrypted values of it with it."""

from collections.abc import Iterator

import pytest
from cluster import Cluster
from conftest import Connection, own_schema, rows
from psycopg import errors

PARENTS = {
    "inheritance": "CREATE TABLE parent (street text, zip text); CREATE TABLE address () INHERITS (parent)",
    "two levels": "CREATE TABLE parent (street text, zip text); CREATE TABLE middle () INHERITS (parent);"
    " CREATE TABLE address () INHERITS (middle)",
    "partition": "CREATE TABLE parent (street text, zip text) PARTITION BY LIST (zip);"
    " CREATE TABLE address PARTITION OF parent DEFAULT",
}
CHANGES = (
    "ALTER TABLE parent ADD COLUMN city text",
    "ALTER TABLE parent DROP COLUMN street",
    "DO $$ BEGIN EXECUTE 'ALTER TABLE parent ADD COLUMN city text'; END $$",
)


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> Iterator[Cluster]:
    with cluster.temporary_database("inherited"):
        yield cluster


@pytest.fixture
def admin(database: Cluster) -> Iterator[Connection]:
    """A superuser's session with a schema of its own."""
    with own_schema(database, "inherited") as connection:
        yield connection


@pytest.mark.parametrize(
    ("parents", "column"), [("inheritance", "address"), ("two levels", "address[]"), ("partition", "address")]
)
def test_a_parent_is_altered(admin: Connection, parents: str, column: str) -> None:
    admin.execute(PARENTS[parents].encode())
    rows(admin, f"CREATE TABLE person (id integer PRIMARY KEY, home {column})")
    value = "('Main', '1')" if column == "address" else "ARRAY[('Main', '1')]::address[]"
    rows(admin, f"INSERT INTO person VALUES (1, {value})")
    rows(admin, "SELECT encrypt_column('person', 'home')")
    rows(admin, "CALL migrate_column('person', 'home')")
    read = "SELECT home::text FROM person"
    before = rows(admin, read)
    for change in CHANGES:
        with pytest.raises(errors.FeatureNotSupported, match=r"cannot change type own\.address"):
            rows(admin, change)
    assert rows(admin, read) == before
    rows(admin, "ALTER TABLE parent ALTER COLUMN zip SET DEFAULT 'none'")
    rows(admin, "CALL decrypt_column('person', 'home')")
    rows(admin, CHANGES[0])
    assert len(rows(admin, read)) == 1
