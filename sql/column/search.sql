-- Searching for parts of texts, ranges and JSON in encrypted columns. Python: column/search.py

-- The operators of search terms are those of arrays, but LEAKPROOF: they compare numbers, raise no error, and so tell
-- nothing of rows that row-level security hides. Only such an operator lets PostgreSQL use an index before a policy.

-- Internal: return whether some search terms of texts contain all of others.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._terms_contain(smallint[], smallint[])
RETURNS boolean
LANGUAGE internal IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE
AS $$arraycontains$$;

-- Internal: return whether some search terms of values of other types contain all of others.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._terms_contain(integer[], integer[])
RETURNS boolean
LANGUAGE internal IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE
AS $$arraycontains$$;

-- Internal: return whether some search terms of texts have one of others.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._terms_overlap(smallint[], smallint[])
RETURNS boolean
LANGUAGE internal IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE
AS $$arrayoverlap$$;

-- Internal: return whether some search terms of values of other types have one of others.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._terms_overlap(integer[], integer[])
RETURNS boolean
LANGUAGE internal IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE
AS $$arrayoverlap$$;

CREATE OPERATOR @extschema@.~@> (
    FUNCTION = @extschema@._terms_contain,
    LEFTARG = smallint[],
    RIGHTARG = smallint[],
    RESTRICT = pg_catalog.matchingsel,
    JOIN = pg_catalog.matchingjoinsel
);
COMMENT ON OPERATOR @extschema@.~@> (smallint[], smallint[]) IS 'the search terms contain all of others';

CREATE OPERATOR @extschema@.~&& (
    FUNCTION = @extschema@._terms_overlap,
    LEFTARG = smallint[],
    RIGHTARG = smallint[],
    RESTRICT = pg_catalog.matchingsel,
    JOIN = pg_catalog.matchingjoinsel
);
COMMENT ON OPERATOR @extschema@.~&& (smallint[], smallint[]) IS 'the search terms have one of others';

CREATE OPERATOR @extschema@.~@> (
    FUNCTION = @extschema@._terms_contain,
    LEFTARG = integer[],
    RIGHTARG = integer[],
    RESTRICT = pg_catalog.matchingsel,
    JOIN = pg_catalog.matchingjoinsel
);
COMMENT ON OPERATOR @extschema@.~@> (integer[], integer[]) IS 'the search terms contain all of others';

CREATE OPERATOR @extschema@.~&& (
    FUNCTION = @extschema@._terms_overlap,
    LEFTARG = integer[],
    RIGHTARG = integer[],
    RESTRICT = pg_catalog.matchingsel,
    JOIN = pg_catalog.matchingjoinsel
);
COMMENT ON OPERATOR @extschema@.~&& (integer[], integer[]) IS 'the search terms have one of others';

-- A query with PostgreSQL's own operators uses an index of these classes, too.
CREATE OPERATOR CLASS @extschema@.text_term_ops FOR TYPE smallint[] USING gin AS
    OPERATOR 1 @extschema@.~&& (smallint[], smallint[]),
    OPERATOR 2 @extschema@.~@> (smallint[], smallint[]),
    OPERATOR 1 pg_catalog.&& (anyarray, anyarray),
    OPERATOR 2 pg_catalog.@> (anyarray, anyarray),
    FUNCTION 1 pg_catalog.btint2cmp(smallint, smallint),
    FUNCTION 2 pg_catalog.ginarrayextract(anyarray, internal, internal),
    FUNCTION 3 pg_catalog.ginqueryarrayextract(anyarray, internal, smallint, internal, internal, internal, internal),
    FUNCTION 4 pg_catalog.ginarrayconsistent(
        internal, smallint, anyarray, integer, internal, internal, internal, internal
    ),
    FUNCTION 6 pg_catalog.ginarraytriconsistent(internal, smallint, anyarray, integer, internal, internal, internal),
    STORAGE smallint;
COMMENT ON OPERATOR CLASS @extschema@.text_term_ops USING gin IS 'search terms of encrypted texts';
COMMENT ON OPERATOR FAMILY @extschema@.text_term_ops USING gin IS 'search terms of encrypted texts';

CREATE OPERATOR CLASS @extschema@.term_ops FOR TYPE integer[] USING gin AS
    OPERATOR 1 @extschema@.~&& (integer[], integer[]),
    OPERATOR 2 @extschema@.~@> (integer[], integer[]),
    OPERATOR 1 pg_catalog.&& (anyarray, anyarray),
    OPERATOR 2 pg_catalog.@> (anyarray, anyarray),
    FUNCTION 1 pg_catalog.btint4cmp(integer, integer),
    FUNCTION 2 pg_catalog.ginarrayextract(anyarray, internal, internal),
    FUNCTION 3 pg_catalog.ginqueryarrayextract(anyarray, internal, smallint, internal, internal, internal, internal),
    FUNCTION 4 pg_catalog.ginarrayconsistent(
        internal, smallint, anyarray, integer, internal, internal, internal, internal
    ),
    FUNCTION 6 pg_catalog.ginarraytriconsistent(internal, smallint, anyarray, integer, internal, internal, internal),
    STORAGE integer;
COMMENT ON OPERATOR CLASS @extschema@.term_ops USING gin IS 'search terms of encrypted values of other types';
COMMENT ON OPERATOR FAMILY @extschema@.term_ops USING gin IS 'search terms of encrypted values of other types';

-- Return the search terms of a search for a part of a text, in the column <column>_terms of an encrypted column.
--
-- operator is like, ilike, prefix, suffix, contains or similar. A text that matches has all of the terms, or one of
-- them for similar; not every text that has them matches. If a pattern is too short for any term, all texts have to be
-- compared, with a notice.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.search_terms(
    relation regclass,
    column_name name,
    pattern text,
    operator text DEFAULT 'like'
)
RETURNS smallint[]
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].search_terms(relation, column_name, pattern, operator)
$$;

-- Return the search terms of an interval for a range index. A row in the interval has one of the terms.
--
-- low and high are the text of values of the column's type, and belong to the interval. NULL means no bound.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.search_range_terms(
    relation regclass,
    column_name name,
    low text,
    high text
)
RETURNS integer[]
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].search_range_terms(relation, column_name, low, high)
$$;

-- Return the search terms of a JSON value, for a json index. A row that contains the value (@>) has all of the terms.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.search_json_terms(
    relation regclass,
    column_name name,
    part jsonb
)
RETURNS integer[]
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].search_json_terms(relation, column_name, part)
$$;

-- Return the search terms of a key of a JSON object, for a json index. A row with the key at its top has all of the
-- terms.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.search_key_terms(
    relation regclass,
    column_name name,
    json_key text
)
RETURNS integer[]
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].search_key_terms(relation, column_name, json_key)
$$;

-- Return the search terms of a value at a path for a json index. A row with the value there has all of the terms.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.search_path_terms(
    relation regclass,
    column_name name,
    path text[],
    expected jsonb
)
RETURNS integer[]
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].search_path_terms(relation, column_name, path, expected)
$$;

-- The conditions that people write. PostgreSQL puts the body of each into the query: the terms find candidates by the
-- index, and the decrypted value decides. So the functions have no settings, are not STRICT, and name each costly
-- argument once. The name of the column is a text: an argument of type name would give the comparison its collation,
-- "C".

-- Return whether a text matches a pattern of LIKE, with the help of a text index.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.search_like(
    relation regclass, column_name text, terms smallint[], value text, pattern text
)
RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
SELECT terms OPERATOR(@extschema@.~@>) @extschema@.search_terms(relation, column_name::pg_catalog.name, pattern, 'like')
    AND value OPERATOR(pg_catalog.~~) pattern
$$;

-- Return whether a text matches a pattern of ILIKE, with the help of a text index.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.search_ilike(
    relation regclass, column_name text, terms smallint[], value text, pattern text
)
RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
SELECT terms OPERATOR(@extschema@.~@>) @extschema@.search_terms(relation, column_name::pg_catalog.name, pattern, 'ilike')
    AND value OPERATOR(pg_catalog.~~*) pattern
$$;

-- Return whether a text begins with another one, with the help of a text index.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.search_prefix(
    relation regclass, column_name text, terms smallint[], value text, part text
)
RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
SELECT terms OPERATOR(@extschema@.~@>) @extschema@.search_terms(relation, column_name::pg_catalog.name, part, 'prefix')
    AND pg_catalog.starts_with(value, part)
$$;

-- Return whether a text ends with another one, with the help of a text index.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.search_suffix(
    relation regclass, column_name text, terms smallint[], value text, part text
)
RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
SELECT terms OPERATOR(@extschema@.~@>) @extschema@.search_terms(relation, column_name::pg_catalog.name, part, 'suffix')
    AND pg_catalog.starts_with(pg_catalog.reverse(value), pg_catalog.reverse(part))
$$;

-- Return whether a text contains another one, with the help of a text index.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.search_contains(
    relation regclass, column_name text, terms smallint[], value text, part text
)
RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
SELECT terms OPERATOR(@extschema@.~@>) @extschema@.search_terms(relation, column_name::pg_catalog.name, part, 'contains')
    AND pg_catalog.strpos(value, part) OPERATOR(pg_catalog.>) 0
$$;

-- Return how similar two texts are: the share of their parts of three characters that both have, from 0 to 1. Case does
-- not matter.
--
-- The function depends on its arguments alone. PostgreSQL converts text to varchar without a function.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.text_similarity(one varchar, other varchar)
RETURNS real
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 200
AS $$
@load@
return GD['pgkeymgr'].text_similarity(one, other)
$$;

-- Return whether a text is similar to another one, by a text index with the normalization casefold. threshold is the
-- lowest text_similarity() that suffices, and is greater than 0.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.search_similar(
    relation regclass, column_name text, terms smallint[], value text, other text, threshold real DEFAULT 0.3
)
RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
SELECT terms OPERATOR(@extschema@.~&&) @extschema@.search_terms(
        relation, column_name::pg_catalog.name, other, 'similar'
    )
    AND @extschema@.text_similarity(value, other) OPERATOR(pg_catalog.>=) threshold
$$;

-- Return whether a value is within a range, with the help of a range index. An unbounded end of the range is no bound.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.search_within(
    relation regclass, column_name text, terms integer[], value anyelement, bounds anyrange
)
RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
SELECT terms OPERATOR(@extschema@.~&&) @extschema@.search_range_terms(
        relation, column_name::pg_catalog.name, pg_catalog.lower(bounds)::pg_catalog.text, pg_catalog.upper(bounds)::pg_catalog.text
    )
    AND bounds OPERATOR(pg_catalog.@>) value
$$;

-- Return whether an address is within a network, or is the network, with the help of a range index.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.search_network(
    relation regclass, column_name text, terms integer[], value inet, network inet
)
RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
SELECT terms OPERATOR(@extschema@.~&&) @extschema@.search_range_terms(
        relation, column_name::pg_catalog.name, pg_catalog.network(network)::pg_catalog.text,
        -- The last address, which sorts after all networks that begin with it.
        pg_catalog.set_masklen(
            pg_catalog.broadcast(network),
            CASE WHEN pg_catalog.family(network) OPERATOR(pg_catalog.=) 4 THEN 32 ELSE 128 END
        )::pg_catalog.text
    )
    AND value OPERATOR(pg_catalog.<<=) network
$$;

-- Return whether a JSON value contains another one (@>), with the help of a json index.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.search_json(
    relation regclass, column_name text, terms integer[], value jsonb, part jsonb
)
RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
SELECT terms OPERATOR(@extschema@.~@>) @extschema@.search_json_terms(relation, column_name::pg_catalog.name, part)
    AND value OPERATOR(pg_catalog.@>) part
$$;

-- Return whether a JSON value has a key at its top (?), with the help of a json index.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.search_json_key(
    relation regclass, column_name text, terms integer[], value jsonb, json_key text
)
RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
SELECT terms OPERATOR(@extschema@.~@>) @extschema@.search_key_terms(relation, column_name::pg_catalog.name, json_key)
    AND value OPERATOR(pg_catalog.?) json_key
$$;

-- Return whether a JSON value has another one at a path (#>), with the help of a json index.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.search_json_path(
    relation regclass, column_name text, terms integer[], value jsonb, path text[], expected jsonb
)
RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
SELECT terms OPERATOR(@extschema@.~@>) @extschema@.search_path_terms(relation, column_name::pg_catalog.name, path, expected)
    AND (value OPERATOR(pg_catalog.#>) path) OPERATOR(pg_catalog.=) expected
$$;
