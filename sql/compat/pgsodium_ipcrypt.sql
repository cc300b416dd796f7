-- pgsodium's encryption of IP addresses under a key of the key table. Python: compat/by_uuid.py

-- Encrypt an IP address of 16 bytes so that equal addresses have equal results, under the key of this uuid in the key
-- table. It needs the usages encrypt and search, or decrypt.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_ipcrypt_encrypt(
    ip bytea,
    key_uuid uuid
)
RETURNS bytea
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_encrypt_by_uuid(ip, key_uuid)
$$;

-- Encrypt an IP address so that equal addresses have equal results, under the key of this uuid in the key table. It
-- needs the usages encrypt and search, or decrypt.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_ipcrypt_encrypt(
    ip inet,
    key_uuid uuid
)
RETURNS inet
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_inet_encrypt_by_uuid(ip, key_uuid)
$$;

-- Decrypt a result of crypto_ipcrypt_encrypt under the key of this uuid in the key table.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_ipcrypt_decrypt(
    ip bytea,
    key_uuid uuid
)
RETURNS bytea
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_decrypt_by_uuid(ip, key_uuid)
$$;

-- Decrypt a result of crypto_ipcrypt_encrypt under the key of this uuid in the key table.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_ipcrypt_decrypt(
    ip inet,
    key_uuid uuid
)
RETURNS inet
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_inet_decrypt_by_uuid(ip, key_uuid)
$$;

-- Encrypt an IP address of 16 bytes so that common prefixes stay common, under the key of this uuid in the key table.
-- It needs the usages encrypt and search, or decrypt.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_ipcrypt_pfx_encrypt(
    ip bytea,
    key_uuid uuid
)
RETURNS bytea
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE COST 300
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_pfx_encrypt_by_uuid(ip, key_uuid)
$$;

-- Encrypt an IP address so that common prefixes stay common, under the key of this uuid in the key table. It needs the
-- usages encrypt and search, or decrypt.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_ipcrypt_pfx_encrypt(
    ip inet,
    key_uuid uuid
)
RETURNS inet
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE COST 300
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_pfx_inet_encrypt_by_uuid(ip, key_uuid)
$$;

-- Decrypt a result of crypto_ipcrypt_pfx_encrypt under the key of this uuid in the key table.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_ipcrypt_pfx_decrypt(
    ip bytea,
    key_uuid uuid
)
RETURNS bytea
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE COST 300
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_pfx_decrypt_by_uuid(ip, key_uuid)
$$;

-- Decrypt a result of crypto_ipcrypt_pfx_encrypt under the key of this uuid in the key table.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_ipcrypt_pfx_decrypt(
    ip inet,
    key_uuid uuid
)
RETURNS inet
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE COST 300
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_pfx_inet_decrypt_by_uuid(ip, key_uuid)
$$;

-- Encrypt an IP address of 16 bytes under a tweak of 8 bytes and the key of this uuid in the key table. It needs the
-- usages encrypt and search, or decrypt.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_ipcrypt_nd_encrypt(
    ip bytea,
    tweak bytea,
    key_uuid uuid
)
RETURNS bytea
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_nd_encrypt_by_uuid(ip, tweak, key_uuid)
$$;

-- Decrypt a result of crypto_ipcrypt_nd_encrypt under the key of this uuid in the key table.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_ipcrypt_nd_decrypt(
    ciphertext bytea,
    key_uuid uuid
)
RETURNS bytea
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_nd_decrypt_by_uuid(ciphertext, key_uuid)
$$;

-- Encrypt an IP address of 16 bytes under a tweak of 16 bytes and the key of this uuid in the key table. It needs the
-- usages encrypt and search, or decrypt.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_ipcrypt_ndx_encrypt(
    ip bytea,
    tweak bytea,
    key_uuid uuid
)
RETURNS bytea
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_ndx_encrypt_by_uuid(ip, tweak, key_uuid)
$$;

-- Decrypt a result of crypto_ipcrypt_ndx_encrypt under the key of this uuid in the key table.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.crypto_ipcrypt_ndx_decrypt(
    ciphertext bytea,
    key_uuid uuid
)
RETURNS bytea
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].crypto_ipcrypt_ndx_decrypt_by_uuid(ciphertext, key_uuid)
$$;
