-- Users' key pairs, which users manage themselves. Python: sealed/user_key.py

-- Make the current user's key pair, to which data keys can be shared; sealed holds the passphrase.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.create_user_key(
    sealed bytea
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000000
AS $$
@load@
return GD['pgkeymgr'].create_user_key(sealed)
$$;

-- Unlock the current user's key pair, and with it every data key that is shared to it, for this session, or this
-- transaction; sealed holds the passphrase.
-- EXECUTE: pgkeymgr_user
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

-- Change the passphrase of the current user's key pair; sealed holds the present passphrase and the new one.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.change_user_passphrase(
    sealed bytea
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000000
AS $$
@load@
return GD['pgkeymgr'].change_user_passphrase(sealed)
$$;

-- Make a new key pair for the current user, and seal the user's data keys to it; sealed holds the passphrase, or the
-- present passphrase and a new one.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.rotate_user_key(
    sealed bytea
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000000
AS $$
@load@
return GD['pgkeymgr'].rotate_user_key(sealed)
$$;

-- Remove the key pair of a role, for instance if its passphrase is lost, and the role's sealed copies of keys. The call
-- is refused while only that role can open a key, unless it is forced.
-- EXECUTE: pgkeymgr_admin
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
