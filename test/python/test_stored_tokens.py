"""The CHECK of a ciphertext column lets only tokens into it, also where the triggers do nothing."""

from collections.abc import Iterator

import pytest
from cluster import Cluster
from conftest import Connection, rows
from pgkeymgr.key.cipher import DETERMINISTIC, OVERHEAD_BYTES, SUITES
from psycopg import errors

SCHEMA = """
CREATE TABLE note (id integer PRIMARY KEY, body text, tag text);
SELECT encrypt_column('note', 'body');
SELECT encrypt_column('note', 'tag', deterministic => true);
INSERT INTO note VALUES (1, 'x', 'y')
"""


@pytest.fixture(scope="module")
def note() -> Iterator[Connection]:
    """A session to which the triggers of the table with a column of each kind leave ciphertexts as they are."""
    with Cluster() as server:
        server.create_database("test")
        with server.connect("test") as connection:
            connection.execute("SET search_path = public, pgkeymgr")
            for statement in SCHEMA.split(";"):
                connection.execute(statement.encode())
            connection.execute("SET session_replication_role = replica")
            yield connection


@pytest.mark.parametrize(
    ("column", "suites"), [("body", SUITES.keys() - {DETERMINISTIC}), ("tag", {DETERMINISTIC})]
)
def test_the_check_knows_each_suite_and_its_shortest_token(
    note: Connection, column: str, suites: set[int]
) -> None:
    write = f"UPDATE note_encrypted SET {column}_encrypted = %s".encode()
    for suite in SUITES:
        shortest = bytes([suite]) + bytes(OVERHEAD_BYTES[suite] - 1)
        if suite in suites:
            note.execute(write, (shortest,))
            note.execute(write, (shortest + bytes(100),))
            refused = shortest[:-1]
        else:
            refused = shortest
        with pytest.raises(errors.CheckViolation):
            note.execute(write, (refused,))
    for bad in (b"", bytes([max(SUITES) + 1]) + bytes(60), b"plaintext" * 10):
        with pytest.raises(errors.CheckViolation):
            note.execute(write, (bad,))
    note.execute(write, (None,))


def test_the_check_that_each_row_parses_is_short(note: Connection) -> None:
    sizes = rows(
        note,
        "SELECT length(conbin::text) FROM pg_constraint"
        " WHERE conrelid = 'note_encrypted'::regclass AND conname LIKE '%_encrypted_check'",
    )
    assert len(sizes) == 2
    assert max(size for (size,) in sizes) < 500, "each row of a trigger's INSERT parses this text"
