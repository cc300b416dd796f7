-- sql/crypto/generichash.sql
BEGIN;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(29);

-- libsodium, test/default/generichash.c, the one of its vectors (i = 31) that is 32 bytes.
CREATE TEMP TABLE v AS
SELECT
    '\x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f'::bytea AS key,
    '\x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e'::bytea AS message,
    '\xa9f51bb7f6a3e9cdb96ce652c07d177962a348a9cced1b92f948187e59b44463'::bytea AS hash,
    derive_key(7) AS derived;

SELECT is(crypto_generichash(message, key), hash, 'libsodium''s vector') FROM v;
SELECT is(crypto_generichash(message => message, key => key), hash, 'with named arguments') FROM v;
-- RFC 7693 has no vector of 32 bytes; these are pgsodium 3.1.9's answers.
SELECT is(
    crypto_generichash('abc'), '\xbddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319',
    'pgsodium''s answer without a key'
);
SELECT is(
    crypto_generichash(
        '\x63297509832e986f0fbd9914794fef36', '\xa2f6d4069c07f2f21b47559375f3ec51'::bytea
    ),
    '\x43fbc068dfaf83ace587e9ab1e3c4fdfc3f85ea92a71f99ad9549c24cd68e0ee', 'pgsodium''s answer with 16 bytes of key'
);
SELECT is(
    crypto_generichash(
        '\x1fbed0abb58a5bad048fa47638000176',
        '\xe1054078ec977c5d0a9c5d6d04ca446cde7379110e7010f9ee943af130bd9f392ee33158c224d4f069f1370e83c83253'
        '8dd39d1a5e452aab7e473062e5ce8d8b'::bytea
    ),
    '\x68e2e4c0d0357665b2f6ce200aa988428a7ec2edaa8a1f93a29566fd9923d69e', 'pgsodium''s answer with 64 bytes of key'
);
SELECT is(
    crypto_generichash('m', 4, 'context1'),
        '\xf1312d988134befdd3fbf9464e2fbcc8d1909135bbd7e96c4e5b52c46d1e2b26',
    'pgsodium''s answer by number'
);

-- No key is NULL, as key and as number of one; it is not a key of zeros.
SELECT is(crypto_generichash(message, NULL::bytea), crypto_generichash(message), 'NULL is no key') FROM v;
SELECT is(crypto_generichash(message, NULL::bigint, 'pgsodium'), crypto_generichash(message), 'NULL is no number')
FROM v;
SELECT isnt(
    crypto_generichash(message, decode(repeat('00', 32), 'hex')), crypto_generichash(message), 'zeros are a key'
) FROM v;

SELECT is(
    crypto_generichash(message, id, context), crypto_generichash(message, derive_key(id, 32, context)),
    format('number %s, context %s', id, context)
) FROM v, ids;
SELECT is(crypto_generichash(message, 7), crypto_generichash(message, derived), 'the default context') FROM v;
SELECT is(
    crypto_generichash(message => message, key => 7, context => 'pgsodium'), crypto_generichash(message, derived),
    'by number, with named arguments'
) FROM v;
SELECT is(
    array_agg(DISTINCT length(hash)), '{32}', 'any message has a hash of 32 bytes'
) FROM messages, LATERAL (VALUES (crypto_generichash(m)), (crypto_generichash(m, 7))) AS hashes (hash);
SELECT is(count(DISTINCT crypto_generichash(m)), count(*), 'and no two have the same') FROM messages;

SELECT refuses(call) FROM (VALUES
    ('crypto_generichash(message, substr(key, 1, 15))'),
    ('crypto_generichash(message, key || key || ''\x00'')'),
    ('crypto_generichash(message, ''''::bytea)'),
    ('crypto_generichash(message, 7, ''short'')'),
    ('crypto_generichash(message, 7, ''too long.'')'),
    ('crypto_generichash(NULL)'),
    ('crypto_generichash(NULL, key)'),
    ('crypto_generichash(NULL, 7)'),
    ('crypto_generichash(message, 7, NULL)')
) AS calls (call);

SELECT generates('crypto_generichash_keygen()', 32);

SELECT finish();
ROLLBACK;
