"""What the primitives cost beside a PL/Python function that does nothing; see measure.py."""

import statistics
import sys
from functools import partial

from cluster import Cluster
from measure import NOOP_FUNCTION, Case, arguments, measure, run, seconds, show

SETUP = """
SET search_path = pgkeymgr, public;
CREATE TABLE public.sample AS
    SELECT i AS id, substr(sha256(i::text::bytea), 1, 27) AS message,
           sha256((-i)::text::bytea) AS key, substr(sha512(i::text::bytea), 1, 24) AS nonce
    FROM generate_series(1, {rows}) AS i;
ALTER TABLE sample ADD sealed bytea, ADD sealed_by_id bytea;
UPDATE sample SET sealed = crypto_secretbox(message, nonce, key),
                  sealed_by_id = crypto_secretbox(message, nonce, id);
VACUUM (FULL, ANALYZE) sample
"""

SCAN = "count(message), count(nonce), count(key), count(sealed), count(sealed_by_id)"

CASES = [
    Case("plpython3u no-op", "noop(message)"),
    Case("derive_key", "derive_key(id)", 4),
    Case("crypto_secretbox, raw key", "crypto_secretbox(message, nonce, key)", 5),
    Case("crypto_secretbox_open, raw key", "crypto_secretbox_open(sealed, nonce, key)", 5),
    Case("crypto_secretbox, by id", "crypto_secretbox(message, nonce, id)", 7),
    Case("crypto_secretbox_open, by id", "crypto_secretbox_open(sealed_by_id, nonce, id)", 7),
    Case("crypto_hash_sha256", "crypto_hash_sha256(message)", 3),
    Case("crypto_generichash", "crypto_generichash(message)", 3),
]

FIRST_CALL_LIMIT_MS = 60


def _first_call(cluster: Cluster) -> float:
    with cluster.connect("bench") as connection:
        connection.execute("SELECT noop('')")
        query = "SELECT pgkeymgr.crypto_secretbox('', nonce, 1::bigint) FROM sample LIMIT 1"
        return seconds(partial(connection.execute, query))


def main() -> int:
    """Measure, print, and return 0 if each limit is kept."""
    options = arguments(__doc__ or "")
    with Cluster() as cluster:
        cluster.create_database("bench")
        with cluster.connect("bench") as connection:
            run(connection, NOOP_FUNCTION.format(type="bytea"))
            run(connection, SETUP.format(rows=options.rows))
            scans = measure(connection, SCAN, CASES, options.rounds)
        first_call = statistics.median(_first_call(cluster) for _ in range(options.rounds)) * 1e3
    kept = show(CASES, scans, options.rows, options.rounds)
    print(
        f"A new session's first call, the getkey script included, after a no-op: {first_call:.0f} ms "
        f"(limit {FIRST_CALL_LIMIT_MS})"
    )
    return 0 if kept and first_call <= FIRST_CALL_LIMIT_MS else 1


if __name__ == "__main__":
    sys.exit(main())
