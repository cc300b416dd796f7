"""``pgkeymgr verify``: open every ciphertext of every encrypted column."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .failure import FAILED, failures_reported, report
from .output import Json, message, print_json, print_table, progress
from .target import AllDatabases, Databases, Dsn

if TYPE_CHECKING:
    from rich.progress import Progress

    from .connection import Database

EPILOG = (
    "Exit status: 0, every ciphertext opens; 1, one does not, or something could not be looked at; 2, wrong usage."
)

_SHOWN_MAX = 20
# verify_column() stops there.
_LISTED_MAX = 10_000
_COLUMNS = """
    SELECT c.base_relation::oid AS oid, coalesce(c.relation, c.base_relation)::text AS relation,
        c.column_name::text AS column
    FROM {s}.encrypted_columns AS c
    WHERE (%(oid)s::oid IS NULL OR %(oid)s IN (c.relation::oid, c.base_relation::oid))
        AND (%(column)s::text IS NULL OR c.column_name = %(column)s)
    ORDER BY 2, 3
"""


def verify(
    dsn: Dsn = "",
    database: Databases = None,
    all_databases: AllDatabases = False,
    table: Annotated[str | None, typer.Option(help="Only this table's columns.")] = None,
    column: Annotated[str | None, typer.Option(help="Only columns of this name.")] = None,
    json: Json = False,
) -> None:
    """Open every ciphertext of every encrypted column, and report what does not open, by the keys of the rows.

    Nothing that is decrypted leaves the server. It takes a superuser, since it looks at all tables.
    """
    from .connection import each_database

    del all_databases  # says what is the default
    problems: dict[str, str] = {}
    results: list[dict[str, Any]] = []
    with failures_reported(), progress("columns") as bar:
        for each in each_database(dsn, database, problems):
            results += _verify(each, table, column, problems, bar)
    # Where nothing is looked at, nothing is found: that must not look like success.
    if not results and not problems and (table or column):
        problems[table or column or ""] = "no database has such an encrypted column"
    if json:
        print_json({"columns": results, "problems": problems})
    else:
        _show(results)
    for name, problem in problems.items():
        report(f"{name}: {problem}")
    if problems or any(result["broken"] for result in results):
        raise typer.Exit(FAILED)


def _verify(
    database: "Database", table: str | None, column: str | None, problems: dict[str, str], bar: "Progress"
) -> list[dict[str, Any]]:
    import psycopg

    from ..errors import UndefinedError
    from .connection import resolve
    from .failure import told

    oid = None
    if table is not None:
        try:
            oid = resolve(database, table)["oid"]
        except UndefinedError:
            return []  # another database may have it
    results = []
    try:
        columns = list(database.connection.execute(database.composed(_COLUMNS), {"oid": oid, "column": column}))
        for each in bar.track(columns, description=database.name):
            # First, and in a snapshot of its own: what is written in between is counted, or verified, or both.
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
    except psycopg.Error as error:
        problems[database.name] = told(error)[0]
    return results


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
    print_table("Verified", ("database", "table", "column", "values", "broken"), rows)
    for result in results:
        if result["broken"]:
            few = [[row["row_key"], row["problem"]] for row in result["broken"][:_SHOWN_MAX]]
            print_table(f"{result['relation']}.{result['column']}", ("row", "problem"), few)
            if len(result["broken"]) > _SHOWN_MAX:
                message(f"… and {len(result['broken']) - _SHOWN_MAX} more; --json has them.")
