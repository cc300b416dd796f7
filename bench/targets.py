"""The values that the figures should have. They are shown as met or not met, and nothing fails by them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from measure import AEAD, NOOP, PLAIN, Statistic, Work
from section import columns, operations, sessions

Works = Mapping[str, Sequence[Work]]


@dataclass(frozen=True)
class Target:
    """One figure and its limit.

    Attributes:
        name: what it is of.
        limit: the highest value that meets it.
        unit: of both.
        section: where its works are.
        figure: finds it among those; None, if they were not measured.
    """

    name: str
    limit: float
    unit: str
    section: str
    figure: Callable[[Sequence[Work]], Statistic | None]


@dataclass(frozen=True)
class Outcome:
    """A target, and what was measured."""

    name: str
    limit: float
    unit: str
    value: float

    @property
    def is_met(self) -> bool:
        """Whether the value keeps to the limit."""
        return self.value <= self.limit


def _ratio(name: str, way: str) -> Callable[[Sequence[Work]], Statistic | None]:
    return lambda works: next((work.ratio(way) for work in works if work.name == name), None)


def _cost(name: str) -> Callable[[Sequence[Work]], Statistic | None]:
    return lambda works: next((work.cost() for work in works if work.name == name), None)


def _growth(name: str) -> Callable[[Sequence[Work]], Statistic | None]:
    def figure(works: Sequence[Work]) -> Statistic | None:
        costs = [work.cost() for work in works if work.name == name]
        if len(costs) < 2:
            return None
        few, many = costs[0], costs[-1]
        return Statistic(many.median / few.median, many.low / few.high, many.high / few.low)

    return figure


TARGETS = (
    Target(
        "SELECT through the view, net of the scan, times a no-op",
        4.5,
        "times",
        "columns",
        _ratio(columns.ALL_ROWS_NET, NOOP),
    ),
    Target(
        "INSERT through the view, times a plain one", 3, "times", "columns", _ratio(columns.INSERT_SELECT, PLAIN)
    ),
    Target(
        "a token of 1 kB encrypted, times the AEAD alone and a no-op",
        1.5,
        "times",
        "tokens",
        _ratio("token_encrypt, 1 kB", AEAD),
    ),
    Target(
        "a token of 1 kB decrypted, times the AEAD alone and a no-op",
        1.5,
        "times",
        "tokens",
        _ratio("token_decrypt, 1 kB", AEAD),
    ),
    Target(sessions.FIRST_KEY, 35, "ms", "sessions", _cost(sessions.FIRST_KEY)),
    Target(sessions.FIRST_CALL, 35, "ms", "sessions", _cost(sessions.FIRST_CALL)),
    Target(sessions.MORE_AFTER_CALL, 20, "MB", "sessions", _cost(sessions.MORE_AFTER_CALL)),
    Target(sessions.MORE_AFTER_ROWS, 20, "MB", "sessions", _cost(sessions.MORE_AFTER_ROWS)),
    Target(
        "migrate_column, cost a row of the largest table, times the smallest",
        1.2,
        "times",
        "operations",
        _growth(operations.MIGRATE),
    ),
    Target(
        "rotate_column, cost a row of the largest table, times the smallest",
        1.2,
        "times",
        "operations",
        _growth(operations.ROTATE),
    ),
)


def judge(works: Works) -> list[Outcome]:
    """Return the outcome of each target that was measured."""
    outcomes = []
    for target in TARGETS:
        found = target.figure(works.get(target.section, ()))
        if found is not None:
            outcomes.append(Outcome(target.name, target.limit, target.unit, found.median))
    return outcomes
