"""``pgkeymgr switch-over``: let a logical replica take its publisher's place."""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import KeyStateError, UndefinedError
from .failure import report_failures
from .output import Json, escape, print_json
from .target import OneDatabase

if TYPE_CHECKING:
    from .connection import Database

EPILOG = "Exit status: 0, the replica has taken over; 1, it has not, and still follows; 2, wrong usage."

_POLL_SECONDS = 0.2
_SUBSCRIPTIONS = """
    SELECT s.subname::text AS name, s.subslotname::text AS slot,
        (SELECT count(*) FROM pg_subscription_rel AS r WHERE r.srsubid = s.oid AND r.srsubstate <> 'r') AS copying
    FROM pg_subscription AS s JOIN pg_database AS d ON d.oid = s.subdbid
    WHERE d.datname = current_database()
    ORDER BY 1
"""
_CLIENTS = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
    ORDER BY 1
"""
_BEHIND = """
    SELECT w.slot FROM unnest(%s::text[]) AS w (slot)
    LEFT JOIN pg_replication_slots AS s ON s.slot_name = w.slot
    WHERE (s.confirmed_flush_lsn >= %s::pg_lsn) IS NOT TRUE
"""
_SEQUENCES = """
    SELECT quote_ident(schemaname) || '.' || quote_ident(sequencename) AS name, last_value
    FROM pg_sequences WHERE last_value IS NOT NULL AND increment_by > 0 ORDER BY 1
"""
_SET_SEQUENCE = """
    SELECT setval(c.oid, %(last_value)s) FROM pg_class AS c JOIN pg_sequences AS s
        ON quote_ident(s.schemaname) || '.' || quote_ident(s.sequencename) = %(name)s
    WHERE c.oid = to_regclass(%(name)s) AND coalesce(s.last_value < %(last_value)s, true)
"""


def switch_over(
    publisher: Annotated[
        str,
        typer.Option("--from", metavar="DSN", help="The connection string of the publisher.", show_default=False),
    ],
    subscriber: Annotated[
        str, typer.Option("--to", metavar="DSN", help="The connection string of the replica.", show_default=False)
    ],
    database: OneDatabase = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="The time to wait for the replica to catch up.")
    ] = 60,
    force: Annotated[
        bool, typer.Option("--force", help="Go on although other sessions are connected to the publisher.")
    ] = False,
    json: Json = False,
) -> None:
    """Let a logical replica of a database, tables of the extension included, take the publisher's place.

    First stop the applications. The command compares the root keys, waits until the replica has everything, sets
    the sequences of the replica, drops its subscriptions, and completes its encrypted tables. Both users
    are superusers.
    """
    from .connection import open_database

    with report_failures(), open_database(publisher, database) as old, open_database(subscriber, database) as new:
        subscriptions = _examine(old, new, force=force)
        _wait(old, [each["slot"] for each in subscriptions], timeout)
        sequences = old.connection.execute(_SEQUENCES).fetchall()
        for sequence in sequences:
            new.connection.execute(_SET_SEQUENCE, sequence)
        for each in subscriptions:
            new.connection.execute(_drop_subscription(each["name"]))
        tables = new.query("SELECT DISTINCT base_relation::text AS name FROM {s}.encrypted_columns ORDER BY 1")
        for table in tables:
            new.query("SELECT {s}.refresh_encrypted_view(%s::text::regclass)", table["name"])
    done: dict[str, Any] = {
        "database": new.name,
        "subscriptions": [each["name"] for each in subscriptions],
        "sequences": len(sequences),
        "tables": [table["name"] for table in tables],
    }
    if json:
        print_json(done)
        return
    typer.echo(
        f"{escape(new.name)} has taken over: {done['sequences']} sequences are set, and the encrypted tables are "
        f"complete ({', '.join(map(escape, done['tables'])) or 'none'})."
    )


def _examine(old: "Database", new: "Database", *, force: bool) -> list[dict[str, Any]]:
    """Return the subscriptions of a replica that can take over; raise if it cannot."""
    subscriptions = new.connection.execute(_SUBSCRIPTIONS).fetchall()
    if not subscriptions:
        raise UndefinedError(f'database "{new.name}" has no subscription', hint="Name the replica with --to.")
    for each in subscriptions:
        if each["copying"]:
            raise KeyStateError(
                f'subscription "{each["name"]}" still copies {each["copying"]} tables',
                hint="Wait until srsubstate is r in all rows of pg_subscription_rel.",
            )
    if old.version != new.version:
        raise KeyStateError(
            f"the publisher has pgkeymgr {old.version}, and the replica {new.version}",
            hint="Run pgkeymgr upgrade on the older one.",
        )
    (theirs,), (ours,) = (each.query("SELECT * FROM {s}.root_key_status()") for each in (old, new))
    there = {ours["fingerprint"], *ours["previous"]}
    missing = sorted({theirs["fingerprint"], *theirs["still_needed"]} - there)
    if missing:
        raise KeyStateError(
            f"the replica does not have the root key {', '.join(missing)}",
            hint="Install the publisher's getkey script on the replica.",
        )
    others = old.connection.execute(_CLIENTS).fetchall()
    if others and not force:
        raise KeyStateError(
            f"sessions are connected to the publisher: {', '.join(str(row['pid']) for row in others)}",
            hint="Stop the applications, or add --force if these sessions do not write.",
        )
    return [dict(each) for each in subscriptions]


def _wait(old: "Database", slots: list[str], timeout: float) -> None:
    """Wait until slots have confirmed all that the publisher has written so far."""
    (position,) = old.connection.execute("SELECT pg_current_wal_lsn()::text AS lsn").fetchall()
    deadline = time.monotonic() + timeout
    while behind := old.connection.execute(_BEHIND, (slots, position["lsn"])).fetchall():
        if time.monotonic() > deadline:
            names = ", ".join(f'"{row["slot"]}"' for row in behind)
            raise KeyStateError(
                f"the replica has not caught up after {timeout:g} seconds: slot {names}",
                hint="Look at the server's log of the replica, or add --timeout.",
            )
        time.sleep(_POLL_SECONDS)


def _drop_subscription(name: str) -> Any:
    from psycopg import sql

    return sql.SQL("DROP SUBSCRIPTION {}").format(sql.Identifier(name))
