-- sql/crypto/auth.sql
BEGIN;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(103);

-- RFC 4231, test cases 1 and 2. HMAC fills a short key up with zeros, so a longer one with them is the same.
CREATE TEMP TABLE v AS
SELECT
    'Jefe'::bytea || decode(repeat('00', 28), 'hex') AS key,
    'what do ya want for nothing?'::bytea AS message,
    '\x5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843'::bytea AS sha256,
    '\x164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fd'
    'caeab1a34d4a6b4b636e070a38bce737'::bytea AS sha512,
    '\x164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554'::bytea AS mac,
    derive_key(7) AS derived;

SELECT is(crypto_auth_hmacsha256(message, key), sha256, 'HMAC-SHA-256: the RFC''s test case 2') FROM v;
SELECT is(crypto_auth_hmacsha512(message, key), sha512, 'HMAC-SHA-512: the RFC''s test case 2') FROM v;
-- The same case is in libsodium's test/default/auth.c.
SELECT is(crypto_auth(message, key), mac, 'crypto_auth: half of the latter') FROM v;
SELECT is(
    crypto_auth_hmacsha256('Hi There', key),
        '\xb0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7',
    'HMAC-SHA-256: the RFC''s test case 1'
) FROM decode(rpad(repeat('0b', 20), 64, '0'), 'hex') AS key;
SELECT is(
    crypto_auth_hmacsha512('Hi There', key),
    '\x87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4'
    'be9d914eeb61f1702e696c203a126854',
    'HMAC-SHA-512: the RFC''s test case 1'
) FROM decode(rpad(repeat('0b', 20), 64, '0'), 'hex') AS key;

-- Named arguments: the tag of crypto_auth is a mac, its key a key; of the others a hash and a secret.
SELECT ok(
    crypto_auth_verify(mac => crypto_auth(message => message, key => key), message => message, key => key),
    'crypto_auth, with named arguments'
) FROM v;
SELECT ok(
    crypto_auth_verify(
        mac => crypto_auth(message => message, key_id => 7, context => 'context1'),
        message => message, key_id => 7, context => 'context1'
    ), 'crypto_auth by number, with named arguments'
) FROM v;
SELECT ok(
    crypto_auth_hmacsha256_verify(
        hash => crypto_auth_hmacsha256(message => message, secret => key), message => message, secret => key
    ), 'HMAC-SHA-256, with named arguments'
) FROM v;
SELECT ok(
    crypto_auth_hmacsha256_verify(
        hash => crypto_auth_hmacsha256(message => message, key_id => 7, context => 'context1'),
        message => message, key_id => 7, context => 'context1'
    ), 'HMAC-SHA-256 by number, with named arguments'
) FROM v;
SELECT ok(
    crypto_auth_hmacsha512_verify(
        hash => crypto_auth_hmacsha512(message => message, secret => key), message => message, secret => key
    ), 'HMAC-SHA-512, with named arguments'
) FROM v;
SELECT ok(
    crypto_auth_hmacsha512_verify(
        hash => crypto_auth_hmacsha512(message => message, key_id => 7, context => 'context1'),
        message => message, key_id => 7, context => 'context1'
    ), 'HMAC-SHA-512 by number, with named arguments'
) FROM v;

-- Any message has a tag, and it verifies.
SELECT ok(
    crypto_auth_verify(crypto_auth(m, key), m, key)
    AND crypto_auth_hmacsha256_verify(crypto_auth_hmacsha256(m, key), m, key)
    AND crypto_auth_hmacsha512_verify(crypto_auth_hmacsha512(m, key), m, key)
    AND crypto_auth_verify(crypto_auth(m, 7), m, 7)
    AND crypto_auth_hmacsha256_verify(crypto_auth_hmacsha256(m, 7), m, 7)
    AND crypto_auth_hmacsha512_verify(crypto_auth_hmacsha512(m, 7), m, 7),
    'the tags verify: ' || name
) FROM v, messages;

-- A number stands for its derived key.
SELECT is(
    ARRAY[
        crypto_auth(message, id, context),
        crypto_auth_hmacsha256(message, id, context),
        crypto_auth_hmacsha512(message, id, context)
    ],
    ARRAY[
        crypto_auth(message, derive_key(id, 32, context)),
        crypto_auth_hmacsha256(message, derive_key(id, 32, context)),
        crypto_auth_hmacsha512(message, derive_key(id, 32, context))
    ],
    format('number %s, context %s', id, context)
) FROM v, ids;
SELECT is(
    ARRAY[crypto_auth(message, 7), crypto_auth_hmacsha256(message, 7), crypto_auth_hmacsha512(message, 7)],
    ARRAY[
        crypto_auth(message, derived),
        crypto_auth_hmacsha256(message, derived),
        crypto_auth_hmacsha512(message, derived)
    ], 'the default context'
) FROM v;
SELECT is(
    ARRAY[
        crypto_auth_verify(crypto_auth(message, derived), message, 7),
        crypto_auth_hmacsha256_verify(crypto_auth_hmacsha256(message, derived), message, 7),
        crypto_auth_hmacsha512_verify(crypto_auth_hmacsha512(message, derived), message, 7)
    ],
    '{t,t,t}', 'the default context to verify'
) FROM v;

-- Nothing else verifies, and that is false, not an error.
SELECT is(
    array_agg(change) FILTER (WHERE crypto_auth_verify(x, message, key) IS DISTINCT FROM false), NULL,
    'crypto_auth: no changed tag verifies'
) FROM v, flips(mac);
SELECT is(
    array_agg(change) FILTER (WHERE crypto_auth_hmacsha256_verify(x, message, key) IS DISTINCT FROM false), NULL,
    'HMAC-SHA-256: no changed tag verifies'
) FROM v, flips(sha256);
SELECT is(
    array_agg(change) FILTER (WHERE crypto_auth_hmacsha512_verify(x, message, key) IS DISTINCT FROM false), NULL,
    'HMAC-SHA-512: no changed tag verifies'
) FROM v, flips(sha512);
SELECT is(
    array_agg(change) FILTER (
        WHERE crypto_auth_verify(mac, x, key)
            OR crypto_auth_hmacsha256_verify(sha256, x, key)
            OR crypto_auth_hmacsha512_verify(sha512, x, key)
    ), NULL,
    'no changed message verifies'
) FROM v, alterations(message);
SELECT is(
    array_agg(change) FILTER (
        WHERE crypto_auth_verify(mac, message, x)
            OR crypto_auth_hmacsha256_verify(sha256, message, x)
            OR crypto_auth_hmacsha512_verify(sha512, message, x)
    ), NULL,
    'no changed key verifies'
) FROM v, flips(key);
SELECT is(
    ARRAY[
        crypto_auth_verify(crypto_auth(message, 7), message, 8),
        crypto_auth_hmacsha256_verify(crypto_auth_hmacsha256(message, 7), message, 8),
        crypto_auth_hmacsha512_verify(crypto_auth_hmacsha512(message, 7), message, 7, 'context1')
    ],
    '{f,f,f}', 'no other number or context verifies'
) FROM v;

-- All three take the same arguments: F is the function, T a tag of its length.
SELECT refuses(replace(replace(call, 'F', name), 'T', tag))
FROM (VALUES
    ('crypto_auth', 'mac'), ('crypto_auth_hmacsha256', 'sha256'), ('crypto_auth_hmacsha512', 'sha512')
) AS functions (name, tag), (VALUES
    ('F(message, key || ''\x00'')'),
    ('F(message, substr(key, 2))'),
    ('F(message, ''''::bytea)'),
    ('F(message, 7, ''short'')'),
    ('F(message, 7, ''too long.'')'),
    ('F_verify(T || ''\x00'', message, key)'),
    ('F_verify(substr(T, 2), message, key)'),
    ('F_verify('''', message, 7)'),
    ('F_verify(T, message, substr(key, 2))'),
    ('F_verify(T, message, 7, ''short'')'),

    ('F(NULL, key)'),
    ('F(message, NULL::bytea)'),
    ('F(NULL, 7)'),
    ('F(message, NULL::bigint)'),
    ('F(message, 7, NULL)'),
    ('F_verify(NULL, message, key)'),
    ('F_verify(T, NULL, key)'),
    ('F_verify(T, message, NULL::bytea)'),
    ('F_verify(NULL, message, 7)'),
    ('F_verify(T, NULL, 7)'),
    ('F_verify(T, message, NULL::bigint)'),
    ('F_verify(T, message, 7, NULL)')
) AS calls (call);

SELECT generates('crypto_auth_keygen()', 32);
SELECT generates('crypto_auth_hmacsha256_keygen()', 32);
SELECT generates('crypto_auth_hmacsha512_keygen()', 32);

SELECT finish();
ROLLBACK;
