-- The import and export of data keys, which travel sealed both ways. Python: sealed/transport.py

-- Make a data key of given bytes; sealed holds the 16 to 64 bytes, and with wrap => 'passphrase' also the passphrase.
-- wrap may also be root or user. key_id and key_uuid are those that the key has on another node, so that its tokens can
-- be read here. Return the id of the key.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.import_data_key(
    name text,
    sealed bytea,
    expires timestamptz DEFAULT NULL,
    comment text DEFAULT NULL,
    wrap text DEFAULT 'root',
    key_id integer DEFAULT NULL,
    key_uuid uuid DEFAULT NULL
)
RETURNS integer
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000
-- PL/Python takes times as texts, in which the abbreviation of a zone can be that of another.
SET DateStyle = 'ISO, YMD'
AS $$
@load@
return GD['pgkeymgr'].import_data_key(name, sealed, expires, comment, wrap, key_id, key_uuid)
$$;

-- Return a key, sealed to an X25519 public key of a recipient (a libsodium sealed box of its bytes).
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.export_data_key(
    key text,
    recipient_public bytea
)
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].export_data_key(key, recipient_public)
$$;

-- Return a key, sealed to an X25519 public key of a recipient (a libsodium sealed box of its bytes).
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.export_data_key(
    key integer,
    recipient_public bytea
)
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].export_data_key(key, recipient_public)
$$;
