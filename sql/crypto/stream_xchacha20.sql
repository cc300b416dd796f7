-- The XChaCha20 stream, without authentication. Python: crypto/stream_xchacha20.py

-- Return a new random key for crypto_stream_xchacha20, 32 bytes.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_stream_xchacha20_keygen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 15
AS $$
@load@
return GD['pgkeymgr'].crypto_stream_xchacha20_keygen()
$$;

-- Return a new random nonce for crypto_stream_xchacha20, 24 bytes.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.crypto_stream_xchacha20_noncegen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 15
AS $$
@load@
return GD['pgkeymgr'].crypto_stream_xchacha20_noncegen()
$$;

-- Return the first bytes of the XChaCha20 keystream of a nonce (24 bytes) and a key (32 bytes).
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_stream_xchacha20(
    size bigint,
    nonce bytea,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 300
AS $$
@load@
return GD['pgkeymgr'].crypto_stream_xchacha20(size, nonce, key)
$$;

-- Return the first bytes of the XChaCha20 keystream of a nonce, under the derived key with this number and context.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_stream_xchacha20(
    size bigint,
    nonce bytea,
    key_id bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 300
AS $$
@load@
return GD['pgkeymgr'].crypto_stream_xchacha20_by_id(size, nonce, key_id, context)
$$;

-- XOR a message with the XChaCha20 keystream, which encrypts a plaintext and decrypts a ciphertext. Nothing is
-- authenticated. The nonce has 24 bytes, the key 32.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_stream_xchacha20_xor(
    message bytea,
    nonce bytea,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 300
AS $$
@load@
return GD['pgkeymgr'].crypto_stream_xchacha20_xor(message, nonce, key)
$$;

-- XOR a message with the XChaCha20 keystream under the derived key with this number and context. The default context is
-- misspelled as in pgsodium (pgosdium), because data has been encrypted with it.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_stream_xchacha20_xor(
    message bytea,
    nonce bytea,
    key_id bigint,
    context bytea DEFAULT 'pgosdium'
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 300
AS $$
@load@
return GD['pgkeymgr'].crypto_stream_xchacha20_xor_by_id(message, nonce, key_id, context)
$$;

-- XOR a message with the XChaCha20 keystream, from its 64-byte block number ic on.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_stream_xchacha20_xor_ic(
    message bytea,
    nonce bytea,
    ic bigint,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 300
AS $$
@load@
return GD['pgkeymgr'].crypto_stream_xchacha20_xor_ic(message, nonce, ic, key)
$$;

-- XOR a message with the XChaCha20 keystream, from its 64-byte block number ic on, under the derived key with this
-- number and context.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_stream_xchacha20_xor_ic(
    message bytea,
    nonce bytea,
    ic bigint,
    key_id bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 300
AS $$
@load@
return GD['pgkeymgr'].crypto_stream_xchacha20_xor_ic_by_id(message, nonce, ic, key_id, context)
$$;
