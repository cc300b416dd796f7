-- A column made encrypted. Python: column/encrypt_column.py

CREATE FUNCTION @extschema@.encrypt_column(
    relation regclass,
    column_name name,
    key text DEFAULT NULL,
    key_by name DEFAULT NULL,
    deterministic boolean DEFAULT false
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
SET row_security = off
AS $$
@load@
return GD['pgkeymgr'].encrypt_column(relation, column_name, key, key_by, deterministic)
$$;
REVOKE ALL ON FUNCTION @extschema@.encrypt_column(regclass, name, text, name, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.encrypt_column(regclass, name, text, name, boolean) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.encrypt_column(regclass, name, text, name, boolean) IS
    'Make a column encrypted: the table becomes <table>_encrypted, and a view with its name and columns takes its '
    'place. What is written from now on is encrypted; migrate_column() encrypts the rows that are there. The view.';
