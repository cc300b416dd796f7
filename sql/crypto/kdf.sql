-- Derivation of keys from a given key, by number. Python: crypto/kdf.py

-- Return a new random key for crypto_kdf_derive_from_key, 32 bytes.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_kdf_keygen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 15
AS $$
@load@
return GD['pgkeymgr'].crypto_kdf_keygen()
$$;

-- Derive a key of 16 to 64 bytes from a primary key (32 bytes), with this number and context (8 bytes).
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_kdf_derive_from_key(
    subkey_size bigint,
    subkey_id bigint,
    context bytea,
    primary_key bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 25
AS $$
@load@
return GD['pgkeymgr'].crypto_kdf_derive_from_key(subkey_size, subkey_id, context, primary_key)
$$;
