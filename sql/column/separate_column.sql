-- Columns of a cloned database. Python: column/separate_column.py

CREATE FUNCTION @extschema@.separate_column(
    relation regclass,
    column_name name
)
RETURNS bigint
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
SET standard_conforming_strings = on
SET row_security = off
-- The catalog's expressions are kept as text: of constants that mean the same in every session.
SET DateStyle = 'ISO, YMD'
SET IntervalStyle = 'postgres'
SET extra_float_digits = 1
AS $$
@load@
return GD['pgkeymgr'].separate_column(relation, column_name)
$$;
REVOKE ALL ON FUNCTION @extschema@.separate_column(regclass, name) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.separate_column(regclass, name) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.separate_column(regclass, name) IS
    'Give an encrypted column of a cloned database an id and a key version of its own, and encrypt its values again, '
    'under a lock. After that, ciphertexts of the clone do not open in the original. The number of values.';
