"""``pgkeymgr audit``: list and follow the audit trail, and verify its chain."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .audit_checkpoint import verify_checkpoints
from .failure import FAILED, report, report_failures
from .interface import Command, Group
from .listing import Rows, end, rows_of, show_rows
from .output import (
    Format,
    FormatOption,
    Json,
    chosen_format,
    escape,
    json_text,
    message,
    print_csv,
    print_json,
    print_paragraph,
)
from .target import AllDatabases, Databases, Dsn, OneDatabase, connects

if TYPE_CHECKING:
    from .connection import Database

EPILOG = "Exit status: 0, success; 1, failure, or a database could not be examined; 2, wrong usage."

_EVENTS = """
    SELECT * FROM (
        SELECT
            e.link, e.at, e.event, e.key_id, e.key_name AS key, e.role, e.session_role, e.client, e.detail,
            pg_catalog.encode(e.hash, 'hex') AS hash
        FROM {s}.key_events AS e
        WHERE (%s::text IS NULL OR e.key_name = %s OR e.key_id::text = %s)
            AND (%s::text IS NULL OR e.role = %s OR e.session_role = %s)
            AND (%s::text IS NULL OR e.event = %s)
            AND (%s::timestamptz IS NULL OR e.at >= %s::timestamptz)
            AND (%s::bigint IS NULL OR e.link > %s)
        ORDER BY e.link DESC NULLS FIRST
        LIMIT %s
    ) AS latest
    ORDER BY link NULLS LAST
"""
_COLUMNS = {
    "link": "link",
    "time": "time",
    "event": "event",
    "id": "key_id",
    "key": "key",
    "role": "role",
    "client": "client",
    "detail": "detail",
}
_FOLLOWED_MAX = 10_000

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="List and follow the audit trail, and verify its chain.",
)

_Key = Annotated[
    str | None, typer.Option("--key", metavar="KEY", help="Only events of this key, by its name or id.")
]
_Role = Annotated[str | None, typer.Option("--role", metavar="NAME", help="Only events of this role.")]
_Event = Annotated[str | None, typer.Option("--event", metavar="EVENT", help="Only these events, such as grant.")]


@app.command("list", cls=Command, epilog=EPILOG)
@connects
def list_(
    dsn: Dsn = "",
    database: Databases = None,
    all_databases: AllDatabases = False,
    key: _Key = None,
    role: _Role = None,
    event: _Event = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="Only events since this time, in a format of SQL."),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, help="The number of the latest events to list.")
    ] = 100,
    format_: FormatOption = None,
    json: Json = False,
) -> None:
    """List the latest events of the audit trail, the newest last."""
    chosen = chosen_format(format_, json)
    rows, problems = rows_of(
        dsn, database, all_databases, lambda each: _events(each, key, role, event, since, None, limit)
    )
    if chosen != Format.TABLE:
        show_rows(rows, problems, _COLUMNS, chosen, "")
        return
    several = len({row["database"] for row in rows}) > 1
    for row in rows:
        print_paragraph(escape(f"{row['database']}: " if several else "") + _line_of(row), "    ", "")
    if not rows and not problems:
        message("There are no such events.")
    end(problems)


def _events(
    database: "Database",
    key: str | None,
    role: str | None,
    event: str | None,
    since: str | None,
    after: int | None,
    limit: int,
) -> Rows:
    values = (key, key, key, role, role, role, event, event, since, since, after, after, limit)
    return [
        {**row, "time": f"{row['at']:%Y-%m-%d %H:%M:%S}", "at": row["at"].isoformat()}
        for row in database.query(_EVENTS, *values)
    ]


@app.command(cls=Command, epilog="Exit status: 1, failure; 2, wrong usage; 130, stopped by Ctrl-C.")
@connects
def follow(
    dsn: Dsn = "",
    database: OneDatabase = None,
    key: _Key = None,
    role: _Role = None,
    event: _Event = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=0, help="The number of earlier events to print.")
    ] = 10,
    seconds: Annotated[
        float, typer.Option("--interval", metavar="SECONDS", min=0.1, help="The time between two queries.")
    ] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print each event as one line of JSON.")] = False,
) -> None:
    """Print the latest events of the audit trail, and then each new event, until Ctrl-C."""
    from .connection import open_database

    with report_failures(), open_database(dsn, database) as opened:
        after: int | None = None
        while True:
            (newest,) = opened.query("SELECT coalesce(max(link), 0) AS link FROM {s}.key_events")
            most = limit if after is None else _FOLLOWED_MAX
            for row in _events(opened, key, role, event, None, after, most):
                # An event that was linked after the query for the newest link is printed next time.
                if row["link"] is not None and row["link"] <= newest["link"]:
                    _print_event(row, as_json=json)
            sys.stdout.flush()
            after = newest["link"]
            time.sleep(seconds)


def _print_event(row: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json_text({name: value for name, value in row.items() if name != "time"}))
        return
    typer.echo(_line_of(row))


def _line_of(row: dict[str, Any]) -> str:
    key = "" if row["key_id"] is None else f" key {row['key_id']}"
    name = "" if row["key"] is None else f" ({row['key']})"
    detail = "" if row["detail"] is None else f": {row['detail']}"
    return escape(f"{row['time']} {row['event']}{key}{name} by {row['role']} from {row['client']}{detail}")


@app.command(
    cls=Command, epilog="Exit status: 0, all chains are whole; 1, one is broken, or failure; 2, wrong usage."
)
@connects
def verify(
    dsn: Dsn = "",
    database: Databases = None,
    all_databases: AllDatabases = False,
    link: Annotated[
        int | None, typer.Option("--link", metavar="N", min=1, help="A link whose hash was noted elsewhere.")
    ] = None,
    hash_: Annotated[
        str | None, typer.Option("--hash", metavar="HEX", help="The noted hash, in hexadecimal.")
    ] = None,
    checkpoints: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Check the trail against the checkpoints in this file; - is standard input.",
        ),
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The public keys of the checkpoints, from pgkeymgr agent audit-keys."),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Check this export, in the format jsonl, and connect to no server. It must have been "
            "made after the last checkpoint.",
        ),
    ] = None,
    format_: FormatOption = None,
    json: Json = False,
) -> None:
    """Verify the chain of the audit trail.

    Note the printed link and hash elsewhere, and check them next time. Or let the agent sign checkpoints: with
    --checkpoints and --keys, this computes all hashes itself, and compares them with the checkpoints.
    """
    if (checkpoints is None) != (keys is None):
        raise typer.BadParameter("--checkpoints and --keys go together")
    if export is not None and checkpoints is None:
        raise typer.BadParameter("--export needs --checkpoints")
    if checkpoints is not None and keys is not None:
        if link is not None or hash_ is not None or format_ is not None or json:
            raise typer.BadParameter("--checkpoints excludes --link, --hash, --format and --json")
        verify_checkpoints(checkpoints, keys, export, dsn, database)
        return
    chosen = chosen_format(format_, json)
    if (link is None) != (hash_ is None):
        raise typer.BadParameter("--link and --hash go together")
    try:
        known = None if hash_ is None else bytes.fromhex(hash_.removeprefix("\\x"))
    except ValueError:
        raise typer.BadParameter("write the hash in hexadecimal", param_hint="--hash") from None
    rows, problems = rows_of(dsn, database, all_databases, lambda each: _verify(each, link, known))
    names = ("database", "events", "broken_link", "reason", "last_link", "last_hash")
    if chosen == Format.JSON:
        print_json({"rows": rows, "problems": problems})
    elif chosen == Format.CSV:
        print_csv(names, [[row[name] for name in names] for row in rows])
    else:
        for row in rows:
            _show_chain(row)
    broken = [row for row in rows if row["broken_link"]]
    for row in broken:
        report(f"{row['database']}: the audit trail is broken at link {row['broken_link']}: {row['reason']}")
    end(problems)
    if broken:
        message("Compare the event with a backup or with the server's log. Only a superuser can have changed it.")
        raise typer.Exit(FAILED)


def _show_chain(row: dict[str, Any]) -> None:
    whole = "broken" if row["broken_link"] else "whole"
    print_paragraph(f"{escape(row['database'])}: {row['events']} events, and the chain is {whole}")
    if row["last_link"] is not None:
        print_paragraph(f"--link {row['last_link']} --hash {row['last_hash']}", "    ")


def _verify(database: "Database", link: int | None, known: bytes | None) -> Rows:
    rows = database.query(
        "SELECT v.events, v.broken_link, v.reason, pg_catalog.encode(v.last_hash, 'hex') AS last_hash,"
        " (SELECT e.link FROM {s}.key_events AS e WHERE e.hash = v.last_hash) AS last_link"
        " FROM {s}.verify_key_events(%s::bigint, %s::bytea) AS v",
        link,
        known,
    )
    return [dict(row) for row in rows]
