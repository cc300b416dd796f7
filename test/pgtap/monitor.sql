-- sql/monitor.sql, and the privileges of the role pgkeymgr_monitor
BEGIN;
SET search_path = pgkeymgr, tap, public;
SET client_min_messages = error;
\ir include/assertions.sql
SELECT plan(42);

CREATE ROLE pgkeymgr_test_monitor;
GRANT pgkeymgr_monitor TO pgkeymgr_test_monitor;
GRANT USAGE ON SCHEMA tap TO pgkeymgr_test_monitor;
CREATE ROLE pgkeymgr_test_owner LOGIN IN ROLE pgkeymgr_admin;
CREATE ROLE pgkeymgr_test_app LOGIN;
CREATE ROLE pgkeymgr_test_member LOGIN IN ROLE pgkeymgr_test_app;
CREATE ROLE pgkeymgr_test_switch LOGIN NOINHERIT IN ROLE pgkeymgr_test_app;
CREATE ROLE "pgkeymgr_test_Odd, role x" LOGIN;
CREATE ROLE pgkeymgr_test_user LOGIN IN ROLE pgkeymgr_user;
CREATE ROLE pgkeymgr_test_gone;

SET ROLE pgkeymgr_test_owner;
SELECT create_data_key('monitored', comment => 'a comment') AS first \gset
SELECT grant_data_key('monitored', 'pgkeymgr_test_app');
SELECT grant_data_key('monitored', '"pgkeymgr_test_Odd, role x"', '{search}');
SELECT supersede_data_key('monitored') AS second \gset
SELECT create_data_key('second key') AS other \gset
SELECT grant_data_key('second key', 'pgkeymgr_test_gone', '{encrypt}');
RESET ROLE;
REVOKE pgkeymgr_admin FROM pgkeymgr_test_owner;
SELECT 'pgkeymgr_test_gone'::regrole::oid AS gone \gset
DROP ROLE pgkeymgr_test_gone;
SELECT create_data_key('destroyed') AS destroyed \gset
SELECT grant_data_key('destroyed', 'pgkeymgr_test_app');
SELECT destroy_data_key(:destroyed, 'destroyed');
SELECT import_pgsodium_key(gen_random_uuid(), 'valid', 'aead-det', 'numbered', key_id => 7, key_context => 'pgsodium');

CREATE TABLE public.patient (id int PRIMARY KEY, ssn text, note text);
INSERT INTO public.patient VALUES (1, '123', 'a');
GRANT SELECT ON public.patient TO pgkeymgr_test_app;
GRANT SELECT (id, note) ON public.patient TO "pgkeymgr_test_Odd, role x";
GRANT USAGE ON SCHEMA public TO PUBLIC;
SELECT encrypt_column('public.patient', 'ssn', 'monitored');
SELECT add_blind_index('public.patient', 'ssn');

SET ROLE pgkeymgr_test_monitor;

-- All keys, and no secret.
SELECT set_eq(
    $$SELECT name, state::text, is_current, owner::text, comment, wraps, root_key IS NOT NULL, shared_with
    FROM key_versions WHERE name IN ('monitored', 'destroyed') ORDER BY id$$,
    $$VALUES ('monitored', 'enabled', false, 'pgkeymgr_test_owner', 'a comment', '{root}'::text[], true, '{}'::name[]),
    ('monitored', 'enabled', true, 'pgkeymgr_test_owner', 'a comment', '{root}', true, '{}'),
    ('destroyed', 'destroyed', true, session_user::text, NULL, '{}', false, '{}')$$,
    'all versions of all keys'
);
SELECT is(array_agg(column_name::text), NULL, 'no view of a monitor has a column of bytes but the hash of an event')
FROM information_schema.columns
WHERE table_schema = 'pgkeymgr' AND data_type = 'bytea' AND column_name <> 'hash'
    AND table_name IN ('key_versions', 'key_usage', 'key_grants', 'column_grants', 'encrypted_columns', 'column_progress',
        'partition_progress', 'dropped_encrypted_columns', 'key_events');

-- The needs of each version.
SELECT set_eq(
    -- The end of the name is the number of the column, which depends on the files that ran before.
    $$SELECT regexp_replace(key_name, '[.]\d+$', ''), is_current, relation, column_name::text, need FROM key_usage$$,
    $$VALUES ('monitored', true, 'patient', 'ssn', 'current'),
    ('monitored', false, 'patient', 'ssn', 'earlier values'),
    ('monitored.bidx', true, 'patient', 'ssn', 'blind index')$$,
    'columns and blind indexes need versions of keys'
);

-- The roles that can use a key.
SELECT set_eq(
    $$SELECT role::text, can_login, usage, source, through::text, grantor FROM key_grants WHERE key_name = 'monitored'
    AND source <> 'superuser'$$,
    $$VALUES ('pgkeymgr_test_owner', true, '{encrypt,decrypt,search}'::text[], 'owner', NULL, NULL),
    -- encrypt_column() lets the roles that could read and write the column go on.
    (session_user::text, true, '{encrypt,decrypt}', 'grant', NULL, session_user::text),
    ('pgkeymgr_test_app', true, '{encrypt,decrypt}', 'grant', NULL, session_user::text),
    ('pgkeymgr_test_member', true, '{encrypt,decrypt}', 'membership', 'pgkeymgr_test_app', NULL),
    ('pgkeymgr_test_switch', true, '{encrypt,decrypt}', 'set role', 'pgkeymgr_test_app', NULL),
    ('pgkeymgr_test_Odd, role x', true, '{search}', 'grant', NULL, 'pgkeymgr_test_owner')$$,
    'the owner, grants, and members of their roles'
);
SELECT is(count(*), 1::bigint, 'a grant of a key is one row, not one for each version')
FROM key_grants WHERE key_name = 'monitored' AND source = 'grant' AND role = 'pgkeymgr_test_app';
SELECT is(max(key_id), :second, 'it has the id of the current version') FROM key_grants WHERE key_name = 'monitored';
SELECT ok(max(granted) IS NOT NULL, 'and the time of the grant')
FROM key_grants WHERE role = 'pgkeymgr_test_app' AND source = 'grant';
SELECT ok(bool_and(found), 'superusers are named for each key') FROM (
    SELECT EXISTS (
        SELECT FROM key_grants AS g WHERE g.key_name = v.name AND g.source = 'superuser' AND g.role = session_user
    ) AS found FROM key_versions AS v WHERE v.state <> 'destroyed' AND v.parent_family IS NULL
) AS f;
SELECT set_eq(
    $$SELECT role::text, usage, can_login FROM key_grants WHERE key_name = 'second key' AND source = 'no role'$$,
    $$VALUES ('pgkeymgr_test_gone', '{encrypt}'::text[], false)$$,
    'a grant to a role that was dropped'
);
SELECT is(count(*), 0::bigint, 'nobody can use a destroyed key') FROM key_grants WHERE key_name = 'destroyed';
SELECT set_eq(
    $$SELECT role::text, through::text FROM key_grants WHERE key_name = 'numbered' AND source = 'number'$$,
    $$VALUES ('pgkeymgr_test_user', 'pgkeymgr_user'), ('pgkeymgr_user', 'pgkeymgr_user'), ('pgkeymgr_admin', 'pgkeymgr_user')$$,
    'the users of keys by number'
);
RESET ROLE;
GRANT pgkeymgr_admin TO pgkeymgr_test_owner;
SET ROLE pgkeymgr_test_monitor;
SELECT is(count(*), (
        SELECT count(DISTINCT family) FROM key_versions WHERE state <> 'destroyed' AND parent_family IS NULL
    ),
    'an administrator can grant itself each key')
FROM key_grants WHERE source = 'pgkeymgr_admin' AND role = 'pgkeymgr_test_owner';

-- The roles that can read a column.
SELECT set_eq(
    $$SELECT role::text, may_select, can_read, source FROM column_grants
    WHERE relation = 'public.patient'::regclass AND column_name = 'ssn' AND source <> 'superuser'$$,
    $$VALUES ('pgkeymgr_test_owner', false, false, 'owner'), ('pgkeymgr_test_owner', false, false, 'pgkeymgr_admin'),
    (session_user::text, true, true, 'grant'),
    ('pgkeymgr_test_app', true, true, 'grant'), ('pgkeymgr_test_member', true, true, 'membership'),
    ('pgkeymgr_test_switch', true, true, 'set role'), ('pgkeymgr_test_Odd, role x', false, false, 'grant')$$,
    'the roles that can use the key of a column, and read the column'
);
SELECT ok(bool_and(can_read), 'and superusers') FROM column_grants WHERE source = 'superuser';

-- Columns, operations, events.
SELECT set_eq(
    $$SELECT relation::text, column_name::text, key_name, state::text FROM encrypted_columns$$,
    $$VALUES ('patient', 'ssn', 'monitored', 'migrating')$$,
    'a monitor sees the name of the key of each column'
);
SELECT lives_ok('SELECT * FROM ' || view, view) FROM unnest('{column_progress,partition_progress,
    dropped_encrypted_columns,key_events,root_key_status(),key_node_status(),verify_key_events()}'::text[]) AS view;
SELECT ok(count(*) > 0, 'a monitor sees the events') FROM key_events WHERE event = 'grant';

-- The doctor finds the same for a monitor as for a superuser.
CREATE TEMP TABLE findings AS SELECT * FROM doctor();
GRANT SELECT ON findings TO PUBLIC;
SELECT is(array_agg(f), NULL, 'a monitor can check everything') FROM findings AS f WHERE message LIKE 'could not%';
RESET ROLE;
SELECT set_eq('SELECT * FROM doctor()', 'SELECT * FROM findings', 'a monitor and a superuser get the same findings');

-- Nothing else: no function beyond those of PUBLIC, and no table.
SELECT set_eq(
    $$SELECT p.oid::regprocedure::text FROM pg_depend AS d JOIN pg_proc AS p ON p.oid = d.objid
    WHERE d.deptype = 'e' AND d.classid = 'pg_proc'::regclass
        AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pgkeymgr')
        AND has_function_privilege('pgkeymgr_test_monitor', p.oid, 'EXECUTE')
        AND NOT has_function_privilege('pgkeymgr_test_app', p.oid, 'EXECUTE')$$,
    ARRAY['doctor()', 'verify_key_events(bigint,bytea)', 'root_key_status()', 'key_node_status()',
        'checkpoint_key_events()'],
    'a monitor may call five functions more than PUBLIC'
);
SELECT set_eq(
    $$SELECT c.oid::regclass::text, p.privilege FROM pg_depend AS d JOIN pg_class AS c ON c.oid = d.objid,
        unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) AS p (privilege)
    WHERE d.deptype = 'e' AND d.classid = 'pg_class'::regclass AND c.relkind IN ('r', 'v', 'm', 'p')
        AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pgkeymgr')
        AND (
            has_table_privilege('pgkeymgr_test_monitor', c.oid, p.privilege)
            OR (p.privilege = ANY ('{SELECT,INSERT,UPDATE,REFERENCES}')
                AND has_any_column_privilege('pgkeymgr_test_monitor', c.oid, p.privilege))
        )$$,
    $$SELECT v, 'SELECT' FROM unnest('{encrypted_tables,key_versions,key_usage,key_grants,column_grants,key_events,key_policies,
        encrypted_columns,dropped_encrypted_columns,column_progress,partition_progress}'::text[]) AS v$$,
    'a monitor reads views, and no table'
);
SELECT token_encrypt_text('monitored', 'plaintext') AS token \gset
SELECT throws_ok(
    format('SET LOCAL ROLE pgkeymgr_test_monitor; ' || statement, :'token'), '42501', NULL, format(statement, 'token')
)
FROM unnest(ARRAY[
    'SELECT token_decrypt_text(%L)', 'SELECT token_encrypt_text(''monitored'', ''x'')', 'SELECT derive_key(1)',
    'SELECT crypto_secretbox_open(%L, ''x'', 1)',
    'SELECT grant_data_key(''monitored'', ''pgkeymgr_test_monitor'')', 'SELECT create_data_key(''x'')',
    'SELECT wrap_key(''x'')', 'SELECT export_data_key(''monitored'', ''x'')', 'SELECT rotate_root_key()',
    'SELECT * FROM public.patient', 'SELECT * FROM public.patient_encrypted',
    'SELECT _open_text(%L, ''x'', 1)', 'SELECT _as_owner()', 'SELECT FROM key_wrap'
]) AS statement;
-- A role that only has SELECT on the table does not have the key, whatever it may monitor.
GRANT SELECT ON public.patient TO pgkeymgr_test_monitor;
SELECT throws_ok(
    'SET LOCAL ROLE pgkeymgr_test_monitor; SELECT _open_text(ssn_encrypted, ''\x00'', 1) FROM public.patient_encrypted',
    '42501', NULL, 'no value'
);

SELECT finish();
ROLLBACK;
