-- What is wrong with what the keys depend on, and what to do about it. Python: doctor/

CREATE FUNCTION @extschema@.doctor(
    OUT check_name text,
    OUT status text,
    OUT object text,
    OUT message text,
    OUT hint text
)
RETURNS SETOF record
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 30
AS $$
@load@
return GD['pgkeymgr'].doctor()
$$;
REVOKE ALL ON FUNCTION @extschema@.doctor() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.doctor() TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.doctor() IS
    'Look at what the keys of this database depend on: root key, settings, machine, roles, encrypted columns. One row '
    'for each finding, errors first, with what to do about it, and one with the status ok for each check without. It '
    'writes nothing, and works on a standby.';
