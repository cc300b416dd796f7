-- Tokens: ciphertexts that name their key. Python: key/token.py, key/cipher.py

CREATE FUNCTION @extschema@.token_encrypt(
    key text,
    plaintext bytea,
    associated_data bytea DEFAULT '',
    deterministic boolean DEFAULT false
)
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 600
AS $$
@load@
return GD['pgkeymgr'].token_encrypt(key, plaintext, associated_data, deterministic)
$$;
REVOKE ALL ON FUNCTION @extschema@.token_encrypt(text, bytea, bytea, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.token_encrypt(text, bytea, bytea, boolean) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.token_encrypt(text, bytea, bytea, boolean) IS
    'Encrypt to a token: AES-256-GCM-SIV under a fresh nonce, or AES-SIV, which gives the same token for '
    'the same plaintext. The associated data is authenticated, and needed to decrypt. NULL gives NULL.';

CREATE FUNCTION @extschema@.token_encrypt_text(
    key text,
    plaintext text,
    associated_data bytea DEFAULT '',
    deterministic boolean DEFAULT false
)
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 600
AS $$
@load@
return GD['pgkeymgr'].token_encrypt_text(key, plaintext, associated_data, deterministic)
$$;
REVOKE ALL ON FUNCTION @extschema@.token_encrypt_text(text, text, bytea, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.token_encrypt_text(text, text, bytea, boolean) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.token_encrypt_text(text, text, bytea, boolean) IS
    'token_encrypt for text, as UTF-8.';

CREATE FUNCTION @extschema@.token_encrypt(
    key integer,
    plaintext bytea,
    associated_data bytea DEFAULT '',
    deterministic boolean DEFAULT false
)
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 600
AS $$
@load@
return GD['pgkeymgr'].token_encrypt(key, plaintext, associated_data, deterministic)
$$;
REVOKE ALL ON FUNCTION @extschema@.token_encrypt(integer, bytea, bytea, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.token_encrypt(integer, bytea, bytea, boolean) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.token_encrypt(integer, bytea, bytea, boolean) IS
    'Encrypt to a token: AES-256-GCM-SIV under a fresh nonce, or AES-SIV, which gives the same token for '
    'the same plaintext. The associated data is authenticated, and needed to decrypt. NULL gives NULL.';

CREATE FUNCTION @extschema@.token_encrypt_text(
    key integer,
    plaintext text,
    associated_data bytea DEFAULT '',
    deterministic boolean DEFAULT false
)
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 600
AS $$
@load@
return GD['pgkeymgr'].token_encrypt_text(key, plaintext, associated_data, deterministic)
$$;
REVOKE ALL ON FUNCTION @extschema@.token_encrypt_text(integer, text, bytea, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.token_encrypt_text(integer, text, bytea, boolean) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.token_encrypt_text(integer, text, bytea, boolean) IS
    'token_encrypt for text, as UTF-8.';

CREATE FUNCTION @extschema@.token_decrypt(
    token bytea,
    associated_data bytea DEFAULT ''
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 500
AS $$
@load@
return GD['pgkeymgr'].token_decrypt(token, associated_data)
$$;
REVOKE ALL ON FUNCTION @extschema@.token_decrypt(bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.token_decrypt(bytea, bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.token_decrypt(bytea, bytea) IS
    'Verify and decrypt a token. An error if it does not verify, or if its key may not be used. NULL '
    'gives NULL.';

CREATE FUNCTION @extschema@.token_decrypt_text(
    token bytea,
    associated_data bytea DEFAULT ''
)
RETURNS text
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 500
AS $$
@load@
return GD['pgkeymgr'].token_decrypt_text(token, associated_data)
$$;
REVOKE ALL ON FUNCTION @extschema@.token_decrypt_text(bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.token_decrypt_text(bytea, bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.token_decrypt_text(bytea, bytea) IS
    'token_decrypt for text.';

CREATE FUNCTION @extschema@.token_try_decrypt(
    token bytea,
    associated_data bytea DEFAULT ''
)
RETURNS bytea
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 500
AS $$
@load@
return GD['pgkeymgr'].token_try_decrypt(token, associated_data)
$$;
REVOKE ALL ON FUNCTION @extschema@.token_try_decrypt(bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.token_try_decrypt(bytea, bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.token_try_decrypt(bytea, bytea) IS
    'token_decrypt that gives NULL for a token that does not open, for listings that must survive one.';

CREATE FUNCTION @extschema@.token_reencrypt(
    token bytea,
    key text,
    associated_data bytea DEFAULT ''
)
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 1000
AS $$
@load@
return GD['pgkeymgr'].token_reencrypt(token, key, associated_data)
$$;
REVOKE ALL ON FUNCTION @extschema@.token_reencrypt(bytea, text, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.token_reencrypt(bytea, text, bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.token_reencrypt(bytea, text, bytea) IS
    'Decrypt a token and encrypt it under another key, in the same suite; the plaintext is never in SQL.';

CREATE FUNCTION @extschema@.token_reencrypt(
    token bytea,
    key integer,
    associated_data bytea DEFAULT ''
)
RETURNS bytea
LANGUAGE plpython3u VOLATILE PARALLEL SAFE COST 1000
AS $$
@load@
return GD['pgkeymgr'].token_reencrypt(token, key, associated_data)
$$;
REVOKE ALL ON FUNCTION @extschema@.token_reencrypt(bytea, integer, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.token_reencrypt(bytea, integer, bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.token_reencrypt(bytea, integer, bytea) IS
    'Decrypt a token and encrypt it under another key, in the same suite; the plaintext is never in SQL.';

CREATE FUNCTION @extschema@.token_info(
    token bytea,
    OUT format integer,
    OUT suite text,
    OUT key_id integer,
    OUT key_name text,
    OUT key_state @extschema@.key_state
)
RETURNS record
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 5000
AS $$
@load@
return GD['pgkeymgr'].token_info(token)
$$;
REVOKE ALL ON FUNCTION @extschema@.token_info(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.token_info(bytea) TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.token_info(bytea) IS
    'What a token says of itself, unverified; name and state of its key for those who may use it.';
