-- BLAKE2b, with or without a key. Python: crypto/generichash.py

-- Return a new random key for crypto_generichash, 32 bytes.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_generichash_keygen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 15
AS $$
@load@
return GD['pgkeymgr'].crypto_generichash_keygen()
$$;

-- Return the BLAKE2b-256 of a message, 32 bytes. The key has 16 to 64 bytes; NULL is a hash without a key.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_generichash(
    message bytea,
    key bytea DEFAULT NULL
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 20
AS $$
@load@
return GD['pgkeymgr'].crypto_generichash(message, key)
$$;

-- Return the BLAKE2b-256 of a message under the derived key with this number and context. If the number is NULL, the
-- hash has no key.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_generichash(
    message bytea,
    key bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 35
AS $$
@load@
return GD['pgkeymgr'].crypto_generichash_by_id(message, key, context)
$$;
