"""The notices of procedures that wait for other sessions."""

import threading
from collections.abc import Iterator

import pytest
from cluster import Cluster
from conftest import Connection, rows


@pytest.fixture
def database(cluster: Cluster) -> Iterator[Cluster]:
    with cluster.temporary_database("waiting"):
        with cluster.connect("waiting") as connection:
            rows(connection, "CREATE TABLE t (id integer PRIMARY KEY, v text)")
            rows(connection, "INSERT INTO t SELECT n, 'x' FROM generate_series(1, 5) AS n")
            rows(connection, "SELECT pgkeymgr.encrypt_column('t', 'v')")
        yield cluster


@pytest.mark.parametrize(
    ("statement", "call"),
    [
        ("UPDATE t_encrypted SET id = 7 WHERE id = 5", "migrate_column"),
        ("SELECT FROM t", "migrate_column"),
        ("UPDATE t_encrypted SET id = 7 WHERE id = 5", "rotate_column"),
        ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT FROM pg_class", "decrypt_column"),
    ],
)
def test_a_session_is_named(database: Cluster, statement: str, call: str) -> None:
    """The session has locked a row, has read the table in an open transaction, or has an old snapshot."""
    with database.connect("waiting") as other, database.connect("waiting") as caller:
        if call != "migrate_column":
            rows(caller, "CALL pgkeymgr.migrate_column('t', 'v')")
        seen = threading.Event()
        notices: list[str] = []

        def take(notice: object) -> None:
            notices.append(str(getattr(notice, "message_primary", None)))
            if f"waiting for session {other.info.backend_pid}, which" in notices[-1]:
                seen.set()

        caller.add_notice_handler(take)
        rows(other, "BEGIN")
        rows(other, statement)
        thread = threading.Thread(target=run, args=(caller, call))
        thread.start()
        try:
            assert seen.wait(60), notices
        finally:
            rows(other, "COMMIT")
            thread.join()
        assert len(notices) == len(set(notices))
        assert rows(caller, "SELECT count(v) FROM t") == [(5,)]


def run(caller: Connection, call: str) -> None:
    rows(caller, f"CALL pgkeymgr.{call}('t', 'v')")
