"""Calls a procedure on an encrypted column, with a progress bar. Ctrl-C stops it and loses at most one batch."""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .failure import FAILED, INTERRUPTED, message_and_hint, report, report_failures
from .output import escape, message, print_json, print_table, progress

if TYPE_CHECKING:
    from rich.progress import Progress

    from .connection import Database

Table = Annotated[str, typer.Argument(help="The table, written as in SQL: customer, or clinic.patient.")]
Column = Annotated[str, typer.Argument(help="The name of the column, without quotes.")]
BatchSize = Annotated[
    int, typer.Option(min=1, max=1_000_000, help="The number of rows that are locked and rewritten at a time.")
]

EPILOG = (
    "Exit status: 0, success; 1, failure; 2, wrong usage; 130, stopped by Ctrl-C. After a stop or a failure, call "
    "the command again: it continues where it was."
)

_POLL_SECONDS = 0.25


def call_procedure(
    procedure: str,
    dsn: str,
    database: str | None,
    table: str,
    column: str,
    arguments: Mapping[str, Any],
    json: bool,
    *,
    afterwards: Callable[["Database", int], None] | None = None,
) -> None:
    """Call a procedure on an encrypted column, and report the result.

    Args:
        procedure: the name of the procedure.
        dsn: a connection string, or "".
        database: the name of the database, if the connection string does not name it.
        table: the table's name, as SQL has it.
        column: the column's name.
        arguments: the further arguments of the procedure, by their names.
        json: whether to print a JSON document.
        afterwards: the rest of the work, which is given the connection, and the OID of the table.

    Raises:
        typer.Exit: the procedure failed or was stopped.
    """
    with report_failures():
        document = _call(procedure, dsn, database, table, column, arguments, afterwards)
    if json:
        print_json(document)
    if not document["done"]:
        raise typer.Exit(INTERRUPTED)
    if not json:
        message(f"{procedure}() has completed for {document['table']}.{column}.")


def call_on_shards(
    procedure: str, shards: Sequence[str], table: str, column: str, arguments: Mapping[str, Any], json: bool
) -> None:
    """Call a procedure on each server that has a part of a table, in turn, and report all results.

    A failure on one server does not keep the others from their parts. Ctrl-C ends the command.

    Args:
        procedure: the name of the procedure.
        shards: the connection strings.
        table: the table's name on each server, as SQL has it.
        column: the column's name.
        arguments: the further arguments of the procedure, by their names.
        json: whether to print a JSON document.

    Raises:
        typer.Exit: the procedure failed on a server, or was stopped.
    """
    results: list[dict[str, Any]] = []
    for shard in shards:
        name = _name_of(shard)
        message(f"{name}: {procedure}() runs.")
        try:
            document = _call(procedure, shard, None, table, column, arguments)
        except Exception as error:
            text, hint = message_and_hint(error)
            report(f"{name}: {text}", hint)
            results.append({"shard": name, "done": False, "error": text})
            continue
        results.append({"shard": name, **document})
        if not document["done"]:
            break
    if json:
        print_json({"table": table, "column": column, "shards": results})
    else:
        outcomes = [
            (result["shard"], "done" if result["done"] else result.get("error", "stopped")) for result in results
        ]
        # Nothing has begun on the shards after one at which the command was stopped.
        outcomes += [(_name_of(shard), "not begun") for shard in shards[len(results) :]]
        print_table(f"{procedure}() for {table}.{column}", ("shard", "result"), outcomes)
    if results and not results[-1]["done"] and "error" not in results[-1]:
        raise typer.Exit(INTERRUPTED)
    if not all(result["done"] for result in results):
        message("Call the command again for the shards that are not done. It continues where each was.")
        raise typer.Exit(FAILED)


def _name_of(dsn: str) -> str:
    """Return the name of a server and its database, without a password that its connection string may have."""
    from psycopg.conninfo import conninfo_to_dict
    from psycopg.errors import ProgrammingError

    try:
        parts = conninfo_to_dict(dsn)
    except ProgrammingError:
        return "a shard whose connection string is not valid"
    names = [parts[name] for name in ("service", "host", "port", "dbname") if parts.get(name)]
    return ":".join(escape(name) for name in names) or "the default server"


def _call(
    procedure: str,
    dsn: str,
    database: str | None,
    table: str,
    column: str,
    arguments: Mapping[str, Any],
    afterwards: Callable[["Database", int], None] | None = None,
) -> dict[str, Any]:
    """Call a procedure; return a report of it, with the field ``done``, which is False if it was stopped."""
    from .connection import open_database, resolve

    with open_database(dsn, database) as caller, open_database(dsn, database) as watcher:
        named = resolve(caller, table)
        document = {"database": caller.name, "table": named["name"], "column": column}
        # If this command is killed, the procedure should end. Without this setting, PostgreSQL notices a lost
        # client only after the last batch.
        with suppress(_unsupported_setting()):
            caller.connection.execute("SET client_connection_check_interval = '1s'")
        try:
            with _stop_on_sigterm(), _show_progress(watcher, named["name"], column):
                # A cancellation undoes the present batch only.
                more = "".join(f', "{name}" => %s' for name in arguments)
                caller.query(
                    f"CALL {{s}}.{procedure}(%s::oid::regclass, %s{more})",
                    named["oid"],
                    column,
                    *arguments.values(),
                )
            if afterwards is not None:
                afterwards(caller, named["oid"])
        except KeyboardInterrupt:
            done = _progress(watcher, named["name"], column)
            how_far = f" after {done['rows_done']} of {done['rows_total']} rows" if done else ""
            report(
                f"stopped{how_far}",
                "Reads and writes work as before. Call the command again to continue from there.",
            )
            return {**document, "done": False, **(done or {})}
    return {**document, "done": True}


def _unsupported_setting() -> type[Exception]:
    import psycopg

    return psycopg.errors.InvalidParameterValue


@contextmanager
def _stop_on_sigterm() -> Iterator[None]:
    """Treat SIGTERM like Ctrl-C."""

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _progress(database: "Database", table: str, column: str) -> dict[str, Any] | None:
    # The user may have named the view or the base table.
    rows = database.query(
        """
        SELECT p.rows_done, p.rows_total
        FROM {s}.column_progress AS p
        JOIN {s}.encrypted_columns AS c ON c.relation = p.relation AND c.column_name = p.column_name
        WHERE %s IN (c.relation::text, c.base_relation::text) AND p.column_name = %s
        """,
        table,
        column,
    )
    return rows[0] if rows else None


@contextmanager
def _show_progress(database: "Database", table: str, column: str) -> Iterator[None]:
    """Show a progress bar for the operation on a column, with numbers that another session reads."""
    over = threading.Event()
    with progress("rows") as bar:
        if bar.disable:
            yield
            return
        thread = threading.Thread(target=_watch, args=(database, table, column, bar, over), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _watch(database: "Database", table: str, column: str, bar: "Progress", over: threading.Event) -> None:
    import psycopg

    task = bar.add_task(escape(f"{table}.{column}"), total=None)
    # The procedure goes on even if its progress can no longer be read.
    with suppress(psycopg.Error):
        while not over.wait(_POLL_SECONDS):
            row = _progress(database, table, column)
            if row:
                bar.update(task, completed=row["rows_done"], total=row["rows_total"])
