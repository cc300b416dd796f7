"""Whether the audit trail is whole."""

from collections.abc import Iterator

from .finding import ERROR, NOTICE, OK, WARNING, Context, Finding

EVENTS_MAX = 1_000_000
"""More events than these are not verified here, since it takes seconds."""


def check_trail(context: Context) -> Iterator[Finding]:
    """Check the chain of the audit trail, and that its triggers are on."""
    for row in context.rows(
        "SELECT tgname::text AS name FROM pg_catalog.pg_trigger"
        " WHERE tgrelid OPERATOR(pg_catalog.=) '{s}.key_event'::pg_catalog.regclass::pg_catalog.oid"
        " AND tgenabled OPERATOR(pg_catalog.=) ANY ('{D,R}'::\"char\"[]) ORDER BY 1"
    ):
        yield Finding(
            WARNING,
            f"trigger {row['name']}",
            "the trigger that keeps the audit trail is off",
            f"ALTER TABLE {context.database.schema}.key_event ENABLE TRIGGER {row['name']};",
        )
    (row,) = context.rows(
        "SELECT pg_catalog.count(*) AS events FROM (SELECT FROM {s}.key_event LIMIT $1) AS counted",
        ("bigint", EVENTS_MAX + 1),
    )
    if row["events"] > EVENTS_MAX:
        yield Finding(
            NOTICE,
            None,
            f"could not be checked: it has more than {EVENTS_MAX:,} events, which takes a while",
            "SELECT * FROM verify_key_events();",
        )
        return
    events, broken, reason, _ = context.audit.verify_key_events(None, None)
    if broken is not None:
        yield Finding(
            ERROR,
            f"link {broken}",
            f"the audit trail is broken there: {reason}",
            "Compare it with a backup, or with what the server's log says of that time, and put the event back as "
            "it was; then see who has been a superuser since.",
        )
    else:
        yield Finding(OK, None, f"{events:,} events, none of them changed or missing since it was linked")
