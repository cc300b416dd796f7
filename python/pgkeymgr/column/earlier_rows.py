"""Waits for the end of all transactions that may see rows as they were before an operation, also on standbys.

Dropping a column takes its values from all versions of a row at once: a transaction that sees an older version
would find NULL in it. A primary knows about the transactions of a standby only with ``hot_standby_feedback``.
Every standby cancels the transactions that may see a row version when it replays the removal of that version, as
after a VACUUM. So the removal of one row version that is newer than the operation's batches reaches the
transactions of all standbys.
"""

from collections.abc import Callable

from ..key.database import Database

_PAUSE_SECONDS = 0.2
# So many versions of the row fill a page, and PostgreSQL removes older versions from a page that is full.
_VERSIONS = 20


def let_earlier_rows_go(
    database: Database, column_id: int, report_waiting: Callable[[list[str], str], None]
) -> None:
    """Wait until no transaction, here or on a standby, can see rows as they were before this call.

    It commits several times. Transactions of a standby without feedback are cancelled there, or delay its replay,
    as the standby is configured.

    Args:
        database: the session, outside of the caller's transaction.
        column_id: the id of the column, of which a row of ``column_operation`` is updated.
        report_waiting: called with the names of the sessions or slots that the call waits for, and the reason.
    """
    places: set[str] = set()
    while True:
        for _ in range(_VERSIONS):
            place = _update(database, column_id)
            database.commit()
            # The place of an earlier version is free, so PostgreSQL has removed a version of this loop.
            if place is None or place in places:
                return
            places.add(place)
        _wait_for_transactions(database, report_waiting)
        # An ANALYZE by autovacuum keeps row versions, too. It looks like a VACUUM, which does not keep them.
        database.pause(_PAUSE_SECONDS)


def _update(database: Database, column_id: int) -> str | None:
    """Update the row of an operation; return the place of its new version, or None if there is no such row."""
    rows = database.as_owner(
        lambda: database.execute(
            "UPDATE {s}.column_operation SET seconds = seconds WHERE column_id = $1 RETURNING ctid::text AS place",
            ("integer", column_id),
        )
    )
    return rows[0]["place"] if rows else None


def _wait_for_transactions(database: Database, report_waiting: Callable[[list[str], str], None]) -> None:
    """Wait for all transactions that keep PostgreSQL from removing the row versions of present."""
    (row,) = database.as_owner(
        lambda: database.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text AS next")
    )
    while True:
        database.commit()
        rows = database.as_owner(
            lambda: database.execute(
                "SELECT format('session %s', pid) AS other FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                " AND backend_type <> 'autovacuum worker'"
                # A transaction of another database has no older snapshots of this one, but it has a number.
                " AND (age(backend_xid) > age($1::xid8::xid) OR age(backend_xmin) > age($1::xid8::xid)"
                "  AND (datname = current_database() OR backend_type = 'walsender'))"
                # The slot has the xmin that a standby with a slot reports.
                " UNION ALL SELECT format('replication slot %s', slot_name) FROM pg_replication_slots"
                " WHERE age(xmin) > age($1::xid8::xid)"
                " UNION ALL SELECT format('prepared transaction %s', gid) FROM pg_prepared_xacts"
                " WHERE age(transaction) > age($1::xid8::xid) ORDER BY 1 LIMIT 10",
                ("text", row["next"]),
            )
        )
        if not rows:
            return
        report_waiting([each["other"] for each in rows], "which may see earlier versions of rows")
        database.pause(_PAUSE_SECONDS)
