-- INSERT ... ON CONFLICT, which PostgreSQL does not do on a view with triggers. Python: column/upsert.py

-- It sets no search_path: the triggers of the table run in it as they do in any other statement of the caller's.
CREATE FUNCTION @extschema@.upsert(
    relation regclass,
    new_row jsonb,
    conflict_columns name[] DEFAULT NULL,
    on_conflict text DEFAULT 'update'
)
RETURNS boolean
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].upsert(relation, new_row, conflict_columns, on_conflict)
$$;
REVOKE ALL ON FUNCTION @extschema@.upsert(regclass, jsonb, name[], text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.upsert(regclass, jsonb, name[], text) TO PUBLIC;
COMMENT ON FUNCTION @extschema@.upsert(regclass, jsonb, name[], text) IS
    'Insert a row into a table with encrypted columns, or, if there is one with the same values in conflict_columns '
    '(by default the primary key), set its other columns, or do nothing. Whether it was inserted.';
