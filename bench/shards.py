"""Measures a table on 1, 2 and 4 shards of one machine: docs/scale-out.md. Run by hand.

    PYTHONPATH=python:test:bench python bench/shards.py [--rows 20000] [--shards 1 2 4]

Each shard is a server that encrypts for itself. The coordinator has a partition for each, a foreign table on the
shard's view; for comparison, a second table has partitions on plain tables of the same shards. All servers are on
this machine, so that shards add processes and not processors: the figures show what the way costs, and not how it
scales.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

import psycopg
from cluster import Cluster

REPEATS = 3
POINT_READS = 200
Connection = psycopg.Connection[tuple[object, ...]]


def run(connection: Connection, statement: str) -> None:
    """Run a statement, and read its result."""
    cursor = connection.execute(statement.encode())
    if cursor.description:
        cursor.fetchall()


def make_shard(stack: ExitStack, number: int) -> Cluster:
    """Start a server with an encrypted table and a plain one."""
    cluster = stack.enter_context(Cluster(root_keys=(f"{number:02x}" * 32,)))
    cluster.create_database("shard")
    with cluster.connect("shard") as connection:
        for name in ("customer", "plain"):
            run(connection, f"CREATE TABLE {name} (id integer PRIMARY KEY, name text, ssn text)")
        run(connection, "SELECT pgkeymgr.encrypt_column('customer', 'ssn')")
    return cluster


def make_coordinator(stack: ExitStack, shards: Sequence[Cluster]) -> Connection:
    """Start a server whose tables have a partition on each shard, and return a session of it."""
    cluster = stack.enter_context(Cluster(root_keys=None))
    connection = stack.enter_context(cluster.connect())
    run(connection, "CREATE EXTENSION postgres_fdw")
    for number, shard in enumerate(shards):
        place = f"host '{shard.directory}', port '{shard.port}', dbname 'shard'"
        run(
            connection,
            f"CREATE SERVER s{number} FOREIGN DATA WRAPPER postgres_fdw"
            f" OPTIONS ({place}, batch_size '100', fetch_size '1000', async_capable 'true')",
        )
        run(connection, f"CREATE USER MAPPING FOR postgres SERVER s{number} OPTIONS (user 'postgres')")
    for name in ("customer", "plain"):
        run(connection, f"CREATE TABLE {name} (id integer, name text, ssn text) PARTITION BY HASH (id)")
        for number in range(len(shards)):
            run(
                connection,
                f"CREATE FOREIGN TABLE {name}_{number} PARTITION OF {name}"
                f" FOR VALUES WITH (MODULUS {len(shards)}, REMAINDER {number})"
                f" SERVER s{number} OPTIONS (table_name '{name}')",
            )
    return connection


def milliseconds(work: Callable[[], None]) -> float:
    """Return how long a piece of work takes."""
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def copy(connection: Connection, table: str, rows: int) -> None:
    """Load rows by COPY."""
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN".encode()) as target:
        for number in range(rows):
            target.write_row((number, f"name {number}", f"value number {number:09} of all"))


def measure(connection: Connection, table: str, rows: int) -> dict[str, float]:
    """Return how long each kind of work on a table takes, in milliseconds."""

    def read_points() -> None:
        for number in range(POINT_READS):
            run(connection, f"SELECT ssn FROM {table} WHERE id = {number * 31 % rows}")

    generated = f"SELECT i, 'name ' || i, 'value number ' || i FROM generate_series(1, {rows}) AS i"
    work: dict[str, Callable[[], None]] = {
        "INSERT ... SELECT": lambda: run(connection, f"INSERT INTO {table} {generated}"),
        "COPY": lambda: copy(connection, table, rows),
        "read by key": read_points,
        "read all": lambda: run(connection, f"SELECT id, ssn FROM {table}"),
        "search by value, without an index": lambda: run(connection, f"SELECT id FROM {table} WHERE ssn = 'none'"),
        "UPDATE of the column": lambda: run(connection, f"UPDATE {table} SET ssn = ssn || '.'"),
        "DELETE": lambda: run(connection, f"DELETE FROM {table}"),
    }
    found: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(REPEATS):
        for name, call in work.items():
            if name == "COPY":
                run(connection, f"DELETE FROM {table}")
            found[name].append(milliseconds(call))
    result = {name: statistics.median(times) for name, times in found.items()}
    result["read by key"] /= POINT_READS
    return result


def rotate(shards: Sequence[Cluster]) -> None:
    """Rotate the column on each shard in turn, as ``pgkeymgr rotate column --shard`` does."""
    for shard in shards:
        with shard.connect("shard") as connection:
            run(connection, "CALL pgkeymgr.rotate_column('customer', 'ssn')")


def main() -> None:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--shards", type=int, nargs="+", default=[1, 2, 4])
    arguments = parser.parse_args()
    columns: dict[str, dict[str, float]] = {}
    for count in arguments.shards:
        with ExitStack() as stack:
            shards = [make_shard(stack, number + 1) for number in range(count)]
            connection = make_coordinator(stack, shards)
            for table in ("plain", "customer"):
                columns[f"{table}, {count}"] = measure(connection, table, arguments.rows)
            copy(connection, "customer", arguments.rows)
            columns[f"customer, {count}"]["rotate_column, shard by shard"] = milliseconds(partial(rotate, shards))
        print(f"{count} shards measured, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    print(f"| ms, {arguments.rows:,} rows | {' | '.join(columns)} |")
    print("|---" * (len(columns) + 1) + "|")
    for name in names:
        cells = [f"{column[name]:,.1f}" if name in column else "" for column in columns.values()]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
