"""``pgkeymgr doctor``: run the SQL function doctor() in every database, and show all findings together."""

from typing import Annotated, Any

import typer

from .failure import message_and_hint, report, report_failures
from .output import Json, message, print_json, print_table
from .target import AllDatabases, Databases, Dsn

NOT_EXAMINED = 3

EPILOG = (
    "Exit status: 0, at most notices; 1, warnings; 2, errors, or wrong usage; 3, a database could not be examined."
)

_ORDER = ("error", "warning", "notice", "ok")
_STATUS = {"error": 2, "warning": 1}
_NAMES_MAX = 3


def doctor(
    dsn: Dsn = "",
    database: Databases = None,
    all_databases: AllDatabases = False,
    also: Annotated[
        list[str] | None,
        typer.Option(
            "--also", help="A connection string of another server, for example a standby; may be repeated."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Check the settings, keys and columns of every database that has the extension, and print remedies."""
    import psycopg

    from ..errors import Error

    del all_databases  # The option only names the default.
    problems: dict[str, str] = {}
    findings: dict[tuple[str, ...], dict[str, Any]] = {}
    examined: list[str] = []
    with report_failures(NOT_EXAMINED):
        for number, server in enumerate([dsn, *(also or ())]):
            label = f"server {number + 1}"
            try:
                examined += _examine(server, database, f"{label}: " if also else "", findings, problems)
            except (psycopg.Error, Error) as error:
                # A server that is down must not hide the findings of the others.
                problems[label] = message_and_hint(error)[0]
    found = sorted(findings.values(), key=lambda finding: _ORDER.index(finding["status"]))
    if json:
        print_json({"findings": found, "databases": examined, "problems": problems})
    else:
        _show(found, examined)
    for name, problem in problems.items():
        report(f"{name}: {problem}")
    statuses = [_STATUS.get(finding["status"], 0) for finding in found]
    raise typer.Exit(NOT_EXAMINED if problems else max(statuses, default=0))


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
    examined = []
    for database in each_database(dsn, names, unreachable):
        label = f"{prefix}{database.name}"
        try:
            # An undefined_function error of the call would not do: doctor() itself could raise it.
            if not database.query(
                "SELECT 1 AS one FROM pg_proc WHERE proname = 'doctor'"
                " AND pronamespace = quote_ident(%s)::regnamespace",
                database.schema,
            ):
                problems[label] = (
                    f"the extension has version {database.version}, which has no doctor(): run ALTER EXTENSION "
                    "pgkeymgr UPDATE"
                )
                continue
            rows = database.query("SELECT check_name, status, object, message, hint FROM {s}.doctor()")
        except psycopg.Error as error:
            problems[label] = message_and_hint(error)[0]
            continue
        examined.append(label)
        for row in rows:
            # Each database reports the findings about the whole cluster. They are shown once.
            key = tuple(str(row[name]) for name in ("check_name", "status", "object", "message"))
            findings.setdefault(key, {**row, "databases": []})["databases"].append(label)
    problems.update({f"{prefix}{name}": problem for name, problem in unreachable.items()})
    return examined


def _show(findings: list[dict[str, Any]], examined: list[str]) -> None:
    rows = [
        [
            finding["status"],
            _join_databases(finding["databases"], examined),
            finding["check_name"],
            finding["object"],
            finding["message"],
            finding["hint"],
        ]
        for finding in findings
    ]
    print_table("Doctor", ("status", "where", "check", "object", "message", "hint"), rows)
    if not examined:
        return
    counts = [f"{sum(finding['status'] == status for finding in findings)} {status}" for status in _ORDER]
    message(", ".join(counts))


def _join_databases(databases: list[str], examined: list[str]) -> str:
    if len(databases) == len(examined) > 1:
        return "all"
    return ", ".join(databases) if len(databases) <= _NAMES_MAX else f"{len(databases)} databases"
