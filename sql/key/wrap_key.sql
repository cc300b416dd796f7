-- The wrapping of users' own secrets under the root key. Python: key/wrap_key.py, wrap.py

CREATE FUNCTION @extschema@.wrap_key(
    secret bytea
)
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 700
AS $$
@load@
return GD['pgkeymgr'].wrap_key(secret)
$$;
REVOKE ALL ON FUNCTION @extschema@.wrap_key(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.wrap_key(bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.wrap_key(bytea) IS
    'A secret of the user''s own, encrypted under the root key. NULL gives NULL.';

CREATE FUNCTION @extschema@.unwrap_key(
    wrapped bytea
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 700
AS $$
@load@
return GD['pgkeymgr'].unwrap_key(wrapped)
$$;
REVOKE ALL ON FUNCTION @extschema@.unwrap_key(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.unwrap_key(bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.unwrap_key(bytea) IS
    'The secret that wrap_key encrypted. Whoever has the wrap and may call this has the secret.';
