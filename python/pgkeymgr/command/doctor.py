"""``pgkeymgr doctor``: run the SQL function doctor() in every database, and show all findings together."""

from typing import Annotated, Any

import typer

from .failure import problem_of, report_failures, report_problems
from .output import (
    Format,
    FormatOption,
    Json,
    Watch,
    chosen_format,
    escape,
    message,
    print_csv,
    print_json,
    print_paragraph,
    watch,
)
from .target import AllDatabases, Databases, Dsn, connects

NOT_EXAMINED = 3

EPILOG = (
    "Exit status: 0, at most notices; 1, warnings; 2, errors, or wrong usage; 3, a database could not be examined."
)

_ORDER = ("error", "warning", "notice", "ok")
_STATUS = {"error": 2, "warning": 1}
_NAMES_MAX = 3
_FIELDS = ("status", "databases", "check_name", "object", "message", "hint")


@connects
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
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also print the checks that found nothing.")
    ] = False,
    format_: FormatOption = None,
    json: Json = False,
    again: Watch = None,
) -> None:
    """Check the settings, keys and columns of every database that has the extension, and print remedies."""
    chosen = chosen_format(format_, json)
    watch(again, lambda: _doctor([dsn, *(also or ())], database, all_databases, verbose, chosen))


def _doctor(
    servers: list[str], names: list[str] | None, all_databases: bool, verbose: bool, chosen: Format
) -> None:
    import psycopg

    from ..errors import Error

    problems: dict[str, str] = {}
    findings: dict[tuple[str, ...], dict[str, Any]] = {}
    examined: list[str] = []
    with report_failures(NOT_EXAMINED):
        for number, server in enumerate(servers):
            label = f"server {number + 1}"
            prefix = f"{label}: " if len(servers) > 1 else ""
            try:
                examined += _examine(server, names, all_databases, prefix, findings, problems)
            except (psycopg.Error, Error) as error:
                # A server that is down must not hide the findings of the others.
                problems[label] = problem_of(error)
    found = sorted(findings.values(), key=lambda finding: _ORDER.index(finding["status"]))
    if chosen == Format.JSON:
        print_json({"findings": found, "databases": examined, "problems": problems})
    elif chosen == Format.CSV:
        print_csv(_FIELDS, [[finding[name] for name in _FIELDS] for finding in found])
    else:
        _show(found, examined, verbose)
    report_problems(problems)
    statuses = [_STATUS.get(finding["status"], 0) for finding in found]
    raise typer.Exit(NOT_EXAMINED if problems else max(statuses, default=0))


def _examine(
    dsn: str,
    names: list[str] | None,
    all_databases: bool,
    prefix: str,
    findings: dict[tuple[str, ...], dict[str, Any]],
    problems: dict[str, str],
) -> list[str]:
    import psycopg

    from .connection import each_database

    unreachable: dict[str, str] = {}
    examined = []
    for database in each_database(dsn, names, unreachable, all_databases=all_databases, any_version=True):
        label = f"{prefix}{database.name}"
        try:
            # An undefined_function error of the call would not do: doctor() itself could raise it.
            if not database.query(
                """
                SELECT 1 AS one
                FROM pg_proc
                WHERE proname = 'doctor' AND pronamespace = quote_ident(%s)::regnamespace
                """,
                database.schema,
            ):
                problems[label] = (
                    f"the extension has version {database.version}, which has no doctor(): run pgkeymgr upgrade"
                )
                continue
            rows = database.query("SELECT check_name, status, object, message, hint FROM {s}.doctor()")
        except psycopg.Error as error:
            problems[label] = problem_of(error)
            continue
        examined.append(label)
        for row in rows:
            # Each database reports the findings about the whole cluster. They are shown once.
            key = tuple(str(row[name]) for name in ("check_name", "status", "object", "message"))
            findings.setdefault(key, {**row, "databases": []})["databases"].append(label)
    problems.update({f"{prefix}{name}": problem for name, problem in unreachable.items()})
    return examined


def _show(findings: list[dict[str, Any]], examined: list[str], verbose: bool) -> None:
    for finding in findings:
        if finding["status"] == "ok" and not verbose:
            continue
        where = _join_databases(finding["databases"], examined)
        subject = f"{escape(finding['object'])}: " if finding["object"] else ""
        head = f"{finding['status'].upper()} {escape(where)} {escape(finding['check_name'])}:"
        print_paragraph(f"{head} {subject}{escape(finding['message'])}", "    ", "", finding["status"])
        if finding["hint"]:
            print_paragraph(f"Hint: {escape(finding['hint'])}", "    ")
    if not examined:
        return
    counts = []
    for status in _ORDER:
        count = sum(finding["status"] == status for finding in findings)
        counts.append(f"{count} {status}{'' if count == 1 or status == 'ok' else 's'}")
    message(", ".join(counts))


def _join_databases(databases: list[str], examined: list[str]) -> str:
    if len(databases) == len(examined) > 1:
        return "all"
    return ", ".join(databases) if len(databases) <= _NAMES_MAX else f"{len(databases)} databases"
