-- The key generator of encrypted streams, the only function for them in pgsodium. Python: crypto/secretstream.py

-- Return a new random key for libsodium's crypto_secretstream, 32 bytes.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_secretstream_keygen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 15
AS $$
@load@
return GD['pgkeymgr'].crypto_secretstream_keygen()
$$;
