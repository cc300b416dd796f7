-- The doctor, which finds problems with keys and suggests remedies. Python: doctor/

-- Check the root key, the settings, the machine, the roles and the encrypted columns that keys of this database depend
-- on. Returns a row for each finding, errors first, with a hint, and a row with the status ok for each check without a
-- finding. Writes nothing, and works on a standby.
-- EXECUTE: pgkeymgr_admin, pgkeymgr_monitor
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
