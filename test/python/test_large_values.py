"""Large values in encrypted columns, whose tokens are of another suite than those of small values."""

import pytest
from conftest import Connection, rows, value
from psycopg import errors

SIZES = (0, 1023, 1024, 100_000)


def suites(connection: Connection) -> list[tuple[int, int]]:
    """Return the id and the suite of each token."""
    return rows(connection, "SELECT id, get_byte(body_encrypted, 0) FROM document_encrypted ORDER BY id")


def test_values_of_each_length(connection: Connection) -> None:
    connection.execute("CREATE TABLE document (id integer PRIMARY KEY, body text)")
    try:
        for size in SIZES:
            connection.execute("INSERT INTO document VALUES (%s, %s)", (size, "x" * size))
        connection.execute("SELECT encrypt_column('document', 'body')")
        connection.execute("CALL migrate_column('document', 'body')")
        read = "SELECT id, body FROM document ORDER BY id"
        assert rows(connection, read) == [(size, "x" * size) for size in SIZES]
        assert suites(connection) == [(0, 1), (1023, 1), (1024, 3), (100_000, 3)]

        connection.execute("UPDATE document SET body = body || repeat('y', 1024) WHERE id = 1023")
        connection.execute("UPDATE document SET body = 'short' WHERE id = 1024")
        connection.execute("INSERT INTO document VALUES (5, repeat('z', 5000))")
        expected = [(0, ""), (5, "z" * 5000), (1023, "x" * 1023 + "y" * 1024), (1024, "short")]
        expected.append((100_000, "x" * 100_000))
        assert rows(connection, read) == expected
        assert suites(connection) == [(0, 1), (5, 3), (1023, 3), (1024, 1), (100_000, 3)]

        before = value(connection, "SELECT body_encrypted FROM document_encrypted WHERE id = 5")
        connection.execute("CALL rotate_column('document', 'body')")
        assert value(connection, "SELECT body_encrypted FROM document_encrypted WHERE id = 5") != before
        assert rows(connection, read) == expected
        assert rows(connection, "SELECT * FROM verify_column('document', 'body')") == []

        # The triggers refuse what is no token of the row; the CHECK is for replicas, whose triggers do less.
        write = "UPDATE document_encrypted SET body_encrypted = %s WHERE id = 1023"
        for token in (b"\6" + bytes(60), b"\3" + bytes(43), before):
            with pytest.raises(errors.DataException):
                connection.execute(write, (token,))
        connection.execute("SET session_replication_role = replica")
        for token in (b"\6" + bytes(60), b"\3" + bytes(43)):
            with pytest.raises(errors.CheckViolation):
                connection.execute(write, (token,))
        connection.execute("RESET session_replication_role")
        assert rows(connection, read) == expected
    finally:
        connection.execute("DROP TABLE IF EXISTS document_encrypted CASCADE")
