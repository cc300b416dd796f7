"""Costs a call beside a PL/Python function that does nothing, measured in rounds that take turns.

A slow moment of the machine falls on all of them, and the cost of scanning the table is measured likewise and
taken off. What is shown are medians: microseconds a call, which depend on the machine, and multiples of the
no-op, which hardly do.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psycopg
from rich.console import Console
from rich.progress import track
from rich.table import Table

Connection = psycopg.Connection[tuple[Any, ...]]

NOOP_FUNCTION = "CREATE FUNCTION noop(message {type}) RETURNS {type} LANGUAGE plpython3u AS 'return message'"


@dataclass
class Case:
    """One measured call on each row of a table."""

    name: str
    call: str
    limit: float | None = None
    seconds: list[float] = field(default_factory=list)


def arguments(description: str) -> argparse.Namespace:
    """Read the command line: how many rows, and how many rounds."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def run(connection: Connection, statements: str) -> None:
    """Run several statements, each by itself."""
    for statement in statements.split(";"):
        if statement.strip():
            connection.execute(statement.encode())


def measure(connection: Connection, scan: str, cases: Sequence[Case], rounds: int) -> list[float]:
    """Fill in the cases' seconds.

    Args:
        connection: to a database with the table ``sample``.
        scan: a target list that reads all its columns.
        cases: the first one is the no-op.
        rounds: how many.

    Returns:
        The seconds of the scan alone.
    """
    scans = []
    connection.execute("SET max_parallel_workers_per_gather = 0")
    connection.execute("SET jit = off")
    for _ in track(range(rounds), description="measuring", transient=True):
        scans.append(seconds(partial(connection.execute, f"SELECT {scan} FROM sample".encode())))
        for case in cases:
            query = f"SELECT {scan}, count({case.call}) FROM sample".encode()
            case.seconds.append(seconds(partial(connection.execute, query)))
    return scans


def show(cases: Sequence[Case], scans: Sequence[float], rows: int, rounds: int) -> bool:
    """Print the table, and return whether every limit is kept."""
    scan = statistics.median(scans)
    floor = statistics.median(cases[0].seconds) - scan
    table = Table(title=f"{rows} calls, net of the scan; median of {rounds} rounds")
    table.add_column("function")
    for heading in ("times the no-op", "limit", "µs a call"):
        table.add_column(heading, justify="right")
    kept = True
    for case in cases:
        cost = statistics.median(case.seconds) - scan
        kept = kept and (case.limit is None or cost / floor <= case.limit)
        limit = "" if case.limit is None else f"{case.limit:g}"
        table.add_row(case.name, f"{cost / floor:.1f}", limit, f"{cost / rows * 1e6:.2f}")
    Console().print(table)
    return kept
