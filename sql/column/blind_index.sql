-- Blind indexes of encrypted columns. Python: column/blind_index.py, column/wanted_index.py, column/build_blind_index.py,
-- column/rotate_blind_index.py, column/postgres_index.py, column/equality_search.py

-- Give an encrypted column a blind index: a further column with keyed hashes, and an index on it.
--
-- kind is equality, compound, text, range or json. The column of the first is called <column>_bidx, and has a hash of each
-- value. The column of the second is called <column>_<further column>_bidx, and has a hash of the values of several columns
-- together; options names the further ones, as in {"with": ["born"]}. The column of the other kinds is called
-- <column>_terms, and has a hash of each of some parts of the value. A column can have one of each of the first two kinds, and one of another
-- kind. normalize is none, casefold (case does not matter) or digits (only digits matter, for equality and compound); for
-- text, also unaccent. options is a JSON object, whose keys depend on the kind: see docs/search.md. The hashes of two columns are comparable if both are given the same key; by default, the index gets a
-- key of its own. A column with few distinct values is refused, because its hashes show which rows have which value,
-- unless force is true. The function fills all rows at once, under a lock.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.add_blind_index(
    relation regclass,
    column_name name,
    "normalize" text DEFAULT 'none',
    is_unique boolean DEFAULT false,
    key text DEFAULT NULL,
    kind text DEFAULT 'equality',
    options jsonb DEFAULT NULL,
    force boolean DEFAULT false
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
SET standard_conforming_strings = on
SET row_security = off
AS $$
@load@
return GD['pgkeymgr'].add_blind_index(relation, column_name, normalize, is_unique, key, kind, options, force)
$$;

-- Give an encrypted column a blind index under the version of a key that has an id.
--
-- The first five arguments have no defaults: a call with literals could mean both functions.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.add_blind_index(
    relation regclass,
    column_name name,
    "normalize" text,
    is_unique boolean,
    key integer,
    kind text DEFAULT 'equality',
    options jsonb DEFAULT NULL,
    force boolean DEFAULT false
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
SET standard_conforming_strings = on
SET row_security = off
AS $$
@load@
return GD['pgkeymgr'].add_blind_index(relation, column_name, normalize, is_unique, key, kind, options, force)
$$;

-- Give an encrypted column a blind index like add_blind_index(), without its index, in committed batches. If the
-- procedure is stopped, the next call continues there.
--
-- blind_index_statements() has the statements for the index.
-- EXECUTE: pgkeymgr_admin
CREATE PROCEDURE @extschema@.build_blind_index(
    relation regclass,
    column_name name,
    "normalize" text DEFAULT NULL,
    batch_size integer DEFAULT 5000,
    key text DEFAULT NULL,
    kind text DEFAULT 'equality',
    options jsonb DEFAULT NULL,
    force boolean DEFAULT false
)
LANGUAGE plpython3u
AS $$
@load@
return GD['pgkeymgr'].build_blind_index(relation, column_name, normalize, batch_size, key, kind, options, force)
$$;

-- Give a blind index another key, in committed batches, while others search by it and write. If the procedure is stopped,
-- the next call continues there.
--
-- Without a key's name, a new key is made. The former key is dropped, unless it was given.
-- EXECUTE: pgkeymgr_admin
CREATE PROCEDURE @extschema@.rotate_blind_index(
    relation regclass,
    column_name name,
    batch_size integer DEFAULT 5000,
    kind text DEFAULT 'equality',
    key text DEFAULT NULL
)
LANGUAGE plpython3u
AS $$
@load@
return GD['pgkeymgr'].rotate_blind_index(relation, column_name, batch_size, kind, key)
$$;

-- Return the statements that make the missing indexes of the blind indexes of a column without blocking writers. Each
-- must run outside of a transaction block, as with \gexec of psql.
--
-- kind restricts them to a blind index of one kind. is_unique is for equality.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.blind_index_statements(
    relation regclass,
    column_name name,
    is_unique boolean DEFAULT false,
    kind text DEFAULT NULL
)
RETURNS SETOF text
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
AS $$
@load@
return GD['pgkeymgr'].blind_index_statements(relation, column_name, is_unique, kind)
$$;

-- Drop the blind index of an encrypted column, with its column and its index.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.drop_blind_index(
    relation regclass,
    column_name name,
    kind text DEFAULT 'equality'
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
SET standard_conforming_strings = on
AS $$
@load@
return GD['pgkeymgr'].drop_blind_index(relation, column_name, kind)
$$;

-- Return the blind index of a value, with which to search in the column <column>_bidx of an encrypted column.
-- EXECUTE: PUBLIC
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

-- Return the compound blind index of the values of several columns, with which to search in its column.
--
-- column_name is the column that the index was given to, and the values are those of this column and of the further
-- columns of the index, in their order.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.blind_index(
    relation regclass,
    column_name name,
    VARIADIC "values" text[]
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].blind_index(relation, column_name, values)
$$;
