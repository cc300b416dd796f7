"""Finds event triggers of the extension that PostgreSQL does not call."""

from collections.abc import Iterator

from .finding import WARNING, Context, Finding

_TRIGGERS = {
    "pgkeymgr_start": ("O", "", "DROP COLUMN with CASCADE drops what depends on the views of encrypted tables"),
    "pgkeymgr_ddl": ("O", "", "views of encrypted tables do not follow DDL"),
    "pgkeymgr_drop": ("O", "", "encrypted tables that are dropped are not forgotten"),
    "pgkeymgr_keep_keys": ("A", " ALWAYS", "the extension can be dropped with keys that are not destroyed"),
    "pgkeymgr_kept_keys": ("A", " ALWAYS", "a cursor stays open after a DROP"),
}
"""The state of each event trigger in ``pg_event_trigger``, the words that set it, and the effect of another."""


def check_event_triggers(context: Context) -> Iterator[Finding]:
    """Find event triggers that are disabled, or enabled in another way than the extension has made them."""
    states = {
        row["name"]: row["state"]
        for row in context.rows(
            "SELECT evtname::text AS name, evtenabled::text AS state FROM pg_catalog.pg_event_trigger"
        )
    }
    for name, (state, words, effect) in _TRIGGERS.items():
        if states[name] not in (state, "A"):
            yield Finding(
                WARNING,
                f"event trigger {name}",
                f"the event trigger is not enabled{words}: {effect}",
                f"ALTER EVENT TRIGGER {name} ENABLE{words};",
            )
