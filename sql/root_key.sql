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

CREATE FUNCTION @extschema@.root_key_status(
    OUT fingerprint text,
    OUT source text,
    OUT previous text[]
)
RETURNS record
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 200
AS $$
@load@
return GD['pgkeymgr'].root_key_status()
$$;
REVOKE ALL ON FUNCTION @extschema@.root_key_status() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.root_key_status() TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.root_key_status() IS
    'Which root key this session uses: its fingerprint, where it came from, and the fingerprints of the '
    'root keys before it, newest first. An error that says why if there is none.';
