"""A column of a cloned database gets an id and a key of its own."""

from collections.abc import Iterator

import pytest
from cluster import Cluster
from conftest import Connection, rows, value
from psycopg import errors

TABLE = "public.customer"


@pytest.fixture
def pair(cluster: Cluster) -> Iterator[tuple[Connection, Connection]]:
    """Superuser's sessions in a database and in a copy of it, both with encrypted columns."""
    cluster.create_database("original")
    with cluster.connect("original") as connection:
        rows(connection, "SET search_path = public, pgkeymgr")
        rows(
            connection,
            "CREATE TABLE customer (id integer PRIMARY KEY, tenant text, ssn text, code text, note bytea)",
        )
        rows(
            connection,
            "INSERT INTO customer SELECT i, 't' || i % 3, 's' || i, 'c', 'n' FROM generate_series(1, 9) AS i",
        )
        rows(connection, "SELECT encrypt_column('customer', 'ssn', key_by => 'tenant')")
        rows(connection, "SELECT encrypt_column('customer', 'code', deterministic => true)")
        rows(connection, "SELECT encrypt_column('customer', 'note')")
        for name in ("ssn", "code", "note"):
            rows(connection, f"CALL migrate_column('customer', '{name}')")
        rows(connection, "INSERT INTO customer (id) VALUES (10)")
    with cluster.connect() as connection:
        connection.execute("CREATE DATABASE clone TEMPLATE original")
    try:
        with cluster.connect("original") as original, cluster.connect("clone") as clone:
            for connection in (original, clone):
                rows(connection, "SET search_path = public, pgkeymgr")
            yield original, clone
    finally:
        with cluster.connect() as connection:
            for name in ("clone", "original"):
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def copy(source: Connection, target: Connection, name: str) -> None:
    """Put the ciphertext of row 1 of one database into row 1 of another one, past the triggers."""
    token = value(source, f"SELECT {name}_encrypted FROM customer_encrypted WHERE id = 1").hex()
    rows(target, "ALTER TABLE customer_encrypted DISABLE TRIGGER USER")
    rows(target, f"UPDATE customer_encrypted SET {name}_encrypted = '\\x{token}' WHERE id = 1")
    rows(target, "SELECT refresh_encrypted_view('customer')")


@pytest.mark.parametrize("name", ["ssn", "code", "note"])
def test_ciphertexts_of_a_clone(pair: tuple[Connection, Connection], name: str) -> None:
    original, clone = pair
    query = f"SELECT id, {name} FROM customer ORDER BY id"
    before = rows(original, query)
    copy(clone, original, name)
    assert rows(original, query) == before, "until then, a clone's ciphertext opens in the original"
    assert value(clone, f"SELECT separate_column('customer', '{name}')") == 9
    assert rows(clone, query) == before
    assert rows(clone, f"SELECT * FROM verify_column('customer', '{name}')") == []
    copy(clone, original, name)
    with pytest.raises(errors.Error):
        rows(original, query)
    # The clone goes on working: its triggers are there, and its procedures.
    rows(clone, f"INSERT INTO customer (id, tenant, {name}) VALUES (11, 't1', 'new')")
    rows(clone, f"UPDATE customer SET {name} = 'other' WHERE id = 2")
    rows(clone, f"CALL rotate_column('customer', '{name}')")
    assert rows(clone, f"SELECT * FROM verify_column('customer', '{name}')") == []
    assert len(rows(clone, query)) == 11
    assert rows(
        clone,
        "SELECT DISTINCT tgenabled::text FROM pg_trigger WHERE tgrelid = 'customer_encrypted'::regclass"
        " AND tgname LIKE 'zzzz%'",
    ) == [("A",)]


def test_only_a_column_that_is_encrypted_completely(pair: tuple[Connection, Connection]) -> None:
    original, _ = pair
    rows(original, "CREATE TABLE half (id integer PRIMARY KEY, s text)")
    rows(original, "INSERT INTO half VALUES (1, 'x')")
    rows(original, "SELECT encrypt_column('half', 's')")
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="migrating"):
        rows(original, "SELECT separate_column('half', 's')")
    with pytest.raises(errors.UndefinedObject):
        rows(original, "SELECT separate_column('customer', 'id')")
