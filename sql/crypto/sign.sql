-- Public-key signatures: Ed25519, and Ed25519ph for messages in parts. Python: crypto/sign.py

CREATE TYPE @extschema@.crypto_sign_keypair AS (
    public bytea,
    secret bytea
);
GRANT USAGE ON TYPE @extschema@.crypto_sign_keypair TO PUBLIC;
COMMENT ON TYPE @extschema@.crypto_sign_keypair IS
    'A key pair for crypto_sign, with a public key of 32 bytes and a secret key of 64. Never reveal the secret key.';

-- Return a new random seed for crypto_sign_seed_new_keypair, 32 bytes.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_sign_new_seed()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 15
AS $$
@load@
return GD['pgkeymgr'].crypto_sign_new_seed()
$$;

-- Return a new random key pair for crypto_sign.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_sign_new_keypair()
RETURNS @extschema@.crypto_sign_keypair
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 800
AS $$
@load@
return GD['pgkeymgr'].crypto_sign_new_keypair()
$$;

-- Return the key pair for crypto_sign that a seed of 32 bytes gives.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_sign_seed_new_keypair(
    seed bytea
)
RETURNS @extschema@.crypto_sign_keypair
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 800
AS $$
@load@
return GD['pgkeymgr'].crypto_sign_seed_new_keypair(seed)
$$;

-- Return a message with its Ed25519 signature before it, 64 bytes longer. The secret key has 64 bytes.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_sign(
    message bytea,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 800
AS $$
@load@
return GD['pgkeymgr'].crypto_sign(message, key)
$$;

-- Verify a result of crypto_sign with the public key, and return the message. Raise an error if it does not verify.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.crypto_sign_open(
    signed_message bytea,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 1500
AS $$
@load@
return GD['pgkeymgr'].crypto_sign_open(signed_message, key)
$$;

-- Return the Ed25519 signature of a message, 64 bytes. The secret key has 64 bytes.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_sign_detached(
    message bytea,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 800
AS $$
@load@
return GD['pgkeymgr'].crypto_sign_detached(message, key)
$$;

-- Return whether a signature belongs to the message under the public key.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.crypto_sign_verify_detached(
    sig bytea,
    message bytea,
    key bytea
)
RETURNS boolean
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 1500
AS $$
@load@
return GD['pgkeymgr'].crypto_sign_verify_detached(sig, message, key)
$$;

-- Return the state of a message in parts before its first part, 208 bytes.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.crypto_sign_init()
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 20
AS $$
@load@
return GD['pgkeymgr'].crypto_sign_init()
$$;

-- Return the state of a message in parts after one more part.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.crypto_sign_update(
    state bytea,
    message bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 30
AS $$
@load@
return GD['pgkeymgr'].crypto_sign_update(state, message)
$$;

-- Add a row to the state of the aggregate crypto_sign_update_agg(message).
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.crypto_sign_update_agg1(
    state bytea,
    message bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 30
AS $$
@load@
return GD['pgkeymgr'].crypto_sign_update_agg1(state, message)
$$;

-- Add a row to the state of the aggregate crypto_sign_update_agg(state, message).
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.crypto_sign_update_agg2(
    cur_state bytea,
    initial_state bytea,
    message bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 30
AS $$
@load@
return GD['pgkeymgr'].crypto_sign_update_agg2(cur_state, initial_state, message)
$$;

-- Return the Ed25519ph signature of a message in parts, 64 bytes. The secret key has 64 bytes.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_sign_final_create(
    state bytea,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 800
AS $$
@load@
return GD['pgkeymgr'].crypto_sign_final_create(state, key)
$$;

-- Return whether a signature belongs to the message in parts under the public key.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.crypto_sign_final_verify(
    state bytea,
    signature bytea,
    key bytea
)
RETURNS boolean
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 1500
AS $$
@load@
return GD['pgkeymgr'].crypto_sign_final_verify(state, signature, key)
$$;

-- Return the state of a message whose parts are the rows, in the order of the aggregate's ORDER BY.
-- EXECUTE: PUBLIC
CREATE AGGREGATE @extschema@.crypto_sign_update_agg(message bytea) (
    SFUNC = @extschema@.crypto_sign_update_agg1,
    STYPE = bytea,
    PARALLEL = SAFE
);

-- Return the state of a message that continues a given state with the rows, in the order of the aggregate's ORDER BY.
-- EXECUTE: PUBLIC
CREATE AGGREGATE @extschema@.crypto_sign_update_agg(state bytea, message bytea) (
    SFUNC = @extschema@.crypto_sign_update_agg2,
    STYPE = bytea,
    PARALLEL = SAFE
);
