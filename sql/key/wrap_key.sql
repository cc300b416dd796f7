-- Wrapping users' own secrets under the root key. Python: key/wrap_key.py, root_key/wrap.py

-- Encrypt a secret of the user's own under the root key. A NULL secret gives NULL.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.wrap_key(
    secret bytea
)
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 700
AS $$
@load@
return GD['pgkeymgr'].wrap_key(secret)
$$;

-- Return the secret that wrap_key encrypted. A role that has the wrap and may call this function has the secret.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.unwrap_key(
    wrapped bytea
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 700
AS $$
@load@
return GD['pgkeymgr'].unwrap_key(wrapped)
$$;
