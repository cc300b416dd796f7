-- BLAKE2b, with or without a key. Python: crypto/generichash.py

CREATE FUNCTION @extschema@.crypto_generichash_keygen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 150
AS $$
@load@
return GD['pgkeymgr'].crypto_generichash_keygen()
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_generichash_keygen() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_generichash_keygen() TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_generichash_keygen() IS
    'Return a new random key for crypto_generichash, 32 bytes.';

CREATE FUNCTION @extschema@.crypto_generichash(
    message bytea,
    key bytea DEFAULT NULL
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 200
AS $$
@load@
return GD['pgkeymgr'].crypto_generichash(message, key)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_generichash(bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_generichash(bytea, bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.crypto_generichash(bytea, bytea) IS
    'Return the BLAKE2b-256 of a message, 32 bytes. The key has 16 to 64 bytes; NULL is a hash without a key.';

CREATE FUNCTION @extschema@.crypto_generichash(
    message bytea,
    key bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 350
AS $$
@load@
return GD['pgkeymgr'].crypto_generichash_by_id(message, key, context)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_generichash(bytea, bigint, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_generichash(bytea, bigint, bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.crypto_generichash(bytea, bigint, bytea) IS
    'Return the BLAKE2b-256 of a message under the derived key with this number and context. If the number is NULL, '
    'the hash has no key.';
