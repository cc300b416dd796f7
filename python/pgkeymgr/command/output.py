"""Prints the output of a subcommand: JSON, CSV or text on stdout, messages and progress on stderr.

Text has no frames. On a terminal it is wrapped at words, to the width of the terminal. In a pipe, each row of a
table is one line, unless the variable COLUMNS gives a width.
"""

import contextlib
import csv
import json
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.progress import Progress


class Format(StrEnum):
    """A format of the output."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
FormatOption = Annotated[
    Format | None, typer.Option("--format", help="The format of the output.", show_default="table")
]
Watch = Annotated[
    float | None,
    typer.Option(
        "--watch",
        metavar="SECONDS",
        min=0.1,
        help="Repeat the output every so many seconds, until Ctrl-C.",
    ),
]

STYLES = {"ok": "green", "notice": "cyan", "warning": "yellow", "error": "red"}
"""The colour of each status on a terminal."""

_GAP = "  "


def chosen_format(chosen: Format | None, as_json: bool) -> Format:
    """Return the format that the options ask for.

    Args:
        chosen: the value of ``--format``, or None.
        as_json: whether ``--json`` was given.

    Returns:
        The format.

    Raises:
        typer.BadParameter: the options contradict each other.
    """
    if as_json and chosen not in (None, Format.JSON):
        raise typer.BadParameter("--json and --format exclude each other")
    return Format.JSON if as_json else chosen or Format.TABLE


def print_json(document: Any) -> None:
    """Print the document of ``--json``.

    Args:
        document: dictionaries, lists, and values that have a text form.
    """
    typer.echo(json_text(document, indent=2))


def json_text(document: Any, indent: int | None = None) -> str:
    """Return a JSON document in which all characters that cannot be printed are escapes.

    JSON itself allows some of them, which control a terminal or change the direction of text.

    Args:
        document: dictionaries, lists, and values that have a text form.
        indent: the number of spaces of a level; None for one line.
    """
    return "".join(
        character if character.isprintable() or character == "\n" else json.dumps(character).strip('"')
        for character in json.dumps(document, indent=indent, ensure_ascii=False, default=str)
    )


def message(text: str) -> None:
    """Print a message for the user on stderr.

    Args:
        text: one or more sentences. Characters that cannot be printed are shown as escapes, since the messages of
            the server can have names in them.
    """
    typer.echo("\n".join(map(escape, text.split("\n"))), err=True)


def escape(value: Any) -> str:
    """Return the text of a value with escapes for all characters that cannot be printed.

    Names and keys of rows come from the users of the database, and could hold control sequences.

    Args:
        value: any value; the text of None is empty, and that of a list its elements with commas.

    Returns:
        The text, safe for a terminal.
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in _plain(value)
    )


def width() -> int | None:
    """Return the width of the text on stdout in columns, or None in a pipe."""
    if os.environ.get("COLUMNS", "").isdigit():
        return int(os.environ["COLUMNS"])
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def styled(text: str, status: str) -> str:
    """Return a text in the colour of a status, if stdout is a terminal that shows colours."""
    if status not in STYLES or "NO_COLOR" in os.environ or not sys.stdout.isatty():
        return text
    return typer.style(text, fg=STYLES[status], bold=status == "error")


def print_paragraph(text: str, indent: str = "", first: str | None = None, status: str = "") -> None:
    """Print a paragraph on stdout, wrapped at words.

    Args:
        text: the paragraph.
        indent: the text before each line.
        first: the text before the first line, if that is another one.
        status: the status that the paragraph begins with, if its first word is to have a colour.
    """
    first = indent if first is None else first
    wrapped = "\n".join(_wrap(text, width(), first, indent))
    typer.echo(styled(status.upper(), status) + wrapped[len(status) :])


def _wrap(text: str, columns: int | None, first: str = "", indent: str = "") -> list[str]:
    if columns is None:
        return [f"{first}{text}"]
    return textwrap.wrap(
        text,
        max(columns, len(indent) + 1),
        initial_indent=first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [first]


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table on stdout, or nothing if there are no rows.

    A table that is too wide for the terminal, even with its values wrapped at words and without its empty columns,
    is printed as a list.

    Args:
        title: the title above the table, or "".
        columns: the headings.
        rows: a value for each heading.
    """
    if not rows:
        return
    if title:
        typer.echo(escape(title))
    texts = [[escape(value) for value in row] for row in rows]
    headings = [column.upper() for column in columns]
    widths = _fit([headings, *texts], width())
    if widths is None:
        # Without its empty columns, it may fit.
        filled = [number for number in range(len(columns)) if any(row[number] for row in texts)]
        columns, headings = [columns[number] for number in filled], [headings[number] for number in filled]
        texts = [[row[number] for number in filled] for row in texts]
        widths = _fit([headings, *texts], width())
    if widths is None:
        _print_list(columns, texts)
        return
    for row in (headings, *texts):
        cells = [_wrap(text, size) for text, size in zip(row, widths, strict=True)]
        for line in range(max(map(len, cells))):
            parts = [cell[line] if line < len(cell) else "" for cell in cells]
            padded = [part.ljust(size) for part, size in zip(parts, widths, strict=True)]
            # A colour has no width, so it is added after the spaces.
            coloured = [styled(text, part) for text, part in zip(padded, parts, strict=True)]
            typer.echo(_GAP.join(coloured).rstrip())


def _fit(rows: Sequence[Sequence[str]], columns: int | None) -> list[int] | None:
    """Return the widths of the columns of a table; None if its longest words do not fit."""
    cells = list(zip(*rows, strict=True))
    widths = [max(map(len, each)) for each in cells]
    if columns is None:
        return widths
    least = [max((len(word) for text in each for word in text.split()), default=1) for each in cells]
    excess = sum(widths) + len(_GAP) * (len(widths) - 1) - columns
    if sum(least) + len(_GAP) * (len(widths) - 1) > columns:
        return None
    while excess > 0:
        # The widest column that can still be made narrower.
        widest = max(
            (number for number in range(len(widths)) if widths[number] > least[number]), key=widths.__getitem__
        )
        widths[widest] -= 1
        excess -= 1
    return widths


def _print_list(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    size = max(map(len, columns))
    for number, row in enumerate(rows):
        if number:
            typer.echo()
        for name, text in zip(columns, row, strict=True):
            if text:
                print_paragraph(text, " " * (size + len(_GAP)), f"{name.ljust(size)}{_GAP}")


def print_csv(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table as CSV on stdout, with a line of headings.

    Args:
        columns: the headings.
        rows: a value for each heading. None becomes an empty value, and a list its elements with commas.
    """
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([column.replace(" ", "_") for column in columns])
    # Only a terminal has to be protected from the characters in a name.
    plain = escape if sys.stdout.isatty() else _plain
    writer.writerows([plain(value) for value in row] for row in rows)
    sys.stdout.flush()


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat(" ", "seconds")
    return "" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def watch(seconds: float | None, show: Callable[[], None]) -> None:
    """Show something once, or again and again.

    Args:
        seconds: the time in between, or None for once.
        show: shows it. Where it is shown again, the exit status that it asks for is ignored.
    """
    if seconds is None:
        show()
        return
    while True:
        if sys.stdout.isatty():
            typer.echo("\x1b[H\x1b[2J", nl=False)
        # The next query may find the server again.
        with contextlib.suppress(typer.Exit):
            show()
        sys.stdout.flush()
        time.sleep(seconds)


def confirm(question: str, yes: bool) -> None:
    """Ask for a confirmation on the terminal.

    Args:
        question: the question.
        yes: whether the answer was given by an option.

    Raises:
        typer.Exit: the answer is no.
        UnsupportedError: there is no terminal.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        from ..errors import UnsupportedError

        raise UnsupportedError("could not ask for a confirmation: there is no terminal", hint="Add --yes.")
    if not typer.confirm(question, err=True):
        message("Nothing was changed.")
        raise typer.Exit(1)


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
