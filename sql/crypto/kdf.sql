-- Derivation of keys from a given key, by number. Python: crypto/kdf.py

CREATE FUNCTION @extschema@.crypto_kdf_keygen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 150
AS $$
@load@
return GD['pgkeymgr'].crypto_kdf_keygen()
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_kdf_keygen() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_kdf_keygen() TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_kdf_keygen() IS
    'Return a new random key for crypto_kdf_derive_from_key, 32 bytes.';

CREATE FUNCTION @extschema@.crypto_kdf_derive_from_key(
    subkey_size bigint,
    subkey_id bigint,
    context bytea,
    primary_key bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 250
AS $$
@load@
return GD['pgkeymgr'].crypto_kdf_derive_from_key(subkey_size, subkey_id, context, primary_key)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_kdf_derive_from_key(bigint, bigint, bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_kdf_derive_from_key(bigint, bigint, bytea, bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_kdf_derive_from_key(bigint, bigint, bytea, bytea) IS
    'Derive a key of 16 to 64 bytes from a primary key (32 bytes), with this number and context (8 bytes).';
