-- Data keys that are shared to users. Python: sealed/sharing.py, key/user_wrap.py

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
REVOKE ALL ON FUNCTION @extschema@.share_data_key(text, regrole) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.share_data_key(text, regrole) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.share_data_key(text, regrole) IS
    'Seal a key to a role''s key pair, all its versions and the keys of its blind indexes, and grant it. This '
    'session must be able to open it.';

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
REVOKE ALL ON FUNCTION @extschema@.share_data_key(integer, regrole) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.share_data_key(integer, regrole) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.share_data_key(integer, regrole) IS
    'Seal a key to a role''s key pair, all its versions and the keys of its blind indexes, and grant it. This '
    'session must be able to open it.';

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
REVOKE ALL ON FUNCTION @extschema@.unshare_data_key(text, regrole) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.unshare_data_key(text, regrole) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.unshare_data_key(text, regrole) IS
    'Remove a role''s sealed copies of a key and all its versions, and its grant.';

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
REVOKE ALL ON FUNCTION @extschema@.unshare_data_key(integer, regrole) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.unshare_data_key(integer, regrole) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.unshare_data_key(integer, regrole) IS
    'Remove a role''s sealed copies of a key and all its versions, and its grant.';
