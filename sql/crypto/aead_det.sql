-- Deterministic authenticated encryption: XChaCha20-SIV with BLAKE2b. Python: crypto/aead_det.py

-- Return a new random key for crypto_aead_det_encrypt, 32 bytes.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_aead_det_keygen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 15
AS $$
@load@
return GD['pgkeymgr'].crypto_aead_det_keygen()
$$;

-- Return a new random nonce for crypto_aead_det_encrypt, 16 bytes.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.crypto_aead_det_noncegen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 15
AS $$
@load@
return GD['pgkeymgr'].crypto_aead_det_noncegen()
$$;

-- Encrypt a message so that the same message with the same additional data gives the same ciphertext: XChaCha20-SIV.
-- The result is 32 bytes longer. The additional data and the nonce (16 bytes) may be NULL; the key has 32 bytes.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_aead_det_encrypt(
    message bytea,
    additional bytea,
    key bytea,
    nonce bytea DEFAULT NULL
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 400
AS $$
@load@
return GD['pgkeymgr'].crypto_aead_det_encrypt(message, additional, key, nonce)
$$;

-- Encrypt a message under the derived key with this number and context, so that the same message with the same
-- additional data gives the same ciphertext.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_aead_det_encrypt(
    message bytea,
    additional bytea,
    key_id bigint,
    context bytea DEFAULT 'pgsodium',
    nonce bytea DEFAULT NULL
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 400
AS $$
@load@
return GD['pgkeymgr'].crypto_aead_det_encrypt_by_id(message, additional, key_id, context, nonce)
$$;

-- Verify and decrypt a result of crypto_aead_det_encrypt. Raise an error if it does not verify.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_aead_det_decrypt(
    ciphertext bytea,
    additional bytea,
    key bytea,
    nonce bytea DEFAULT NULL
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 400
AS $$
@load@
return GD['pgkeymgr'].crypto_aead_det_decrypt(ciphertext, additional, key, nonce)
$$;

-- Verify and decrypt a result of crypto_aead_det_encrypt under the derived key with this number and context. Raise an
-- error if it does not verify.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_aead_det_decrypt(
    message bytea,
    additional bytea,
    key_id bigint,
    context bytea DEFAULT 'pgsodium',
    nonce bytea DEFAULT NULL
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 400
AS $$
@load@
return GD['pgkeymgr'].crypto_aead_det_decrypt_by_id(message, additional, key_id, context, nonce)
$$;
