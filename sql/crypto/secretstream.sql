-- The key generator of encrypted streams; pgsodium has no more of them. Python: crypto/secretstream.py

CREATE FUNCTION @extschema@.crypto_secretstream_keygen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 150
AS $$
@load@
return GD['pgkeymgr'].crypto_secretstream_keygen()
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_secretstream_keygen() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_secretstream_keygen() TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_secretstream_keygen() IS
    'Return a new random key for libsodium''s crypto_secretstream, 32 bytes.';
