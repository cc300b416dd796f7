-- Keys and verifiers from passwords: Argon2id. Python: crypto/pwhash.py

-- Return a new random salt for crypto_pwhash, 16 bytes.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.crypto_pwhash_saltgen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 15
AS $$
@load@
return GD['pgkeymgr'].crypto_pwhash_saltgen()
$$;

-- Return the key that a password and a salt (16 bytes) give, 32 bytes: Argon2id with 256 MiB and 3 passes. The
-- statement has the password in it, and may be logged.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_pwhash(
    password bytea,
    salt bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 100000000
AS $$
@load@
return GD['pgkeymgr'].crypto_pwhash(password, salt)
$$;

-- Return a verifier of a password, 128 bytes, which can be stored: Argon2id with 256 MiB and 3 passes. The statement
-- has the password in it, and may be logged.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_pwhash_str(
    password bytea
)
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 100000000
AS $$
@load@
return GD['pgkeymgr'].crypto_pwhash_str(password)
$$;

-- Return whether a result of crypto_pwhash_str was made from this password. The statement has the password in it, and
-- may be logged.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_pwhash_str_verify(
    hashed_password bytea,
    password bytea
)
RETURNS boolean
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 100000000
AS $$
@load@
return GD['pgkeymgr'].crypto_pwhash_str_verify(hashed_password, password)
$$;
