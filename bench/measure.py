"""Measuring in rounds that take turns: what a work costs, and what the same work costs in other ways.

Each round does everything once, one after the other, so that a slow moment of the machine falls on all ways alike;
a ratio is taken within a round. The figures are medians, shown with how far the rounds lie apart.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psycopg
from cluster import Cluster
from rich.progress import track

Key = TypeVar("Key")
Connection = psycopg.Connection[tuple[Any, ...]]

OURS = "pgkeymgr"
PLAIN = "plain"
NOOP = "no-op"
PGCRYPTO = "pgcrypto"
PGP = "pgp_sym"
PGSODIUM = "pgsodium"
AEAD = "AEAD"
TRIGGER = "trigger"
NO_TERMS = "no terms"

WAYS = {
    OURS: "pgkeymgr",
    PLAIN: "the same on a plain table",
    NOOP: "a plpython3u function that returns its argument, in the same place",
    TRIGGER: "a view with INSTEAD OF triggers in PL/pgSQL that write what they are given, without encryption",
    PGCRYPTO: "pgcrypto's encrypt and decrypt with AES, digest for hashes, hmac for authentication",
    PGP: "pgcrypto's pgp_sym_encrypt and pgp_sym_decrypt",
    PGSODIUM: "pgsodium's functions, where it is installed; its format, where sizes are compared",
    AEAD: "the AEAD alone, called in a loop in Python, and a no-op",
    NO_TERMS: "the same encrypted table before it has search terms",
}
"""The ways of doing a work, in the order in which they are shown."""


@dataclass(frozen=True)
class Statistic:
    """The median of some rounds, the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, samples: list[float]) -> "Statistic":
        """Make it of one number for each round."""
        return cls(statistics.median(samples), min(samples), max(samples))


@dataclass
class Work:
    """One work, done in several ways.

    Attributes:
        name: says which, together with the section.
        unit: of the samples: "µs" for each row or call, "ms", "bytes", "MB", "a second", "times".
        samples: for each way, one number for each round.
        note: what else there is to say: how many rows, say.
    """

    name: str
    unit: str
    samples: dict[str, list[float]]
    note: str = ""

    def cost(self, way: str = OURS) -> Statistic:
        """Return what one way costs."""
        return Statistic.of(self.samples[way])

    def ratio(self, way: str) -> Statistic | None:
        """Return how many times another way's cost pgkeymgr's is, round by round."""
        pairs = zip(self.samples[OURS], self.samples.get(way, ()), strict=False)
        # A time without that of the scan can be zero by chance.
        ratios = [ours / other for ours, other in pairs if other > 0]
        return Statistic.of(ratios) if ratios else None

    def as_json(self) -> dict[str, Any]:
        """Return all there is to know of it."""
        return {
            "name": self.name,
            "note": self.note,
            "unit": self.unit,
            "rounds": len(self.samples[OURS]),
            "costs": {way: vars(self.cost(way)) for way in WAYS if way in self.samples},
            "ratios": {way: vars(ratio) for way in WAYS if way != OURS and (ratio := self.ratio(way)) is not None},
        }


@dataclass
class Bench:
    """The state that the sections share.

    Attributes:
        cluster: with a database ``bench`` that has pgkeymgr, pgcrypto and pgsodium if it is installed.
        connection: to that database; parallel scans and JIT are off.
        is_quick: much fewer rows, and three rounds.
        deadline: when to stop, by time.monotonic().
        has_pgsodium: whether it is there.
        server_version: PostgreSQL's.
        cut: what the time did not suffice for, in words.
    """

    cluster: Cluster
    connection: Connection
    is_quick: bool
    deadline: float
    has_pgsodium: bool
    server_version: str
    cut: list[str] = field(default_factory=list)

    @property
    def round_count(self) -> int:
        """The number of rounds."""
        return 3 if self.is_quick else 5

    def choose(self, full: int, quick: int) -> int:
        """Return the one number or the other."""
        return quick if self.is_quick else full

    def rounds(self, what: str) -> Iterator[int]:
        """Yield a number for each round, fewer of them where the time runs out."""
        longest = 0.0
        for number in track(range(self.round_count), description=what, transient=True):
            started = time.monotonic()
            if number and started + longest > self.deadline:
                self.cut.append(f"{what}: {number} rounds instead of {self.round_count}")
                return
            yield number
            longest = max(longest, time.monotonic() - started)

    def take_turns(self, what: str, tasks: Mapping[Key, Callable[[], float]]) -> dict[Key, list[float]]:
        """Do all tasks in each round.

        Args:
            what: the text that is shown while the tasks run.
            tasks: each returns a number.

        Returns:
            The numbers of each, one for each round.
        """
        samples: dict[Key, list[float]] = {key: [] for key in tasks}
        for _ in self.rounds(what):
            for key, task in tasks.items():
                samples[key].append(task())
        return samples

    def run(self, statements: str) -> None:
        """Run several statements, each by itself."""
        for statement in statements.split(";"):
            if statement.strip():
                self.connection.execute(statement.encode(), prepare=False)

    def value(self, query: str) -> Any:
        """Return the first column of a query's only row."""
        row = self.connection.execute(query.encode(), prepare=False).fetchone()
        assert row is not None
        return row[0]

    def seconds(self, statement: str, *, after_checkpoint: bool = False) -> float:
        """Return how long a statement takes.

        Args:
            statement: without parameters, not prepared.
            after_checkpoint: with no page written since, so that all that write do it alike.
        """
        if after_checkpoint:
            self.connection.execute("CHECKPOINT")
        return seconds(lambda: self.connection.execute(statement.encode(), prepare=False))


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def each(samples: list[float], rows: int, scale: float = 1e6) -> list[float]:
    """Return the cost of one row of each sample, in µs if the samples are seconds."""
    return [sample / rows * scale for sample in samples]


def net(samples: list[float], base: list[float]) -> list[float]:
    """Take off, round by round, what something else takes."""
    return [sample - other for sample, other in zip(samples, base, strict=True)]
