-- sql/crypto/box.sql
BEGIN;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(73);

-- The keys of RFC 7748, section 6.1; the box of "Cryptography in NaCl", section 10, and of libsodium,
-- test/default/box.c. The sealed box is one that pgsodium 3.1.9 made and opened.
CREATE TEMP TABLE v AS
SELECT
    '\x8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a'::bytea AS alice_public,
    '\x77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a'::bytea AS alice_secret,
    '\xde9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f'::bytea AS bob_public,
    '\x5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb'::bytea AS bob_secret,
    '\x69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37'::bytea AS nonce,
    '\xbe075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d45e6c6129'
    '6cdc3c01233561f41db66cce314adb310e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde'
    '048977eb48f59ffd4924ca1c60902e52f0a089bc76897040e082f937763848645e0705'::bytea AS message,
    '\xf3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186a'
    'c0dfc17c98dce87b4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae'
    '90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74'
    'e355a5'::bytea AS ciphertext,
    '\x8957c3104d4aa93cc415b1c575b8da753dfc1de149ccedbaac9b832b8b2e1722'::bytea AS seal_public,
    '\x85f28df9548226c89dd5be3ba07acf4238b2c3e2f84a90c47f98544383030170'::bytea AS seal_secret,
    '\x771477b28170c05d6e66512f2e65b2bd9b7c3cbd5bfc72e7cdacd58e30661f764921badd379a349649a0779570db0be1'
    'b207635ec3b96e45e1dbc0b81def85ca95de5fb2e4c560f55f8f6286d99f9c6c30'::bytea AS sealed;

SELECT is(crypto_box(message, nonce, bob_public, alice_secret), ciphertext, 'NaCl''s vector') FROM v;
SELECT is(crypto_box(message, nonce, alice_public, bob_secret), ciphertext, 'NaCl''s vector, from Bob to Alice')
FROM v;
SELECT is(crypto_box_open(ciphertext, nonce, alice_public, bob_secret), message, 'NaCl''s vector opens') FROM v;
SELECT is(
    crypto_box_seal_open(sealed, seal_public, seal_secret),
    '\xca469bf5a6583ae020adc807a41aaf2a4a44cad1967dde2e53e6fc9c268fe85bca', 'pgsodium''s sealed box opens'
) FROM v;
SELECT is(
    crypto_box_seed_new_keypair(seed),
    ROW(public, secret)::crypto_box_keypair, 'pgsodium''s key pair of a seed'
) FROM (VALUES (
    '\xdcbd8377f3cf1f66db1184bac57de2f4a10f44f978c31c017b20e4f5e60f4e77'::bytea,
    '\x4815c9cc80b7337c5bf6cf456075c2b7a893d451a204a02d547d04491f5a3a1f'::bytea,
    '\x68ac95a6cbaee4d314bebb7de448736c56c49b0c1fad519e7d84bd6b5e4c9275'::bytea
)) AS pairs (seed, public, secret);
SELECT is(crypto_box_seed_new_keypair(seed => alice_secret), crypto_box_seed_new_keypair(alice_secret),
    'a seed gives one key pair; with named arguments')
FROM v;
SELECT is(
    crypto_box_open(
        ciphertext => crypto_box(
            message => message, nonce => nonce, public => bob_public, secret => alice_secret
        ),
        nonce => nonce, public => alice_public, secret => bob_secret
    ),
    message, 'with named arguments'
) FROM v;
SELECT is(
    crypto_box_seal_open(
        ciphertext => crypto_box_seal(message => message, public_key => bob_public),
        public_key => bob_public, secret_key => bob_secret
    ),
    message, 'sealed, with named arguments'
) FROM v;

SELECT round_trips(
    'crypto_box(m, nonce, bob_public, alice_secret)', 'crypto_box_open(c, nonce, alice_public, bob_secret)', 16
);
SELECT round_trips('crypto_box_seal(m, bob_public)', 'crypto_box_seal_open(c, bob_public, bob_secret)', 48);
SELECT isnt(crypto_box_seal(message, bob_public), crypto_box_seal(message, bob_public), 'no seal is like another')
FROM v;

-- New key pairs: each another, and each of use.
-- (OFFSET 0, because (f()).* by itself calls f for each column.)
CREATE TEMP TABLE pairs AS
SELECT (pair).* FROM (SELECT crypto_box_new_keypair() AS pair FROM generate_series(1, 20) OFFSET 0) AS new;
SELECT is(count(DISTINCT public) + count(DISTINCT secret), 40::bigint, 'no key pair comes twice') FROM pairs;
SELECT is(array_agg(DISTINCT ARRAY[length(public), length(secret)]), '{{32,32}}', 'key pairs of 32 and 32 bytes')
FROM pairs;
SELECT ok(
    bool_and(crypto_box_open(boxed, nonce, alice_public, secret) = message), 'a box to a new key pair opens'
) FROM v, pairs, LATERAL crypto_box(message, nonce, public, alice_secret) AS boxed;
SELECT ok(
    bool_and(crypto_box_seal_open(crypto_box_seal(message, p.public), p.public, p.secret) = message),
    'a seal to the key pair of a new seed opens'
) FROM v, crypto_box_seed_new_keypair(crypto_box_new_seed()) AS p;

-- Nothing opens but what was made.
SELECT refuses_altered('ciphertext', 'crypto_box_open(x, nonce, alice_public, bob_secret)');
SELECT refuses_altered('nonce', 'crypto_box_open(ciphertext, x, alice_public, bob_secret)');
SELECT refuses_altered('sealed', 'crypto_box_seal_open(x, seal_public, seal_secret)');
SELECT refuses(call) FROM (VALUES
    ('crypto_box_open(ciphertext, nonce, bob_public, bob_secret)'),
    ('crypto_box_open(ciphertext, nonce, alice_public, seal_secret)'),
    ('crypto_box_open('''', nonce, alice_public, bob_secret)'),
    ('crypto_box_seal_open(sealed, bob_public, bob_secret)'),
    ('crypto_box_seal_open(sealed, seal_public, bob_secret)'),
    ('crypto_box_seal_open(sealed, bob_public, seal_secret)'),
    ('crypto_box_seal_open('''', seal_public, seal_secret)'),

    ('crypto_box(message, nonce || ''\x00'', bob_public, alice_secret)'),
    ('crypto_box(message, substr(nonce, 2), bob_public, alice_secret)'),
    ('crypto_box(message, nonce, bob_public || ''\x00'', alice_secret)'),
    ('crypto_box(message, nonce, substr(bob_public, 2), alice_secret)'),
    ('crypto_box(message, nonce, bob_public, alice_secret || ''\x00'')'),
    ('crypto_box(message, nonce, bob_public, substr(alice_secret, 2))'),
    ('crypto_box_open(ciphertext, nonce, substr(alice_public, 2), bob_secret)'),
    ('crypto_box_open(ciphertext, nonce, alice_public, substr(bob_secret, 2))'),
    ('crypto_box_seal(message, substr(bob_public, 2))'),
    ('crypto_box_seal(message, bob_public || ''\x00'')'),
    ('crypto_box_seal_open(sealed, substr(seal_public, 2), seal_secret)'),
    ('crypto_box_seal_open(sealed, seal_public, substr(seal_secret, 2))'),
    ('crypto_box_seed_new_keypair(substr(alice_secret, 2))'),
    ('crypto_box_seed_new_keypair(alice_secret || ''\x00'')'),
    ('crypto_box_seed_new_keypair('''')'),

    -- A public key of small order would make the shared key known to all.
    ('crypto_box(message, nonce, decode(repeat(''00'', 32), ''hex''), alice_secret)'),
    ('crypto_box_open(ciphertext, nonce, decode(repeat(''00'', 32), ''hex''), alice_secret)'),
    ('crypto_box_seal(message, decode(repeat(''00'', 32), ''hex''))'),

    ('crypto_box(NULL, nonce, bob_public, alice_secret)'),
    ('crypto_box(message, NULL, bob_public, alice_secret)'),
    ('crypto_box(message, nonce, NULL, alice_secret)'),
    ('crypto_box(message, nonce, bob_public, NULL)'),
    ('crypto_box_open(NULL, nonce, alice_public, bob_secret)'),
    ('crypto_box_open(ciphertext, NULL, alice_public, bob_secret)'),
    ('crypto_box_open(ciphertext, nonce, NULL, bob_secret)'),
    ('crypto_box_open(ciphertext, nonce, alice_public, NULL)'),
    ('crypto_box_seal(NULL, bob_public)'),
    ('crypto_box_seal(message, NULL)'),
    ('crypto_box_seal_open(NULL, seal_public, seal_secret)'),
    ('crypto_box_seal_open(sealed, NULL, seal_secret)'),
    ('crypto_box_seal_open(sealed, seal_public, NULL)'),
    ('crypto_box_seed_new_keypair(NULL)')
) AS calls (call);

SELECT generates('crypto_box_new_seed()', 32);
SELECT generates('crypto_box_noncegen()', 24);

SELECT finish();
ROLLBACK;
