"""The primitives on 27 bytes, a call for each row of a table."""

from calls import Call, Rows, measure_calls
from measure import NOOP, OURS, PGCRYPTO, PGP, PGSODIUM, Bench, Work

_SETUP = """
CREATE TABLE message AS
    SELECT i AS id, substr(sha256(i::text::bytea), 1, 27) AS message,
           sha256((-i)::text::bytea) AS key, substr(sha512(i::text::bytea), 1, 24) AS nonce
    FROM generate_series(1, {rows}) AS i;
ALTER TABLE message ADD sealed bytea, ADD sealed_by_number bytea, ADD aead bytea, ADD aes bytea, ADD pgp bytea;
UPDATE message SET sealed = crypto_secretbox(message, nonce, key),
                   sealed_by_number = crypto_secretbox(message, nonce, id),
                   aead = crypto_aead_det_encrypt(message, '', key),
                   aes = public.encrypt(message, key, 'aes'),
                   pgp = CASE WHEN id <= {few} THEN public.pgp_sym_encrypt_bytea(message, 'secret') END;
VACUUM (FULL, ANALYZE) message
"""

_ENCRYPT = {
    NOOP: "noop(message)",
    PGCRYPTO: "public.encrypt(message, key, 'aes')",
    PGP: "public.pgp_sym_encrypt_bytea(message, 'secret')",
}
_DECRYPT = {
    NOOP: "noop(message)",
    PGCRYPTO: "public.decrypt(aes, key, 'aes')",
    PGP: "public.pgp_sym_decrypt_bytea(pgp, 'secret')",
}
_HASH = {NOOP: "noop(message)", PGCRYPTO: "public.digest(message, 'sha256')"}
_AUTHENTICATE = {NOOP: "noop(message)", PGCRYPTO: "public.hmac(message, key, 'sha256')"}
_ONLY_NOOP = {NOOP: "noop(message)"}


def _call(name: str, ours: str, others: dict[str, str], has_pgsodium: bool, **more: bool) -> Call:
    ways = {OURS: ours, **others}
    # Functions that take a raw key have the same name and arguments there.
    if has_pgsodium and ours.startswith("crypto_") and ", id)" not in ours:
        ways[PGSODIUM] = f"pgsodium.{ours}"
    return Call(name, ways, **more)


def measure(bench: Bench) -> list[Work]:
    """Measure the calls."""
    count, few = bench.choose(30_000, 5_000), bench.choose(1_000, 250)
    bench.run(_SETUP.format(rows=count, few=few))
    rows = Rows(
        "(SELECT * FROM message LIMIT {count}) AS rows",
        "count(message), count(nonce), count(key), count(sealed), count(sealed_by_number), count(aes), count(pgp)",
        count,
        few,
    )
    has = bench.has_pgsodium
    recipient = bench.value("SELECT public::text FROM crypto_box_new_keypair()")
    calls = [
        _call("crypto_secretbox, raw key", "crypto_secretbox(message, nonce, key)", _ENCRYPT, has),
        _call("crypto_secretbox_open, raw key", "crypto_secretbox_open(sealed, nonce, key)", _DECRYPT, has),
        _call("crypto_secretbox, by number", "crypto_secretbox(message, nonce, id)", _ENCRYPT, has),
        _call(
            "crypto_secretbox_open, by number", "crypto_secretbox_open(sealed_by_number, nonce, id)", _DECRYPT, has
        ),
        _call("crypto_aead_det_encrypt", "crypto_aead_det_encrypt(message, ''::bytea, key)", _ENCRYPT, has),
        _call("crypto_aead_det_decrypt", "crypto_aead_det_decrypt(aead, ''::bytea, key)", _DECRYPT, has),
        _call("derive_key", "derive_key(id)", _ONLY_NOOP, has),
        _call("crypto_hash_sha256", "crypto_hash_sha256(message)", _HASH, has),
        _call("crypto_generichash", "crypto_generichash(message)", _HASH, has),
        _call("crypto_auth_hmacsha256", "crypto_auth_hmacsha256(message, key)", _AUTHENTICATE, has),
        _call("crypto_box_seal", f"crypto_box_seal(message, '{recipient}'::bytea)", _ONLY_NOOP, has, is_slow=True),
    ]
    return measure_calls(bench, "primitives", rows, calls)
