-- Searching in deterministic columns. Python: column/deterministic.py

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
REVOKE ALL ON FUNCTION @extschema@.deterministic_tokens(regclass, name, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.deterministic_tokens(regclass, name, text) TO PUBLIC;
COMMENT ON FUNCTION @extschema@.deterministic_tokens(regclass, name, text) IS
    'The ciphertexts that a value can have in a deterministic column, one for each version of its key, newest '
    'first: WHERE <column>_encrypted = ANY (deterministic_tokens(...)) on the base table.';
