-- Passphrases of data keys; the passphrases travel sealed. Python: sealed/passphrase.py, key/passphrase_wrap.py

CREATE FUNCTION @extschema@.add_passphrase(
    key text,
    sealed bytea
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000000
AS $$
@load@
return GD['pgkeymgr'].add_passphrase(key, sealed)
$$;
REVOKE ALL ON FUNCTION @extschema@.add_passphrase(text, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.add_passphrase(text, bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.add_passphrase(text, bytea) IS
    'Wrap a key under a passphrase, too; sealed holds the passphrase.';

CREATE FUNCTION @extschema@.add_passphrase(
    key integer,
    sealed bytea
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000000
AS $$
@load@
return GD['pgkeymgr'].add_passphrase(key, sealed)
$$;
REVOKE ALL ON FUNCTION @extschema@.add_passphrase(integer, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.add_passphrase(integer, bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.add_passphrase(integer, bytea) IS
    'Wrap a key under a passphrase, too; sealed holds the passphrase.';

CREATE FUNCTION @extschema@.unlock_data_key(
    key text,
    sealed bytea,
    for_transaction boolean DEFAULT false
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000000
AS $$
@load@
return GD['pgkeymgr'].unlock_data_key(key, sealed, for_transaction)
$$;
REVOKE ALL ON FUNCTION @extschema@.unlock_data_key(text, bytea, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.unlock_data_key(text, bytea, boolean) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.unlock_data_key(text, bytea, boolean) IS
    'Unlock a key with its passphrase, for the current user and this session, or this transaction; sealed '
    'holds the passphrase. By name, earlier versions with the same passphrase, too.';

CREATE FUNCTION @extschema@.unlock_data_key(
    key integer,
    sealed bytea,
    for_transaction boolean DEFAULT false
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000000
AS $$
@load@
return GD['pgkeymgr'].unlock_data_key(key, sealed, for_transaction)
$$;
REVOKE ALL ON FUNCTION @extschema@.unlock_data_key(integer, bytea, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.unlock_data_key(integer, bytea, boolean) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.unlock_data_key(integer, bytea, boolean) IS
    'Unlock a key with its passphrase, for the current user and this session, or this transaction; sealed '
    'holds the passphrase. By name, earlier versions with the same passphrase, too.';

CREATE FUNCTION @extschema@.change_passphrase(
    key text,
    sealed bytea
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000000
AS $$
@load@
return GD['pgkeymgr'].change_passphrase(key, sealed)
$$;
REVOKE ALL ON FUNCTION @extschema@.change_passphrase(text, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.change_passphrase(text, bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.change_passphrase(text, bytea) IS
    'Wrap a key under another passphrase; sealed holds the present one, then the new one.';

CREATE FUNCTION @extschema@.change_passphrase(
    key integer,
    sealed bytea
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000000
AS $$
@load@
return GD['pgkeymgr'].change_passphrase(key, sealed)
$$;
REVOKE ALL ON FUNCTION @extschema@.change_passphrase(integer, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.change_passphrase(integer, bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.change_passphrase(integer, bytea) IS
    'Wrap a key under another passphrase; sealed holds the present one, then the new one.';

CREATE FUNCTION @extschema@.drop_passphrase(
    key text
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].drop_passphrase(key)
$$;
REVOKE ALL ON FUNCTION @extschema@.drop_passphrase(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.drop_passphrase(text) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.drop_passphrase(text) IS
    'Remove the passphrase of a key that has another wrap.';

CREATE FUNCTION @extschema@.drop_passphrase(
    key integer
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].drop_passphrase(key)
$$;
REVOKE ALL ON FUNCTION @extschema@.drop_passphrase(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.drop_passphrase(integer) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.drop_passphrase(integer) IS
    'Remove the passphrase of a key that has another wrap.';

CREATE FUNCTION @extschema@.add_root_wrap(
    key text
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].add_root_wrap(key)
$$;
REVOKE ALL ON FUNCTION @extschema@.add_root_wrap(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.add_root_wrap(text) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.add_root_wrap(text) IS
    'Wrap a key that is unlocked under the root key, too: the server opens it by itself from now on.';

CREATE FUNCTION @extschema@.add_root_wrap(
    key integer
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].add_root_wrap(key)
$$;
REVOKE ALL ON FUNCTION @extschema@.add_root_wrap(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.add_root_wrap(integer) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.add_root_wrap(integer) IS
    'Wrap a key that is unlocked under the root key, too: the server opens it by itself from now on.';

CREATE FUNCTION @extschema@.drop_root_wrap(
    key text
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].drop_root_wrap(key)
$$;
REVOKE ALL ON FUNCTION @extschema@.drop_root_wrap(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.drop_root_wrap(text) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.drop_root_wrap(text) IS
    'Remove the root key''s wrap of a key that has another: the server cannot open it by itself any more.';

CREATE FUNCTION @extschema@.drop_root_wrap(
    key integer
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].drop_root_wrap(key)
$$;
REVOKE ALL ON FUNCTION @extschema@.drop_root_wrap(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.drop_root_wrap(integer) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.drop_root_wrap(integer) IS
    'Remove the root key''s wrap of a key that has another: the server cannot open it by itself any more.';

CREATE FUNCTION @extschema@.supersede_data_key(
    key text,
    sealed bytea
)
RETURNS integer
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000000
AS $$
@load@
return GD['pgkeymgr'].supersede_sealed(key, sealed)
$$;
REVOKE ALL ON FUNCTION @extschema@.supersede_data_key(text, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.supersede_data_key(text, bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.supersede_data_key(text, bytea) IS
    'Make a new version of a key that has a passphrase, under the same one; its id. sealed holds the '
    'passphrase.';

CREATE FUNCTION @extschema@.supersede_data_key(
    key integer,
    sealed bytea
)
RETURNS integer
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000000
AS $$
@load@
return GD['pgkeymgr'].supersede_sealed(key, sealed)
$$;
REVOKE ALL ON FUNCTION @extschema@.supersede_data_key(integer, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.supersede_data_key(integer, bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.supersede_data_key(integer, bytea) IS
    'Make a new version of a key that has a passphrase, under the same one; its id. sealed holds the '
    'passphrase.';
