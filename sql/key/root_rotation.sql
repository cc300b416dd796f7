-- The rotation of the root key, and the status of wraps that need an older root key.
-- Python: key/root_rotation.py, key/root_wrap.py

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
REVOKE ALL ON FUNCTION @extschema@.root_key_status() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.root_key_status() TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.root_key_status() IS
    'Which root key this session uses: its fingerprint, where it came from, the fingerprints of the root keys before '
    'it, newest first, and of those under which there are wraps in this database still: an older root key that '
    'is not among them, in any database, can be withdrawn. An error that says why if there is no root key.';

CREATE FUNCTION @extschema@.rotate_root_key()
RETURNS integer
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000
AS $$
@load@
return GD['pgkeymgr'].rotate_root_key()
$$;
REVOKE ALL ON FUNCTION @extschema@.rotate_root_key() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.rotate_root_key() TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.rotate_root_key() IS
    'Wrap every data key again whose wrap is not under the newest root key, and return the number of these wraps. Keys '
    'of the table that were derived keep their bytes. Keys by number are derived from the newest root key as soon as it '
    'is the newest.';
