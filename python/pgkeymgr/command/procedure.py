"""A procedure on an encrypted column, called with a progress bar, and stopped by Ctrl-C between its batches."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .failure import INTERRUPTED, failures_reported, report
from .output import message, print_json, progress

if TYPE_CHECKING:
    from rich.progress import Progress

    from .connection import Database

Table = Annotated[str, typer.Argument(help="The table, as SQL has it: customer, or clinic.patient.")]
Column = Annotated[str, typer.Argument(help="Its column, as SQL has it without quotes.")]
BatchSize = Annotated[
    int, typer.Option(min=1, max=1_000_000, help="How many rows are rewritten, and locked, at a time.")
]

EPILOG = (
    "Exit status: 0, done; 1, it failed; 2, wrong usage; 130, stopped by Ctrl-C. Stopped or failed at any point, "
    "it goes on where it was when it is called again."
)

_POLL_SECONDS = 0.25


def call_procedure(
    procedure: str, dsn: str, database: str | None, table: str, column: str, batch_size: int, json: bool
) -> None:
    """Call ``rotate_column`` or ``migrate_column``, and say what came of it.

    Args:
        procedure: its name.
        dsn: a connection string, or "".
        database: the database, where it is not the one of the connection string.
        table: the table's name, as SQL has it.
        column: the column's name.
        batch_size: how many rows at a time.
        json: print a JSON document.

    Raises:
        typer.Exit: it failed, or was stopped.
    """
    from .connection import open_database, resolve

    with failures_reported(), open_database(dsn, database) as caller, open_database(dsn, database) as watcher:
        named = resolve(caller, table)
        document = {"database": caller.name, "table": named["name"], "column": column}
        # Whoever kills this command wants it to stop; PostgreSQL would else notice after the last batch.
        with suppress(_not_on_this_platform()):
            caller.connection.execute("SET client_connection_check_interval = '1s'")
        try:
            with _stopped_by_sigterm(), _watched(watcher, named["name"], column):
                # Where it is cancelled, what its present batch did is undone, and nothing else.
                caller.query(
                    f"CALL {{s}}.{procedure}(%s::oid::regclass, %s, %s)", named["oid"], column, batch_size
                )
        except KeyboardInterrupt:
            done = _progress(watcher, named["name"], column)
            if json:
                print_json({**document, "done": False, **(done or {})})
            how_far = f" after {done['rows_done']} of {done['rows_total']} rows" if done else ""
            report(
                f"stopped{how_far}", "Reads and writes go on as before. Call it again, and it goes on from there."
            )
            raise typer.Exit(INTERRUPTED) from None
    if json:
        print_json({**document, "done": True})
    else:
        message(f"{procedure}: {document['table']}.{column} is done.")


def _not_on_this_platform() -> type[Exception]:
    import psycopg

    return psycopg.errors.InvalidParameterValue


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Take SIGTERM for Ctrl-C."""

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _progress(database: "Database", table: str, column: str) -> dict[str, Any] | None:
    # Its operation may belong to the view or be asked for by the base table's name.
    rows = database.query(
        "SELECT p.rows_done, p.rows_total FROM {s}.column_progress AS p"
        " JOIN {s}.encrypted_columns AS c ON c.relation = p.relation AND c.column_name = p.column_name"
        " WHERE %s IN (c.relation::text, c.base_relation::text) AND p.column_name = %s",
        table,
        column,
    )
    return rows[0] if rows else None


@contextmanager
def _watched(database: "Database", table: str, column: str) -> Iterator[None]:
    """Show how far the operation on a column has come, from another session."""
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
    # A bar that cannot be shown any more is no reason to stop.
    with suppress(psycopg.Error):
        while not over.wait(_POLL_SECONDS):
            row = _progress(database, table, column)
            if row:
                bar.update(task, completed=row["rows_done"], total=row["rows_total"])
