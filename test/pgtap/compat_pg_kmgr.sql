-- sql/compat/pg_kmgr.sql
BEGIN;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(46);

CREATE ROLE pgkeymgr_test_user IN ROLE pgkeymgr_user;
CREATE TEMP TABLE v AS
SELECT *, pg_encrypt('a long text', key) AS data
FROM (VALUES (
    '\x603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4'
    '000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f'::bytea
)) AS keys (key);
GRANT SELECT ON v TO PUBLIC;

-- The list's example: a key is wrapped once, and unwrapped where it is used.
CREATE TEMP TABLE tbl AS SELECT pg_kmgr_wrap(key) AS wrapped, NULL::bytea AS secret_column FROM v;
UPDATE tbl SET secret_column = pg_encrypt('user data', pg_kmgr_unwrap(wrapped));
SELECT is(pg_decrypt(secret_column, pg_kmgr_unwrap(wrapped)), 'user data', 'the list''s example') FROM tbl;
SELECT is(length(secret_column), 32 + 16 + 16, 'tag, IV and a block') FROM tbl;

SELECT round_trips('pg_kmgr_wrap(m)', 'pg_kmgr_unwrap(c)', 57);
SELECT is(pg_kmgr_unwrap(wrapped => pg_kmgr_wrap(secret => key)), key, 'with named arguments') FROM v;
SELECT is(unwrap_key(pg_kmgr_wrap(key)), key, 'it is wrap_key') FROM v;
SELECT is(pg_kmgr_unwrap(wrap_key(key)), key, 'and unwrap_key') FROM v;
SELECT generates('pg_kmgr_wrap(''secret'')', 6 + 57);
SELECT is(pg_kmgr_wrap(NULL), NULL, 'pg_kmgr_wrap of NULL');
SELECT is(pg_kmgr_unwrap(NULL), NULL, 'pg_kmgr_unwrap of NULL');

-- The output of openssl enc -aes-256-cbc and openssl dgst -hmac for this key, this IV and this text.
SELECT is(
    pg_decrypt(
        '\x4403b5148def8f53d654884150ee9282e4050975b9978dcd3f5ed3e73ba8a7a9000102030405060708090a0b0c0d0e0f'
        '7d01fe2c605c4caaf02b8b14065ae3f6a6aef5eb6db612ac524778710d9fea05'::bytea, key
    ), 'a text of 27 bytes, in UTF8', 'a known answer'
) FROM v;

-- Any length: padded to the next block.
SELECT is(pg_decrypt(pg_encrypt(text, key), key), text, format('%s bytes', octet_length(text)))
FROM v, (VALUES (''), ('a'), ('Grüße, 世界 🔑'), (repeat('a', 15)), (repeat('a', 16)), (repeat('a', 17)),
    (repeat('ü', 500000))) AS texts (text);
SELECT is(
    array_agg(pg_decrypt(pg_encrypt(repeat('x', n), key), key) = repeat('x', n)
        AND length(pg_encrypt(repeat('x', n), key)) = 48 + 16 * (n / 16 + 1)),
    array_fill(true, '{100}'), '0 to 99 bytes'
) FROM v, generate_series(0, 99) AS n;
SELECT is(pg_decrypt(data => pg_encrypt(data => 'text', key => key), key => key), 'text', 'with named arguments')
FROM v;
SELECT is(pg_encrypt(NULL, key), NULL, 'pg_encrypt of NULL') FROM v;
SELECT is(pg_decrypt(NULL, key), NULL, 'pg_decrypt of NULL') FROM v;
SELECT is(count(DISTINCT substr(pg_encrypt('text', key), 33, 16)), 1000::bigint, 'a new IV each time')
FROM v, generate_series(1, 1000);
SELECT is(
    substr(data, 1, 32), crypto_auth_hmacsha256(substr(data, 33), substr(key, 33)),
    'the tag is HMAC-SHA-256 of all the rest under the second half of the key'
) FROM v;

SELECT refuses_altered('data', 'pg_decrypt(x, key)');
SELECT refuses_altered('key', 'pg_decrypt(data, x)');
SELECT refuses(call) FROM (VALUES
    ('pg_decrypt('''', key)'),
    ('pg_decrypt(''text'', key)'),
    ('pg_decrypt(data || decode(repeat(''00'', 16), ''hex''), key)'),
    ('pg_decrypt(substr(data, 1, 48), key)'),
    ('pg_encrypt(''text'', '''')'),
    ('pg_encrypt(''text'', substr(key, 1, 32))'),
    ('pg_encrypt(''text'', substr(key, 2))'),
    ('pg_encrypt(''text'', key || ''\x00'')'),
    ('pg_encrypt(''text'', NULL)'),
    ('pg_decrypt(data, NULL)'),
    ('pg_decrypt(data, '''')'),
    ('pg_kmgr_unwrap(''text'')'),
    ('pg_kmgr_unwrap('''')')
) AS calls (call);

SELECT is(as_role('pgkeymgr_test_user', 'pg_decrypt(pg_encrypt(''text'', key), pg_kmgr_unwrap(pg_kmgr_wrap(key)))'),
    'text', 'a user may');

SELECT finish();
ROLLBACK;
