-- pgsodium's key table: each key is for one primitive, and is found by its uuid. Python: compat/pgsodium.py

CREATE TYPE @extschema@.key_status AS ENUM ('default', 'valid', 'invalid', 'expired');
GRANT USAGE ON TYPE @extschema@.key_status TO PUBLIC;
COMMENT ON TYPE @extschema@.key_status IS
    'pgsodium''s states of a key. An enabled key of pgkeymgr is valid.';

CREATE VIEW @extschema@.valid_key WITH (security_barrier) AS
SELECT
    k.uuid AS id,
    k.name,
    'valid'::@extschema@.key_status AS status,
    k.key_type,
    k.derivation_id AS key_id,
    k.context AS key_context,
    k.created,
    k.expires,
    k.user_data OPERATOR(pg_catalog.->>) 'associated_data' AS associated_data
FROM @extschema@.key AS k
JOIN @extschema@.data_keys AS mine ON mine.id OPERATOR(pg_catalog.=) k.id
WHERE k.state OPERATOR(pg_catalog.=) 'enabled'::@extschema@.key_state
    AND k.superseded_by IS NULL
    AND k.key_type::pg_catalog.text OPERATOR(pg_catalog.<>) ALL (ARRAY['data', 'cryptokey'])
    AND (k.expires IS NULL OR k.expires OPERATOR(pg_catalog.>) pg_catalog.now());
GRANT SELECT ON @extschema@.valid_key TO pgkeymgr_user;
COMMENT ON VIEW @extschema@.valid_key IS
    'The keys for primitives that are enabled and that the current user owns or may use, as pgsodium shows them. A '
    'key with a key_id was imported from pgsodium, and can also be used by that number, without a grant.';

-- Internal: make a key for create_key.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@._create_key(
    key_type @extschema@.key_type,
    name text,
    raw_key bytea,
    raw_key_nonce bytea,
    parent_key uuid,
    key_context bytea,
    expires timestamptz,
    associated_data text
)
RETURNS uuid
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 1000
-- PL/Python takes times as texts, in which the abbreviation of a zone can be that of another.
SET DateStyle = 'ISO, YMD'
AS $$
@load@
return GD['pgkeymgr'].create_key(key_type, name, raw_key, raw_key_nonce, parent_key, key_context, expires, associated_data)
$$;

-- Make a key for a primitive, of random bytes or of raw_key, wrapped under the root key. Return its row of valid_key.
-- The key has no number. raw_key_nonce, parent_key and key_context have no effect, and are accepted for compatibility.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.create_key(
    key_type @extschema@.key_type DEFAULT 'aead-det',
    name text DEFAULT NULL,
    raw_key bytea DEFAULT NULL,
    raw_key_nonce bytea DEFAULT NULL,
    parent_key uuid DEFAULT NULL,
    key_context bytea DEFAULT 'pgsodium',
    expires timestamptz DEFAULT NULL,
    associated_data text DEFAULT ''
)
RETURNS @extschema@.valid_key
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    made uuid;
    shown @extschema@.valid_key;
BEGIN
    made := @extschema@._create_key(
        key_type, name, raw_key, raw_key_nonce, parent_key, key_context, expires, associated_data
    );
    SELECT * INTO STRICT shown FROM @extschema@.valid_key AS v WHERE v.id = made;
    RETURN shown;
END
$$;

-- Return the row of valid_key with this uuid, or NULL.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.get_key_by_id(uuid)
RETURNS @extschema@.valid_key
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
SELECT v.* FROM @extschema@.valid_key AS v WHERE v.id = $1
$$;

-- Return the row of valid_key with this name, or NULL.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.get_key_by_name(text)
RETURNS @extschema@.valid_key
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
SELECT v.* FROM @extschema@.valid_key AS v WHERE v.name = $1
$$;

-- Return the rows of valid_key whose names match the LIKE pattern filter.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.get_named_keys(filter text DEFAULT '%')
RETURNS SETOF @extschema@.valid_key
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
SELECT v.* FROM @extschema@.valid_key AS v WHERE v.name ILIKE filter
$$;

-- Encrypt and authenticate a message under the key of this uuid in the key table.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_secretbox(
    message bytea,
    nonce bytea,
    key_uuid uuid
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_secretbox_by_uuid(message, nonce, key_uuid)
$$;

-- Verify and decrypt a result of crypto_secretbox under the key of this uuid in the key table.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_secretbox_open(
    message bytea,
    nonce bytea,
    key_uuid uuid
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_secretbox_open_by_uuid(message, nonce, key_uuid)
$$;

-- Encrypt a message and authenticate it with additional data under the key of this uuid in the key table.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_aead_ietf_encrypt(
    message bytea,
    additional bytea,
    nonce bytea,
    key_uuid uuid
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_aead_ietf_encrypt_by_uuid(message, additional, nonce, key_uuid)
$$;

-- Verify and decrypt a result of crypto_aead_ietf_encrypt under the key of this uuid in the key table.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_aead_ietf_decrypt(
    message bytea,
    additional bytea,
    nonce bytea,
    key_uuid uuid
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_aead_ietf_decrypt_by_uuid(message, additional, nonce, key_uuid)
$$;

-- Encrypt a message so that the same message with the same additional data gives the same ciphertext, under the key of
-- this uuid in the key table.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_aead_det_encrypt(
    message bytea,
    additional bytea,
    key_uuid uuid
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 400
AS $$
@load@
return GD['pgkeymgr'].crypto_aead_det_encrypt_by_uuid(message, additional, key_uuid, None)
$$;

-- Encrypt a message so that the same message with the same additional data gives the same ciphertext, with a nonce
-- under the key of this uuid in the key table.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_aead_det_encrypt(
    message bytea,
    additional bytea,
    key_uuid uuid,
    nonce bytea
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 400
AS $$
@load@
return GD['pgkeymgr'].crypto_aead_det_encrypt_by_uuid(message, additional, key_uuid, nonce)
$$;

-- Verify and decrypt what crypto_aead_det_encrypt made under the key of this uuid in the key table.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_aead_det_decrypt(
    message bytea,
    additional bytea,
    key_uuid uuid
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 400
AS $$
@load@
return GD['pgkeymgr'].crypto_aead_det_decrypt_by_uuid(message, additional, key_uuid, None)
$$;

-- Verify and decrypt what crypto_aead_det_encrypt made with a nonce under the key of this uuid in the key table.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_aead_det_decrypt(
    message bytea,
    additional bytea,
    key_uuid uuid,
    nonce bytea
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 400
AS $$
@load@
return GD['pgkeymgr'].crypto_aead_det_decrypt_by_uuid(message, additional, key_uuid, nonce)
$$;

-- Return the tag of a message under the key of this uuid in the key table.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_auth(
    message bytea,
    key_uuid uuid
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_auth_by_uuid(message, key_uuid)
$$;

-- Return whether a tag is that of crypto_auth for the message under the key of this uuid in the key table.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_auth_verify(
    mac bytea,
    message bytea,
    key_uuid uuid
)
RETURNS boolean
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_auth_verify_by_uuid(mac, message, key_uuid)
$$;

-- Return the tag of a message under the key of this uuid in the key table.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_auth_hmacsha256(
    message bytea,
    key_uuid uuid
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_auth_hmacsha256_by_uuid(message, key_uuid)
$$;

-- Return whether a tag is that of crypto_auth_hmacsha256 for the message under the key of this uuid in the key table.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_auth_hmacsha256_verify(
    signature bytea,
    message bytea,
    key_uuid uuid
)
RETURNS boolean
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_auth_hmacsha256_verify_by_uuid(signature, message, key_uuid)
$$;

-- Return the tag of a message under the key of this uuid in the key table.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_auth_hmacsha512(
    message bytea,
    key_uuid uuid
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_auth_hmacsha512_by_uuid(message, key_uuid)
$$;

-- Return whether a tag is that of crypto_auth_hmacsha512 for the message under the key of this uuid in the key table.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_auth_hmacsha512_verify(
    signature bytea,
    message bytea,
    key_uuid uuid
)
RETURNS boolean
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_auth_hmacsha512_verify_by_uuid(signature, message, key_uuid)
$$;

-- Return the BLAKE2b-256 of a message under the key of this uuid in the key table.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_generichash(
    message bytea,
    key_uuid uuid
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_generichash_by_uuid(message, key_uuid)
$$;

-- Return the SipHash-2-4 of a message under the key of this uuid in the key table.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_shorthash(
    message bytea,
    key_uuid uuid
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_shorthash_by_uuid(message, key_uuid)
$$;

-- Return the key with this number and context that is derived from the key of this uuid in the key table.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_kdf_derive_from_key(
    subkey_size integer,
    subkey_id bigint,
    context bytea,
    primary_key uuid
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_kdf_derive_from_key_by_uuid(subkey_size, subkey_id, context, primary_key)
$$;

-- Import a row of pgsodium's key table, under the same root key. Return its id here. Import the parent of a raw key
-- before the key. A key with a number can also be used by that number, without a grant.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.import_pgsodium_key(
    id uuid,
    status text,
    key_type @extschema@.key_type,
    name text DEFAULT NULL,
    key_id bigint DEFAULT NULL,
    key_context bytea DEFAULT NULL,
    raw_key bytea DEFAULT NULL,
    raw_key_nonce bytea DEFAULT NULL,
    parent_key uuid DEFAULT NULL,
    expires timestamptz DEFAULT NULL,
    associated_data text DEFAULT ''
)
RETURNS integer
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 1000
SET DateStyle = 'ISO, YMD'
AS $$
@load@
return GD['pgkeymgr'].import_key(id, status, key_type, name, key_id, key_context, raw_key, raw_key_nonce, parent_key, expires, associated_data)
$$;
