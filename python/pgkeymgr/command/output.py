"""Prints the output of a subcommand: a JSON document or tables on stdout, messages and progress on stderr."""

import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.progress import Progress

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]

STYLES = {"ok": "green", "notice": "cyan", "warning": "yellow", "error": "bold red"}
"""The colour of each status on a terminal."""

_WIDTH_OF_A_FILE = 200


def print_json(document: Any) -> None:
    """Print the document of ``--json``.

    Args:
        document: dictionaries, lists, and values that have a text form.
    """
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False, default=str))


def message(text: str) -> None:
    """Print a message for the user on stderr.

    Args:
        text: one or more sentences.
    """
    typer.echo(text, err=True)


def escape(value: Any) -> str:
    """Return the text of a value with escapes for all characters that cannot be printed.

    Names and keys of rows come from the users of the database, and could hold control sequences.

    Args:
        value: any value; the text of None is empty.

    Returns:
        The text, safe for a terminal.
    """
    text = "" if value is None else str(value)
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table on stdout, or nothing if there are no rows.

    Args:
        title: the title above the table.
        columns: the headings.
        rows: a value for each heading.
    """
    if not rows:
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(escape(title)), title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        texts = [escape(value) for value in row]
        table.add_row(*(Text(text, style=STYLES.get(text, "")) for text in texts))
    # A pipe has no width. Rich's default of 80 columns would fold most lines.
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDTH_OF_A_FILE
    Console(width=width).print(table)


def progress(unit: str) -> "Progress":
    """Create a progress bar on stderr. It is disabled unless stderr is a terminal.

    Args:
        unit: the plural noun of the counted things.

    Returns:
        The progress bar, a context manager.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit, markup=False),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    )
