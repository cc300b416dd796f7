"""Queries the same rows in several databases, and prints them as one table."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import typer

from .failure import FAILED, problem_of, report_failures, report_problems
from .output import Format, message, print_csv, print_json, print_table

if TYPE_CHECKING:
    from .connection import Database

Rows = list[dict[str, Any]]


def rows_of(
    dsn: str, names: Sequence[str] | None, all_databases: bool, query: Callable[["Database"], Rows]
) -> tuple[Rows, dict[str, str]]:
    """Query the databases of a cluster.

    Args:
        dsn: a connection string, or "".
        names: the names of the databases, or None.
        all_databases: whether all databases are meant, even if the connection string names one.
        query: returns the rows of a database.

    Returns:
        The rows, each with the name of its ``database``, and the databases that could not be examined, each with
        the reason.

    Raises:
        typer.Exit: there is no such server or no such database, which has been reported.
    """
    import psycopg

    from .connection import each_database

    rows: Rows = []
    problems: dict[str, str] = {}
    with report_failures():
        for database in each_database(dsn, names, problems, all_databases=all_databases):
            try:
                rows += [{"database": database.name, **row} for row in query(database)]
            except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction):
                problems[database.name] = (
                    f"the extension of version {database.version} does not have what this command reads: run "
                    "ALTER EXTENSION pgkeymgr UPDATE"
                )
            except psycopg.Error as error:
                problems[database.name] = problem_of(error)
    return rows, problems


def show_rows(
    rows: Rows,
    problems: dict[str, str],
    columns: dict[str, str],
    chosen: Format,
    nothing: str,
) -> None:
    """Print the rows of several databases. The name of the database is left out where there is only one.

    Args:
        rows: what ``rows_of`` returned.
        problems: likewise.
        columns: the headings of a table, and the name of the value for each.
        chosen: the format.
        nothing: a message for an empty table.

    Raises:
        typer.Exit: a database could not be examined.
    """
    if chosen == Format.JSON:
        print_json({"rows": rows, "problems": problems})
    elif chosen == Format.CSV:
        print_csv(
            ["database", *columns], [[row["database"], *(row[name] for name in columns.values())] for row in rows]
        )
    else:
        several = len({row["database"] for row in rows}) > 1
        shown = {**({"database": "database"} if several else {}), **columns}
        print_table("", list(shown), [[row[name] for name in shown.values()] for row in rows])
        if not rows and not problems:
            message(nothing)
    end(problems)


def end(problems: dict[str, str]) -> None:
    """Report the databases that could not be examined.

    Args:
        problems: the name of each, and the reason.

    Raises:
        typer.Exit: there is one.
    """
    report_problems(problems)
    if problems:
        raise typer.Exit(FAILED)
