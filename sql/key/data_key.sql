-- The functions that make, supersede, disable, destroy and grant data keys. Python: key/data_key.py

-- Make a data key of 16 to 64 random bytes, owned by the current user and stored only wrapped, by default under the
-- root key. Return its id.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.create_data_key(
    name text,
    length integer DEFAULT 32,
    expires timestamptz DEFAULT NULL,
    comment text DEFAULT NULL,
    wrap text DEFAULT 'root'
)
RETURNS integer
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
-- PL/Python takes times as texts, in which the abbreviation of a zone can be that of another.
SET DateStyle = 'ISO, YMD'
AS $$
@load@
return GD['pgkeymgr'].create_data_key(name, length, expires, comment, wrap)
$$;

-- Make a new version of a key, with the same name, lifetime and grants. The old version still decrypts. Return the id
-- of the new version.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.supersede_data_key(
    key text
)
RETURNS integer
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].supersede_data_key(key)
$$;

-- Make a new version of a key, with the same name, lifetime and grants. The old version still decrypts. Return the id
-- of the new version.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.supersede_data_key(
    key integer
)
RETURNS integer
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].supersede_data_key(key)
$$;

-- Disable a key: it neither encrypts nor decrypts until it is enabled again.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.disable_data_key(
    key_id integer
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].disable_data_key(key_id)
$$;

-- Enable a key that was disabled.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.enable_data_key(
    key_id integer
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].enable_data_key(key_id)
$$;

-- Erase every wrap of a key, irrevocably: nothing can decrypt its data any more. confirm_name is the key's name. The
-- call is refused while a column needs the key, if the key can be derived by a number, or if a publication has it,
-- unless it is forced. With an interval in after, the key is disabled at once and erased when run_key_policies() runs
-- after that time, unless cancel_destroy() is called before.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.destroy_data_key(
    key_id integer,
    confirm_name text,
    after interval DEFAULT NULL,
    force boolean DEFAULT false
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].destroy_data_key(key_id, confirm_name, after, force)
$$;

-- Erase every wrap of a key at once, forced or not: the form of destroy_data_key() with a boolean in the third place.
--
-- The argument is not called force: otherwise a call with force => true could mean both functions.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.destroy_data_key(
    key_id integer,
    confirm_name text,
    is_forced boolean
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].destroy_data_key(key_id, confirm_name, None, is_forced)
$$;

-- Return the objects of this database that need a key, with the reason: call this on each subscriber before a key that
-- is published is destroyed.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.key_dependents(
    key text
)
RETURNS SETOF text
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000 ROWS 10
AS $$
@load@
return GD['pgkeymgr'].key_dependents(key)
$$;

-- Return the objects of this database that need a key, with the reason: call this on each subscriber before a key that
-- is published is destroyed.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.key_dependents(
    key integer
)
RETURNS SETOF text
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000 ROWS 10
AS $$
@load@
return GD['pgkeymgr'].key_dependents(key)
$$;

-- Set the time at which a key expires, also of a key that has expired. NULL means never.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.move_expiry(
    key text,
    expires timestamptz
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
SET DateStyle = 'ISO, YMD'
AS $$
@load@
return GD['pgkeymgr'].move_expiry(key, expires)
$$;

-- Set the time at which a key expires, also of a key that has expired. NULL means never.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.move_expiry(
    key integer,
    expires timestamptz
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
SET DateStyle = 'ISO, YMD'
AS $$
@load@
return GD['pgkeymgr'].move_expiry(key, expires)
$$;

-- Let a role use a key and all its later versions. usage may contain encrypt, decrypt, search and masked. search
-- allows blind indexes and deterministic tokens, masked lets the role read the masks of columns, and decrypt includes
-- both.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.grant_data_key(
    key text,
    role regrole,
    usage text[] DEFAULT '{encrypt,decrypt}'
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].grant_data_key(key, role, usage)
$$;

-- Let a role use a key and all its later versions. usage may contain encrypt, decrypt, search and masked. search
-- allows blind indexes and deterministic tokens, masked lets the role read the masks of columns, and decrypt includes
-- both.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.grant_data_key(
    key integer,
    role regrole,
    usage text[] DEFAULT '{encrypt,decrypt}'
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].grant_data_key(key, role, usage)
$$;

-- Revoke usages of a key from a role.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.revoke_data_key(
    key text,
    role regrole,
    usage text[] DEFAULT '{encrypt,decrypt,search,masked}'
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].revoke_data_key(key, role, usage)
$$;

-- Revoke usages of a key from a role.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.revoke_data_key(
    key integer,
    role regrole,
    usage text[] DEFAULT '{encrypt,decrypt,search,masked}'
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].revoke_data_key(key, role, usage)
$$;

-- Give a role the keys, grants and key pair of a role that did not exist when a dump was restored, and whose name was
-- kept. The result is their number.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.adopt_role(
    name text,
    role regrole
)
RETURNS integer
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].adopt_role(name, role)
$$;
