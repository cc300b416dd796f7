"""Standbys: each needs the root key for itself."""

from collections.abc import Iterator

from .finding import NOTICE, OK, WARNING, Context, Finding


def check_standby(context: Context) -> Iterator[Finding]:
    """On a standby, see that it could take over; on a primary, name its standbys."""
    if context.is_standby():
        if context.root_key is None:
            yield Finding(
                WARNING,
                "this standby",
                "it has no root key: it decrypts nothing, and would not after a failover",
                "Put the getkey script of the primary here, too: replication does not bring it. See root_key.",
            )
        else:
            yield Finding(
                OK,
                "this standby",
                f"it has the root key {context.root_key.fingerprint}; root_key_fingerprint says whether it fits",
            )
        return
    for row in context.rows(
        "SELECT DISTINCT coalesce(nullif(r.application_name, ''), 'without a name') AS name,"
        " coalesce(pg_catalog.host(r.client_addr), 'this machine') AS address"
        " FROM pg_catalog.pg_stat_replication AS r"
        " WHERE r.state OPERATOR(pg_catalog.<>) 'backup' AND NOT EXISTS (SELECT"
        "  FROM pg_catalog.pg_replication_slots AS s WHERE s.active_pid OPERATOR(pg_catalog.=) r.pid"
        "  AND s.slot_type OPERATOR(pg_catalog.=) 'logical') ORDER BY 1, 2"
    ):
        yield Finding(
            NOTICE,
            row["name"],
            f"a standby at {row['address']}: what is wrong there is not seen from here",
            "SELECT * FROM doctor(); on it, too.",
        )
