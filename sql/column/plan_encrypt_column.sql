-- A dry run of encrypt_column(). Python: column/plan_encrypt_column.py

-- Return the plan of encrypt_column() with the same arguments: the obstacles, the dependent objects, the grants, the
-- visible plaintexts, and the time that it takes. The function changes nothing.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.plan_encrypt_column(
    relation regclass,
    column_name name,
    key text DEFAULT NULL,
    key_by name DEFAULT NULL,
    deterministic boolean DEFAULT false,
    drop_indexes boolean DEFAULT false,
    compression text DEFAULT 'none'
)
RETURNS TABLE (kind text, object text, detail text, statement text)
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000 ROWS 20
SET search_path = pg_catalog, pg_temp
@catalog_settings@
SET row_security = off
AS $$
@load@
return GD['pgkeymgr'].plan_encrypt_column(relation, column_name, key, key_by, deterministic, drop_indexes, compression)
$$;
