-- sql/roles.sql
BEGIN;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(18);

SELECT has_role('pgkeymgr_user');
SELECT has_role('pgkeymgr_admin');
SELECT has_role('pgkeymgr_monitor');
SELECT is(
    array_agg(rolname || ': ' || concat_ws(' ', rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolreplication,
        rolbypassrls) ORDER BY rolname),
    '{pgkeymgr_admin: f f f f f f,pgkeymgr_monitor: f f f f f f,pgkeymgr_user: f f f f f f}', 'they can neither log in nor do anything special'
) FROM pg_roles WHERE rolname IN ('pgkeymgr_user', 'pgkeymgr_admin', 'pgkeymgr_monitor');
SELECT is(
    array_agg(pg_describe_object(classid, objid, objsubid)), NULL, 'they own nothing'
) FROM pg_shdepend WHERE deptype = 'o' AND refobjid IN (
    'pgkeymgr_user'::regrole, 'pgkeymgr_admin'::regrole, 'pgkeymgr_monitor'::regrole
);
SELECT ok(pg_has_role('pgkeymgr_admin', 'pgkeymgr_user', 'USAGE'), 'pgkeymgr_admin inherits pgkeymgr_user');
SELECT ok(NOT pg_has_role('pgkeymgr_user', 'pgkeymgr_admin', 'MEMBER'), 'and not the other way round');
SELECT ok(pg_has_role('pgkeymgr_admin', 'pgkeymgr_monitor', 'USAGE'), 'pgkeymgr_admin inherits pgkeymgr_monitor');
SELECT is(array_agg(roleid::regrole), NULL, 'pgkeymgr_monitor is a member of no role')
FROM pg_auth_members WHERE member = 'pgkeymgr_monitor'::regrole;

-- A GRANT of one of them is all that an application's role needs.
CREATE ROLE pgkeymgr_test_application;
SELECT ok(NOT has_schema_privilege('pgkeymgr_test_application', 'pgkeymgr', 'USAGE'), 'a role has no USAGE');
GRANT pgkeymgr_user TO pgkeymgr_test_application;
SELECT ok(has_schema_privilege('pgkeymgr_test_application', 'pgkeymgr', 'USAGE'), 'with pgkeymgr_user it has');
SELECT ok(NOT has_schema_privilege('pgkeymgr_test_application', 'pgkeymgr', 'CREATE'), 'but not CREATE');

-- The roles outlast the extension, and so does who has been given them; any schema will do for a new one.
DROP EXTENSION pgkeymgr;
SELECT has_role('pgkeymgr_user', 'DROP EXTENSION leaves pgkeymgr_user');
SELECT has_role('pgkeymgr_admin', 'DROP EXTENSION leaves pgkeymgr_admin');
CREATE SCHEMA "Any schema";
CREATE EXTENSION pgkeymgr SCHEMA "Any schema";
SELECT ok(pg_has_role('pgkeymgr_test_application', 'pgkeymgr_user', 'MEMBER'), 'the role still has pgkeymgr_user');
GRANT USAGE ON SCHEMA tap TO pgkeymgr_test_application;
SET ROLE pgkeymgr_test_application;
SELECT is(length("Any schema".crypto_secretbox('message', "Any schema".crypto_secretbox_noncegen(), 1)), 23,
    'and the use of an extension in any schema');
RESET ROLE;

-- Where PUBLIC has USAGE, there is nothing to grant.
DROP EXTENSION pgkeymgr;
CREATE SCHEMA everybodys;
GRANT USAGE ON SCHEMA everybodys TO PUBLIC;
CREATE EXTENSION pgkeymgr SCHEMA everybodys;
SELECT schema_privs_are('everybodys', 'pgkeymgr_user', ARRAY['USAGE']);
SELECT unalike(nspacl::text, '%pgkeymgr_user%', 'the schema''s privileges are left alone')
FROM pg_namespace WHERE nspname = 'everybodys';

SELECT finish();
ROLLBACK;
