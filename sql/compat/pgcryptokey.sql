-- pgcryptokey's functions: data keys wrapped under passwords, and returned for pgcrypto. Python: compat/pgcryptokey.py

CREATE VIEW @extschema@.pgcryptokey WITH (security_barrier) AS
SELECT k.id AS key_id, k.name, w.wrapped AS encrypted_data_key, k.created, k.superseded_by
FROM @extschema@.key AS k
JOIN @extschema@.key_wrap AS w ON w.key_id OPERATOR(pg_catalog.=) k.id
WHERE k.key_type OPERATOR(pg_catalog.=) 'cryptokey'::@extschema@.key_type
    AND w.kind OPERATOR(pg_catalog.=) 'passphrase'::@extschema@.wrap_kind;
GRANT SELECT ON @extschema@.pgcryptokey TO pgkeymgr_admin;
COMMENT ON VIEW @extschema@.pgcryptokey IS
    'The data keys of pgcryptokey''s functions, wrapped, as in pgcryptokey''s table.';

-- Make a data key of this many random bytes, wrapped under a password, by default the setting
-- pgcryptokey.default_password. Return its id.
-- EXECUTE: pgkeymgr_user
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

-- Put a data key, its id and its name into the settings pgcryptokey.key, pgcryptokey.key_id and pgcryptokey.name of
-- this session.
-- EXECUTE: pgkeymgr_user
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

-- Put a data key, its id and its name into the settings pgcryptokey.key, pgcryptokey.key_id and pgcryptokey.name of
-- this session.
-- EXECUTE: pgkeymgr_user
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

-- Return a data key in hexadecimal, for pgcrypto's functions.
-- EXECUTE: pgkeymgr_user
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

-- Return a data key in hexadecimal, for pgcrypto's functions.
-- EXECUTE: pgkeymgr_user
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

-- Wrap a data key under another password.
-- EXECUTE: pgkeymgr_user
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

-- Wrap a data key under another password.
-- EXECUTE: pgkeymgr_user
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

-- Make a new version of a data key under the same password. Return its id.
-- EXECUTE: pgkeymgr_user
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

-- Make a new version of a data key under the same password. Return its id.
-- EXECUTE: pgkeymgr_user
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

-- Decrypt pgcrypto's PGP data of a text under one data key and encrypt it under another.
-- EXECUTE: pgkeymgr_user
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

-- Decrypt pgcrypto's PGP data of a bytea under one data key and encrypt it under another.
-- EXECUTE: pgkeymgr_user
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

-- Remove a data key, irrevocably.
-- EXECUTE: pgkeymgr_user
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

-- Remove a data key, irrevocably.
-- EXECUTE: pgkeymgr_user
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
