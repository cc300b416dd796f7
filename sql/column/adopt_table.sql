-- Adopting copies of dropped tables, and forgetting dropped tables. Python: column/adopt_table.py

-- Make a table the base table of encrypted columns whose own table was dropped, and return the view.
--
-- The table is a copy that a tool has put in the place of the dropped table. Its ciphertexts must be those of the
-- columns: the function opens some of them. The caller owns the table, and is a member of the owner of the dropped one.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.adopt_encrypted_table(
    relation regclass
)
RETURNS regclass
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp
@catalog_settings@
SET row_security = off
AS $$
@load@
return GD['pgkeymgr'].adopt_encrypted_table(relation)
$$;

-- Delete the definitions of the encrypted columns of a dropped table, given by its id in dropped_encrypted_columns.
--
-- After that, nobody can read a copy of the table, also not from a backup of this table alone. The table no longer
-- keeps destroy_data_key() from destroying its keys. The caller is a member of the owner of the dropped table.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.forget_dropped_table(
    id integer
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
@load@
return GD['pgkeymgr'].forget_dropped_table(id)
$$;
