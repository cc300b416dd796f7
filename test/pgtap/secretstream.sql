-- sql/crypto/secretstream.sql
BEGIN;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(2);

SELECT generates('crypto_secretstream_keygen()', 32);

SELECT finish();
ROLLBACK;
