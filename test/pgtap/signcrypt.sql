-- sql/crypto/signcrypt.sql
BEGIN;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(66);

-- Nobody has published vectors of this construction: this is what pgsodium 3.1.9 verified.
CREATE TEMP TABLE v AS
SELECT
    '\xa6a77c15e9895f092fae9eaa1ecc86357f1a36a0f9379f5f75e5310deee4b812931c18c319a566914ba71f9979f1da7f'
    'cc9cc31bddc2724e0647341436f10f00'::bytea AS signature,
    ''::bytea AS sender,
    'bob'::bytea AS recipient,
    '\x9db3debb94e6238b11ea1c4aad56e555d0e648d12931eb336e7a17bb16393fe2fc'::bytea AS additional,
    '\x944f7c8e7dc3d7e0ded2d379b081ce5c7efe5727abc5b612bccbf174f2b42552'::bytea AS sender_pk,
    '\xb9a269bc87b42513fc2f1cba6e19cac65b50dac71e03cdb03b4d696e93120d01'::bytea AS recipient_sk,
    '\xdca5632ea838d17dd6b3409a9733826a'::bytea AS ciphertext,
    '\xd6dff957b9f381c344b90994887568b51f638a2baef6efe6ccd658c2980caf38'::bytea AS shared_key,
    NULL::bytea AS state;
UPDATE v SET state = (crypto_signcrypt_verify_before(
    signature, sender, recipient, additional, sender_pk, recipient_sk
)).state;

SELECT is(
    (crypto_signcrypt_verify_before(signature, sender, recipient, additional, sender_pk, recipient_sk)).shared_key,
    shared_key, 'pgsodium''s shared key'
) FROM v;
SELECT ok(crypto_signcrypt_verify_after(state, signature, sender_pk, ciphertext), 'pgsodium''s signature') FROM v;
SELECT ok(
    crypto_signcrypt_verify_public(signature, sender, recipient, additional, sender_pk, ciphertext),
    'pgsodium''s signature, verified by anyone'
) FROM v;

-- From Alice to Bob: what the key of sign_before encrypts, the key of verify_before decrypts.
-- (OFFSET 0, because (f()).* by itself calls f for each column.)
CREATE TEMP TABLE pairs AS
SELECT n, (pair).* FROM (
    SELECT n, crypto_signcrypt_new_keypair() AS pair FROM generate_series(1, 20) AS n OFFSET 0
) AS new;
SELECT is(count(DISTINCT public) + count(DISTINCT secret), 40::bigint, 'no key pair comes twice') FROM pairs;
SELECT is(array_agg(DISTINCT ARRAY[length(public), length(secret)]), '{{32,32}}', 'key pairs of 32 and 32 bytes')
FROM pairs;

CREATE TEMP TABLE sent AS
SELECT name, m, box, shared_key,
    crypto_signcrypt_sign_after(state => state, sender_sk => alice.secret, ciphertext => box) AS signature
FROM pairs AS alice, pairs AS bob, messages,
    LATERAL crypto_signcrypt_sign_before(
        sender => 'alice', recipient => 'bob', sender_sk => alice.secret, recipient_pk => bob.public, additional => m
    ) AS begun,
    LATERAL crypto_secretbox(m, decode(repeat('00', 24), 'hex'), shared_key) AS box
WHERE alice.n = 1 AND bob.n = 2 AND length(m) <= 255;
SELECT ok(
    crypto_secretbox_open(box, decode(repeat('00', 24), 'hex'), begun.shared_key) = m
    AND crypto_signcrypt_verify_after(
        state => begun.state, signature => signature, sender_pk => alice.public, ciphertext => box
    )
    AND crypto_signcrypt_verify_public(
        signature => signature, sender => 'alice', recipient => 'bob', additional => m,
        sender_pk => alice.public, ciphertext => box
    ),
    'from Alice to Bob, as message and as additional data: ' || name
)
FROM pairs AS alice, pairs AS bob, sent,
    LATERAL crypto_signcrypt_verify_before(
        signature => signature, sender => 'alice', recipient => 'bob', additional => m,
        sender_pk => alice.public, recipient_sk => bob.secret
    ) AS begun
WHERE alice.n = 1 AND bob.n = 2;
SELECT is(count(DISTINCT shared_key), count(*), 'every message has a key of its own') FROM sent;

SELECT ok(crypto_signcrypt_verify_public(
    crypto_signcrypt_sign_after(begun.state, alice.secret, m), repeat('s', 255)::bytea, repeat('r', 255)::bytea,
    repeat('a', 255)::bytea, alice.public, m
), 'identities of 255 bytes, a ciphertext of ' || name)
FROM pairs AS alice, messages,
    LATERAL crypto_signcrypt_sign_before(
        repeat('s', 255)::bytea, repeat('r', 255)::bytea, alice.secret, alice.public, repeat('a', 255)::bytea
    ) AS begun
WHERE alice.n = 1 AND name IN ('nothing', '1 MB');

-- Nothing else verifies; and that is an error, as in pgsodium.
SELECT refuses_altered(
    'signature', 'crypto_signcrypt_verify_public(x, sender, recipient, additional, sender_pk, ciphertext)'
);
SELECT refuses_altered(
    'additional', 'crypto_signcrypt_verify_public(signature, sender, recipient, x, sender_pk, ciphertext)'
);
SELECT refuses_altered(
    'sender_pk', 'crypto_signcrypt_verify_public(signature, sender, recipient, additional, x, ciphertext)'
);
SELECT refuses_altered(
    'ciphertext', 'crypto_signcrypt_verify_public(signature, sender, recipient, additional, sender_pk, x)'
);
SELECT refuses_altered('ciphertext', 'crypto_signcrypt_verify_after(state, signature, sender_pk, x)');
SELECT refuses_altered('signature', 'crypto_signcrypt_verify_after(state, x, sender_pk, ciphertext)');
SELECT isnt(
    (crypto_signcrypt_verify_before(signature, sender, recipient, additional, sender_pk, recipient_sk)).shared_key,
    (crypto_signcrypt_verify_before(signature, recipient, sender, additional, sender_pk, recipient_sk)).shared_key,
    'other identities make another shared key'
) FROM v;

-- A state goes through SQL, so anyone can make one up. At byte 352 it has libsodium's count of the bytes that
-- wait in its buffer of 256, which libsodium believes: any more, and it writes outside of it.
SELECT refuses(call) FROM (VALUES
    ('crypto_signcrypt_verify_after(overlay(state PLACING ''\xff0f'' FROM 353), signature, sender_pk, ciphertext)'),
    ('crypto_signcrypt_verify_after(overlay(state PLACING ''\x0101'' FROM 353), signature, sender_pk, ciphertext)'),
    ('crypto_signcrypt_verify_after(overlay(state PLACING ''\xff'' FROM 359), signature, sender_pk, ciphertext)'),
    ('crypto_signcrypt_sign_after(overlay(state PLACING ''\xff'' FROM 359), recipient_sk, ciphertext)'),
    ('crypto_signcrypt_verify_after(decode(repeat(''00'', 512), ''hex''), signature, sender_pk, ciphertext)'),
    ('crypto_signcrypt_verify_after(decode(repeat(''ff'', 512), ''hex''), signature, sender_pk, ciphertext)')
) AS calls (call);

SELECT refuses(call) FROM (VALUES
    ('crypto_signcrypt_sign_before(repeat(''s'', 256)::bytea, recipient, recipient_sk, sender_pk, additional)'),
    ('crypto_signcrypt_sign_before(sender, repeat(''r'', 256)::bytea, recipient_sk, sender_pk, additional)'),
    ('crypto_signcrypt_sign_before(sender, recipient, recipient_sk, sender_pk, repeat(''a'', 256)::bytea)'),
    ('crypto_signcrypt_sign_before(sender, recipient, substr(recipient_sk, 2), sender_pk, additional)'),
    ('crypto_signcrypt_sign_before(sender, recipient, recipient_sk, sender_pk || ''\x00'', additional)'),
    ('crypto_signcrypt_sign_before(sender, recipient, recipient_sk, decode(repeat(''ff'', 32), ''hex''), additional)'),
    ('crypto_signcrypt_sign_before(sender, recipient, recipient_sk, decode(repeat(''00'', 32), ''hex''), additional)'),
    ('crypto_signcrypt_sign_after(substr(state, 2), recipient_sk, ciphertext)'),
    ('crypto_signcrypt_sign_after('''', recipient_sk, ciphertext)'),
    ('crypto_signcrypt_sign_after(state, substr(recipient_sk, 2), ciphertext)'),
    ('crypto_signcrypt_verify_before(substr(signature, 2), sender, recipient, additional, sender_pk, recipient_sk)'),
    ('crypto_signcrypt_verify_before(signature, sender, recipient, additional, substr(sender_pk, 2), recipient_sk)'),
    ('crypto_signcrypt_verify_before(signature, sender, recipient, additional, sender_pk, substr(recipient_sk, 2))'),
    ('crypto_signcrypt_verify_before(signature, repeat(''s'', 256)::bytea, '''', '''', sender_pk, recipient_sk)'),
    ('crypto_signcrypt_verify_after(substr(state, 2), signature, sender_pk, ciphertext)'),
    ('crypto_signcrypt_verify_after('''', signature, sender_pk, ciphertext)'),
    ('crypto_signcrypt_verify_after(state, signature, substr(sender_pk, 2), ciphertext)'),

    ('crypto_signcrypt_sign_before(NULL, recipient, recipient_sk, sender_pk, additional)'),
    ('crypto_signcrypt_sign_before(sender, NULL, recipient_sk, sender_pk, additional)'),
    ('crypto_signcrypt_sign_before(sender, recipient, NULL, sender_pk, additional)'),
    ('crypto_signcrypt_sign_before(sender, recipient, recipient_sk, NULL, additional)'),
    ('crypto_signcrypt_sign_before(sender, recipient, recipient_sk, sender_pk, NULL)'),
    ('crypto_signcrypt_sign_after(NULL, recipient_sk, ciphertext)'),
    ('crypto_signcrypt_sign_after(state, NULL, ciphertext)'),
    ('crypto_signcrypt_sign_after(state, recipient_sk, NULL)'),
    ('crypto_signcrypt_verify_before(NULL, sender, recipient, additional, sender_pk, recipient_sk)'),
    ('crypto_signcrypt_verify_before(signature, NULL, recipient, additional, sender_pk, recipient_sk)'),
    ('crypto_signcrypt_verify_before(signature, sender, NULL, additional, sender_pk, recipient_sk)'),
    ('crypto_signcrypt_verify_before(signature, sender, recipient, NULL, sender_pk, recipient_sk)'),
    ('crypto_signcrypt_verify_before(signature, sender, recipient, additional, NULL, recipient_sk)'),
    ('crypto_signcrypt_verify_before(signature, sender, recipient, additional, sender_pk, NULL)'),
    ('crypto_signcrypt_verify_after(NULL, signature, sender_pk, ciphertext)'),
    ('crypto_signcrypt_verify_after(state, NULL, sender_pk, ciphertext)'),
    ('crypto_signcrypt_verify_after(state, signature, NULL, ciphertext)'),
    ('crypto_signcrypt_verify_after(state, signature, sender_pk, NULL)'),
    ('crypto_signcrypt_verify_public(NULL, sender, recipient, additional, sender_pk, ciphertext)'),
    ('crypto_signcrypt_verify_public(signature, NULL, recipient, additional, sender_pk, ciphertext)'),
    ('crypto_signcrypt_verify_public(signature, sender, NULL, additional, sender_pk, ciphertext)'),
    ('crypto_signcrypt_verify_public(signature, sender, recipient, NULL, sender_pk, ciphertext)'),
    ('crypto_signcrypt_verify_public(signature, sender, recipient, additional, NULL, ciphertext)'),
    ('crypto_signcrypt_verify_public(signature, sender, recipient, additional, sender_pk, NULL)')
) AS calls (call);

SELECT finish();
ROLLBACK;
