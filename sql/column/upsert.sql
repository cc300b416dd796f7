-- A replacement for INSERT ... ON CONFLICT, which PostgreSQL does not support on a view with triggers. Python:
-- column/upsert.py

-- Insert rows into a table with encrypted columns. new_row is a JSON object, or an array of objects. If a row of the
-- table has the same values in conflict_columns (by default the primary key), set its other columns instead, or do
-- nothing. Return for each object, in their order, whether its row was inserted.
--
-- It sets no search_path: the triggers of the table run in it as they do in any other statement of the caller's.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.upsert(
    relation regclass,
    new_row jsonb,
    conflict_columns name[] DEFAULT NULL,
    on_conflict text DEFAULT 'update'
)
RETURNS SETOF boolean
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000 ROWS 1
AS $$
@load@
return GD['pgkeymgr'].upsert(relation, new_row, conflict_columns, on_conflict)
$$;
