-- Users' key pairs; users manage their own pairs. Python: sealed/user_key.py

CREATE FUNCTION @extschema@.create_user_key(
    sealed bytea
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000000
AS $$
@load@
return GD['pgkeymgr'].create_user_key(sealed)
$$;
REVOKE ALL ON FUNCTION @extschema@.create_user_key(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.create_user_key(bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.create_user_key(bytea) IS
    'Make the current user''s key pair, to which data keys can be shared; sealed holds the passphrase.';

CREATE FUNCTION @extschema@.unlock_user_key(
    sealed bytea,
    for_transaction boolean DEFAULT false
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000000
AS $$
@load@
return GD['pgkeymgr'].unlock_user_key(sealed, for_transaction)
$$;
REVOKE ALL ON FUNCTION @extschema@.unlock_user_key(bytea, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.unlock_user_key(bytea, boolean) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.unlock_user_key(bytea, boolean) IS
    'Unlock the current user''s key pair, and so every data key that is shared to it, for this session, or this '
    'transaction; sealed holds the passphrase.';

CREATE FUNCTION @extschema@.change_user_passphrase(
    sealed bytea
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000000
AS $$
@load@
return GD['pgkeymgr'].change_user_passphrase(sealed)
$$;
REVOKE ALL ON FUNCTION @extschema@.change_user_passphrase(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.change_user_passphrase(bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.change_user_passphrase(bytea) IS
    'Change the passphrase of the current user''s key pair; sealed holds the present one, then the new one.';

CREATE FUNCTION @extschema@.rotate_user_key(
    sealed bytea
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000000
AS $$
@load@
return GD['pgkeymgr'].rotate_user_key(sealed)
$$;
REVOKE ALL ON FUNCTION @extschema@.rotate_user_key(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.rotate_user_key(bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.rotate_user_key(bytea) IS
    'Make a new key pair for the current user, and seal to it what was sealed to the old one; sealed holds the '
    'passphrase, or the present one, then the new one.';

CREATE FUNCTION @extschema@.drop_user_key(
    role regrole,
    force boolean DEFAULT false
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].drop_user_key(role, force)
$$;
REVOKE ALL ON FUNCTION @extschema@.drop_user_key(regrole, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.drop_user_key(regrole, boolean) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.drop_user_key(regrole, boolean) IS
    'Remove a role''s key pair, if its passphrase is lost, say, and what was sealed to it. Refused while only '
    'that role can open a key, unless forced.';
