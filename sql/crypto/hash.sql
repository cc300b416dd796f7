-- SHA-256 and SHA-512. Python: crypto/hash.py

-- Return the SHA-256 of a message, 32 bytes.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.crypto_hash_sha256(
    message bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 20
AS $$
@load@
return GD['pgkeymgr'].crypto_hash_sha256(message)
$$;

-- Return the SHA-512 of a message, 64 bytes.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.crypto_hash_sha512(
    message bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 20
AS $$
@load@
return GD['pgkeymgr'].crypto_hash_sha512(message)
$$;
