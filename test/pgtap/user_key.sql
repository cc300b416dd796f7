-- sql/sealed/user_key.sql
BEGIN;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(106);

CREATE ROLE pgkeymgr_test_alice IN ROLE pgkeymgr_admin;
CREATE ROLE "pgkeymgr_test ""Bob""" IN ROLE pgkeymgr_user;
CREATE ROLE pgkeymgr_test_carol IN ROLE pgkeymgr_user;
CREATE ROLE pgkeymgr_test_nobody;
GRANT USAGE ON SCHEMA pgkeymgr TO pgkeymgr_test_nobody;
CREATE TEMP TABLE v AS
SELECT
    convert_to('correct horse, Grüße 世界', 'UTF8') AS one, convert_to('battery staple', 'UTF8') AS two,
    convert_to('another one', 'UTF8') AS three,
    'not UTF-8: '::bytea || '\xff' AS not_utf8, 'a long plaintext'::bytea AS plaintext;
GRANT SELECT ON v TO PUBLIC;

-- create_user_key
SELECT is(as_role('pgkeymgr_test_alice', call), '42704', 'without a pair: ' || call) FROM (VALUES
    ('unlock_user_key(seal(one))'), ('change_user_passphrase(seal(one, two))'), ('rotate_user_key(seal(one))'),
    ('create_data_key(''x'', wrap => ''user'')')
) AS calls (call);
SELECT refuses(call, '22000', naming) FROM (VALUES
    ('create_user_key(NULL)', 'sealed'),
    ('create_user_key(seal(not_utf8))', 'UTF-8'),
    ('create_user_key(seal(''''::bytea))', 'empty'),
    ('create_user_key(seal(one, two))', 'not 2')
) AS calls (call, naming);
SELECT is_empty('SELECT FROM user_key', 'what is refused leaves nothing behind');
SELECT is(as_role('pgkeymgr_test_alice', 'create_user_key(sealed => seal(one))'), '', 'a pair');
SELECT results_eq(
    $$SELECT role::regrole::text, length(public), length(salt), opslimit, memlimit, length(wrapped),
        created BETWEEN now() AND clock_timestamp()
    FROM user_key$$,
    $$VALUES ('pgkeymgr_test_alice', 32, 16, 3, 268435456::bigint, 32 + 41, true)$$,
    'its secret half under Argon2id''s MODERATE limits'
);
SELECT is(as_role('pgkeymgr_test_alice', 'create_user_key(seal(one))'), '42710', 'one pair each');
SELECT is(as_role('pgkeymgr_test "Bob"', 'create_user_key(seal(one))'), '', 'a user''s, with the same passphrase');
SELECT results_eq(
    'SELECT count(DISTINCT public), count(DISTINCT salt), count(DISTINCT wrapped) FROM user_key',
    'VALUES (2::bigint, 2::bigint, 2::bigint)', 'has nothing in common with it'
);

-- A data key that only a user can open: no wrap under the root key.
SELECT is(
    as_role('pgkeymgr_test_alice', 'create_data_key(''hers'', 24, wrap => ''user'') > 0'), 'true', 'a key for one user'
);
SELECT results_eq(
    $$SELECT kind::text, holder = encode(public, 'hex'), w.salt, w.opslimit, w.memlimit, fingerprint, length(w.wrapped)
    FROM key_wrap AS w JOIN user_key ON role = 'pgkeymgr_test_alice'::regrole
    WHERE key_id = (SELECT id FROM key WHERE name = 'hers')$$,
    $$VALUES ('user', true, NULL::bytea, NULL::integer, NULL::bigint, NULL, 24 + 81)$$,
    'sealed to her public key, and nothing else'
);
SELECT is(wraps, '{user}', 'data_keys tells so') FROM data_keys WHERE name = 'hers';
SELECT refuses(call, '55000', '"hers" is locked') FROM (VALUES
    ('token_encrypt(''hers'', plaintext)'), ('supersede_data_key(''hers'')'), ('add_root_wrap(''hers'')'),
    ('add_passphrase(''hers'', seal(one))'), ('export_data_key(''hers'', decode(repeat(''09'', 32), ''hex''))')
) AS calls (call);
SELECT is(as_role('pgkeymgr_test_alice', 'token_encrypt(''hers'', plaintext)'), '55000', 'not yet');

-- unlock_user_key
SELECT is(as_role('pgkeymgr_test_alice', call), state, call) FROM (VALUES
    ('unlock_user_key(NULL)', '22000'),
    ('unlock_user_key(seal(one), NULL)', '22000'),
    ('unlock_user_key(seal(not_utf8))', '22000'),
    ('unlock_user_key(seal(one, two))', '22000'),
    ('unlock_user_key(one)', '28000'),
    ('unlock_user_key(seal(two))', '28P01')
) AS calls (call, state);
SELECT is(as_role('pgkeymgr_test_alice', 'token_encrypt(''hers'', plaintext)'), '55000', 'still not');
SELECT is(as_role('pgkeymgr_test_alice', 'unlock_user_key(seal(one))'), '', 'with the passphrase');
SELECT as_role('pgkeymgr_test_alice', 'token_encrypt(''hers'', plaintext)') AS hers \gset
SELECT is(as_role('pgkeymgr_test_alice', format('token_decrypt(%L)', hers)), plaintext::text,
    'it encrypts and decrypts')
FROM v, (VALUES (:'hers')) AS tokens (hers);
SELECT refuses('token_encrypt(''hers'', plaintext)', '55000', '"hers" is locked');
SELECT grant_data_key('hers', '"pgkeymgr_test ""Bob"""');
SELECT is(as_role('pgkeymgr_test "Bob"', 'unlock_user_key(seal(one), true)'), '', 'another user''s pair');
SELECT is(
    as_role('pgkeymgr_test "Bob"', format('token_decrypt(%L)', :'hers')), '55000', 'does not open it, grant or not'
);
-- Neither a wrap of the key itself nor one of another key is put in the wrong place.
SELECT is(
    as_role('pgkeymgr_test_alice', 'create_data_key(''other'', 24, wrap => ''user'') > 0'), 'true', 'another key'
);
SELECT as_role('pgkeymgr_test_alice', 'token_encrypt(''other'', plaintext)') AS others \gset
SAVEPOINT unaltered;
UPDATE key_wrap SET wrapped = (SELECT wrapped FROM key_wrap WHERE key_id = (SELECT id FROM key WHERE name = 'hers'))
WHERE key_id = (SELECT id FROM key WHERE name = 'other');
SELECT as_role('pgkeymgr_test_alice', 'token_encrypt(''other'', plaintext)') AS copied \gset
ROLLBACK TO unaltered;
UPDATE key_wrap SET wrapped = set_bit(wrapped, 800, 1 - get_bit(wrapped, 800)) WHERE kind = 'user';
SELECT as_role('pgkeymgr_test_alice', 'token_encrypt(''other'', plaintext)') AS flipped \gset
ROLLBACK TO unaltered;
UPDATE key_wrap SET wrapped = substr(wrapped, 1, 80) WHERE kind = 'user';
SELECT as_role('pgkeymgr_test_alice', 'token_encrypt(''other'', plaintext)') AS cut \gset
ROLLBACK TO unaltered;
SELECT isnt(as_role('pgkeymgr_test_alice', 'token_encrypt(''other'', plaintext)'), '55000', 'before and after');
SELECT is(state, '55000', 'refused: a wrap that was ' || change) FROM (VALUES
    ('copied from another key', :'copied'), ('changed', :'flipped'), ('cut', :'cut')
) AS states (change, state);

-- change_user_passphrase
SELECT is(as_role('pgkeymgr_test_alice', call), state, call) FROM (VALUES
    ('change_user_passphrase(NULL)', '22000'),
    ('change_user_passphrase(seal(one))', '22000'),
    ('change_user_passphrase(seal(one, two, three))', '22000'),
    ('change_user_passphrase(seal(one, ''''::bytea))', '22000'),
    ('change_user_passphrase(seal(one, not_utf8))', '22000'),
    ('change_user_passphrase(seal(not_utf8, one))', '22000'),
    ('change_user_passphrase(one)', '28000'),
    ('change_user_passphrase(seal(two, one))', '28P01')
) AS calls (call, state);
CREATE TEMP TABLE old AS SELECT * FROM user_key;
SELECT is(as_role('pgkeymgr_test_alice', 'change_user_passphrase(sealed => seal(one, two))'), '', 'another passphrase');
SELECT results_eq(
    $$SELECT role::regrole::text, new.public = old.public, new.salt = old.salt, new.wrapped = old.wrapped
    FROM user_key AS new JOIN old USING (role) ORDER BY 1$$,
    $$VALUES ('"pgkeymgr_test ""Bob"""', true, true, true), ('pgkeymgr_test_alice', true, false, false)$$,
    'for the same pair, and that of nobody else'
);
SELECT is(as_role('pgkeymgr_test_alice', format('token_decrypt(%L)', hers)), plaintext::text, 'it is still unlocked')
FROM v, (VALUES (:'hers')) AS tokens (hers);
SELECT is(as_role('pgkeymgr_test_alice', 'unlock_user_key(seal(one))'), '28P01', 'the old one is no good any more');
SELECT lock();
SELECT is(as_role('pgkeymgr_test_alice', format('token_decrypt(%L)', :'hers')), '55000', 'locked');
SELECT is(
    as_role('pgkeymgr_test_alice', 'unlock_user_key(sealed => seal(two), for_transaction => false)'), '', 'the new is'
);

-- rotate_user_key
SELECT is(as_role('pgkeymgr_test_alice', call), state, call) FROM (VALUES
    ('rotate_user_key(NULL)', '22000'),
    ('rotate_user_key(seal(two, not_utf8))', '22000'),
    ('rotate_user_key(seal(not_utf8))', '22000'),
    ('rotate_user_key(seal(two, ''''::bytea))', '22000'),
    ('rotate_user_key(seal(one, two, three))', '22000'),
    ('rotate_user_key(two)', '28000'),
    ('rotate_user_key(seal(one))', '28P01')
) AS calls (call, state);
CREATE TEMP TABLE unrotated AS
SELECT public, key_id, wraps.wrapped FROM user_key, key_wrap AS wraps
WHERE role = 'pgkeymgr_test_alice'::regrole AND kind = 'user';
SELECT is(count(*), 2::bigint, 'two keys are sealed to the pair') FROM unrotated;
SELECT is(
    as_role('pgkeymgr_test_alice', 'rotate_user_key(sealed => seal(two))'), '', 'another pair, the same passphrase'
);
CREATE FUNCTION tap.resealed() RETURNS TABLE (is_new boolean, keys bigint, holds boolean, is_resealed boolean,
    kinds text[])
LANGUAGE sql AS $$
    SELECT bool_and(u.public <> o.public), count(DISTINCT w.key_id), bool_and(w.holder = encode(u.public, 'hex')),
        bool_and(w.wrapped <> o.wrapped), array_agg(DISTINCT w.kind::text)
    FROM user_key AS u, unrotated AS o JOIN key_wrap AS w USING (key_id) WHERE u.role = 'pgkeymgr_test_alice'::regrole
$$;
SELECT results_eq(
    'SELECT * FROM resealed()', $$VALUES (true, 2::bigint, true, true, '{user}'::text[])$$,
    'what was sealed to the old one is sealed to it, and nothing to the old one'
);
SELECT is(as_role('pgkeymgr_test_alice', format('token_decrypt(%L)', hers)), plaintext::text, 'this session goes on')
FROM v, (VALUES (:'hers')) AS tokens (hers);
SELECT lock();
SELECT is(as_role('pgkeymgr_test_alice', format('token_decrypt(%L)', :'hers')), '55000', 'locked');
SELECT is(as_role('pgkeymgr_test_alice', 'unlock_user_key(seal(two))'), '', 'unlocked with the same passphrase');
SELECT is(as_role('pgkeymgr_test_alice', format('token_decrypt(%L)', token)), plaintext::text, 'and it decrypts')
FROM v, (VALUES (:'hers'), (:'others')) AS tokens (token);
DELETE FROM unrotated;
INSERT INTO unrotated
SELECT public, key_id, wraps.wrapped FROM user_key, key_wrap AS wraps
WHERE role = 'pgkeymgr_test_alice'::regrole AND kind = 'user';
SELECT lock();
SELECT is(
    as_role('pgkeymgr_test_alice', 'rotate_user_key(seal(two, three))'), '', 'another pair and passphrase, locked'
);
SELECT results_eq(
    'SELECT * FROM resealed()', $$VALUES (true, 2::bigint, true, true, '{user}'::text[])$$, 'all is sealed to it'
);
SELECT is(as_role('pgkeymgr_test_alice', format('token_decrypt(%L)', :'hers')), '55000', 'that unlocks nothing');
SELECT is(as_role('pgkeymgr_test_alice', 'unlock_user_key(seal(three))'), '', 'unlocked with the new passphrase');
SELECT is(as_role('pgkeymgr_test_alice', format('token_decrypt(%L)', token)), plaintext::text, 'and it decrypts')
FROM v, (VALUES (:'hers'), (:'others')) AS tokens (token);
-- All or nothing.
SAVEPOINT unaltered;
UPDATE key_wrap SET wrapped = set_bit(wrapped, 300, 1 - get_bit(wrapped, 300))
WHERE key_id = (SELECT id FROM key WHERE name = 'other');
CREATE TEMP TABLE altered AS SELECT public, holder, key_wrap.wrapped FROM user_key, key_wrap;
SELECT is(as_role('pgkeymgr_test_alice', 'rotate_user_key(seal(three))'), '22000', 'one wrap was altered');
SELECT set_eq(
    'SELECT public, holder, key_wrap.wrapped FROM user_key, key_wrap', 'SELECT * FROM altered', 'nothing was rotated'
);
UPDATE key_wrap SET wrapped = set_bit(wrapped, 300, 1 - get_bit(wrapped, 300))
WHERE key_id = (SELECT id FROM key WHERE name = 'other');
-- The wrap of the secret half is bound to the public half, and cannot be made weaker.
SELECT is(as_role('pgkeymgr_test "Bob"', 'unlock_user_key(seal(one))'), '', 'before anything was touched');
UPDATE user_key SET opslimit = 1 WHERE role = '"pgkeymgr_test ""Bob"""'::regrole;
SELECT is(as_role('pgkeymgr_test "Bob"', 'unlock_user_key(seal(one))'), '22000', 'fewer rounds');
UPDATE user_key SET opslimit = 3, public = set_bit(public, 0, 1 - get_bit(public, 0))
WHERE role = '"pgkeymgr_test ""Bob"""'::regrole;
SELECT is(as_role('pgkeymgr_test "Bob"', 'unlock_user_key(seal(one))'), '28P01', 'another public half');

-- drop_user_key
SELECT refuses(call, state, naming) FROM (VALUES
    ('drop_user_key(NULL)', '22000', 'role'),
    ('drop_user_key(''pgkeymgr_test_alice'', NULL)', '22000', 'force'),
    ('drop_user_key(''pgkeymgr_test_carol'')', '42704', 'pgkeymgr_test_carol'),
    ('drop_user_key(4294967294::regrole)', '42704', '4294967294'),
    ('drop_user_key(''pgkeymgr_test_unknown'')', '42704', 'pgkeymgr_test_unknown'),
    ('drop_user_key(''pgkeymgr_test_alice'')', '55000', '"hers"'),
    ('drop_user_key(''pgkeymgr_test_alice'')', '55000', '"other"')
) AS calls (call, state, naming);
SELECT is(count(*), 2::bigint, 'what is refused drops nothing') FROM key_wrap WHERE kind = 'user';
SELECT lives_ok($$SELECT drop_user_key('"pgkeymgr_test ""Bob"""')$$, 'a role that must be quoted, with no keys');
SELECT results_eq('SELECT role::regrole::text FROM user_key', ARRAY['pgkeymgr_test_alice'], 'whose pair is gone');
SELECT is(as_role('pgkeymgr_test "Bob"', 'unlock_user_key(seal(one))'), '42704', 'and not unlocked any more');
SELECT is(as_role('pgkeymgr_test_alice', 'add_root_wrap(''hers'')'), '', 'another wrap for one of them');
SELECT refuses('drop_user_key(''pgkeymgr_test_alice'')', '55000', '"other"');
SELECT lives_ok(
    $$SELECT drop_user_key(role => 'pgkeymgr_test_alice', force => true)$$, 'forced, with named arguments'
);
SELECT is_empty($$SELECT FROM key_wrap WHERE kind = 'user' UNION ALL SELECT FROM user_key$$, 'nothing is left of it');
SELECT is(token_decrypt(:'hers'), plaintext, 'what has another wrap opens by that') FROM v;
SELECT refuses(format('token_decrypt(%L)', :'others'), '55000', '"other" has no wrap');
SELECT is(as_role('pgkeymgr_test_alice', format('token_decrypt(%L)', :'others')), '55000', 'unlocked before or not');
SELECT is(as_role('pgkeymgr_test_alice', 'create_user_key(seal(one))'), '', 'and the role may have a new pair');
SELECT lives_ok($$SELECT drop_user_key('pgkeymgr_test_alice')$$, 'which is dropped without force');

-- Roles that may not.
SELECT is(
    as_role('pgkeymgr_test_carol', 'drop_user_key(''pgkeymgr_test_carol'')'), '42501', 'a user may not drop a pair'
);
SELECT is(as_role('pgkeymgr_test_nobody', call), '42501', 'nobody else: ' || call) FROM (VALUES
    ('create_user_key(one)'), ('unlock_user_key(one)'), ('change_user_passphrase(one)'), ('rotate_user_key(one)'),
    ('drop_user_key(''pgkeymgr_test_carol'')')
) AS calls (call);

SELECT finish();
ROLLBACK;
