-- sql/sealed/transport.sql
BEGIN;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(84);

CREATE ROLE pgkeymgr_test_alice IN ROLE pgkeymgr_admin;
CREATE ROLE pgkeymgr_test_bob IN ROLE pgkeymgr_user;
CREATE ROLE pgkeymgr_test_nobody;
GRANT USAGE ON SCHEMA pgkeymgr TO pgkeymgr_test_nobody;
CREATE TEMP TABLE v AS
SELECT
    randombytes_buf(32) AS secret, randombytes_buf(16) AS short, randombytes_buf(64) AS long,
    randombytes_buf(15) AS too_short, randombytes_buf(65) AS too_long,
    convert_to('correct horse', 'UTF8') AS passphrase, 'not UTF-8: '::bytea || '\xff' AS not_utf8,
    pair.public AS recipient, pair.secret AS recipient_secret
FROM crypto_box_new_keypair() AS pair;
GRANT SELECT ON v TO PUBLIC;
-- The contents of an export, opened by its recipient.
CREATE FUNCTION tap.opened(exported bytea) RETURNS bytea LANGUAGE sql AS $$
    SELECT crypto_box_seal_open(exported, recipient, recipient_secret) FROM v
$$;

-- import_data_key
SELECT is(import_data_key('imported', seal(secret)), currval('key_id_seq')::integer, 'its id') FROM v;
SELECT results_eq(
    $$SELECT family = id, key_type::text, state::text, expires, superseded_by, owner::regrole::text, comment
    FROM key WHERE name = 'imported'$$,
    $$VALUES (true, 'data', 'enabled', NULL::timestamptz, NULL::integer, 'postgres', NULL)$$,
    'a key with the defaults'
);
SELECT results_eq(
    $$SELECT kind::text, holder, key_wrap.fingerprint, length(wrapped) FROM key JOIN key_wrap ON key_id = id
    WHERE name = 'imported'$$,
    $$SELECT 'root', '', fingerprint, 32 + 41 FROM root_key_status()$$,
    'under the root key'
);
SELECT is(opened(export_data_key('imported', recipient)), secret, 'the same bytes come out') FROM v;
SELECT is(token_decrypt(token_encrypt('imported', 'plaintext')), 'plaintext', 'it encrypts');
SELECT isnt(import_data_key('again', seal(secret)), NULL, 'the same bytes as another key') FROM v;
SELECT isnt(import_data_key('short', seal(short)), NULL, '16 bytes') FROM v;
SELECT is(opened(export_data_key('short', recipient)), short, 'come out') FROM v;
SELECT isnt(import_data_key('long', seal(long)), NULL, '64 bytes') FROM v;
SELECT is(opened(export_data_key('long', recipient)), long, 'come out') FROM v;
SELECT isnt(
    import_data_key(name => 'named', sealed => seal(secret), expires => 'infinity', comment => 'a comment',
        wrap => 'root'),
    NULL, 'with named arguments'
) FROM v;
SELECT results_eq(
    $$SELECT expires, comment, wraps FROM data_keys WHERE name = 'named'$$,
    $$VALUES ('infinity'::timestamptz, 'a comment', '{root}'::text[])$$, 'which are kept'
);
SELECT is(
    as_role('pgkeymgr_test_alice', 'import_data_key(''alice''''s'', seal(secret)) > 0'), 'true', 'an administrator may'
);
SELECT is(owner::regrole::text, 'pgkeymgr_test_alice', 'and is the owner') FROM key WHERE name = 'alice''s';

-- Under a passphrase.
SELECT isnt(
    import_data_key('locked', seal(secret, passphrase), wrap => 'passphrase'), NULL, 'with a passphrase'
) FROM v;
SELECT results_eq(
    $$SELECT wraps, length(salt), opslimit, memlimit, holder, fingerprint, length(wrapped)
    FROM data_keys JOIN key_wrap ON key_id = id WHERE name = 'locked'$$,
    $$VALUES ('{passphrase}'::text[], 16, 3, 268435456::bigint, '', NULL, 32 + 41)$$, 'under that only'
);
SELECT refuses('export_data_key(''locked'', recipient)', '55000', '"locked" is locked');
SELECT refuses('token_encrypt(''locked'', secret)', '55000', '"locked" is locked');
SELECT unlock_data_key('locked', seal(passphrase)) FROM v;
SELECT is(opened(export_data_key('locked', recipient)), secret, 'unlocked, the same bytes come out') FROM v;

-- Sealed to the user.
SELECT refuses('import_data_key(''x'', seal(secret), wrap => ''user'')', '42704', 'no key pair');
SELECT is(as_role('pgkeymgr_test_alice', 'create_user_key(seal(passphrase))'), '', 'a pair');
SELECT is(
    as_role('pgkeymgr_test_alice', 'import_data_key(''hers'', seal(secret), wrap => ''user'') > 0'), 'true', 'to a pair'
);
SELECT results_eq(
    $$SELECT wraps, holder = encode(public, 'hex'), salt, fingerprint, length(wrapped)
    FROM data_keys JOIN key_wrap ON key_id = id JOIN (SELECT public FROM user_key) AS pair ON true
    WHERE name = 'hers'$$,
    $$VALUES ('{user}'::text[], true, NULL::bytea, NULL, 32 + 81)$$, 'sealed to that only'
);
SELECT refuses('export_data_key(''hers'', recipient)', '55000', '"hers" is locked');
SELECT is(as_role('pgkeymgr_test_alice', 'export_data_key(''hers'', recipient)'), '55000', 'for its holder, too');
SELECT is(as_role('pgkeymgr_test_alice', 'unlock_user_key(seal(passphrase))'), '', 'until it unlocks the pair');
SELECT is(
    opened(as_role('pgkeymgr_test_alice', 'export_data_key(''hers'', recipient)')::bytea), secret, 'the same bytes'
) FROM v;

SELECT refuses(call, state, naming) FROM (VALUES
    ('import_data_key(NULL, seal(secret))', '22000', 'name'),
    ('import_data_key(''x'', NULL)', '22000', 'sealed'),
    ('import_data_key(''x'', seal(secret), wrap => NULL)', '22000', 'wrap'),
    ('import_data_key('''', seal(secret))', '22023', 'name'),
    ('import_data_key(repeat(''a'', 256), seal(secret))', '22023', '256'),
    ('import_data_key(''imported'', seal(secret))', '42710', '"imported"'),
    ('import_data_key(''x'', seal(secret), now())', '22023', 'expires'),
    ('import_data_key(''x'', seal(secret), ''-infinity'')', '22023', 'expires'),
    ('import_data_key(''x'', seal(secret), wrap => '''')', '22023', 'wrap'),
    ('import_data_key(''x'', seal(secret), wrap => ''rot'')', '22023', 'rot'),
    ('import_data_key(''x'', seal(too_short))', '22000', 'not 15'),
    ('import_data_key(''x'', seal(too_long))', '22000', 'not 65'),
    ('import_data_key(''x'', seal(too_long, passphrase), wrap => ''passphrase'')', '22000', 'not 65'),
    ('import_data_key(''x'', seal(''''::bytea))', '22000', 'empty'),
    ('import_data_key(''x'', seal(secret, ''''::bytea), wrap => ''passphrase'')', '22000', 'empty'),
    ('import_data_key(''x'', seal(secret, passphrase))', '22000', '1 secrets in it, not 2'),
    ('import_data_key(''x'', seal(secret, passphrase), wrap => ''user'')', '22000', '1 secrets in it, not 2'),
    ('import_data_key(''x'', seal(secret), wrap => ''passphrase'')', '22000', '2 secrets in it, not 1'),
    ('import_data_key(''x'', seal(secret, not_utf8), wrap => ''passphrase'')', '22000', 'UTF-8'),
    ('import_data_key(''x'', secret)', '28000', 'no open offer')
) AS calls (call, state, naming);
SELECT is_empty('SELECT FROM key WHERE name = ''x''', 'what is refused leaves nothing behind');

-- export_data_key
SELECT is(opened(export_data_key(id, recipient)), secret, 'by id') FROM key, v WHERE name = 'imported';
SELECT is(opened(export_data_key(key => 'imported', recipient_public => recipient)), secret, 'with named arguments')
FROM v;
SELECT is(length(export_data_key('imported', recipient)), 48 + 32, 'a sealed box') FROM v;
SELECT isnt(export_data_key('imported', recipient), export_data_key('imported', recipient), 'another one each time')
FROM v;
SELECT isnt(supersede_data_key('short'), NULL, 'a new version');
SELECT is(opened(export_data_key(id, recipient)), short, 'the old one, by id') FROM key, v
WHERE name = 'short' AND superseded_by IS NOT NULL;
SELECT isnt(opened(export_data_key('short', recipient)), short, 'by name, the new one') FROM v;
CREATE TEMP TABLE ids_of AS SELECT id, name FROM key;
INSERT INTO ids_of SELECT create_data_key(name), name FROM unnest('{disabled,destroyed,expired}'::text[]) AS name;
SELECT id AS authentic FROM create_key('auth', 'authentic') \gset
INSERT INTO ids_of SELECT id, name FROM key WHERE uuid = :'authentic';
SELECT disable_data_key(id) FROM ids_of WHERE name = 'disabled';
SELECT destroy_data_key(id, name) FROM ids_of WHERE name = 'destroyed';
UPDATE key SET created = now() - interval '2 years', expires = now() - interval '1 year' WHERE name = 'expired';
SELECT refuses(format('export_data_key(%L, recipient)', name), state, format('"%s"', name)) FROM (VALUES
    ('unknown', '42704'), ('', '42704'), ('disabled', '55000'), ('destroyed', '55000'), ('expired', '55000'),
    ('authentic', '22000')
) AS refusals (name, state);
SELECT refuses(format('export_data_key(%s, recipient)', id), state, format('"%s"', name)) FROM (VALUES
    ('disabled', '55000'), ('destroyed', '55000'), ('expired', '55000'), ('authentic', '22000')
) AS refusals (name, state) JOIN ids_of USING (name);
SELECT refuses(call, state, naming) FROM (VALUES
    ('export_data_key(NULL::text, recipient)', '22000', 'key'),
    ('export_data_key(NULL::integer, recipient)', '22000', 'key'),
    ('export_data_key(0, recipient)', '42704', '0'),
    ('export_data_key(2147483647, recipient)', '42704', '2147483647'),
    ('export_data_key(''imported'', NULL)', '22000', 'recipient_public'),
    ('export_data_key(''imported'', '''')', '22000', 'not 0'),
    ('export_data_key(''imported'', substr(recipient, 1, 31))', '22000', 'not 31'),
    ('export_data_key(''imported'', recipient || ''\x00'')', '22000', 'not 33'),
    -- Points of low order: whatever the secret key, the shared secret is the same.
    ('export_data_key(''imported'', decode(repeat(''00'', 32), ''hex''))', '22000', 'recipient_public'),
    ('export_data_key(''imported'', ''\x01''::bytea || decode(repeat(''00'', 31), ''hex''))', '22000',
        'recipient_public')
) AS calls (call, state, naming);

-- An administrator of keys exports what he may decrypt with.
SELECT is(as_role('pgkeymgr_test_alice', 'export_data_key(''imported'', recipient)'), '42501', 'without a grant');
SELECT grant_data_key('imported', 'pgkeymgr_test_alice', '{encrypt}');
SELECT is(as_role('pgkeymgr_test_alice', 'export_data_key(''imported'', recipient)'), '42501', 'with half of it');
SELECT grant_data_key('imported', 'pgkeymgr_test_alice', '{decrypt}');
SELECT is(
    opened(as_role('pgkeymgr_test_alice', 'export_data_key(''imported'', recipient)')::bytea), secret, 'with the other'
) FROM v;
SELECT grant_data_key('imported', 'pgkeymgr_test_bob');
SELECT is(as_role(role, call), '42501', format('%s may not: %s', role, call))
FROM unnest('{pgkeymgr_test_bob,pgkeymgr_test_nobody}'::text[]) AS role, (VALUES
    ('import_data_key(''x'', secret)'), ('export_data_key(''imported'', recipient)'), ('export_data_key(1, recipient)')
) AS calls (call);

SELECT finish();
ROLLBACK;
