"""Searches by search terms, beside plain tables with an index for them, and beside decrypting all rows.

The plain tables have an index of pg_trgm for parts of a text, and a btree for ranges. A search for a range or a
document finds as many rows in the larger table as in the smaller one: their times show what the size costs.
"""

import time
from collections.abc import Iterator
from datetime import date, timedelta

from measure import NO_TERMS, OURS, PLAIN, Bench, Work, each

ROWS = (200_000, 1_000_000)
_FEW_ROWS = 5_000
# So many that the list of pending entries of the index is flushed within a statement.
_INSERTED_ROWS = 5_000

INSERT = "INSERT with a text index, 5,000 rows a statement"
SIZE = "terms and text index, a row"
CONTAINS = "search, LIKE with a part, less than 100 rows"
RANGE = "search, a range of dates, 600 rows"
JSON = "search, @> of jsonb, 50 rows"

_SETUP = """
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE TABLE found_plain (id integer PRIMARY KEY, name text, born date, profile jsonb);
INSERT INTO found_plain SELECT i, substr(md5(i::text), 1, 20), date '1950-01-01' + i % {days},
        jsonb_build_object('city', 'city ' || i % ({rows} / 50), 'tags', jsonb_build_array(i % 1000, i % 7))
    FROM generate_series(1, {rows}) AS i;
CREATE TABLE found (LIKE found_plain INCLUDING ALL);
INSERT INTO found SELECT * FROM found_plain;
SELECT pgkeymgr.encrypt_column('found', 'name'); SELECT pgkeymgr.encrypt_column('found', 'born');
SELECT pgkeymgr.encrypt_column('found', 'profile');
CALL pgkeymgr.migrate_columns('found');
VACUUM (FULL) found_encrypted
"""
# The name, the statement on the encrypted table, and that on the plain table.
_INDEXES = (
    (
        "text",
        "SELECT pgkeymgr.add_blind_index('found', 'name', 'casefold', kind => 'text')",
        "CREATE INDEX found_plain_name ON found_plain USING gin (name gin_trgm_ops)",
    ),
    (
        "range",
        "SELECT pgkeymgr.add_blind_index('found', 'born', kind => 'range')",
        "CREATE INDEX found_plain_born ON found_plain (born)",
    ),
    (
        "json",
        "SELECT pgkeymgr.add_blind_index('found', 'profile', kind => 'json')",
        "CREATE INDEX found_plain_profile ON found_plain USING gin (profile jsonb_path_ops)",
    ),
)
_FIRST_DAY = date(1990, 1, 1)
_DAYS = 20_000
_DROP = "DROP VIEW found; DROP TABLE found_encrypted; DROP TABLE found_plain"


def _searches(rows: int) -> Iterator[tuple[str, str, str, str]]:
    """Yield the name of each search, the condition by terms, that on the value, and that of the plain table."""
    part = "c4ca" if rows <= ROWS[0] else "c4ca4"
    for name, pattern in ((CONTAINS, f"%{part}%"), ("search, LIKE with a prefix", "c4ca4%")):
        like = f"name LIKE '{pattern}'"
        yield name, f"search_like('found', 'name', name_terms, name, '{pattern}')", like, like
    after = _FIRST_DAY + timedelta(days=600 * _DAYS // rows)
    days = f"daterange('{_FIRST_DAY}', '{after}')"
    yield (
        RANGE,
        f"search_within('found', 'born', born_terms, born, {days})",
        f"{days} @> born",
        # An index of PostgreSQL 15 does not serve the condition on a range.
        f"born >= '{_FIRST_DAY}' AND born < '{after}'",
    )
    document = '{"city": "city 77"}'
    contains = f"profile @> '{document}'"
    yield JSON, f"search_json('found', 'profile', profile_terms, profile, '{document}')", contains, contains


def measure(bench: Bench) -> list[Work]:
    """Measure each size."""
    works: list[Work] = []
    taken = 0.0
    for rows in ROWS if not bench.is_quick else (_FEW_ROWS,):
        started = time.monotonic()
        # The larger one takes five times as long as the one before.
        if started + 5 * taken > bench.deadline:
            bench.cut.append(f"search: {rows:,} rows left out")
            break
        works += _measure_size(bench, rows)
        taken = time.monotonic() - started
    return works


def _measure_size(bench: Bench, rows: int) -> list[Work]:
    bench.run(_SETUP.format(rows=rows, days=_DAYS))
    note = f"{rows:,} rows"
    works = []
    without_terms = _inserts(bench, rows)
    for kind, ours, plain in _INDEXES:
        before = _bytes(bench)
        samples = {OURS: [bench.seconds(ours)], PLAIN: [bench.seconds(plain)]}
        bench.run("VACUUM (FULL) found_encrypted")
        sizes = {
            way: [(now - old) / rows]
            for (way, now), old in zip(_bytes(bench).items(), before.values(), strict=True)
        }
        works.append(
            Work(f"making the {kind} index, a row", "µs", {k: each(v, rows) for k, v in samples.items()}, note)
        )
        works.append(Work(f"terms and {kind} index, a row", "bytes", sizes, note))
        if kind == "text":
            works.append(Work(INSERT, "µs", {OURS: _inserts(bench, rows), NO_TERMS: without_terms}, note))
    bench.run("VACUUM ANALYZE found_encrypted; VACUUM ANALYZE found_plain")
    for name, by_terms, by_value, on_plain in _searches(rows):
        statements = {
            OURS: f"SELECT count(name), count(born) FROM found WHERE {by_terms}",
            PLAIN: f"SELECT count(name), count(born) FROM found_plain WHERE {on_plain}",
        }
        works.append(_search(bench, name, statements, note))
        # No index serves the plain table either.
        bench.run("SET enable_indexscan = off; SET enable_bitmapscan = off")
        statements = {
            OURS: f"SELECT count(*) FROM found WHERE {by_value}",
            PLAIN: f"SELECT count(*) FROM found_plain WHERE {on_plain}",
        }
        works.append(_search(bench, f"{name}, reading all rows", statements, note))
        bench.run("RESET enable_indexscan; RESET enable_bitmapscan")
    bench.run(_DROP)
    return works


def _inserts(bench: Bench, rows: int) -> list[float]:
    """Return the cost of a row of an INSERT through the view, in µs; the rows do not stay."""
    statement = (
        "INSERT INTO found SELECT i, substr(md5(i::text), 1, 20), date '1990-01-01', '{}'"
        f" FROM generate_series({rows + 1}, {rows + _INSERTED_ROWS}) AS i"
    )
    samples = []
    for _ in bench.rounds("INSERT"):
        bench.run("BEGIN")
        samples.append(bench.seconds(statement))
        bench.run("ROLLBACK")
    bench.run("VACUUM (FULL) found_encrypted")
    return each(samples, _INSERTED_ROWS)


def _search(bench: Bench, name: str, statements: dict[str, str], note: str) -> Work:
    tasks = {
        way: lambda statement=statement: bench.seconds(statement) * 1e3 for way, statement in statements.items()
    }
    return Work(name, "ms", bench.take_turns(name, tasks), note)


def _bytes(bench: Bench) -> dict[str, int]:
    tables = {OURS: "found_encrypted", PLAIN: "found_plain"}
    return {way: bench.value(f"SELECT pg_total_relation_size('{table}')") for way, table in tables.items()}
