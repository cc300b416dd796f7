-- Masks: the values that roles without the right to decrypt read of a column. Python: column/mask.py, column/masking.py

-- Set what a role with the usage masked, and without decrypt, reads of an encrypted column instead of an error: null,
-- last4 (the last four characters, and at most half of the value), year (the first of January), or email_domain. With
-- without_grant, roles without any grant on the key read it, too. A mask of NULL removes the mask.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.set_mask(
    relation regclass,
    column_name name,
    mask text,
    without_grant boolean DEFAULT false
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp
@catalog_settings@
AS $$
@load@
return GD['pgkeymgr'].set_mask(relation, column_name, mask, None, without_grant)
$$;

-- Set a function of the table's owner as the mask of an encrypted column. It has one argument of the column's type, and
-- returns that type. It runs with the rights of the owner, who must have the usage decrypt, with the search_path
-- pg_catalog, and not in parallel queries. Its errors become errors without a value.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.set_mask(
    relation regclass,
    column_name name,
    mask regprocedure,
    without_grant boolean DEFAULT false
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp
@catalog_settings@
AS $$
@load@
return GD['pgkeymgr'].set_mask(relation, column_name, None, mask, without_grant)
$$;

-- The functions that the views of encrypted tables call for each value of a column with a mask. PUBLIC may call them: the
-- grant on the key and the mask of the column count.

-- Internal: return the value of an encrypted column as text, or its mask.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._show_text(bytea, bytea, integer)
RETURNS text
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE COST 60
AS $$
@load@
return GD['pgkeymgr']._show_text(args[0], args[1], args[2])
$$;

-- Internal: return the value of an encrypted bytea column, or its mask.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._show_bytes(bytea, bytea, integer)
RETURNS bytea
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE COST 60
AS $$
@load@
return GD['pgkeymgr']._show_bytes(args[0], args[1], args[2])
$$;

-- Internal: return the value of an encrypted column as text, or what a function makes of it.
--
-- The function of the owner runs under settings of its own, which no parallel query can change.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._show_computed_text(bytea, bytea, integer)
RETURNS text
LANGUAGE plpython3u STABLE STRICT PARALLEL UNSAFE COST 60
AS $$
@load@
return GD['pgkeymgr']._show_computed_text(args[0], args[1], args[2])
$$;

-- Internal: return the value of an encrypted bytea column, or what a function makes of it.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._show_computed_bytes(bytea, bytea, integer)
RETURNS bytea
LANGUAGE plpython3u STABLE STRICT PARALLEL UNSAFE COST 60
AS $$
@load@
return GD['pgkeymgr']._show_computed_bytes(args[0], args[1], args[2])
$$;

-- Internal: refuse a role that reads a column masked, and so must not write what it has read.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._check_reads(integer, text)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10
AS $$
@load@
return GD['pgkeymgr']._check_reads(args[0], args[1])
$$;
