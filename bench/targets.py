"""The values that the figures should have. They are shown as met or not met, and nothing fails by them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from measure import AEAD, NO_TERMS, NOOP, PLAIN, Statistic, Work
from section import clients, columns, operations, search, sessions

Works = Mapping[str, Sequence[Work]]


@dataclass(frozen=True)
class Target:
    """One figure and its limit.

    Attributes:
        name: what it is of.
        limit: the highest value that meets it, or the lowest one.
        unit: of both.
        section: where its works are.
        figure: finds it among those; None, if they were not measured.
        is_rate: whether more is better, so that the limit is the lowest value.
    """

    name: str
    limit: float
    unit: str
    section: str
    figure: Callable[[Sequence[Work]], Statistic | None]
    is_rate: bool = False


@dataclass(frozen=True)
class Outcome:
    """A target, and what was measured."""

    name: str
    limit: float
    unit: str
    value: float
    is_rate: bool

    @property
    def is_met(self) -> bool:
        """Whether the value keeps to the limit."""
        return self.value >= self.limit if self.is_rate else self.value <= self.limit


def _ratio(name: str, way: str) -> Callable[[Sequence[Work]], Statistic | None]:
    return lambda works: next((work.ratio(way) for work in works if work.name == name), None)


def _cost(name: str) -> Callable[[Sequence[Work]], Statistic | None]:
    return lambda works: next((work.cost() for work in works if work.name == name), None)


def _of_most_rows(name: str, way: str | None = None) -> Callable[[Sequence[Work]], Statistic | None]:
    def figure(works: Sequence[Work]) -> Statistic | None:
        found = [work for work in works if work.name == name]
        if not found:
            return None
        return found[-1].ratio(way) if way else found[-1].cost()

    return figure


def _growth(name: str) -> Callable[[Sequence[Work]], Statistic | None]:
    def figure(works: Sequence[Work]) -> Statistic | None:
        costs = [work.cost() for work in works if work.name == name]
        if len(costs) < 2:
            return None
        few, many = costs[0], costs[-1]
        return Statistic(many.median / few.median, many.low / few.high, many.high / few.low)

    return figure


_CLIENTS = 2
"""With one, a quiet machine measures how fast it wakes up, and not what a statement costs."""


def _rate(name: str, way: str, limit: float) -> Target:
    of = "a plain table's rate" if way == PLAIN else f"the rate of a {way} view"
    work = f"{name}, {_CLIENTS} clients"
    return Target(f"{work}, as a part of {of}", limit, "times", "clients", _ratio(work, way), is_rate=True)


def _times_plain(name: str, limit: float) -> Target:
    return Target(f"{name}, times a plain table", limit, "times", "columns", _ratio(name, PLAIN))


TARGETS = (
    _rate(clients.READ, PLAIN, 0.65),
    _rate(clients.READ, NOOP, 0.75),
    _rate(clients.INSERT, PLAIN, 0.6),
    _rate(clients.UPDATE, PLAIN, 0.5),
    _rate(clients.DELETE, PLAIN, 0.9),
    _rate(clients.MIXED, PLAIN, 0.6),
    Target("a statement's fixed cost, more than with a no-op", 10, "µs", "columns", _cost(columns.FIXED)),
    Target(
        "SELECT through the view, net of the scan, times a no-op",
        4.5,
        "times",
        "columns",
        _ratio(columns.ALL_ROWS_NET, NOOP),
    ),
    _times_plain(columns.UPDATE_OTHER, 4),
    _times_plain(columns.UPDATE, 5),
    _times_plain(columns.DELETE, 1.2),
    _times_plain(columns.INSERT_SELECT, 6),
    _times_plain(columns.INSERT_BASE, 4),
    _times_plain(columns.COPY_BASE, 4),
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
    Target(sessions.FIRST_CALL, 12, "ms", "sessions", _cost(sessions.FIRST_CALL)),
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
    Target(f"{search.CONTAINS}, the largest table", 10, "ms", "search", _of_most_rows(search.CONTAINS)),
    Target(f"{search.RANGE}, the largest table", 20, "ms", "search", _of_most_rows(search.RANGE)),
    Target(f"{search.JSON}, the largest table", 2, "ms", "search", _of_most_rows(search.JSON)),
    Target(f"{search.SIZE}, the largest table", 120, "bytes", "search", _of_most_rows(search.SIZE)),
    Target(
        "INSERT with a text index, times without, the largest table",
        2,
        "times",
        "search",
        _of_most_rows(search.INSERT, NO_TERMS),
    ),
)


def judge(works: Works) -> list[Outcome]:
    """Return the outcome of each target that was measured."""
    outcomes = []
    for target in TARGETS:
        found = target.figure(works.get(target.section, ()))
        if found is not None:
            outcomes.append(Outcome(target.name, target.limit, target.unit, found.median, target.is_rate))
    return outcomes
