-- Keys and verifiers from passwords: Argon2id. Python: crypto/pwhash.py

CREATE FUNCTION @extschema@.crypto_pwhash_saltgen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 150
AS $$
@load@
return GD['pgkeymgr'].crypto_pwhash_saltgen()
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_pwhash_saltgen() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_pwhash_saltgen() TO PUBLIC;
COMMENT ON FUNCTION @extschema@.crypto_pwhash_saltgen() IS
    'Return a new random salt for crypto_pwhash, 16 bytes.';

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
REVOKE ALL ON FUNCTION @extschema@.crypto_pwhash(bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_pwhash(bytea, bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_pwhash(bytea, bytea) IS
    'Return the key that a password and a salt (16 bytes) give, 32 bytes: Argon2id with 256 MiB and 3 passes. The '
    'statement has the password in it, and may be logged.';

CREATE FUNCTION @extschema@.crypto_pwhash_str(
    password bytea
)
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 100000000
AS $$
@load@
return GD['pgkeymgr'].crypto_pwhash_str(password)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_pwhash_str(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_pwhash_str(bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.crypto_pwhash_str(bytea) IS
    'Return a verifier of a password, 128 bytes, which can be stored: Argon2id with 256 MiB and 3 passes. The '
    'statement has the password in it, and may be logged.';

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
REVOKE ALL ON FUNCTION @extschema@.crypto_pwhash_str_verify(bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_pwhash_str_verify(bytea, bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.crypto_pwhash_str_verify(bytea, bytea) IS
    'Return whether a result of crypto_pwhash_str was made from this password. The statement has the password in it, '
    'and may be logged.';
