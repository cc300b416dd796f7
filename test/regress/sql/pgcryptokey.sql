--
-- pgcryptokey's functions, for its users: data keys under passwords, given out to encrypt with pgcrypto.
--
-- They show passwords and keys in SQL, so that logs can hold them; each session gets one warning. data_keys.sql is the
-- other way.
--
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE SCHEMA pgkeymgr;
CREATE EXTENSION pgkeymgr SCHEMA pgkeymgr CASCADE;
CREATE EXTENSION pgcrypto SCHEMA pgkeymgr;
SET search_path = pgkeymgr;
CREATE ROLE regress_pgkeymgr_application IN ROLE pgkeymgr_user;
SET ROLE regress_pgkeymgr_application;

-- The example of its README: the first call warns, the others do not.
SELECT create_cryptokey('test', 16, 'abc');
CREATE TEMPORARY TABLE cryptokey_sample (data bytea);
INSERT INTO cryptokey_sample VALUES (pgp_sym_encrypt('my data', get_cryptokey('test', 'abc')));
-- use a server variable for the data key
SELECT set_cryptokey('test', 'abc');
SELECT pgp_sym_decrypt(data, current_setting('pgcryptokey.key')) FROM cryptokey_sample;
SELECT current_setting('pgcryptokey.name') AS name, length(current_setting('pgcryptokey.key')) AS digits;
-- use a server variable for the key access password
SET pgcryptokey.default_password = 'abc';
SELECT drop_cryptokey('test');
RESET pgcryptokey.default_password;

-- Session by session: each call has the password, which a client makes of what its user types.
SELECT encode(digest('MyPassword', 'sha256'), 'hex') AS hashed_password \gset
SELECT create_cryptokey('session', 32, :'hashed_password');
INSERT INTO cryptokey_sample VALUES (pgp_sym_encrypt('more data', get_cryptokey('session', :'hashed_password')));
SELECT get_cryptokey('session', 'MyPassword');
SELECT get_cryptokey('session');
SELECT get_cryptokey('unknown', 'abc');

-- By default: the password is a setting, of the session as here, or of the server.
SELECT FROM set_config('pgcryptokey.default_password', :'hashed_password', false);
SELECT get_cryptokey('session') = get_cryptokey(2, :'hashed_password') AS same;
SELECT create_cryptokey('default', 32);

-- Two passwords, of which the client has only one.
SELECT create_cryptokey('two', 16, 'abc' || current_setting('pgcryptokey.default_password'));
SELECT length(get_cryptokey('two', 'abc' || current_setting('pgcryptokey.default_password'))) AS digits;
SELECT get_cryptokey('two', 'abc');
SELECT get_cryptokey('two');

-- Another password for the same key.
SELECT get_cryptokey('session') AS key \gset
SELECT change_cryptokey_password('session', :'hashed_password', 'another');
SELECT get_cryptokey('session', 'another') = :'key' AS same;
SELECT get_cryptokey('session');
SELECT change_cryptokey_password(2, 'another', :'hashed_password');

-- Rotation: a new key under the same name and password, and the data moved to it.
DELETE FROM cryptokey_sample;
INSERT INTO cryptokey_sample
SELECT pgp_sym_encrypt('data ' || n, get_cryptokey('session')) FROM generate_series(1, 3) AS n;
SELECT supersede_cryptokey('session', 32);
SELECT get_cryptokey('session') = get_cryptokey(5) AS same, get_cryptokey(2) = :'key' AS old_by_id;
UPDATE cryptokey_sample SET data = reencrypt_data(data, 2, 5);
SELECT drop_cryptokey(2);
SELECT pgp_sym_decrypt(data, get_cryptokey('session')) AS data FROM cryptokey_sample ORDER BY data;

-- The former table of pgcryptokey is a view for administrators of keys.
SELECT count(*) FROM pgcryptokey;
RESET ROLE;
SELECT key_id, name, length(encrypted_data_key), superseded_by FROM pgcryptokey ORDER BY key_id;

DROP TABLE cryptokey_sample;
ALTER EVENT TRIGGER pgkeymgr_keep_keys DISABLE;  -- the keys are not needed any more
DROP EXTENSION pgcrypto, pgkeymgr, plpython3u;
DROP SCHEMA pgkeymgr;
DROP ROLE regress_pgkeymgr_application;
