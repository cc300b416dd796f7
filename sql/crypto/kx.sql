-- Key exchange between two parties. Python: crypto/kx.py

CREATE TYPE @extschema@.crypto_kx_keypair AS (
    public bytea,
    secret bytea
);
GRANT USAGE ON TYPE @extschema@.crypto_kx_keypair TO PUBLIC;
COMMENT ON TYPE @extschema@.crypto_kx_keypair IS
    'A key pair for key exchange, with keys of 32 bytes. Never reveal the secret key.';

CREATE TYPE @extschema@.crypto_kx_session AS (
    rx bytea,
    tx bytea
);
GRANT USAGE ON TYPE @extschema@.crypto_kx_session TO PUBLIC;
COMMENT ON TYPE @extschema@.crypto_kx_session IS
    'A key to receive with (rx) and a key to transmit with (tx), 32 bytes each. Both are secret.';

-- Return a new random seed for crypto_kx_seed_new_keypair, 32 bytes.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_kx_new_seed()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 15
AS $$
@load@
return GD['pgkeymgr'].crypto_kx_new_seed()
$$;

-- Return a new random key pair for key exchange.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_kx_new_keypair()
RETURNS @extschema@.crypto_kx_keypair
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 1000
AS $$
@load@
return GD['pgkeymgr'].crypto_kx_new_keypair()
$$;

-- Return the key pair for key exchange that a seed of 32 bytes gives. A NULL seed gives NULL, as in pgsodium.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_kx_seed_new_keypair(
    seed bytea
)
RETURNS @extschema@.crypto_kx_keypair
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 1000
AS $$
@load@
return GD['pgkeymgr'].crypto_kx_seed_new_keypair(seed)
$$;

-- Return the client's session keys. The client's rx is the server's tx.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_kx_client_session_keys(
    client_pk bytea,
    client_sk bytea,
    server_pk bytea
)
RETURNS @extschema@.crypto_kx_session
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 1500
AS $$
@load@
return GD['pgkeymgr'].crypto_kx_client_session_keys(client_pk, client_sk, server_pk)
$$;

-- Return the server's session keys. The server's rx is the client's tx.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_kx_server_session_keys(
    server_pk bytea,
    server_sk bytea,
    client_pk bytea
)
RETURNS @extschema@.crypto_kx_session
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 1500
AS $$
@load@
return GD['pgkeymgr'].crypto_kx_server_session_keys(server_pk, server_sk, client_pk)
$$;
