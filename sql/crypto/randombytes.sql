-- Random data. Python: crypto/randombytes.py

-- Return a random 32-bit integer, signed.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.randombytes_random()
RETURNS integer
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 15
AS $$
@load@
return GD['pgkeymgr'].randombytes_random()
$$;

-- Return a random integer from 0 to upper_bound - 1; all are equally likely.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.randombytes_uniform(
    upper_bound integer
)
RETURNS integer
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 15
AS $$
@load@
return GD['pgkeymgr'].randombytes_uniform(upper_bound)
$$;

-- Return this number of random bytes.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.randombytes_buf(
    size integer
)
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 20
AS $$
@load@
return GD['pgkeymgr'].randombytes_buf(size)
$$;

-- Return a new random seed for randombytes_buf_deterministic, 32 bytes.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.randombytes_new_seed()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 15
AS $$
@load@
return GD['pgkeymgr'].randombytes_new_seed()
$$;

-- Return the first bytes of the ChaCha20 stream that a seed of 32 bytes gives. A seed always gives the same bytes.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.randombytes_buf_deterministic(
    size integer,
    seed bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 30
AS $$
@load@
return GD['pgkeymgr'].randombytes_buf_deterministic(size, seed)
$$;
