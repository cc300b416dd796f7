"""``pgkeymgr verify``: check that every ciphertext of every encrypted column can be decrypted."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .failure import FAILED, report_failures, report_problems
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
from .target import AllDatabases, Databases, Dsn, connects

if TYPE_CHECKING:
    from rich.progress import Progress

    from .connection import Database

EPILOG = (
    "Exit status: 0, every ciphertext can be decrypted; 1, some cannot, or a database could not be examined; 2, "
    "wrong usage."
)

_SHOWN_MAX = 20
# verify_column() returns at most this many rows.
_LISTED_MAX = 10_000
_COLUMNS = """
    SELECT c.base_relation::oid AS oid, coalesce(c.relation, c.base_relation)::text AS relation,
        c.column_name::text AS column
    FROM {s}.encrypted_columns AS c
    WHERE (%(oid)s::oid IS NULL OR %(oid)s IN (c.relation::oid, c.base_relation::oid))
        AND (%(column)s::text IS NULL OR c.column_name = %(column)s)
    ORDER BY 2, 3
"""


@connects
def verify(
    dsn: Dsn = "",
    database: Databases = None,
    all_databases: AllDatabases = False,
    table: Annotated[str | None, typer.Option(help="Check only the columns of this table.")] = None,
    column: Annotated[str | None, typer.Option(help="Check only columns with this name.")] = None,
    format_: FormatOption = None,
    json: Json = False,
) -> None:
    """Decrypt every ciphertext of every encrypted column, and report each row whose value cannot be decrypted.

    No decrypted value leaves the server. The command requires a superuser, because it reads all tables.
    """
    from .connection import each_database

    chosen = chosen_format(format_, json)
    problems: dict[str, str] = {}
    results: list[dict[str, Any]] = []
    with report_failures(), progress("columns") as bar:
        for each in each_database(dsn, database, problems, all_databases=all_databases):
            results += _verify(each, table, column, problems, bar)
    # If no column was examined, the empty result must not look like success.
    if not results and not problems and (table or column):
        problems[table or column or ""] = "no database has such an encrypted column"
    if chosen == Format.JSON:
        print_json({"columns": results, "problems": problems})
    elif chosen == Format.CSV:
        _print_csv(results)
    else:
        _show(results)
        if not results and not problems:
            message("There are no encrypted columns.")
    report_problems(problems)
    if problems or any(result["broken"] for result in results):
        raise typer.Exit(FAILED)


def _verify(
    database: "Database", table: str | None, column: str | None, problems: dict[str, str], bar: "Progress"
) -> list[dict[str, Any]]:
    import psycopg

    from ..errors import UndefinedError
    from .connection import resolve
    from .failure import message_and_hint, problem_of

    oid = None
    results = []
    try:
        if table is not None:
            oid = resolve(database, table)["oid"]
        columns = list(database.connection.execute(database.compose(_COLUMNS), {"oid": oid, "column": column}))
        for each in bar.track(columns, description=escape(database.name)):
            # The values are counted before they are verified, in another snapshot. A value that is written in
            # between is verified, and may not be counted.
            (counted,) = database.query(
                "SELECT {s}._count_values(%s::oid::regclass, %s::name) AS count", each["oid"], each["column"]
            )
            broken = database.query(
                "SELECT row_key, problem FROM {s}.verify_column(%s::oid::regclass, %s::name)",
                each["oid"],
                each["column"],
            )
            results.append(
                {
                    "database": database.name,
                    "relation": each["relation"],
                    "column": each["column"],
                    "values": counted["count"],
                    "broken": broken,
                    "all_listed": len(broken) < _LISTED_MAX,
                }
            )
    except UndefinedError:
        pass  # Another database may have the table.
    except psycopg.errors.InsufficientPrivilege as error:
        problems[database.name] = f"{message_and_hint(error)[0]}. Run the command as a superuser."
    except psycopg.Error as error:
        problems[database.name] = problem_of(error)
    return results


def _print_csv(results: list[dict[str, Any]]) -> None:
    """Print a line for each broken row, and one for each column without any."""
    headings = ("database", "table", "column", "values", "row key", "problem")
    rows = []
    for result in results:
        start = [result[name] for name in ("database", "relation", "column", "values")]
        rows += [[*start, row["row_key"], row["problem"]] for row in result["broken"]] or [[*start, None, None]]
    print_csv(headings, rows)


def _show(results: list[dict[str, Any]]) -> None:
    rows = [
        [
            result["database"],
            result["relation"],
            result["column"],
            result["values"],
            f"{len(result['broken'])}{'' if result['all_listed'] else ' or more'}",
        ]
        for result in results
    ]
    print_table("", ("database", "table", "column", "values", "broken"), rows)
    for result in results:
        if result["broken"]:
            typer.echo()
            few = [[row["row_key"], row["problem"]] for row in result["broken"][:_SHOWN_MAX]]
            print_table(f"{result['relation']}.{result['column']}", ("row", "problem"), few)
            if len(result["broken"]) > _SHOWN_MAX:
                message(f"… and {len(result['broken']) - _SHOWN_MAX} more rows. Use --json to see all.")
