-- pgcryptokey's functions: data keys wrapped under passwords, and returned for pgcrypto. Python: compat/pgcryptokey.py

CREATE VIEW @extschema@.pgcryptokey WITH (security_barrier) AS
SELECT k.id AS key_id, k.name, w.wrapped AS encrypted_data_key, k.created, k.superseded_by
FROM @extschema@.key AS k
JOIN @extschema@.key_wrap AS w ON w.key_id OPERATOR(pg_catalog.=) k.id
WHERE k.key_type OPERATOR(pg_catalog.=) 'cryptokey'::@extschema@.key_type
    AND w.kind OPERATOR(pg_catalog.=) 'passphrase'::@extschema@.wrap_kind;
GRANT SELECT ON @extschema@.pgcryptokey TO pgkeymgr_admin;
COMMENT ON VIEW @extschema@.pgcryptokey IS 'What pgcryptokey had as a table: its data keys, wrapped.';

CREATE FUNCTION @extschema@.create_cryptokey(
    name text,
    byte_len integer,
    password text DEFAULT NULL
)
RETURNS integer
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000000
AS $$
@load@
return GD['pgkeymgr'].create_cryptokey(name, byte_len, password)
$$;
REVOKE ALL ON FUNCTION @extschema@.create_cryptokey(text, integer, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.create_cryptokey(text, integer, text) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.create_cryptokey(text, integer, text) IS
    'Make a data key of that many random bytes, wrapped under a password, or under the one of the setting '
    'pgcryptokey.default_password; its id.';

CREATE FUNCTION @extschema@.set_cryptokey(
    key_id integer,
    password text DEFAULT NULL
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 1000000
AS $$
@load@
return GD['pgkeymgr'].set_cryptokey(key_id, password)
$$;
REVOKE ALL ON FUNCTION @extschema@.set_cryptokey(integer, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.set_cryptokey(integer, text) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.set_cryptokey(integer, text) IS
    'Put a data key, its id and its name into the settings pgcryptokey.key, pgcryptokey.key_id and '
    'pgcryptokey.name of this session.';

CREATE FUNCTION @extschema@.set_cryptokey(
    name text,
    password text DEFAULT NULL
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 1000000
AS $$
@load@
return GD['pgkeymgr'].set_cryptokey(name, password)
$$;
REVOKE ALL ON FUNCTION @extschema@.set_cryptokey(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.set_cryptokey(text, text) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.set_cryptokey(text, text) IS
    'Put a data key, its id and its name into the settings pgcryptokey.key, pgcryptokey.key_id and '
    'pgcryptokey.name of this session.';

CREATE FUNCTION @extschema@.get_cryptokey(
    key_id integer,
    password text DEFAULT NULL
)
RETURNS text
LANGUAGE plpython3u STABLE PARALLEL UNSAFE COST 1000000
AS $$
@load@
return GD['pgkeymgr'].get_cryptokey(key_id, password)
$$;
REVOKE ALL ON FUNCTION @extschema@.get_cryptokey(integer, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.get_cryptokey(integer, text) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.get_cryptokey(integer, text) IS
    'A data key in hexadecimal, as pgcrypto takes it.';

CREATE FUNCTION @extschema@.get_cryptokey(
    name text,
    password text DEFAULT NULL
)
RETURNS text
LANGUAGE plpython3u STABLE PARALLEL UNSAFE COST 1000000
AS $$
@load@
return GD['pgkeymgr'].get_cryptokey(name, password)
$$;
REVOKE ALL ON FUNCTION @extschema@.get_cryptokey(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.get_cryptokey(text, text) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.get_cryptokey(text, text) IS
    'A data key in hexadecimal, as pgcrypto takes it.';

CREATE FUNCTION @extschema@.change_cryptokey_password(
    key_id integer,
    old_password text,
    new_password text
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000000
AS $$
@load@
return GD['pgkeymgr'].change_cryptokey_password(key_id, old_password, new_password)
$$;
REVOKE ALL ON FUNCTION @extschema@.change_cryptokey_password(integer, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.change_cryptokey_password(integer, text, text) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.change_cryptokey_password(integer, text, text) IS
    'Wrap a data key under another password.';

CREATE FUNCTION @extschema@.change_cryptokey_password(
    name text,
    old_password text,
    new_password text
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000000
AS $$
@load@
return GD['pgkeymgr'].change_cryptokey_password(name, old_password, new_password)
$$;
REVOKE ALL ON FUNCTION @extschema@.change_cryptokey_password(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.change_cryptokey_password(text, text, text) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.change_cryptokey_password(text, text, text) IS
    'Wrap a data key under another password.';

CREATE FUNCTION @extschema@.supersede_cryptokey(
    key_id integer,
    byte_len integer,
    password text DEFAULT NULL
)
RETURNS integer
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000000
AS $$
@load@
return GD['pgkeymgr'].supersede_cryptokey(key_id, byte_len, password)
$$;
REVOKE ALL ON FUNCTION @extschema@.supersede_cryptokey(integer, integer, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.supersede_cryptokey(integer, integer, text) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.supersede_cryptokey(integer, integer, text) IS
    'Make a new version of a data key under the same password; its id.';

CREATE FUNCTION @extschema@.supersede_cryptokey(
    name text,
    byte_len integer,
    password text DEFAULT NULL
)
RETURNS integer
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000000
AS $$
@load@
return GD['pgkeymgr'].supersede_cryptokey(name, byte_len, password)
$$;
REVOKE ALL ON FUNCTION @extschema@.supersede_cryptokey(text, integer, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.supersede_cryptokey(text, integer, text) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.supersede_cryptokey(text, integer, text) IS
    'Make a new version of a data key under the same password; its id.';

CREATE FUNCTION @extschema@.reencrypt_data(
    data bytea,
    old_key_id integer,
    new_key_id integer,
    password text DEFAULT NULL
)
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000
AS $$
@load@
return GD['pgkeymgr'].reencrypt_data(data, old_key_id, new_key_id, password)
$$;
REVOKE ALL ON FUNCTION @extschema@.reencrypt_data(bytea, integer, integer, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.reencrypt_data(bytea, integer, integer, text) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.reencrypt_data(bytea, integer, integer, text) IS
    'Decrypt pgcrypto''s PGP data of a text under one data key and encrypt it under another.';

CREATE FUNCTION @extschema@.reencrypt_data_bytea(
    data bytea,
    old_key_id integer,
    new_key_id integer,
    password text DEFAULT NULL
)
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000
AS $$
@load@
return GD['pgkeymgr'].reencrypt_data_bytea(data, old_key_id, new_key_id, password)
$$;
REVOKE ALL ON FUNCTION @extschema@.reencrypt_data_bytea(bytea, integer, integer, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.reencrypt_data_bytea(bytea, integer, integer, text) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.reencrypt_data_bytea(bytea, integer, integer, text) IS
    'Decrypt pgcrypto''s PGP data of a bytea under one data key and encrypt it under another.';

CREATE FUNCTION @extschema@.drop_cryptokey(
    key_id integer,
    password text DEFAULT NULL
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000000
AS $$
@load@
return GD['pgkeymgr'].drop_cryptokey(key_id, password)
$$;
REVOKE ALL ON FUNCTION @extschema@.drop_cryptokey(integer, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.drop_cryptokey(integer, text) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.drop_cryptokey(integer, text) IS
    'Remove a data key, for good.';

CREATE FUNCTION @extschema@.drop_cryptokey(
    name text,
    password text DEFAULT NULL
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000000
AS $$
@load@
return GD['pgkeymgr'].drop_cryptokey(name, password)
$$;
REVOKE ALL ON FUNCTION @extschema@.drop_cryptokey(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.drop_cryptokey(text, text) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.drop_cryptokey(text, text) IS
    'Remove a data key, for good.';
