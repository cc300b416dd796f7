"""Sends a notice if subscribers must follow a change of a published table, since PostgreSQL replicates no DDL."""

from ..documents import page
from ..key.database import Database
from .catalog import Table


def report_published(database: Database, base: Table, change: str) -> None:
    """Send a notice if a table is published.

    Args:
        database: the session.
        base: the base table, as the catalog has it before or after the change.
        change: the part of the notice that says what a subscriber must change.
    """
    rows = database.as_owner(
        lambda: database.execute(
            "SELECT DISTINCT p.pubname::text AS name FROM pg_publication AS p,"
            " LATERAL pg_get_publication_tables(p.pubname::text) AS t"
            # The partitions of a partitioned table are published, unless publish_via_partition_root is set.
            " WHERE t.relid = $1 OR t.relid IN (SELECT relid FROM pg_partition_tree($1)) ORDER BY 1",
            ("oid", base.oid),
        )
    )
    if rows:
        names = ", ".join(f'"{row["name"]}"' for row in rows)
        database.notice(
            f"{base} is published ({names}): on each subscriber, {change}; see {page('replication.md')}"
        )
