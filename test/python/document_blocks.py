"""The blocks of code in README.md and docs/, which tests run as a reader would."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cluster import Cluster
from conftest import rows

TOP = Path(__file__).parents[2]
_BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_ROLE = re.compile(r"-- as (a superuser|\w+)\n")


class Block(NamedTuple):
    """A block of code.

    Attributes:
        heading: the heading that it is under.
        language: ``sql`` or ``sh``, for instance.
        text: its lines.
    """

    heading: str
    language: str
    text: str

    @property
    def user(self) -> str:
        """The role that runs a block of SQL, which its first line names."""
        role = _ROLE.match(self.text)
        assert role, f"the block does not say who runs it: {self.text}"
        return "postgres" if role[1] == "a superuser" else role[1]

    @property
    def statements(self) -> list[str]:
        """The statements of a block of SQL, none of which has a semicolon or two hyphens in a string."""
        text = re.sub(r"--.*", "", self.text)
        return [statement.strip() for statement in text.split(";") if statement.strip()]


def blocks(page: str, language: str | None = None) -> Iterator[Block]:
    """Return the blocks of a page, by its path in the repository, in a language or in all."""
    text = (TOP / page).read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        if language in (None, found[2]):
            headings = _HEADING.findall(text[: found.start()])
            # The blocks of a list are indented.
            yield Block(headings[-1], found[2], re.sub(rf"^{found[1]}", "", found[3], flags=re.MULTILINE))


def run_sql(server: Cluster, database: str, block: Block) -> dict[str, list[tuple[Any, ...]]]:
    """Run each statement of a block in one session of its role; return the rows of each."""
    results = {}
    with server.connect(database, block.user) as connection:
        for statement in block.statements:
            try:
                results[statement] = rows(connection, statement)
            except Exception as error:
                raise AssertionError(f"{block.user}: {statement}: {error}") from error
    return results


def result(results: dict[str, list[tuple[Any, ...]]], beginning: str) -> list[tuple[Any, ...]]:
    """Return the rows of the only statement that begins with a text."""
    (found,) = (rows_ for statement, rows_ in results.items() if statement.startswith(beginning))
    return found
