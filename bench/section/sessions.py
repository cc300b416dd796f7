"""The cost of a session: its first call, and the memory of its backend."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from measure import NOOP, OURS, PGCRYPTO, PGP, PLAIN, Bench, Connection, Work, net, seconds

from section import columns

FIRST_KEY = "a new session's first call, crypto_secretbox by number, after a bare no-op"
FIRST_CALL = "a new session's first SELECT through a view, after a bare no-op"
MORE_AFTER_CALL = "memory after one call, more than after a bare no-op"
MORE_AFTER_ROWS = "memory after many rows, more than after a bare no-op"
_MEMORY = (
    "memory of a backend, at the start",
    "memory of a backend, after a bare no-op",
    "memory of a backend, after one call",
    "memory of a backend, after many rows",
)
_BARE = "SELECT bare_noop()"
_ROWS = 1_000_000

_SETUP = """
CREATE FUNCTION bare_noop() RETURNS integer LANGUAGE plpython3u AS 'return 1';
CREATE TABLE few (LIKE plain INCLUDING ALL);
CREATE TABLE few_aes (LIKE aes INCLUDING ALL);
CREATE TABLE few_customer (LIKE plain INCLUDING ALL);
SELECT pgkeymgr.encrypt_column('few_customer', 'ssn');
INSERT INTO few SELECT id, name, ssn, born FROM source LIMIT {rows};
INSERT INTO few_customer SELECT id, name, ssn, born FROM source LIMIT {rows};
INSERT INTO few_aes SELECT id, name, encrypt(ssn::bytea, {key}, 'aes'), born FROM source LIMIT {rows};
VACUUM ANALYZE few_customer_encrypted;
VACUUM ANALYZE few;
VACUUM ANALYZE few_aes
"""

_READS = {
    OURS: "SELECT count(ssn) FROM few_customer",
    PLAIN: "SELECT count(ssn) FROM few",
    NOOP: "SELECT count(noop(ssn)) FROM few",
    PGCRYPTO: f"SELECT count({columns.TABLES[PGCRYPTO].read}) FROM few_aes",
}

# The first row of each table, so that the catalogs of the table are read in all of them.
_FIRST_CALLS = {
    **{way: f"{query} WHERE id = 1" for way, query in _READS.items()},
    PGP: "SELECT count(pgp_sym_encrypt(ssn, 'secret')) FROM few WHERE id = 1",
}


def measure(bench: Bench) -> list[Work]:
    """Measure first calls, then memory."""
    rows = bench.choose(100_000, 20_000)
    bench.run(_SETUP.format(rows=rows, key=columns.KEY))
    return [*_first_calls(bench), *_memory(bench, rows)]


def _connect(bench: Bench) -> Connection:
    connection = bench.cluster.connect("bench")
    connection.execute("SET max_parallel_workers_per_gather = 0")
    connection.execute("SET jit = off")
    return connection


def _first_calls(bench: Bench) -> list[Work]:
    def first(query: str) -> float:
        with _connect(bench) as connection:
            connection.execute(_BARE)
            return seconds(partial(connection.execute, query.encode())) * 1e3

    def connect() -> float:
        return seconds(lambda: bench.cluster.connect("bench").close()) * 1e3

    tasks: dict[str, Callable[[], float]] = {way: partial(first, query) for way, query in _FIRST_CALLS.items()}
    tasks["number"] = partial(first, "SELECT pgkeymgr.crypto_secretbox('', substr(sha512(''), 1, 24), 1::bigint)")
    tasks["connect"] = connect
    # A call of some milliseconds needs more of them than a scan of a second.
    samples: dict[str, list[float]] = {}
    for _ in range(bench.choose(3, 1)):
        for way, numbers in bench.take_turns("sessions: first calls", tasks).items():
            samples.setdefault(way, []).extend(numbers)
    by_number, connecting = samples.pop("number"), samples.pop("connect")
    return [
        Work(FIRST_CALL, "ms", samples),
        Work(FIRST_KEY, "ms", {OURS: by_number}),
        Work("connecting, without any call", "ms", {OURS: connecting}),
    ]


def _own_memory(connection: Connection) -> float:
    """Return the MB that belong to its backend alone: the shared buffers, say, do not."""
    pid = connection.info.backend_pid
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    private = [int(line.split()[1]) for line in lines if line.startswith("Private_")]
    return sum(private) / 1024


def _memory(bench: Bench, rows: int) -> list[Work]:
    if os.geteuid() != 0:
        bench.cut.append("sessions: memory left out, since only root may read it")
        return []
    samples: dict[str, dict[str, list[float]]] = {name: {} for name in _MEMORY}
    scans = bench.choose(_ROWS, rows) // rows
    for _ in bench.rounds("sessions: memory"):
        for way, query in _READS.items():
            with _connect(bench) as connection:
                sizes = [_own_memory(connection)]
                connection.execute(_BARE)
                sizes.append(_own_memory(connection))
                connection.execute(_FIRST_CALLS[way].encode())
                sizes.append(_own_memory(connection))
                for _ in range(scans):
                    connection.execute(query.encode(), prepare=False)
                sizes.append(_own_memory(connection))
            for name, size in zip(_MEMORY, sizes, strict=True):
                samples[name].setdefault(way, []).append(size)
    note = f"{scans * rows:,} rows"
    works = [Work(name, "MB", ways, note if name == _MEMORY[-1] else "") for name, ways in samples.items()]
    for name, after, more in ((MORE_AFTER_CALL, _MEMORY[2], ""), (MORE_AFTER_ROWS, _MEMORY[3], note)):
        ways = {way: net(samples[after][way], samples[_MEMORY[1]][way]) for way in (OURS,)}
        works.append(Work(name, "MB", ways, more))
    return works
