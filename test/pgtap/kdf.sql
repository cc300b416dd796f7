-- sql/crypto/kdf.sql
BEGIN;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(25);

-- libsodium, test/default/kdf.c.
CREATE TEMP TABLE v AS
SELECT
    '\x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f'::bytea AS key,
    'KDF test'::bytea AS context;

SELECT is(
    crypto_kdf_derive_from_key(size, id, context, key), subkey,
    format('libsodium''s vector: %s bytes, key %s', size, id)
) FROM v, (VALUES
    (64, 0,
        '\xa0c724404728c8bb95e5433eb6a9716171144d61efb23e74b873fcbeda51d8071b5d70aae12066dfc94ce943f145aa17'
        '6c055040c3dd73b0a15e36254d450614'::bytea),
    (64, 9,
        '\x70f9b83e463fb441e7a4c43275125cd5b19d8e2e4a5d179a39f5db10bbce745a199104563d308cf8d4c6b27bbb759ded'
        '232f5bdb7c367dd632a9677320dfe416'),
    (16, 16, '\xa529216624ef9161e4cf117272aafff2'),
    (32, 32, '\x154b291f11196737f8b7f491e4ca11764e0227d34f94295408a869f007aa8618'),
    (63, 63,
        '\x02f9cbdb10759314515b01379c474ad74a1b575137bd3949776dbcfc3e18060cb13ee1f6dcf86035768fc7be63e01de3'
        '21cacbfade209900dd94273fd8e176')
) AS vectors (size, id, subkey);
SELECT is(
    crypto_kdf_derive_from_key(subkey_size => 32, subkey_id => 1, context => context, primary_key => key),
    crypto_kdf_derive_from_key(32, 1, context, key), 'with named arguments'
) FROM v;

-- Each difference makes another key, of the size asked for.
SELECT is(count(DISTINCT subkey), 6::bigint, 'size, number, context and key each make another key')
FROM v, LATERAL (VALUES
    (crypto_kdf_derive_from_key(32, 1, context, key)),
    (substr(crypto_kdf_derive_from_key(33, 1, context, key), 1, 32)),
    (crypto_kdf_derive_from_key(32, -1, context, key)),
    (crypto_kdf_derive_from_key(32, 4294967297, context, key)),
    (crypto_kdf_derive_from_key(32, 1, 'KDF tesT', key)),
    (crypto_kdf_derive_from_key(32, 1, context, set_byte(key, 31, 0)))
) AS subkeys (subkey);
SELECT is(
    array_agg(length(crypto_kdf_derive_from_key(size, 1, context, key)) ORDER BY size), array_agg(size ORDER BY size),
    'as long as asked for: 16 to 64 bytes'
) FROM v, generate_series(16, 64) AS size;

SELECT refuses(call) FROM (VALUES
    ('crypto_kdf_derive_from_key(15, 1, context, key)'),
    ('crypto_kdf_derive_from_key(65, 1, context, key)'),
    ('crypto_kdf_derive_from_key(0, 1, context, key)'),
    ('crypto_kdf_derive_from_key(-1, 1, context, key)'),
    ('crypto_kdf_derive_from_key(1073741824, 1, context, key)'),
    ('crypto_kdf_derive_from_key(2147483647, 1, context, key)'),
    ('crypto_kdf_derive_from_key(9223372036854775807, 1, context, key)'),
    ('crypto_kdf_derive_from_key(32, 1, ''short'', key)'),
    ('crypto_kdf_derive_from_key(32, 1, ''too long.'', key)'),
    ('crypto_kdf_derive_from_key(32, 1, context, substr(key, 2))'),
    ('crypto_kdf_derive_from_key(32, 1, context, key || ''\x00'')'),
    ('crypto_kdf_derive_from_key(NULL, 1, context, key)'),
    ('crypto_kdf_derive_from_key(32, NULL, context, key)'),
    ('crypto_kdf_derive_from_key(32, 1, NULL, key)'),
    ('crypto_kdf_derive_from_key(32, 1, context, NULL::bytea)')
) AS calls (call);

SELECT generates('crypto_kdf_keygen()', 32);

SELECT finish();
ROLLBACK;
