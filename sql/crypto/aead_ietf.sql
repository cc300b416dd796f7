-- Authenticated encryption with additional data: ChaCha20-Poly1305 (RFC 8439). Python: crypto/aead_ietf.py

-- Return a new random key for crypto_aead_ietf_encrypt, 32 bytes.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_aead_ietf_keygen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 15
AS $$
@load@
return GD['pgkeymgr'].crypto_aead_ietf_keygen()
$$;

-- Return a new random nonce for crypto_aead_ietf_encrypt, 12 bytes. Use a key with at most 2^32 of them.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.crypto_aead_ietf_noncegen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 15
AS $$
@load@
return GD['pgkeymgr'].crypto_aead_ietf_noncegen()
$$;

-- Encrypt a message and authenticate it with additional data, which may be NULL: ChaCha20-Poly1305. The result is 16
-- bytes longer. The nonce has 12 bytes and is used once with a key; the key has 32 bytes.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_aead_ietf_encrypt(
    message bytea,
    additional bytea,
    nonce bytea,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 30
AS $$
@load@
return GD['pgkeymgr'].crypto_aead_ietf_encrypt(message, additional, nonce, key)
$$;

-- Encrypt a message and authenticate it with additional data, under the derived key with this number and context.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_aead_ietf_encrypt(
    message bytea,
    additional bytea,
    nonce bytea,
    key_id bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 40
AS $$
@load@
return GD['pgkeymgr'].crypto_aead_ietf_encrypt_by_id(message, additional, nonce, key_id, context)
$$;

-- Verify and decrypt a result of crypto_aead_ietf_encrypt. Raise an error if it does not verify.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_aead_ietf_decrypt(
    message bytea,
    additional bytea,
    nonce bytea,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 30
AS $$
@load@
return GD['pgkeymgr'].crypto_aead_ietf_decrypt(message, additional, nonce, key)
$$;

-- Verify and decrypt a result of crypto_aead_ietf_encrypt under the derived key with this number and context. Raise an
-- error if it does not verify.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_aead_ietf_decrypt(
    message bytea,
    additional bytea,
    nonce bytea,
    key_id bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 40
AS $$
@load@
return GD['pgkeymgr'].crypto_aead_ietf_decrypt_by_id(message, additional, nonce, key_id, context)
$$;
