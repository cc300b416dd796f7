-- sql/key/internal.sql
BEGIN;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(18);

CREATE ROLE pgkeymgr_test_thief IN ROLE pgkeymgr_user;
CREATE TEMP TABLE made AS SELECT create_data_key('safe') AS id;
CREATE TEMP TABLE v AS
SELECT id, uuid, 'a long plaintext'::bytea AS plaintext, token_encrypt('safe', 'a long plaintext') AS token
FROM made JOIN key USING (id);
GRANT SELECT ON v TO PUBLIC;

-- They may be called, since what reads a key for a user is called as that user; and do nothing that pgkeymgr has not
-- prepared.
SELECT is(as_role('pgkeymgr_test_thief', call), '42501', 'refused: ' || regexp_replace(call, '\s+', ' ', 'g'))
FROM (VALUES
    ('token_decrypt(token)'),
    ('token_encrypt(id, plaintext)'),
    ('_as_owner()'),
    ('_read_as_owner()'),
    ('_load_key(id, '''', uuid, 0, 10, false)'),
    ('_load_key(0, ''safe'', ''00000000-0000-0000-0000-000000000000'', 0, 10, true)'),
    ('_take_key(id, uuid_send(uuid), id, id, ''safe'', ''data'', ''enabled'', false, NULL, NULL, NULL, NULL, true, true, true,
        ''{}'', NULL, NULL, ''{}'', 10, NULL, NULL, false, NULL, false, false)')
) AS calls (call);
SELECT refuses('_as_owner()', '42501', '_as_owner');
SELECT refuses('_read_as_owner()', '42501', '_as_owner');

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
