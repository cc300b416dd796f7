-- Separating the columns of a cloned database. Python: column/separate_column.py

-- Give an encrypted column of a cloned database an id and a key version of its own, and encrypt its values again, under
-- a lock. After that, ciphertexts of the clone cannot be decrypted in the original. Return the number of values.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.separate_column(
    relation regclass,
    column_name name
)
RETURNS bigint
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp
@catalog_settings@
SET row_security = off
AS $$
@load@
return GD['pgkeymgr'].separate_column(relation, column_name)
$$;
