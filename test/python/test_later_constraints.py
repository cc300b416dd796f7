"""Constraints that are added to an encrypted column."""

import pytest
from conftest import Connection, rows
from psycopg import errors


@pytest.mark.parametrize("constraint", ["CHECK (length(ssn) < 12)", "UNIQUE (ssn)"])
def test_the_refusal_names_the_way(connection: Connection, constraint: str) -> None:
    connection.execute("CREATE SCHEMA later")
    connection.execute("SET search_path = later, pgkeymgr, public")
    try:
        connection.execute("CREATE TABLE customer (id integer PRIMARY KEY, ssn text)")
        connection.execute("INSERT INTO customer VALUES (1, '111')")
        connection.execute("SELECT encrypt_column('customer', 'ssn')")
        connection.execute("CALL migrate_column('customer', 'ssn')")
        add = f"ALTER TABLE %s ADD CONSTRAINT later {constraint}"
        with pytest.raises(errors.FeatureNotSupported, match='is about column "ssn"') as refused:
            rows(connection, add % "customer_encrypted")
        assert "decrypt_column()" in (refused.value.diag.message_hint or "")
        connection.execute("CALL decrypt_column('customer', 'ssn')")
        rows(connection, add % "customer")
        connection.execute("SELECT encrypt_column('customer', 'ssn')")
        connection.execute("CALL migrate_column('customer', 'ssn')")
        with pytest.raises((errors.CheckViolation, errors.UniqueViolation)) as violated:
            rows(connection, "INSERT INTO customer VALUES (2, repeat('1', 12)), (3, '111')")
        assert violated.value.diag.constraint_name == "later"
        assert rows(connection, "SELECT * FROM customer") == [(1, "111")]
    finally:
        connection.execute("DROP SCHEMA later CASCADE")
