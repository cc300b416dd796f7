-- Secret-key authenticated encryption: XSalsa20-Poly1305. Python: crypto/secretbox.py

-- Return a new random key for crypto_secretbox, 32 bytes.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_secretbox_keygen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 15
AS $$
@load@
return GD['pgkeymgr'].crypto_secretbox_keygen()
$$;

-- Return a new random nonce for crypto_secretbox, 24 bytes.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.crypto_secretbox_noncegen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 15
AS $$
@load@
return GD['pgkeymgr'].crypto_secretbox_noncegen()
$$;

-- Encrypt and authenticate a message: XSalsa20-Poly1305. The result is 16 bytes longer. The nonce has 24 bytes and is
-- used once with a key; the key has 32 bytes.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_secretbox(
    message bytea,
    nonce bytea,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 30
AS $$
@load@
return GD['pgkeymgr'].crypto_secretbox(message, nonce, key)
$$;

-- Encrypt and authenticate a message under the derived key with this number and context.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_secretbox(
    message bytea,
    nonce bytea,
    key_id bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 40
AS $$
@load@
return GD['pgkeymgr'].crypto_secretbox_by_id(message, nonce, key_id, context)
$$;

-- Verify and decrypt a result of crypto_secretbox. Raise an error if it does not verify.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_secretbox_open(
    ciphertext bytea,
    nonce bytea,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 30
AS $$
@load@
return GD['pgkeymgr'].crypto_secretbox_open(ciphertext, nonce, key)
$$;

-- Verify and decrypt a result of crypto_secretbox under the derived key with this number and context. Raise an error if
-- it does not verify.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_secretbox_open(
    message bytea,
    nonce bytea,
    key_id bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 40
AS $$
@load@
return GD['pgkeymgr'].crypto_secretbox_open_by_id(message, nonce, key_id, context)
$$;
