"""The memory that a large value takes in a session, as a multiple of its size."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster
from conftest import Connection, rows

SIZE = 50_000_000
TOLERANCE = 0.2


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """A server with a large value in a table and in an encrypted column, and with small shared buffers."""
    with Cluster(settings={"shared_buffers": "1MB"}) as running:
        running.create_database("test")
        with running.connect("test") as admin:
            rows(admin, "CREATE TABLE plain (id integer PRIMARY KEY, body bytea)")
            rows(admin, "ALTER TABLE plain ALTER body SET STORAGE EXTERNAL")
            rows(admin, f"INSERT INTO plain SELECT 1, decode(repeat('ab', {SIZE}), 'hex')")
            rows(admin, "CREATE TABLE sealed (id integer PRIMARY KEY, body bytea)")
            rows(admin, "SELECT pgkeymgr.encrypt_column('sealed', 'body'), pgkeymgr.create_data_key('k')")
            rows(admin, "INSERT INTO sealed SELECT 1, body FROM plain")
        yield running


def times(connection: Connection, statement: str) -> float:
    """Return the most memory that a statement takes more than the session had before, in sizes of the value."""
    rows(connection, "INSERT INTO sealed VALUES (3, 'small')")
    rows(connection, "SELECT body, pgkeymgr.token_encrypt('k', '') FROM sealed WHERE id = 3")
    rows(connection, "DELETE FROM sealed WHERE id > 1")
    process = Path(f"/proc/{connection.info.backend_pid}")
    (process / "clear_refs").write_text("5")  # the peak begins with the present size
    before = _kilobytes(process)
    rows(connection, statement)
    return (_kilobytes(process) - before) * 1024 / SIZE


def _kilobytes(process: Path) -> int:
    (line,) = (line for line in (process / "status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1])


@pytest.mark.parametrize(
    ("statement", "most"),
    [
        ("SELECT length(body) FROM sealed WHERE id = 1", 3),
        ("SELECT length(pgkeymgr.token_encrypt('k', body)) FROM plain", 3),
        # The value, its ciphertext, the token, and the value in the statement around the trigger.
        ("INSERT INTO sealed SELECT 2, body FROM plain", 4),
    ],
)
def test_a_large_value_takes_a_few_times_its_size(server: Cluster, statement: str, most: int) -> None:
    with server.connect("test") as connection:
        assert 1 < times(connection, statement) <= most + TOLERANCE
