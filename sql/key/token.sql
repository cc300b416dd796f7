-- Tokens: ciphertexts that name their key. Python: key/token.py, key/cipher.py

-- Encrypt to a token: AES-256-GCM-SIV under a random nonce, XAES-256-GCM from 1,024 bytes on, or AES-SIV, which gives
-- the same token for the same plaintext. The token authenticates the associated data, and decryption needs it. A NULL
-- plaintext gives NULL.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.token_encrypt(
    key text,
    plaintext bytea,
    associated_data bytea DEFAULT '',
    deterministic boolean DEFAULT false
)
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 60
AS $$
@load@
return GD['pgkeymgr'].token_encrypt(key, plaintext, associated_data, deterministic)
$$;

-- Encrypt to a token: AES-256-GCM-SIV under a random nonce, XAES-256-GCM from 1,024 bytes on, or AES-SIV, which gives
-- the same token for the same plaintext. The token authenticates the associated data, and decryption needs it. A NULL
-- plaintext gives NULL.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.token_encrypt(
    key integer,
    plaintext bytea,
    associated_data bytea DEFAULT '',
    deterministic boolean DEFAULT false
)
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 60
AS $$
@load@
return GD['pgkeymgr'].token_encrypt(key, plaintext, associated_data, deterministic)
$$;

-- Encrypt a text, in UTF-8, as token_encrypt does.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.token_encrypt_text(
    key text,
    plaintext text,
    associated_data bytea DEFAULT '',
    deterministic boolean DEFAULT false
)
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 60
AS $$
@load@
return GD['pgkeymgr'].token_encrypt_text(key, plaintext, associated_data, deterministic)
$$;

-- Encrypt a text, in UTF-8, as token_encrypt does.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.token_encrypt_text(
    key integer,
    plaintext text,
    associated_data bytea DEFAULT '',
    deterministic boolean DEFAULT false
)
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 60
AS $$
@load@
return GD['pgkeymgr'].token_encrypt_text(key, plaintext, associated_data, deterministic)
$$;

-- Verify and decrypt a token. Raise an error if it does not verify, or if its key may not be used. A NULL token gives
-- NULL.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.token_decrypt(
    token bytea,
    associated_data bytea DEFAULT ''
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].token_decrypt(token, associated_data)
$$;

-- Verify and decrypt a token of a text, as token_decrypt does.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.token_decrypt_text(
    token bytea,
    associated_data bytea DEFAULT ''
)
RETURNS text
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].token_decrypt_text(token, associated_data)
$$;

-- Verify and decrypt a token as token_decrypt does, but return NULL for a token that cannot be decrypted. Listings
-- can use this.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.token_try_decrypt(
    token bytea,
    associated_data bytea DEFAULT ''
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 50
AS $$
@load@
return GD['pgkeymgr'].token_try_decrypt(token, associated_data)
$$;

-- Decrypt a token and encrypt it under another key, in the same way. SQL never sees the plaintext.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.token_reencrypt(
    token bytea,
    key text,
    associated_data bytea DEFAULT ''
)
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 100
AS $$
@load@
return GD['pgkeymgr'].token_reencrypt(token, key, associated_data)
$$;

-- Decrypt a token and encrypt it under another key, in the same way. SQL never sees the plaintext.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.token_reencrypt(
    token bytea,
    key integer,
    associated_data bytea DEFAULT ''
)
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 100
AS $$
@load@
return GD['pgkeymgr'].token_reencrypt(token, key, associated_data)
$$;

-- Return the header of a token, without verifying it, and the name and state of its key if the user may use the key.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.token_info(
    token bytea,
    OUT format integer,
    OUT suite text,
    OUT key_id integer,
    OUT key_name text,
    OUT key_state @extschema@.key_state
)
RETURNS record
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 500
AS $$
@load@
return GD['pgkeymgr'].token_info(token)
$$;
