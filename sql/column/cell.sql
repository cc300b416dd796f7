-- The functions that the views and triggers of encrypted tables call for each value. PUBLIC may call them: the grant on
-- the key counts. Python: column/cell.py, which describes the arguments. They have no names, since PL/Python would make
-- a variable of each name for each row.

-- Internal: return the value of an encrypted column, as text.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._open_text(bytea, bytea, integer)
RETURNS text
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE COST 60
AS $$
@load@
return GD['pgkeymgr']._open_text(args[0], args[1], args[2])
$$;

-- Internal: return the value of an encrypted bytea column.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._open_bytes(bytea, bytea, integer)
RETURNS bytea
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE COST 60
AS $$
@load@
return GD['pgkeymgr']._open_bytes(args[0], args[1], args[2])
$$;

-- Internal: encrypt a value for its place in a column.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._seal_text(integer, text, bytea)
RETURNS bytea
LANGUAGE plpython3u VOLATILE STRICT PARALLEL UNSAFE COST 60
AS $$
@load@
return GD['pgkeymgr']._seal_text(args[0], args[1], args[2])
$$;

-- Internal: encrypt a bytea for its place in a column.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._seal_bytes(integer, bytea, bytea)
RETURNS bytea
LANGUAGE plpython3u VOLATILE STRICT PARALLEL UNSAFE COST 60
AS $$
@load@
return GD['pgkeymgr']._seal_bytes(args[0], args[1], args[2])
$$;

-- Internal: encrypt a value so that equal values have equal ciphertexts.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._seal_deterministic(integer, bytea, bytea)
RETURNS bytea
LANGUAGE plpython3u VOLATILE STRICT PARALLEL UNSAFE COST 60
AS $$
@load@
return GD['pgkeymgr']._seal_deterministic(args[0], args[1], args[2])
$$;

-- Internal: encrypt a value for its place in a column, compressed if that makes it shorter.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._seal_compressed(integer, bytea, bytea)
RETURNS bytea
LANGUAGE plpython3u VOLATILE STRICT PARALLEL UNSAFE COST 120
AS $$
@load@
return GD['pgkeymgr']._seal_compressed(args[0], args[1], args[2])
$$;

-- Internal: encrypt a value of a column under the current version of a key.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._reseal(integer, bytea, bytea, integer)
RETURNS bytea
LANGUAGE plpython3u VOLATILE STRICT PARALLEL UNSAFE COST 120
AS $$
@load@
return GD['pgkeymgr']._reseal(args[0], args[1], args[2], args[3])
$$;

-- Internal: encrypt a value of a column under the current version of a key, compressed if that makes it shorter.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._reseal_compressed(integer, bytea, bytea, integer)
RETURNS bytea
LANGUAGE plpython3u VOLATILE STRICT PARALLEL UNSAFE COST 180
AS $$
@load@
return GD['pgkeymgr']._reseal_compressed(args[0], args[1], args[2], args[3])
$$;

-- Values on their way from the view's trigger to the base table's. Python: column/transit.py

-- Internal: keep a value of an encrypted column for the trigger of the base table, and return a ticket for it.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._send_text(text)
RETURNS bytea
LANGUAGE plpython3u VOLATILE STRICT PARALLEL UNSAFE COST 10
AS $$
@load@
return GD['pgkeymgr']._send_text(args[0])
$$;

-- Internal: keep a value of an encrypted bytea column for the trigger of the base table, and return a ticket for it.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._send_bytes(bytea)
RETURNS bytea
LANGUAGE plpython3u VOLATILE STRICT PARALLEL UNSAFE COST 10
AS $$
@load@
return GD['pgkeymgr']._send_bytes(args[0])
$$;

-- Internal: return the value that a ticket is for, and forget it.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._take_text(bytea)
RETURNS text
LANGUAGE plpython3u VOLATILE STRICT PARALLEL UNSAFE COST 10
AS $$
@load@
return GD['pgkeymgr']._take_text(args[0])
$$;

-- Internal: return the value that a ticket is for as bytea, and forget it.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._take_bytes(bytea)
RETURNS bytea
LANGUAGE plpython3u VOLATILE STRICT PARALLEL UNSAFE COST 10
AS $$
@load@
return GD['pgkeymgr']._take_bytes(args[0])
$$;

-- Internal: encrypt the value that a ticket is for, for its place in a column.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._seal_sent(integer, bytea, bytea)
RETURNS bytea
LANGUAGE plpython3u VOLATILE STRICT PARALLEL UNSAFE COST 60
AS $$
@load@
return GD['pgkeymgr']._seal_sent(args[0], args[1], args[2])
$$;

-- Internal: encrypt the value that a ticket is for so that equal values have equal ciphertexts.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._seal_sent_deterministic(integer, bytea, bytea)
RETURNS bytea
LANGUAGE plpython3u VOLATILE STRICT PARALLEL UNSAFE COST 60
AS $$
@load@
return GD['pgkeymgr']._seal_sent_deterministic(args[0], args[1], args[2])
$$;

-- Internal: encrypt the value that a ticket is for, compressed if that makes it shorter.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._seal_sent_compressed(integer, bytea, bytea)
RETURNS bytea
LANGUAGE plpython3u VOLATILE STRICT PARALLEL UNSAFE COST 120
AS $$
@load@
return GD['pgkeymgr']._seal_sent_compressed(args[0], args[1], args[2])
$$;

-- The CHECKs of ciphertext columns: the suites and the lengths of key/cipher.py. The statement that a trigger runs for
-- each row parses the CHECK again, but not a function, so the patterns are here.

-- Internal: whether the column of a randomized ciphertext can hold a value.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._is_token(bytea)
RETURNS boolean
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 10
AS $$
BEGIN
    RETURN $1 OPERATOR(pg_catalog.~~) '\001________________________________%'::pg_catalog.bytea
        OR $1 OPERATOR(pg_catalog.~~) '\003____________________________________________%'::pg_catalog.bytea
        OR $1 OPERATOR(pg_catalog.~~) '\004________________________________%'::pg_catalog.bytea
        OR $1 OPERATOR(pg_catalog.~~) '\005____________________________________________%'::pg_catalog.bytea;
END
$$;

-- Internal: whether the column of a deterministic ciphertext can hold a value.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._is_deterministic_token(bytea)
RETURNS boolean
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 10
AS $$
BEGIN
    RETURN $1 OPERATOR(pg_catalog.~~) '\002____________________%'::pg_catalog.bytea;
END
$$;

-- Internal: return whether a row version is certainly older than all snapshots of this transaction.
--
-- If so, a statement of this transaction that found the row has seen this version of it.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._is_settled(xid)
RETURNS boolean
LANGUAGE plpython3u VOLATILE STRICT PARALLEL UNSAFE COST 10
AS $$
@load@
return GD['pgkeymgr']._is_settled(args[0])
$$;

-- Internal: return the family of the key for one value of a column. The key is made if there is none yet.
--
-- The value is that of the column that key_by names. NULL has the column's own key.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._key_by(integer, text)
RETURNS integer
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 20
AS $$
@load@
return GD['pgkeymgr']._key_by(args[0], args[1])
$$;

-- Internal: return the blind index of a value.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._blind(integer, text, text)
RETURNS bytea
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE COST 60
AS $$
@load@
return GD['pgkeymgr']._blind(args[0], args[1], args[2])
$$;

-- Internal: return the value of a compound blind index for the values of its columns; NULL if one of them is NULL.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._blind_compound(integer, text, text[])
RETURNS bytea
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE COST 80
AS $$
@load@
return GD['pgkeymgr']._blind_compound(args[0], args[1], args[2])
$$;

-- Internal: return the search terms of a value in a text index, which fit into 16 bits.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._text_terms(integer, text, text)
RETURNS smallint[]
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE COST 200
AS $$
@load@
return GD['pgkeymgr']._terms(args[0], args[1], args[2])
$$;

-- Internal: return the search terms of a value in an index of another kind.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._terms(integer, text, text)
RETURNS integer[]
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE COST 200
AS $$
@load@
return GD['pgkeymgr']._terms(args[0], args[1], args[2])
$$;

-- Internal: return the text of a value, which does not depend on the session's settings.
--
-- The text of some types depends on the session's settings, and a stored text must not.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._to_text(value anyelement)
RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
SET DateStyle = 'ISO, YMD'
SET IntervalStyle = 'iso_8601'
SET TimeZone = 'UTC'
SET extra_float_digits = 1
SET bytea_output = 'hex'
SET xmlbinary = 'base64'
AS $$ BEGIN RETURN value::text; END $$;

-- Internal: return the value of a text, which does not depend on the session's settings.
--
-- PostgreSQL reads the text of some types by the session's settings.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._from_text(value text, as_type anyelement)
RETURNS anyelement
LANGUAGE plpgsql STABLE PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
SET array_nulls = on
SET DateStyle = 'ISO, YMD'
SET IntervalStyle = 'iso_8601'
SET TimeZone = 'UTC'
SET xmloption = 'content'
AS $$ BEGIN RETURN value; END $$;

-- Internal: return whether this transaction has made a row version.
--
-- The triggers ask this about a row that is not as the statement saw it.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._is_own(xmin xid)
RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    epoch bigint := (pg_current_xact_id()::text::bigint >> 32) << 32;
BEGIN
    -- A row that can be locked and was changed by a transaction in progress was changed by this one.
    RETURN pg_xact_status((epoch | xmin::text::bigint)::text::xid8) = 'in progress';
END
$$;
