-- The functions of the key manager that was proposed on PostgreSQL's hackers' list. Python: compat/pg_kmgr.py

CREATE FUNCTION @extschema@.pg_kmgr_wrap(
    secret bytea
)
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 700
AS $$
@load@
return GD['pgkeymgr'].wrap_key(secret)
$$;
REVOKE ALL ON FUNCTION @extschema@.pg_kmgr_wrap(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.pg_kmgr_wrap(bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.pg_kmgr_wrap(bytea) IS
    'The same as wrap_key.';

CREATE FUNCTION @extschema@.pg_kmgr_unwrap(
    wrapped bytea
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 700
AS $$
@load@
return GD['pgkeymgr'].unwrap_key(wrapped)
$$;
REVOKE ALL ON FUNCTION @extschema@.pg_kmgr_unwrap(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.pg_kmgr_unwrap(bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.pg_kmgr_unwrap(bytea) IS
    'The same as unwrap_key.';

CREATE FUNCTION @extschema@.pg_encrypt(
    data text,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 3000
AS $$
@load@
return GD['pgkeymgr'].pg_encrypt_text(data, key)
$$;
REVOKE ALL ON FUNCTION @extschema@.pg_encrypt(text, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.pg_encrypt(text, bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.pg_encrypt(text, bytea) IS
    'Encrypt a text under a key of 64 bytes: AES-256-CBC under a random IV, then HMAC-SHA-256. Meant for '
    'a key from pg_kmgr_unwrap. NULL gives NULL.';

CREATE FUNCTION @extschema@.pg_decrypt(
    data bytea,
    key bytea
)
RETURNS text
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 3000
AS $$
@load@
return GD['pgkeymgr'].pg_decrypt_text(data, key)
$$;
REVOKE ALL ON FUNCTION @extschema@.pg_decrypt(bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.pg_decrypt(bytea, bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.pg_decrypt(bytea, bytea) IS
    'Verify and decrypt what pg_encrypt made. NULL gives NULL.';
