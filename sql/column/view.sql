-- The view of a table with encrypted columns, created again. Python: column/view.py

CREATE FUNCTION @extschema@.refresh_encrypted_view(
    relation regclass
)
RETURNS regclass
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
SET standard_conforming_strings = on
-- The catalog's expressions are kept as text: of constants that mean the same in every session.
SET DateStyle = 'ISO, YMD'
SET IntervalStyle = 'postgres'
SET extra_float_digits = 1
AS $$
@load@
return GD['pgkeymgr'].refresh_encrypted_view(relation)
$$;
REVOKE ALL ON FUNCTION @extschema@.refresh_encrypted_view(regclass) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.refresh_encrypted_view(regclass) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.refresh_encrypted_view(regclass) IS
    'Make the view of a table with encrypted columns, and its triggers, what the base table needs by now. DDL on '
    'the base table does so by itself; after the view was dropped, this brings it back. The view.';
