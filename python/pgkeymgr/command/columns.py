"""``pgkeymgr columns``: list and show encrypted columns."""

from typing import TYPE_CHECKING, Any

import typer

from .failure import FAILED, report
from .interface import Command, Group
from .listing import Rows, end, rows_of, show_rows
from .output import (
    Format,
    FormatOption,
    Json,
    Watch,
    chosen_format,
    escape,
    print_csv,
    print_json,
    print_paragraph,
    print_table,
    watch,
)
from .procedure import Column, Table
from .target import AllDatabases, Databases, Dsn, connects

if TYPE_CHECKING:
    from .connection import Database

EPILOG = "Exit status: 0, success; 1, failure, or a database could not be examined; 2, wrong usage."

_COLUMNS = """
    SELECT
        coalesce(c.relation, c.base_relation)::text AS table, c.column_name::text AS column, c.data_type AS type,
        c.base_relation::text AS base_table, c.key_name AS key, c.mode, c.key_by::text AS key_by,
        c.blind_index::text AS blind_index, c.mask, c.compression, c.state::text AS state, p.operation,
        p.rows_done, p.rows_total,
        p.eta::text AS eta, c.relation::oid AS oid, c.base_relation::oid AS base
    FROM {s}.encrypted_columns AS c
    LEFT JOIN {s}.column_progress AS p ON p.relation = c.relation AND p.column_name = c.column_name
    ORDER BY 1, 2
"""
_VERSIONS = """
    SELECT u.key_id AS id, u.key_name AS key, u.state::text AS state, u.need
    FROM {s}.key_usage AS u WHERE u.relation = %s AND u.column_name = %s ORDER BY u.key_id
"""
_READERS = """
    SELECT g.role::text AS role, g.usage, g.source, g.through::text AS through, g.can_read
    FROM {s}.column_grants AS g WHERE g.relation::oid = %s AND g.column_name = %s ORDER BY 1, 3, 4
"""

app = typer.Typer(cls=Group, no_args_is_help=True, rich_markup_mode=None, help="List and show encrypted columns.")


@app.command("list", cls=Command, epilog=EPILOG)
@connects
def list_(
    dsn: Dsn = "",
    database: Databases = None,
    all_databases: AllDatabases = False,
    format_: FormatOption = None,
    json: Json = False,
    again: Watch = None,
) -> None:
    """List the encrypted columns, and the progress of the operations on them."""
    chosen = chosen_format(format_, json)
    watch(again, lambda: _list(dsn, database, all_databases, chosen))


def _list(dsn: str, names: list[str] | None, all_databases: bool, chosen: Format) -> None:
    rows, problems = rows_of(dsn, names, all_databases, _columns)
    columns = {
        "table": "table",
        "column": "column",
        "type": "type",
        "key": "key",
        "mode": "mode",
        "blind index": "blind_index",
        "state": "state",
        "progress": "progress",
    }
    show_rows(rows, problems, columns, chosen, "There are no encrypted columns.")


def _columns(database: "Database") -> Rows:
    return [{**row, "progress": _progress(row)} for row in database.query(_COLUMNS)]


def _progress(row: dict[str, Any]) -> str | None:
    return None if row["rows_total"] is None else f"{row['rows_done']} of {row['rows_total']}"


@app.command(cls=Command, epilog=EPILOG)
@connects
def show(
    table: Table,
    column: Column,
    dsn: Dsn = "",
    database: Databases = None,
    all_databases: AllDatabases = False,
    format_: FormatOption = None,
    json: Json = False,
) -> None:
    """Show an encrypted column, the versions of keys that it needs, and the roles that can read it."""
    chosen = chosen_format(format_, json)
    rows, problems = rows_of(dsn, database, all_databases, lambda each: _one(each, table, column))
    if chosen == Format.JSON:
        print_json({"rows": rows, "problems": problems})
    elif chosen == Format.CSV:
        names = [name for name in rows[0] if name not in ("versions", "grants")] if rows else ["database"]
        print_csv(names, [[row[name] for name in names] for row in rows])
    else:
        for row in rows:
            _show(row)
    if not rows and not problems:
        report(
            f"no database has an encrypted column {escape(table)}.{escape(column)}",
            "pgkeymgr columns list lists the columns.",
        )
        raise typer.Exit(FAILED)
    end(problems)


def _one(database: "Database", table: str, column: str) -> Rows:
    from ..errors import UndefinedError
    from .connection import resolve

    try:
        oid = resolve(database, table)["oid"]
    except UndefinedError:
        return []  # Another database may have the table.
    return [
        {
            **row,
            "versions": database.query(_VERSIONS, row["table"], column),
            "grants": database.query(_READERS, row["oid"], column),
        }
        for row in _columns(database)
        if row["column"] == column and oid in (row["oid"], row["base"])
    ]


def _show(row: dict[str, Any]) -> None:
    print_paragraph(f"{escape(row['table'])}.{escape(row['column'])} in database {escape(row['database'])}")
    for label in (
        "type",
        "state",
        "progress",
        "eta",
        "mode",
        "key",
        "key_by",
        "blind_index",
        "mask",
        "compression",
        "base_table",
    ):
        if row[label] is not None:
            print_paragraph(escape(row[label]), " " * 16, f"  {label.replace('_', ' '):14}")
    if row["versions"]:
        typer.echo()
        print_table("", ("id", "key", "state", "need"), [list(each.values()) for each in row["versions"]])
    if row["grants"]:
        typer.echo()
        rows = [
            [each["role"], "yes" if each["can_read"] else "no", each["usage"], each["source"], each["through"]]
            for each in row["grants"]
        ]
        print_table("", ("role", "reads", "usage", "source", "through"), rows)
