-- Signcryption over ristretto255, which needs libsodium on the server's machine. Python: crypto/signcrypt.py

CREATE TYPE @extschema@.crypto_signcrypt_state_key AS (
    state bytea,
    shared_key bytea
);
GRANT USAGE ON TYPE @extschema@.crypto_signcrypt_state_key TO PUBLIC;
COMMENT ON TYPE @extschema@.crypto_signcrypt_state_key IS
    'A state for the second step, and the key that encrypts or decrypts the message.';

CREATE TYPE @extschema@.crypto_signcrypt_keypair AS (
    public bytea,
    secret bytea
);
GRANT USAGE ON TYPE @extschema@.crypto_signcrypt_keypair TO PUBLIC;
COMMENT ON TYPE @extschema@.crypto_signcrypt_keypair IS
    'A key pair for signcryption, with keys of 32 bytes. Never reveal the secret key.';

-- Return a new random key pair for signcryption.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_signcrypt_new_keypair()
RETURNS @extschema@.crypto_signcrypt_keypair
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 5000
AS $$
@load@
return GD['pgkeymgr'].crypto_signcrypt_new_keypair()
$$;

-- Begin to send a message: return a state for crypto_signcrypt_sign_after, which is used once, and the key that
-- encrypts the message. The identities and the additional data have at most 255 bytes each.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_signcrypt_sign_before(
    sender bytea,
    recipient bytea,
    sender_sk bytea,
    recipient_pk bytea,
    additional bytea
)
RETURNS @extschema@.crypto_signcrypt_state_key
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 5000
AS $$
@load@
return GD['pgkeymgr'].crypto_signcrypt_sign_before(sender, recipient, sender_sk, recipient_pk, additional)
$$;

-- Finish sending a message: return the signature of the ciphertext, 64 bytes.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_signcrypt_sign_after(
    state bytea,
    sender_sk bytea,
    ciphertext bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 100
AS $$
@load@
return GD['pgkeymgr'].crypto_signcrypt_sign_after(state, sender_sk, ciphertext)
$$;

-- Begin to receive a message: return a state for crypto_signcrypt_verify_after, and the key that decrypts the message.
-- Nothing is verified yet.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_signcrypt_verify_before(
    signature bytea,
    sender bytea,
    recipient bytea,
    additional bytea,
    sender_pk bytea,
    recipient_sk bytea
)
RETURNS @extschema@.crypto_signcrypt_state_key
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 5000
AS $$
@load@
return GD['pgkeymgr'].crypto_signcrypt_verify_before(signature, sender, recipient, additional, sender_pk, recipient_sk)
$$;

-- Finish receiving a message: return true if the signature belongs to the ciphertext, and raise an error otherwise.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.crypto_signcrypt_verify_after(
    state bytea,
    signature bytea,
    sender_pk bytea,
    ciphertext bytea
)
RETURNS boolean
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 5000
AS $$
@load@
return GD['pgkeymgr'].crypto_signcrypt_verify_after(state, signature, sender_pk, ciphertext)
$$;

-- Return true if the signature belongs to the ciphertext, and raise an error otherwise. This needs no secret key, and
-- cannot decrypt the message.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.crypto_signcrypt_verify_public(
    signature bytea,
    sender bytea,
    recipient bytea,
    additional bytea,
    sender_pk bytea,
    ciphertext bytea
)
RETURNS boolean
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 5000
AS $$
@load@
return GD['pgkeymgr'].crypto_signcrypt_verify_public(signature, sender, recipient, additional, sender_pk, ciphertext)
$$;
