"""What tokens cost beside a PL/Python function that does nothing; see measure.py."""

import statistics
import sys
from functools import partial

from cluster import Cluster
from measure import NOOP_FUNCTION, Case, Connection, arguments, measure, run, seconds, show

SETUP = """
SET search_path = pgkeymgr, public;
SELECT create_data_key('bench');
CREATE TABLE public.sample AS
    SELECT i AS id, substr(md5(i::text), 1, 27) AS plaintext FROM generate_series(1, {rows}) AS i;
ALTER TABLE sample ADD token bytea, ADD deterministic bytea;
UPDATE sample SET token = token_encrypt_text('bench', plaintext),
                  deterministic = token_encrypt_text('bench', plaintext, '', true);
ALTER TABLE sample ADD PRIMARY KEY (id);
VACUUM (FULL, ANALYZE) sample
"""

SCAN = "count(plaintext), count(token), count(deterministic)"

CASES = [
    Case("plpython3u no-op", "noop(plaintext)"),
    Case("token_encrypt_text", "token_encrypt_text('bench', plaintext)", 7),
    Case("token_decrypt_text", "token_decrypt_text(token)", 6),
    Case("token_encrypt_text, deterministic", "token_encrypt_text('bench', plaintext, '', true)"),
    Case("token_decrypt_text, deterministic", "token_decrypt_text(deterministic)"),
    Case("token_reencrypt", "token_reencrypt(token, 'bench')"),
]

ONE_ROW_LIMIT_MS = 0.1
STATEMENTS = 1000
MANY_KEYS = 100_000
FEW_KEYS = 10


def _one_row(connection: Connection, target: str) -> float:
    """Return the median milliseconds of a statement on one row, in a warm session."""
    query = f"SELECT {target} FROM sample WHERE id = %s".encode()
    samples = []
    for i in range(1, STATEMENTS + 1):
        samples.append(seconds(partial(connection.execute, query, (i,), prepare=True)))
    return statistics.median(samples) * 1e3


def _lookup(connection: Connection, keys: int) -> float:
    """Return the median milliseconds of a statement that looks a key up, each time another, unlocking none."""
    samples = []
    for i in range(STATEMENTS):
        token = b"\x01" + (i * 7919 % keys + 1).to_bytes(4, "big") + bytes(28)
        samples.append(seconds(partial(connection.execute, "SELECT token_info(%s)", (token,), prepare=True)))
    return statistics.median(samples) * 1e3


def main() -> int:
    """Measure, print, and return 0 if each limit is kept."""
    options = arguments(__doc__ or "")
    with Cluster() as cluster:
        cluster.create_database("bench")
        with cluster.connect("bench") as connection:
            run(connection, NOOP_FUNCTION.format(type="text"))
            run(connection, SETUP.format(rows=options.rows))
            scans = measure(connection, SCAN, CASES, options.rounds)
            # In turns, as above: with decryption and without.
            with_and_without = [
                (_one_row(connection, "token_decrypt_text(token)"), _one_row(connection, "plaintext"))
                for _ in range(options.rounds)
            ]
            one_row = statistics.median(opened - plain for opened, plain in with_and_without)
            lookups = {}
            made = 0
            for keys in (FEW_KEYS, MANY_KEYS):
                # Straight into the table: making 100,000 keys properly takes minutes.
                query = (
                    "INSERT INTO key (family, name, owner) SELECT i, 'key ' || i, 'postgres'"
                    f" FROM generate_series({made + 1}, {keys}) AS i"
                )
                connection.execute(query.encode())
                connection.execute("VACUUM ANALYZE key")
                made = keys
                lookups[keys] = _lookup(connection, keys)
    kept = show(CASES, scans, options.rows, options.rounds)
    print(
        f"A statement that decrypts one row takes {one_row:.3f} ms more than one that reads it in the clear "
        f"(limit {ONE_ROW_LIMIT_MS})"
    )
    for keys, milliseconds in lookups.items():
        print(f"A statement that looks up one of {keys} keys takes {milliseconds:.3f} ms")
    return 0 if kept and one_row <= ONE_ROW_LIMIT_MS else 1


if __name__ == "__main__":
    sys.exit(main())
