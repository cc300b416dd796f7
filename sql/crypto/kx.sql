-- Key exchange between two parties. Python: crypto/kx.py

CREATE TYPE @extschema@.crypto_kx_keypair AS (
    public bytea,
    secret bytea
);
GRANT USAGE ON TYPE @extschema@.crypto_kx_keypair TO PUBLIC;
COMMENT ON TYPE @extschema@.crypto_kx_keypair IS 'A key pair for key exchange, 32 bytes each. Keep secret secret.';

CREATE TYPE @extschema@.crypto_kx_session AS (
    rx bytea,
    tx bytea
);
GRANT USAGE ON TYPE @extschema@.crypto_kx_session TO PUBLIC;
COMMENT ON TYPE @extschema@.crypto_kx_session IS 'The keys to receive with and to transmit with, 32 bytes each, both secret.';

CREATE FUNCTION @extschema@.crypto_kx_new_seed()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 150
AS $$
@load@
return GD['pgkeymgr'].crypto_kx_new_seed()
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_kx_new_seed() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_kx_new_seed() TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_kx_new_seed() IS
    'A new random seed for crypto_kx_seed_new_keypair, 32 bytes.';

CREATE FUNCTION @extschema@.crypto_kx_new_keypair()
RETURNS @extschema@.crypto_kx_keypair
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].crypto_kx_new_keypair()
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_kx_new_keypair() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_kx_new_keypair() TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_kx_new_keypair() IS
    'A new random key pair for key exchange.';

CREATE FUNCTION @extschema@.crypto_kx_seed_new_keypair(
    seed bytea
)
RETURNS @extschema@.crypto_kx_keypair
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].crypto_kx_seed_new_keypair(seed)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_kx_seed_new_keypair(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_kx_seed_new_keypair(bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_kx_seed_new_keypair(bytea) IS
    'The key pair for key exchange that a seed of 32 bytes gives. NULL gives NULL, as in pgsodium.';

CREATE FUNCTION @extschema@.crypto_kx_client_session_keys(
    client_pk bytea,
    client_sk bytea,
    server_pk bytea
)
RETURNS @extschema@.crypto_kx_session
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 15000
AS $$
@load@
return GD['pgkeymgr'].crypto_kx_client_session_keys(client_pk, client_sk, server_pk)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_kx_client_session_keys(bytea, bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_kx_client_session_keys(bytea, bytea, bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_kx_client_session_keys(bytea, bytea, bytea) IS
    'The client''s session keys: its rx is the server''s tx.';

CREATE FUNCTION @extschema@.crypto_kx_server_session_keys(
    server_pk bytea,
    server_sk bytea,
    client_pk bytea
)
RETURNS @extschema@.crypto_kx_session
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 15000
AS $$
@load@
return GD['pgkeymgr'].crypto_kx_server_session_keys(server_pk, server_sk, client_pk)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_kx_server_session_keys(bytea, bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_kx_server_session_keys(bytea, bytea, bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_kx_server_session_keys(bytea, bytea, bytea) IS
    'The server''s session keys: its rx is the client''s tx.';
