-- The functions of the key manager that was proposed on PostgreSQL's hackers' list. Python: compat/pg_kmgr.py

-- The same as wrap_key.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.pg_kmgr_wrap(
    secret bytea
)
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 70
AS $$
@load@
return GD['pgkeymgr'].wrap_key(secret)
$$;

-- The same as unwrap_key.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.pg_kmgr_unwrap(
    wrapped bytea
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 70
AS $$
@load@
return GD['pgkeymgr'].unwrap_key(wrapped)
$$;

-- Encrypt a text under a key of 64 bytes, such as a result of pg_kmgr_unwrap: AES-256-CBC under a random IV, then
-- HMAC-SHA-256. The result is NULL if an argument is NULL.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.pg_encrypt(
    data text,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 300
AS $$
@load@
return GD['pgkeymgr'].pg_encrypt_text(data, key)
$$;

-- Verify and decrypt a result of pg_encrypt. The result is NULL if an argument is NULL.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.pg_decrypt(
    data bytea,
    key bytea
)
RETURNS text
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 300
AS $$
@load@
return GD['pgkeymgr'].pg_decrypt_text(data, key)
$$;
