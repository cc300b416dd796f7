-- The XChaCha20 stream, without authentication. Python: crypto/stream_xchacha20.py

CREATE FUNCTION @extschema@.crypto_stream_xchacha20_keygen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 150
AS $$
@load@
return GD['pgkeymgr'].crypto_stream_xchacha20_keygen()
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_stream_xchacha20_keygen() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_stream_xchacha20_keygen() TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_stream_xchacha20_keygen() IS
    'Return a new random key for crypto_stream_xchacha20, 32 bytes.';

CREATE FUNCTION @extschema@.crypto_stream_xchacha20_noncegen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 150
AS $$
@load@
return GD['pgkeymgr'].crypto_stream_xchacha20_noncegen()
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_stream_xchacha20_noncegen() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_stream_xchacha20_noncegen() TO PUBLIC;
COMMENT ON FUNCTION @extschema@.crypto_stream_xchacha20_noncegen() IS
    'Return a new random nonce for crypto_stream_xchacha20, 24 bytes.';

CREATE FUNCTION @extschema@.crypto_stream_xchacha20(
    size bigint,
    nonce bytea,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 3000
AS $$
@load@
return GD['pgkeymgr'].crypto_stream_xchacha20(size, nonce, key)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_stream_xchacha20(bigint, bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_stream_xchacha20(bigint, bytea, bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_stream_xchacha20(bigint, bytea, bytea) IS
    'Return the first bytes of the XChaCha20 keystream of a nonce (24 bytes) and a key (32 bytes).';

CREATE FUNCTION @extschema@.crypto_stream_xchacha20(
    size bigint,
    nonce bytea,
    key_id bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 3000
AS $$
@load@
return GD['pgkeymgr'].crypto_stream_xchacha20_by_id(size, nonce, key_id, context)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_stream_xchacha20(bigint, bytea, bigint, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_stream_xchacha20(bigint, bytea, bigint, bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.crypto_stream_xchacha20(bigint, bytea, bigint, bytea) IS
    'Return the first bytes of the XChaCha20 keystream of a nonce, under the derived key with this number and '
    'context.';

CREATE FUNCTION @extschema@.crypto_stream_xchacha20_xor(
    message bytea,
    nonce bytea,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 3000
AS $$
@load@
return GD['pgkeymgr'].crypto_stream_xchacha20_xor(message, nonce, key)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_stream_xchacha20_xor(bytea, bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_stream_xchacha20_xor(bytea, bytea, bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_stream_xchacha20_xor(bytea, bytea, bytea) IS
    'XOR a message with the XChaCha20 keystream, which encrypts a plaintext and decrypts a ciphertext. Nothing is '
    'authenticated. The nonce has 24 bytes, the key 32.';

CREATE FUNCTION @extschema@.crypto_stream_xchacha20_xor(
    message bytea,
    nonce bytea,
    key_id bigint,
    context bytea DEFAULT 'pgosdium'
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 3000
AS $$
@load@
return GD['pgkeymgr'].crypto_stream_xchacha20_xor_by_id(message, nonce, key_id, context)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_stream_xchacha20_xor(bytea, bytea, bigint, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_stream_xchacha20_xor(bytea, bytea, bigint, bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.crypto_stream_xchacha20_xor(bytea, bytea, bigint, bytea) IS
    'XOR a message with the XChaCha20 keystream under the derived key with this number and context. The default '
    'context is misspelled as in pgsodium (pgosdium), because data has been encrypted with it.';

CREATE FUNCTION @extschema@.crypto_stream_xchacha20_xor_ic(
    message bytea,
    nonce bytea,
    ic bigint,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 3000
AS $$
@load@
return GD['pgkeymgr'].crypto_stream_xchacha20_xor_ic(message, nonce, ic, key)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_stream_xchacha20_xor_ic(bytea, bytea, bigint, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_stream_xchacha20_xor_ic(bytea, bytea, bigint, bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_stream_xchacha20_xor_ic(bytea, bytea, bigint, bytea) IS
    'XOR a message with the XChaCha20 keystream, from its 64-byte block number ic on.';

CREATE FUNCTION @extschema@.crypto_stream_xchacha20_xor_ic(
    message bytea,
    nonce bytea,
    ic bigint,
    key_id bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 3000
AS $$
@load@
return GD['pgkeymgr'].crypto_stream_xchacha20_xor_ic_by_id(message, nonce, ic, key_id, context)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_stream_xchacha20_xor_ic(bytea, bytea, bigint, bigint, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_stream_xchacha20_xor_ic(bytea, bytea, bigint, bigint, bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.crypto_stream_xchacha20_xor_ic(bytea, bytea, bigint, bigint, bytea) IS
    'XOR a message with the XChaCha20 keystream, from its 64-byte block number ic on, under the derived key with this '
    'number and context.';
