"""``pgkeymgr encrypt`` and ``pgkeymgr decrypt``: show the plan for a column, ask, and do all steps."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..documents import page
from ..errors import KeyStateError, UndefinedError
from .failure import report_failures
from .output import Json, confirm, escape, message, print_json, print_paragraph
from .procedure import BatchSize, Column, Table, call_procedure
from .target import Dsn, OneDatabase, connects

if TYPE_CHECKING:
    from .connection import Database

_TITLES = {
    "obstacle": "Obstacles",
    "dependent": "Objects that are created again",
    "index": "Indexes",
    "constraint": "Constraints",
    "tool": "Tools",
    "key": "Key",
    "grant": "Grants",
    "leak": "What can still be seen",
    "time": "Time",
}
_STATE = """
    SELECT c.state::text AS state, c.key_name AS key, c.blind_index::text AS blind_index,
        c.base_relation::text AS base,
        (SELECT count(*) FROM {s}.encrypted_columns AS o WHERE o.base_relation = c.base_relation) AS columns
    FROM {s}.encrypted_columns AS c
    WHERE %s IN (c.relation::oid, c.base_relation::oid) AND c.column_name = %s
"""

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
PlanOnly = Annotated[bool, typer.Option("--plan", help="Only show the plan, and change nothing.")]


@connects
def encrypt(
    table: Table,
    column: Column,
    dsn: Dsn = "",
    database: OneDatabase = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key", metavar="NAME", help="The name of the key.", show_default="a new key for the column"
        ),
    ] = None,
    key_by: Annotated[
        str | None,
        typer.Option("--key-by", metavar="COLUMN", help="A column, each of whose values gets a key of its own."),
    ] = None,
    deterministic: Annotated[
        bool,
        typer.Option("--deterministic", help="Give equal values equal ciphertexts, which reveals equal values."),
    ] = False,
    drop_indexes: Annotated[
        bool, typer.Option("--drop-indexes", help="Drop the indexes on the column, which cannot be kept.")
    ] = False,
    compression: Annotated[str, typer.Option("--compression", help="none or deflate.")] = "none",
    batch_size: BatchSize = 5000,
    plan: PlanOnly = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Encrypt a column: show the plan, ask, and then encrypt all rows in batches, without blocking clients.

    If it was stopped, the same command continues.
    """
    from .connection import open_database, resolve

    arguments = {
        "key": key,
        "key_by": key_by,
        "deterministic": deterministic,
        "drop_indexes": drop_indexes,
        "compression": compression,
    }
    with report_failures(), open_database(dsn, database) as opened:
        oid = resolve(opened, table)["oid"]
        state = _state(opened, oid, column)
        if state is not None and state["state"] != "migrating":
            raise KeyStateError(f"column {escape(column)} of {escape(table)} is {state['state']} already")
        if state is not None:
            message("The column is encrypted, and has rows from before. They are encrypted now.")
            if plan:
                return
        else:
            rows = _call(opened, "plan_encrypt_column", oid, column, arguments)
            if plan and json:
                print_json({"table": table, "column": column, "plan": rows})
            elif not json:
                _show(rows)
            if any(row["kind"] == "obstacle" for row in rows):
                raise KeyStateError(
                    f"column {escape(column)} of {escape(table)} cannot be encrypted as it is",
                    hint="Remove the obstacles, and call the command again.",
                )
            if plan:
                return
            confirm(f"Encrypt {escape(column)} of {escape(table)}?", yes)
            _call(opened, "encrypt_column", oid, column, arguments)
            # encrypt_column() gives the table's name to a view.
            table = resolve(opened, table)["name"]
    call_procedure("migrate_column", dsn, database, table, column, {"batch_size": batch_size}, json)
    message(
        f"Older values can remain on the disk and in backups: see {page('encrypted-columns.md')} and "
        "pgkeymgr doctor."
    )


@connects
def decrypt(
    table: Table,
    column: Column,
    dsn: Dsn = "",
    database: OneDatabase = None,
    batch_size: BatchSize = 5000,
    plan: PlanOnly = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Decrypt an encrypted column: ask, and then decrypt all rows in batches, without blocking clients."""
    from .connection import open_database, resolve

    with report_failures(), open_database(dsn, database) as opened:
        oid = resolve(opened, table)["oid"]
        state = _state(opened, oid, column)
        if state is None:
            raise UndefinedError(f'column "{escape(column)}" of {escape(table)} is not encrypted')
        (counted,) = opened.query("SELECT {s}._count_values(%s::oid::regclass, %s::name) AS count", oid, column)
        steps = [
            f"{counted['count']:,} values are decrypted, and stored in the clear, here, in the WAL and in backups."
        ]
        if state["blind_index"] is not None:
            steps.append(f"The blind index {escape(state['blind_index'])} is dropped.")
        if state["columns"] == 1:
            steps.append(
                f"It is the last encrypted column of the table: the view is dropped, and "
                f"{escape(state['base'])} gets its name back."
            )
        steps.append(f"The key {escape(state['key'])} stays: old backups need it.")
        if plan and json:
            print_json({"table": table, "column": column, "plan": steps})
        elif not json:
            for step in steps:
                print_paragraph(step)
        if plan:
            return
        confirm(f"Decrypt {escape(column)} of {escape(table)}?", yes or state["state"] == "decrypting")
    call_procedure("decrypt_column", dsn, database, table, column, {"batch_size": batch_size}, json)


def _state(database: "Database", oid: int, column: str) -> dict[str, Any] | None:
    rows = database.query(_STATE, oid, column)
    return dict(rows[0]) if rows else None


def _call(
    database: "Database", function: str, oid: int, column: str, arguments: dict[str, Any]
) -> list[dict[str, Any]]:
    named = "".join(f', "{name}" => %s' for name in arguments)
    statement = f"SELECT * FROM {{s}}.{function}(%s::oid::regclass, %s{named})"  # noqa: S608  # our own names
    rows = database.query(statement, oid, column, *arguments.values())
    return [dict(row) for row in rows]


def _show(rows: list[dict[str, Any]]) -> None:
    """Print a plan: a paragraph for each row, below the title of its kind."""
    for kind in dict.fromkeys([*_TITLES, *(row["kind"] for row in rows)]):
        of_kind = [row for row in rows if row["kind"] == kind]
        if not of_kind:
            continue
        typer.echo(f"{_TITLES.get(kind, kind.capitalize())}:")
        for row in of_kind:
            print_paragraph(f"{escape(row['object'])}: {escape(row['detail'])}", "    ", "  ")
            # Statements are to be copied, so their lines stay as they are.
            if row["statement"] and kind in ("obstacle", "tool", "leak"):
                for line in row["statement"].splitlines():
                    typer.echo(f"      {escape(line)}")
