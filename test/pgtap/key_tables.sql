-- sql/key/tables.sql
BEGIN;
SET client_min_messages = error;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(56);

CREATE ROLE pgkeymgr_test_alice IN ROLE pgkeymgr_admin;
CREATE ROLE pgkeymgr_test_bob IN ROLE pgkeymgr_user;
CREATE TEMP TABLE made AS
SELECT create_data_key('a') AS a, create_data_key('b') AS b, gen_random_uuid() AS derived,
    (create_key('auth', 'raw', '\x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f')).id AS raw;
SELECT import_pgsodium_key(derived, 'valid', 'auth', 'derived', key_id => 1, key_context => 'pgsodium') FROM made;
CREATE TEMP TABLE v AS
SELECT
    *,
    '\x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f'::bytea AS raw_key,
    'a long plaintext'::bytea AS plaintext,
    token_encrypt('a', 'a long plaintext') AS token
FROM made;
GRANT SELECT ON v TO PUBLIC;

-- Changes that the tables accept.
SELECT has_pk('pgkeymgr', 'key'::name, 'key has a primary key');
SELECT col_is_unique('pgkeymgr', 'key', 'uuid'::name);
SELECT has_trigger('pgkeymgr', 'key', 'delete_wraps', 'the wraps of a key go with it');
SELECT throws_ok(change, state, NULL, change) FROM (VALUES
    ('INSERT INTO key (family, name, owner) VALUES (1, ''a'', 10)', '23505'),
    ('UPDATE key SET name = ''a'' WHERE name = ''b''', '23505'),
    ('UPDATE key SET name = ''''', '23514'),
    ('UPDATE key SET name = repeat(''a'', 256)', '23514'),
    ('UPDATE key SET context = ''short''', '23514'),
    ('UPDATE key SET derivation_id = 1 WHERE name = ''a''', '23514'),
    ('UPDATE key SET context = ''pgsodium'' WHERE name = ''a''', '23514'),
    ('UPDATE key SET state = ''lost''', '22P02'),
    ('INSERT INTO key_grant (family, grantee, usage) VALUES (1, ''pgkeymgr_test_bob''::regrole, ''{delete}'')', '23514'),
    ('INSERT INTO key_grant (family, grantee, usage) VALUES (1, ''pgkeymgr_test_bob''::regrole, ''{}'')', '23514'),
    ('INSERT INTO key_wrap (key_id, kind, wrapped) SELECT id, ''root'', '''' FROM key WHERE name = ''a''', '23505'),
    ('INSERT INTO key (id, family, owner) VALUES (0, 1, 10)', '23514'),
    ('INSERT INTO key (uuid, family, owner) VALUES (''00000000-0000-0000-0000-000000000000'', 1, 10)', '23514')
) AS changes (change, state);
SELECT lives_ok(change, change) FROM (VALUES
    ('INSERT INTO key (family, name, owner, state) VALUES (-1, ''a'', 10, ''disabled'')'),
    ('INSERT INTO key (family, name, owner, superseded_by) VALUES (-1, ''a'', 10, 5)')
) AS changes (change);
DELETE FROM key WHERE family = -1;

-- A wrap is of one key only, and all of that key: as superuser, so that nothing else is in the way.
SELECT is(convert_from(token_decrypt(token), 'UTF8'), 'a long plaintext', 'before anything was touched') FROM v;
SELECT refuses(call, state, naming, after)
FROM (VALUES
    ('UPDATE key_wrap SET wrapped = (SELECT wrapped FROM key_wrap WHERE key_id = (SELECT b FROM v))
      WHERE key_id = (SELECT a FROM v)', '22000'),
    ('DELETE FROM key_wrap WHERE key_id = (SELECT a FROM v);
      UPDATE key_wrap SET key_id = (SELECT a FROM v) WHERE key_id = (SELECT b FROM v)', '22000'),
    ('UPDATE key_wrap SET wrapped = set_bit(wrapped, 0, 1 - get_bit(wrapped, 0)) WHERE key_id = (SELECT a FROM v)',
        '22000'),
    ('UPDATE key_wrap SET wrapped = set_bit(wrapped, 300, 1 - get_bit(wrapped, 300)) WHERE key_id = (SELECT a FROM v)',
        '22000'),
    ('UPDATE key_wrap SET wrapped = substr(wrapped, 1, 40) WHERE key_id = (SELECT a FROM v)', '22000'),
    ('UPDATE key_wrap SET wrapped = '''' WHERE key_id = (SELECT a FROM v)', '22000'),
    ('UPDATE key SET uuid = gen_random_uuid() WHERE id = (SELECT a FROM v)', '22000'),
    ('UPDATE key SET key_type = ''secretbox'' WHERE id = (SELECT a FROM v)', '22000'),
    ('UPDATE key SET derivation_id = 1, context = ''pgsodium'' WHERE id = (SELECT a FROM v)', '22000'),
    ('DELETE FROM key_wrap WHERE key_id = (SELECT a FROM v)', '55000')
) AS changes (after, state), (VALUES
    ('token_decrypt(token)', ' "a"'), ('token_encrypt(''a'', plaintext)', ' "a"')
) AS calls (call, naming);
-- (This session has not opened b yet.)
SELECT refuses(
    'token_encrypt(''b'', plaintext)', '55000', ' "b"', 'UPDATE key_wrap SET fingerprint = repeat(''0'', 32)'
);
SELECT refuses(format('crypto_auth(plaintext, %s)', key), '22000', format(' "%s"', key), format(change, key))
FROM unnest('{derived,raw}'::text[]) AS key, (VALUES
    ('UPDATE key_wrap SET wrapped = set_byte(wrapped, 40, 255 - get_byte(wrapped, 40))
      WHERE key_id = (SELECT id FROM key WHERE name = %L)')
) AS changes (change);
SELECT refuses('crypto_auth(plaintext, derived)', '22000', ' "derived"', after)
FROM (VALUES
    ('UPDATE key SET derivation_id = derivation_id + 1 WHERE name = ''derived'''),
    ('UPDATE key SET context = ''context1'' WHERE name = ''derived'''),
    ('UPDATE key SET derivation_id = NULL, context = NULL WHERE name = ''derived''')
) AS changes (after);

-- data_keys: what one owns or may use, and for what.
CREATE ROLE pgkeymgr_test_group;
CREATE ROLE pgkeymgr_test_carol IN ROLE pgkeymgr_user, pgkeymgr_test_group;
CREATE ROLE pgkeymgr_test_dave NOINHERIT IN ROLE pgkeymgr_user, pgkeymgr_test_group;
-- A grant that dave does not inherit.
GRANT USAGE ON SCHEMA pgkeymgr TO pgkeymgr_test_dave, pgkeymgr_test_group;
GRANT SELECT ON data_keys TO pgkeymgr_test_dave, pgkeymgr_test_group;
SELECT as_role('pgkeymgr_test_alice', 'create_data_key(''alice''''s'', 16, ''2200-01-01'', ''a comment'')') AS alices
\gset
SELECT grant_data_key('a', 'pgkeymgr_test_bob', '{decrypt}');
SELECT grant_data_key('b', 'pgkeymgr_test_group', '{encrypt}');
SELECT grant_data_key('b', 'pgkeymgr_test_carol', '{decrypt}');
CREATE TEMP TABLE seen (role text, listing text);
INSERT INTO seen SELECT role, as_role(role, $$
    SELECT string_agg(name || ' ' || array_to_string(my_usage, ' '), ', ' ORDER BY name) FROM data_keys
$$)
FROM unnest('{postgres,pgkeymgr_test_alice,pgkeymgr_test_bob,pgkeymgr_test_carol,pgkeymgr_test_dave,
    pgkeymgr_test_group}'::text[]) AS role;
SELECT is(listing, expected, 'what data_keys shows ' || role) FROM (VALUES
    ('postgres', 'a encrypt decrypt, alice''s encrypt decrypt, b encrypt decrypt, derived encrypt decrypt, '
        || 'raw encrypt decrypt'),
    ('pgkeymgr_test_alice', 'alice''s encrypt decrypt'),
    ('pgkeymgr_test_bob', 'a decrypt'),
    ('pgkeymgr_test_carol', 'b encrypt decrypt'),
    ('pgkeymgr_test_dave', NULL),
    ('pgkeymgr_test_group', 'b encrypt')
) AS expectations (role, expected) JOIN seen USING (role);
SELECT results_eq(
    $$SELECT id, name, key_type, state, expires, superseded_by, owner, comment, wraps, my_usage
    FROM data_keys WHERE name = 'alice''s'$$,
    format($$VALUES (%s, 'alice''s', 'data'::key_type, 'enabled'::key_state, '2200-01-01'::timestamptz, NULL::integer,
        'pgkeymgr_test_alice'::regrole, 'a comment', '{root}'::text[], '{encrypt,decrypt}'::text[])$$, :'alices'),
    'the columns of data_keys'
);
SELECT results_eq(
    $$SELECT uuid, created BETWEEN now() AND clock_timestamp() FROM data_keys WHERE name = 'a'$$,
    $$SELECT uuid, true FROM key WHERE name = 'a'$$,
    'and the others'
);
SELECT is(
    as_role('pgkeymgr_test_bob', format('SELECT count(*) FROM data_keys WHERE id = %s', alices)), '0',
    'not by id either'
) FROM (VALUES (:'alices')) AS ids (alices);

-- A cheap function in a WHERE does not see rows that the view does not show.
CREATE TABLE public.overheard (name text);
CREATE FUNCTION public.overhear(name text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
    'BEGIN INSERT INTO public.overheard VALUES (name); RETURN true; END';
GRANT INSERT ON public.overheard TO PUBLIC;
SELECT is(
    as_role('pgkeymgr_test_bob', 'SELECT count(*) FROM data_keys WHERE public.overhear(name)'), '1', 'a leaky function'
);
SELECT results_eq('SELECT DISTINCT name FROM public.overheard', ARRAY['a'], 'hears nothing that bob must not see');

SELECT finish();
ROLLBACK;
