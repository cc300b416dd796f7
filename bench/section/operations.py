"""Migration and rotation of a column, for tables of several sizes, beside an UPDATE in the same batches."""

import time

from measure import NOOP, OURS, PGCRYPTO, PGP, PLAIN, Bench, Work, each

from section import columns

BATCH_SIZE = 5_000
ROWS = (10_000, 100_000, 1_000_000)
MIGRATE = "migrate_column"
ROTATE = "rotate_column"

_SETUP = f"""
CREATE PROCEDURE rewrite(expression text) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. (SELECT max(id) FROM rewritten) BY {BATCH_SIZE} LOOP
        EXECUTE format('UPDATE rewritten SET cipher = %s WHERE id >= $1 AND id < $2', expression)
            USING i, i + {BATCH_SIZE};
        COMMIT;
    END LOOP;
END $$
"""
# As long a value as the ciphertext.
_REWRITTEN = """
DROP TABLE IF EXISTS rewritten;
CREATE TABLE rewritten (id integer PRIMARY KEY, name text NOT NULL, born date, ssn text, cipher bytea);
INSERT INTO rewritten SELECT id, name, born, ssn, convert_to(ssn, 'UTF8') || '\\x{padding}'
    FROM source LIMIT {rows};
VACUUM ANALYZE rewritten
"""
_MOVING = """
CREATE TABLE moving (LIKE plain INCLUDING ALL);
INSERT INTO moving SELECT id, name, ssn, born FROM source LIMIT {rows};
VACUUM ANALYZE moving;
SELECT pgkeymgr.encrypt_column('moving', 'ssn')
"""
_REWRITES = {
    PLAIN: "set_byte(cipher, 59, 255 - get_byte(cipher, 59))",
    NOOP: "noop(cipher)",
    PGCRYPTO: f"encrypt(ssn::bytea, {columns.KEY}, 'aes')",
    PGP: "pgp_sym_encrypt(ssn, 'secret')",
}
# The larger tables show whether the cost of a row grows: a plain UPDATE is enough beside them.
_LARGEST = {PLAIN: ROWS[2], NOOP: ROWS[0], PGCRYPTO: ROWS[0], PGP: ROWS[0]}


def measure(bench: Bench) -> list[Work]:
    """Measure each size."""
    bench.connection.execute(_SETUP.encode())
    works = []
    taken = 0.0
    for rows in ROWS[: bench.choose(3, 2)]:
        started = time.monotonic()
        # A round of one takes ten times as long as the round of the size before.
        if started + 10 * taken > bench.deadline:
            bench.cut.append(f"operations: {rows:,} rows left out")
            break
        works += _measure_size(bench, rows)
        taken = (time.monotonic() - started) / bench.round_count
    return [*works, *(_wal(bench, fillfactor) for fillfactor in (100, 50))]


def _wal(bench: Bench, fillfactor: int) -> Work:
    """Return the WAL of a rotation, which does not depend on the load of the machine: one round is enough."""
    rows = ROWS[0]
    bench.run(
        f"CREATE TABLE moving (LIKE plain INCLUDING ALL) WITH (fillfactor = {fillfactor});"
        "SELECT pgkeymgr.encrypt_column('moving', 'ssn');"
        f"INSERT INTO moving SELECT id, name, ssn, born FROM source LIMIT {rows};"
        "VACUUM ANALYZE moving_encrypted; CHECKPOINT"
    )
    before = bench.value("SELECT pg_current_wal_insert_lsn()")
    bench.run(f"CALL pgkeymgr.rotate_column('moving', 'ssn', {BATCH_SIZE})")
    written = bench.value(f"SELECT pg_current_wal_insert_lsn() - '{before}'::pg_lsn")
    bench.run("DROP VIEW moving; DROP TABLE moving_encrypted")
    name = f"WAL of rotate_column, a row, with a fillfactor of {fillfactor}"
    return Work(name, "bytes", {OURS: [float(written) / rows]})


def _measure_size(bench: Bench, rows: int) -> list[Work]:
    have = bench.value("SELECT count(*) FROM source")
    if have < rows:
        bench.run(
            "INSERT INTO source SELECT i, 'name ' || i, substr(md5(i::text), 1, 27), date '1950-01-01' + i % 20000"
            f" FROM generate_series({have + 1}, {rows}) AS i"
        )
    ways = [way for way in _REWRITES if rows <= _LARGEST[way]]
    if bench.is_quick:
        ways = [way for way in ways if way != PGP]
    samples: dict[str, list[float]] = {name: [] for name in (MIGRATE, ROTATE, *ways)}
    for _ in bench.rounds(f"operations on {rows:,} rows"):
        bench.run(_REWRITTEN.format(rows=rows, padding="00" * 33))
        for way in ways:
            statement = f"CALL rewrite($${_REWRITES[way]}$$)"
            samples[way].append(bench.seconds(statement, after_checkpoint=True))
        bench.run(_MOVING.format(rows=rows))
        for name in (MIGRATE, ROTATE):
            call = f"CALL pgkeymgr.{name}('moving', 'ssn', {BATCH_SIZE})"
            samples[name].append(bench.seconds(call, after_checkpoint=True))
            bench.run("VACUUM ANALYZE moving_encrypted")
        bench.run("DROP VIEW moving; DROP TABLE moving_encrypted")
    others = {way: each(samples[way], rows) for way in ways}
    return [
        Work(name, "µs", {OURS: each(samples[name], rows), **others}, f"{rows:,} rows")
        for name in (MIGRATE, ROTATE)
    ]
