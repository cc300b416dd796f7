"""Fixtures that the tests share: one cluster with the root key of the vectors, and a connection to it."""

import signal
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from cluster import IS_HOSTILE, Cluster

# Started in the background of a shell, a process ignores Ctrl-C, and so does all that it starts: the commands that
# tests interrupt would not end.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

Connection = psycopg.Connection[tuple[Any, ...]]


# A dump of a database with traps does not fit into another one that has them.
_NOT_HOSTILE = ("_dump", "restore")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what the hostile mode, see cluster.py, cannot run."""
    for item in items:
        if IS_HOSTILE and any(word in item.nodeid for word in _NOT_HOSTILE):
            item.add_marker(pytest.mark.skip(reason="it restores a dump"))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A running cluster whose database ``test`` has the extension in schema ``pgkeymgr``."""
    with Cluster() as running:
        running.create_database("test")
        yield running


@pytest.fixture
def connection(cluster: Cluster) -> Iterator[Connection]:
    """A new session in that database, as superuser, the extension's schema in its search path."""
    with cluster.connect("test") as open_connection:
        open_connection.execute("SET search_path = pgkeymgr, public")
        yield open_connection


def rows(connection: Connection, query: str) -> list[tuple[Any, ...]]:
    """Run a query that the test put together, and return its rows, if it has any."""
    cursor = connection.execute(query.encode())
    return cursor.fetchall() if cursor.description else []


def value(connection: Connection, query: str) -> Any:
    """Run a query that gives one row, and return its first column."""
    (row,) = rows(connection, query)
    return row[0]
