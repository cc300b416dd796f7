-- Deterministic authenticated encryption: XChaCha20-SIV with BLAKE2b. Python: crypto/aead_det.py

CREATE FUNCTION @extschema@.crypto_aead_det_keygen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 150
AS $$
@load@
return GD['pgkeymgr'].crypto_aead_det_keygen()
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_aead_det_keygen() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_aead_det_keygen() TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_aead_det_keygen() IS
    'Return a new random key for crypto_aead_det_encrypt, 32 bytes.';

CREATE FUNCTION @extschema@.crypto_aead_det_noncegen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 150
AS $$
@load@
return GD['pgkeymgr'].crypto_aead_det_noncegen()
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_aead_det_noncegen() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_aead_det_noncegen() TO PUBLIC;
COMMENT ON FUNCTION @extschema@.crypto_aead_det_noncegen() IS
    'Return a new random nonce for crypto_aead_det_encrypt, 16 bytes.';

CREATE FUNCTION @extschema@.crypto_aead_det_encrypt(
    message bytea,
    additional bytea,
    key bytea,
    nonce bytea DEFAULT NULL
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 4000
AS $$
@load@
return GD['pgkeymgr'].crypto_aead_det_encrypt(message, additional, key, nonce)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_aead_det_encrypt(bytea, bytea, bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_aead_det_encrypt(bytea, bytea, bytea, bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_aead_det_encrypt(bytea, bytea, bytea, bytea) IS
    'Encrypt a message so that the same message with the same additional data gives the same ciphertext: '
    'XChaCha20-SIV. The result is 32 bytes longer. The additional data and the nonce (16 bytes) may be NULL; the key '
    'has 32 bytes.';

CREATE FUNCTION @extschema@.crypto_aead_det_encrypt(
    message bytea,
    additional bytea,
    key_id bigint,
    context bytea DEFAULT 'pgsodium',
    nonce bytea DEFAULT NULL
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 4000
AS $$
@load@
return GD['pgkeymgr'].crypto_aead_det_encrypt_by_id(message, additional, key_id, context, nonce)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_aead_det_encrypt(bytea, bytea, bigint, bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_aead_det_encrypt(bytea, bytea, bigint, bytea, bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.crypto_aead_det_encrypt(bytea, bytea, bigint, bytea, bytea) IS
    'Encrypt a message under the derived key with this number and context, so that the same message with the same '
    'additional data gives the same ciphertext.';

CREATE FUNCTION @extschema@.crypto_aead_det_decrypt(
    ciphertext bytea,
    additional bytea,
    key bytea,
    nonce bytea DEFAULT NULL
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 4000
AS $$
@load@
return GD['pgkeymgr'].crypto_aead_det_decrypt(ciphertext, additional, key, nonce)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_aead_det_decrypt(bytea, bytea, bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_aead_det_decrypt(bytea, bytea, bytea, bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_aead_det_decrypt(bytea, bytea, bytea, bytea) IS
    'Verify and decrypt a result of crypto_aead_det_encrypt. Raise an error if it does not verify.';

CREATE FUNCTION @extschema@.crypto_aead_det_decrypt(
    message bytea,
    additional bytea,
    key_id bigint,
    context bytea DEFAULT 'pgsodium',
    nonce bytea DEFAULT NULL
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 4000
AS $$
@load@
return GD['pgkeymgr'].crypto_aead_det_decrypt_by_id(message, additional, key_id, context, nonce)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_aead_det_decrypt(bytea, bytea, bigint, bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_aead_det_decrypt(bytea, bytea, bigint, bytea, bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.crypto_aead_det_decrypt(bytea, bytea, bigint, bytea, bytea) IS
    'Verify and decrypt a result of crypto_aead_det_encrypt under the derived key with this number and context. Raise '
    'an error if it does not verify.';
