-- The rotation of the root key, and the status of wraps that need an older root key.
-- Python: key/root_rotation.py, key/root_wrap.py

-- Return the fingerprint and the source of the root key that this session uses, the fingerprints of previous root keys,
-- newest first, and the fingerprints that wraps in this database still need. A previous root key that no database needs
-- can be withdrawn. Raise an error with the reason if there is no root key.
-- EXECUTE: pgkeymgr_admin, pgkeymgr_monitor
CREATE FUNCTION @extschema@.root_key_status(
    OUT fingerprint text,
    OUT source text,
    OUT previous text[],
    OUT still_needed text[]
)
RETURNS record
LANGUAGE plpython3u STABLE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].root_key_status()
$$;

-- Wrap every data key again whose wrap is not under the newest root key, and return the number of these wraps. Keys of
-- the table that were derived keep their bytes. Keys by number are derived from the newest root key as soon as it is
-- the newest.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.rotate_root_key()
RETURNS integer
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000
AS $$
@load@
return GD['pgkeymgr'].rotate_root_key()
$$;
