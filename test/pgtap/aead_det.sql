-- sql/crypto/aead_det.sql
BEGIN;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(68);

-- Nobody has published vectors of this construction: these are pgsodium 3.1.9's answers.
CREATE TEMP TABLE v AS
SELECT
    '\x98f9c11761ff2433955e3b441f8ccf74353e9621161b85d0385831793f2f1bd3'::bytea AS key,
    '\x25783ab7d5479db0ed8e5f286fec103c'::bytea AS nonce,
    '\x2e36b3607683e72377eef68c9d17822432963118'::bytea AS additional,
    '\xd27898cff0f49978081d5b18c28ef6428e010c555c976e4c869a57473c50e05cb02673a3c0a63afc3ca1dbc4d938423a'
    '607dbbede95d77a9d6d8828be33a3dc9860e53316da9d99d8679e874ae4dc910b169cd8b4fa07694b7dd0fc079ff93b1'
    '8e2359aa'::bytea AS message,
    '\x4ae4915c13ea3990b204a675a08f21cfdc8f24f5991c613b4200bf982317067fe928322a012394cf4c743ac8aff315ad'
    'f49c91c877c4083e2fdb31d57c11e309ccd8df2b2d3c97514d4d71577e14f1eb0f7a67f8e1ca507405e526c2bfe3791f'
    '0df450031f03640ed7593a8f21ec7d3cac07b159136ac36ad297d363fec29e0275524040'::bytea AS ciphertext,
    derive_key(7) AS derived;

SELECT is(crypto_aead_det_encrypt(message, additional, key, nonce), ciphertext, 'pgsodium''s answer') FROM v;
SELECT is(crypto_aead_det_decrypt(ciphertext, additional, key, nonce), message, 'pgsodium''s answer opens') FROM v;
SELECT is(
    crypto_aead_det_encrypt(
        '\xff195afaf8966c85dcd0ff85033f2c0fd28f6fe63afdfc8f4ea54155a9cdfc29', '',
        '\xb1bad0800270940414fcbba73a910a8f3d84f6de7f8ef1354d354c3a5fbd8ee4'::bytea
    ),
    '\x80d5047660e9767775bf9dfb5e3bf8931a9c133d96c0c9b936d9951b7f3cb62b2fa8e109a811bb9578266d872b48ae84'
    '4001a2653d47547f474b58854d79e102',
    'pgsodium''s answer: one block, no nonce'
);
SELECT is(
    crypto_aead_det_encrypt('', NULL,
        '\x08e01f22c693c0d2b41a25f5e2d333187787d8731cef43c178688e499aab30bb'::bytea),
    '\x70d45f41d9df3ea059a7ea0c91ebf7faaed7d1ee7e945c6b88b4321198b27d6e',
    'pgsodium''s answer: nothing at all'
);
SELECT is(
    crypto_aead_det_encrypt('', '', 83, 'pgsodium', '\x2f64c243b70e34d7f2e075feb48febe2'),
    '\x25a891cac847a1c3f404798bbf0866c61ecadf2f96a58f0ec92d171cf1147676',
    'pgsodium''s answer: by number, with a nonce'
);
SELECT is(
    crypto_aead_det_decrypt(
        ciphertext => crypto_aead_det_encrypt(
            message => message, additional => additional, key => key, nonce => nonce
        ),
        additional => additional,
        key => key,
        nonce => nonce
    ),
    message, 'with named arguments'
) FROM v;
SELECT is(
    crypto_aead_det_decrypt(
        message => crypto_aead_det_encrypt(
            message => message, additional => additional, key_id => 7, context => 'context1', nonce => nonce
        ),
        additional => additional,
        key_id => 7,
        context => 'context1',
        nonce => nonce
    ),
    message, 'by number, with named arguments'
) FROM v;
SELECT round_trips(
    'crypto_aead_det_encrypt(m, additional, key)', 'crypto_aead_det_decrypt(c, additional, key)', 32
);
SELECT round_trips(
    'crypto_aead_det_encrypt(m, NULL, 7, ''pgsodium'', nonce)',
    'crypto_aead_det_decrypt(c, '''', 7, ''pgsodium'', nonce)', 32
);

-- Additional data is authenticated, whatever it is; NULL is none, as '' is. No nonce is not a nonce of zeros.
SELECT ok(
    crypto_aead_det_decrypt(crypto_aead_det_encrypt(message, m, key), m, key) = message,
    'additional data: ' || name
) FROM v, messages;
SELECT is(
    crypto_aead_det_encrypt(message, NULL, key), crypto_aead_det_encrypt(message, '', key),
    'NULL as additional data is none'
) FROM v;
SELECT is(
    crypto_aead_det_encrypt(message, additional, key, NULL), crypto_aead_det_encrypt(message, additional, key),
    'NULL as nonce is none'
) FROM v;
SELECT isnt(
    crypto_aead_det_encrypt(message, additional, key), crypto_aead_det_encrypt(message, additional, key, zeros),
    'no nonce is not a nonce of zeros'
) FROM v, decode(repeat('00', 16), 'hex') AS zeros;

-- A number stands for its derived key.
SELECT is(
    crypto_aead_det_encrypt(message, additional, id, context),
    crypto_aead_det_encrypt(message, additional, derive_key(id, 32, context)),
    format('number %s, context %s', id, context)
) FROM v, ids;
SELECT is(
    crypto_aead_det_encrypt(message, additional, 7), crypto_aead_det_encrypt(message, additional, derived),
    'the default context'
) FROM v;
SELECT is(
    crypto_aead_det_decrypt(crypto_aead_det_encrypt(message, additional, derived), additional, 7), message,
    'opens by number'
) FROM v;

-- Nothing opens but what was made.
SELECT refuses_altered('ciphertext', 'crypto_aead_det_decrypt(x, additional, key, nonce)');
SELECT refuses_altered('additional', 'crypto_aead_det_decrypt(ciphertext, x, key, nonce)');
SELECT refuses_altered('nonce', 'crypto_aead_det_decrypt(ciphertext, additional, key, x)');
SELECT refuses_altered('key', 'crypto_aead_det_decrypt(ciphertext, additional, x, nonce)');
SELECT refuses(call) FROM (VALUES
    ('crypto_aead_det_decrypt(ciphertext, additional, key)'),
    ('crypto_aead_det_decrypt(ciphertext, NULL, key, nonce)'),
    ('crypto_aead_det_decrypt('''', additional, key)'),
    ('crypto_aead_det_decrypt(crypto_aead_det_encrypt(message, '''', 7), '''', 8)'),
    ('crypto_aead_det_decrypt(crypto_aead_det_encrypt(message, '''', 7), '''', 7, ''context1'')'),

    ('crypto_aead_det_encrypt(message, additional, key || ''\x00'')'),
    ('crypto_aead_det_encrypt(message, additional, substr(key, 2))'),
    ('crypto_aead_det_encrypt(message, additional, key, nonce || ''\x00'')'),
    ('crypto_aead_det_encrypt(message, additional, key, substr(nonce, 2))'),
    ('crypto_aead_det_encrypt(message, additional, key, '''')'),
    ('crypto_aead_det_encrypt(message, additional, 7, ''short'')'),
    ('crypto_aead_det_encrypt(message, additional, 7, ''too long.'')'),

    ('crypto_aead_det_encrypt(NULL, additional, key)'),
    ('crypto_aead_det_encrypt(message, additional, NULL::bytea)'),
    ('crypto_aead_det_encrypt(NULL, additional, 7)'),
    ('crypto_aead_det_encrypt(message, additional, NULL::bigint)'),
    ('crypto_aead_det_encrypt(message, additional, 7, NULL)'),
    ('crypto_aead_det_decrypt(NULL, additional, key)'),
    ('crypto_aead_det_decrypt(ciphertext, additional, NULL::bytea)'),
    ('crypto_aead_det_decrypt(NULL, additional, 7)'),
    ('crypto_aead_det_decrypt(ciphertext, additional, NULL::bigint)'),
    ('crypto_aead_det_decrypt(ciphertext, additional, 7, NULL)')
) AS calls (call);

SELECT generates('crypto_aead_det_keygen()', 32);
SELECT generates('crypto_aead_det_noncegen()', 16);

SELECT finish();
ROLLBACK;
