-- Whether the values of an encrypted column open. Python: column/verify_column.py, column/cell.py

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
REVOKE ALL ON FUNCTION @extschema@._problem(bytea, bytea, integer) FROM PUBLIC;
-- With the rights of a table's owner: the grant on the key counts.
GRANT EXECUTE ON FUNCTION @extschema@._problem(bytea, bytea, integer) TO PUBLIC;
COMMENT ON FUNCTION @extschema@._problem(bytea, bytea, integer) IS
    'Internal: why a value does not open, or NULL.';

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
REVOKE ALL ON FUNCTION @extschema@.verify_column(regclass, name) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.verify_column(regclass, name) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.verify_column(regclass, name) IS
    'Open every value of an encrypted column, with the rights of the table''s owner: the rows whose values do not '
    'open, or have another blind index than is theirs, and why; no row if all is well, 10000 rows at most.';

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
REVOKE ALL ON FUNCTION @extschema@._count_values(regclass, name) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@._count_values(regclass, name) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@._count_values(regclass, name) IS
    'Internal: how many values an encrypted column has, counted with the rights of the table''s owner.';
