-- Keys derived from the root key. Python: backend/root_key.py, root_key/getkey.py

-- Derive a key of 16 to 64 bytes from the root key, with this number and context (8 bytes). A role that may call this
-- has every derived key.
-- EXECUTE: pgkeymgr_admin
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

-- The same as derive_key.
-- EXECUTE: pgkeymgr_admin
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

-- Derive a key as derive_key does, from the root key with this fingerprint, the newest or a previous one. This opens
-- data that was encrypted with keys by number before the root key was rotated.
-- EXECUTE: pgkeymgr_admin
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
