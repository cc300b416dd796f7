"""``pgkeymgr rotate``: a new root key, a new key for a column, a new version of a key."""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .failure import FAILED, failures_reported, report
from .output import Json, message, print_json, print_table, progress, shown
from .procedure import EPILOG, BatchSize, Column, Table, call_procedure
from .target import AllDatabases, Databases, Dsn, OneDatabase

if TYPE_CHECKING:
    from .connection import Connection, Database

STILL_NEEDED = 3

_POLL_SECONDS = 0.2

app = typer.Typer(no_args_is_help=True, help="Replace the root key, a column's key, or a data key by a new one.")


@app.command(epilog=EPILOG)
def column(
    table: Table,
    column: Column,
    dsn: Dsn = "",
    database: OneDatabase = None,
    batch_size: BatchSize = 1000,
    json: Json = False,
) -> None:
    """Encrypt a column under a new version of its key, in batches, while readers and writers go on."""
    call_procedure("rotate_column", dsn, database, table, column, batch_size, json)


@app.command(epilog="Exit status: 0, done; 1, it failed; 2, wrong usage.")
def key(
    name: Annotated[str, typer.Argument(help="The key's name.")],
    dsn: Dsn = "",
    database: OneDatabase = None,
    json: Json = False,
) -> None:
    """Make a new version of a data key. What is encrypted from now on is under it; what was before still opens."""
    from .connection import open_database

    with failures_reported(), open_database(dsn, database) as opened:
        (made,) = opened.query("SELECT {s}.supersede_data_key(%s::text) AS id", name)
        columns = opened.query(
            "SELECT relation::text AS table, column_name::text AS column FROM {s}.encrypted_columns"
            " WHERE key_name = %s ORDER BY 1, 2",
            name,
        )
    if json:
        print_json({"database": opened.name, "key": name, "id": made["id"], "columns": columns})
        return
    typer.echo(f"{shown(name)} has a new version, key {made['id']}.")
    for each in columns:
        message(
            f"{shown(each['table'])}.{shown(each['column'])} has older rows under the version before; "
            "pgkeymgr rotate column encrypts them anew."
        )


@app.command(
    epilog="Exit status: 0, done, and no previous root key is needed any more by what could be looked at; "
    "1, something failed; 2, wrong usage; 3, done, and a previous root key is still needed. "
    "Interrupted, it can be called again: each database is one transaction."
)
def root(
    dsn: Dsn = "",
    database: Databases = None,
    all_databases: AllDatabases = False,
    wait_standbys: Annotated[
        float,
        typer.Option(
            "--wait-standbys", metavar="SECONDS", min=0, help="Wait so long for standbys to have replayed it."
        ),
    ] = 0,
    json: Json = False,
) -> None:
    """Wrap every key anew under the newest root key, in every database, and tell when the old one can go.

    Before: give all servers, standbys too, the new root key as the first one, with the old one below it.
    """
    from .connection import connect, each_database

    del all_databases  # says what is the default
    problems: dict[str, str] = {}
    results: list[dict[str, Any]] = []
    standbys: list[dict[str, Any]] = []
    with failures_reported():
        lsn: str | None = None
        with progress("databases") as bar:
            for each in bar.track(each_database(dsn, database, problems), description="rotating"):
                result = _rotate(each, problems)
                if result is not None:
                    lsn = result.pop("lsn")
                    results.append(result)
        if lsn is not None:
            # Any database tells of all of the cluster's standbys.
            with connect(dsn, results[-1]["database"]) as connection:
                standbys = _standbys(connection, lsn, wait_standbys)
    needed = sorted({fingerprint for result in results for fingerprint in result["still_needed"]})
    behind = [standby for standby in standbys if not standby["replayed"]]
    previous = sorted({fingerprint for result in results for fingerprint in result["previous"]})
    can_go = not (problems or needed or behind)
    if json:
        print_json(
            {
                "databases": results,
                "standbys": standbys,
                "still_needed": needed,
                "can_withdraw": previous if can_go and not database else [],
                "problems": problems,
            }
        )
    else:
        rows = [[result["database"], result["fingerprint"], result["rewrapped"]] for result in results]
        print_table("Root key", ("database", "root key", "wrapped anew"), rows)
        if standbys:
            rows = [[standby["name"], standby["state"], standby["tells"]] for standby in standbys]
            print_table("Standbys", ("name", "state", "has replayed it"), rows)
    for name, problem in problems.items():
        report(f"{name}: {problem}")
    if previous:
        _advise(previous, needed, behind, bool(problems), database)
    if problems:
        raise typer.Exit(FAILED)
    if needed or behind:
        raise typer.Exit(STILL_NEEDED)


def _rotate(database: "Database", problems: dict[str, str]) -> dict[str, Any] | None:
    import psycopg

    from .failure import told

    try:
        # A commit that only is on its way to the disk has no place in the WAL that could be compared.
        database.connection.execute(
            "SELECT set_config('synchronous_commit', 'local', false)"
            " WHERE current_setting('synchronous_commit') = 'off'"
        )
        (rotated,) = database.query("SELECT {s}.rotate_root_key() AS rewrapped")
        (status,) = database.query("SELECT * FROM {s}.root_key_status()")
        (written,) = database.query("SELECT pg_current_wal_flush_lsn()::text AS lsn")
    except psycopg.Error as error:
        problems[database.name] = told(error)[0]
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
    """Tell which standbys have replayed the rotation, and wait for them for some time."""
    deadline = time.monotonic() + seconds
    while True:
        # Whoever may not see states sees NULL in them. A slot without a client is a standby that is away.
        standbys: list[dict[str, Any]] = [
            dict(row)
            for row in connection.execute(
                "SELECT application_name || coalesce(' ' || client_addr::text, '') AS name,"
                " coalesce(state, 'unknown') AS state, coalesce(replay_lsn >= %(lsn)s::pg_lsn, false) AS replayed"
                " FROM pg_stat_replication WHERE state IS DISTINCT FROM 'backup'"
                " UNION ALL SELECT 'slot ' || slot_name, 'away', false FROM pg_replication_slots"
                " WHERE NOT active AND slot_type = 'physical' AND restart_lsn < %(lsn)s::pg_lsn ORDER BY 1",
                {"lsn": lsn},
            )
        ]
        if all(standby["replayed"] for standby in standbys) or time.monotonic() >= deadline:
            break
        time.sleep(_POLL_SECONDS)
    for standby in standbys:
        standby["tells"] = "yes" if standby["replayed"] else "not yet, as far as it tells"
    return standbys


def _advise(
    previous: list[str],
    needed: list[str],
    behind: list[dict[str, Any]],
    has_problems: bool,
    names: list[str] | None,
) -> None:
    if needed:
        message(f"Still needed: {', '.join(needed)}. Call this again, and see pgkeymgr status.")
    elif has_problems:
        message("Leave the previous root keys where they are until all databases could be looked at.")
    elif behind:
        message(
            "Leave the previous root keys where they are until the standbys have replayed it: --wait-standbys."
        )
    elif names:
        message("Only some databases were looked at: the others may need the previous root keys.")
    else:
        message(
            f"The server does not need these any more, and they can be withdrawn from it: {', '.join(previous)}."
        )
        message("Standbys of standbys, and standbys that are not connected, are not seen from here.")
    message("Keys by number and what wrap_key() returned may need them too, see docs/root-rotation.md.")
    message("Base backups, WAL archives and dumps from before need them still: keep a copy as long as those.")
