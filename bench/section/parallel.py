"""A scan of all rows with parallel workers, all values decrypted.

Each worker is a session of its own, with a first call to be made: the fewer the rows, the more that is of it.
"""

from typing import Any

from measure import NOOP, OURS, PGCRYPTO, PLAIN, Bench, Work

from section import columns

WORKERS = (0, 1, 2)
_SETUP = """
CREATE TABLE scanned (LIKE plain INCLUDING ALL);
CREATE TABLE scanned_plain (LIKE plain INCLUDING ALL);
CREATE TABLE scanned_aes (LIKE aes INCLUDING ALL);
SELECT pgkeymgr.encrypt_column('scanned', 'ssn');
INSERT INTO scanned SELECT id, name, ssn, born FROM source LIMIT {rows};
INSERT INTO scanned_plain SELECT id, name, ssn, born FROM source LIMIT {rows};
INSERT INTO scanned_aes SELECT id, name, encrypt(ssn::bytea, {key}, 'aes'), born FROM source LIMIT {rows};
VACUUM ANALYZE scanned_encrypted;
VACUUM ANALYZE scanned_plain;
VACUUM ANALYZE scanned_aes;
SET min_parallel_table_scan_size = 0; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0
"""
_QUERIES = {
    OURS: "SELECT count(ssn) FROM scanned",
    PLAIN: "SELECT count(ssn) FROM scanned_plain",
    NOOP: "SELECT count(noop(ssn)) FROM scanned_plain",
    PGCRYPTO: f"SELECT count({columns.TABLES[PGCRYPTO].read}) FROM scanned_aes",
}


def measure(bench: Bench) -> list[Work]:
    """Measure the scans with each number of workers."""
    rows = bench.choose(200_000, 50_000)
    bench.run(_SETUP.format(rows=rows, key=columns.KEY))
    samples: dict[tuple[int, str], list[float]] = {}
    for _ in bench.rounds("parallel scans"):
        for workers in WORKERS:
            bench.run(f"SET max_parallel_workers_per_gather = {workers}")
            for way, query in _QUERIES.items():
                if (workers, way) not in samples:
                    _check(bench, query, workers)
                samples.setdefault((workers, way), []).append(bench.seconds(query) / rows * 1e6)
    bench.run("RESET min_parallel_table_scan_size; RESET parallel_setup_cost; RESET parallel_tuple_cost")
    bench.run("SET max_parallel_workers_per_gather = 0")
    works = []
    for workers in WORKERS:
        costs = {way: samples[workers, way] for way in _QUERIES}
        works.append(Work(f"SELECT, all rows, {workers} workers", "µs", costs))
    for workers in WORKERS[1:]:
        faster = {
            way: [alone / took for alone, took in zip(samples[0, way], samples[workers, way], strict=True)]
            for way in _QUERIES
        }
        works.append(Work(f"times as fast with {workers} as with none", "times", faster))
    return works


def _check(bench: Bench, query: str, workers: int) -> None:
    plan = bench.value(f"EXPLAIN (ANALYZE, FORMAT json) {query}")
    launched = _workers(plan[0]["Plan"])
    if launched != workers:
        raise RuntimeError(f"{workers} workers were wanted, and {launched} launched: {query}")


def _workers(plan: dict[str, Any]) -> int:
    """Return how many workers a plan of EXPLAIN has at its Gather node, or 0."""
    return int(plan.get("Workers Launched", 0)) or max(map(_workers, plan.get("Plans", [])), default=0)
