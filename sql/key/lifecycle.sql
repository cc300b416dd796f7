-- The lifecycle of data keys: the end of encryption, scheduled destruction, and old versions. Python: key/lifecycle.py

-- Set the time after which a key encrypts nothing more, and still decrypts. A time in the past stops it at once, and NULL
-- means never. The version that supersedes the key has no such time.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.limit_encryption(
    key text,
    until timestamptz
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
-- PL/Python takes times as texts, in which the abbreviation of a zone can be that of another.
SET DateStyle = 'ISO, YMD'
AS $$
@load@
return GD['pgkeymgr'].limit_encryption(key, until)
$$;

-- Set the time after which a key encrypts nothing more, and still decrypts. A time in the past stops it at once, and NULL
-- means never. The version that supersedes the key has no such time.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.limit_encryption(
    key integer,
    until timestamptz
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
SET DateStyle = 'ISO, YMD'
AS $$
@load@
return GD['pgkeymgr'].limit_encryption(key, until)
$$;

-- Cancel the destruction of a key that destroy_data_key() has scheduled. The key stays disabled until enable_data_key() is
-- called.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.cancel_destroy(
    key_id integer
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].cancel_destroy(key_id)
$$;

-- Return the versions of a key, or of all keys, that are superseded and not destroyed, with the kinds of their wraps and
-- with the columns and blind indexes that still need each. A version has encrypted nothing since superseded_at. The
-- function reads the tables. It does not know of tokens that applications have stored themselves.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.superseded_data_keys(
    key text DEFAULT NULL,
    OUT key_id integer,
    OUT name text,
    OUT state @extschema@.key_state,
    OUT created timestamptz,
    OUT superseded_by integer,
    OUT superseded_at timestamptz,
    OUT destroy_after timestamptz,
    OUT wraps text[],
    OUT needed_by text[]
)
RETURNS SETOF record
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000 ROWS 10
SET DateStyle = 'ISO, YMD'
AS $$
@load@
return GD['pgkeymgr'].superseded_data_keys(key)
$$;

-- Return the versions of a key, or of all keys, that are superseded and not destroyed, with the kinds of their wraps and
-- with the columns and blind indexes that still need each. A version has encrypted nothing since superseded_at. The
-- function reads the tables. It does not know of tokens that applications have stored themselves.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.superseded_data_keys(
    key integer,
    OUT key_id integer,
    OUT name text,
    OUT state @extschema@.key_state,
    OUT created timestamptz,
    OUT superseded_by integer,
    OUT superseded_at timestamptz,
    OUT destroy_after timestamptz,
    OUT wraps text[],
    OUT needed_by text[]
)
RETURNS SETOF record
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000 ROWS 10
SET DateStyle = 'ISO, YMD'
AS $$
@load@
return GD['pgkeymgr'].superseded_data_keys(key)
$$;

-- Schedule the destruction of the superseded versions of a key that no column needs, and return their ids. The newest
-- versions stay: keep_versions counts them with the current one. Tokens that applications have stored themselves become
-- unreadable at once, and readable again after cancel_destroy() and enable_data_key(). With NULL in after, the versions
-- are destroyed at once.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.prune_data_keys(
    key text,
    keep_versions integer DEFAULT 1,
    after interval DEFAULT '30 days'
)
RETURNS SETOF integer
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000 ROWS 10
AS $$
@load@
return GD['pgkeymgr'].prune_data_keys(key, keep_versions, after)
$$;

-- Schedule the destruction of the superseded versions of a key that no column needs, and return their ids. The newest
-- versions stay: keep_versions counts them with the current one. Tokens that applications have stored themselves become
-- unreadable at once, and readable again after cancel_destroy() and enable_data_key(). With NULL in after, the versions
-- are destroyed at once.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.prune_data_keys(
    key integer,
    keep_versions integer DEFAULT 1,
    after interval DEFAULT '30 days'
)
RETURNS SETOF integer
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000 ROWS 10
AS $$
@load@
return GD['pgkeymgr'].prune_data_keys(key, keep_versions, after)
$$;
