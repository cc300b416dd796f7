-- Secret-key message authentication: HMAC. Python: crypto/auth.py

CREATE FUNCTION @extschema@.crypto_auth_keygen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 150
AS $$
@load@
return GD['pgkeymgr'].crypto_auth_keygen()
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_auth_keygen() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_auth_keygen() TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_auth_keygen() IS
    'Return a new random key for crypto_auth, 32 bytes.';

CREATE FUNCTION @extschema@.crypto_auth_hmacsha256_keygen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 150
AS $$
@load@
return GD['pgkeymgr'].crypto_auth_hmacsha256_keygen()
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_auth_hmacsha256_keygen() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_auth_hmacsha256_keygen() TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_auth_hmacsha256_keygen() IS
    'Return a new random key for crypto_auth_hmacsha256, 32 bytes.';

CREATE FUNCTION @extschema@.crypto_auth_hmacsha512_keygen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 150
AS $$
@load@
return GD['pgkeymgr'].crypto_auth_hmacsha512_keygen()
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_auth_hmacsha512_keygen() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_auth_hmacsha512_keygen() TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_auth_hmacsha512_keygen() IS
    'Return a new random key for crypto_auth_hmacsha512, 32 bytes.';

CREATE FUNCTION @extschema@.crypto_auth(
    message bytea,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 250
AS $$
@load@
return GD['pgkeymgr'].crypto_auth(message, key)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_auth(bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_auth(bytea, bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_auth(bytea, bytea) IS
    'Return the tag of a message, 32 bytes: the first half of its HMAC-SHA-512 under a key of 32 bytes.';

CREATE FUNCTION @extschema@.crypto_auth(
    message bytea,
    key_id bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 350
AS $$
@load@
return GD['pgkeymgr'].crypto_auth_by_id(message, key_id, context)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_auth(bytea, bigint, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_auth(bytea, bigint, bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.crypto_auth(bytea, bigint, bytea) IS
    'Return the tag of a message under the derived key with this number and context.';

CREATE FUNCTION @extschema@.crypto_auth_verify(
    mac bytea,
    message bytea,
    key bytea
)
RETURNS boolean
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 300
AS $$
@load@
return GD['pgkeymgr'].crypto_auth_verify(mac, message, key)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_auth_verify(bytea, bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_auth_verify(bytea, bytea, bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_auth_verify(bytea, bytea, bytea) IS
    'Return whether crypto_auth gives this tag for the message. The comparison takes constant time.';

CREATE FUNCTION @extschema@.crypto_auth_verify(
    mac bytea,
    message bytea,
    key_id bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS boolean
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 400
AS $$
@load@
return GD['pgkeymgr'].crypto_auth_verify_by_id(mac, message, key_id, context)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_auth_verify(bytea, bytea, bigint, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_auth_verify(bytea, bytea, bigint, bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.crypto_auth_verify(bytea, bytea, bigint, bytea) IS
    'Return whether crypto_auth gives this tag for the message under the derived key with this number and context.';

CREATE FUNCTION @extschema@.crypto_auth_hmacsha256(
    message bytea,
    secret bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 250
AS $$
@load@
return GD['pgkeymgr'].crypto_auth_hmacsha256(message, secret)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_auth_hmacsha256(bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_auth_hmacsha256(bytea, bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_auth_hmacsha256(bytea, bytea) IS
    'Return the tag of a message, 32 bytes: its HMAC-SHA-256 under a key of 32 bytes.';

CREATE FUNCTION @extschema@.crypto_auth_hmacsha256(
    message bytea,
    key_id bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 350
AS $$
@load@
return GD['pgkeymgr'].crypto_auth_hmacsha256_by_id(message, key_id, context)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_auth_hmacsha256(bytea, bigint, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_auth_hmacsha256(bytea, bigint, bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.crypto_auth_hmacsha256(bytea, bigint, bytea) IS
    'Return the tag of a message under the derived key with this number and context.';

CREATE FUNCTION @extschema@.crypto_auth_hmacsha256_verify(
    hash bytea,
    message bytea,
    secret bytea
)
RETURNS boolean
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 300
AS $$
@load@
return GD['pgkeymgr'].crypto_auth_hmacsha256_verify(hash, message, secret)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_auth_hmacsha256_verify(bytea, bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_auth_hmacsha256_verify(bytea, bytea, bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_auth_hmacsha256_verify(bytea, bytea, bytea) IS
    'Return whether crypto_auth_hmacsha256 gives this tag for the message. The comparison takes constant time.';

CREATE FUNCTION @extschema@.crypto_auth_hmacsha256_verify(
    hash bytea,
    message bytea,
    key_id bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS boolean
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 400
AS $$
@load@
return GD['pgkeymgr'].crypto_auth_hmacsha256_verify_by_id(hash, message, key_id, context)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_auth_hmacsha256_verify(bytea, bytea, bigint, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_auth_hmacsha256_verify(bytea, bytea, bigint, bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.crypto_auth_hmacsha256_verify(bytea, bytea, bigint, bytea) IS
    'Return whether crypto_auth_hmacsha256 gives this tag for the message under the derived key with this number and '
    'context.';

CREATE FUNCTION @extschema@.crypto_auth_hmacsha512(
    message bytea,
    secret bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 250
AS $$
@load@
return GD['pgkeymgr'].crypto_auth_hmacsha512(message, secret)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_auth_hmacsha512(bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_auth_hmacsha512(bytea, bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_auth_hmacsha512(bytea, bytea) IS
    'Return the tag of a message, 64 bytes: its HMAC-SHA-512 under a key of 32 bytes.';

CREATE FUNCTION @extschema@.crypto_auth_hmacsha512(
    message bytea,
    key_id bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 350
AS $$
@load@
return GD['pgkeymgr'].crypto_auth_hmacsha512_by_id(message, key_id, context)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_auth_hmacsha512(bytea, bigint, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_auth_hmacsha512(bytea, bigint, bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.crypto_auth_hmacsha512(bytea, bigint, bytea) IS
    'Return the tag of a message under the derived key with this number and context.';

CREATE FUNCTION @extschema@.crypto_auth_hmacsha512_verify(
    hash bytea,
    message bytea,
    secret bytea
)
RETURNS boolean
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 300
AS $$
@load@
return GD['pgkeymgr'].crypto_auth_hmacsha512_verify(hash, message, secret)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_auth_hmacsha512_verify(bytea, bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_auth_hmacsha512_verify(bytea, bytea, bytea) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.crypto_auth_hmacsha512_verify(bytea, bytea, bytea) IS
    'Return whether crypto_auth_hmacsha512 gives this tag for the message. The comparison takes constant time.';

CREATE FUNCTION @extschema@.crypto_auth_hmacsha512_verify(
    hash bytea,
    message bytea,
    key_id bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS boolean
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 400
AS $$
@load@
return GD['pgkeymgr'].crypto_auth_hmacsha512_verify_by_id(hash, message, key_id, context)
$$;
REVOKE ALL ON FUNCTION @extschema@.crypto_auth_hmacsha512_verify(bytea, bytea, bigint, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.crypto_auth_hmacsha512_verify(bytea, bytea, bigint, bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.crypto_auth_hmacsha512_verify(bytea, bytea, bigint, bytea) IS
    'Return whether crypto_auth_hmacsha512 gives this tag for the message under the derived key with this number and '
    'context.';
