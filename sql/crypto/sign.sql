-- Public-key signatures: Ed25519, and Ed25519ph for messages in parts. Python: crypto/sign.py

CREATE TYPE @extschema@.crypto_sign_keypair AS (
    public bytea,
    secret bytea
);
GRANT USAGE ON TYPE @extschema@.crypto_sign_keypair TO PUBLIC;
COMMENT ON TYPE @extschema@.crypto_sign_keypair IS
    'A key pair for crypto_sign, with a public key of 32 bytes and a secret key of 64. Keep the field secret to '
    'yourself.';

CREATE FUNCTION @extschema@.crypto_sign_new_seed()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 150
AS $$
@load@
return GD['pgkeymgr'].crypto_sign_new_seed()
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_sign_new_seed() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_sign_new_seed() TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_sign_new_seed() IS
    'Return a new random seed for crypto_sign_seed_new_keypair, 32 bytes.';

CREATE FUNCTION @extschema@.crypto_sign_new_keypair()
RETURNS @extschema@.crypto_sign_keypair
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 8000
AS $$
@load@
return GD['pgkeymgr'].crypto_sign_new_keypair()
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_sign_new_keypair() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_sign_new_keypair() TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_sign_new_keypair() IS
    'Return a new random key pair for crypto_sign.';

CREATE FUNCTION @extschema@.crypto_sign_seed_new_keypair(
    seed bytea
)
RETURNS @extschema@.crypto_sign_keypair
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 8000
AS $$
@load@
return GD['pgkeymgr'].crypto_sign_seed_new_keypair(seed)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_sign_seed_new_keypair(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_sign_seed_new_keypair(bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_sign_seed_new_keypair(bytea) IS
    'Return the key pair for crypto_sign that a seed of 32 bytes gives.';

CREATE FUNCTION @extschema@.crypto_sign(
    message bytea,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 8000
AS $$
@load@
return GD['pgkeymgr'].crypto_sign(message, key)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_sign(bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_sign(bytea, bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_sign(bytea, bytea) IS
    'Return a message with its Ed25519 signature before it, 64 bytes longer. The secret key has 64 bytes.';

CREATE FUNCTION @extschema@.crypto_sign_open(
    signed_message bytea,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 15000
AS $$
@load@
return GD['pgkeymgr'].crypto_sign_open(signed_message, key)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_sign_open(bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_sign_open(bytea, bytea) TO PUBLIC;
COMMENT ON FUNCTION @extschema@.crypto_sign_open(bytea, bytea) IS
    'Verify a result of crypto_sign with the public key, and return the message. Raise an error if it does not '
    'verify.';

CREATE FUNCTION @extschema@.crypto_sign_detached(
    message bytea,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 8000
AS $$
@load@
return GD['pgkeymgr'].crypto_sign_detached(message, key)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_sign_detached(bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_sign_detached(bytea, bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_sign_detached(bytea, bytea) IS
    'Return the Ed25519 signature of a message, 64 bytes. The secret key has 64 bytes.';

CREATE FUNCTION @extschema@.crypto_sign_verify_detached(
    sig bytea,
    message bytea,
    key bytea
)
RETURNS boolean
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 15000
AS $$
@load@
return GD['pgkeymgr'].crypto_sign_verify_detached(sig, message, key)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_sign_verify_detached(bytea, bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_sign_verify_detached(bytea, bytea, bytea) TO PUBLIC;
COMMENT ON FUNCTION @extschema@.crypto_sign_verify_detached(bytea, bytea, bytea) IS
    'Return whether a signature belongs to the message under the public key.';

CREATE FUNCTION @extschema@.crypto_sign_init()
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 200
AS $$
@load@
return GD['pgkeymgr'].crypto_sign_init()
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_sign_init() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_sign_init() TO PUBLIC;
COMMENT ON FUNCTION @extschema@.crypto_sign_init() IS
    'Return the state of a message in parts before its first part, 208 bytes.';

CREATE FUNCTION @extschema@.crypto_sign_update(
    state bytea,
    message bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 300
AS $$
@load@
return GD['pgkeymgr'].crypto_sign_update(state, message)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_sign_update(bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_sign_update(bytea, bytea) TO PUBLIC;
COMMENT ON FUNCTION @extschema@.crypto_sign_update(bytea, bytea) IS
    'Return the state of a message in parts after one more part.';

CREATE FUNCTION @extschema@.crypto_sign_update_agg1(
    state bytea,
    message bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 300
AS $$
@load@
return GD['pgkeymgr'].crypto_sign_update_agg1(state, message)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_sign_update_agg1(bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_sign_update_agg1(bytea, bytea) TO PUBLIC;
COMMENT ON FUNCTION @extschema@.crypto_sign_update_agg1(bytea, bytea) IS
    'Add a row to the state of the aggregate crypto_sign_update_agg(message).';

CREATE FUNCTION @extschema@.crypto_sign_update_agg2(
    cur_state bytea,
    initial_state bytea,
    message bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 300
AS $$
@load@
return GD['pgkeymgr'].crypto_sign_update_agg2(cur_state, initial_state, message)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_sign_update_agg2(bytea, bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_sign_update_agg2(bytea, bytea, bytea) TO PUBLIC;
COMMENT ON FUNCTION @extschema@.crypto_sign_update_agg2(bytea, bytea, bytea) IS
    'Add a row to the state of the aggregate crypto_sign_update_agg(state, message).';

CREATE FUNCTION @extschema@.crypto_sign_final_create(
    state bytea,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 8000
AS $$
@load@
return GD['pgkeymgr'].crypto_sign_final_create(state, key)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_sign_final_create(bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_sign_final_create(bytea, bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_sign_final_create(bytea, bytea) IS
    'Return the Ed25519ph signature of a message in parts, 64 bytes. The secret key has 64 bytes.';

CREATE FUNCTION @extschema@.crypto_sign_final_verify(
    state bytea,
    signature bytea,
    key bytea
)
RETURNS boolean
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 15000
AS $$
@load@
return GD['pgkeymgr'].crypto_sign_final_verify(state, signature, key)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_sign_final_verify(bytea, bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_sign_final_verify(bytea, bytea, bytea) TO PUBLIC;
COMMENT ON FUNCTION @extschema@.crypto_sign_final_verify(bytea, bytea, bytea) IS
    'Return whether a signature belongs to the message in parts under the public key.';

CREATE AGGREGATE @extschema@.crypto_sign_update_agg(message bytea) (
    SFUNC = @extschema@.crypto_sign_update_agg1,
    STYPE = bytea,
    PARALLEL = SAFE
);
REVOKE ALL ON FUNCTION @extschema@.crypto_sign_update_agg(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_sign_update_agg(bytea) TO PUBLIC;
COMMENT ON AGGREGATE @extschema@.crypto_sign_update_agg(bytea) IS
    'Return the state of a message whose parts are the rows, in the order of the aggregate''s ORDER BY.';

CREATE AGGREGATE @extschema@.crypto_sign_update_agg(state bytea, message bytea) (
    SFUNC = @extschema@.crypto_sign_update_agg2,
    STYPE = bytea,
    PARALLEL = SAFE
);
REVOKE ALL ON FUNCTION @extschema@.crypto_sign_update_agg(bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_sign_update_agg(bytea, bytea) TO PUBLIC;
COMMENT ON AGGREGATE @extschema@.crypto_sign_update_agg(bytea, bytea) IS
    'Return the state of a message that continues a given state with the rows, in the order of the aggregate''s ORDER '
    'BY.';
