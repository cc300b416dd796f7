"""Transactions of a standby that are older than the end of an operation never see NULL instead of a value."""

import contextlib
import threading
from collections.abc import Iterator

import psycopg
import pytest
from cluster import Cluster
from column_database import SETTINGS, TEMPLATE, new_database
from conftest import Connection, rows, value
from psycopg import errors
from standby import standby_of, wait_for_replay
from waiting import wait_until

NAME = "seen"
STANDBYS = {
    # Replay waits for the standby's transactions.
    "patient": ({"max_standby_streaming_delay": "-1"}, ""),
    # Replay cancels them.
    "impatient": ({"max_standby_streaming_delay": "0"}, ""),
    # The primary waits for them: PostgreSQL reports them in pg_stat_activity, or in pg_replication_slots.
    "feedback": ({"hot_standby_feedback": "on", "wal_receiver_status_interval": "1s"}, ""),
    "slot": ({"hot_standby_feedback": "on", "wal_receiver_status_interval": "1s"}, "standby"),
}
VALUES = (500, 500)
READ = "SELECT count(*), count(s) FROM seen"


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    with Cluster(settings=SETTINGS) as running:
        running.create_database(TEMPLATE)
        yield running


@pytest.fixture(scope="module", params=STANDBYS)
def standby(server: Cluster, request: pytest.FixtureRequest) -> Iterator[tuple[str, Cluster]]:
    """A kind of standby, and the standby."""
    settings, slot = STANDBYS[request.param]
    with standby_of(server, settings, slot) as running:
        yield request.param, running


def make_table(connection: Connection) -> None:
    connection.execute("CREATE TABLE seen (id integer PRIMARY KEY, s text)")
    connection.execute("INSERT INTO seen SELECT i, 'x' || i FROM generate_series(1, 500) AS i")
    # A STABLE function sees the table as the statement that calls it does, even if it opens it late.
    connection.execute(
        "CREATE FUNCTION late() RETURNS bigint[] STABLE LANGUAGE plpgsql AS $$ BEGIN"
        " PERFORM pg_advisory_lock(1); RETURN (SELECT ARRAY[count(*), count(s)] FROM public.seen); END $$"
    )
    connection.execute("SELECT encrypt_column('seen', 's')")


@pytest.fixture
def admin(server: Cluster) -> Iterator[Connection]:
    """A session in a database with an encrypted table, whose rows are not yet encrypted."""
    with new_database(server) as database, database.session() as connection:
        make_table(connection)
        yield connection


class Operation(threading.Thread):
    """A procedure in a session of its own, which may wait for transactions of the standby."""

    def __init__(self, server: Cluster, database: str, operation: str) -> None:
        super().__init__()
        self._connection = server.connect(database)
        self._call = f"CALL pgkeymgr.{operation}_column('public.seen', 's')"
        self.notices: list[str] = []
        self._connection.add_notice_handler(lambda notice: self.notices.append(notice.message_primary or ""))
        self.error: Exception | None = None

    def run(self) -> None:
        """Call the procedure, in the thread."""
        try:
            self._connection.execute(self._call)
        except psycopg.Error as error:
            self.error = error
        finally:
            self._connection.close()


class Reader(threading.Thread):
    """A reader on a standby whose snapshot is taken before it opens the table, in a session of its own."""

    def __init__(self, follower: Cluster, database: str, how: str) -> None:
        super().__init__()
        self.how = how
        self.seen: tuple[int, ...] | psycopg.Error | None = None
        self._connection = follower.connect(database)
        self._gate = follower.connect(database)
        self.pid = self._connection.info.backend_pid

    def take_snapshot(self) -> None:
        """Begin the transaction, which has opened no table yet."""
        if self.how == "late":
            self._gate.execute("SELECT pg_advisory_lock(1)")
            self.start()
            waits = f"SELECT 1 FROM pg_locks WHERE pid = {self.pid} AND NOT granted"
            wait_until(lambda: rows(self._gate, waits), "the function to wait")
        else:
            self._connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT")

    def read(self) -> tuple[int, ...] | psycopg.Error | None:
        """Open the table, and end the transaction; return the counts, or the error."""
        if self.how == "late":
            self._gate.execute("SELECT pg_advisory_unlock(1)")
        else:
            self.start()
        self.join()
        return self.seen

    def run(self) -> None:
        """Read, in the thread."""
        try:
            if self.how == "late":
                self.seen = tuple(value(self._connection, "SELECT late()"))
            else:
                self.seen = rows(self._connection, READ)[0]
                self._connection.execute("COMMIT")
        except (errors.SerializationFailure, errors.AdminShutdown) as error:
            self.seen = error

    def close(self) -> None:
        """End the sessions."""
        self._connection.close()
        self._gate.close()


def wait_for_feedback(admin: Connection, watcher: Connection, pid: int, kind: str) -> None:
    """Wait until the primary knows the snapshot of a session of the standby."""
    xmin = value(watcher, f"SELECT backend_xmin FROM pg_stat_activity WHERE pid = {pid}")
    known = (
        f"SELECT 1 FROM pg_replication_slots WHERE xmin::text = '{xmin}'"
        if kind == "slot"
        else f"SELECT 1 FROM pg_stat_activity WHERE backend_type = 'walsender' AND backend_xmin = '{xmin}'"
    )
    wait_until(lambda: rows(admin, known), "feedback")


@pytest.mark.parametrize("operation", ["migrate", "decrypt"])
@pytest.mark.parametrize("how", ["REPEATABLE READ", "late"])
def test_a_standby_never_shows_null(
    server: Cluster, standby: tuple[str, Cluster], admin: Connection, operation: str, how: str
) -> None:
    if operation == "decrypt":
        rows(admin, "CALL migrate_column('seen', 's')")
    kind, follower = standby
    has_feedback = kind in {"feedback", "slot"}
    with contextlib.ExitStack() as stack:
        watcher = stack.enter_context(follower.connect())
        wait_for_replay(admin, watcher)
        reader = stack.enter_context(contextlib.closing(Reader(follower, admin.info.dbname, how)))
        reader.take_snapshot()
        if has_feedback:
            wait_for_feedback(admin, watcher, reader.pid, kind)
        running = Operation(server, admin.info.dbname, operation)
        running.start()
        if operation == "decrypt" and has_feedback:
            wait_until(lambda: running.notices, "the procedure to wait")
        else:
            running.join()
        position = value(admin, "SELECT pg_current_wal_flush_lsn()")
        conflict = "SELECT 1 FROM pg_stat_activity WHERE wait_event LIKE 'RecoveryConflict%'"
        wait_until(
            lambda: value(watcher, f"SELECT pg_last_wal_replay_lsn() >= '{position}'") or rows(watcher, conflict),
            "the standby's replay",
        )
        seen = reader.read()
        if kind == "impatient" and (operation == "decrypt" or seen != VALUES):
            # PostgreSQL removes rows of its catalogs, too, which can cancel a transaction during any operation.
            assert isinstance(seen, psycopg.Error)
        else:
            assert seen == VALUES
        running.join()
        assert running.error is None
        wait_for_replay(admin, watcher)
    with follower.connect(admin.info.dbname) as fresh:
        assert rows(fresh, READ) == [VALUES]
