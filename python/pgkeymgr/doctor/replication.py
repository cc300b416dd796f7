"""Checks that a standby has the root key, and names the standbys of a primary."""

from collections.abc import Iterator

from .finding import NOTICE, OK, WARNING, Context, Finding


def check_standby(context: Context) -> Iterator[Finding]:
    """Check on a standby that it has the root key for a failover. Name the standbys on a primary."""
    if context.is_standby():
        if context.root_key is None:
            yield Finding(
                WARNING,
                "this standby",
                "the standby has no root key: it cannot decrypt anything, even after a failover",
                "Install the getkey script of the primary here, since replication does not copy it. See the check "
                "root_key.",
            )
        else:
            yield Finding(
                OK,
                "this standby",
                f"the standby has the root key {context.root_key.fingerprint}; see the check root_key_fingerprint",
            )
        return
    for row in context.rows(
        """
        SELECT DISTINCT
            coalesce(nullif(r.application_name, ''), 'without a name') AS name,
            coalesce(host(r.client_addr), 'this machine') AS address
        FROM pg_stat_replication AS r
        WHERE r.state <> 'backup'
            AND NOT EXISTS (
                SELECT FROM pg_replication_slots AS s
                WHERE s.active_pid = r.pid AND s.slot_type = 'logical'
            )
        ORDER BY 1, 2
        """
    ):
        yield Finding(
            NOTICE,
            row["name"],
            f"the standby at {row['address']} cannot be examined from here",
            "SELECT * FROM doctor(); on the standby.",
        )
