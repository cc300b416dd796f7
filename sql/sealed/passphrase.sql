-- Passphrases of data keys, which clients send sealed. Python: sealed/passphrase.py, key/passphrase_wrap.py

-- Also wrap a key under a passphrase; sealed holds the passphrase.
-- EXECUTE: pgkeymgr_admin
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

-- Also wrap a key under a passphrase; sealed holds the passphrase.
-- EXECUTE: pgkeymgr_admin
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

-- Unlock a key with its passphrase, for the current user and this session, or this transaction; sealed holds the
-- passphrase. A key by its name includes its earlier versions with the same passphrase.
-- EXECUTE: pgkeymgr_user
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

-- Unlock a key with its passphrase, for the current user and this session, or this transaction; sealed holds the
-- passphrase. A key by its name includes its earlier versions with the same passphrase.
-- EXECUTE: pgkeymgr_user
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

-- Wrap a key under another passphrase; sealed holds the present passphrase and the new one.
-- EXECUTE: pgkeymgr_user
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

-- Wrap a key under another passphrase; sealed holds the present passphrase and the new one.
-- EXECUTE: pgkeymgr_user
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

-- Remove the passphrase of a key that has another wrap.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.drop_passphrase(
    key text
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].drop_passphrase(key)
$$;

-- Remove the passphrase of a key that has another wrap.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.drop_passphrase(
    key integer
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].drop_passphrase(key)
$$;

-- Also wrap an unlocked key under the root key. The server can open the key by itself from now on.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.add_root_wrap(
    key text
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].add_root_wrap(key)
$$;

-- Also wrap an unlocked key under the root key. The server can open the key by itself from now on.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.add_root_wrap(
    key integer
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].add_root_wrap(key)
$$;

-- Remove the wrap under the root key of a key that has another wrap. The server can no longer open the key by itself.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.drop_root_wrap(
    key text
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].drop_root_wrap(key)
$$;

-- Remove the wrap under the root key of a key that has another wrap. The server can no longer open the key by itself.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.drop_root_wrap(
    key integer
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].drop_root_wrap(key)
$$;

-- Make a new version of a key that has a passphrase, under the same passphrase; sealed holds it. Return the id of the
-- new version.
-- EXECUTE: pgkeymgr_admin
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

-- Make a new version of a key that has a passphrase, under the same passphrase; sealed holds it. Return the id of the
-- new version.
-- EXECUTE: pgkeymgr_admin
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
