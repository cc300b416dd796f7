"""A step of an example: what runs on either side. An example is a list of steps, and can be written as text."""

from dataclasses import dataclass
from pathlib import Path

from .exclusions import Exclusion

_ENCRYPTED, _BLOCKER, _COPY = "-- encrypted:", "-- blocker:", "-- copy:"
_STEP = "-- step: "


@dataclass(frozen=True)
class Step:
    """Statements for the plain database and for the encrypted one.

    Attributes:
        title: what the step is, in a few words.
        plain: SQL for the plain side; empty if nothing happens there.
        encrypted: SQL for the encrypted side.
        copy: the lines for the COPY FROM STDIN that the statements have.
        blocker: what a third session does before, in a transaction, so that a procedure waits and is cancelled.
        is_alone: the statements run in no transaction with others, as procedures demand.
        is_change: the schema is another one afterwards.
        refused: the SQLSTATE that the encrypted side must refuse with, while the plain side succeeds.
        excluded: what is not compared.
    """

    title: str
    plain: str
    encrypted: str
    copy: str = ""
    blocker: str = ""
    is_alone: bool = False
    is_change: bool = False
    refused: str = ""
    excluded: frozenset[Exclusion] = frozenset()

    def text(self) -> str:
        """Return the step as a part of a file of test/model/cases."""
        options = [option for option in ("is_alone", "is_change") if getattr(self, option)]
        options += [f"refused={self.refused}"] if self.refused else []
        options += sorted(each.name for each in self.excluded)
        lines = [f"{_STEP}{self.title} [{' '.join(options)}]", self.plain]
        if self.encrypted != self.plain:
            lines += [_ENCRYPTED, self.encrypted]
        if self.blocker:
            lines += [_BLOCKER, self.blocker]
        if self.copy:
            lines += [_COPY, self.copy.rstrip("\n")]
        return "\n".join(lines) + "\n"


def write(steps: list[Step]) -> str:
    """Return an example as text."""
    return "\n".join(step.text() for step in steps)


def read(path: Path) -> list[Step]:
    """Read an example from a file of test/model/cases."""
    _, *parts = ("\n" + path.read_text()).split("\n" + _STEP)
    return [_parse(part) for part in parts]


def _parse(part: str) -> Step:
    head, _, rest = part.partition("\n")
    title, _, options = head.rstrip("]").partition(" [")
    rest, _, copy = rest.partition(f"{_COPY}\n")
    rest, _, blocker = rest.partition(f"{_BLOCKER}\n")
    plain, separator, encrypted = rest.partition(f"{_ENCRYPTED}\n")
    words = options.split()
    return Step(
        title,
        plain.strip(),
        (encrypted if separator else plain).strip(),
        copy,
        blocker.strip(),
        is_alone="is_alone" in words,
        is_change="is_change" in words,
        refused=next((word.partition("=")[2] for word in words if word.startswith("refused=")), ""),
        excluded=frozenset(each for each in Exclusion if each.name in words),
    )
