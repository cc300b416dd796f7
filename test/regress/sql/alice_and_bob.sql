--
-- Alice writes to Bob: boxes, sealed boxes and signatures, with key pairs that the database does not keep.
-- psql's \gset puts the columns of a result into its own variables.
--
-- The secret keys travel in the SQL text here, so they can end up in the server's log. See paranoid.sql for less
-- of that.
--
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE SCHEMA pgkeymgr;
CREATE EXTENSION pgkeymgr SCHEMA pgkeymgr CASCADE;
SET search_path = pgkeymgr;

-- A key pair each, and a nonce for the box.
SELECT public, secret FROM crypto_box_new_keypair() \gset bob_
SELECT public, secret FROM crypto_box_new_keypair() \gset alice_
SELECT crypto_box_noncegen() AS boxnonce \gset

-- Alice encrypts to Bob with her secret key, his public key and the nonce.
SELECT crypto_box('bob is your uncle', :'boxnonce', :'bob_public', :'alice_secret') AS box \gset
SELECT length('bob is your uncle') AS message, length(:'box'::bytea) AS box;

-- Bob decrypts with his secret key, the nonce and Alice's public key, and so knows that it is from her.
SELECT convert_from(crypto_box_open(:'box', :'boxnonce', :'alice_public', :'bob_secret'), 'UTF8') AS message;

-- Nobody else can; and Bob refuses what is not from her.
SELECT public, secret FROM crypto_box_new_keypair() \gset eve_
SELECT crypto_box_open(:'box', :'boxnonce', :'alice_public', :'eve_secret');
SELECT crypto_box_open(:'box', :'boxnonce', :'eve_public', :'bob_secret');

-- A sealed box has no sender: anyone who has Bob's public key can make one, and not even they can open it.
SELECT crypto_box_seal('from a friend', :'bob_public') AS sealed \gset
SELECT convert_from(crypto_box_seal_open(:'sealed', :'bob_public', :'bob_secret'), 'UTF8') AS message;
SELECT crypto_box_seal_open(:'sealed', :'alice_public', :'alice_secret');

-- To sign, Alice has another key pair.
SELECT public, secret FROM crypto_sign_new_keypair() \gset sign_

-- Message and signature in one piece:
SELECT crypto_sign('I owe Bob 10', :'sign_secret') AS signed \gset
SELECT convert_from(crypto_sign_open(:'signed', :'sign_public'), 'UTF8') AS message;
-- and the signature by itself.
SELECT crypto_sign_detached('I owe Bob 10', :'sign_secret') AS signature \gset
SELECT amount, crypto_sign_verify_detached(:'signature', convert_to('I owe Bob ' || amount, 'UTF8'), :'sign_public')
FROM (VALUES (10), (100)) AS amounts (amount);

-- A message in many parts, here the rows of a table, is signed as a whole. Their order counts.
CREATE TEMP TABLE entry (n integer, line text);
INSERT INTO entry VALUES (1, 'Alice owes Bob 10'), (2, 'Bob owes Carol 20'), (3, 'Carol owes Alice 30');
SELECT crypto_sign_final_create(
    crypto_sign_update_agg(convert_to(line, 'UTF8') ORDER BY n), :'sign_secret'
) AS signature FROM entry \gset
SELECT crypto_sign_final_verify(
    crypto_sign_update_agg(convert_to(line, 'UTF8') ORDER BY n), :'signature', :'sign_public'
) FROM entry;
UPDATE entry SET line = 'Alice owes Bob 0' WHERE n = 1;
SELECT crypto_sign_final_verify(
    crypto_sign_update_agg(convert_to(line, 'UTF8') ORDER BY n), :'signature', :'sign_public'
) FROM entry;

DROP TABLE entry;
DROP EXTENSION pgkeymgr, plpython3u;
DROP SCHEMA pgkeymgr;
