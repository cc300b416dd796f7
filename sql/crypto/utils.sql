-- Comparison in constant time, and base64. Python: crypto/utils.py

-- Return whether two texts are equal. The time of the comparison depends on their lengths only. The result is NULL if a
-- text is NULL.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.crypto_cmp(
    one text,
    other text
)
RETURNS boolean
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 15
AS $$
@load@
return GD['pgkeymgr'].crypto_cmp(one, other)
$$;

-- Return bytes as base64 in the URL-safe alphabet, without padding.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.sodium_bin2base64(
    bin bytea
)
RETURNS text
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 15
AS $$
@load@
return GD['pgkeymgr'].sodium_bin2base64(bin)
$$;

-- Return the bytes of a base64 text in the URL-safe alphabet, without padding and white space.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.sodium_base642bin(
    base64 text
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 20
AS $$
@load@
return GD['pgkeymgr'].sodium_base642bin(base64)
$$;
