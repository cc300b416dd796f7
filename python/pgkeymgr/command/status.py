"""``pgkeymgr status``: show the root key, the encrypted columns and the keys of each database."""

from typing import TYPE_CHECKING, Any

import typer

from .failure import FAILED, report, report_failures
from .output import Json, escape, print_json, print_table
from .target import AllDatabases, Databases, Dsn

if TYPE_CHECKING:
    from .connection import Database

_COLUMNS = """
    SELECT c.relation::text, c.column_name::text AS column, c.data_type, c.key_name AS key, c.mode,
        c.key_by::text, c.blind_index::text, c.state::text, p.rows_done, p.rows_total
    FROM {s}.encrypted_columns AS c
    LEFT JOIN {s}.column_progress AS p ON p.relation = c.relation AND p.column_name = c.column_name
    ORDER BY 1, 2
"""
_KEYS = """
    SELECT CASE
        WHEN state <> 'enabled' THEN state::text
        WHEN expires <= pg_catalog.now() THEN 'expired'
        WHEN superseded_by IS NOT NULL THEN 'superseded'
        ELSE 'current'
    END AS state, count(*) AS count
    FROM {s}.data_keys GROUP BY 1 ORDER BY 1
"""

EPILOG = "Exit status: 0, each database could be examined and has its root key; 1, otherwise; 2, wrong usage."


def status(
    dsn: Dsn = "", database: Databases = None, all_databases: AllDatabases = False, json: Json = False
) -> None:
    """Show the root key, the encrypted columns and the keys of each database of a cluster."""
    from .connection import each_database

    del all_databases  # The option only names the default.
    problems: dict[str, str] = {}
    with report_failures():
        documents = [_look(each) for each in each_database(dsn, database, problems)]
    if json:
        print_json({"databases": documents, "problems": problems})
    else:
        for document in documents:
            _show(document)
    for name, problem in problems.items():
        report(f"{name}: {problem}")
    if problems or any(document["error"] for document in documents):
        raise typer.Exit(FAILED)


def _look(database: "Database") -> dict[str, Any]:
    import psycopg

    from .failure import message_and_hint

    root_key, error = None, None
    try:
        (root_key,) = database.query("SELECT * FROM {s}.root_key_status()")
    except psycopg.Error as refused:
        error = message_and_hint(refused)[0]
    if root_key is not None:
        missing = sorted({*root_key["still_needed"]} - {*root_key["previous"]})
        if missing:
            error = f"the server does not have the root key {', '.join(missing)}, which this database needs"
    return {
        "database": database.name,
        "schema": database.schema,
        "version": database.version,
        "root_key": root_key,
        "error": error,
        "columns": database.query(_COLUMNS),
        "keys": {row["state"]: row["count"] for row in database.query(_KEYS)},
    }


def _show(document: dict[str, Any]) -> None:
    typer.echo(f"{escape(document['database'])}: pgkeymgr {document['version']} in {escape(document['schema'])}")
    root_key = document["root_key"]
    if document["error"]:
        report(f"{document['database']}: {document['error']}")
    if root_key is not None:
        typer.echo(f"  root key      {root_key['fingerprint']}, from {escape(root_key['source'])}")
        for label in ("previous", "still_needed"):
            for fingerprint in root_key.get(label) or ():
                typer.echo(f"  {label.replace('_', ' '):14}{fingerprint}")
    counts = [f"{count} {state}" for state, count in document["keys"].items()]
    typer.echo(f"  keys          {', '.join(counts) or 'none'}")
    if document["columns"]:
        rows = [
            [
                column["relation"],
                column["column"],
                column["data_type"],
                column["key"],
                column["mode"],
                column["blind_index"],
                column["state"],
                _progress(column),
            ]
            for column in document["columns"]
        ]
        headings = ("table", "column", "type", "key", "mode", "blind index", "state", "progress")
        print_table("Encrypted columns", headings, rows)


def _progress(column: dict[str, Any]) -> str:
    if column["rows_total"] is None:
        return ""
    return f"{column['rows_done']} of {column['rows_total']}"
