--
-- Derived keys: the server makes them from its root key, a number and a context, whenever they are needed. They
-- are stored nowhere. A thief of the database has the numbers, and nothing else without the root key.
--
-- The root key of these tests is 32 bytes of 0x10, so that everybody gets the same keys here.
--
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE SCHEMA pgkeymgr;
CREATE EXTENSION pgkeymgr SCHEMA pgkeymgr CASCADE;
SET search_path = pgkeymgr;

-- Key number 1: 32 bytes, unless another length from 16 to 64 is asked for.
SELECT pgkeymgr_derive(1);
SELECT pgkeymgr_derive(1, 64);

-- The context, 8 bytes, says what a key is for: the same number in another context is another key.
SELECT pgkeymgr_derive(1, 32, '__auth__');

-- derive_key is the same function; the default context is that of pgsodium, so that its keys stay what they were.
SELECT derive_key(1) = pgkeymgr_derive(1, 32, 'pgsodium') AS same;

SELECT pgkeymgr_derive(1, 15);
SELECT pgkeymgr_derive(1, 32, 'auth');

-- Each function that takes a key also takes a key's number; then SQL never sees the key.
SELECT crypto_auth('message', 1) = crypto_auth('message', derive_key(1)) AS same;
SELECT crypto_auth('message', 1, '__auth__') = crypto_auth('message', derive_key(1, 32, '__auth__')) AS same;

-- A derived key is a good seed: a key pair that nobody has to store.
SELECT public FROM crypto_sign_seed_new_keypair(derive_key(1));

-- Which root key it is: a fingerprint tells, and does not tell the key.
SELECT fingerprint, split_part(source, ' ', 1) AS source, previous FROM root_key_status();

-- Deriving is for administrators. Others use keys by number.
CREATE ROLE regress_pgkeymgr_application IN ROLE pgkeymgr_user;
SET ROLE regress_pgkeymgr_application;
SELECT pgkeymgr_derive(1);
SELECT root_key_status();
SELECT length(crypto_auth('message', 1));
RESET ROLE;

DROP ROLE regress_pgkeymgr_application;
DROP EXTENSION pgkeymgr, plpython3u;
DROP SCHEMA pgkeymgr;
