-- Authenticated encryption with additional data: ChaCha20-Poly1305 (RFC 8439). Python: crypto/aead_ietf.py

CREATE FUNCTION @extschema@.crypto_aead_ietf_keygen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 150
AS $$
@load@
return GD['pgkeymgr'].crypto_aead_ietf_keygen()
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_aead_ietf_keygen() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_aead_ietf_keygen() TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_aead_ietf_keygen() IS
    'Return a new random key for crypto_aead_ietf_encrypt, 32 bytes.';

CREATE FUNCTION @extschema@.crypto_aead_ietf_noncegen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 150
AS $$
@load@
return GD['pgkeymgr'].crypto_aead_ietf_noncegen()
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_aead_ietf_noncegen() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_aead_ietf_noncegen() TO PUBLIC;
COMMENT ON FUNCTION @extschema@.crypto_aead_ietf_noncegen() IS
    'Return a new random nonce for crypto_aead_ietf_encrypt, 12 bytes. Use a key with at most 2^32 of them.';

CREATE FUNCTION @extschema@.crypto_aead_ietf_encrypt(
    message bytea,
    additional bytea,
    nonce bytea,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 300
AS $$
@load@
return GD['pgkeymgr'].crypto_aead_ietf_encrypt(message, additional, nonce, key)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_aead_ietf_encrypt(bytea, bytea, bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_aead_ietf_encrypt(bytea, bytea, bytea, bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_aead_ietf_encrypt(bytea, bytea, bytea, bytea) IS
    'Encrypt a message and authenticate it with additional data, which may be NULL: ChaCha20-Poly1305. The result is '
    '16 bytes longer. The nonce has 12 bytes and is used once with a key; the key has 32 bytes.';

CREATE FUNCTION @extschema@.crypto_aead_ietf_encrypt(
    message bytea,
    additional bytea,
    nonce bytea,
    key_id bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 400
AS $$
@load@
return GD['pgkeymgr'].crypto_aead_ietf_encrypt_by_id(message, additional, nonce, key_id, context)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_aead_ietf_encrypt(bytea, bytea, bytea, bigint, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_aead_ietf_encrypt(bytea, bytea, bytea, bigint, bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.crypto_aead_ietf_encrypt(bytea, bytea, bytea, bigint, bytea) IS
    'Encrypt a message and authenticate it with additional data, under the derived key with this number and context.';

CREATE FUNCTION @extschema@.crypto_aead_ietf_decrypt(
    message bytea,
    additional bytea,
    nonce bytea,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 300
AS $$
@load@
return GD['pgkeymgr'].crypto_aead_ietf_decrypt(message, additional, nonce, key)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_aead_ietf_decrypt(bytea, bytea, bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_aead_ietf_decrypt(bytea, bytea, bytea, bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_aead_ietf_decrypt(bytea, bytea, bytea, bytea) IS
    'Verify and decrypt a result of crypto_aead_ietf_encrypt. Raise an error if it does not verify.';

CREATE FUNCTION @extschema@.crypto_aead_ietf_decrypt(
    message bytea,
    additional bytea,
    nonce bytea,
    key_id bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 400
AS $$
@load@
return GD['pgkeymgr'].crypto_aead_ietf_decrypt_by_id(message, additional, nonce, key_id, context)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_aead_ietf_decrypt(bytea, bytea, bytea, bigint, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_aead_ietf_decrypt(bytea, bytea, bytea, bigint, bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.crypto_aead_ietf_decrypt(bytea, bytea, bytea, bigint, bytea) IS
    'Verify and decrypt a result of crypto_aead_ietf_encrypt under the derived key with this number and context. '
    'Raise an error if it does not verify.';
