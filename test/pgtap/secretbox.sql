-- sql/crypto/secretbox.sql
BEGIN;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(59);

-- "Cryptography in NaCl", section 10; libsodium, test/default/secretbox.c.
CREATE TEMP TABLE v AS
SELECT
    '\x1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389'::bytea AS key,
    '\x69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37'::bytea AS nonce,
    '\xbe075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d45e6c6129'
    '6cdc3c01233561f41db66cce314adb310e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde'
    '048977eb48f59ffd4924ca1c60902e52f0a089bc76897040e082f937763848645e0705'::bytea AS message,
    '\xf3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186a'
    'c0dfc17c98dce87b4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae'
    '90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74'
    'e355a5'::bytea AS ciphertext,
    derive_key(7) AS derived;

SELECT is(crypto_secretbox(message, nonce, key), ciphertext, 'NaCl''s vector') FROM v;
SELECT is(crypto_secretbox_open(ciphertext, nonce, key), message, 'NaCl''s vector opens') FROM v;
SELECT is(
    crypto_secretbox_open(
        ciphertext => crypto_secretbox(message => message, nonce => nonce, key => key),
        nonce => nonce,
        key => key
    ),
    message, 'with named arguments'
) FROM v;
SELECT is(
    crypto_secretbox_open(
        message => crypto_secretbox(message => message, nonce => nonce, key_id => 7, context => 'context1'),
        nonce => nonce,
        key_id => 7,
        context => 'context1'
    ),
    message, 'by number, with named arguments'
) FROM v;
SELECT round_trips('crypto_secretbox(m, nonce, key)', 'crypto_secretbox_open(c, nonce, key)', 16);
SELECT round_trips('crypto_secretbox(m, nonce, 7)', 'crypto_secretbox_open(c, nonce, 7)', 16);

-- A number stands for its derived key.
SELECT is(
    crypto_secretbox(message, nonce, id, context),
    crypto_secretbox(message, nonce, derive_key(id, 32, context)),
    format('number %s, context %s', id, context)
) FROM v, ids;
SELECT is(crypto_secretbox(message, nonce, 7), crypto_secretbox(message, nonce, derived), 'the default context')
FROM v;
SELECT is(crypto_secretbox_open(crypto_secretbox(message, nonce, derived), nonce, 7), message, 'opens by number')
FROM v;

-- Nothing opens but what was made.
SELECT refuses_altered('ciphertext', 'crypto_secretbox_open(x, nonce, key)');
SELECT refuses_altered('nonce', 'crypto_secretbox_open(ciphertext, x, key)');
SELECT refuses_altered('key', 'crypto_secretbox_open(ciphertext, nonce, x)');
SELECT refuses(call) FROM (VALUES
    ('crypto_secretbox_open(crypto_secretbox(message, nonce, 7), nonce, 8)'),
    ('crypto_secretbox_open(crypto_secretbox(message, nonce, 7), nonce, 7, ''context1'')'),
    ('crypto_secretbox_open(message, nonce, 7)'),
    ('crypto_secretbox_open('''', nonce, key)'),

    ('crypto_secretbox(message, nonce || ''\x00'', key)'),
    ('crypto_secretbox(message, substr(nonce, 2), key)'),
    ('crypto_secretbox(message, '''', key)'),
    ('crypto_secretbox(message, nonce, key || ''\x00'')'),
    ('crypto_secretbox(message, nonce, substr(key, 2))'),
    ('crypto_secretbox(message, nonce, ''''::bytea)'),
    ('crypto_secretbox(message, nonce || ''\x00'', 7)'),
    ('crypto_secretbox(message, nonce, 7, ''short'')'),
    ('crypto_secretbox(message, nonce, 7, ''too long.'')'),

    ('crypto_secretbox(NULL, nonce, key)'),
    ('crypto_secretbox(message, NULL, key)'),
    ('crypto_secretbox(message, nonce, NULL::bytea)'),
    ('crypto_secretbox(NULL, nonce, 7)'),
    ('crypto_secretbox(message, NULL, 7)'),
    ('crypto_secretbox(message, nonce, NULL::bigint)'),
    ('crypto_secretbox(message, nonce, 7, NULL)'),
    ('crypto_secretbox_open(NULL, nonce, key)'),
    ('crypto_secretbox_open(ciphertext, NULL, key)'),
    ('crypto_secretbox_open(ciphertext, nonce, NULL::bytea)'),
    ('crypto_secretbox_open(NULL, nonce, 7)'),
    ('crypto_secretbox_open(ciphertext, NULL, 7)'),
    ('crypto_secretbox_open(ciphertext, nonce, NULL::bigint)'),
    ('crypto_secretbox_open(ciphertext, nonce, 7, NULL)')
) AS calls (call);

SELECT generates('crypto_secretbox_keygen()', 32);
SELECT generates('crypto_secretbox_noncegen()', 24);

SELECT finish();
ROLLBACK;
