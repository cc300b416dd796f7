"""Calls a procedure on an encrypted column, with a progress bar. Ctrl-C stops it and loses at most one batch."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .failure import INTERRUPTED, report, report_failures
from .output import message, print_json, progress

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
    procedure: str, dsn: str, database: str | None, table: str, column: str, batch_size: int, json: bool
) -> None:
    """Call ``rotate_column`` or ``migrate_column``, and report the result.

    Args:
        procedure: the name of the procedure.
        dsn: a connection string, or "".
        database: the name of the database, if the connection string does not name it.
        table: the table's name, as SQL has it.
        column: the column's name.
        batch_size: the number of rows in a batch.
        json: whether to print a JSON document.

    Raises:
        typer.Exit: the procedure failed or was stopped.
    """
    from .connection import open_database, resolve

    with report_failures(), open_database(dsn, database) as caller, open_database(dsn, database) as watcher:
        named = resolve(caller, table)
        document = {"database": caller.name, "table": named["name"], "column": column}
        # If this command is killed, the procedure should end. Without this setting, PostgreSQL notices a lost
        # client only after the last batch.
        with suppress(_unsupported_setting()):
            caller.connection.execute("SET client_connection_check_interval = '1s'")
        try:
            with _stop_on_sigterm(), _show_progress(watcher, named["name"], column):
                # A cancellation undoes the present batch only.
                caller.query(
                    f"CALL {{s}}.{procedure}(%s::oid::regclass, %s, %s)", named["oid"], column, batch_size
                )
        except KeyboardInterrupt:
            done = _progress(watcher, named["name"], column)
            if json:
                print_json({**document, "done": False, **(done or {})})
            how_far = f" after {done['rows_done']} of {done['rows_total']} rows" if done else ""
            report(
                f"stopped{how_far}",
                "Reads and writes work as before. Call the command again to continue from there.",
            )
            raise typer.Exit(INTERRUPTED) from None
    if json:
        print_json({**document, "done": True})
    else:
        message(f"{procedure}() has completed for {document['table']}.{column}.")


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
        "SELECT p.rows_done, p.rows_total FROM {s}.column_progress AS p"
        " JOIN {s}.encrypted_columns AS c ON c.relation = p.relation AND c.column_name = p.column_name"
        " WHERE %s IN (c.relation::text, c.base_relation::text) AND p.column_name = %s",
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

    task = bar.add_task(f"{table}.{column}", total=None)
    # The procedure goes on even if its progress can no longer be read.
    with suppress(psycopg.Error):
        while not over.wait(_POLL_SECONDS):
            row = _progress(database, table, column)
            if row:
                bar.update(task, completed=row["rows_done"], total=row["rows_total"])
