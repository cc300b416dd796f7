"""The calls of ``pgkeymgr`` in README.md and docs/: the subcommands, options and arguments of each exist.

Nothing is run here. test_command.py runs docs/command-line.md, and test_runbooks.py runs docs/runbooks.md.
"""

import re
import shlex
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import typer
from document_blocks import TOP, blocks
from pgkeymgr.command import app
from pgkeymgr.command.interface import Group

PAGES = ["README.md", "SECURITY.md", *(f"docs/{path.name}" for path in sorted((TOP / "docs").glob("*.md")))]
# Words that end the arguments of a call in the shell, in cron or in psql.
END = {"|", ">", "2>&1", "||", "&&", ";"}
UNKNOWN = ("NoSuchOption", "NoSuchCommand")
INCOMPLETE = ("MissingParameter", "BadOptionUsage", "BadArgumentUsage")


class Call(NamedTuple):
    """A call of the command.

    Attributes:
        words: its arguments.
        is_complete: whether it is in a block, where nothing may be missing.
    """

    words: list[str]
    is_complete: bool


def calls(page: str) -> Iterator[Call]:
    """Yield the calls in the blocks of a page for the shell, and in its text."""
    texts = [block.text for block in blocks(page) if block.language in ("sh", "text", "yaml", "toml")]
    lines = "".join(texts).replace("\\\n", " ").splitlines()
    prose = re.sub(
        r"^ *```.*?^ *```$", "", (TOP / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    # A span with a space has arguments. It may be broken into two lines.
    spans = [span.replace("\n", " ") for span in re.findall(r"`(pgkeymgr [^`]*)`", prose)]
    for line in [*lines, *spans]:
        found = re.search(r"(?:^|[\s/])pgkeymgr ((?!:)[a-z].*)", line)
        # The text that an exchange key signs begins like a call.
        if found and "…" not in found[1] and not found[1].startswith("exchange offer"):
            words = shlex.split(found[1], comments=True)
            end = min([number for number, word in enumerate(words) if word in END], default=len(words))
            yield Call(words[:end], line not in spans)


COMMAND = typer.main.get_command(app)


def parse(words: list[str]) -> None:
    """Parse the arguments of a call, without the call.

    Raises:
        Exception: the arguments are wrong, or a file does not exist.
    """
    command: Any = COMMAND
    context = command.make_context("pgkeymgr", words)
    while isinstance(command, Group):
        rest = [*getattr(context, "_protected_args", []), *context.args]
        name, command, arguments = command.resolve_command(context, rest)
        context = command.make_context(name, arguments, parent=context)


def fault(call: Call) -> str | None:
    """Return what is wrong with the arguments of a call, or None."""
    try:
        parse(call.words)
    except Exception as error:
        kind = type(error).__name__
        if kind in UNKNOWN or "No such" in str(error) or (call.is_complete and kind in INCOMPLETE):
            return str(error)
    return None


@pytest.mark.parametrize(
    "words", ["status --databse shop", "rotte root", "rotate colum customer ssn", "migrate customer"]
)
def test_a_fault_is_found(words: str) -> None:
    assert fault(Call(words.split(), is_complete=True)) is not None


def test_calls_of_the_command_in_all_pages_are_valid() -> None:
    found = [(page, call) for page in PAGES for call in calls(page)]
    assert len(found) > 100
    faults = {f"{page}: {shlex.join(call.words)}": text for page, call in found if (text := fault(call))}
    assert faults == {}
