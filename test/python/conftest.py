"""Fixtures that the tests share: a cluster with the root key of the vectors, and a connection to it."""

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from cluster import IS_HOSTILE, Cluster
from psycopg.pq import ExecStatus

pytest.register_assert_rewrite(
    "agent_client",
    "column_database",
    "column_workload",
    "key_nodes",
    "provider_services",
    "sealed_session",
    "walls_database",
    "waiting",
)

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
        if IS_HOSTILE and any(word in item.name for word in _NOT_HOSTILE):
            item.add_marker(pytest.mark.skip(reason="it restores a dump"))


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[Cluster]:
    """A running cluster whose database ``test_template`` has the extension in schema ``pgkeymgr``."""
    with Cluster() as running:
        running.create_database("test_template")
        yield running


@pytest.fixture(scope="module")
def cluster(shared_cluster: Cluster) -> Iterator[Cluster]:
    """A running cluster whose database ``test`` has the extension in schema ``pgkeymgr``.

    Each file of tests gets a database of its own: the files that share a cluster differ from run to run.
    """
    with shared_cluster.database_copy("test_template", "test"):
        yield shared_cluster


@pytest.fixture
def connection(cluster: Cluster) -> Iterator[Connection]:
    """A new session in that database, as superuser, the extension's schema in its search path."""
    with cluster.connect("test") as open_connection:
        open_connection.execute("SET search_path = pgkeymgr, public")
        yield open_connection


@contextlib.contextmanager
def own_schema(cluster: Cluster, database: str) -> Iterator[Connection]:
    """Open a superuser's session with a schema of its own, which is dropped afterwards."""
    with cluster.connect(database) as opened:
        opened.execute("CREATE SCHEMA own")
        opened.execute("SET search_path = own, pgkeymgr")
        try:
            yield opened
        finally:
            opened.execute("DROP SCHEMA own CASCADE")


def rows(connection: Connection, query: str) -> list[tuple[Any, ...]]:
    """Run a query that the test put together, and return its rows, if it has any."""
    cursor = connection.execute(query.encode())
    # A SELECT without columns has rows, too.
    has_rows = cursor.pgresult is not None and cursor.pgresult.status == ExecStatus.TUPLES_OK
    return cursor.fetchall() if has_rows else []


def value(connection: Connection, query: str) -> Any:
    """Run a query that gives one row, and return its first column."""
    (row,) = rows(connection, query)
    return row[0]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests have recorded as ``summary``, whether or not they passed."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, text in report.user_properties:
                if name == "summary":
                    terminalreporter.write_line(f"{report.nodeid}: {text}")
