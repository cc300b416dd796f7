"""The procedures on one large table: the time of a row, the memory of the backend, and how long others wait.

The processor time is that of the backend alone. Other work on the machine changes it less than the time that
passes.

    PYTHONPATH=python:test:bench build/venv-cp311/bin/python bench/large_table.py 10000000

A writer updates rows of the table through the view all the time, and notes how long each of its statements takes:
the longest is how long a procedure has kept it waiting, at most.
"""

import argparse
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from cluster import Cluster
from rich.console import Console

_DATABASE = "large_table"
_PAUSE_SECONDS = 0.05


class _Writer(threading.Thread):
    """A session that updates one row after another.

    Attributes:
        longest: the seconds of the longest statement since ``restart``.
        count: the number of statements since then.
    """

    def __init__(self, cluster: Cluster, rows: int) -> None:
        super().__init__(daemon=True)
        self._connection = cluster.connect(_DATABASE)
        self._rows = rows
        self._random = random.Random(1)  # noqa: S311  # it chooses rows
        self._is_over = threading.Event()
        self.longest = 0.0
        self.count = 0

    def restart(self) -> None:
        """Begin to measure."""
        self.longest, self.count = 0.0, 0

    def run(self) -> None:
        """Write until it is stopped."""
        while not self._is_over.wait(_PAUSE_SECONDS):
            number = self._random.randint(1, self._rows)
            started = time.perf_counter()
            try:
                self._connection.execute("UPDATE customer SET n = n + 1 WHERE id = %s", [number])
            except psycopg.errors.SerializationFailure:
                continue
            self.longest = max(self.longest, time.perf_counter() - started)
            self.count += 1

    def stop(self) -> None:
        """Stop."""
        self._is_over.set()
        self.join()
        self._connection.close()


class _Backend(threading.Thread):
    """Watches how much private memory and processor time a backend takes.

    Attributes:
        peak: the bytes at most.
        seconds: the processor time until the last look.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._status = Path(f"/proc/{pid}/status")
        self._stat = Path(f"/proc/{pid}/stat")
        self._is_over = threading.Event()
        self.peak = 0
        self.seconds = 0.0

    def run(self) -> None:
        """Look until it is stopped."""
        while not self._is_over.wait(_PAUSE_SECONDS):
            status = dict(line.split(":", 1) for line in self._status.read_text().splitlines())
            self.peak = max(self.peak, 1024 * int(status["RssAnon"].split()[0]))
            # After the name come the state, the parent and so on: utime is the 12th of these, and stime the 13th.
            fields = self._stat.read_text().rpartition(")")[2].split()
            self.seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """Stop."""
        self._is_over.set()
        self.join()


def _prepare(connection: psycopg.Connection[Any], rows: int) -> None:
    connection.execute(
        "CREATE TABLE customer (id bigint PRIMARY KEY, ssn text, email text, n integer NOT NULL DEFAULT 0)"
    )
    numbers = f"generate_series(1, {rows}) AS i"
    connection.execute(
        f"INSERT INTO customer SELECT i, 'number ' || i, 'name' || i || '@example.org' FROM {numbers}".encode()
    )
    connection.execute("VACUUM ANALYZE customer")
    connection.execute("SELECT pgkeymgr.encrypt_column('customer', 'ssn')")
    connection.execute("SELECT pgkeymgr.encrypt_column('customer', 'email')")


def _verify(connection: psycopg.Connection[Any]) -> None:
    problems = connection.execute("SELECT * FROM pgkeymgr.verify_column('customer', 'ssn')").fetchall()
    if problems:
        raise SystemExit(f"{len(problems)} values do not open")


def _index(connection: psycopg.Connection[Any]) -> None:
    for (statement,) in connection.execute(
        "SELECT * FROM pgkeymgr.blind_index_statements('customer', 'email')"
    ).fetchall():
        connection.execute(statement)


def _calls(batch_size: int) -> dict[str, Callable[[psycopg.Connection[Any]], object]]:
    def call(text: str) -> Callable[[psycopg.Connection[Any]], object]:
        return lambda connection: connection.execute(f"CALL pgkeymgr.{text}".encode())

    return {
        "migrate_columns, 2 columns": call(f"migrate_columns('customer', batch_size => {batch_size})"),
        "rotate_column": call(f"rotate_column('customer', 'ssn', {batch_size})"),
        "rotate_columns, 2 columns": call(f"rotate_columns('customer', batch_size => {batch_size})"),
        "verify_column": _verify,
        "build_blind_index": call(f"build_blind_index('customer', 'email', batch_size => {batch_size})"),
        "CREATE INDEX CONCURRENTLY": _index,
    }


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=int, nargs="?", default=10_000_000, help="the number of rows")
    parser.add_argument("--batch-size", type=int, default=5000, help="the number of rows in a batch")
    arguments = parser.parse_args()
    progress = Console(stderr=True)
    lines = []
    with Cluster(settings={"max_wal_size": "4GB", "shared_buffers": "512MB"}) as cluster:
        cluster.create_database(_DATABASE)
        with cluster.connect(_DATABASE) as connection:
            progress.print(f"making {arguments.rows:,} rows")
            _prepare(connection, arguments.rows)
        writer = _Writer(cluster, arguments.rows)
        writer.start()
        for name, run in _calls(arguments.batch_size).items():
            progress.print(name)
            with cluster.connect(_DATABASE) as connection:
                backend = _Backend(connection.info.backend_pid)
                backend.start()
                writer.restart()
                started = time.perf_counter()
                run(connection)
                seconds = time.perf_counter() - started
                backend.stop()
            lines.append(
                f"| {name} | {seconds:,.0f} s | {1e6 * seconds / arguments.rows:.1f} µs"
                f" | {1e6 * backend.seconds / arguments.rows:.1f} µs"
                f" | {backend.peak / 2**20:.0f} MiB | {1000 * writer.longest:.0f} ms | {writer.count:,} |"
            )
            progress.print(lines[-1])
        writer.stop()
    sys.stdout.write(
        f"{arguments.rows:,} rows, batches of {arguments.batch_size:,}:\n\n"
        "| work | time | a row | processor time a row | peak of the backend's private memory"
        " | longest statement of a writer | its statements |\n|---|---|---|---|---|---|---|\n"
        + "\n".join(lines)
        + "\n"
    )


if __name__ == "__main__":
    main()
