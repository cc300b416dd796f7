-- sql/compat/pgcryptokey.sql
BEGIN;
-- The warning that passwords and keys are in the clear here is in test/regress.
SET client_min_messages = error;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(123);

CREATE ROLE pgkeymgr_test_admin IN ROLE pgkeymgr_admin;
CREATE ROLE pgkeymgr_test_user IN ROLE pgkeymgr_user;

-- The example of its README.
CREATE EXTENSION pgcrypto SCHEMA public;
SELECT create_cryptokey('test', 16, 'abc') AS test \gset
CREATE TEMPORARY TABLE cryptokey_sample (data bytea);
INSERT INTO cryptokey_sample VALUES (pgp_sym_encrypt('my data', get_cryptokey('test', 'abc')));
SELECT is(set_cryptokey('test', 'abc')::text, '', 'set_cryptokey gives nothing');
SELECT is(pgp_sym_decrypt(data, current_setting('pgcryptokey.key')), 'my data', 'by the setting') FROM cryptokey_sample;
SET LOCAL pgcryptokey.default_password = 'abc';
SELECT is(drop_cryptokey('test')::text, '', 'drop_cryptokey, with the default password');
SELECT is_empty('SELECT FROM pgcryptokey', 'and it is gone');
RESET pgcryptokey.default_password;

-- Made with the default password, and used with the password, by name and by id.
SELECT set_config('pgcryptokey.default_password', 'default', true);
SELECT create_cryptokey('by default', 64) AS by_default \gset
SELECT set_config('pgcryptokey.default_password', '', true);
SELECT matches(get_cryptokey('by default', 'default'), '^[0-9a-f]{128}$', 'the key is 64 bytes in hexadecimal');
SELECT is(get_cryptokey(:by_default, 'default'), get_cryptokey('by default', 'default'), 'the same by id');
SELECT set_config('pgcryptokey.default_password', 'default', true);
SELECT is(get_cryptokey(:by_default), get_cryptokey('by default', 'default'), 'the same with the default password');
SELECT is(get_cryptokey('by default'), get_cryptokey('by default', 'default'), 'the same by name');
SELECT is(get_cryptokey(name => 'by default', password => NULL), get_cryptokey('by default'), 'NULL is the default');
SELECT set_cryptokey(:by_default);
SELECT is(
    ARRAY[
        current_setting('pgcryptokey.key_id'), current_setting('pgcryptokey.name'), current_setting('pgcryptokey.key')
    ],
    ARRAY[:'by_default', 'by default', get_cryptokey('by default')], 'what set_cryptokey sets'
);

-- How it is kept.
SELECT results_eq(
    $$SELECT kind::text, length(salt), opslimit, memlimit, fingerprint, length(wrapped)
    FROM key JOIN key_wrap ON key_id = id WHERE name = 'by default'$$,
    $$VALUES ('passphrase', 16, 3, 256::bigint * 1024 * 1024, NULL, 64 + 41)$$,
    'wrapped under the password only, by Argon2id at MODERATE limits'
);
SELECT results_eq(
    $$SELECT p.key_id, p.name, encrypted_data_key = wrapped, p.created, p.superseded_by
    FROM pgcryptokey AS p JOIN key ON key.id = p.key_id JOIN key_wrap AS w ON w.key_id = p.key_id$$,
    $$SELECT id, 'by default', true, created, NULL::integer FROM key WHERE name = 'by default'$$,
    'the relation pgcryptokey'
);

-- Wrong passwords, and none.
CREATE TEMP TABLE v AS SELECT :by_default AS id, 'a wrong password'::bytea AS wrong;
GRANT SELECT ON v TO PUBLIC;
SELECT refuses(call, '28P01', '"by default"') FROM (VALUES
    ('get_cryptokey(''by default'', convert_from(wrong, ''UTF8''))'),
    ('get_cryptokey(id, ''DEFAULT'')'),
    ('drop_cryptokey(''by default'', convert_from(wrong, ''UTF8''))')
) AS calls (call);
SELECT set_config('pgcryptokey.default_password', '', true);
SELECT refuses(call, '22023', 'password') FROM (VALUES
    ('create_cryptokey(''new'', 16)'),
    ('create_cryptokey(''new'', 16, '''')'),
    ('get_cryptokey(id)'),
    ('get_cryptokey(''by default'')'),
    ('get_cryptokey(''by default'', '''')'),
    ('set_cryptokey(id)'),
    ('set_cryptokey(''by default'')'),
    ('change_cryptokey_password(id, '''', ''new'')'),
    ('change_cryptokey_password(''by default'', ''default'', '''')'),
    ('supersede_cryptokey(id, 16)'),
    ('supersede_cryptokey(''by default'', 16)'),
    ('reencrypt_data(wrong, id, id)'),
    ('reencrypt_data_bytea(wrong, id, id)'),
    ('drop_cryptokey(id)'),
    ('drop_cryptokey(''by default'')')
) AS calls (call);
SELECT isnt(get_cryptokey(id, 'default'), NULL, 'none of which has dropped it') FROM v;

-- Keys that are not there or not pgcryptokey's; lengths and names; NULL.
SELECT create_data_key('data') AS data \gset
ALTER TABLE v ADD COLUMN data integer;
UPDATE v SET data = :data;
SELECT refuses(call, state, naming) FROM (VALUES
    ('get_cryptokey(''unknown'', ''password'')', '42704', '"unknown"'),
    ('get_cryptokey(0, ''password'')', '42704', '0'),
    ('set_cryptokey(''unknown'', ''password'')', '42704', '"unknown"'),
    ('set_cryptokey(0, ''password'')', '42704', '0'),
    ('change_cryptokey_password(''unknown'', ''old'', ''new'')', '42704', '"unknown"'),
    ('change_cryptokey_password(0, ''old'', ''new'')', '42704', '0'),
    ('supersede_cryptokey(''unknown'', 16, ''password'')', '42704', '"unknown"'),
    ('supersede_cryptokey(0, 16, ''password'')', '42704', '0'),
    ('reencrypt_data(wrong, 0, id, ''default'')', '42704', '0'),
    ('reencrypt_data_bytea(wrong, id, 0, ''default'')', '42704', '0'),
    ('drop_cryptokey(''unknown'', ''password'')', '42704', '"unknown"'),
    ('drop_cryptokey(0, ''password'')', '42704', '0'),

    ('get_cryptokey(''data'', ''password'')', '55000', '"data"'),
    ('get_cryptokey(data, ''password'')', '55000', '"data"'),
    ('set_cryptokey(data, ''password'')', '55000', '"data"'),
    ('change_cryptokey_password(data, ''old'', ''new'')', '55000', '"data"'),
    ('supersede_cryptokey(data, 16, ''password'')', '55000', '"data"'),
    ('drop_cryptokey(data, ''password'')', '55000', '"data"'),
    ('reencrypt_data(wrong, data, id, ''default'')', '55000', '"data"'),
    -- Nor do tokens take one of pgcryptokey's keys.
    ('token_encrypt(id, wrong)', '22000', '"by default"'),

    ('create_cryptokey('''', 16, ''password'')', '22023', 'name'),
    ('create_cryptokey(repeat(''a'', 256), 16, ''password'')', '22023', '256'),
    ('create_cryptokey(repeat(''a'', 10000), 16, ''password'')', '22023', '10000'),
    ('create_cryptokey(''by default'', 16, ''password'')', '42710', '"by default"'),
    ('create_cryptokey(''data'', 16, ''password'')', '42710', '"data"'),
    ('create_cryptokey(''new'', 0, ''password'')', '22023', '0'),
    ('create_cryptokey(''new'', -1, ''password'')', '22023', '-1'),
    ('create_cryptokey(''new'', 1025, ''password'')', '22023', '1025'),
    ('create_cryptokey(''new'', 1000000000, ''password'')', '22023', '1000000000'),
    ('supersede_cryptokey(id, 0, ''default'')', '22023', '0'),
    ('supersede_cryptokey(id, 1000000000, ''default'')', '22023', '1000000000'),

    ('create_cryptokey(NULL, 16, ''password'')', '22000', 'name'),
    ('create_cryptokey(''new'', NULL, ''password'')', '22000', 'length'),
    ('get_cryptokey(NULL::text, ''password'')', '22000', 'key'),
    ('get_cryptokey(NULL::integer, ''password'')', '22000', 'key'),
    ('set_cryptokey(NULL::text, ''password'')', '22000', 'key'),
    ('set_cryptokey(NULL::integer, ''password'')', '22000', 'key'),
    ('change_cryptokey_password(NULL::text, ''old'', ''new'')', '22000', 'key'),
    ('change_cryptokey_password(NULL::integer, ''old'', ''new'')', '22000', 'key'),
    ('change_cryptokey_password(id, NULL, ''new'')', '22000', 'password'),
    ('change_cryptokey_password(''by default'', ''default'', NULL)', '22000', 'password'),
    ('supersede_cryptokey(NULL::text, 16, ''password'')', '22000', 'key'),
    ('supersede_cryptokey(id, NULL, ''default'')', '22000', 'length'),
    ('reencrypt_data(wrong, NULL, id, ''default'')', '22000', 'key'),
    ('reencrypt_data_bytea(wrong, id, NULL, ''default'')', '22000', 'key'),
    ('drop_cryptokey(NULL::text, ''password'')', '22000', 'key'),
    ('drop_cryptokey(NULL::integer, ''password'')', '22000', 'key')
) AS calls (call, state, naming);

-- change_cryptokey_password: the same key under another password, and not under the old one.
SELECT get_cryptokey('by default', 'default') AS before \gset
SELECT refuses('change_cryptokey_password(id, convert_from(wrong, ''UTF8''), ''new'')', '28P01', '"by default"');
SELECT is(change_cryptokey_password('by default', 'default', 'changed')::text, '', 'change_cryptokey_password');
SELECT is(get_cryptokey('by default', 'changed'), :'before', 'the same key under the new password');
SELECT refuses('get_cryptokey(id, ''default'')', '28P01', '"by default"');
SELECT change_cryptokey_password(key_id => :by_default, old_password => 'changed', new_password => 'default');
SELECT is(get_cryptokey('by default', 'default'), :'before', 'and back, by id');

-- supersede_cryptokey: a new key under the same name and password; the old one by its id.
SELECT supersede_cryptokey(name => 'by default', byte_len => 32, password => 'default') AS second \gset
SELECT matches(get_cryptokey('by default', 'default'), '^[0-9a-f]{64}$', 'the name is the new key''s');
SELECT is(get_cryptokey(:second, 'default'), get_cryptokey('by default', 'default'), 'so is its id');
SELECT is(get_cryptokey(:by_default, 'default'), :'before', 'the old key by its id');
SELECT is(superseded_by, :second, 'which says what superseded it') FROM pgcryptokey WHERE key_id = :by_default;
SELECT refuses('supersede_cryptokey(id, 16, ''default'')', '55000', '"by default"');
SELECT refuses('supersede_cryptokey(''by default'', 16, convert_from(wrong, ''UTF8''))', '28P01', '"by default"');
-- Since the name is nobody's after the new one is gone, it is not the old one's again.
SELECT refuses('get_cryptokey(''by default'', ''default'')', '55000', '"by default"',
    'DELETE FROM key WHERE name = ''by default'' AND superseded_by IS NULL');

-- reencrypt_data, reencrypt_data_bytea
CREATE TEMP TABLE pgp AS
SELECT pgp_sym_encrypt('my data', get_cryptokey(:by_default, 'default')) AS text,
    pgp_sym_encrypt_bytea('\x00ff', get_cryptokey(:by_default, 'default')) AS bytes;
SELECT is(
    pgp_sym_decrypt(reencrypt_data(text, :by_default, :second, 'default'), get_cryptokey('by default', 'default')),
    'my data', 'reencrypt_data'
) FROM pgp;
SELECT is(
    pgp_sym_decrypt_bytea(
        reencrypt_data_bytea(data => bytes, old_key_id => :by_default, new_key_id => :second, password => 'default'),
        get_cryptokey('by default', 'default')
    ), '\x00ff', 'reencrypt_data_bytea'
) FROM pgp;
SELECT is(reencrypt_data(NULL, :by_default, :second, 'default'), NULL, 'reencrypt_data of NULL');
SELECT is(reencrypt_data_bytea(NULL, :by_default, :second, 'default'), NULL, 'reencrypt_data_bytea of NULL');
SELECT throws_ok(
    format('SELECT reencrypt_data(text, %1$s, %1$s, ''default'') FROM pgp', :second), '39000', NULL,
    'not that key''s data'
);
-- Wherever pgcrypto is.
CREATE SCHEMA "pgcrypto's";
DROP EXTENSION pgcrypto;
SELECT refuses(call, '0A000', 'pgcrypto') FROM (VALUES
    ('reencrypt_data(wrong, id, id, ''default'')'), ('reencrypt_data_bytea(wrong, id, id, ''default'')')
) AS calls (call);
CREATE EXTENSION pgcrypto SCHEMA "pgcrypto's";
SELECT is(
    "pgcrypto's".pgp_sym_decrypt(reencrypt_data(text, :by_default, :second, 'default'), get_cryptokey('by default',
        'default')), 'my data', 'pgcrypto in another schema'
) FROM pgp;

-- Two passwords, of which the server has one.
SELECT set_config('pgcryptokey.default_password', 'server''s', true);
SELECT create_cryptokey('two', 1, 'client''s' || current_setting('pgcryptokey.default_password')) AS two \gset
SELECT matches(get_cryptokey('two', 'client''s' || current_setting('pgcryptokey.default_password')), '^[0-9a-f]{2}$',
    'both open it');
SELECT refuses('get_cryptokey(''two'', ''client''''s'')', '28P01', '"two"');
SELECT refuses('get_cryptokey(''two'')', '28P01', '"two"');

-- Disabled, expired, destroyed; a wrap that was altered, copied from another key, or made cheap to guess.
SELECT refuses('get_cryptokey(id, ''default'')', state, naming, after) FROM (VALUES
    ('55000', '"by default"', 'UPDATE key SET state = ''disabled'' WHERE name = ''by default'''),
    ('55000', '"by default"', 'UPDATE key SET expires = now() WHERE name = ''by default'''),
    ('55000', '"by default"', 'SELECT destroy_data_key(id, ''by default'') FROM v'),
    ('28P01', '"by default"', 'UPDATE key_wrap SET wrapped = set_byte(wrapped, 30, 255 - get_byte(wrapped, 30))'),
    ('28P01', '"by default"', 'UPDATE key SET uuid = gen_random_uuid() WHERE name = ''by default'''),
    ('28P01', '"by default"', 'UPDATE key_wrap SET wrapped = two.wrapped FROM key_wrap AS two
        JOIN key ON id = two.key_id WHERE name = ''two''')
) AS changes (state, naming, after);
-- (This session has not opened this one yet.)
SELECT create_cryptokey('unopened', 16, 'default');
SELECT refuses('get_cryptokey(''unopened'', ''default'')', '22000', 'altered', after) FROM (VALUES
    ('UPDATE key_wrap SET opslimit = 1'),
    ('UPDATE key_wrap SET opslimit = 2147483647'),
    ('UPDATE key_wrap SET memlimit = 8192'),
    ('UPDATE key_wrap SET memlimit = 9223372036854775807'),
    ('UPDATE key_wrap SET salt = ''short''')
) AS changes (after);
SELECT refuses('get_cryptokey(''unopened'', ''default'')', '22000', '"unopened"', 'UPDATE key_wrap SET opslimit = 1');
SELECT refuses('get_cryptokey(''unopened'', ''default'')', '28P01', '"unopened"', 'UPDATE key_wrap SET opslimit = 4');
SELECT drop_cryptokey('unopened', 'default');

-- The password is the permission, for all who may call; who may administer keys sees the wraps.
SELECT is(as_role('pgkeymgr_test_user', call), result, 'a user: ' || call) FROM (VALUES
    ('SELECT get_cryptokey(id, ''default'') FROM v', :'before'),
    ('SELECT count(*) FROM pgcryptokey', '42501'),
    ('length(current_setting(''pgcryptokey.default_password''))', '8')
) AS calls (call, result);
SELECT is(as_role('pgkeymgr_test_admin', 'SELECT count(*) FROM pgcryptokey'), '3', 'an administrator sees them');
SELECT is(as_role('pgkeymgr_test_user', 'drop_cryptokey(id, ''default'')'), '', 'a user who has the password drops');
SELECT is(drop_cryptokey(key_id => :second, password => 'default')::text, '', 'drop_cryptokey by id');
SELECT results_eq('SELECT name FROM pgcryptokey', ARRAY['two'], 'what is dropped is gone');
SELECT is_empty('SELECT FROM key_wrap WHERE key_id NOT IN (SELECT id FROM key)', 'wraps and all');
SELECT isnt(create_cryptokey('by default', 1024, 'another'), NULL, 'and its name is free');

SELECT finish();
ROLLBACK;
