-- Public-key authenticated encryption, with or without a sender: X25519, XSalsa20-Poly1305. Python: crypto/box.py

CREATE TYPE @extschema@.crypto_box_keypair AS (
    public bytea,
    secret bytea
);
GRANT USAGE ON TYPE @extschema@.crypto_box_keypair TO PUBLIC;
COMMENT ON TYPE @extschema@.crypto_box_keypair IS
    'A key pair for crypto_box, with keys of 32 bytes. Never reveal the secret key.';

-- Return a new random seed for crypto_box_seed_new_keypair, 32 bytes.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_box_new_seed()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 15
AS $$
@load@
return GD['pgkeymgr'].crypto_box_new_seed()
$$;

-- Return a new random nonce for crypto_box, 24 bytes.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.crypto_box_noncegen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 15
AS $$
@load@
return GD['pgkeymgr'].crypto_box_noncegen()
$$;

-- Return a new random key pair for crypto_box.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_box_new_keypair()
RETURNS @extschema@.crypto_box_keypair
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 1000
AS $$
@load@
return GD['pgkeymgr'].crypto_box_new_keypair()
$$;

-- Return the key pair for crypto_box that a seed of 32 bytes gives.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_box_seed_new_keypair(
    seed bytea
)
RETURNS @extschema@.crypto_box_keypair
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 1000
AS $$
@load@
return GD['pgkeymgr'].crypto_box_seed_new_keypair(seed)
$$;

-- Encrypt a message to the owner of a public key, and authenticate it as coming from the owner of a secret key. The
-- result is 16 bytes longer. The nonce has 24 bytes and is used once between the two key pairs.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_box(
    message bytea,
    nonce bytea,
    public bytea,
    secret bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 1500
AS $$
@load@
return GD['pgkeymgr'].crypto_box(message, nonce, public, secret)
$$;

-- Verify and decrypt a result of crypto_box, with the sender's public key and the recipient's secret key. Raise an
-- error if it does not verify.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_box_open(
    ciphertext bytea,
    nonce bytea,
    public bytea,
    secret bytea
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 1500
AS $$
@load@
return GD['pgkeymgr'].crypto_box_open(ciphertext, nonce, public, secret)
$$;

-- Encrypt a message to the owner of a public key; only the owner can open it. The result is 48 bytes longer.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.crypto_box_seal(
    message bytea,
    public_key bytea
)
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 3000
AS $$
@load@
return GD['pgkeymgr'].crypto_box_seal(message, public_key)
$$;

-- Verify and decrypt a result of crypto_box_seal, with the recipient's key pair. Raise an error if it does not verify.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_box_seal_open(
    ciphertext bytea,
    public_key bytea,
    secret_key bytea
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 1500
AS $$
@load@
return GD['pgkeymgr'].crypto_box_seal_open(ciphertext, public_key, secret_key)
$$;
