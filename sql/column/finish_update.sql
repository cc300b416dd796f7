-- The second part of an update of the extension. Python: column/finish_update.py

-- Finish an update of the extension: make the views and triggers of all encrypted tables again that an older version has
-- made, and drop the functions that only these have called. Return the number of the tables.
--
-- The work on a table is done with the rights of its owner. Until it is done, the view raises an error.
-- EXECUTE: nobody
CREATE FUNCTION @extschema@.finish_update()
RETURNS integer
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp
@catalog_settings@
AS $$
@load@
return GD['pgkeymgr'].finish_update()
$$;
