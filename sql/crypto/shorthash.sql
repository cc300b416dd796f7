-- SipHash-2-4. Python: crypto/shorthash.py

CREATE FUNCTION @extschema@.crypto_shorthash_keygen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 150
AS $$
@load@
return GD['pgkeymgr'].crypto_shorthash_keygen()
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_shorthash_keygen() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_shorthash_keygen() TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_shorthash_keygen() IS
    'Return a new random key for crypto_shorthash, 16 bytes.';

CREATE FUNCTION @extschema@.crypto_shorthash(
    message bytea,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 250
AS $$
@load@
return GD['pgkeymgr'].crypto_shorthash(message, key)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_shorthash(bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_shorthash(bytea, bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_shorthash(bytea, bytea) IS
    'Return the SipHash-2-4 of a message under a key of 16 bytes. The hash has 8 bytes, which is too short to '
    'authenticate a message.';

CREATE FUNCTION @extschema@.crypto_shorthash(
    message bytea,
    key bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 350
AS $$
@load@
return GD['pgkeymgr'].crypto_shorthash_by_id(message, key, context)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_shorthash(bytea, bigint, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_shorthash(bytea, bigint, bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.crypto_shorthash(bytea, bigint, bytea) IS
    'Return the SipHash-2-4 of a message under the derived key with this number and context.';
