"""``pgkeymgr grants``: list the roles that can use keys, or read an encrypted column."""

from typing import TYPE_CHECKING, Annotated

import typer

from .failure import FAILED, report
from .interface import Command, Group
from .listing import Rows, rows_of, show_rows
from .output import FormatOption, Json, chosen_format, escape
from .target import AllDatabases, Databases, Dsn, connects

if TYPE_CHECKING:
    from .connection import Database

EPILOG = "Exit status: 0, success; 1, failure, or a database could not be examined; 2, wrong usage."

_GRANTS = """
    SELECT
        g.role::text AS role, g.key_name AS key, g.key_id, g.usage, g.source, g.through::text AS through,
        g.can_login, g.grantor, g.granted
    FROM {s}.key_grants AS g
    WHERE (%s::text IS NULL OR g.role = %s) AND (%s::text IS NULL OR g.key_name = %s OR g.key_id::text = %s)
    ORDER BY 1, 2, 5, 6
"""
_READERS = """
    SELECT
        c.relation::text AS table, c.column_name::text AS column, c.role::text AS role, c.key_name AS key, c.usage,
        c.source, c.through::text AS through, c.can_login, c.may_select, c.can_read
    FROM {s}.column_grants AS c
    WHERE (%s::text IS NULL OR c.role = %s) AND (%s::text IS NULL OR c.key_name = %s) AND c.column_name = %s
        AND (%s::oid IS NULL OR c.relation::oid = %s)
    ORDER BY 1, 2, 3, 6, 7
"""

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="List the roles that can use keys and read columns.",
)


@app.command("list", cls=Command, epilog=EPILOG)
@connects
def list_(
    dsn: Dsn = "",
    database: Databases = None,
    all_databases: AllDatabases = False,
    role: Annotated[str | None, typer.Option("--role", metavar="NAME", help="Only the keys of this role.")] = None,
    key: Annotated[
        str | None, typer.Option("--key", metavar="KEY", help="Only this key, by its name or id.")
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(
            "--column",
            metavar="TABLE.COLUMN",
            help="The roles that can use the key of this column and may read it.",
        ),
    ] = None,
    format_: FormatOption = None,
    json: Json = False,
) -> None:
    """List the roles that can use each key, and why: ownership, a grant, a membership, or superuser.

    Without an option, it lists everything. With --column, READS is yes if the role can read the values.
    """
    chosen = chosen_format(format_, json)
    roles: Rows = []
    if column is None:

        def look(each: "Database") -> Rows:
            roles.extend(each.query("SELECT rolname FROM pg_catalog.pg_roles WHERE rolname = %s", role))
            return _grants(each, role, key)

        rows, problems = rows_of(dsn, database, all_databases, look)
        if role is not None and not (rows or roles or problems):
            report(f'role "{escape(role)}" does not exist')
            raise typer.Exit(FAILED)
        headings = {"role": "role", "key": "key", "usage": "usage", "source": "source", "through": "through"}
        show_rows(rows, problems, headings, chosen, "No role can use such a key.")
        return
    table, dot, name = column.rpartition(".")
    if not dot:
        raise typer.BadParameter("write the table and the column as in customer.ssn", param_hint="--column")
    rows, problems = rows_of(dsn, database, all_databases, lambda each: _readers(each, role, key, table, name))
    if role is None and key is None and not (rows or problems):
        # An empty list would look as if no role could read the column.
        report(f"no database has an encrypted column {escape(column)}", "pgkeymgr columns list lists the columns.")
        raise typer.Exit(FAILED)
    headings = {"role": "role", "reads": "reads", "usage": "usage", "source": "source", "through": "through"}
    show_rows(rows, problems, headings, chosen, "No role can use the key of such a column.")


def _grants(database: "Database", role: str | None, key: str | None) -> Rows:
    return [dict(row) for row in database.query(_GRANTS, role, role, key, key, key)]


def _readers(database: "Database", role: str | None, key: str | None, table: str, column: str) -> Rows:
    from ..errors import UndefinedError
    from .connection import resolve

    try:
        oid = resolve(database, table)["oid"]
    except UndefinedError:
        return []  # Another database may have the table.
    rows = database.query(_READERS, role, role, key, key, column, oid, oid)
    return [{**row, "reads": "yes" if row["can_read"] else "no"} for row in rows]
