-- sql/sealed/passphrase.sql
BEGIN;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(190);

CREATE ROLE pgkeymgr_test_alice IN ROLE pgkeymgr_admin;
CREATE ROLE pgkeymgr_test_bob IN ROLE pgkeymgr_user;
CREATE ROLE pgkeymgr_test_carol IN ROLE pgkeymgr_user;
CREATE ROLE pgkeymgr_test_nobody;
GRANT USAGE ON SCHEMA pgkeymgr TO pgkeymgr_test_nobody;

CREATE TEMP TABLE made AS
SELECT create_data_key('plain') AS plain, create_data_key('both') AS both_ways, create_data_key('closed', 24) AS closed,
    create_data_key('disabled') AS disabled, create_data_key('destroyed') AS destroyed,
    create_data_key('expired') AS expired, (create_key('auth', 'authentic')).id AS authentic_uuid;
CREATE TEMP TABLE v AS
SELECT
    *,
    (SELECT id FROM key WHERE uuid = authentic_uuid) AS authentic,
    convert_to('correct horse, Grüße 世界', 'UTF8') AS one, convert_to('battery staple', 'UTF8') AS two,
    'not UTF-8: '::bytea || '\xff' AS not_utf8,
    'a long plaintext'::bytea AS plaintext,
    token_encrypt('both', 'a long plaintext') AS both_token,
    token_encrypt('closed', 'a long plaintext') AS closed_token
FROM made;
GRANT SELECT ON v TO PUBLIC;
UPDATE key SET created = now() - interval '2 years', expires = now() - interval '1 year' WHERE name = 'expired';
CREATE FUNCTION tap.wraps_of(wanted text) RETURNS text[] LANGUAGE sql AS $$
    SELECT wraps FROM data_keys WHERE name = wanted AND superseded_by IS NULL
$$;

-- add_passphrase
SELECT lives_ok('SELECT add_passphrase(''both'', seal(one)) FROM v', 'a passphrase, by name');
SELECT lives_ok('SELECT add_passphrase(key => closed, sealed => seal(one)) FROM v', 'by id, with named arguments');
SELECT results_eq(
    $$SELECT name, holder, length(salt), opslimit, memlimit, key_wrap.fingerprint, length(wrapped) - 41
    FROM key JOIN key_wrap ON key_id = id WHERE kind = 'passphrase' ORDER BY name$$,
    $$VALUES ('both', '', 16, 3, 268435456::bigint, NULL, 32), ('closed', '', 16, 3, 268435456, NULL, 24)$$,
    'with a salt, and Argon2id''s MODERATE limits'
);
SELECT is(count(DISTINCT salt), 2::bigint, 'the same passphrase, another salt') FROM key_wrap WHERE kind = 'passphrase';
SELECT is(wraps_of(name), '{root,passphrase}', 'its wraps: ' || name) FROM unnest('{both,closed}'::text[]) AS name;
SELECT is(token_decrypt(both_token), plaintext, 'the server opens it by itself as before') FROM v;
SELECT disable_data_key(disabled) FROM v;
SELECT destroy_data_key(destroyed, 'destroyed') FROM v;
SELECT lives_ok('SELECT add_passphrase(expired, seal(one)) FROM v', 'an expired key can be given one');
SELECT refuses(call, state, naming) FROM (VALUES
    ('add_passphrase(NULL::text, seal(one))', '22000', 'key'),
    ('add_passphrase(NULL::integer, seal(one))', '22000', 'key'),
    ('add_passphrase(plain, NULL)', '22000', 'sealed'),
    ('add_passphrase(''plain'', NULL)', '22000', 'sealed'),
    ('add_passphrase(''plain'', seal(not_utf8))', '22000', 'UTF-8'),
    ('add_passphrase(''plain'', seal(''''::bytea))', '22000', 'empty'),
    ('add_passphrase(''plain'', seal(one, two))', '22000', 'not 2'),
    ('add_passphrase(''plain'', one)', '28000', 'no open offer'),
    ('add_passphrase(''unknown'', seal(one))', '42704', '"unknown"'),
    ('add_passphrase(0, seal(one))', '42704', '0'),
    ('add_passphrase(''both'', seal(one))', '55000', '"both" already has a passphrase'),
    ('add_passphrase(both_ways, seal(two))', '55000', '"both" already has a passphrase'),
    ('add_passphrase(''authentic'', seal(one))', '22000', '"authentic"'),
    ('add_passphrase(authentic, seal(one))', '22000', '"authentic"'),
    ('add_passphrase(disabled, seal(one))', '55000', '"disabled" is disabled'),
    ('add_passphrase(destroyed, seal(one))', '55000', '"destroyed" was destroyed')
) AS calls (call, state, naming);
SELECT is(wraps_of('plain'), '{root}', 'what is refused leaves nothing behind');

-- drop_root_wrap
SELECT lives_ok('SELECT drop_root_wrap(''closed'')', 'without the root key''s wrap');
SELECT is(wraps_of('closed'), '{passphrase}', 'there is the other');
SELECT refuses(call, '55000', '"closed" is locked') FROM (VALUES
    ('token_decrypt(closed_token)'), ('token_encrypt(''closed'', plaintext)'), ('token_encrypt(closed, plaintext)'),
    ('add_root_wrap(closed)'), ('add_root_wrap(''closed'')')
) AS calls (call);
SELECT refuses(call, state, naming) FROM (VALUES
    ('drop_root_wrap(NULL::text)', '22000', 'key'),
    ('drop_root_wrap(NULL::integer)', '22000', 'key'),
    ('drop_root_wrap(''unknown'')', '42704', '"unknown"'),
    ('drop_root_wrap(0)', '42704', '0'),
    ('drop_root_wrap(''closed'')', '55000', 'no root wrap'),
    ('drop_root_wrap(destroyed)', '55000', 'no root wrap'),
    ('drop_root_wrap(''plain'')', '55000', 'its last'),
    ('drop_root_wrap(plain)', '55000', 'its last'),
    ('drop_root_wrap(authentic)', '22000', '"authentic"'),
    ('drop_passphrase(NULL::text)', '22000', 'key'),
    ('drop_passphrase(NULL::integer)', '22000', 'key'),
    ('drop_passphrase(''unknown'')', '42704', '"unknown"'),
    ('drop_passphrase(0)', '42704', '0'),
    ('drop_passphrase(''plain'')', '55000', 'no passphrase wrap'),
    ('drop_passphrase(destroyed)', '55000', 'no passphrase wrap'),
    ('drop_passphrase(''closed'')', '55000', 'its last'),
    ('drop_passphrase(closed)', '55000', 'its last'),
    ('drop_passphrase(authentic)', '22000', '"authentic"')
) AS calls (call, state, naming);

-- unlock_data_key
SELECT refuses(call, state, naming) FROM (VALUES
    ('unlock_data_key(NULL::text, seal(one))', '22000', 'key'),
    ('unlock_data_key(NULL::integer, seal(one))', '22000', 'key'),
    ('unlock_data_key(''closed'', NULL)', '22000', 'sealed'),
    ('unlock_data_key(closed, NULL)', '22000', 'sealed'),
    ('unlock_data_key(''closed'', seal(one), NULL)', '22000', 'for_transaction'),
    ('unlock_data_key(closed, seal(one), NULL)', '22000', 'for_transaction'),
    ('unlock_data_key(''closed'', seal(not_utf8))', '22000', 'UTF-8'),
    ('unlock_data_key(''closed'', seal(one, two))', '22000', 'not 2'),
    ('unlock_data_key(''closed'', one)', '28000', 'no open offer'),
    ('unlock_data_key(''closed'', seal(two))', '28P01', '"closed"'),
    ('unlock_data_key(''unknown'', seal(one))', '42704', '"unknown"'),
    ('unlock_data_key(0, seal(one))', '42704', '0'),
    ('unlock_data_key(''plain'', seal(one))', '55000', '"plain" has no passphrase'),
    ('unlock_data_key(authentic, seal(one))', '22000', '"authentic"'),
    ('unlock_data_key(disabled, seal(one))', '55000', '"disabled" is disabled'),
    ('unlock_data_key(destroyed, seal(one))', '55000', '"destroyed" was destroyed'),
    ('unlock_data_key(expired, seal(one))', '55000', '"expired" is expired')
) AS calls (call, state, naming);
SELECT refuses('token_decrypt(closed_token)', '55000', '"closed" is locked');
SELECT is(as_role('pgkeymgr_test_bob', call), '42501', 'without a grant: ' || call) FROM (VALUES
    ('unlock_data_key(''closed'', seal(one))'), ('unlock_data_key(closed, seal(one))')
) AS calls (call);
SELECT lives_ok('SELECT unlock_data_key(''closed'', seal(one)) FROM v', 'unlocked by name');
SELECT is(token_decrypt(closed_token), plaintext, 'it decrypts') FROM v;
SELECT is(token_decrypt(token_encrypt('closed', plaintext)), plaintext, 'it encrypts') FROM v;
SELECT is(token_decrypt(token_encrypt(closed, plaintext)), plaintext, 'by id, too') FROM v;
SELECT lock();
SELECT refuses('token_decrypt(closed_token)', '55000', '"closed" is locked');
SELECT lives_ok(
    'SELECT unlock_data_key(key => closed, sealed => seal(one), for_transaction => true) FROM v', 'unlocked by id'
);
SELECT is(token_decrypt(closed_token), plaintext, 'it decrypts') FROM v;
SELECT lives_ok('SELECT unlock_data_key(''both'', seal(one)) FROM v', 'one that the server opens, too');
-- For the user who knows the passphrase and has a grant, either one.
SELECT grant_data_key('closed', 'pgkeymgr_test_bob', '{decrypt}');
SELECT is(as_role('pgkeymgr_test_bob', 'token_decrypt(closed_token)'), '55000', 'not for another role');
SELECT is(as_role('pgkeymgr_test_bob', 'unlock_data_key(''closed'', seal(one))'), '', 'which unlocks it for itself');
SELECT is(
    as_role('pgkeymgr_test_bob', 'SELECT convert_from(token_decrypt(closed_token), ''UTF8'')'), 'a long plaintext',
    'and decrypts'
);
SELECT is(as_role('pgkeymgr_test_bob', 'token_encrypt(''closed'', plaintext)'), '42501', 'as it is granted');

-- supersede_data_key, with the passphrase
SELECT refuses(call, state, naming) FROM (VALUES
    ('supersede_data_key(NULL::text, seal(one))', '22000', 'key'),
    ('supersede_data_key(NULL::integer, seal(one))', '22000', 'key'),
    ('supersede_data_key(''closed'', NULL)', '22000', 'sealed'),
    ('supersede_data_key(closed, NULL)', '22000', 'sealed'),
    ('supersede_data_key(''closed'', seal(not_utf8))', '22000', 'UTF-8'),
    ('supersede_data_key(''closed'', seal(one, two))', '22000', 'not 2'),
    ('supersede_data_key(''closed'', one)', '28000', 'no open offer'),
    ('supersede_data_key(closed, seal(two))', '28P01', '"closed"'),
    ('supersede_data_key(''unknown'', seal(one))', '42704', '"unknown"'),
    ('supersede_data_key(0, seal(one))', '42704', '0'),
    ('supersede_data_key(''plain'', seal(one))', '55000', '"plain" has no passphrase'),
    ('supersede_data_key(authentic, seal(one))', '22000', '"authentic"'),
    ('supersede_data_key(disabled, seal(one))', '55000', '"disabled" is disabled'),
    ('supersede_data_key(destroyed, seal(one))', '55000', '"destroyed" was destroyed'),
    -- Nobody else makes a version that its holders could not open.
    ('supersede_data_key(''closed'')', '55000', '"closed" has a passphrase'),
    ('supersede_data_key(''both'')', '55000', '"both" has a passphrase')
) AS calls (call, state, naming);
SELECT is(supersede_data_key('closed', seal(one)), currval('key_id_seq')::integer, 'by name; its id') FROM v;
SELECT is(supersede_data_key(key => both_ways, sealed => seal(one)), currval('key_id_seq')::integer, 'by id') FROM v;
SELECT results_eq(
    $$SELECT k.name, wraps, length(w.wrapped) - 41, w.salt <> old.salt, w.wrapped <> old.wrapped
    FROM data_keys AS k JOIN key_wrap AS w ON w.key_id = k.id AND w.kind = 'passphrase'
    JOIN key AS before ON before.superseded_by = k.id
    JOIN key_wrap AS old ON old.key_id = before.id AND old.kind = 'passphrase' ORDER BY k.name$$,
    $$VALUES ('both', '{root,passphrase}'::text[], 32, true, true), ('closed', '{passphrase}', 24, true, true)$$,
    'the new versions have the wraps that the old ones have'
);
SELECT refuses(call, '55000', 'already superseded') FROM (VALUES
    ('supersede_data_key(closed, seal(one))'), ('supersede_data_key(both_ways, seal(one))')
) AS calls (call);
SELECT is(my_usage, '{decrypt}', 'grants go with it') FROM (
    SELECT as_role('pgkeymgr_test_bob', 'SELECT my_usage FROM data_keys WHERE name = ''closed'' AND id <> closed')
) AS seen (my_usage);
SELECT refuses('token_encrypt(''closed'', plaintext)', '55000', '"closed" is locked');
SELECT is(token_decrypt(closed_token), plaintext, 'the old version is still unlocked') FROM v;

-- By name, the versions before it that have the same passphrase are unlocked with it; by id, that one.
SELECT lock();
SELECT unlock_data_key(id, seal(one)) FROM key, v WHERE name = 'closed' AND superseded_by IS NULL;
SELECT isnt(token_encrypt('closed', plaintext), NULL, 'unlocked by id') FROM v;
SELECT refuses('token_decrypt(closed_token)', '55000', '"closed" is locked');
SELECT unlock_data_key('closed', seal(one)) FROM v;
SELECT is(token_decrypt(closed_token), plaintext, 'the version before it, by name') FROM v;
SELECT isnt(token_encrypt('closed', plaintext), NULL, 'and the current one') FROM v;

-- change_passphrase
SELECT lives_ok(
    $$SELECT change_passphrase((SELECT id FROM key WHERE name = 'closed' AND superseded_by IS NULL), seal(one, two)) FROM v$$,
    'another passphrase for the current version'
);
SELECT isnt(token_encrypt('closed', plaintext), NULL, 'this session has it unlocked still') FROM v;
SELECT is(wraps_of('closed'), '{passphrase}', 'in place of the one before');
SELECT refuses('unlock_data_key(''closed'', seal(one))', '28P01', '"closed"');
SELECT lock();
SELECT lives_ok('SELECT unlock_data_key(''closed'', seal(two)) FROM v', 'unlocked with the new one');
SELECT isnt(token_encrypt('closed', plaintext), NULL, 'the current version') FROM v;
SELECT refuses('token_decrypt(closed_token)', '55000', '"closed" is locked');
SELECT lives_ok(
    $$SELECT change_passphrase(key => closed, sealed => seal(one, two)) FROM v$$, 'by id, the version before it'
);
SELECT lives_ok('SELECT unlock_data_key(closed, seal(two)) FROM v', 'which that opens now');
SELECT is(token_decrypt(closed_token), plaintext, 'and it decrypts') FROM v;
SELECT is(
    as_role('pgkeymgr_test_bob', 'change_passphrase(closed, seal(two, one))'), '',
    'a user with a grant may, who knows it'
);
SELECT refuses(call, state, naming) FROM (VALUES
    ('change_passphrase(NULL::text, seal(one, two))', '22000', 'key'),
    ('change_passphrase(NULL::integer, seal(one, two))', '22000', 'key'),
    ('change_passphrase(''closed'', NULL)', '22000', 'sealed'),
    ('change_passphrase(closed, NULL)', '22000', 'sealed'),
    ('change_passphrase(''closed'', seal(one))', '22000', 'not 1'),
    ('change_passphrase(''closed'', seal(two, one, two))', '22000', 'not 3'),
    ('change_passphrase(''closed'', seal(two, ''''::bytea))', '22000', 'empty'),
    ('change_passphrase(''closed'', seal(two, not_utf8))', '22000', 'UTF-8'),
    ('change_passphrase(''closed'', seal(not_utf8, two))', '22000', 'UTF-8'),
    ('change_passphrase(''closed'', one)', '28000', 'no open offer'),
    ('change_passphrase(closed, seal(two, one))', '28P01', '"closed"'),
    ('change_passphrase(''unknown'', seal(one, two))', '42704', '"unknown"'),
    ('change_passphrase(0, seal(one, two))', '42704', '0'),
    ('change_passphrase(''plain'', seal(one, two))', '55000', '"plain" has no passphrase'),
    ('change_passphrase(authentic, seal(one, two))', '22000', '"authentic"'),
    ('change_passphrase(disabled, seal(one, two))', '55000', '"disabled" is disabled'),
    ('change_passphrase(destroyed, seal(one, two))', '55000', '"destroyed" was destroyed')
) AS calls (call, state, naming);
SELECT is(as_role('pgkeymgr_test_carol', 'change_passphrase(closed, seal(one, two))'), '42501', 'without a grant');

-- The contents of the wrap are bound to it, and the stretching cannot be made weaker.
SELECT refuses('unlock_data_key(''both'', seal(one))', state, '"both"', after) FROM (VALUES
    ('UPDATE key_wrap SET wrapped = set_bit(wrapped, 300, 1 - get_bit(wrapped, 300)) WHERE kind = ''passphrase''',
        '28P01'),
    ('UPDATE key_wrap SET opslimit = 1 WHERE kind = ''passphrase''', '22000'),
    ('UPDATE key_wrap SET memlimit = 8192 WHERE kind = ''passphrase''', '22000'),
    ('UPDATE key_wrap SET salt = '''' WHERE kind = ''passphrase''', '22000')
) AS changes (after, state);

-- add_root_wrap, drop_passphrase
SELECT lives_ok(
    'SELECT add_root_wrap((SELECT id FROM key WHERE name = ''closed'' AND superseded_by IS NULL))',
    'the root key''s wrap for a key that is unlocked'
);
SELECT is(wraps_of('closed'), '{root,passphrase}', 'beside the other');
SELECT lock();
SELECT isnt(token_encrypt('closed', plaintext), NULL, 'the server opens it by itself') FROM v;
SELECT refuses('token_decrypt(closed_token)', '55000', '"closed" is locked');
SELECT lives_ok(
    'SELECT drop_passphrase((SELECT id FROM key WHERE name = ''closed'' AND superseded_by IS NULL))', 'without its passphrase'
);
SELECT is(wraps_of('closed'), '{root}', 'there is the other');
SELECT refuses('unlock_data_key(''closed'', seal(two))', '55000', '"closed" has no passphrase');
SELECT isnt(supersede_data_key('closed'), NULL, 'and is superseded without one');
SELECT unlock_data_key(closed, seal(one)) FROM v;
SELECT lives_ok('SELECT add_root_wrap(closed) FROM v', 'by id, the first version');
SELECT lives_ok('SELECT drop_passphrase(closed) FROM v', 'without its passphrase');
SELECT lock();
SELECT is(token_decrypt(closed_token), plaintext, 'the server opens it by itself') FROM v;
SELECT lives_ok('SELECT add_root_wrap(''plain'')', 'one that has a root wrap');
SELECT is(token_decrypt(token_encrypt('plain', plaintext)), plaintext, 'gets a new one') FROM v;
SELECT lives_ok('SELECT drop_root_wrap(both_ways) FROM v', 'by id');
SELECT is(array_agg(kind::text), '{passphrase}', 'that wrap, and no other') FROM key_wrap JOIN v ON key_id = both_ways;
SELECT refuses(call, state, naming) FROM (VALUES
    ('add_root_wrap(NULL::text)', '22000', 'key'),
    ('add_root_wrap(NULL::integer)', '22000', 'key'),
    ('add_root_wrap(''unknown'')', '42704', '"unknown"'),
    ('add_root_wrap(0)', '42704', '0'),
    ('add_root_wrap(both_ways)', '55000', '"both" is locked'),
    ('add_root_wrap(destroyed)', '55000', '"destroyed"'),
    ('add_root_wrap(authentic)', '22000', '"authentic"')
) AS calls (call, state, naming);

-- Roles that may not.
SELECT is(as_role('pgkeymgr_test_alice', 'add_root_wrap(''plain'')'), '', 'an administrator may');
SELECT is(as_role('pgkeymgr_test_bob', call), '42501', 'a user may not: ' || call) FROM (VALUES
    ('add_passphrase(''plain'', one)'), ('add_passphrase(plain, one)'),
    ('drop_passphrase(''plain'')'), ('drop_passphrase(plain)'),
    ('add_root_wrap(''plain'')'), ('add_root_wrap(plain)'),
    ('drop_root_wrap(''plain'')'), ('drop_root_wrap(plain)'),
    ('supersede_data_key(''plain'', one)'), ('supersede_data_key(plain, one)')
) AS calls (call);
SELECT is(as_role('pgkeymgr_test_nobody', call), '42501', 'nobody else: ' || call) FROM (VALUES
    ('unlock_data_key(''plain'', one)'), ('unlock_data_key(plain, one)'),
    ('change_passphrase(''plain'', one)'), ('change_passphrase(plain, one)'), ('add_passphrase(''plain'', one)')
) AS calls (call);

-- A name stands for all versions, and for the keys that were made for them.
SELECT create_data_key('whole') AS whole_id \gset
CREATE TEMP TABLE whole AS SELECT token_encrypt('whole', 'first version'::bytea) AS first;
SELECT supersede_data_key('whole');
SELECT results_eq(
    $$SELECT wraps::text FROM data_keys WHERE name = 'whole' ORDER BY id$$, ARRAY['{root}', '{root}'], 'two versions'
);
SELECT add_passphrase('whole', seal(one)) FROM v;
SELECT results_eq(
    $$SELECT wraps::text FROM data_keys WHERE name = 'whole' ORDER BY id$$,
    ARRAY['{root,passphrase}', '{root,passphrase}'], 'both get the passphrase'
);
SELECT drop_root_wrap('whole');
SELECT results_eq(
    $$SELECT wraps::text FROM data_keys WHERE name = 'whole' ORDER BY id$$, ARRAY['{passphrase}', '{passphrase}'],
    'both lose the root wrap'
);
SELECT throws_ok('SELECT token_decrypt(first) FROM whole', '55000', NULL, 'the first version is locked');
SELECT unlock_data_key('whole', seal(one)) FROM v;
SELECT is(token_decrypt(first), 'first version', 'both are unlocked') FROM whole;
SELECT change_passphrase('whole', seal(one, two)) FROM v;
SELECT lock();
SELECT unlock_data_key('whole', seal(two)) FROM v;
SELECT is(token_decrypt(first), 'first version', 'both have the new passphrase') FROM whole;
SELECT add_root_wrap('whole');
SELECT drop_passphrase('whole');
SELECT results_eq(
    $$SELECT wraps::text FROM data_keys WHERE name = 'whole' ORDER BY id$$, ARRAY['{root}', '{root}'], 'and back'
);
SELECT add_passphrase(:whole_id, seal(one)) FROM v;
SELECT refuses('add_passphrase(''whole'', seal(one))', '55000', 'already has a passphrase');
SELECT refuses('drop_root_wrap(''whole'')', '55000', 'its last');

SELECT finish();
ROLLBACK;
