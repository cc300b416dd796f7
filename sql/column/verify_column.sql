-- Verifying the values of an encrypted column. Python: column/verify_column.py, column/cell.py

-- Internal: return why a value does not open, or NULL.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._problem(
    token bytea,
    place bytea,
    family integer
)
RETURNS text
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 300
AS $$
@load@
return GD['pgkeymgr']._problem(token, place, family)
$$;

-- Decrypt every value of an encrypted column, with the rights of the table's owner. Return the rows whose values cannot
-- be decrypted or have a wrong blind index, with the reason: at most 10000 rows, and no row if all values are intact.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.verify_column(
    relation regclass,
    column_name name,
    OUT row_key text,
    OUT problem text
)
RETURNS SETOF record
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
SET standard_conforming_strings = on
AS $$
@load@
return GD['pgkeymgr'].verify_column(relation, column_name)
$$;

-- Internal: return the number of values of an encrypted column, counted with the rights of the table's owner.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@._count_values(
    relation regclass,
    column_name name
)
RETURNS bigint
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp
AS $$
@load@
return GD['pgkeymgr']._count_values(relation, column_name)
$$;
