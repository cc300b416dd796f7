--
-- Sealed secrets, with psql: a passphrase goes to the server, and no log, no pg_stat_activity and nobody on the way
-- can read it. The server makes an offer; `pgkeymgr seal` checks that it is the right server's, and seals the
-- passphrase to it; SQL gets only that. A client in Python does the three steps in one call: pgkeymgr.client.
--
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE SCHEMA pgkeymgr;
CREATE EXTENSION pgkeymgr SCHEMA pgkeymgr CASCADE;
SET search_path = pgkeymgr;

-- The fingerprint of the server's exchange key is what a client pins. Get it once, over a connection that you trust,
-- and keep it: a client that asks for it each time believes every server that answers.
SELECT exchange_fingerprint() AS fingerprint \gset
SELECT length(:'fingerprint') AS digits;

-- People are asked for a passphrase, on the terminal. Here it comes from a file that nobody else can read; it is never
-- an argument, since every user of a machine sees those.
\set passphrase_file `mktemp`
\setenv PASSPHRASE_FILE :passphrase_file
\! echo 'correct horse battery staple' > "$PASSPHRASE_FILE"

-- A key gets a passphrase. Each sealed message needs an offer of its own, in the session that gets it.
CREATE ROLE regress_pgkeymgr_admin IN ROLE pgkeymgr_admin;
GRANT USAGE ON SCHEMA pgkeymgr TO regress_pgkeymgr_admin;
SET ROLE regress_pgkeymgr_admin;
SELECT create_data_key('letters');
SELECT * FROM exchange_offer() \gset
\set sealed `pgkeymgr seal :'public' :'challenge' :'server_key' :'signature' --fingerprint :'fingerprint' --secret-file "$PASSPHRASE_FILE"`
SELECT add_passphrase('letters', :'sealed');
SELECT token_encrypt_text('letters', 'Dear Alice') AS token \gset

-- From now on the server cannot open the key by itself, nor can who steals it with its root key.
SELECT drop_root_wrap('letters');
SELECT name, wraps FROM data_keys;

-- A new session, or one that has locked it, has to unlock it.
SELECT lock();
SELECT token_decrypt_text(:'token');
SELECT * FROM exchange_offer() \gset
\set sealed `pgkeymgr seal :'public' :'challenge' :'server_key' :'signature' --fingerprint :'fingerprint' --secret-file "$PASSPHRASE_FILE"`
SELECT unlock_data_key('letters', :'sealed');
SELECT token_decrypt_text(:'token');
SELECT kind, key_name, until FROM session_keyring;

-- Until it is locked again, or the session ends.
SELECT lock();
SELECT token_decrypt_text(:'token');

-- The message that unlocked it is used up. Somebody who finds it in a log cannot replay it, not even with this
-- session's next offer.
SELECT unlock_data_key('letters', :'sealed');
SELECT * FROM exchange_offer() \gset
SELECT unlock_data_key('letters', :'sealed');

-- Two secrets in one message: the old passphrase and the new one. The old one does not unlock it any more.
\! echo 'staple battery horse correct' > "$PASSPHRASE_FILE.new"
SELECT * FROM exchange_offer() \gset
\set sealed `pgkeymgr seal :'public' :'challenge' :'server_key' :'signature' --fingerprint :'fingerprint' --secret-file "$PASSPHRASE_FILE" --secret-file "$PASSPHRASE_FILE.new"`
SELECT change_passphrase('letters', :'sealed');
SELECT * FROM exchange_offer() \gset
\set sealed `pgkeymgr seal :'public' :'challenge' :'server_key' :'signature' --fingerprint :'fingerprint' --secret-file "$PASSPHRASE_FILE"`
SELECT unlock_data_key('letters', :'sealed');

-- Another server, or somebody in between, and so another fingerprint than the one that is pinned: nothing is sealed.
SELECT * FROM exchange_offer() \gset
\set sealed `pgkeymgr seal :'public' :'challenge' :'server_key' :'signature' --fingerprint "$(printf %064d 0)" --secret-file "$PASSPHRASE_FILE" 2> "$PASSPHRASE_FILE.error" || echo refused`
\echo :sealed
\! sed -e 's/[0-9a-f]\{64\}/(fingerprint)/g' "$PASSPHRASE_FILE.error"

\! rm "$PASSPHRASE_FILE" "$PASSPHRASE_FILE.new" "$PASSPHRASE_FILE.error"
RESET ROLE;
ALTER EVENT TRIGGER pgkeymgr_keep_keys DISABLE;  -- the keys are not needed any more
DROP EXTENSION pgkeymgr, plpython3u;
DROP SCHEMA pgkeymgr;
DROP ROLE regress_pgkeymgr_admin;
