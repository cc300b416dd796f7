-- The encryption of IP addresses. Python: crypto/ipcrypt.py

-- Return the 16 bytes of the text of an IP address. An IPv4 address is mapped to IPv6, and the zone of an IPv6
-- address is left out.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.crypto_ipcrypt_ip2bin(
    ip text
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_ip2bin(ip)
$$;

-- Return the text of an IP address of 16 bytes. It is an IPv4 address if the bytes are those of a mapped one.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.crypto_ipcrypt_bin2ip(
    bin bytea
)
RETURNS text
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_bin2ip(bin)
$$;

-- Return a new random key for crypto_ipcrypt_encrypt, 16 bytes.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_ipcrypt_keygen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 15
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_keygen()
$$;

-- Encrypt an IP address of 16 bytes so that equal addresses have equal results. Nothing is authenticated. The key has
-- 16 bytes.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_ipcrypt_encrypt(
    ip bytea,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_encrypt(ip, key)
$$;

-- Encrypt an IP address of 16 bytes so that equal addresses have equal results, under the derived key with this number
-- and context.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_ipcrypt_encrypt(
    ip bytea,
    key_id bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS bytea
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_encrypt_by_id(ip, key_id, context)
$$;

-- Encrypt an IP address so that equal addresses have equal results. The length of a netmask is left out. The result is
-- an IPv6 address. The key has 16 bytes.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_ipcrypt_encrypt(
    ip inet,
    key bytea
)
RETURNS inet
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_inet_encrypt(ip, key)
$$;

-- Decrypt a result of crypto_ipcrypt_encrypt. The key has 16 bytes.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_ipcrypt_decrypt(
    ip bytea,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_decrypt(ip, key)
$$;

-- Decrypt a result of crypto_ipcrypt_encrypt, under the derived key with this number and context.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_ipcrypt_decrypt(
    ip bytea,
    key_id bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS bytea
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_decrypt_by_id(ip, key_id, context)
$$;

-- Decrypt a result of crypto_ipcrypt_encrypt. The key has 16 bytes.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_ipcrypt_decrypt(
    ip inet,
    key bytea
)
RETURNS inet
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_inet_decrypt(ip, key)
$$;

-- Return a new random key for crypto_ipcrypt_pfx_encrypt, 32 bytes.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_ipcrypt_pfx_keygen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 15
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_pfx_keygen()
$$;

-- Encrypt an IP address of 16 bytes so that addresses with a common prefix have results with a common prefix of that
-- length. Nothing is authenticated. The key has 32 bytes, whose halves differ.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_ipcrypt_pfx_encrypt(
    ip bytea,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 300
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_pfx_encrypt(ip, key)
$$;

-- Encrypt an IP address of 16 bytes so that addresses with a common prefix have results with a common prefix of that
-- length, under the derived key with this number and context.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_ipcrypt_pfx_encrypt(
    ip bytea,
    key_id bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS bytea
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE COST 300
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_pfx_encrypt_by_id(ip, key_id, context)
$$;

-- Encrypt an IP address so that addresses with a common prefix have results with a common prefix of that length. The
-- length of a netmask is left out. The result of an IPv4 address is one, too. The key has 32 bytes, whose halves
-- differ.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_ipcrypt_pfx_encrypt(
    ip inet,
    key bytea
)
RETURNS inet
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 300
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_pfx_inet_encrypt(ip, key)
$$;

-- Decrypt a result of crypto_ipcrypt_pfx_encrypt. The key has 32 bytes, whose halves differ.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_ipcrypt_pfx_decrypt(
    ip bytea,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 300
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_pfx_decrypt(ip, key)
$$;

-- Decrypt a result of crypto_ipcrypt_pfx_encrypt, under the derived key with this number and context.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_ipcrypt_pfx_decrypt(
    ip bytea,
    key_id bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS bytea
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE COST 300
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_pfx_decrypt_by_id(ip, key_id, context)
$$;

-- Decrypt a result of crypto_ipcrypt_pfx_encrypt. The key has 32 bytes, whose halves differ.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_ipcrypt_pfx_decrypt(
    ip inet,
    key bytea
)
RETURNS inet
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 300
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_pfx_inet_decrypt(ip, key)
$$;

-- Return a new random key for crypto_ipcrypt_nd_encrypt, 16 bytes.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_ipcrypt_nd_keygen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 15
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_nd_keygen()
$$;

-- Return a new random tweak for crypto_ipcrypt_nd_encrypt, 8 bytes.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.crypto_ipcrypt_nd_tweakgen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 15
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_nd_tweakgen()
$$;

-- Encrypt an IP address of 16 bytes under a tweak of 8 bytes. The result is the tweak and the ciphertext, 24 bytes.
-- Nothing is authenticated. The key has 16 bytes. It needs libsodium 1.0.21 or newer on the server's machine.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_ipcrypt_nd_encrypt(
    ip bytea,
    tweak bytea,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_nd_encrypt(ip, tweak, key)
$$;

-- Encrypt an IP address of 16 bytes under a tweak of 8 bytes and the derived key with this number and context. It needs
-- libsodium 1.0.21 or newer on the server's machine.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_ipcrypt_nd_encrypt(
    ip bytea,
    tweak bytea,
    key_id bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS bytea
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_nd_encrypt_by_id(ip, tweak, key_id, context)
$$;

-- Decrypt a result of crypto_ipcrypt_nd_encrypt. The key has 16 bytes. It needs libsodium 1.0.21 or newer on the
-- server's machine.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_ipcrypt_nd_decrypt(
    ciphertext bytea,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_nd_decrypt(ciphertext, key)
$$;

-- Decrypt a result of crypto_ipcrypt_nd_encrypt, under the derived key with this number and context. It needs libsodium
-- 1.0.21 or newer on the server's machine.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_ipcrypt_nd_decrypt(
    ciphertext bytea,
    key_id bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS bytea
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_nd_decrypt_by_id(ciphertext, key_id, context)
$$;

-- Return a new random key for crypto_ipcrypt_ndx_encrypt, 32 bytes.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_ipcrypt_ndx_keygen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 15
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_ndx_keygen()
$$;

-- Return a new random tweak for crypto_ipcrypt_ndx_encrypt, 16 bytes.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@.crypto_ipcrypt_ndx_tweakgen()
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 15
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_ndx_tweakgen()
$$;

-- Encrypt an IP address of 16 bytes under a tweak of 16 bytes. The result is the tweak and the ciphertext, 32 bytes.
-- Nothing is authenticated. The key has 32 bytes, whose halves differ.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_ipcrypt_ndx_encrypt(
    ip bytea,
    tweak bytea,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_ndx_encrypt(ip, tweak, key)
$$;

-- Encrypt an IP address of 16 bytes under a tweak of 16 bytes and the derived key with this number and context.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_ipcrypt_ndx_encrypt(
    ip bytea,
    tweak bytea,
    key_id bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS bytea
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_ndx_encrypt_by_id(ip, tweak, key_id, context)
$$;

-- Decrypt a result of crypto_ipcrypt_ndx_encrypt. The key has 32 bytes, whose halves differ.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.crypto_ipcrypt_ndx_decrypt(
    ciphertext bytea,
    key bytea
)
RETURNS bytea
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_ndx_decrypt(ciphertext, key)
$$;

-- Decrypt a result of crypto_ipcrypt_ndx_encrypt, under the derived key with this number and context.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_ipcrypt_ndx_decrypt(
    ciphertext bytea,
    key_id bigint,
    context bytea DEFAULT 'pgsodium'
)
RETURNS bytea
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_ndx_decrypt_by_id(ciphertext, key_id, context)
$$;
