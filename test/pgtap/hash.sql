-- sql/crypto/hash.sql
BEGIN;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(23);

CREATE TEMP TABLE v AS SELECT 'a secret message'::bytea AS message;

-- FIPS 180-4's examples, as NIST publishes them (csrc.nist.gov, Examples with Intermediate Values).
SELECT is(
    crypto_hash_sha256('abc'), '\xba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
    'SHA-256 of one block'
);
SELECT is(
    crypto_hash_sha256('abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq'),
    '\x248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1', 'SHA-256 of two blocks'
);
SELECT is(
    crypto_hash_sha256(message => convert_to(repeat('a', 1000000), 'UTF8')),
    '\xcdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0', 'SHA-256 of a million times a'
);
SELECT is(
    crypto_hash_sha256(''),
        '\xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', 'SHA-256 of nothing'
);
SELECT is(
    crypto_hash_sha512('abc'),
    '\xddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd'
    '454d4423643ce80e2a9ac94fa54ca49f',
    'SHA-512 of one block'
);
SELECT is(
    crypto_hash_sha512(
        'abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu'
    ),
    '\x8e959b75dae313da8cf4f72814fc143f8f7779c6eb9f7fa17299aeadb6889018501d289e4900f7e4331b99dec4b5433a'
    'c7d329eeb6dd26545e96e55b874be909',
    'SHA-512 of two blocks'
);
SELECT is(
    crypto_hash_sha512(message => convert_to(repeat('a', 1000000), 'UTF8')),
    '\xe718483d0ce769644e2e42c7bc15b4638e1f98b13b2044285632a803afa973ebde0ff244877ea60a4cb0432ce577c31b'
    'eb009c5c2c49aa2e4eadb217ad8cc09b',
    'SHA-512 of a million times a'
);

-- PostgreSQL has its own.
SELECT is(crypto_hash_sha256(m), sha256(m), 'SHA-256, as PostgreSQL''s: ' || name) FROM messages;
SELECT is(crypto_hash_sha512(m), sha512(m), 'SHA-512, as PostgreSQL''s: ' || name) FROM messages;

SELECT refuses('crypto_hash_sha256(NULL)');
SELECT refuses('crypto_hash_sha512(NULL)');

SELECT finish();
ROLLBACK;
