--
-- Data keys: a tour. The server makes a key, keeps it wrapped under its root key, and encrypts with it for those
-- who were granted it. It gives a token, which says which key it needs; the key itself never is in SQL.
--
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE SCHEMA pgkeymgr;
CREATE EXTENSION pgkeymgr SCHEMA pgkeymgr CASCADE;
SET search_path = pgkeymgr, public;

-- An administrator of keys makes the key of an application, and an application's role is granted the use of it.
CREATE ROLE regress_pgkeymgr_admin IN ROLE pgkeymgr_admin;
CREATE ROLE regress_pgkeymgr_application IN ROLE pgkeymgr_user;
CREATE ROLE regress_pgkeymgr_reporting IN ROLE pgkeymgr_user;
SET ROLE regress_pgkeymgr_admin;
SELECT create_data_key('customers', comment => 'phone numbers');
SELECT grant_data_key('customers', 'regress_pgkeymgr_application');
RESET ROLE;

-- The application's table. The associated data is the row's id: it is not in the token, and the token does not
-- open without it. So a token that is copied to another row is of no use there.
CREATE TABLE customer (id integer PRIMARY KEY, name text, phone bytea);
GRANT SELECT, INSERT, UPDATE ON customer TO regress_pgkeymgr_application, regress_pgkeymgr_reporting;
SET ROLE regress_pgkeymgr_application;
INSERT INTO customer VALUES
    (1, 'Alice', token_encrypt_text('customers', '+49 30 1234', int4send(1))),
    (2, 'Bob', token_encrypt_text('customers', '+49 40 5678', int4send(2))),
    (3, 'Carol', token_encrypt_text('customers', '', int4send(3))),
    (4, 'Dave', token_encrypt_text('customers', NULL, int4send(4)));
SELECT name, token_decrypt_text(phone, int4send(id)) AS phone FROM customer ORDER BY id;

-- The stored tokens: each has a nonce of its own, and tells nothing of the plaintext but its length.
SELECT name, length(phone), strpos(encode(phone, 'escape'), '1234') AS found FROM customer ORDER BY id;
SELECT format, suite, key_id, key_name, key_state FROM customer, token_info(phone) WHERE id = 1;

-- Alice's number does not become Bob's.
UPDATE customer SET phone = (SELECT phone FROM customer WHERE id = 1) WHERE id = 2;
SELECT token_decrypt_text(phone, int4send(id)) FROM customer WHERE id = 2;
-- A listing that must survive such a row.
SELECT name, convert_from(token_try_decrypt(phone, int4send(id)), 'UTF8') AS phone FROM customer ORDER BY id;
UPDATE customer SET phone = token_encrypt_text('customers', '+49 40 5678', int4send(2)) WHERE id = 2;

-- Lookups need equal tokens for equal plaintexts. The price: everybody who sees the table sees which values are equal.
SELECT token_encrypt_text('customers', 'same') = token_encrypt_text('customers', 'same') AS randomized,
    token_encrypt_text('customers', 'same', deterministic => true)
        = token_encrypt_text('customers', 'same', deterministic => true) AS deterministic;

-- A role without a grant on the key sees tokens.
SET ROLE regress_pgkeymgr_reporting;
SELECT name, length(phone) FROM customer WHERE id = 1;
SELECT name, token_decrypt_text(phone, int4send(id)) FROM customer WHERE id = 1;
SELECT name, my_usage FROM data_keys;

-- Nor does the application manage keys.
SET ROLE regress_pgkeymgr_application;
SELECT id, name, key_type, state, owner, comment, wraps, my_usage FROM data_keys;
SELECT create_data_key('mine');
SELECT grant_data_key('customers', 'regress_pgkeymgr_reporting');

-- A new version of the key: the name now means the new one, the grants hold for it, and the old one still decrypts.
SET ROLE regress_pgkeymgr_admin;
SELECT supersede_data_key('customers');
SELECT id, name, state, superseded_by FROM data_keys ORDER BY id;
SET ROLE regress_pgkeymgr_application;
SELECT name, (token_info(phone)).key_id, token_decrypt_text(phone, int4send(id)) AS phone
FROM customer ORDER BY id;
-- New rows are written under the new one; the others are moved, without being seen.
UPDATE customer SET phone = token_reencrypt(phone, 'customers', int4send(id))
WHERE (token_info(phone)).key_id <> 2;
SELECT name, (token_info(phone)).key_id, token_decrypt_text(phone, int4send(id)) AS phone
FROM customer ORDER BY id;

-- A key that is disabled does nothing until it is enabled again.
SET ROLE regress_pgkeymgr_admin;
SELECT disable_data_key(2);
SET ROLE regress_pgkeymgr_application;
SELECT token_decrypt_text(phone, int4send(id)) FROM customer WHERE id = 1;
SELECT token_encrypt_text('customers', 'new');
SET ROLE regress_pgkeymgr_admin;
SELECT enable_data_key(2);
SET ROLE regress_pgkeymgr_application;
SELECT token_decrypt_text(phone, int4send(id)) AS phone FROM customer WHERE id = 1;

-- A destroyed key is gone, and so is the data that it encrypted. The name of the key confirms the call.
SET ROLE regress_pgkeymgr_admin;
SELECT destroy_data_key(1, 'customers');
SELECT destroy_data_key(2, 'suppliers');
SELECT destroy_data_key(2, 'customers');
SELECT id, name, state, wraps FROM data_keys ORDER BY id;
SET ROLE regress_pgkeymgr_application;
SELECT token_decrypt_text(phone, int4send(id)) FROM customer WHERE id = 1;
SELECT name, token_try_decrypt(phone, int4send(id)) AS phone FROM customer ORDER BY id;
RESET ROLE;

DROP TABLE customer;
ALTER EVENT TRIGGER pgkeymgr_keep_keys DISABLE;  -- the keys are not needed any more
DROP EXTENSION pgkeymgr, plpython3u;
DROP SCHEMA pgkeymgr;
DROP ROLE regress_pgkeymgr_admin, regress_pgkeymgr_application, regress_pgkeymgr_reporting;
