-- sql/key/data_key.sql
BEGIN;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(160);

CREATE ROLE pgkeymgr_test_alice IN ROLE pgkeymgr_admin;
CREATE ROLE pgkeymgr_test_bob IN ROLE pgkeymgr_user;
CREATE ROLE "pgkeymgr_test ""Bob""" IN ROLE pgkeymgr_user;

-- One key of each kind: plain, superseded and its successor, disabled, destroyed, expired.
CREATE TEMP TABLE made AS
SELECT create_data_key('plain') AS plain, create_data_key('old') AS old, create_data_key('disabled') AS disabled,
    create_data_key('destroyed') AS destroyed, create_data_key('expired') AS expired;
CREATE TEMP TABLE v AS
SELECT
    *,
    'a long plaintext'::bytea AS plaintext,
    token_encrypt('plain', 'a long plaintext') AS plain_token,
    token_encrypt('old', 'a long plaintext') AS old_token,
    token_encrypt('disabled', 'a long plaintext') AS disabled_token,
    token_encrypt('destroyed', 'a long plaintext') AS destroyed_token
FROM made;
GRANT SELECT ON v TO PUBLIC;
ALTER TABLE v ADD COLUMN new integer;
UPDATE v SET new = supersede_data_key('old');
SELECT disable_data_key(disabled) FROM v;
SELECT destroy_data_key(destroyed, 'destroyed') FROM v;
UPDATE key SET created = now() - interval '2 years', expires = now() - interval '1 year' WHERE name = 'expired';

-- create_data_key
SELECT results_eq(
    $$SELECT family = id, key_type::text, state::text, expires, superseded_by, owner::regrole::text, comment, user_data,
        derivation_id, context
    FROM key WHERE name = 'plain'$$,
    $$VALUES (true, 'data', 'enabled', NULL::timestamptz, NULL::integer, 'postgres', NULL, NULL::jsonb,
        NULL::bigint, NULL::bytea)$$,
    'a new key, with the defaults'
);
SELECT results_eq(
    $$SELECT kind::text, holder, salt, opslimit, memlimit, fingerprint, length(wrapped)
    FROM key_wrap, v WHERE key_id = plain$$,
    $$SELECT 'root', '', NULL::bytea, NULL::integer, NULL::bigint, fingerprint, 32 + 41 FROM root_key_status()$$,
    'and its wrap: 32 bytes under the root key'
);
SELECT results_eq(
    $$WITH made AS MATERIALIZED (SELECT create_data_key(
        name => 'named', length => 64, expires => 'infinity', comment => 'a comment', wrap => 'root') AS id)
    SELECT id FROM made$$,
    $$SELECT currval('key_id_seq')::integer$$,
    'with named arguments; its id is returned'
);
SELECT results_eq(
    $$SELECT expires, comment, length(wrapped) FROM key JOIN key_wrap ON key_id = id WHERE name = 'named'$$,
    $$VALUES ('infinity'::timestamptz, 'a comment', 64 + 41)$$,
    'and they are kept'
);
-- In two statements: what a function writes is not seen by the statement that calls it.
CREATE TEMP TABLE sizes AS
SELECT size, create_data_key('size ' || size, size) AS id FROM generate_series(16, 64) AS size;
SELECT results_eq(
    'SELECT length(wrapped) - 41 FROM key_wrap JOIN sizes ON key_id = id ORDER BY size',
    'SELECT generate_series(16, 64)', '16 to 64 bytes'
);
SELECT is(count(DISTINCT uuid), count(*), 'each key has a uuid of its own') FROM key;
SELECT isnt(create_data_key(name), NULL, 'a name of ' || description) FROM (VALUES
    ('x', 'one character'), (repeat('🔑', 255), '255 characters'), (' ', 'a space'), ('''"; DROP', 'punctuation')
) AS names (name, description);
SELECT isnt(token_encrypt(name, ''), NULL, 'which finds it') FROM key
WHERE name IN ('x', repeat('🔑', 255), ' ', '''"; DROP');
SELECT is(as_role('pgkeymgr_test_alice', 'create_data_key(''alice''''s'') IS NOT NULL'), 'true', 'a role makes a key');
SELECT is(owner::regrole::text, 'pgkeymgr_test_alice', 'and is its owner') FROM key WHERE name = 'alice''s';
SELECT refuses(call, state, naming) FROM (VALUES
    ('create_data_key(NULL)', '22000', 'name'),
    ('create_data_key(''new'', NULL)', '22000', 'length'),
    ('create_data_key(''new'', wrap => NULL)', '22000', 'wrap'),
    ('create_data_key('''')', '22023', 'name'),
    ('create_data_key(repeat(''a'', 256))', '22023', '256'),
    ('create_data_key(repeat(''a'', 10000))', '22023', '10000'),
    ('create_data_key(''plain'')', '42710', '"plain"'),
    ('create_data_key(''old'')', '42710', '"old"'),
    ('create_data_key(''new'', 0)', '22023', '0'),
    ('create_data_key(''new'', -1)', '22023', '-1'),
    ('create_data_key(''new'', 15)', '22023', '15'),
    ('create_data_key(''new'', 65)', '22023', '65'),
    ('create_data_key(''new'', 1000000000)', '22023', '1000000000'),
    ('create_data_key(''new'', expires => now())', '22023', 'expires'),
    ('create_data_key(''new'', expires => ''2000-01-01'')', '22023', '2000-01-01'),
    ('create_data_key(''new'', expires => ''-infinity'')', '22023', 'expires'),
    ('create_data_key(''new'', wrap => '''')', '22023', 'wrap'),
    ('create_data_key(''new'', wrap => ''rot'')', '22023', 'rot')
) AS calls (call, state, naming);
SELECT is_empty($$SELECT FROM key WHERE name = 'new'$$, 'what is refused leaves nothing behind');

-- supersede_data_key
SELECT is((token_info(token_encrypt('old', ''))).key_id, new, 'the name is the new key''s') FROM v;
SELECT is(token_decrypt(old_token), plaintext, 'the old one still decrypts') FROM v;
SELECT is((token_info(old_token)).key_state, 'enabled', 'and is still enabled') FROM v;
SELECT is(superseded_by, new, 'it says what superseded it') FROM key JOIN v ON id = old;
SELECT is(family, old, 'they are of one family') FROM key JOIN v ON id = new;
SELECT is(count(DISTINCT wrapped), 2::bigint, 'with a wrap each') FROM key_wrap JOIN v ON key_id IN (old, new);
SELECT refuses('token_encrypt(old, plaintext)', '55000', '"old"');
SELECT is(token_decrypt(token_encrypt(new, plaintext)), plaintext, 'the new one encrypts by id') FROM v;
SELECT is(
    as_role('pgkeymgr_test_alice', 'create_data_key(''lent'', 24, now() + ''1 year'', ''a comment'') > 0'), 'true',
    'a key with all that a key can have'
);
SELECT grant_data_key('lent', 'pgkeymgr_test_bob', '{decrypt}');
SELECT is(supersede_data_key(id), currval('key_id_seq')::integer, 'superseded by id') FROM key WHERE name = 'lent';
SELECT results_eq(
    $$SELECT comment, length(wrapped) - 41, expires - now() BETWEEN '365 days' AND '366 days 1 minute'
    FROM key JOIN key_wrap ON key_id = id WHERE name = 'lent' AND superseded_by IS NULL$$,
    $$VALUES ('a comment', 24, true)$$,
    'the new version has the comment, the length and the lifetime of the old one'
);
SELECT is(owner::regrole::text, 'pgkeymgr_test_alice', 'and its owner, although another role superseded it') FROM key
WHERE name = 'lent' AND superseded_by IS NULL;
SELECT is(
    as_role('pgkeymgr_test_bob', 'SELECT my_usage FROM data_keys WHERE name = ''lent'' AND superseded_by IS NULL'),
    '{decrypt}', 'and its grants'
);
SELECT lives_ok($$SELECT supersede_data_key('named')$$, 'a key that expires at infinity can be superseded');
SELECT lives_ok($$SELECT supersede_data_key('expired')$$,
    'an expired key can be superseded, as the hint of its error says');
SELECT ok(expires - now() BETWEEN '364 days' AND '367 days', 'and its successor lives as long as it did') FROM key
WHERE name = 'expired' AND superseded_by IS NULL;
SELECT refuses(call, state, naming) FROM (VALUES
    ('supersede_data_key(NULL::text)', '22000', 'key'),
    ('supersede_data_key(NULL::integer)', '22000', 'key'),
    ('supersede_data_key(''unknown'')', '42704', '"unknown"'),
    ('supersede_data_key('''')', '42704', '""'),
    ('supersede_data_key(0)', '42704', '0'),
    ('supersede_data_key(-1)', '42704', '-1'),
    ('supersede_data_key(2147483647)', '42704', '2147483647'),
    ('supersede_data_key(old)', '55000', '"old"'),
    ('supersede_data_key(disabled)', '55000', '"disabled"'),
    ('supersede_data_key(destroyed)', '55000', '"destroyed"')
) AS calls (call, state, naming);

-- disable_data_key, enable_data_key
SELECT refuses(call, '55000', '"disabled"') FROM (VALUES
    ('token_encrypt(''disabled'', plaintext)'),
    ('token_encrypt(disabled, plaintext)'),
    ('token_decrypt(disabled_token)')
) AS calls (call);
SELECT lives_ok('SELECT disable_data_key(disabled) FROM v', 'disabling a disabled key');
SELECT lives_ok('SELECT enable_data_key(disabled) FROM v', 'enabling it');
SELECT is(token_decrypt(disabled_token), plaintext, 'and it decrypts again') FROM v;
SELECT lives_ok('SELECT enable_data_key(disabled) FROM v', 'enabling an enabled key');
SELECT disable_data_key(disabled) FROM v;
SELECT is(create_data_key('disabled'), currval('key_id_seq')::integer, 'a disabled key''s name is free for another');
SELECT is((token_info(token_encrypt('disabled', ''))).key_id, currval('key_id_seq')::integer, 'which it then means');
SELECT refuses('enable_data_key(disabled)', '42710', '"disabled"');
SELECT lives_ok('SELECT enable_data_key(old) FROM v', 'a superseded key is not in the way of its successor');
SELECT refuses(call, state, naming) FROM (VALUES
    ('disable_data_key(NULL)', '22000', 'key'),
    ('disable_data_key(0)', '42704', '0'),
    ('disable_data_key(destroyed)', '55000', '"destroyed"'),
    ('enable_data_key(NULL)', '22000', 'key'),
    ('enable_data_key(0)', '42704', '0'),
    ('enable_data_key(destroyed)', '55000', '"destroyed"')
) AS calls (call, state, naming);

-- An expired key.
SELECT refuses(call, '55000', '"plain"', 'UPDATE key SET expires = now() WHERE name = ''plain''') FROM (VALUES
    ('token_encrypt(''plain'', plaintext)'), ('token_encrypt(plain, plaintext)'), ('token_decrypt(plain_token)')
) AS calls (call);

-- destroy_data_key
SELECT is_empty('SELECT FROM key_wrap JOIN v ON key_id = destroyed', 'a destroyed key has no wrap');
SELECT is(state::text, 'destroyed', 'it is there to say so') FROM key JOIN v ON id = destroyed;
SELECT refuses(call, '55000', '"destroyed"') FROM (VALUES
    ('token_encrypt(destroyed, plaintext)'), ('token_encrypt(''destroyed'', plaintext)'),
    ('token_decrypt(destroyed_token)')
) AS calls (call);
SELECT isnt(create_data_key('destroyed'), NULL, 'and its name is free');
SELECT refuses(call, state, naming) FROM (VALUES
    ('destroy_data_key(plain, ''plai'')', '22023', 'confirm_name'),
    ('destroy_data_key(plain, ''PLAIN'')', '22023', 'confirm_name'),
    ('destroy_data_key(plain, '''')', '22023', 'confirm_name'),
    ('destroy_data_key(plain, ''old'', true)', '22023', 'confirm_name'),
    ('destroy_data_key(plain, NULL)', '22000', 'confirm_name'),
    ('destroy_data_key(plain, ''plain'', force => NULL)', '22000', 'force'),
    ('destroy_data_key(plain, ''plain'', NULL::boolean)', '22000', 'force'),
    ('destroy_data_key(NULL, ''plain'')', '22000', 'key'),
    ('destroy_data_key(0, ''plain'')', '42704', '0'),
    ('destroy_data_key(destroyed, ''destroyed'')', '55000', '"destroyed"')
) AS calls (call, state, naming);
SELECT is(token_decrypt(plain_token), plaintext, 'a wrong name, and nothing has changed') FROM v;
SELECT lives_ok($$SELECT destroy_data_key(key_id => old, confirm_name => 'old', force => true) FROM v$$,
    'a superseded key, with named arguments');
SELECT isnt(token_encrypt('old', plaintext), NULL, 'which does not touch its successor') FROM v;
SELECT lives_ok($$SELECT destroy_data_key(id, uuid::text)
    FROM (SELECT (create_key('auth')).id AS made OFFSET 0) AS k
    JOIN key ON uuid = made$$, 'a key without a name is confirmed by its uuid');

-- grant_data_key, revoke_data_key
CREATE FUNCTION tap.usage_of_plain(role text) RETURNS text LANGUAGE sql AS $$
    SELECT as_role(role, 'SELECT my_usage FROM data_keys WHERE id = plain')
$$;
CREATE TEMP TABLE usages (n integer, change text, usage text);
INSERT INTO usages VALUES
    (1, 'grant_data_key(''plain'', ''pgkeymgr_test_bob'', ''{encrypt}'')', '{encrypt}'),
    (2, 'grant_data_key(plain, ''pgkeymgr_test_bob'', ''{decrypt}'')', '{encrypt,decrypt}'),
    (3, 'grant_data_key(''plain'', ''pgkeymgr_test_bob'', ''{decrypt}'')', '{encrypt,decrypt}'),
    (4, 'revoke_data_key(''plain'', ''pgkeymgr_test_bob'', ''{encrypt}'')', '{decrypt}'),
    (5, 'revoke_data_key(plain, ''pgkeymgr_test_bob'', ''{encrypt}'')', '{decrypt}'),
    (6, 'revoke_data_key(''plain'', ''pgkeymgr_test_bob'')', NULL),
    (7, 'revoke_data_key(''plain'', ''pgkeymgr_test_bob'')', NULL),
    (8, 'grant_data_key(key => plain, role => ''pgkeymgr_test_bob'')', '{encrypt,decrypt}'),
    (9, 'revoke_data_key(key => plain, role => ''pgkeymgr_test_bob'', usage => ''{decrypt,encrypt}'')', NULL),
    (10, 'grant_data_key(key => ''plain'', role => ''pgkeymgr_test_bob'', usage => ''{encrypt,encrypt}'')',
        '{encrypt}'),
    (11, 'revoke_data_key(key => ''plain'', role => ''pgkeymgr_test_bob'', usage => ''{encrypt}'')', NULL);
CREATE FUNCTION tap.usage_after(change text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SELECT %s FROM v', change);
    RETURN usage_of_plain('pgkeymgr_test_bob');
END
$$;
SELECT is(usage_after(change), usage, change) FROM (SELECT * FROM usages ORDER BY n) AS usages;
SELECT is_empty('SELECT FROM key_grant JOIN v ON family = plain', 'a grant of nothing is none');
SELECT lives_ok($$SELECT grant_data_key('plain', '"pgkeymgr_test ""Bob"""')$$, 'a role that must be quoted');
SELECT is(usage_of_plain('pgkeymgr_test "Bob"'), '{encrypt,decrypt}', 'has its grant');
SELECT refuses(call, state, naming)
FROM unnest('{grant_data_key,revoke_data_key}'::text[]) AS function, LATERAL (VALUES
    (function || '(NULL::text, ''pgkeymgr_test_bob'')', '22000', 'key'),
    (function || '(NULL::integer, ''pgkeymgr_test_bob'')', '22000', 'key'),
    (function || '(''plain'', NULL)', '22000', 'role'),
    (function || '(''plain'', ''pgkeymgr_test_bob'', NULL)', '22000', 'usage'),
    (function || '(plain, ''pgkeymgr_test_bob'', NULL)', '22000', 'usage'),
    (function || '(''unknown'', ''pgkeymgr_test_bob'')', '42704', '"unknown"'),
    (function || '(0, ''pgkeymgr_test_bob'')', '42704', '0'),
    (function || '(''plain'', ''pgkeymgr_test_unknown'')', '42704', 'pgkeymgr_test_unknown'),
    (function || '(''plain'', ''public'')', '42704', 'public'),
    (function || '(''plain'', ''pgkeymgr_test_bob'', ''{}'')', '22023', 'usage'),
    (function || '(''plain'', ''pgkeymgr_test_bob'', ''{delete}'')', '22023', 'usage'),
    (function || '(''plain'', ''pgkeymgr_test_bob'', ''{encrypt,delete}'')', '22023', 'usage'),
    (function || '(''plain'', ''pgkeymgr_test_bob'', ''{Encrypt}'')', '22023', 'usage'),
    (function || '(''plain'', ''pgkeymgr_test_bob'', ''{encrypt,NULL}'')', '22023', 'usage'),
    (function || '(''plain'', ''pgkeymgr_test_bob'', ''{{encrypt},{decrypt}}'')', '22023', 'usage')
) AS calls (call, state, naming);

SELECT refuses('grant_data_key(''plain'', 4294967294::regrole)', '42704', '4294967294');

-- A role that was dropped leaves its grant, which does no harm and can be taken back.
CREATE ROLE pgkeymgr_test_gone IN ROLE pgkeymgr_user;
SELECT grant_data_key('plain', 'pgkeymgr_test_gone');
SELECT grantee::oid AS gone FROM key_grant JOIN v ON family = plain WHERE grantee = 'pgkeymgr_test_gone'::regrole \gset
DROP ROLE pgkeymgr_test_gone;
SELECT is(usage_of_plain('pgkeymgr_test_bob'), NULL, 'a dropped role''s grant is nobody else''s');
SELECT lives_ok(format('SELECT revoke_data_key(''plain'', %s::regrole)', :gone), 'and is taken back by its OID');
SELECT is_empty(format('SELECT FROM key_grant WHERE grantee = %s', :gone), 'and is gone');

-- Any administrator of keys manages all of them; users manage none.
SELECT is(as_role('pgkeymgr_test_alice', 'supersede_data_key(''plain'') > 0'), 'true', 'an administrator may');
SELECT is(as_role('pgkeymgr_test_bob', call), '42501', 'a user may not: ' || call) FROM (VALUES
    ('create_data_key(''bob''''s'')'),
    ('supersede_data_key(''plain'')'),
    ('supersede_data_key(plain)'),
    ('disable_data_key(plain)'),
    ('enable_data_key(plain)'),
    ('destroy_data_key(plain, ''plain'')'),
    ('grant_data_key(''plain'', ''pgkeymgr_test_bob'')'),
    ('grant_data_key(plain, ''pgkeymgr_test_bob'')'),
    ('revoke_data_key(''plain'', ''pgkeymgr_test_bob'')'),
    ('revoke_data_key(plain, ''pgkeymgr_test_bob'')')
) AS calls (call);

SELECT finish();
ROLLBACK;
