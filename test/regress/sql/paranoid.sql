--
-- Alice and Bob, paranoid: users who keep keys outside of the database can put them into settings of a
-- transaction, with logging turned off for that one step. From then on no statement holds a key, only the name of
-- a setting; and after COMMIT the settings are gone.
--
-- Changing what is logged takes a superuser. It is not enough where an extension logs (pgaudit), and a key is in
-- pg_stat_activity while it is being set; so prefer keys that never leave the server (derive.sql).
--
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE SCHEMA pgkeymgr;
CREATE EXTENSION pgkeymgr SCHEMA pgkeymgr CASCADE;
SET search_path = pgkeymgr;

-- SET LOCAL lasts for a transaction.
BEGIN;

-- The keys come from the outside: here, from psql's variables. Making them returns secrets to the client,
-- so mind the connection (secure_connection.sql).
SELECT public, secret FROM crypto_box_new_keypair() \gset bob_
SELECT public, secret FROM crypto_box_new_keypair() \gset alice_
SELECT crypto_box_noncegen() AS boxnonce \gset

-- Log no statement, not even a slow or a failing one, and inject the secrets. (A SELECT of nothing, so that
-- set_config does not print what it has set.)
SET LOCAL log_statement = 'none';
SET LOCAL log_min_duration_statement = -1;
SET LOCAL log_min_error_statement = 'panic';
SELECT FROM set_config('app.bob_secret', :'bob_secret', true);
SELECT FROM set_config('app.alice_secret', :'alice_secret', true);
-- Log again as the server is set up to.
SET LOCAL log_statement = DEFAULT;
SET LOCAL log_min_duration_statement = DEFAULT;
SET LOCAL log_min_error_statement = DEFAULT;

-- Now current_setting() gives the keys, from the session's memory.
SELECT crypto_box(
    'bob is your uncle', :'boxnonce', :'bob_public', current_setting('app.alice_secret')::bytea
) AS box \gset
SELECT convert_from(
    crypto_box_open(:'box', :'boxnonce', :'alice_public', current_setting('app.bob_secret')::bytea), 'UTF8'
) AS message;
COMMIT;

-- They are gone.
SELECT current_setting('app.alice_secret', true) AS alice_secret, current_setting('app.bob_secret', true) AS bob_secret;
SELECT crypto_box_open(:'box', :'boxnonce', :'alice_public', current_setting('app.bob_secret')::bytea);

DROP EXTENSION pgkeymgr, plpython3u;
DROP SCHEMA pgkeymgr;
