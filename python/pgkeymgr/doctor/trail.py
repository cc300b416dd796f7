"""Checks the integrity of the audit trail."""

from collections.abc import Iterator

from .finding import ERROR, NOTICE, OK, WARNING, Context, Finding

EVENTS_MAX = 1_000_000
"""The maximum number of events that are verified here, since a million take seconds."""


def check_trail(context: Context) -> Iterator[Finding]:
    """Check the chain of the audit trail, and that its triggers are enabled."""
    for row in context.rows(
        """
        SELECT tgname::text AS name
        FROM pg_trigger
        WHERE tgrelid = '{s}.key_event'::regclass::oid AND tgenabled = ANY ('{D,R}'::"char"[])
        ORDER BY 1
        """
    ):
        yield Finding(
            WARNING,
            f"trigger {row['name']}",
            "the trigger, which protects the audit trail, is disabled",
            f"ALTER TABLE {context.database.schema}.key_event ENABLE TRIGGER {row['name']};",
        )
    (row,) = context.rows(
        "SELECT count(*) AS events FROM (SELECT FROM {s}.key_event LIMIT $1) AS counted",
        ("bigint", EVENTS_MAX + 1),
    )
    if row["events"] > EVENTS_MAX:
        yield Finding(
            NOTICE,
            None,
            f"could not be checked: the audit trail has more than {EVENTS_MAX:,} events",
            "SELECT * FROM verify_key_events();",
        )
        return
    events, broken, reason, _ = context.audit.verify_key_events(None, None)
    if broken is not None:
        yield Finding(
            ERROR,
            f"link {broken}",
            f"the audit trail is broken at this link: {reason}",
            "Compare the event with a backup or the server's log, and restore it. Then find out which superuser "
            "changed it.",
        )
    else:
        yield Finding(OK, None, f"all {events:,} linked events are unchanged")
