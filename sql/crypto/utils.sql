-- Comparison in constant time, and base64. Python: crypto/utils.py

CREATE FUNCTION @extschema@.crypto_cmp(
    one text,
    other text
)
RETURNS boolean
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 150
AS $$
@load@
return GD['pgkeymgr'].crypto_cmp(one, other)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_cmp(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_cmp(text, text) TO PUBLIC;
COMMENT ON FUNCTION @extschema@.crypto_cmp(text, text) IS
    'Return whether two texts are equal. The time of the comparison depends on their lengths only. The result is NULL '
    'if a text is NULL.';

CREATE FUNCTION @extschema@.sodium_bin2base64(
    bin bytea
)
RETURNS text
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 150
AS $$
@load@
return GD['pgkeymgr'].sodium_bin2base64(bin)
$$;
REVOKE ALL ON FUNCTION @extschema@.sodium_bin2base64(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.sodium_bin2base64(bytea) TO PUBLIC;
COMMENT ON FUNCTION @extschema@.sodium_bin2base64(bytea) IS
    'Return bytes as base64 in the URL-safe alphabet, without padding.';

CREATE FUNCTION @extschema@.sodium_base642bin(
    base64 text
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 200
AS $$
@load@
return GD['pgkeymgr'].sodium_base642bin(base64)
$$;
REVOKE ALL ON FUNCTION @extschema@.sodium_base642bin(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.sodium_base642bin(text) TO PUBLIC;
COMMENT ON FUNCTION @extschema@.sodium_base642bin(text) IS
    'Return the bytes of a base64 text in the URL-safe alphabet, without padding and white space.';
