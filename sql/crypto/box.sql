-- Public-key authenticated encryption, with or without a sender: X25519, XSalsa20-Poly1305. Python: crypto/box.py

CREATE TYPE @extschema@.crypto_box_keypair AS (
    public bytea,
    secret bytea
);
GRANT USAGE ON TYPE @extschema@.crypto_box_keypair TO PUBLIC;
COMMENT ON TYPE @extschema@.crypto_box_keypair IS
    'A key pair for crypto_box, with keys of 32 bytes. Never reveal the secret key.';

CREATE FUNCTION @extschema@.crypto_box_new_seed()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 150
AS $$
@load@
return GD['pgkeymgr'].crypto_box_new_seed()
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_box_new_seed() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_box_new_seed() TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_box_new_seed() IS
    'Return a new random seed for crypto_box_seed_new_keypair, 32 bytes.';

CREATE FUNCTION @extschema@.crypto_box_noncegen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 150
AS $$
@load@
return GD['pgkeymgr'].crypto_box_noncegen()
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_box_noncegen() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_box_noncegen() TO PUBLIC;
COMMENT ON FUNCTION @extschema@.crypto_box_noncegen() IS
    'Return a new random nonce for crypto_box, 24 bytes.';

CREATE FUNCTION @extschema@.crypto_box_new_keypair()
RETURNS @extschema@.crypto_box_keypair
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].crypto_box_new_keypair()
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_box_new_keypair() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_box_new_keypair() TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_box_new_keypair() IS
    'Return a new random key pair for crypto_box.';

CREATE FUNCTION @extschema@.crypto_box_seed_new_keypair(
    seed bytea
)
RETURNS @extschema@.crypto_box_keypair
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].crypto_box_seed_new_keypair(seed)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_box_seed_new_keypair(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_box_seed_new_keypair(bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_box_seed_new_keypair(bytea) IS
    'Return the key pair for crypto_box that a seed of 32 bytes gives.';

CREATE FUNCTION @extschema@.crypto_box(
    message bytea,
    nonce bytea,
    public bytea,
    secret bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 15000
AS $$
@load@
return GD['pgkeymgr'].crypto_box(message, nonce, public, secret)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_box(bytea, bytea, bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_box(bytea, bytea, bytea, bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_box(bytea, bytea, bytea, bytea) IS
    'Encrypt a message to the owner of a public key, and authenticate it as coming from the owner of a secret key. '
    'The result is 16 bytes longer. The nonce has 24 bytes and is used once between the two key pairs.';

CREATE FUNCTION @extschema@.crypto_box_open(
    ciphertext bytea,
    nonce bytea,
    public bytea,
    secret bytea
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 15000
AS $$
@load@
return GD['pgkeymgr'].crypto_box_open(ciphertext, nonce, public, secret)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_box_open(bytea, bytea, bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_box_open(bytea, bytea, bytea, bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_box_open(bytea, bytea, bytea, bytea) IS
    'Verify and decrypt a result of crypto_box, with the sender''s public key and the recipient''s secret key. Raise '
    'an error if it does not verify.';

CREATE FUNCTION @extschema@.crypto_box_seal(
    message bytea,
    public_key bytea
)
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 30000
AS $$
@load@
return GD['pgkeymgr'].crypto_box_seal(message, public_key)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_box_seal(bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_box_seal(bytea, bytea) TO PUBLIC;
COMMENT ON FUNCTION @extschema@.crypto_box_seal(bytea, bytea) IS
    'Encrypt a message to the owner of a public key; only the owner can open it. The result is 48 bytes longer.';

CREATE FUNCTION @extschema@.crypto_box_seal_open(
    ciphertext bytea,
    public_key bytea,
    secret_key bytea
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 15000
AS $$
@load@
return GD['pgkeymgr'].crypto_box_seal_open(ciphertext, public_key, secret_key)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_box_seal_open(bytea, bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_box_seal_open(bytea, bytea, bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_box_seal_open(bytea, bytea, bytea) IS
    'Verify and decrypt a result of crypto_box_seal, with the recipient''s key pair. Raise an error if it does not '
    'verify.';
