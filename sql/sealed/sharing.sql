-- Data keys that are shared to users. Python: sealed/sharing.py, key/user_wrap.py

-- Seal a key to the key pair of a role, with all its versions and the keys of its blind indexes, and grant it. This
-- session must be able to open the key.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.share_data_key(
    key text,
    role regrole
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].share_data_key(key, role)
$$;

-- Seal a key to the key pair of a role, with all its versions and the keys of its blind indexes, and grant it. This
-- session must be able to open the key.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.share_data_key(
    key integer,
    role regrole
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].share_data_key(key, role)
$$;

-- Remove the role's sealed copies of a key and all its versions, and the grant.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.unshare_data_key(
    key text,
    role regrole
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].unshare_data_key(key, role)
$$;

-- Remove the role's sealed copies of a key and all its versions, and the grant.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.unshare_data_key(
    key integer,
    role regrole
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].unshare_data_key(key, role)
$$;
