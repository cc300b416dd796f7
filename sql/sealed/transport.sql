-- The import and export of data keys, which travel sealed both ways. Python: sealed/transport.py

CREATE FUNCTION @extschema@.import_data_key(
    name text,
    sealed bytea,
    expires timestamptz DEFAULT NULL,
    comment text DEFAULT NULL,
    wrap text DEFAULT 'root'
)
RETURNS integer
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000
AS $$
@load@
return GD['pgkeymgr'].import_data_key(name, sealed, expires, comment, wrap)
$$;
REVOKE ALL ON FUNCTION @extschema@.import_data_key(text, bytea, timestamptz, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.import_data_key(text, bytea, timestamptz, text, text) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.import_data_key(text, bytea, timestamptz, text, text) IS
    'Make a data key of bytes that were brought along; its id. sealed holds the 16 to 64 bytes, and for wrap '
    '=> ''passphrase'' the passphrase after them. wrap may be root or user, too.';

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
REVOKE ALL ON FUNCTION @extschema@.export_data_key(text, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.export_data_key(text, bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.export_data_key(text, bytea) IS
    'A key, sealed to a recipient''s X25519 public key (a libsodium sealed box of its bytes).';

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
REVOKE ALL ON FUNCTION @extschema@.export_data_key(integer, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.export_data_key(integer, bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.export_data_key(integer, bytea) IS
    'A key, sealed to a recipient''s X25519 public key (a libsodium sealed box of its bytes).';
