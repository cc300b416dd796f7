-- sql/crypto/shorthash.sql
BEGIN;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(24);

-- Aumasson and Bernstein, "SipHash: a fast short-input PRF", appendix A: a129ca6149be45e5, little-endian.
CREATE TEMP TABLE v AS
SELECT
    '\x000102030405060708090a0b0c0d0e0f'::bytea AS key,
    '\x000102030405060708090a0b0c0d0e'::bytea AS message,
    '\xe545be4961ca29a1'::bytea AS hash,
    derive_key(7, 16) AS derived;

SELECT is(crypto_shorthash(message, key), hash, 'the paper''s vector') FROM v;
SELECT is(crypto_shorthash(message => message, key => key), hash, 'with named arguments') FROM v;
-- libsodium, test/default/shorthash.c, the first of its vectors.
SELECT is(crypto_shorthash('', key), '\x310e0edd47db6f72', 'libsodium''s vector of nothing') FROM v;

-- Here the derived key of a number is 16 bytes long, which is not the first half of that of 32.
SELECT is(
    crypto_shorthash(message, id, context), crypto_shorthash(message, derive_key(id, 16, context)),
    format('number %s, context %s', id, context)
) FROM v, ids;
SELECT is(crypto_shorthash(message, 7), crypto_shorthash(message, derived), 'the default context') FROM v;
SELECT is(
    crypto_shorthash(message => message, key => 7, context => 'pgsodium'), crypto_shorthash(message, derived),
    'by number, with named arguments'
) FROM v;
SELECT is(
    array_agg(DISTINCT length(short)), '{8}', 'any message has a hash of 8 bytes'
) FROM v, messages, LATERAL (VALUES (crypto_shorthash(m, key)), (crypto_shorthash(m, 7))) AS hashes (short);
SELECT is(count(DISTINCT crypto_shorthash(m, key)), count(*), 'and no two have the same') FROM v, messages;

SELECT refuses(call) FROM (VALUES
    ('crypto_shorthash(message, substr(key, 2))'),
    ('crypto_shorthash(message, key || ''\x00'')'),
    ('crypto_shorthash(message, ''''::bytea)'),
    ('crypto_shorthash(message, 7, ''short'')'),
    ('crypto_shorthash(message, 7, ''too long.'')'),
    ('crypto_shorthash(NULL, key)'),
    ('crypto_shorthash(message, NULL::bytea)'),
    ('crypto_shorthash(NULL, 7)'),
    ('crypto_shorthash(message, NULL::bigint)'),
    ('crypto_shorthash(message, 7, NULL)')
) AS calls (call);

SELECT generates('crypto_shorthash_keygen()', 16);

SELECT finish();
ROLLBACK;
