"""Transactions that may see rows as they were before decrypt_column delay its end, and are named."""

import re
import threading
from collections.abc import Iterator

import pytest
from cluster import Cluster
from conftest import Connection, rows, value
from waiting import wait_until

NAME = "earlier"


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    with Cluster(settings={"max_prepared_transactions": "1", "autovacuum": "off"}) as running:
        running.create_database(NAME)
        yield running


def writer_elsewhere(other: Connection) -> str:
    """Leave a transaction open that has a number, in another database, and return what names it."""
    rows(other, "BEGIN; SELECT pg_current_xact_id()")
    return f"session {other.info.backend_pid}"


def prepared(other: Connection) -> str:
    """Leave a prepared transaction, and return what names it."""
    rows(other, "BEGIN; CREATE TABLE later (); PREPARE TRANSACTION 'tomorrow'")
    return "prepared transaction tomorrow"


@pytest.mark.parametrize(
    ("leave", "end"), [(writer_elsewhere, "COMMIT"), (prepared, "ROLLBACK PREPARED 'tomorrow'")]
)
def test_decrypt_column_waits(server: Cluster, leave: object, end: str) -> None:
    path = "-c search_path=public,pgkeymgr"
    with server.connect(NAME, options=path) as caller, server.connect() as other:
        rows(caller, "CREATE TABLE t (id integer PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'x')")
        rows(caller, "SELECT encrypt_column('t', 'v')")
        rows(caller, "CALL migrate_column('t', 'v')")
        assert callable(leave)
        name = leave(other)
        notices: list[str] = []
        caller.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        thread = threading.Thread(target=rows, args=(caller, "CALL decrypt_column('t', 'v')"))
        thread.start()
        wait_until(lambda: notices, "the procedure to wait")
        assert notices == [f"pgkeymgr: waiting for {name}, which may see earlier versions of rows"]
        rows(other, end)
        thread.join()
        assert value(caller, "SELECT relkind::text FROM pg_class WHERE oid = 't'::regclass") == "r"
        assert rows(caller, "SELECT * FROM t") == [(1, "x")]
        rows(caller, "DROP TABLE t")


def test_procedure_waits_for_a_prepared_transaction_that_uses_the_table(server: Cluster) -> None:
    path = "-c search_path=public,pgkeymgr"
    with server.connect(NAME, options=path) as caller, server.connect(NAME, options=path) as other:
        rows(caller, "CREATE TABLE used (id integer PRIMARY KEY, v text); INSERT INTO used VALUES (1, 'x')")
        rows(caller, "SELECT encrypt_column('used', 'v')")
        rows(other, "BEGIN; SELECT FROM used; PREPARE TRANSACTION 'used'")
        notices: list[str] = []
        caller.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        thread = threading.Thread(target=rows, args=(caller, "CALL migrate_column('used', 'v')"))
        thread.start()
        try:
            wait_until(lambda: notices, "the procedure to wait", seconds=30)
        finally:
            rows(other, "ROLLBACK PREPARED 'used'")
            thread.join()
        assert notices == ["pgkeymgr: waiting for a prepared transaction, which uses used"]
        rows(caller, "DROP TABLE used_encrypted CASCADE")


def test_the_last_batch_conflicts_with_standbys(server: Cluster) -> None:
    """Before the ciphertext goes, the WAL has a removal that cancels all who may see rows from before it.

    A standby in a test would cancel them later in any case, when PostgreSQL removes old rows of its catalogs.
    """
    with server.connect(NAME, options="-c search_path=public,pgkeymgr") as caller:
        # From a page with few rows, PostgreSQL removes no old versions by itself.
        rows(caller, "CREATE TABLE few (id integer PRIMARY KEY, v text); INSERT INTO few VALUES (1, 'x')")
        rows(caller, "SELECT encrypt_column('few', 'v')")
        rows(caller, "CALL migrate_column('few', 'v')")
        start = value(caller, "SELECT pg_current_wal_lsn()")
        rows(caller, "CALL decrypt_column('few', 'v')")
        end = value(caller, "SELECT pg_current_wal_lsn()")
        batch = int(value(caller, "SELECT xmin FROM few"))
        drop = int(value(caller, "SELECT xmin FROM pg_class WHERE oid = 'few'::regclass"))
    assert batch < drop
    dump = server.run_as_server(
        [server.bin / "pg_waldump", f"--path={server.data}/pg_wal", f"--start={start}", f"--end={end}"]
    ).stdout
    before, _ = re.split(rf"tx: +{drop},", dump, maxsplit=1)
    horizons = re.findall(r"PRUNE.*?(?:latestRemovedXid|snapshotConflictHorizon:?) (\d+)", before)
    assert any(int(horizon) >= batch for horizon in horizons), (batch, horizons)
