-- Refreshing the view of a table with encrypted columns. Python: column/view.py

-- Create or update the view of a table with encrypted columns, and its triggers, as the base table needs them. DDL on
-- the base table does this by itself; the function is for a view that was dropped. Return the view.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.refresh_encrypted_view(
    relation regclass
)
RETURNS regclass
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp
@catalog_settings@
AS $$
@load@
return GD['pgkeymgr'].refresh_encrypted_view(relation)
$$;
