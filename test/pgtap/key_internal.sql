-- sql/key/internal.sql
BEGIN;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(23);

CREATE ROLE pgkeymgr_test_thief IN ROLE pgkeymgr_user;
CREATE TEMP TABLE made AS SELECT create_data_key('safe') AS id;
CREATE TEMP TABLE v AS
SELECT id, uuid, 'a long plaintext'::bytea AS plaintext, token_encrypt('safe', 'a long plaintext') AS token
FROM made JOIN key USING (id);
GRANT SELECT ON v TO PUBLIC;

-- They may be called, since what reads a key for a user is called as that user; and give nothing to who calls them.
SELECT is(as_role('pgkeymgr_test_thief', call), '', 'nothing: ' || call) FROM (VALUES
    ('_load_key(id, '''', ''00000000-0000-0000-0000-000000000000'', ''postgres''::regrole::oid, false)'),
    ('_load_key(0, ''safe'', ''00000000-0000-0000-0000-000000000000'', 10, true)'),
    ('_load_key(0, '''', uuid, 10, true)'),
    ('_load_key(0, '''', NULL, 10, false)'),
    ('_load_key(NULL, NULL, NULL, NULL, NULL)'),
    ('_load_latest_key(id, '''', uuid::text, 10, false)')
) AS calls (call);
-- A record that was loaded for another user is not used for this one, in the same statement or the next.
SELECT is(as_role('pgkeymgr_test_thief', call), '42501', 'refused: ' || regexp_replace(call, '\s+', ' ', 'g'))
FROM (VALUES
    ('SELECT (_load_key(id, '''', uuid, 10, false))::text || (token_decrypt(token))::text'),
    ('SELECT (_load_latest_key(id, '''', uuid::text, 10, false))::text || (token_decrypt(token))::text'),
    ('token_decrypt(token)'),
    ('token_encrypt(id, plaintext)'),
    ('_as_owner()'),
    ('SELECT _as_owner() FROM (SELECT _load_key(id, '''', uuid, 10, false)) AS loaded'),
    ('_take_key(id, uuid_send(uuid), id, ''safe'', ''data'', ''enabled'', false, NULL, NULL, NULL, true, true,
        NULL, NULL, ''{}'', 10, NULL, NULL)')
) AS calls (call);
SELECT refuses('_as_owner()', '42501', '_as_owner');

-- A key is found by id, by name and by uuid.
SELECT is(token_decrypt(token_encrypt(id, plaintext)), plaintext, 'by id') FROM v;
SELECT is(token_decrypt(token_encrypt('safe', plaintext)), plaintext, 'by name') FROM v;
SELECT refuses('crypto_auth(plaintext, uuid)', '22000', '"safe"');
SELECT is(
    (token_info(token_encrypt('safe', ''))).key_id, new, 'of a name''s keys, the current one'
) FROM v, LATERAL supersede_data_key('safe') AS new;
SELECT is((token_info(token)).key_id, id, 'and the old one by its id') FROM v;
-- The current one is also found while there are newer ones that are not in use.
INSERT INTO key (id, family, name, owner, state) SELECT 2000000000, 2000000000, 'safe', 10, 'destroyed';
SELECT is(token_decrypt(token_encrypt('safe', plaintext)), plaintext, 'the newest is not in use') FROM v;

-- Functions, operators and tables of the caller's own come after PostgreSQL's, whatever his search_path.
CREATE SCHEMA evil;
GRANT ALL ON SCHEMA evil TO PUBLIC;
SET LOCAL ROLE pgkeymgr_test_thief;
CREATE FUNCTION evil.pg_has_role(oid, oid, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION evil.coalesce(boolean, boolean) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION evil.uuid_send(uuid) RETURNS bytea LANGUAGE sql AS 'SELECT ''''::bytea';
CREATE FUNCTION evil.always(text, text[]) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION evil.always(integer, integer) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR evil.= (LEFTARG = integer, RIGHTARG = integer, FUNCTION = evil.always);
CREATE TEMP TABLE key (id integer, owner text);
CREATE TEMP TABLE key_grant (family integer, grantee regrole, usage text[]);
RESET ROLE;
SELECT is(as_role('pgkeymgr_test_thief', call), '42501', 'with an evil search_path: ' || call)
FROM set_config('search_path', 'pg_temp, evil, pg_catalog, pgkeymgr, tap', true), (VALUES
    ('token_decrypt(token)'), ('token_encrypt(id, plaintext)'), ('token_encrypt(''safe'', plaintext)')
) AS calls (call);
SELECT set_config('search_path', 'pgkeymgr, tap, public', true);

SELECT finish();
ROLLBACK;
