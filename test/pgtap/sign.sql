-- sql/crypto/sign.sql
BEGIN;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(107);

-- RFC 8032: section 7.1, test 3 (and 1, below); section 7.3, the Ed25519ph test.
CREATE TEMP TABLE v AS
SELECT
    '\xc5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7'::bytea AS seed,
    '\xfc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025'::bytea AS public,
    '\xc5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7fc51cd8e6218a1a38da47ed00230f058'
    '0816ed13ba3303ac5deb911548908025'::bytea AS secret,
    '\xaf82'::bytea AS message,
    '\x6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659'
    '4a7c15e9716ed28dc027beceea1ec40a'::bytea AS signature,
    '\x6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659'
    '4a7c15e9716ed28dc027beceea1ec40aaf82'::bytea AS signed,
    '\xec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf'::bytea AS ph_public,
    '\x833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42ec172b93ad5e563bf4932c70e1245034'
    'c35467ef2efd4d64ebf819683467e2bf'::bytea AS ph_secret,
    '\x98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae4131f85042463c2a355a2003d062adf5aa'
    'a10b8c61e636062aaad11c2a26083406'::bytea AS ph_signature,
    crypto_sign_update(crypto_sign_init(), 'abc') AS state;

SELECT is(crypto_sign_seed_new_keypair(seed), ROW(public, secret)::crypto_sign_keypair, 'the RFC''s key pair')
FROM v;
SELECT is(crypto_sign_detached(message, secret), signature, 'the RFC''s signature') FROM v;
SELECT is(crypto_sign(message, secret), signed, 'signature and message') FROM v;
SELECT is(crypto_sign_open(signed, public), message, 'opens') FROM v;
SELECT ok(crypto_sign_verify_detached(signature, message, public), 'verifies') FROM v;
SELECT is(
    crypto_sign_detached('', (crypto_sign_seed_new_keypair(seed)).secret),
    '\xe5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b'
    'd25bf5f0595bbe24655141438e7a100b',
    'the RFC''s signature of the empty message'
) FROM (VALUES (
    '\x9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60'::bytea
)) AS seeds (seed);
SELECT is(crypto_sign_final_create(state, ph_secret), ph_signature, 'the RFC''s Ed25519ph signature') FROM v;
SELECT ok(crypto_sign_final_verify(state, ph_signature, ph_public), 'the RFC''s Ed25519ph signature verifies') FROM v;

SELECT is(
    crypto_sign_open(signed_message => crypto_sign(message => message, key => secret), key => public), message,
    'with named arguments'
) FROM v;
SELECT ok(
    crypto_sign_verify_detached(
        sig => crypto_sign_detached(message => message, key => secret), message => message, key => public
    ), 'detached, with named arguments'
) FROM v;
SELECT ok(
    crypto_sign_final_verify(
        state => parts,
        signature => crypto_sign_final_create(state => parts, key => secret),
        key => public
    ), 'in parts, with named arguments'
) FROM v, crypto_sign_update(state => crypto_sign_init(), message => '\x00') AS parts;
SELECT is(crypto_sign_seed_new_keypair(seed => seed), crypto_sign_seed_new_keypair(seed), 'a seed, by its name')
FROM v;

SELECT round_trips('crypto_sign(m, secret)', 'crypto_sign_open(c, public)', 64);
SELECT ok(
    crypto_sign_verify_detached(crypto_sign_detached(m, secret), m, public), 'detached, it verifies: ' || name
) FROM v, messages;
SELECT ok(
    crypto_sign_final_verify(parts, crypto_sign_final_create(parts, secret), public),
    'as a part, it verifies: ' || name
) FROM v, messages, LATERAL crypto_sign_update(crypto_sign_init(), m) AS parts;

-- New key pairs: each another, and each of use. (OFFSET 0, because (f()).* by itself calls f for each column.)
CREATE TEMP TABLE pairs AS
SELECT (pair).* FROM (SELECT crypto_sign_new_keypair() AS pair FROM generate_series(1, 20) OFFSET 0) AS new;
SELECT is(count(DISTINCT public) + count(DISTINCT secret), 40::bigint, 'no key pair comes twice') FROM pairs;
SELECT is(array_agg(DISTINCT ARRAY[length(public), length(secret)]), '{{32,64}}', 'key pairs of 32 and 64 bytes')
FROM pairs;
SELECT ok(bool_and(crypto_sign_open(crypto_sign(message, p.secret), p.public) = message), 'a new key pair signs')
FROM v, pairs AS p;

-- A message in parts: how it is cut makes no difference, their order does.
SELECT is(length(crypto_sign_init()), 208, 'a state has 208 bytes');
SELECT is(
    substr(crypto_sign_init(), 1, 80),
    '\x08c9bcf367e6096a3ba7ca8485ae67bb2bf894fe72f36e3cf1361d5f3af54fa5d182e6ad7f520e511f6c3e2b8c68059b'
    '6bbd41fbabd9831f79217e1319cde05b00000000000000000000000000000000',
    'it begins as SHA-512''s does'
);
SELECT is(encode(substr(crypto_sign_init(), 81), 'hex'), repeat('00', 128), 'and the rest is zeros');
SELECT is(
    crypto_sign_update(crypto_sign_update(crypto_sign_update(crypto_sign_init(), ''), 'a'), 'bc'), state,
    'other cuts, the same state'
) FROM v;

CREATE TEMP TABLE parts (n integer, part bytea);
INSERT INTO parts VALUES (3, 'c'), (1, 'a'), (2, 'b');
SELECT is(crypto_sign_update_agg(part ORDER BY n), state, 'the aggregate, in order') FROM v, parts GROUP BY state;
SELECT isnt(crypto_sign_update_agg(part ORDER BY n DESC), state, 'the aggregate, in another order')
FROM v, parts GROUP BY state;
SELECT is(
    crypto_sign_update_agg(crypto_sign_update(crypto_sign_init(), 'a'), part ORDER BY n), state,
    'the aggregate that goes on from a state'
) FROM v, parts WHERE n > 1 GROUP BY state;
SELECT is(crypto_sign_update_agg(part), NULL, 'the aggregate over no rows') FROM parts WHERE false;
SELECT is(crypto_sign_update_agg(crypto_sign_init(), part), NULL, 'the other one over no rows')
FROM parts WHERE false;
SELECT is(crypto_sign_update_agg1(NULL, 'abc'), state, 'the first row of the aggregate') FROM v;
SELECT is(crypto_sign_update_agg1(crypto_sign_update(crypto_sign_init(), 'a'), 'bc'), state, 'a later row') FROM v;
SELECT is(crypto_sign_update_agg2(NULL, crypto_sign_init(), 'abc'), state, 'the first row of the other one') FROM v;
SELECT is(
    crypto_sign_update_agg2(crypto_sign_update(crypto_sign_init(), 'a'), crypto_sign_init(), 'bc'), state,
    'a later row of the other one'
) FROM v;

-- A state goes through SQL, so anyone can make one up: it must not make the server read or write elsewhere.
SELECT is(
    array_agg(DISTINCT length(crypto_sign_update(decode(repeat(byte, 208), 'hex'), m))), '{208}',
    'a state that is none does no harm'
) FROM messages, unnest('{00,01,7f,80,ff}'::text[]) AS byte;

-- Nothing else verifies.
SELECT refuses_altered('signed', 'crypto_sign_open(x, public)');
SELECT refuses_altered('public', 'crypto_sign_open(signed, x)');
SELECT is(
    array_agg(change) FILTER (WHERE crypto_sign_verify_detached(x, message, public) IS DISTINCT FROM false), NULL,
    'no changed signature verifies'
) FROM v, flips(signature);
SELECT is(
    array_agg(change) FILTER (WHERE crypto_sign_verify_detached(signature, x, public) IS DISTINCT FROM false), NULL,
    'no changed message verifies'
) FROM v, alterations(message);
SELECT is(
    array_agg(change) FILTER (WHERE crypto_sign_verify_detached(signature, message, x) IS DISTINCT FROM false), NULL,
    'no changed public key verifies'
) FROM v, flips(public);
SELECT is(
    array_agg(change) FILTER (WHERE crypto_sign_final_verify(state, x, ph_public) IS DISTINCT FROM false), NULL,
    'in parts, no changed signature verifies'
) FROM v, flips(ph_signature);
SELECT ok(NOT crypto_sign_final_verify(crypto_sign_init(), ph_signature, ph_public), 'nor does another message')
FROM v;
SELECT ok(NOT crypto_sign_final_verify(state, ph_signature, public), 'nor is it of another key') FROM v;
SELECT ok(
    NOT crypto_sign_verify_detached(ph_signature, 'abc', ph_public), 'a signature in parts is not one of the whole'
) FROM v;

SELECT refuses(call) FROM (VALUES
    ('crypto_sign_open('''', public)'),
    ('crypto_sign_open(signed, ph_public)'),
    ('crypto_sign(message, seed)'),
    ('crypto_sign(message, secret || ''\x00'')'),
    ('crypto_sign_detached(message, substr(secret, 2))'),
    ('crypto_sign_detached(message, '''')'),
    ('crypto_sign_verify_detached(substr(signature, 2), message, public)'),
    ('crypto_sign_verify_detached(signature || ''\x00'', message, public)'),
    ('crypto_sign_verify_detached(signature, message, substr(public, 2))'),
    ('crypto_sign_verify_detached(signature, message, secret)'),
    ('crypto_sign_seed_new_keypair(substr(seed, 2))'),
    ('crypto_sign_seed_new_keypair(secret)'),
    ('crypto_sign_update(substr(state, 2), message)'),
    ('crypto_sign_update(state || ''\x00'', message)'),
    ('crypto_sign_update('''', message)'),
    ('crypto_sign_update_agg1('''', message)'),
    ('crypto_sign_update_agg2(NULL, '''', message)'),
    ('crypto_sign_update_agg2('''', state, message)'),
    ('crypto_sign_final_create(substr(state, 2), secret)'),
    ('crypto_sign_final_create(state, seed)'),
    ('crypto_sign_final_verify(substr(state, 2), ph_signature, ph_public)'),
    ('crypto_sign_final_verify(state, substr(ph_signature, 2), ph_public)'),
    ('crypto_sign_final_verify(state, ph_signature, substr(ph_public, 2))'),

    ('crypto_sign(NULL, secret)'),
    ('crypto_sign(message, NULL)'),
    ('crypto_sign_open(NULL, public)'),
    ('crypto_sign_open(signed, NULL)'),
    ('crypto_sign_detached(NULL, secret)'),
    ('crypto_sign_detached(message, NULL)'),
    ('crypto_sign_verify_detached(NULL, message, public)'),
    ('crypto_sign_verify_detached(signature, NULL, public)'),
    ('crypto_sign_verify_detached(signature, message, NULL)'),
    ('crypto_sign_seed_new_keypair(NULL)'),
    ('crypto_sign_update(NULL, message)'),
    ('crypto_sign_update(state, NULL)'),
    ('crypto_sign_update_agg(NULL::bytea)'),
    ('crypto_sign_update_agg(state, NULL)'),
    ('crypto_sign_update_agg(NULL, message)'),
    ('crypto_sign_update_agg1(state, NULL)'),
    ('crypto_sign_update_agg2(state, state, NULL)'),
    ('crypto_sign_update_agg2(NULL, NULL, message)'),
    ('crypto_sign_final_create(NULL, secret)'),
    ('crypto_sign_final_create(state, NULL)'),
    ('crypto_sign_final_verify(NULL, ph_signature, ph_public)'),
    ('crypto_sign_final_verify(state, NULL, ph_public)'),
    ('crypto_sign_final_verify(state, ph_signature, NULL)')
) AS calls (call);

SELECT generates('crypto_sign_new_seed()', 32);

SELECT finish();
ROLLBACK;
