-- The root key, and the keys derived from it. Python: root_key.py, getkey.py

CREATE FUNCTION @extschema@.derive_key(
    key_id bigint,
    key_len integer DEFAULT 32,
    context bytea DEFAULT 'pgsodium'
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 300
AS $$
@load@
return GD['pgkeymgr'].derive_key(key_id, key_len, context)
$$;
REVOKE ALL ON FUNCTION @extschema@.derive_key(bigint, integer, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.derive_key(bigint, integer, bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.derive_key(bigint, integer, bytea) IS
    'The key of this number and context (8 bytes) that is derived from the root key; 16 to 64 bytes. '
    'Whoever may call this holds every derived key.';

CREATE FUNCTION @extschema@.pgkeymgr_derive(
    key_id bigint,
    key_len integer DEFAULT 32,
    context bytea DEFAULT 'pgsodium'
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 300
AS $$
@load@
return GD['pgkeymgr'].derive_key(key_id, key_len, context)
$$;
REVOKE ALL ON FUNCTION @extschema@.pgkeymgr_derive(bigint, integer, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.pgkeymgr_derive(bigint, integer, bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.pgkeymgr_derive(bigint, integer, bytea) IS
    'The same as derive_key.';

CREATE FUNCTION @extschema@.derive_key_under(
    key_id bigint,
    key_len integer,
    context bytea,
    root_key text
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 300
AS $$
@load@
return GD['pgkeymgr'].derive_key_under(key_id, key_len, context, root_key)
$$;
REVOKE ALL ON FUNCTION @extschema@.derive_key_under(bigint, integer, bytea, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.derive_key_under(bigint, integer, bytea, text) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.derive_key_under(bigint, integer, bytea, text) IS
    'As derive_key, from the root key of this fingerprint, the newest or a previous one: for what was encrypted with keys by '
    'number before the root key was rotated.';
