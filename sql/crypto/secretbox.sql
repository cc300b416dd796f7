-- Secret-key authenticated encryption: XSalsa20-Poly1305. Python: crypto/secretbox.py

CREATE FUNCTION @extschema@.crypto_secretbox_keygen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 150
AS $$
@load@
return GD['pgkeymgr'].crypto_secretbox_keygen()
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_secretbox_keygen() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_secretbox_keygen() TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_secretbox_keygen() IS
    'Return a new random key for crypto_secretbox, 32 bytes.';

CREATE FUNCTION @extschema@.crypto_secretbox_noncegen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 150
AS $$
@load@
return GD['pgkeymgr'].crypto_secretbox_noncegen()
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_secretbox_noncegen() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_secretbox_noncegen() TO PUBLIC;
COMMENT ON FUNCTION @extschema@.crypto_secretbox_noncegen() IS
    'Return a new random nonce for crypto_secretbox, 24 bytes.';

CREATE FUNCTION @extschema@.crypto_secretbox(
    message bytea,
    nonce bytea,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 300
AS $$
@load@
return GD['pgkeymgr'].crypto_secretbox(message, nonce, key)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_secretbox(bytea, bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_secretbox(bytea, bytea, bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_secretbox(bytea, bytea, bytea) IS
    'Encrypt and authenticate a message: XSalsa20-Poly1305. The result is 16 bytes longer. The nonce has 24 bytes and '
    'is used once with a key; the key has 32 bytes.';

CREATE FUNCTION @extschema@.crypto_secretbox(
    message bytea,
    nonce bytea,
    key_id bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 400
AS $$
@load@
return GD['pgkeymgr'].crypto_secretbox_by_id(message, nonce, key_id, context)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_secretbox(bytea, bytea, bigint, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_secretbox(bytea, bytea, bigint, bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.crypto_secretbox(bytea, bytea, bigint, bytea) IS
    'Encrypt and authenticate a message under the derived key with this number and context.';

CREATE FUNCTION @extschema@.crypto_secretbox_open(
    ciphertext bytea,
    nonce bytea,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 300
AS $$
@load@
return GD['pgkeymgr'].crypto_secretbox_open(ciphertext, nonce, key)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_secretbox_open(bytea, bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_secretbox_open(bytea, bytea, bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_secretbox_open(bytea, bytea, bytea) IS
    'Verify and decrypt a result of crypto_secretbox. Raise an error if it does not verify.';

CREATE FUNCTION @extschema@.crypto_secretbox_open(
    message bytea,
    nonce bytea,
    key_id bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 400
AS $$
@load@
return GD['pgkeymgr'].crypto_secretbox_open_by_id(message, nonce, key_id, context)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_secretbox_open(bytea, bytea, bigint, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_secretbox_open(bytea, bytea, bigint, bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.crypto_secretbox_open(bytea, bytea, bigint, bytea) IS
    'Verify and decrypt a result of crypto_secretbox under the derived key with this number and context. Raise an '
    'error if it does not verify.';
