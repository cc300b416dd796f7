"""Bytes on disk a row, for values of several sizes: the whole table, its index and what is stored out of line."""

from measure import OURS, PGCRYPTO, PGP, PGSODIUM, PLAIN, Bench, Work

from section import tokens

_KEY = "sha256('key'::bytea)"
# pgsodium keeps the nonce in a column of its own; its ciphertext is the same bytes as ours.
_NONCE = "substr(sha512(i::text::bytea), 1, 16)"
_TABLES = {
    OURS: ("stored", "i, value"),
    PLAIN: ("stored_plain", "i, value"),
    PGCRYPTO: ("stored_aes", f"i, public.encrypt(value, {_KEY}, 'aes')"),
    PGP: ("stored_pgp", "i, public.pgp_sym_encrypt_bytea(value, 'secret')"),
    PGSODIUM: ("stored_aead", f"i, crypto_aead_det_encrypt(value, '', {_KEY}, {_NONCE}), {_NONCE}"),
}
_SETUP = """
CREATE TABLE public.stored_value (i integer, value bytea);
CREATE TABLE public.stored_plain (i integer PRIMARY KEY, value bytea);
CREATE TABLE public.stored_aes (LIKE public.stored_plain INCLUDING ALL);
CREATE TABLE public.stored_pgp (LIKE public.stored_plain INCLUDING ALL);
CREATE TABLE public.stored_aead (i integer PRIMARY KEY, value bytea, nonce bytea);
CREATE TABLE public.stored (LIKE public.stored_plain INCLUDING ALL);
SELECT encrypt_column('public.stored', 'value')
"""


def measure(bench: Bench) -> list[Work]:
    """Store random values of each size in each way."""
    bench.run(_SETUP)
    works = []
    for name, size in tokens.SIZES.items():
        rows = max(min(bench.choose(10_000, 2_000), bench.choose(5_000_000, 500_000) // size), 1)
        bench.run("TRUNCATE stored_value")
        bench.run(
            f"INSERT INTO stored_value SELECT i, randombytes_buf({size}) FROM generate_series(1, {rows}) AS i"
        )
        sizes = {}
        for way, (table, values) in _TABLES.items():
            base = "stored_encrypted" if way == OURS else table
            bench.run(
                f"TRUNCATE {base}; INSERT INTO {table} SELECT {values} FROM stored_value; VACUUM (FULL) {base}"
            )
            sizes[way] = [bench.value(f"SELECT pg_total_relation_size('{base}')") / rows]
        works.append(Work(f"a row with a value of {name}", "bytes", sizes, f"{rows:,} rows"))
    return works
