"""``pgkeymgr doctor``: what the SQL function doctor() finds, in every database, on one page."""

from typing import Annotated, Any

import typer

from .failure import failures_reported, report, told
from .output import Json, message, print_json, print_table
from .target import AllDatabases, Databases, Dsn

COULD_NOT_LOOK = 3

EPILOG = (
    "Exit status: 0, nothing worse than a notice; 1, warnings; 2, errors, or wrong usage; "
    "3, something could not be looked at."
)

_ORDER = ("error", "warning", "notice", "ok")
_STATUS = {"error": 2, "warning": 1}
_PLACES_SHOWN_MAX = 3


def doctor(
    dsn: Dsn = "",
    database: Databases = None,
    all_databases: AllDatabases = False,
    also: Annotated[
        list[str] | None,
        typer.Option(
            "--also", help="A connection string of another server, a standby for instance; may be repeated."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Check the settings, keys and columns of every database that has the extension, and say what to do."""
    import psycopg

    from ..errors import Error

    del all_databases  # says what is the default
    problems: dict[str, str] = {}
    findings: dict[tuple[str, ...], dict[str, Any]] = {}
    places: list[str] = []
    with failures_reported(COULD_NOT_LOOK):
        for number, server in enumerate([dsn, *(also or ())]):
            label = f"server {number + 1}"
            try:
                places += _examine(server, database, f"{label}: " if also else "", findings, problems)
            except (psycopg.Error, Error) as error:
                # One that is down hides nothing of the others.
                problems[label] = told(error)[0]
    found = sorted(findings.values(), key=lambda finding: _ORDER.index(finding["status"]))
    if json:
        print_json({"findings": found, "databases": places, "problems": problems})
    else:
        _show(found, places)
    for name, problem in problems.items():
        report(f"{name}: {problem}")
    statuses = [_STATUS.get(finding["status"], 0) for finding in found]
    raise typer.Exit(COULD_NOT_LOOK if problems else max(statuses, default=0))


def _examine(
    dsn: str,
    names: list[str] | None,
    prefix: str,
    findings: dict[tuple[str, ...], dict[str, Any]],
    problems: dict[str, str],
) -> list[str]:
    import psycopg

    from .connection import each_database

    unreachable: dict[str, str] = {}
    places = []
    for database in each_database(dsn, names, unreachable):
        place = f"{prefix}{database.name}"
        try:
            # An error of that kind inside doctor() is another matter.
            if not database.query(
                "SELECT 1 AS one FROM pg_proc WHERE proname = 'doctor'"
                " AND pronamespace = quote_ident(%s)::regnamespace",
                database.schema,
            ):
                problems[place] = (
                    f"its extension is of version {database.version}, which has no doctor(): update it"
                )
                continue
            rows = database.query("SELECT check_name, status, object, message, hint FROM {s}.doctor()")
        except psycopg.Error as error:
            problems[place] = told(error)[0]
            continue
        places.append(place)
        for row in rows:
            # What is true of the whole cluster is found in each database: once is enough.
            key = tuple(str(row[name]) for name in ("check_name", "status", "object", "message"))
            findings.setdefault(key, {**row, "databases": []})["databases"].append(place)
    problems.update({f"{prefix}{name}": problem for name, problem in unreachable.items()})
    return places


def _show(findings: list[dict[str, Any]], places: list[str]) -> None:
    rows = [
        [
            finding["status"],
            _where(finding["databases"], places),
            finding["check_name"],
            finding["object"],
            finding["message"],
            finding["hint"],
        ]
        for finding in findings
    ]
    print_table("Doctor", ("status", "where", "check", "object", "message", "hint"), rows)
    if not places:
        return
    counts = [f"{sum(finding['status'] == status for finding in findings)} {status}" for status in _ORDER]
    message(", ".join(counts))


def _where(databases: list[str], places: list[str]) -> str:
    if len(databases) == len(places) > 1:
        return "all"
    return ", ".join(databases) if len(databases) <= _PLACES_SHOWN_MAX else f"{len(databases)} databases"
