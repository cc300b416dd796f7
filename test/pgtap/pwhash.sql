-- sql/crypto/pwhash.sql
BEGIN;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(24);

-- libsodium's vectors have other limits than these functions: this is pgsodium 3.1.9's answer.
CREATE TEMP TABLE v AS
SELECT
    '\xe5256e46e23ac21a99bf1ef0d9eb704b977e2c0fd7f14198f7a8e9bff51cc9ad35'::bytea AS password,
    '\xa7bbf3fdf07fadf08a74563afb768402'::bytea AS salt,
    decode(rpad(encode('$argon2id$v=19$m=4882,t=2,p=1$bA81arsiXysd3WbTRzmEOw'
        '$Nm8QBM+7RH1DXo9rvp5cwKEOOOfD2g6JuxlXihoNcpE', 'hex'), 256, '0'), 'hex') AS verifier;

SELECT is(
    crypto_pwhash(password => password, salt => salt),
    '\xa047103170bb145ff3258fe242f5b33724ee4d2413031c7dcf136faaceac27e9', 'pgsodium''s answer, with named arguments'
) FROM v;

-- libsodium, test/default/pwhash_argon2id.c, where the limits are those that the verifier names.
SELECT is(crypto_pwhash_str_verify(verifier, ''), true, 'libsodium''s verifier of the empty password') FROM v;
SELECT is(crypto_pwhash_str_verify(verifier, '\x00'), false, 'which a NUL byte is not') FROM v;
SELECT is(crypto_pwhash_str_verify(verifier, password), false, 'nor is another password') FROM v;
SELECT is(
    array_agg(change) FILTER (WHERE crypto_pwhash_str_verify(overlay(verifier PLACING x FROM 53), '')), NULL,
    'no changed hash verifies'
) FROM v, flips(substr(verifier, 53, 44));
SELECT is(crypto_pwhash_str_verify(decode(repeat('00', 128), 'hex'), ''), false, 'zeros are nobody''s verifier');
SELECT is(crypto_pwhash_str_verify(decode(repeat('ff', 128), 'hex'), ''), false, 'nor is noise');
SELECT is(
    crypto_pwhash_str_verify(overlay(verifier PLACING 'A' FROM 97), ''), false,
    'nor is one with something after it'
) FROM v;

-- Our own verifiers: limits in the clear, zeros at the end, a new salt each.
CREATE TEMP TABLE verifiers AS SELECT crypto_pwhash_str(password => password) AS made FROM v, generate_series(1, 2);
SELECT is(count(DISTINCT made), 2::bigint, 'no verifier is like another') FROM verifiers;
SELECT ok(
    bool_and(made LIKE '$argon2id$v=19$m=262144,t=3,p=1$%'::bytea AND length(made) = 128
        AND substr(made, 99) = decode(repeat('00', 30), 'hex')),
    '256 MiB, 3 passes; 128 bytes, the last of them zeros'
) FROM verifiers;
SELECT is(crypto_pwhash_str_verify(hashed_password => made, password => password), true, 'it verifies')
FROM v, verifiers LIMIT 1;

SELECT refuses(call) FROM (VALUES
    ('crypto_pwhash(password, substr(salt, 2))'),
    ('crypto_pwhash(password, salt || ''\x00'')'),
    ('crypto_pwhash(password, '''')'),
    ('crypto_pwhash_str_verify(substr(verifier, 1, 127), password)'),
    ('crypto_pwhash_str_verify(verifier || ''\x00'', password)'),
    ('crypto_pwhash_str_verify('''', password)'),
    ('crypto_pwhash(NULL, salt)'),
    ('crypto_pwhash(password, NULL)'),
    ('crypto_pwhash_str(NULL)'),
    ('crypto_pwhash_str_verify(NULL, password)'),
    ('crypto_pwhash_str_verify(verifier, NULL)')
) AS calls (call);

SELECT generates('crypto_pwhash_saltgen()', 16);

SELECT finish();
ROLLBACK;
