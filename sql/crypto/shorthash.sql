-- SipHash-2-4. Python: crypto/shorthash.py

-- Return a new random key for crypto_shorthash, 16 bytes.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_shorthash_keygen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 15
AS $$
@load@
return GD['pgkeymgr'].crypto_shorthash_keygen()
$$;

-- Return the SipHash-2-4 of a message under a key of 16 bytes. The hash has 8 bytes, which is too short to authenticate
-- a message.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_shorthash(
    message bytea,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 25
AS $$
@load@
return GD['pgkeymgr'].crypto_shorthash(message, key)
$$;

-- Return the SipHash-2-4 of a message under the derived key with this number and context.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_shorthash(
    message bytea,
    key bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 35
AS $$
@load@
return GD['pgkeymgr'].crypto_shorthash_by_id(message, key, context)
$$;
