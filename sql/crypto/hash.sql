-- SHA-256 and SHA-512. Python: crypto/hash.py

CREATE FUNCTION @extschema@.crypto_hash_sha256(
    message bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 200
AS $$
@load@
return GD['pgkeymgr'].crypto_hash_sha256(message)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_hash_sha256(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_hash_sha256(bytea) TO PUBLIC;
COMMENT ON FUNCTION @extschema@.crypto_hash_sha256(bytea) IS
    'Return the SHA-256 of a message, 32 bytes.';

CREATE FUNCTION @extschema@.crypto_hash_sha512(
    message bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 200
AS $$
@load@
return GD['pgkeymgr'].crypto_hash_sha512(message)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_hash_sha512(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_hash_sha512(bytea) TO PUBLIC;
COMMENT ON FUNCTION @extschema@.crypto_hash_sha512(bytea) IS
    'Return the SHA-512 of a message, 64 bytes.';
