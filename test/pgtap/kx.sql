-- sql/crypto/kx.sql
BEGIN;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(28);

-- libsodium, test/default/kx.c: the client's pair from a seed, the server's from that seed incremented.
CREATE TEMP TABLE v AS
SELECT
    '\x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f'::bytea AS client_seed,
    '\x010102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f'::bytea AS server_seed,
    '\x0e0216223f147143d32615a91189c288c1728cba3cc5f9f621b1026e03d83129'::bytea AS client_pk,
    '\xcb2f5160fc1f7e05a55ef49d340b48da2e5a78099d53393351cd579dd42503d6'::bytea AS client_sk,
    '\xcc034cfcd643e7d419fc535943f5af94224da6386cae5e88daf34167e9d84d0a'::bytea AS server_pk,
    '\x277d1c932cf8350251109639a74a3a0607afefa14eaf5739b472543649aec7bb'::bytea AS server_sk,
    '\x749519c68059bce69f7cfcc7b387a3de1a1e8237d110991323bf62870115731a'::bytea AS to_client,
    '\x62c8f4fa81800abd0577d99918d129b65deb789af8c8351f391feb0cbf238604'::bytea AS to_server;

SELECT is(
    crypto_kx_seed_new_keypair(client_seed), ROW(client_pk, client_sk)::crypto_kx_keypair, 'libsodium''s key pair'
) FROM v;
SELECT is(
    crypto_kx_seed_new_keypair(seed => server_seed), ROW(server_pk, server_sk)::crypto_kx_keypair,
    'the server''s, with named arguments'
) FROM v;
SELECT is(
    crypto_kx_client_session_keys(client_pk, client_sk, server_pk), ROW(to_client, to_server)::crypto_kx_session,
    'libsodium''s session keys of the client'
) FROM v;
SELECT is(
    crypto_kx_server_session_keys(server_pk, server_sk, client_pk), ROW(to_server, to_client)::crypto_kx_session,
    'libsodium''s session keys of the server: the other way round'
) FROM v;
SELECT is(
    crypto_kx_client_session_keys(client_pk => client_pk, client_sk => client_sk, server_pk => server_pk),
    crypto_kx_client_session_keys(client_pk, client_sk, server_pk), 'the client''s, with named arguments'
) FROM v;
SELECT is(
    crypto_kx_server_session_keys(server_pk => server_pk, server_sk => server_sk, client_pk => client_pk),
    crypto_kx_server_session_keys(server_pk, server_sk, client_pk), 'the server''s, with named arguments'
) FROM v;

-- As in pgsodium, no seed is no error here.
SELECT is(crypto_kx_seed_new_keypair(NULL), NULL, 'the key pair of no seed');

-- New key pairs: each another, and each of use. (OFFSET 0, because (f()).* by itself calls f for each column.)
CREATE TEMP TABLE pairs AS
SELECT (pair).* FROM (SELECT crypto_kx_new_keypair() AS pair FROM generate_series(1, 20) OFFSET 0) AS new;
SELECT is(count(DISTINCT public) + count(DISTINCT secret), 40::bigint, 'no key pair comes twice') FROM pairs;
SELECT is(array_agg(DISTINCT ARRAY[length(public), length(secret)]), '{{32,32}}', 'key pairs of 32 and 32 bytes')
FROM pairs;
SELECT ok(
    bool_and(client.rx = server.tx AND client.tx = server.rx AND client.rx <> client.tx), 'new key pairs agree'
)
FROM v, pairs AS p,
    LATERAL crypto_kx_client_session_keys(client_pk, client_sk, p.public) AS client,
    LATERAL crypto_kx_server_session_keys(p.public, p.secret, client_pk) AS server;

SELECT refuses(call) FROM (VALUES
    ('crypto_kx_seed_new_keypair(substr(client_seed, 2))'),
    ('crypto_kx_seed_new_keypair(client_seed || ''\x00'')'),
    ('crypto_kx_client_session_keys(substr(client_pk, 2), client_sk, server_pk)'),
    ('crypto_kx_client_session_keys(client_pk, client_sk || ''\x00'', server_pk)'),
    ('crypto_kx_client_session_keys(client_pk, client_sk, substr(server_pk, 2))'),
    ('crypto_kx_server_session_keys(server_pk || ''\x00'', server_sk, client_pk)'),
    ('crypto_kx_server_session_keys(server_pk, substr(server_sk, 2), client_pk)'),
    ('crypto_kx_server_session_keys(server_pk, server_sk, '''')'),

    -- A public key of small order would make the session keys known to all.
    ('crypto_kx_client_session_keys(client_pk, client_sk, decode(repeat(''00'', 32), ''hex''))'),
    ('crypto_kx_server_session_keys(server_pk, server_sk, decode(repeat(''00'', 32), ''hex''))'),

    ('crypto_kx_client_session_keys(NULL, client_sk, server_pk)'),
    ('crypto_kx_client_session_keys(client_pk, NULL, server_pk)'),
    ('crypto_kx_client_session_keys(client_pk, client_sk, NULL)'),
    ('crypto_kx_server_session_keys(NULL, server_sk, client_pk)'),
    ('crypto_kx_server_session_keys(server_pk, NULL, client_pk)'),
    ('crypto_kx_server_session_keys(server_pk, server_sk, NULL)')
) AS calls (call);

SELECT generates('crypto_kx_new_seed()', 32);

SELECT finish();
ROLLBACK;
