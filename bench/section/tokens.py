"""Tokens of values of several sizes, a call for each row."""

from calls import Call, Rows, measure_calls
from measure import AEAD, NOOP, OURS, PGCRYPTO, PGP, PGSODIUM, Bench, Work

SIZES = {"16 B": 16, "100 B": 100, "1 kB": 1_000, "100 kB": 100_000, "10 MB": 10_000_000}

# The value is read again for each call, as it is where each row has its own. Four values of 1 kB would go out of
# line, some of them, where the one value that a row has in practice does not.
_SETUP = """
CREATE TABLE token_{size} (plaintext bytea, token bytea, aes bytea, pgp bytea, aead bytea);
ALTER TABLE token_{size} ALTER plaintext SET STORAGE MAIN, ALTER token SET STORAGE MAIN,
    ALTER aes SET STORAGE MAIN, ALTER pgp SET STORAGE MAIN, ALTER aead SET STORAGE MAIN;
INSERT INTO token_{size}
    SELECT plaintext, token_encrypt('tokens', plaintext) AS token, public.encrypt(plaintext, {key}, 'aes') AS aes,
           public.pgp_sym_encrypt_bytea(plaintext, 'secret') AS pgp,
           crypto_aead_det_encrypt(plaintext, '', {key}) AS aead
    FROM randombytes_buf({size}) AS plaintext
"""
_KEY = "sha256('key'::bytea)"

# The cipher is made once, as a session makes it once.
_AEAD = """
CREATE FUNCTION aead(size integer, calls integer, is_opened boolean) RETURNS double precision
LANGUAGE plpython3u AS $$
import os
import time
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
cipher = AESGCMSIV(bytes(32))
nonce, data = os.urandom(12), os.urandom(size)
call = cipher.encrypt
if is_opened:
    call, data = cipher.decrypt, cipher.encrypt(nonce, data, b'12345')
started = time.perf_counter()
for _ in range(calls):
    call(nonce, data, b'12345')
return (time.perf_counter() - started) / calls * 1e6
$$
"""


def measure(bench: Bench) -> list[Work]:
    """Measure both directions for each size."""
    bench.value("SELECT create_data_key('tokens')")
    bench.connection.execute(_AEAD.encode())
    works = []
    for name, size in SIZES.items():
        works += _measure_size(bench, name, size)
    return works


def _measure_size(bench: Bench, name: str, size: int) -> list[Work]:
    # About as long for each size.
    count = bench.choose(20_000, 2_000)
    if size > 1_000:
        count = max(count * 2_000 // size, 2)
    few = max(count // 40, 1)
    bench.run(_SETUP.format(size=size, key=_KEY))
    ways = [
        (
            "token_encrypt",
            {
                OURS: "token_encrypt('tokens', plaintext)",
                NOOP: "noop(plaintext)",
                PGCRYPTO: f"public.encrypt(plaintext, {_KEY}, 'aes')",
                PGP: "public.pgp_sym_encrypt_bytea(plaintext, 'secret')",
                PGSODIUM: f"pgsodium.crypto_aead_det_encrypt(plaintext, ''::bytea, {_KEY})",
            },
        ),
        (
            "token_decrypt",
            {
                OURS: "token_decrypt(token)",
                NOOP: "noop(token)",
                PGCRYPTO: f"public.decrypt(aes, {_KEY}, 'aes')",
                PGP: "public.pgp_sym_decrypt_bytea(pgp, 'secret')",
                PGSODIUM: f"pgsodium.crypto_aead_det_decrypt(aead, ''::bytea, {_KEY})",
            },
        ),
    ]
    calls = []
    for function, expressions in ways:
        if not bench.has_pgsodium:
            del expressions[PGSODIUM]
        calls.append(Call(f"{function}, {name}", expressions))
    scan = "count(plaintext), count(token), count(aes), count(pgp)"
    rows = Rows(f"token_{size}, generate_series(1, {{count}})", scan, count, few)
    works = measure_calls(bench, f"tokens of {name}", rows, calls)
    for work, is_opened in zip(works, ("false", "true"), strict=True):
        work.samples[AEAD] = [
            noop + float(bench.value(f"SELECT aead({size}, {count}, {is_opened})")) for noop in work.samples[NOOP]
        ]
    return works
