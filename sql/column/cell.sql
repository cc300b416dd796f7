-- What the views and triggers of encrypted tables call for each value. PUBLIC may: the grant on the key counts.
-- Python: column/cell.py, which describes the arguments. They have no names, since PL/Python would make a variable
-- of each name for each row.

CREATE FUNCTION @extschema@._open_text(bytea, bytea, integer)
RETURNS text
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE COST 60
AS $$
@load@
return GD['pgkeymgr']._open_text(args[0], args[1], args[2])
$$;
REVOKE ALL ON FUNCTION @extschema@._open_text(bytea, bytea, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@._open_text(bytea, bytea, integer) TO PUBLIC;
COMMENT ON FUNCTION @extschema@._open_text(bytea, bytea, integer) IS
    'Internal: the value of an encrypted column, as text.';

CREATE FUNCTION @extschema@._open_bytes(bytea, bytea, integer)
RETURNS bytea
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE COST 60
AS $$
@load@
return GD['pgkeymgr']._open_bytes(args[0], args[1], args[2])
$$;
REVOKE ALL ON FUNCTION @extschema@._open_bytes(bytea, bytea, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@._open_bytes(bytea, bytea, integer) TO PUBLIC;
COMMENT ON FUNCTION @extschema@._open_bytes(bytea, bytea, integer) IS
    'Internal: the value of an encrypted bytea column.';

CREATE FUNCTION @extschema@._seal_text(integer, text, bytea)
RETURNS bytea
LANGUAGE plpython3u VOLATILE STRICT PARALLEL UNSAFE COST 60
AS $$
@load@
return GD['pgkeymgr']._seal_text(args[0], args[1], args[2])
$$;
REVOKE ALL ON FUNCTION @extschema@._seal_text(integer, text, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@._seal_text(integer, text, bytea) TO PUBLIC;
COMMENT ON FUNCTION @extschema@._seal_text(integer, text, bytea) IS
    'Internal: encrypt a value for its place in a column.';

CREATE FUNCTION @extschema@._seal_bytes(integer, bytea, bytea)
RETURNS bytea
LANGUAGE plpython3u VOLATILE STRICT PARALLEL UNSAFE COST 60
AS $$
@load@
return GD['pgkeymgr']._seal_bytes(args[0], args[1], args[2])
$$;
REVOKE ALL ON FUNCTION @extschema@._seal_bytes(integer, bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@._seal_bytes(integer, bytea, bytea) TO PUBLIC;
COMMENT ON FUNCTION @extschema@._seal_bytes(integer, bytea, bytea) IS
    'Internal: encrypt a bytea for its place in a column.';

CREATE FUNCTION @extschema@._seal_deterministic(integer, bytea, bytea)
RETURNS bytea
LANGUAGE plpython3u VOLATILE STRICT PARALLEL UNSAFE COST 60
AS $$
@load@
return GD['pgkeymgr']._seal_deterministic(args[0], args[1], args[2])
$$;
REVOKE ALL ON FUNCTION @extschema@._seal_deterministic(integer, bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@._seal_deterministic(integer, bytea, bytea) TO PUBLIC;
COMMENT ON FUNCTION @extschema@._seal_deterministic(integer, bytea, bytea) IS
    'Internal: encrypt a value so that equal ones have equal ciphertexts.';

CREATE FUNCTION @extschema@._reseal(integer, bytea, bytea, integer)
RETURNS bytea
LANGUAGE plpython3u VOLATILE STRICT PARALLEL UNSAFE COST 1200
AS $$
@load@
return GD['pgkeymgr']._reseal(args[0], args[1], args[2], args[3])
$$;
REVOKE ALL ON FUNCTION @extschema@._reseal(integer, bytea, bytea, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@._reseal(integer, bytea, bytea, integer) TO PUBLIC;
COMMENT ON FUNCTION @extschema@._reseal(integer, bytea, bytea, integer) IS
    'Internal: encrypt a value of a column under the current version of a key.';

-- Values on their way from the view's trigger to the base table's. Python: column/transit.py

CREATE FUNCTION @extschema@._send_text(text)
RETURNS bytea
LANGUAGE plpython3u VOLATILE STRICT PARALLEL UNSAFE COST 10
AS $$
@load@
return GD['pgkeymgr']._send_text(args[0])
$$;
REVOKE ALL ON FUNCTION @extschema@._send_text(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@._send_text(text) TO PUBLIC;
COMMENT ON FUNCTION @extschema@._send_text(text) IS
    'Internal: leave a value of an encrypted column for the trigger of the base table; a ticket for it.';

CREATE FUNCTION @extschema@._send_bytes(bytea)
RETURNS bytea
LANGUAGE plpython3u VOLATILE STRICT PARALLEL UNSAFE COST 10
AS $$
@load@
return GD['pgkeymgr']._send_bytes(args[0])
$$;
REVOKE ALL ON FUNCTION @extschema@._send_bytes(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@._send_bytes(bytea) TO PUBLIC;
COMMENT ON FUNCTION @extschema@._send_bytes(bytea) IS
    'Internal: leave a value of an encrypted bytea column for the trigger of the base table; a ticket for it.';

CREATE FUNCTION @extschema@._take_text(bytea)
RETURNS text
LANGUAGE plpython3u VOLATILE STRICT PARALLEL UNSAFE COST 10
AS $$
@load@
return GD['pgkeymgr']._take_text(args[0])
$$;
REVOKE ALL ON FUNCTION @extschema@._take_text(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@._take_text(bytea) TO PUBLIC;
COMMENT ON FUNCTION @extschema@._take_text(bytea) IS
    'Internal: the value that a ticket is for, which is forgotten.';

CREATE FUNCTION @extschema@._take_bytes(bytea)
RETURNS bytea
LANGUAGE plpython3u VOLATILE STRICT PARALLEL UNSAFE COST 10
AS $$
@load@
return GD['pgkeymgr']._take_bytes(args[0])
$$;
REVOKE ALL ON FUNCTION @extschema@._take_bytes(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@._take_bytes(bytea) TO PUBLIC;
COMMENT ON FUNCTION @extschema@._take_bytes(bytea) IS
    'Internal: the value that a ticket is for, which is forgotten, as bytea.';

CREATE FUNCTION @extschema@._seal_sent(integer, bytea, bytea)
RETURNS bytea
LANGUAGE plpython3u VOLATILE STRICT PARALLEL UNSAFE COST 60
AS $$
@load@
return GD['pgkeymgr']._seal_sent(args[0], args[1], args[2])
$$;
REVOKE ALL ON FUNCTION @extschema@._seal_sent(integer, bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@._seal_sent(integer, bytea, bytea) TO PUBLIC;
COMMENT ON FUNCTION @extschema@._seal_sent(integer, bytea, bytea) IS
    'Internal: encrypt the value that a ticket is for, for its place in a column.';

CREATE FUNCTION @extschema@._seal_sent_deterministic(integer, bytea, bytea)
RETURNS bytea
LANGUAGE plpython3u VOLATILE STRICT PARALLEL UNSAFE COST 60
AS $$
@load@
return GD['pgkeymgr']._seal_sent_deterministic(args[0], args[1], args[2])
$$;
REVOKE ALL ON FUNCTION @extschema@._seal_sent_deterministic(integer, bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@._seal_sent_deterministic(integer, bytea, bytea) TO PUBLIC;
COMMENT ON FUNCTION @extschema@._seal_sent_deterministic(integer, bytea, bytea) IS
    'Internal: encrypt the value that a ticket is for so that equal ones have equal ciphertexts.';

-- Whether a statement of this transaction that found the row has seen this version of it.
CREATE FUNCTION @extschema@._is_settled(xid)
RETURNS boolean
LANGUAGE plpython3u VOLATILE STRICT PARALLEL UNSAFE COST 10
AS $$
@load@
return GD['pgkeymgr']._is_settled(args[0])
$$;
REVOKE ALL ON FUNCTION @extschema@._is_settled(xid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@._is_settled(xid) TO PUBLIC;
COMMENT ON FUNCTION @extschema@._is_settled(xid) IS
    'Internal: whether a row version is certainly older than all snapshots of this transaction.';

-- The key of one value of the column that key_by names. NULL has the column's own key.
CREATE FUNCTION @extschema@._key_by(integer, text)
RETURNS integer
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 200
AS $$
@load@
return GD['pgkeymgr']._key_by(args[0], args[1])
$$;
REVOKE ALL ON FUNCTION @extschema@._key_by(integer, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@._key_by(integer, text) TO PUBLIC;
COMMENT ON FUNCTION @extschema@._key_by(integer, text) IS
    'Internal: the family of the key for one value of a column, made if there is none yet.';

CREATE FUNCTION @extschema@._blind(integer, text, text)
RETURNS bytea
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE COST 60
AS $$
@load@
return GD['pgkeymgr']._blind(args[0], args[1], args[2])
$$;
REVOKE ALL ON FUNCTION @extschema@._blind(integer, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@._blind(integer, text, text) TO PUBLIC;
COMMENT ON FUNCTION @extschema@._blind(integer, text, text) IS
    'Internal: the blind index of a value.';

-- For types whose text depends on the session's settings: what is stored must not.
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
REVOKE ALL ON FUNCTION @extschema@._to_text(anyelement) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@._to_text(anyelement) TO PUBLIC;
COMMENT ON FUNCTION @extschema@._to_text(anyelement) IS
    'Internal: a value as text, the same whatever the session''s settings.';

-- And types whose text is read by the session's settings.
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
REVOKE ALL ON FUNCTION @extschema@._from_text(text, anyelement) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@._from_text(text, anyelement) TO PUBLIC;
COMMENT ON FUNCTION @extschema@._from_text(text, anyelement) IS
    'Internal: a value from its text, the same whatever the session''s settings.';

-- Of a row that is not as the statement saw it: whether this transaction has changed it since.
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
REVOKE ALL ON FUNCTION @extschema@._is_own(xid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@._is_own(xid) TO PUBLIC;
COMMENT ON FUNCTION @extschema@._is_own(xid) IS
    'Internal: whether a row version is this transaction''s own.';
