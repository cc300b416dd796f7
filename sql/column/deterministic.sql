-- Searching in deterministic columns. Python: column/deterministic.py

-- Return the ciphertexts that a value can have in a deterministic column, one for each version of its key, the newest
-- first. Search the base table with <column>_encrypted = ANY (deterministic_tokens(...)).
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.deterministic_tokens(
    relation regclass,
    column_name name,
    value text
)
RETURNS bytea[]
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].deterministic_tokens(relation, column_name, value)
$$;
