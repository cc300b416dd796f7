-- sql/crypto/aead_ietf.sql
BEGIN;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(66);

-- RFC 8439, section 2.8.2.
CREATE TEMP TABLE v AS
SELECT
    '\x808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f'::bytea AS key,
    '\x070000004041424344454647'::bytea AS nonce,
    '\x50515253c0c1c2c3c4c5c6c7'::bytea AS additional,
    'Ladies and Gentlemen of the class of ''99: If I could offer you only one tip for the future, '
    'sunscreen would be it.'::bytea AS message,
    '\xd31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b'
    '1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc'
    '3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691'::bytea AS ciphertext,
    derive_key(7) AS derived;

SELECT is(crypto_aead_ietf_encrypt(message, additional, nonce, key), ciphertext, 'the RFC''s vector') FROM v;
SELECT is(crypto_aead_ietf_decrypt(ciphertext, additional, nonce, key), message, 'the RFC''s vector opens')
FROM v;
SELECT is(
    crypto_aead_ietf_decrypt(
        message => crypto_aead_ietf_encrypt(
            message => message, additional => additional, nonce => nonce, key => key
        ),
        additional => additional,
        nonce => nonce,
        key => key
    ),
    message, 'with named arguments'
) FROM v;
SELECT is(
    crypto_aead_ietf_decrypt(
        message => crypto_aead_ietf_encrypt(
            message => message, additional => additional, nonce => nonce, key_id => 7, context => 'context1'
        ),
        additional => additional,
        nonce => nonce,
        key_id => 7,
        context => 'context1'
    ),
    message, 'by number, with named arguments'
) FROM v;
SELECT round_trips(
    'crypto_aead_ietf_encrypt(m, additional, nonce, key)',
    'crypto_aead_ietf_decrypt(c, additional, nonce, key)', 16
);
SELECT round_trips(
    'crypto_aead_ietf_encrypt(m, NULL, nonce, 7)', 'crypto_aead_ietf_decrypt(c, '''', nonce, 7)', 16
);

-- Additional data is authenticated, whatever it is; NULL is none, as '' is.
SELECT ok(
    crypto_aead_ietf_decrypt(crypto_aead_ietf_encrypt(message, m, nonce, key), m, nonce, key) = message,
    'additional data: ' || name
) FROM v, messages;
SELECT is(
    crypto_aead_ietf_encrypt(message, NULL, nonce, key), crypto_aead_ietf_encrypt(message, '', nonce, key),
    'NULL as additional data is none'
) FROM v;

-- A number stands for its derived key.
SELECT is(
    crypto_aead_ietf_encrypt(message, additional, nonce, id, context),
    crypto_aead_ietf_encrypt(message, additional, nonce, derive_key(id, 32, context)),
    format('number %s, context %s', id, context)
) FROM v, ids;
SELECT is(
    crypto_aead_ietf_encrypt(message, additional, nonce, 7),
    crypto_aead_ietf_encrypt(message, additional, nonce, derived), 'the default context'
) FROM v;
SELECT is(
    crypto_aead_ietf_decrypt(crypto_aead_ietf_encrypt(message, additional, nonce, derived), additional, nonce, 7),
    message, 'opens by number'
) FROM v;

-- Nothing opens but what was made.
SELECT refuses_altered('ciphertext', 'crypto_aead_ietf_decrypt(x, additional, nonce, key)');
SELECT refuses_altered('additional', 'crypto_aead_ietf_decrypt(ciphertext, x, nonce, key)');
SELECT refuses_altered('nonce', 'crypto_aead_ietf_decrypt(ciphertext, additional, x, key)');
SELECT refuses_altered('key', 'crypto_aead_ietf_decrypt(ciphertext, additional, nonce, x)');
SELECT refuses(call) FROM (VALUES
    ('crypto_aead_ietf_decrypt(ciphertext, NULL, nonce, key)'),
    ('crypto_aead_ietf_decrypt('''', additional, nonce, key)'),
    ('crypto_aead_ietf_decrypt(crypto_aead_ietf_encrypt(message, '''', nonce, 7), '''', nonce, 8)'),
    ('crypto_aead_ietf_decrypt(crypto_aead_ietf_encrypt(message, '''', nonce, 7), '''', nonce, 7, ''other...'')'),

    ('crypto_aead_ietf_encrypt(message, additional, nonce || ''\x00'', key)'),
    ('crypto_aead_ietf_encrypt(message, additional, substr(nonce, 2), key)'),
    ('crypto_aead_ietf_encrypt(message, additional, nonce, key || ''\x00'')'),
    ('crypto_aead_ietf_encrypt(message, additional, nonce, substr(key, 2))'),
    ('crypto_aead_ietf_encrypt(message, additional, nonce || ''\x00'', 7)'),
    ('crypto_aead_ietf_encrypt(message, additional, nonce, 7, ''short'')'),
    ('crypto_aead_ietf_encrypt(message, additional, nonce, 7, ''too long.'')'),

    ('crypto_aead_ietf_encrypt(NULL, additional, nonce, key)'),
    ('crypto_aead_ietf_encrypt(message, additional, NULL, key)'),
    ('crypto_aead_ietf_encrypt(message, additional, nonce, NULL::bytea)'),
    ('crypto_aead_ietf_encrypt(NULL, additional, nonce, 7)'),
    ('crypto_aead_ietf_encrypt(message, additional, NULL, 7)'),
    ('crypto_aead_ietf_encrypt(message, additional, nonce, NULL::bigint)'),
    ('crypto_aead_ietf_encrypt(message, additional, nonce, 7, NULL)'),
    ('crypto_aead_ietf_decrypt(NULL, additional, nonce, key)'),
    ('crypto_aead_ietf_decrypt(ciphertext, additional, NULL, key)'),
    ('crypto_aead_ietf_decrypt(ciphertext, additional, nonce, NULL::bytea)'),
    ('crypto_aead_ietf_decrypt(NULL, additional, nonce, 7)'),
    ('crypto_aead_ietf_decrypt(ciphertext, additional, NULL, 7)'),
    ('crypto_aead_ietf_decrypt(ciphertext, additional, nonce, NULL::bigint)'),
    ('crypto_aead_ietf_decrypt(ciphertext, additional, nonce, 7, NULL)')
) AS calls (call);

SELECT generates('crypto_aead_ietf_keygen()', 32);
SELECT generates('crypto_aead_ietf_noncegen()', 12);

SELECT finish();
ROLLBACK;
