-- sql/sealed/sharing.sql
BEGIN;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(95);
SET client_min_messages = warning;

CREATE ROLE pgkeymgr_test_alice IN ROLE pgkeymgr_admin;
CREATE ROLE pgkeymgr_test_bob IN ROLE pgkeymgr_user;
CREATE ROLE pgkeymgr_test_carol IN ROLE pgkeymgr_admin;
CREATE ROLE pgkeymgr_test_dave IN ROLE pgkeymgr_user;

CREATE TEMP TABLE made AS
SELECT create_data_key('shared') AS first, create_data_key('plain') AS plain, create_data_key('disabled') AS disabled,
    create_data_key('destroyed') AS destroyed, create_data_key('closed') AS closed,
    (create_key('auth', 'authentic')).id AS authentic_uuid;
CREATE TEMP TABLE v AS
SELECT *, (SELECT id FROM key WHERE uuid = authentic_uuid) AS authentic,
    convert_to('correct horse', 'UTF8') AS passphrase,
    'a long plaintext'::bytea AS plaintext, token_encrypt('shared', 'a long plaintext') AS first_token
FROM made;
GRANT SELECT ON v TO PUBLIC;
SELECT disable_data_key(disabled), destroy_data_key(destroyed, 'destroyed') FROM v;
SELECT supersede_data_key('shared') AS second \gset
SELECT token_encrypt('shared', 'a long plaintext') AS second_token \gset
-- A column with a blind index, which has a key of its own.
CREATE TABLE public.test_person (id integer PRIMARY KEY, name text);
SELECT encrypt_column('public.test_person', 'name', 'shared');
SELECT add_blind_index('public.test_person', 'name');
INSERT INTO public.test_person VALUES (1, 'Ann'), (2, 'Bea');
GRANT SELECT ON public.test_person TO pgkeymgr_test_bob;
SELECT id AS child FROM key WHERE parent_family = (SELECT first FROM v) \gset
SELECT is(as_role(role, 'create_user_key(seal(passphrase))'), '', 'a pair of ' || role)
FROM unnest('{pgkeymgr_test_alice,pgkeymgr_test_bob}'::text[]) AS role;
CREATE FUNCTION tap.shares(wanted regrole) RETURNS integer[] LANGUAGE sql AS $$
    SELECT array_agg(key_id ORDER BY key_id) FROM key_wrap JOIN user_key ON holder = encode(public, 'hex')
    WHERE kind = 'user' AND role = wanted
$$;

SELECT refuses(format(call, function), state, naming)
FROM unnest('{share_data_key,unshare_data_key}'::text[]) AS function, (VALUES
    ('%s(NULL::text, ''pgkeymgr_test_bob'')', '22000', 'key'),
    ('%s(NULL::integer, ''pgkeymgr_test_bob'')', '22000', 'key'),
    ('%s(''shared'', NULL)', '22000', 'role'),
    ('%s(first, NULL)', '22000', 'role'),
    ('%s(''unknown'', ''pgkeymgr_test_bob'')', '42704', '"unknown"'),
    ('%s(0, ''pgkeymgr_test_bob'')', '42704', '0'),
    ('%s(''shared'', ''pgkeymgr_test_unknown'')', '42704', 'pgkeymgr_test_unknown'),
    ('%s(''shared'', 4294967294::regrole)', '42704', '4294967294'),
    ('%s(''shared'', ''pgkeymgr_test_dave'')', '42704', 'pgkeymgr_test_dave has no key pair'),
    ('%s(''authentic'', ''pgkeymgr_test_bob'')', '22000', '"authentic"'),
    ('%s(authentic, ''pgkeymgr_test_bob'')', '22000', '"authentic"')
) AS calls (call, state, naming);
SELECT refuses(call, '55000', naming) FROM (VALUES
    ('share_data_key(disabled, ''pgkeymgr_test_bob'')', '"disabled" is disabled'),
    ('share_data_key(destroyed, ''pgkeymgr_test_bob'')', '"destroyed" was destroyed'),
    ('unshare_data_key(destroyed, ''pgkeymgr_test_bob'')', '"destroyed" is not shared'),
    ('unshare_data_key(''shared'', ''pgkeymgr_test_bob'')', '"shared" is not shared to role pgkeymgr_test_bob'),
    ('unshare_data_key(first, ''pgkeymgr_test_bob'')', '"shared" is not shared to role pgkeymgr_test_bob')
) AS calls (call, naming);
SELECT is_empty('SELECT FROM key_wrap WHERE kind = ''user''', 'what is refused leaves nothing behind');
SELECT is_empty(
    $$SELECT FROM key_grant WHERE grantee = 'pgkeymgr_test_bob'::regrole$$, 'no grants either'
);

-- share_data_key: all versions, the keys of the blind indexes, and the grant.
SELECT lives_ok($$SELECT share_data_key('shared', 'pgkeymgr_test_bob')$$, 'shared by name');
SELECT is(shares('pgkeymgr_test_bob'), ARRAY[first, :second, :child], 'all its versions, and the blind index''s key')
FROM v;
SELECT results_eq(
    $$SELECT DISTINCT salt, opslimit, memlimit, fingerprint, length(wrapped) FROM key_wrap WHERE kind = 'user'$$,
    'VALUES (NULL::bytea, NULL::integer, NULL::bigint, NULL, 32 + 81)', 'each sealed'
);
SELECT results_eq(
    $$SELECT family, usage FROM key_grant WHERE grantee = 'pgkeymgr_test_bob'::regrole$$,
    $$SELECT first, '{encrypt,decrypt}'::text[] FROM v$$, 'and granted'
);
SELECT results_eq(
    format('SELECT id, wraps FROM data_keys WHERE id IN (%s, %s, (SELECT first FROM v)) ORDER BY id', :second, :child),
    format($$SELECT id, '{root,user}'::text[] FROM (SELECT first FROM v UNION VALUES (%s), (%s)) AS ids (id)
        ORDER BY id$$,
        :second, :child),
    'beside the wrap under the root key'
);
SELECT is(as_role('pgkeymgr_test_bob', 'SELECT my_usage FROM data_keys WHERE id = first'), '{encrypt,decrypt}', 'seen');
SELECT lives_ok(
    'SELECT share_data_key(first, ''pgkeymgr_test_bob'') FROM v', 'shared again, by the id of an old version'
);
SELECT is(shares('pgkeymgr_test_bob'), ARRAY[first, :second, :child], 'is the same') FROM v;
SELECT revoke_data_key('shared', 'pgkeymgr_test_bob', '{encrypt}');
SELECT share_data_key(key => 'shared', role => 'pgkeymgr_test_bob');
SELECT is(usage, '{encrypt,decrypt}', 'a grant of a part becomes one of all, with named arguments') FROM key_grant
WHERE grantee = 'pgkeymgr_test_bob'::regrole;

-- Without the root key's wraps, only its holder opens it.
SELECT drop_root_wrap(id) FROM (SELECT first FROM v UNION VALUES (:second), (:child)) AS ids (id);
SELECT is(array_agg(DISTINCT kind::text), '{user}', 'no other wraps') FROM key_wrap
WHERE key_id IN (SELECT first FROM v UNION VALUES (:second), (:child));
SELECT refuses(call, '55000', '"shared" is locked') FROM (VALUES
    ('token_decrypt(first_token)'), ('token_encrypt(''shared'', plaintext)'),
    ('share_data_key(''shared'', ''pgkeymgr_test_alice'')'), ('supersede_data_key(''shared'')'),
    ('(SELECT count(name) FROM public.test_person)')
) AS calls (call);
SELECT refuses('blind_index(''public.test_person'', ''name'', ''Ann'')', '55000', 'is locked');
SELECT is(as_role('pgkeymgr_test_bob', 'token_decrypt(first_token)'), '55000', 'nor does its holder, yet');
SELECT is(as_role('pgkeymgr_test_bob', 'unlock_user_key(seal(passphrase))'), '', 'who unlocks his pair');
SELECT is(as_role('pgkeymgr_test_bob', call), plaintext::text, 'and all of it: ' || call) FROM v, (VALUES
    ('token_decrypt(first_token)'), (format('token_decrypt(%L)', :'second_token')),
    ('token_decrypt(token_encrypt(''shared'', plaintext))')
) AS calls (call);
SELECT is(
    as_role('pgkeymgr_test_bob', $$
        SELECT string_agg(name, ', ') FROM public.test_person
        WHERE name_bidx = blind_index('public.test_person', 'name', 'Bea')
    $$), 'Bea', 'the column, and by its blind index'
);
SELECT refuses('token_decrypt(first_token)', '55000', '"shared" is locked');

-- A key for one holder, who shares it.
SELECT is(as_role('pgkeymgr_test_alice', 'unlock_user_key(seal(passphrase))'), '', 'an administrator with a pair');
SELECT as_role('pgkeymgr_test_alice', 'create_data_key(''hers'', wrap => ''user'')') AS hers \gset
SELECT as_role('pgkeymgr_test_alice', 'token_encrypt(''hers'', plaintext)') AS hers_token \gset
SELECT refuses('share_data_key(''hers'', ''pgkeymgr_test_bob'')', '55000', '"hers" is locked');
SELECT is(
    as_role('pgkeymgr_test_alice', 'share_data_key(''hers'', ''pgkeymgr_test_bob'')'), '',
    'shares what she has unlocked'
);
SELECT is(as_role('pgkeymgr_test_bob', format('token_decrypt(%L)', hers_token)), plaintext::text,
    'to one who has unlocked')
FROM v, (VALUES (:'hers_token')) AS tokens (hers_token);
-- A new version is for all of them.
SELECT as_role('pgkeymgr_test_alice', 'supersede_data_key(''hers'')') AS successor \gset
SELECT results_eq(
    format($$SELECT kind::text, role::regrole::text FROM key_wrap JOIN user_key ON holder = encode(public, 'hex')
        WHERE key_id = %s ORDER BY role::regrole::text$$, :'successor'),
    $$VALUES ('user', 'pgkeymgr_test_alice'), ('user', 'pgkeymgr_test_bob')$$,
    'a new version is sealed to all holders'
);
SELECT is(wraps, '{user}', 'and to nobody else') FROM data_keys WHERE id = :successor;
SELECT as_role('pgkeymgr_test_alice', 'token_encrypt(''hers'', plaintext)') AS successor_token \gset
SELECT is((token_info(:'successor_token')).key_id, :successor, 'a token of it');
SELECT is(
    as_role('pgkeymgr_test_bob', format('token_decrypt(%L)', token)), plaintext::text, 'which the other holder decrypts'
) FROM v, (VALUES (:'successor_token')) AS tokens (token);
SELECT refuses('supersede_data_key(''hers'')', '55000', '"hers" is locked');
SELECT share_data_key('plain', 'pgkeymgr_test_bob');
SELECT supersede_data_key('plain');
SELECT is(wraps, '{root,user}', 'where the old one has a wrap under the root key, the new one has, too')
FROM data_keys WHERE name = 'plain' AND superseded_by IS NULL;
SELECT is(count(*), 2::bigint, 'sealed to its one holder, both versions') FROM key JOIN key_wrap ON key_id = id
WHERE name = 'plain' AND kind = 'user';

-- Every version must be open to who shares it.
SELECT add_passphrase('closed', seal(passphrase)) FROM v;
SELECT drop_root_wrap('closed');
SELECT refuses('share_data_key(''closed'', ''pgkeymgr_test_bob'')', '55000', '"closed" is locked');
SELECT unlock_data_key('closed', seal(passphrase)) FROM v;
SELECT lives_ok('SELECT share_data_key(closed, ''pgkeymgr_test_bob'') FROM v', 'one with a passphrase, unlocked');
SELECT is(wraps, '{passphrase,user}', 'its wraps') FROM data_keys WHERE name = 'closed';
SELECT is(as_role('pgkeymgr_test_bob', 'token_encrypt(''closed'', plaintext) IS NOT NULL'), 'true', 'opens without it');

-- unshare_data_key
SELECT refuses(call, '55000', naming) FROM (VALUES
    ('unshare_data_key(''shared'', ''pgkeymgr_test_bob'')', 'the user wrap of key'),
    ('unshare_data_key(first, ''pgkeymgr_test_bob'')', '"shared"'),
    ('unshare_data_key(first, ''pgkeymgr_test_alice'')', '"shared" is not shared to role pgkeymgr_test_alice')
) AS calls (call, naming);
SELECT is(as_role('pgkeymgr_test_bob', 'token_decrypt(first_token)'), plaintext::text, 'and all is as before') FROM v;
SELECT lives_ok('SELECT unshare_data_key(''hers'', ''pgkeymgr_test_bob'')', 'unshared by name');
SELECT results_eq(
    format($$SELECT key_id, role::regrole::text FROM key_wrap JOIN user_key ON holder = encode(public, 'hex')
        WHERE key_id IN (%s, %s) ORDER BY key_id$$, :'hers', :'successor'),
    format($$VALUES (%s, 'pgkeymgr_test_alice'), (%s, 'pgkeymgr_test_alice')$$, :'hers', :'successor'),
    'all its versions, from that role only'
);
SELECT is_empty('SELECT FROM key_grant WHERE family = ' || :'hers', 'with the grant');
SELECT is(as_role('pgkeymgr_test_bob', format('token_decrypt(%L)', :'hers_token')), '42501', 'at the next statement');
SELECT grant_data_key('hers', 'pgkeymgr_test_bob');
SELECT is(
    as_role('pgkeymgr_test_bob', format('token_decrypt(%L)', :'hers_token')), '55000', 'a grant alone opens nothing'
);
SELECT is(as_role('pgkeymgr_test_alice', format('token_decrypt(%L)', token)), plaintext::text, 'she still can')
FROM v, (VALUES (:'hers_token')) AS tokens (token);
SELECT refuses('unshare_data_key(''hers'', ''pgkeymgr_test_alice'')', '55000', 'is its last');
SELECT lives_ok(
    'SELECT unshare_data_key(key => plain, role => ''pgkeymgr_test_bob'') FROM v', 'by id, with named arguments'
);
SELECT is(array_agg(DISTINCT wraps), ARRAY['{root}']::text[], 'the old version and the new one')
FROM (SELECT wraps::text FROM data_keys WHERE name = 'plain') AS of_plain;
-- The one who leaves shares it first.
SELECT is(as_role('pgkeymgr_test_bob', 'unlock_user_key(seal(passphrase))'), '', 'bob again');
GRANT pgkeymgr_admin TO pgkeymgr_test_bob;
SELECT is(
    as_role('pgkeymgr_test_bob', 'share_data_key(''shared'', ''pgkeymgr_test_alice'')'), '', 'to another holder'
);
SELECT is(shares('pgkeymgr_test_alice') @> ARRAY[first, :second, :child], true, 'all of it') FROM v;
SELECT lives_ok('SELECT unshare_data_key(''shared'', ''pgkeymgr_test_bob'')', 'and then it is not the last');
SELECT is(shares('pgkeymgr_test_bob') && ARRAY[first, :second, :child], false, 'nothing of it is left') FROM v;
SELECT is(
    as_role('pgkeymgr_test_alice', 'token_decrypt(first_token)'), plaintext::text, 'the other one opens it'
) FROM v;

-- An administrator of keys shares what he may decrypt with; a user shares nothing.
SELECT is(
    as_role('pgkeymgr_test_carol', 'share_data_key(''plain'', ''pgkeymgr_test_bob'')'), '42501', 'without a grant'
);
SELECT grant_data_key('plain', 'pgkeymgr_test_carol', '{encrypt}');
SELECT is(as_role('pgkeymgr_test_carol', 'share_data_key(plain, ''pgkeymgr_test_bob'')'), '42501', 'with half of it');
SELECT grant_data_key('plain', 'pgkeymgr_test_carol', '{decrypt}');
SELECT is(as_role('pgkeymgr_test_carol', 'share_data_key(plain, ''pgkeymgr_test_bob'')'), '', 'with the other');
SELECT is(as_role('pgkeymgr_test_dave', call), '42501', 'a user may not: ' || call) FROM (VALUES
    ('share_data_key(''plain'', ''pgkeymgr_test_bob'')'), ('share_data_key(plain, ''pgkeymgr_test_bob'')'),
    ('unshare_data_key(''plain'', ''pgkeymgr_test_bob'')'), ('unshare_data_key(plain, ''pgkeymgr_test_bob'')')
) AS calls (call);

SELECT finish();
ROLLBACK;
