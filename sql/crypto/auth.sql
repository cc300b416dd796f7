-- Secret-key message authentication: HMAC. Python: crypto/auth.py

-- Return a new random key for crypto_auth, 32 bytes.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_auth_keygen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 15
AS $$
@load@
return GD['pgkeymgr'].crypto_auth_keygen()
$$;

-- Return a new random key for crypto_auth_hmacsha256, 32 bytes.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_auth_hmacsha256_keygen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 15
AS $$
@load@
return GD['pgkeymgr'].crypto_auth_hmacsha256_keygen()
$$;

-- Return a new random key for crypto_auth_hmacsha512, 32 bytes.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_auth_hmacsha512_keygen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 15
AS $$
@load@
return GD['pgkeymgr'].crypto_auth_hmacsha512_keygen()
$$;

-- Return the tag of a message, 32 bytes: the first half of its HMAC-SHA-512 under a key of 32 bytes.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_auth(
    message bytea,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 25
AS $$
@load@
return GD['pgkeymgr'].crypto_auth(message, key)
$$;

-- Return the tag of a message under the derived key with this number and context.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_auth(
    message bytea,
    key_id bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 35
AS $$
@load@
return GD['pgkeymgr'].crypto_auth_by_id(message, key_id, context)
$$;

-- Return whether crypto_auth gives this tag for the message. The comparison takes constant time.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_auth_verify(
    mac bytea,
    message bytea,
    key bytea
)
RETURNS boolean
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 30
AS $$
@load@
return GD['pgkeymgr'].crypto_auth_verify(mac, message, key)
$$;

-- Return whether crypto_auth gives this tag for the message under the derived key with this number and context.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_auth_verify(
    mac bytea,
    message bytea,
    key_id bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS boolean
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 40
AS $$
@load@
return GD['pgkeymgr'].crypto_auth_verify_by_id(mac, message, key_id, context)
$$;

-- Return the tag of a message, 32 bytes: its HMAC-SHA-256 under a key of 32 bytes.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_auth_hmacsha256(
    message bytea,
    secret bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 25
AS $$
@load@
return GD['pgkeymgr'].crypto_auth_hmacsha256(message, secret)
$$;

-- Return the tag of a message under the derived key with this number and context.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_auth_hmacsha256(
    message bytea,
    key_id bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 35
AS $$
@load@
return GD['pgkeymgr'].crypto_auth_hmacsha256_by_id(message, key_id, context)
$$;

-- Return whether crypto_auth_hmacsha256 gives this tag for the message. The comparison takes constant time.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_auth_hmacsha256_verify(
    hash bytea,
    message bytea,
    secret bytea
)
RETURNS boolean
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 30
AS $$
@load@
return GD['pgkeymgr'].crypto_auth_hmacsha256_verify(hash, message, secret)
$$;

-- Return whether crypto_auth_hmacsha256 gives this tag for the message under the derived key with this number and
-- context.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_auth_hmacsha256_verify(
    hash bytea,
    message bytea,
    key_id bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS boolean
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 40
AS $$
@load@
return GD['pgkeymgr'].crypto_auth_hmacsha256_verify_by_id(hash, message, key_id, context)
$$;

-- Return the tag of a message, 64 bytes: its HMAC-SHA-512 under a key of 32 bytes.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_auth_hmacsha512(
    message bytea,
    secret bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 25
AS $$
@load@
return GD['pgkeymgr'].crypto_auth_hmacsha512(message, secret)
$$;

-- Return the tag of a message under the derived key with this number and context.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_auth_hmacsha512(
    message bytea,
    key_id bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 35
AS $$
@load@
return GD['pgkeymgr'].crypto_auth_hmacsha512_by_id(message, key_id, context)
$$;

-- Return whether crypto_auth_hmacsha512 gives this tag for the message. The comparison takes constant time.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_auth_hmacsha512_verify(
    hash bytea,
    message bytea,
    secret bytea
)
RETURNS boolean
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 30
AS $$
@load@
return GD['pgkeymgr'].crypto_auth_hmacsha512_verify(hash, message, secret)
$$;

-- Return whether crypto_auth_hmacsha512 gives this tag for the message under the derived key with this number and
-- context.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_auth_hmacsha512_verify(
    hash bytea,
    message bytea,
    key_id bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS boolean
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 40
AS $$
@load@
return GD['pgkeymgr'].crypto_auth_hmacsha512_verify_by_id(hash, message, key_id, context)
$$;
