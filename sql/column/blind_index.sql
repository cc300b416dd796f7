-- Equality search in encrypted columns. Python: column/blind_index.py

CREATE FUNCTION @extschema@.add_blind_index(
    relation regclass,
    column_name name,
    "normalize" text DEFAULT 'none',
    is_unique boolean DEFAULT false
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
SET standard_conforming_strings = on
SET row_security = off
AS $$
@load@
return GD['pgkeymgr'].add_blind_index(relation, column_name, normalize, is_unique)
$$;
REVOKE ALL ON FUNCTION @extschema@.add_blind_index(regclass, name, text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.add_blind_index(regclass, name, text, boolean) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.add_blind_index(regclass, name, text, boolean) IS
    'Give an encrypted column a companion <column>_bidx, a keyed hash of the value, with an index. normalize is none, '
    'casefold (case does not matter) or digits (only digits matter). It fills all rows at once, under a lock.';

CREATE FUNCTION @extschema@.drop_blind_index(
    relation regclass,
    column_name name
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
SET standard_conforming_strings = on
AS $$
@load@
return GD['pgkeymgr'].drop_blind_index(relation, column_name)
$$;
REVOKE ALL ON FUNCTION @extschema@.drop_blind_index(regclass, name) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.drop_blind_index(regclass, name) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.drop_blind_index(regclass, name) IS
    'Take the blind index of an encrypted column away, its column and its index with it.';

CREATE FUNCTION @extschema@.blind_index(
    relation regclass,
    column_name name,
    value text
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].blind_index(relation, column_name, value)
$$;
REVOKE ALL ON FUNCTION @extschema@.blind_index(regclass, name, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.blind_index(regclass, name, text) TO PUBLIC;
COMMENT ON FUNCTION @extschema@.blind_index(regclass, name, text) IS
    'What a value has in the companion <column>_bidx of an encrypted column, to search by.';
