-- Random data. Python: crypto/randombytes.py

CREATE FUNCTION @extschema@.randombytes_random()
RETURNS integer
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 150
AS $$
@load@
return GD['pgkeymgr'].randombytes_random()
$$;
REVOKE ALL ON FUNCTION @extschema@.randombytes_random() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.randombytes_random() TO PUBLIC;
COMMENT ON FUNCTION @extschema@.randombytes_random() IS
    'Return a random 32-bit integer, signed.';

CREATE FUNCTION @extschema@.randombytes_uniform(
    upper_bound integer
)
RETURNS integer
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 150
AS $$
@load@
return GD['pgkeymgr'].randombytes_uniform(upper_bound)
$$;
REVOKE ALL ON FUNCTION @extschema@.randombytes_uniform(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.randombytes_uniform(integer) TO PUBLIC;
COMMENT ON FUNCTION @extschema@.randombytes_uniform(integer) IS
    'Return a random integer from 0 to upper_bound - 1; all are equally likely.';

CREATE FUNCTION @extschema@.randombytes_buf(
    size integer
)
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 200
AS $$
@load@
return GD['pgkeymgr'].randombytes_buf(size)
$$;
REVOKE ALL ON FUNCTION @extschema@.randombytes_buf(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.randombytes_buf(integer) TO PUBLIC;
COMMENT ON FUNCTION @extschema@.randombytes_buf(integer) IS
    'Return this number of random bytes.';

CREATE FUNCTION @extschema@.randombytes_new_seed()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 150
AS $$
@load@
return GD['pgkeymgr'].randombytes_new_seed()
$$;
REVOKE ALL ON FUNCTION @extschema@.randombytes_new_seed() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.randombytes_new_seed() TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.randombytes_new_seed() IS
    'Return a new random seed for randombytes_buf_deterministic, 32 bytes.';

CREATE FUNCTION @extschema@.randombytes_buf_deterministic(
    size integer,
    seed bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 300
AS $$
@load@
return GD['pgkeymgr'].randombytes_buf_deterministic(size, seed)
$$;
REVOKE ALL ON FUNCTION @extschema@.randombytes_buf_deterministic(integer, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.randombytes_buf_deterministic(integer, bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.randombytes_buf_deterministic(integer, bytea) IS
    'Return the first bytes of the ChaCha20 stream that a seed of 32 bytes gives. A seed always gives the same bytes.';
