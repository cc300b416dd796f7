"""Calls on each row of a table, net of what reading the table takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from measure import OURS, PGP, Bench, Work, each, net


@dataclass(frozen=True)
class Rows:
    """The rows that the calls are made on.

    Attributes:
        source: what stands after FROM, with ``{count}`` for how many rows.
        scan: a target list that reads the columns that the calls need.
        count: how many rows.
        few: how many for what is slow.
    """

    source: str
    scan: str
    count: int
    few: int


@dataclass(frozen=True)
class Call:
    """A call in several ways, each an SQL expression; few rows are enough for ours if it is slow."""

    name: str
    ways: dict[str, str]
    is_slow: bool = False


def measure_calls(bench: Bench, what: str, rows: Rows, calls: Sequence[Call]) -> list[Work]:
    """Measure calls; one that stands in several of them is made once a round.

    Returns:
        The µs of each.
    """
    wanted: dict[tuple[str, int], str] = {}
    counts = {}
    for call in calls:
        for way, expression in call.ways.items():
            count = rows.few if way == PGP or (call.is_slow and way == OURS) else rows.count
            counts[call.name, way] = count
            source = rows.source.format(count=count)
            wanted["", count] = f"SELECT {rows.scan} FROM {source}"
            wanted[expression, count] = f"SELECT {rows.scan}, count({expression}) FROM {source}"
    samples = bench.take_turns(what, {key: partial(bench.seconds, statement) for key, statement in wanted.items()})
    works = []
    for call in calls:
        costs = {}
        for way, expression in call.ways.items():
            count = counts[call.name, way]
            costs[way] = each(net(samples[expression, count], samples["", count]), count)
        works.append(Work(call.name, "µs", costs))
    return works
