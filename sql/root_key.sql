-- Keys derived from the root key. Python: backend/root_key.py, root_key/getkey.py

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
    'Derive a key of 16 to 64 bytes from the root key, with this number and context (8 bytes). A role that may call '
    'this has every derived key.';

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
    'Derive a key as derive_key does, from the root key with this fingerprint, the newest or a previous one. This '
    'opens data that was encrypted with keys by number before the root key was rotated.';
