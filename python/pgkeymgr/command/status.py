"""``pgkeymgr status``: show the root key, the encrypted columns and the keys of each database."""

from typing import TYPE_CHECKING, Any

import typer

from .failure import FAILED, report, report_failures, report_problems
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
from .state import KEY_STATE
from .target import AllDatabases, Databases, Dsn, connects

if TYPE_CHECKING:
    from .connection import Database

_COLUMNS = """
    SELECT c.relation::text, c.column_name::text AS column, c.data_type, c.key_name AS key, c.mode,
        c.key_by::text, c.blind_index::text, c.state::text, p.rows_done, p.rows_total
    FROM {s}.encrypted_columns AS c
    LEFT JOIN {s}.column_progress AS p ON p.relation = c.relation AND p.column_name = c.column_name
    ORDER BY 1, 2
"""
_NODE = """
    SELECT node, nodes, makes_keys, source, pg_catalog.array_to_string(subscriptions, ', ') AS subscriptions
    FROM {s}.key_node_status()
"""
_KEYS = f"""
    SELECT {KEY_STATE} AS state, count(*) AS count
    FROM {{s}}.key_versions GROUP BY 1 ORDER BY 1
"""  # noqa: S608

EPILOG = "Exit status: 0, each database could be examined and has its root key; 1, otherwise; 2, wrong usage."


_HEADINGS = {
    "table": "relation",
    "column": "column",
    "type": "data_type",
    "key": "key",
    "mode": "mode",
    "blind index": "blind_index",
    "state": "state",
}


@connects
def status(
    dsn: Dsn = "",
    database: Databases = None,
    all_databases: AllDatabases = False,
    format_: FormatOption = None,
    json: Json = False,
    again: Watch = None,
) -> None:
    """Show the root key, the encrypted columns and the keys of each database of a cluster."""
    chosen = chosen_format(format_, json)
    watch(again, lambda: _status(dsn, database, all_databases, chosen))


def _status(dsn: str, names: list[str] | None, all_databases: bool, chosen: Format) -> None:
    from .connection import each_database, noted

    problems: dict[str, str] = {}
    with report_failures():
        documents = []
        for each in each_database(dsn, names, problems, all_databases=all_databases):
            with noted(each.name, problems):
                documents.append(_look(each))
    if chosen == Format.JSON:
        print_json({"databases": documents, "problems": problems})
    elif chosen == Format.CSV:
        _print_csv(documents)
    else:
        for number, document in enumerate(documents):
            if number:
                typer.echo()
            _show(document)
    for document in documents:
        if document["error"]:
            report(f"{document['database']}: {document['error']}")
    report_problems(problems)
    if problems or any(document["error"] for document in documents):
        raise typer.Exit(FAILED)


def _print_csv(documents: list[dict[str, Any]]) -> None:
    names = (*_HEADINGS.values(), "rows_done", "rows_total")
    print_csv(
        ["database", *_HEADINGS, "rows done", "rows total"],
        [
            [each["database"], *(column[name] for name in names)]
            for each in documents
            for column in each["columns"]
        ],
    )


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
        "key_node": _node(database),
        "columns": database.query(_COLUMNS),
        "keys": _keys(database),
    }


def _keys(database: "Database") -> dict[str, int]:
    """Return the number of the keys in each state: of all keys, or of those that the role may see."""
    import psycopg

    try:
        rows = database.query(_KEYS)
    except psycopg.errors.InsufficientPrivilege:
        rows = database.query(_KEYS.replace("key_versions", "data_keys"))
    return {row["state"]: row["count"] for row in rows}


def _node(database: "Database") -> dict[str, Any] | None:
    """Return the part of a database among those that share keys; None for a role that may not see it."""
    import psycopg

    try:
        (row,) = database.query(_NODE)
    except psycopg.errors.InsufficientPrivilege:
        return None
    return row


def _show(document: dict[str, Any]) -> None:
    print_paragraph(
        f"{escape(document['database'])}: pgkeymgr {document['version']} in schema {escape(document['schema'])}"
    )
    root_key = document["root_key"]
    if root_key is not None:
        _show_line("root key", f"{root_key['fingerprint']}, from {escape(root_key['source'])}")
        for label in ("previous", "still_needed"):
            for fingerprint in root_key.get(label) or ():
                _show_line(label.replace("_", " "), fingerprint)
    counts = [f"{count} {state}" for state, count in document["keys"].items()]
    _show_line("keys", ", ".join(counts) or "none")
    node = document["key_node"]
    if node is not None and node["node"] is not None:
        _show_line("key node", f"{node['node']} of {node['nodes']}")
    if node is not None and not node["makes_keys"]:
        _show_line(
            "keys made by", escape(node["source"] or f"the publisher of subscription {node['subscriptions']}")
        )
    if document["columns"]:
        typer.echo()
        rows = [
            [*(column[name] for name in _HEADINGS.values()), _progress(column)] for column in document["columns"]
        ]
        print_table("", (*_HEADINGS, "progress"), rows)


def _show_line(label: str, text: str) -> None:
    print_paragraph(text, " " * 16, f"  {label:14}")


def _progress(column: dict[str, Any]) -> str:
    if column["rows_total"] is None:
        return ""
    return f"{column['rows_done']} of {column['rows_total']}"
