"""``pgkeymgr rotate``: rotate the root key or the key of a column, or make a new version of a data key."""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..documents import page
from .failure import FAILED, report_failures, report_problems
from .interface import Command, Group
from .output import (
    Format,
    FormatOption,
    Json,
    chosen_format,
    escape,
    message,
    print_csv,
    print_json,
    print_table,
    progress,
)
from .procedure import EPILOG, BatchSize, Column, Table, call_on_shards, call_procedure
from .target import AllDatabases, Databases, Dsn, OneDatabase, connects

if TYPE_CHECKING:
    from .connection import Connection, Database

STILL_NEEDED = 3

_POLL_SECONDS = 0.2
_HEADINGS = ("database", "root key", "keys wrapped again")

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Rotate the root key, a column's key, or a data key.",
)


@app.command(cls=Command, epilog=EPILOG)
@connects
def column(
    table: Table,
    column: Column,
    dsn: Dsn = "",
    database: OneDatabase = None,
    batch_size: BatchSize = 5000,
    shards: Annotated[
        list[str] | None,
        typer.Option(
            "--shard",
            help="The connection string of a server that has a part of the table; may be repeated. The column is "
            "rotated on one server after the other. After a failure on one, the command continues with the next.",
            show_default=False,
        ),
    ] = None,
    supersede: Annotated[
        bool,
        typer.Option(
            help="Make a new version of the key. Otherwise, only rows under older versions are encrypted."
        ),
    ] = True,
    json: Json = False,
) -> None:
    """Encrypt a column again under a new version of its key, in batches, without blocking clients."""
    arguments = {"batch_size": batch_size, "supersede": supersede}
    if not shards:
        call_procedure("rotate_column", dsn, database, table, column, arguments, json)
        return
    if dsn or database:
        raise typer.BadParameter("--shard names the servers, so --dsn and --database cannot be given with it")
    call_on_shards("rotate_column", shards, table, column, arguments, json)


@app.command(cls=Command, epilog="Exit status: 0, success; 1, failure; 2, wrong usage.")
@connects
def key(
    name: Annotated[str, typer.Argument(help="The name of the key.")],
    dsn: Dsn = "",
    database: OneDatabase = None,
    json: Json = False,
) -> None:
    """Make a new version of a data key. New values are encrypted under it, and older values can still be read."""
    from .connection import open_database

    with report_failures(), open_database(dsn, database) as opened:
        (made,) = opened.query("SELECT {s}.supersede_data_key(%s::text) AS id", name)
        columns = opened.query(
            """
            SELECT relation::text AS table, column_name::text AS column
            FROM {s}.encrypted_columns
            WHERE key_name = %s
            ORDER BY 1, 2
            """,
            name,
        )
    if json:
        print_json({"database": opened.name, "key": name, "id": made["id"], "columns": columns})
        return
    typer.echo(f"Data key {escape(name)} has a new version, key {made['id']}.")
    for each in columns:
        message(
            f"The older rows of {escape(each['table'])}.{escape(each['column'])} are still under older versions. "
            "Use pgkeymgr rotate column to encrypt them again."
        )


@app.command(
    cls=Command,
    epilog="Exit status: 0, success, and no examined database needs a previous root key; 1, failure; 2, wrong "
    "usage; 3, success, but a previous root key is still needed. Each database is one transaction: after an "
    "interruption, call the command again.",
)
@connects
def root(
    dsn: Dsn = "",
    database: Databases = None,
    all_databases: AllDatabases = False,
    wait_standbys: Annotated[
        float,
        typer.Option(
            "--wait-standbys",
            metavar="SECONDS",
            min=0,
            help="The time to wait for standbys to replay the rotation.",
        ),
    ] = 0,
    format_: FormatOption = None,
    json: Json = False,
) -> None:
    """Wrap every key again under the newest root key, in every database, and report whether older ones are needed.

    First give all servers and standbys the new root key, above the old one.
    """
    from .connection import connect, each_database, named_database

    chosen = chosen_format(format_, json)
    problems: dict[str, str] = {}
    results: list[dict[str, Any]] = []
    standbys: list[dict[str, Any]] = []
    with report_failures():
        lsn: str | None = None
        with progress("databases") as bar:
            for each in bar.track(
                each_database(dsn, database, problems, all_databases=all_databases), description="rotating"
            ):
                result = _rotate(each, problems)
                if result is not None:
                    lsn = result.pop("lsn")
                    results.append(result)
        if lsn is not None:
            # pg_stat_replication shows all standbys of the cluster in every database.
            with connect(dsn, results[-1]["database"]) as connection:
                standbys = _standbys(connection, lsn, wait_standbys)
    needed = sorted({fingerprint for result in results for fingerprint in result["still_needed"]})
    behind = [standby for standby in standbys if not standby["replayed"]]
    previous = sorted({fingerprint for result in results for fingerprint in result["previous"]})
    is_part = database is not None or (named_database(dsn) is not None and not all_databases)
    can_go = not (problems or needed or behind)
    if chosen == Format.JSON:
        print_json(
            {
                "databases": results,
                "standbys": standbys,
                "still_needed": needed,
                "can_withdraw": previous if can_go and not is_part else [],
                "problems": problems,
            }
        )
    elif chosen == Format.CSV:
        print_csv(_HEADINGS, _rows_of(results))
    else:
        print_table("", _HEADINGS, _rows_of(results))
        _print_standbys(standbys)
    report_problems(problems)
    if previous:
        _advise(previous, needed, behind, bool(problems), is_part)
    elif results:
        message(
            "The server has only one root key, so there is nothing to do. For a new one above it, use pgkeymgr "
            f"root new: see {page('root-rotation.md')}."
        )
    if problems:
        raise typer.Exit(FAILED)
    if needed or behind:
        raise typer.Exit(STILL_NEEDED)


def _print_standbys(standbys: list[dict[str, Any]]) -> None:
    if standbys:
        rows = [
            [standby["name"], standby["state"], "yes" if standby["replayed"] else "not yet, or unknown"]
            for standby in standbys
        ]
        typer.echo()
        print_table("Standbys", ("name", "state", "has replayed the rotation"), rows)


def _rows_of(results: list[dict[str, Any]]) -> list[list[Any]]:
    return [[result["database"], result["fingerprint"], result["rewrapped"]] for result in results]


def _rotate(database: "Database", problems: dict[str, str]) -> dict[str, Any] | None:
    import psycopg

    from .failure import message_and_hint, problem_of

    try:
        # An asynchronous commit may not be in the WAL yet when pg_current_wal_flush_lsn() is called.
        database.connection.execute(
            """
            SELECT set_config('synchronous_commit', 'local', false)
            WHERE current_setting('synchronous_commit') = 'off'
            """
        )
        (rotated,) = database.query("SELECT {s}.rotate_root_key() AS rewrapped")
        (status,) = database.query("SELECT * FROM {s}.root_key_status()")
        (written,) = database.query("SELECT pg_current_wal_flush_lsn()::text AS lsn")
    except psycopg.errors.InsufficientPrivilege as error:
        problems[database.name] = f"{message_and_hint(error)[0]}. Run the command as a superuser."
        return None
    except psycopg.Error as error:
        problems[database.name] = problem_of(error)
        return None
    return {
        "database": database.name,
        "rewrapped": rotated["rewrapped"],
        "fingerprint": status["fingerprint"],
        "previous": status["previous"],
        "still_needed": status["still_needed"],
        "lsn": written["lsn"],
    }


def _standbys(connection: "Connection", lsn: str, seconds: float) -> list[dict[str, Any]]:
    """Return the standbys, and whether each has replayed the rotation. Wait for them for some seconds."""
    deadline = time.monotonic() + seconds
    while True:
        # A role without pg_monitor sees NULL as the state. An inactive slot belongs to a standby that is away.
        standbys: list[dict[str, Any]] = [
            dict(row)
            for row in connection.execute(
                """
                SELECT
                    application_name || coalesce(' ' || client_addr::text, '') AS name,
                    coalesce(state, 'unknown') AS state, coalesce(replay_lsn >= %(lsn)s::pg_lsn, false) AS replayed
                FROM pg_stat_replication
                WHERE state IS DISTINCT FROM 'backup'
                UNION ALL
                SELECT 'slot ' || slot_name, 'away', false
                FROM pg_replication_slots
                WHERE NOT active AND slot_type = 'physical' AND restart_lsn < %(lsn)s::pg_lsn
                ORDER BY 1
                """,
                {"lsn": lsn},
            )
        ]
        if all(standby["replayed"] for standby in standbys) or time.monotonic() >= deadline:
            break
        time.sleep(_POLL_SECONDS)
    return standbys


def _advise(
    previous: list[str],
    needed: list[str],
    behind: list[dict[str, Any]],
    has_problems: bool,
    is_part: bool,
) -> None:
    if needed:
        message(
            f"These previous root keys are still needed: {', '.join(needed)}. Call the command again, and see "
            "pgkeymgr status."
        )
    elif has_problems:
        message("Keep the previous root keys until all databases could be examined.")
    elif behind:
        message(
            "Keep the previous root keys until the standbys have replayed the rotation. "
            "--wait-standbys waits for them."
        )
    elif is_part:
        message("Only some databases were examined. The others may need the previous root keys.")
    else:
        message(
            f"The server no longer needs these root keys, and they can be withdrawn from it: "
            f"{', '.join(previous)}."
        )
        message("This command cannot see standbys of standbys, and standbys that are not connected.")
    message(f"Keys by number and results of wrap_key() may also need them: see {page('root-rotation.md')}.")
    message("Older base backups, WAL archives and dumps need them: keep a copy for as long as you keep those.")
