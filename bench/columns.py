"""What encrypted columns cost beside plain ones; see measure.py.

Reading is measured beside a PL/Python function that does nothing, and beside pgcrypto. Writing through the view,
looking up by a blind index and the procedures are measured beside the same on plain tables.
"""

import os
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from cluster import Cluster
from measure import NOOP_FUNCTION, Case, Connection, arguments, run, seconds, show
from rich.console import Console
from rich.progress import track
from rich.table import Table

# Reading.

READ_SETUP = """
CREATE EXTENSION pgcrypto;
CREATE TABLE source AS
    SELECT i AS id, 'name ' || i AS name, substr(md5(i::text), 1, 27) AS ssn, date '1950-01-01' + i % 20000 AS born
    FROM generate_series(1, {rows}) AS i;
CREATE TABLE sample (id integer PRIMARY KEY, name text NOT NULL, ssn text, plaintext text, aes bytea);
SELECT pgkeymgr.encrypt_column('sample', 'ssn');
INSERT INTO sample SELECT id, name, ssn, ssn, encrypt(ssn::bytea, 'sixteen bytes ..', 'aes') FROM source;
CREATE TABLE few AS SELECT pgp_sym_encrypt(ssn, 'secret') AS pgp FROM source LIMIT {few};
VACUUM (FULL, ANALYZE) sample_encrypted;
VACUUM (FULL, ANALYZE) few
"""

SCAN = "count(name), count(plaintext), count(aes)"
NOOP = Case("plpython3u no-op", "noop(plaintext)")
OPENED = Case("the encrypted column of the view", "ssn", 6)
NOT_ASKED_FOR = Case("the view, the column not asked for", "id")
AES = Case("pgcrypto's decrypt, aes", "convert_from(decrypt(aes, 'sixteen bytes ..', 'aes'), 'UTF8')")
PGP = Case("pgcrypto's pgp_sym_decrypt", "pgp_sym_decrypt(pgp, 'secret')")
READ_CASES = [NOOP, OPENED, NOT_ASKED_FOR, AES, PGP]
FASTER_THAN_PGP = 30
PGP_PART = 40

PARALLEL_QUERY = "SELECT count(ssn) FROM sample"
PARALLEL_WORKERS = (0, 1, 2)
SPEED_UP_WITH_ONE = 1.4
CORES_FOR_ONE = 2
NUDGE = "SET min_parallel_table_scan_size = 0; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0"

# Writing. The blind index is added while the table is empty: it fills all rows in one transaction.

WRITE_SETUP = """
CREATE TABLE plain (id integer PRIMARY KEY, name text NOT NULL, ssn text, born date);
CREATE TABLE plain_indexed (LIKE plain INCLUDING ALL);
CREATE INDEX ON plain_indexed (ssn);
CREATE TABLE customer (LIKE plain INCLUDING ALL);
CREATE TABLE indexed (LIKE plain INCLUDING ALL);
SELECT pgkeymgr.encrypt_column('customer', 'ssn');
SELECT pgkeymgr.encrypt_column('indexed', 'ssn');
SELECT pgkeymgr.add_blind_index('indexed', 'ssn')
"""

COLUMNS = "(id, name, ssn, born)"
INSERT = f"INSERT INTO {{table}} {COLUMNS} SELECT id, name, ssn, born FROM source"
# What holds today; the aim is 4. A trigger of a view that does nothing but insert takes 3.4 times a plain insert.
INSERT_LIMIT = 12
PART = 10
ROWS_A_STATEMENT = 1000

LOOKUP = "SELECT * FROM indexed WHERE ssn_bidx = pgkeymgr.blind_index('indexed', 'ssn', %s)"
PLAIN_LOOKUP = "SELECT * FROM plain_indexed WHERE ssn = %s"
LOOKUP_LIMIT_MS = 0.3
LOOKUPS = 1000

# The procedures.

BATCH_SIZE = 1000
REWRITE = f"""
CREATE PROCEDURE rewrite() LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. (SELECT max(id) FROM rewritten) BY {BATCH_SIZE} LOOP
        UPDATE rewritten SET cipher = set_byte(cipher, 59, 255 - get_byte(cipher, 59))
        WHERE id >= i AND id < i + {BATCH_SIZE};
        COMMIT;
    END LOOP;
END $$
"""
REWRITTEN = """
DROP TABLE IF EXISTS rewritten;
CREATE TABLE rewritten (id integer PRIMARY KEY, name text NOT NULL, born date, cipher bytea);
INSERT INTO rewritten SELECT id, name, born, sha512(ssn::bytea) FROM source;
UPDATE rewritten SET cipher = substr(cipher, 1, 60);
VACUUM (FULL, ANALYZE) rewritten
"""
MOVING = """
CREATE TABLE moving (LIKE plain INCLUDING ALL);
INSERT INTO moving SELECT id, name, ssn, born FROM source;
VACUUM (FULL, ANALYZE) moving;
SELECT pgkeymgr.encrypt_column('moving', 'ssn')
"""
# What holds today; the aim is 0.30, which batches of 10,000 rows come to.
ROTATE_RATE = 0.22


@dataclass
class Pair:
    """A statement on an encrypted table, and the same on a plain one."""

    name: str
    rows: int
    limit: float | None = None
    seconds: list[float] = field(default_factory=list)
    plain_seconds: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """How many times the plain one's time it takes."""
        return statistics.median(self.seconds) / statistics.median(self.plain_seconds)


def _timed(connection: Connection, call: Callable[[], object]) -> float:
    # Each begins with no page written since, so that all of them write whole pages to the WAL alike.
    connection.execute("CHECKPOINT")
    return seconds(call)


def _query(connection: Connection, query: str) -> Callable[[], object]:
    return partial(connection.execute, query.encode())


# 1. Reading.


def _read(connection: Connection, rounds: int) -> list[float]:
    """Fill in the cases' seconds, and return those of the scan of the base table."""
    scans = []
    few_rows = _number(connection, "SELECT count(*) FROM few")
    rows = _number(connection, "SELECT count(*) FROM sample")
    for _ in track(range(rounds), description="reading", transient=True):
        scan = seconds(_query(connection, f"SELECT {SCAN} FROM sample_encrypted"))
        scans.append(scan)
        for case in (NOOP, AES):
            query = f"SELECT {SCAN}, count({case.call}) FROM sample_encrypted"
            case.seconds.append(seconds(_query(connection, query)))
        OPENED.seconds.append(seconds(_query(connection, f"SELECT {SCAN}, count({OPENED.call}) FROM sample")))
        NOT_ASKED_FOR.seconds.append(seconds(_query(connection, f"SELECT {SCAN} FROM sample")))
        few_scan = seconds(_query(connection, "SELECT count(pgp) FROM few"))
        few = seconds(_query(connection, f"SELECT count({PGP.call}) FROM few")) - few_scan
        PGP.seconds.append(scan + few * rows / few_rows)
    return scans


def _number(connection: Connection, query: str) -> int:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])


# 5. Reading in parallel.


def _workers(plan: dict[str, Any], which: str) -> int:
    """Return how many workers a plan of EXPLAIN has at its Gather node, or 0."""
    found = int(plan.get(which, 0))
    return found or max((_workers(child, which) for child in plan.get("Plans", [])), default=0)


def _explain(connection: Connection, which: str, options: str) -> int:
    row = connection.execute(f"EXPLAIN ({options}, FORMAT json) {PARALLEL_QUERY}".encode()).fetchone()
    assert row is not None
    return _workers(row[0][0]["Plan"], which)


def _read_in_parallel(connection: Connection, rounds: int) -> tuple[dict[int, list[float]], bool]:
    """Return the seconds for each number of workers, and whether the planner had to be nudged."""
    connection.execute(f"SET max_parallel_workers_per_gather = {max(PARALLEL_WORKERS)}".encode())
    is_nudged = _explain(connection, "Workers Planned", "COSTS") < max(PARALLEL_WORKERS)
    if is_nudged:
        run(connection, NUDGE)
    samples: dict[int, list[float]] = {workers: [] for workers in PARALLEL_WORKERS}
    for workers in PARALLEL_WORKERS:
        connection.execute(f"SET max_parallel_workers_per_gather = {workers}".encode())
        launched = _explain(connection, "Workers Launched", "ANALYZE")
        if launched != workers:
            raise RuntimeError(f"{workers} workers were wanted, and {launched} launched")
    for _ in track(range(rounds), description="reading in parallel", transient=True):
        for workers in PARALLEL_WORKERS:
            connection.execute(f"SET max_parallel_workers_per_gather = {workers}".encode())
            # Prepared, as psycopg does by itself after some rounds, it would keep the plan of other settings.
            query = partial(connection.execute, PARALLEL_QUERY.encode(), prepare=False)
            samples[workers].append(seconds(query))
    connection.execute("SET max_parallel_workers_per_gather = 0")
    return samples, is_nudged


# 2 and 6. Writing through the view.


def _copy(connection: Connection, table: str, data: bytes) -> None:
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} {COLUMNS} FROM STDIN".encode()) as copy:
        copy.write(data)


def _values(connection: Connection, table: str, lists: Sequence[str]) -> None:
    for values in lists:
        connection.execute(f"INSERT INTO {table} {COLUMNS} VALUES {values}".encode())


def _source_rows(connection: Connection, count: int) -> tuple[bytes, list[str]]:
    """Return rows of the source as COPY wants them, and as lists of VALUES."""
    query = f"SELECT id, name, ssn, born::text FROM source WHERE id <= {count} ORDER BY id"
    rows = connection.execute(query.encode()).fetchall()
    copied = "".join("\t".join(str(value) for value in row) + "\n" for row in rows)
    step = ROWS_A_STATEMENT
    values = [
        ", ".join(f"({number}, '{name}', '{ssn}', '{born}')" for number, name, ssn, born in rows[i : i + step])
        for i in range(0, len(rows), step)
    ]
    return copied.encode(), values


def _write(connection: Connection, rows: int, rounds: int) -> list[Pair]:
    part = max(rows // PART, 1)
    copied, lists = _source_rows(connection, part)

    def copy(table: str) -> None:
        _copy(connection, table, copied)

    def values(table: str) -> None:
        _values(connection, table, lists)

    def statement(template: str) -> Callable[[str], object]:
        return lambda table: connection.execute(template.format(table=table).encode())

    tables, indexed = ("customer", "plain"), ("indexed", "plain_indexed")
    # Into an empty table each; the last one leaves all rows there for the changes.
    inserts: list[tuple[Pair, tuple[str, str], Callable[[str], object]]] = [
        (Pair(f"INSERT ... VALUES, {ROWS_A_STATEMENT} rows", part), tables, values),
        (Pair("COPY", part), tables, copy),
        (Pair("INSERT ... SELECT, indexed", part), indexed, statement(f"{INSERT} WHERE id <= {part}")),
        (Pair("INSERT ... SELECT", rows, INSERT_LIMIT), tables, statement(INSERT)),
    ]
    changes: list[tuple[Pair, tuple[str, str], Callable[[str], object]]] = [
        (
            Pair("UPDATE of another column", part),
            tables,
            statement(f"UPDATE {{table}} SET name = name || '.' WHERE id <= {part}"),
        ),
        (
            Pair("UPDATE of the column", part),
            tables,
            statement(f"UPDATE {{table}} SET ssn = reverse(ssn) WHERE id <= {part}"),
        ),
        (Pair("DELETE", part), tables, statement(f"DELETE FROM {{table}} WHERE id <= {part}")),
    ]
    for _ in track(range(rounds), description="writing", transient=True):
        for pair, (view, plain), act in inserts:
            for table, samples in ((view, pair.seconds), (plain, pair.plain_seconds)):
                connection.execute(f"TRUNCATE {_base(table)}".encode())
                samples.append(_timed(connection, partial(act, table)))
        for table in tables:
            connection.execute(f"VACUUM ANALYZE {_base(table)}".encode())
        for pair, (view, plain), act in changes:
            for table, samples in ((view, pair.seconds), (plain, pair.plain_seconds)):
                samples.append(_timed(connection, partial(act, table)))
    # All rows there, for the lookups.
    for table in indexed:
        connection.execute(f"{INSERT} WHERE id > {part}".format(table=table).encode())
        connection.execute(f"VACUUM ANALYZE {_base(table)}".encode())
    return [pair for pair, _, _ in reversed(inserts)] + [pair for pair, _, _ in changes]


def _base(table: str) -> str:
    return table if table.startswith("plain") else f"{table}_encrypted"


# 3. Looking up.


def _look_up(connection: Connection, query: str, values: Sequence[str]) -> float:
    """Return the median milliseconds of a prepared statement that finds one row."""
    samples = []
    for value in values:
        found = partial(connection.execute, query.encode(), (value,), prepare=True)
        samples.append(seconds(found))
    return statistics.median(samples) * 1e3


def _look_up_in_turns(connection: Connection, rounds: int) -> tuple[float, float]:
    """Return the median milliseconds by the blind index and by a plain one."""
    rows = connection.execute(f"SELECT ssn FROM source ORDER BY id DESC LIMIT {LOOKUPS}".encode()).fetchall()
    values = [row[0] for row in rows]
    for query in (LOOKUP, PLAIN_LOOKUP):
        if len(connection.execute(query.encode(), (values[0],)).fetchall()) != 1:
            raise RuntimeError(f"{query} does not find its row")
    samples = [
        (_look_up(connection, LOOKUP, values), _look_up(connection, PLAIN_LOOKUP, values))
        for _ in track(range(rounds), description="looking up", transient=True)
    ]
    return statistics.median(blind for blind, _ in samples), statistics.median(plain for _, plain in samples)


# 4. The procedures.


def _convert(connection: Connection, rows: int, rounds: int) -> list[Pair]:
    migrate = Pair("migrate_column", rows)
    rotate = Pair("rotate_column", rows, 1 / ROTATE_RATE)
    decrypt = Pair("decrypt_column", rows)
    connection.execute(REWRITE.encode())
    plain_seconds = []
    for _ in track(range(rounds), description="migrating, rotating, decrypting", transient=True):
        run(connection, REWRITTEN)
        plain_seconds.append(_timed(connection, _query(connection, "CALL rewrite()")))
        run(connection, MOVING)
        for pair in (migrate, rotate, decrypt):
            call = f"CALL pgkeymgr.{pair.name}('moving', 'ssn', {BATCH_SIZE})"
            pair.seconds.append(_timed(connection, _query(connection, call)))
            if pair is not decrypt:
                connection.execute("VACUUM (FULL, ANALYZE) moving_encrypted")
        connection.execute("DROP TABLE moving")
    for pair in (migrate, rotate, decrypt):
        pair.plain_seconds = plain_seconds
    return [migrate, rotate, decrypt]


def _show_pairs(title: str, pairs: Sequence[Pair]) -> bool:
    """Print a table, and return whether every limit is kept."""
    table = Table(title=title)
    table.add_column("statement")
    for heading in ("times plain", "limit", "µs a row", "rows a second"):
        table.add_column(heading, justify="right")
    kept = True
    for pair in pairs:
        kept = kept and (pair.limit is None or pair.ratio <= pair.limit)
        limit = "" if pair.limit is None else f"{pair.limit:.3g}"
        cost = statistics.median(pair.seconds) / pair.rows
        table.add_row(pair.name, f"{pair.ratio:.1f}", limit, f"{cost * 1e6:.2f}", f"{1 / cost:.0f}")
    Console().print(table)
    return kept


def _show_parallel(samples: dict[int, list[float]], is_nudged: bool) -> bool:
    """Print the speed-up, and return whether its limit is kept."""
    cores = len(os.sched_getaffinity(0))
    # The best round each: one in which another process had the second core says nothing.
    alone = min(samples[0])
    nudged = f"it took {NUDGE}" if is_nudged else "the planner's own choice"
    print(f"A scan of the view, all decrypted, on {cores} cores; best of {len(samples[0])} rounds ({nudged}):")
    for workers, each in samples.items():
        took = min(each)
        has_limit = workers == 1 and cores >= CORES_FOR_ONE
        limit = f" (limit at least {SPEED_UP_WITH_ONE})" if has_limit else ""
        print(f"  workers {workers}: {took:.2f} s, {alone / took:.2f} times as fast{limit}")
    return cores < CORES_FOR_ONE or alone / min(samples[1]) >= SPEED_UP_WITH_ONE


def main() -> int:
    """Measure, print, and return 0 if each limit is kept."""
    options = arguments(__doc__ or "")
    rows, rounds = options.rows, options.rounds
    # What runs by itself would run in somebody's turn.
    with Cluster({"autovacuum": "off", "max_wal_size": "8GB"}) as cluster:
        cluster.create_database("bench")
        with cluster.connect("bench") as connection:
            connection.execute("SET max_parallel_workers_per_gather = 0")
            connection.execute("SET jit = off")
            run(connection, NOOP_FUNCTION.format(type="text"))
            run(connection, READ_SETUP.format(rows=rows, few=max(rows // PGP_PART, 1)))
            scans = _read(connection, rounds)
            parallel, is_nudged = _read_in_parallel(connection, rounds)
            run(connection, WRITE_SETUP)
            writes = _write(connection, rows, rounds)
            blind, plain = _look_up_in_turns(connection, rounds)
            procedures = _convert(connection, rows, rounds)
    kept = show(READ_CASES, scans, rows, rounds)
    opened, pgp = (statistics.median(case.seconds) - statistics.median(scans) for case in (OPENED, PGP))
    faster = pgp / opened
    print(f"The view decrypts {faster:.0f} times as fast as pgp_sym_decrypt (limit at least {FASTER_THAN_PGP})\n")
    kept = faster >= FASTER_THAN_PGP and kept
    kept = _show_parallel(parallel, is_nudged) and kept
    print()
    kept = _show_pairs(f"Writing through the view; median of {rounds} rounds", writes) and kept
    print(
        f"A lookup by a blind index takes {blind:.3f} ms, {blind - plain:.3f} ms more than by a plain index"
        f" (limit {LOOKUP_LIMIT_MS})\n"
    )
    kept = blind - plain <= LOOKUP_LIMIT_MS and kept
    title = f"{rows} rows in batches of {BATCH_SIZE}, beside UPDATE in such batches; median of {rounds} rounds"
    kept = _show_pairs(title, procedures) and kept
    (rotate,) = (pair for pair in procedures if pair.limit)
    print(f"rotate_column has {1 / rotate.ratio:.2f} of the plain rate (limit at least {ROTATE_RATE:.2f})")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
