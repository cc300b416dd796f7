"""What a subcommand says: a JSON document or tables on stdout, messages and progress on stderr."""

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
"""How words that say how good something is are coloured on a terminal."""

_WIDTH_OF_A_FILE = 200


def print_json(document: Any) -> None:
    """Print the one document of ``--json``.

    Args:
        document: of dictionaries, lists, and values that have a text form.
    """
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False, default=str))


def message(text: str) -> None:
    """Tell the user something that is not the result.

    Args:
        text: a sentence or more.
    """
    typer.echo(text, err=True)


def shown(value: Any) -> str:
    """Return a value as it can be shown on a terminal.

    Names and keys of rows come from whoever made them, and could hold control sequences.

    Args:
        value: None is shown as nothing.

    Returns:
        Its text, what cannot be printed as escapes.
    """
    text = "" if value is None else str(value)
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table on stdout; without rows, nothing.

    Args:
        title: above it.
        columns: the headings.
        rows: a value for each heading.
    """
    if not rows:
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(shown(title)), title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        texts = [shown(value) for value in row]
        table.add_row(*(Text(text, style=STYLES.get(text, "")) for text in texts))
    # In a pipe nothing says how wide a line may be; the default of 80 would fold most of them.
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDTH_OF_A_FILE
    Console(width=width).print(table)


def progress(unit: str) -> "Progress":
    """Make a progress bar, on stderr and only if that is a terminal.

    Args:
        unit: what is counted.

    Returns:
        It: a context manager.
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
