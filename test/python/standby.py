"""Standbys of the tests' servers."""

import contextlib
from collections.abc import Iterator

from cluster import Cluster
from conftest import Connection, value
from waiting import wait_until


@contextlib.contextmanager
def standby_of(server: Cluster, settings: dict[str, str] | None = None, slot: str = "") -> Iterator[Cluster]:
    """Make a streaming standby of a server, and remove it and its slot after the block.

    Args:
        server: a running one.
        settings: more settings of the standby.
        slot: the name of a replication slot for it, or an empty string for none.
    """
    standby = Cluster(initialize=False)
    options = [
        "--write-recovery-conf",
        "--checkpoint=fast",
        f"--dbname={server.dsn()}",
        f"--pgdata={standby.data}",
    ]
    options += ["--create-slot", f"--slot={slot}"] if slot else []
    standby.run_as_server([server.bin / "pg_basebackup", *options])
    standby.configure(settings or {})
    try:
        with standby:
            yield standby
    finally:
        if slot:
            with server.connect() as connection:
                # The server notices a moment later that its standby is gone.
                drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active"
                wait_until(lambda: connection.execute(drop.encode()).fetchall(), "the slot to be free")


def wait_for_replay(primary: Connection, reader: Connection) -> None:
    """Wait until a standby has replayed what its primary has written so far.

    Args:
        primary: a session of the primary.
        reader: a session of the standby, outside of a transaction.
    """
    position = value(primary, "SELECT pg_current_wal_flush_lsn()")
    wait_until(lambda: value(reader, f"SELECT pg_last_wal_replay_lsn() >= '{position}'"), "the standby's replay")
