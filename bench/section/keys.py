"""The cost of many keys: making keys, and encrypting and decrypting, each row under the next key."""

import time
from functools import partial

from measure import NOOP, OURS, PGCRYPTO, PLAIN, Bench, Work, each, net

KEYS = (1, 1_000, 100_000)

# In one statement of them all, it would take longer for each key, the more there are.
AT_ONCE = 1_000


def measure(bench: Bench) -> list[Work]:
    """Make keys, and use them, for each number of them."""
    works: list[Work] = []
    made = 0
    bench.run("CREATE TABLE plain_key (id integer PRIMARY KEY, name text UNIQUE, secret bytea)")
    for keys in [min(keys, bench.choose(KEYS[-1], KEYS[-1] // 20)) for keys in KEYS]:
        making = {OURS: [0.0], PLAIN: [0.0]}
        started = time.monotonic()
        for first in range(made + 1, keys + 1, AT_ONCE):
            numbers = f"generate_series({first}, {min(first + AT_ONCE - 1, keys)}) AS i"
            making[OURS][0] += bench.seconds(f"SELECT count(create_data_key('many ' || i)) FROM {numbers}")
            making[PLAIN][0] += bench.seconds(
                f"INSERT INTO plain_key SELECT i, 'many ' || i, gen_random_bytes(32) FROM {numbers}"
            )
            if time.monotonic() > bench.deadline:
                break
        if time.monotonic() > bench.deadline:
            bench.cut.append(f"keys: {keys:,} left out after {time.monotonic() - started:.0f} s of making them")
            return works
        bench.run("VACUUM ANALYZE key; VACUUM ANALYZE key_wrap; VACUUM ANALYZE key_event")
        works.append(
            Work(
                "create_data_key",
                "µs",
                {way: each(taken, keys - made) for way, taken in making.items()},
                f"up to {keys:,} keys",
            )
        )
        made = keys
        works += _use(bench, keys)
    return works


def _use(bench: Bench, keys: int) -> list[Work]:
    rows = bench.choose(10_000, 2_000)
    bench.run(
        f"""
        DROP TABLE IF EXISTS under_keys;
        CREATE TABLE under_keys AS
            SELECT 'many ' || (i * 7919 % {keys}) + 1 AS name, substr(md5(i::text), 1, 27) AS plaintext
            FROM generate_series(1, {rows}) AS i;
        ALTER TABLE under_keys ADD token bytea, ADD aes bytea;
        UPDATE under_keys SET token = token_encrypt_text(name, plaintext),
                              aes = encrypt(plaintext::bytea, sha256(name::bytea), 'aes');
        VACUUM (FULL, ANALYZE) under_keys
        """
    )
    expressions = {
        ("", OURS): "name",
        ("token_encrypt_text", OURS): "token_encrypt_text(name, plaintext)",
        ("token_decrypt_text", OURS): "token_decrypt_text(token)",
        ("", NOOP): "noop(plaintext)",
        ("token_encrypt_text", PGCRYPTO): "encrypt(plaintext::bytea, sha256(name::bytea), 'aes')",
        ("token_decrypt_text", PGCRYPTO): "decrypt(aes, sha256(name::bytea), 'aes')",
    }
    scan = "SELECT count(name), count(plaintext), count(token), count(aes)"
    samples = bench.take_turns(
        f"{keys:,} keys",
        {
            key: partial(bench.seconds, f"{scan}, count({expression}) FROM under_keys")
            for key, expression in expressions.items()
        },
    )
    works = []
    for function in ("token_encrypt_text", "token_decrypt_text"):
        ways = {OURS: samples[function, OURS], NOOP: samples["", NOOP], PGCRYPTO: samples[function, PGCRYPTO]}
        costs = {way: each(net(taken, samples["", OURS]), rows) for way, taken in ways.items()}
        works.append(Work(function, "µs", costs, f"rows under {keys:,} keys"))
    return works
