"""What the primitives cost beside a PL/Python function that does nothing: ``make bench``.

Each function is called on every row of one table, in rounds that take turns, so that a slow moment of the
machine falls on all of them. The cost of scanning the table is measured likewise and taken off. What is
printed are medians: microseconds a call, which depend on the machine, and multiples of the no-op, which
hardly do.
"""

import argparse
import statistics
import sys
import time
from dataclasses import dataclass, field

import psycopg
from cluster import Cluster
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

SETUP = """
CREATE FUNCTION noop(message bytea) RETURNS bytea LANGUAGE plpython3u AS 'return message';
SET search_path = pgkeymgr, public;
CREATE TABLE public.sample AS
    SELECT i AS id, substr(sha256(i::text::bytea), 1, 27) AS message,
           sha256((-i)::text::bytea) AS key, substr(sha512(i::text::bytea), 1, 24) AS nonce
    FROM generate_series(1, {rows}) AS i;
ALTER TABLE sample ADD sealed bytea, ADD sealed_by_id bytea;
UPDATE sample SET sealed = crypto_secretbox(message, nonce, key),
                  sealed_by_id = crypto_secretbox(message, nonce, id);
VACUUM (FULL, ANALYZE) sample;
SET max_parallel_workers_per_gather = 0;
SET jit = off;
"""

SCAN = "count(message), count(nonce), count(key), count(sealed), count(sealed_by_id)"
NOOP = "noop(message)"


@dataclass
class Case:
    """One measured call."""

    name: str
    call: str
    limit: float | None = None
    seconds: list[float] = field(default_factory=list)

    def microseconds(self, scan: float, rows: int) -> float:
        """Return the median cost of a call, net of the scan."""
        return (statistics.median(self.seconds) - scan) / rows * 1e6


CASES = [
    Case("plpython3u no-op", NOOP),
    Case("derive_key", "derive_key(id)", 4),
    Case("crypto_secretbox, raw key", "crypto_secretbox(message, nonce, key)", 5),
    Case("crypto_secretbox_open, raw key", "crypto_secretbox_open(sealed, nonce, key)", 5),
    Case("crypto_secretbox, by id", "crypto_secretbox(message, nonce, id)", 7),
    Case("crypto_secretbox_open, by id", "crypto_secretbox_open(sealed_by_id, nonce, id)", 7),
    Case("crypto_hash_sha256", "crypto_hash_sha256(message)", 3),
    Case("crypto_generichash", "crypto_generichash(message)", 3),
]


def _seconds(connection: psycopg.Connection[tuple[object, ...]], target: str) -> float:
    started = time.perf_counter()
    connection.execute(f"SELECT {target} FROM sample")
    return time.perf_counter() - started


def _first_call(cluster: Cluster) -> float:
    with cluster.connect("bench") as connection:
        connection.execute("SELECT noop('')")
        started = time.perf_counter()
        connection.execute("SELECT pgkeymgr.crypto_secretbox('', nonce, 1::bigint) FROM sample LIMIT 1")
        return time.perf_counter() - started


def main() -> int:
    """Measure, print the table, and return 0 if each limit is kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    scans: list[float] = []
    with Cluster() as cluster, Progress(transient=True) as progress:
        cluster.create_database("bench")
        with cluster.connect("bench") as connection:
            for statement in SETUP.format(rows=options.rows).split(";"):
                if statement.strip():
                    connection.execute(statement)
            for _ in progress.track(range(options.rounds)):
                scans.append(_seconds(connection, SCAN))
                for case in CASES:
                    case.seconds.append(_seconds(connection, f"{SCAN}, count({case.call})"))
        first_calls = [_first_call(cluster) for _ in range(options.rounds)]

    scan = statistics.median(scans)
    floor = CASES[0].microseconds(scan, options.rows)
    table = Table(title=f"{options.rows} calls, net of the scan; median of {options.rounds} rounds")
    for heading in ("function", "times the no-op", "limit", "µs a call"):
        table.add_column(heading, justify="left" if heading == "function" else "right")
    kept = True
    for case in CASES:
        cost = case.microseconds(scan, options.rows)
        ratio = cost / floor
        kept = kept and (case.limit is None or ratio <= case.limit)
        limit = "" if case.limit is None else f"{case.limit:g}"
        table.add_row(case.name, f"{ratio:.1f}", limit, f"{cost:.2f}")
    console = Console()
    console.print(table)
    console.print(
        f"first call in a new session, the root key's getkey script included, after a PL/Python no-op: "
        f"{statistics.median(first_calls) * 1e3:.0f} ms"
    )
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
