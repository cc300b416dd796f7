-- All objects of the extension in the catalog: their properties, the roles that may use them, and those of pgsodium.
BEGIN;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(90);

-- PUBLIC may call functions that involve no secret. pgkeymgr_user may call functions that use a key by its number, uuid,
-- name, token or password, and those that make and check verifiers of passwords. pgkeymgr_admin may call functions that
-- take, make or return a secret key itself, or change the key table.
--
-- Functions that draw random numbers or write are VOLATILE (v). Functions that depend on the root key or the key table,
-- or open something, are STABLE (s), since the planner calls IMMUTABLE (i) functions by itself and stores the result.
-- Functions that write, stretch a password, or exchange sealed messages are PARALLEL UNSAFE (u). Functions that show the
-- session's memory are RESTRICTED (r) to the leader. All others are SAFE (s).
CREATE TEMP TABLE expected (
    identity text, volatility "char", callers text, parallel "char" DEFAULT 's', language name DEFAULT 'plpython3u'
);
INSERT INTO expected (identity, volatility, callers) VALUES
    -- random numbers
    ('randombytes_random()', 'v', 'PUBLIC'),
    ('randombytes_uniform(integer)', 'v', 'PUBLIC'),
    ('randombytes_buf(integer)', 'v', 'PUBLIC'),
    -- nonces and salts
    ('crypto_aead_det_noncegen()', 'v', 'PUBLIC'),
    ('crypto_aead_ietf_noncegen()', 'v', 'PUBLIC'),
    ('crypto_box_noncegen()', 'v', 'PUBLIC'),
    ('crypto_pwhash_saltgen()', 'v', 'PUBLIC'),
    ('crypto_secretbox_noncegen()', 'v', 'PUBLIC'),
    ('crypto_stream_xchacha20_noncegen()', 'v', 'PUBLIC'),
    ('crypto_ipcrypt_nd_tweakgen()', 'v', 'PUBLIC'), ('crypto_ipcrypt_ndx_tweakgen()', 'v', 'PUBLIC'),
    -- without any key
    ('crypto_cmp(text,text)', 'i', 'PUBLIC'),
    ('crypto_ipcrypt_bin2ip(bytea)', 'i', 'PUBLIC'), ('crypto_ipcrypt_ip2bin(text)', 'i', 'PUBLIC'),
    ('crypto_hash_sha256(bytea)', 'i', 'PUBLIC'),
    ('crypto_hash_sha512(bytea)', 'i', 'PUBLIC'),
    ('sodium_base642bin(text)', 'i', 'PUBLIC'),
    ('sodium_bin2base64(bytea)', 'i', 'PUBLIC'),
    ('crypto_sign_init()', 'i', 'PUBLIC'),
    ('crypto_sign_update(bytea,bytea)', 'i', 'PUBLIC'),
    ('crypto_sign_update_agg(bytea)', 'i', 'PUBLIC'),
    ('crypto_sign_update_agg(bytea,bytea)', 'i', 'PUBLIC'),
    ('crypto_sign_update_agg1(bytea,bytea)', 'i', 'PUBLIC'),
    ('crypto_sign_update_agg2(bytea,bytea,bytea)', 'i', 'PUBLIC'),
    -- with a public key only
    ('crypto_box_seal(bytea,bytea)', 'v', 'PUBLIC'),
    ('crypto_sign_final_verify(bytea,bytea,bytea)', 'i', 'PUBLIC'),
    ('crypto_sign_open(bytea,bytea)', 's', 'PUBLIC'),
    ('crypto_sign_verify_detached(bytea,bytea,bytea)', 'i', 'PUBLIC'),
    ('crypto_signcrypt_verify_after(bytea,bytea,bytea,bytea)', 'i', 'PUBLIC'),
    ('crypto_signcrypt_verify_public(bytea,bytea,bytea,bytea,bytea,bytea)', 'i', 'PUBLIC'),

    -- with the number of a key
    ('crypto_aead_det_decrypt(bytea,bytea,bigint,bytea,bytea)', 's', 'pgkeymgr_user'),
    ('crypto_aead_det_encrypt(bytea,bytea,bigint,bytea,bytea)', 's', 'pgkeymgr_user'),
    ('crypto_aead_ietf_decrypt(bytea,bytea,bytea,bigint,bytea)', 's', 'pgkeymgr_user'),
    ('crypto_aead_ietf_encrypt(bytea,bytea,bytea,bigint,bytea)', 's', 'pgkeymgr_user'),
    ('crypto_auth(bytea,bigint,bytea)', 's', 'pgkeymgr_user'),
    ('crypto_auth_verify(bytea,bytea,bigint,bytea)', 's', 'pgkeymgr_user'),
    ('crypto_auth_hmacsha256(bytea,bigint,bytea)', 's', 'pgkeymgr_user'),
    ('crypto_auth_hmacsha256_verify(bytea,bytea,bigint,bytea)', 's', 'pgkeymgr_user'),
    ('crypto_auth_hmacsha512(bytea,bigint,bytea)', 's', 'pgkeymgr_user'),
    ('crypto_auth_hmacsha512_verify(bytea,bytea,bigint,bytea)', 's', 'pgkeymgr_user'),
    ('crypto_generichash(bytea,bigint,bytea)', 's', 'pgkeymgr_user'),
    ('crypto_secretbox(bytea,bytea,bigint,bytea)', 's', 'pgkeymgr_user'),
    ('crypto_secretbox_open(bytea,bytea,bigint,bytea)', 's', 'pgkeymgr_user'),
    ('crypto_shorthash(bytea,bigint,bytea)', 's', 'pgkeymgr_user'),
    ('crypto_stream_xchacha20(bigint,bytea,bigint,bytea)', 's', 'pgkeymgr_user'),
    ('crypto_stream_xchacha20_xor(bytea,bytea,bigint,bytea)', 's', 'pgkeymgr_user'),
    ('crypto_stream_xchacha20_xor_ic(bytea,bytea,bigint,bigint,bytea)', 's', 'pgkeymgr_user'),
    ('crypto_ipcrypt_encrypt(bytea,bigint,bytea)', 's', 'pgkeymgr_user'), ('crypto_ipcrypt_decrypt(bytea,bigint,bytea)', 's', 'pgkeymgr_user'),
    ('crypto_ipcrypt_pfx_encrypt(bytea,bigint,bytea)', 's', 'pgkeymgr_user'),
    ('crypto_ipcrypt_pfx_decrypt(bytea,bigint,bytea)', 's', 'pgkeymgr_user'),
    ('crypto_ipcrypt_nd_encrypt(bytea,bytea,bigint,bytea)', 's', 'pgkeymgr_user'),
    ('crypto_ipcrypt_nd_decrypt(bytea,bigint,bytea)', 's', 'pgkeymgr_user'),
    ('crypto_ipcrypt_ndx_encrypt(bytea,bytea,bigint,bytea)', 's', 'pgkeymgr_user'),
    ('crypto_ipcrypt_ndx_decrypt(bytea,bigint,bytea)', 's', 'pgkeymgr_user'),
    -- a hash whose key is optional; verifiers of passwords
    ('crypto_generichash(bytea,bytea)', 'i', 'pgkeymgr_user'),
    ('crypto_pwhash_str(bytea)', 'v', 'pgkeymgr_user'),
    ('crypto_pwhash_str_verify(bytea,bytea)', 'i', 'pgkeymgr_user'),

    -- the root key
    ('derive_key(bigint,integer,bytea)', 's', 'pgkeymgr_admin'),
    ('pgkeymgr_derive(bigint,integer,bytea)', 's', 'pgkeymgr_admin'),
    ('derive_key_under(bigint,integer,bytea,text)', 's', 'pgkeymgr_admin'),
    ('_problem(bytea,bytea,integer)', 's', 'PUBLIC'),
    -- new secret keys, key pairs and seeds
    ('crypto_aead_det_keygen()', 'v', 'pgkeymgr_admin'),
    ('crypto_aead_ietf_keygen()', 'v', 'pgkeymgr_admin'),
    ('crypto_auth_keygen()', 'v', 'pgkeymgr_admin'),
    ('crypto_auth_hmacsha256_keygen()', 'v', 'pgkeymgr_admin'),
    ('crypto_auth_hmacsha512_keygen()', 'v', 'pgkeymgr_admin'),
    ('crypto_box_new_keypair()', 'v', 'pgkeymgr_admin'),
    ('crypto_box_new_seed()', 'v', 'pgkeymgr_admin'),
    ('crypto_generichash_keygen()', 'v', 'pgkeymgr_admin'),
    ('crypto_ipcrypt_keygen()', 'v', 'pgkeymgr_admin'), ('crypto_ipcrypt_pfx_keygen()', 'v', 'pgkeymgr_admin'),
    ('crypto_ipcrypt_nd_keygen()', 'v', 'pgkeymgr_admin'), ('crypto_ipcrypt_ndx_keygen()', 'v', 'pgkeymgr_admin'),
    ('crypto_kdf_keygen()', 'v', 'pgkeymgr_admin'),
    ('crypto_kx_new_keypair()', 'v', 'pgkeymgr_admin'),
    ('crypto_kx_new_seed()', 'v', 'pgkeymgr_admin'),
    ('crypto_secretbox_keygen()', 'v', 'pgkeymgr_admin'),
    ('crypto_secretstream_keygen()', 'v', 'pgkeymgr_admin'),
    ('crypto_shorthash_keygen()', 'v', 'pgkeymgr_admin'),
    ('crypto_sign_new_keypair()', 'v', 'pgkeymgr_admin'),
    ('crypto_sign_new_seed()', 'v', 'pgkeymgr_admin'),
    ('crypto_signcrypt_new_keypair()', 'v', 'pgkeymgr_admin'),
    ('crypto_stream_xchacha20_keygen()', 'v', 'pgkeymgr_admin'),
    ('randombytes_new_seed()', 'v', 'pgkeymgr_admin'),
    -- with a secret key, seed or password that makes a key
    ('crypto_aead_det_decrypt(bytea,bytea,bytea,bytea)', 's', 'pgkeymgr_admin'),
    ('crypto_aead_det_encrypt(bytea,bytea,bytea,bytea)', 'i', 'pgkeymgr_admin'),
    ('crypto_aead_ietf_decrypt(bytea,bytea,bytea,bytea)', 's', 'pgkeymgr_admin'),
    ('crypto_aead_ietf_encrypt(bytea,bytea,bytea,bytea)', 'i', 'pgkeymgr_admin'),
    ('crypto_auth(bytea,bytea)', 'i', 'pgkeymgr_admin'),
    ('crypto_auth_verify(bytea,bytea,bytea)', 'i', 'pgkeymgr_admin'),
    ('crypto_auth_hmacsha256(bytea,bytea)', 'i', 'pgkeymgr_admin'),
    ('crypto_auth_hmacsha256_verify(bytea,bytea,bytea)', 'i', 'pgkeymgr_admin'),
    ('crypto_auth_hmacsha512(bytea,bytea)', 'i', 'pgkeymgr_admin'),
    ('crypto_auth_hmacsha512_verify(bytea,bytea,bytea)', 'i', 'pgkeymgr_admin'),
    ('crypto_box(bytea,bytea,bytea,bytea)', 'i', 'pgkeymgr_admin'),
    ('crypto_box_open(bytea,bytea,bytea,bytea)', 's', 'pgkeymgr_admin'),
    ('crypto_box_seal_open(bytea,bytea,bytea)', 's', 'pgkeymgr_admin'),
    ('crypto_box_seed_new_keypair(bytea)', 'i', 'pgkeymgr_admin'),
    ('crypto_ipcrypt_encrypt(bytea,bytea)', 'i', 'pgkeymgr_admin'), ('crypto_ipcrypt_decrypt(bytea,bytea)', 'i', 'pgkeymgr_admin'),
    ('crypto_ipcrypt_pfx_encrypt(bytea,bytea)', 'i', 'pgkeymgr_admin'), ('crypto_ipcrypt_pfx_decrypt(bytea,bytea)', 'i', 'pgkeymgr_admin'),
    ('crypto_ipcrypt_nd_encrypt(bytea,bytea,bytea)', 'i', 'pgkeymgr_admin'), ('crypto_ipcrypt_nd_decrypt(bytea,bytea)', 'i', 'pgkeymgr_admin'),
    ('crypto_ipcrypt_ndx_encrypt(bytea,bytea,bytea)', 'i', 'pgkeymgr_admin'), ('crypto_ipcrypt_ndx_decrypt(bytea,bytea)', 'i', 'pgkeymgr_admin'),
    ('crypto_ipcrypt_encrypt(inet,bytea)', 'i', 'pgkeymgr_admin'), ('crypto_ipcrypt_decrypt(inet,bytea)', 'i', 'pgkeymgr_admin'),
    ('crypto_ipcrypt_pfx_encrypt(inet,bytea)', 'i', 'pgkeymgr_admin'), ('crypto_ipcrypt_pfx_decrypt(inet,bytea)', 'i', 'pgkeymgr_admin'),
    ('crypto_kdf_derive_from_key(bigint,bigint,bytea,bytea)', 'i', 'pgkeymgr_admin'),
    ('crypto_kx_client_session_keys(bytea,bytea,bytea)', 'i', 'pgkeymgr_admin'),
    ('crypto_kx_seed_new_keypair(bytea)', 'i', 'pgkeymgr_admin'),
    ('crypto_kx_server_session_keys(bytea,bytea,bytea)', 'i', 'pgkeymgr_admin'),
    ('crypto_pwhash(bytea,bytea)', 'i', 'pgkeymgr_admin'),
    ('crypto_secretbox(bytea,bytea,bytea)', 'i', 'pgkeymgr_admin'),
    ('crypto_secretbox_open(bytea,bytea,bytea)', 's', 'pgkeymgr_admin'),
    ('crypto_shorthash(bytea,bytea)', 'i', 'pgkeymgr_admin'),
    ('crypto_sign(bytea,bytea)', 'i', 'pgkeymgr_admin'),
    ('crypto_sign_detached(bytea,bytea)', 'i', 'pgkeymgr_admin'),
    ('crypto_sign_final_create(bytea,bytea)', 'i', 'pgkeymgr_admin'),
    ('crypto_sign_seed_new_keypair(bytea)', 'i', 'pgkeymgr_admin'),
    ('crypto_signcrypt_sign_after(bytea,bytea,bytea)', 'i', 'pgkeymgr_admin'),
    ('crypto_signcrypt_sign_before(bytea,bytea,bytea,bytea,bytea)', 'v', 'pgkeymgr_admin'),
    ('crypto_signcrypt_verify_before(bytea,bytea,bytea,bytea,bytea,bytea)', 's', 'pgkeymgr_admin'),
    ('crypto_stream_xchacha20(bigint,bytea,bytea)', 'i', 'pgkeymgr_admin'),
    ('crypto_stream_xchacha20_xor(bytea,bytea,bytea)', 'i', 'pgkeymgr_admin'),
    ('crypto_stream_xchacha20_xor_ic(bytea,bytea,bigint,bytea)', 'i', 'pgkeymgr_admin'),
    ('randombytes_buf_deterministic(integer,bytea)', 'i', 'pgkeymgr_admin'),

    -- tokens
    ('token_encrypt(text,bytea,bytea,boolean)', 'v', 'pgkeymgr_user'),
    ('token_encrypt(integer,bytea,bytea,boolean)', 'v', 'pgkeymgr_user'),
    ('token_encrypt_text(text,text,bytea,boolean)', 'v', 'pgkeymgr_user'),
    ('token_encrypt_text(integer,text,bytea,boolean)', 'v', 'pgkeymgr_user'),
    ('token_reencrypt(bytea,text,bytea)', 'v', 'pgkeymgr_user'),
    ('token_reencrypt(bytea,integer,bytea)', 'v', 'pgkeymgr_user'),
    ('token_decrypt(bytea,bytea)', 's', 'pgkeymgr_user'),
    ('token_decrypt_text(bytea,bytea)', 's', 'pgkeymgr_user'),
    ('token_try_decrypt(bytea,bytea)', 's', 'pgkeymgr_user'),
    ('token_info(bytea)', 's', 'pgkeymgr_user'),
    -- a user's own secrets, and the list's functions
    ('wrap_key(bytea)', 'v', 'pgkeymgr_user'),
    ('unwrap_key(bytea)', 's', 'pgkeymgr_user'),
    ('pg_kmgr_wrap(bytea)', 'v', 'pgkeymgr_user'),
    ('pg_kmgr_unwrap(bytea)', 's', 'pgkeymgr_user'),
    ('pg_encrypt(text,bytea)', 'v', 'pgkeymgr_user'),
    ('pg_decrypt(bytea,bytea)', 's', 'pgkeymgr_user'),
    -- with the uuid of a key
    ('crypto_aead_det_decrypt(bytea,bytea,uuid)', 's', 'pgkeymgr_user'),
    ('crypto_aead_det_decrypt(bytea,bytea,uuid,bytea)', 's', 'pgkeymgr_user'),
    ('crypto_aead_det_encrypt(bytea,bytea,uuid)', 's', 'pgkeymgr_user'),
    ('crypto_aead_det_encrypt(bytea,bytea,uuid,bytea)', 's', 'pgkeymgr_user'),
    ('crypto_aead_ietf_decrypt(bytea,bytea,bytea,uuid)', 's', 'pgkeymgr_user'),
    ('crypto_aead_ietf_encrypt(bytea,bytea,bytea,uuid)', 's', 'pgkeymgr_user'),
    ('crypto_auth(bytea,uuid)', 's', 'pgkeymgr_user'),
    ('crypto_auth_verify(bytea,bytea,uuid)', 's', 'pgkeymgr_user'),
    ('crypto_auth_hmacsha256(bytea,uuid)', 's', 'pgkeymgr_user'),
    ('crypto_auth_hmacsha256_verify(bytea,bytea,uuid)', 's', 'pgkeymgr_user'),
    ('crypto_auth_hmacsha512(bytea,uuid)', 's', 'pgkeymgr_user'),
    ('crypto_auth_hmacsha512_verify(bytea,bytea,uuid)', 's', 'pgkeymgr_user'),
    ('crypto_generichash(bytea,uuid)', 's', 'pgkeymgr_user'),
    ('crypto_secretbox(bytea,bytea,uuid)', 's', 'pgkeymgr_user'),
    ('crypto_secretbox_open(bytea,bytea,uuid)', 's', 'pgkeymgr_user'),
    ('crypto_shorthash(bytea,uuid)', 's', 'pgkeymgr_user'),
    ('crypto_ipcrypt_encrypt(bytea,uuid)', 's', 'pgkeymgr_user'), ('crypto_ipcrypt_decrypt(bytea,uuid)', 's', 'pgkeymgr_user'),
    ('crypto_ipcrypt_pfx_encrypt(bytea,uuid)', 's', 'pgkeymgr_user'), ('crypto_ipcrypt_pfx_decrypt(bytea,uuid)', 's', 'pgkeymgr_user'),
    ('crypto_ipcrypt_nd_encrypt(bytea,bytea,uuid)', 's', 'pgkeymgr_user'), ('crypto_ipcrypt_nd_decrypt(bytea,uuid)', 's', 'pgkeymgr_user'),
    ('crypto_ipcrypt_ndx_encrypt(bytea,bytea,uuid)', 's', 'pgkeymgr_user'), ('crypto_ipcrypt_ndx_decrypt(bytea,uuid)', 's', 'pgkeymgr_user'),
    ('crypto_ipcrypt_encrypt(inet,uuid)', 's', 'pgkeymgr_user'), ('crypto_ipcrypt_decrypt(inet,uuid)', 's', 'pgkeymgr_user'),
    ('crypto_ipcrypt_pfx_encrypt(inet,uuid)', 's', 'pgkeymgr_user'), ('crypto_ipcrypt_pfx_decrypt(inet,uuid)', 's', 'pgkeymgr_user'),
    ('crypto_kdf_derive_from_key(integer,bigint,bytea,uuid)', 's', 'pgkeymgr_admin'),
    -- how a key is read; the first is for the owner only
    ('_take_key(integer,bytea,integer,integer,text,text,text,boolean,bigint,integer,bigint,bytea,boolean,boolean,'
        'boolean,oid[],bytea,text,text[],oid,bytea,bytea,boolean,bigint,boolean,boolean)', 's', NULL),
    ('_read_as_owner()', 's', 'PUBLIC');
INSERT INTO expected (identity, volatility, callers, parallel) VALUES
    ('create_data_key(text,integer,timestamp with time zone,text,text)', 'v', 'pgkeymgr_admin', 'u'),
    ('supersede_data_key(text)', 'v', 'pgkeymgr_admin', 'u'),
    ('supersede_data_key(integer)', 'v', 'pgkeymgr_admin', 'u'),
    ('disable_data_key(integer)', 'v', 'pgkeymgr_admin', 'u'),
    ('enable_data_key(integer)', 'v', 'pgkeymgr_admin', 'u'),
    ('destroy_data_key(integer,text,boolean)', 'v', 'pgkeymgr_admin', 'u'),
    ('destroy_data_key(integer,text,interval,boolean)', 'v', 'pgkeymgr_admin', 'u'),
    ('cancel_destroy(integer)', 'v', 'pgkeymgr_admin', 'u'),
    ('limit_encryption(text,timestamp with time zone)', 'v', 'pgkeymgr_admin', 'u'),
    ('limit_encryption(integer,timestamp with time zone)', 'v', 'pgkeymgr_admin', 'u'),
    ('superseded_data_keys(text)', 'v', 'pgkeymgr_admin', 'u'),
    ('superseded_data_keys(integer)', 'v', 'pgkeymgr_admin', 'u'),
    ('prune_data_keys(integer,integer,interval)', 'v', 'pgkeymgr_admin', 'u'),
    ('set_key_policy(integer,interval,integer,interval)', 'v', 'pgkeymgr_admin', 'u'),
    ('prune_data_keys(text,integer,interval)', 'v', 'pgkeymgr_admin', 'u'),
    ('set_key_policy(text,interval,integer,interval)', 'v', 'pgkeymgr_admin', 'u'),
    ('run_key_policies(integer)', 'v', 'pgkeymgr_admin', 'u'),
    ('set_mask(regclass,name,text,boolean)', 'v', 'pgkeymgr_admin', 'u'),
    ('set_mask(regclass,name,regprocedure,boolean)', 'v', 'pgkeymgr_admin', 'u'),
    ('key_dependents(text)', 'v', 'pgkeymgr_admin', 'u'),
    ('key_dependents(integer)', 'v', 'pgkeymgr_admin', 'u'),
    ('set_key_node(integer,integer,integer)', 'v', 'pgkeymgr_admin', 'u'),
    ('follow_key_source(text)', 'v', 'pgkeymgr_admin', 'u'),
    ('make_keys_here()', 'v', 'pgkeymgr_admin', 'u'),
    ('key_node_status()', 's', 'pgkeymgr_admin, pgkeymgr_monitor', 'u'),
    ('move_expiry(text,timestamp with time zone)', 'v', 'pgkeymgr_admin', 'u'),
    ('move_expiry(integer,timestamp with time zone)', 'v', 'pgkeymgr_admin', 'u'),
    ('grant_data_key(text,regrole,text[])', 'v', 'pgkeymgr_admin', 'u'),
    ('grant_data_key(integer,regrole,text[])', 'v', 'pgkeymgr_admin', 'u'),
    ('revoke_data_key(text,regrole,text[])', 'v', 'pgkeymgr_admin', 'u'),
    ('adopt_role(text,regrole)', 'v', 'pgkeymgr_admin', 'u'),
    ('revoke_data_key(integer,regrole,text[])', 'v', 'pgkeymgr_admin', 'u'),
    ('_create_key(key_type,text,bytea,bytea,uuid,bytea,timestamp with time zone,text)', 'v', 'pgkeymgr_admin', 'u'),
    ('import_pgsodium_key(uuid,text,key_type,text,bigint,bytea,bytea,bytea,uuid,timestamp with time zone,text)',
        'v', 'pgkeymgr_admin', 'u'),
    ('create_cryptokey(text,integer,text)', 'v', 'pgkeymgr_user', 'u'),
    ('set_cryptokey(integer,text)', 'v', 'pgkeymgr_user', 'u'),
    ('set_cryptokey(text,text)', 'v', 'pgkeymgr_user', 'u'),
    ('get_cryptokey(integer,text)', 's', 'pgkeymgr_user', 'u'),
    ('get_cryptokey(text,text)', 's', 'pgkeymgr_user', 'u'),
    ('change_cryptokey_password(integer,text,text)', 'v', 'pgkeymgr_user', 'u'),
    ('change_cryptokey_password(text,text,text)', 'v', 'pgkeymgr_user', 'u'),
    ('supersede_cryptokey(integer,integer,text)', 'v', 'pgkeymgr_user', 'u'),
    ('supersede_cryptokey(text,integer,text)', 'v', 'pgkeymgr_user', 'u'),
    ('reencrypt_data(bytea,integer,integer,text)', 'v', 'pgkeymgr_user', 'u'),
    ('reencrypt_data_bytea(bytea,integer,integer,text)', 'v', 'pgkeymgr_user', 'u'),
    ('drop_cryptokey(integer,text)', 'v', 'pgkeymgr_user', 'u'),
    ('drop_cryptokey(text,text)', 'v', 'pgkeymgr_user', 'u'),
    ('_as_owner()', 'v', 'PUBLIC', 'u'),
    -- encrypted columns: what owners of tables call, what views and triggers call
    ('encrypt_column(regclass,name,text,name,boolean,boolean,uuid,text)', 'v', 'pgkeymgr_admin', 'u'),
    ('plan_encrypt_column(regclass,name,text,name,boolean,boolean,text)', 'v', 'pgkeymgr_admin', 'u'),
    ('set_column_compression(regclass,name,text)', 'v', 'pgkeymgr_admin', 'u'),
    ('alter_encrypted_table(regclass,text)', 'v', 'pgkeymgr_admin', 'u'),
    ('refresh_encrypted_view(regclass)', 'v', 'pgkeymgr_admin', 'u'),
    ('finish_update()', 'v', NULL, 'u'),
    ('adopt_encrypted_table(regclass)', 'v', 'pgkeymgr_admin', 'u'),
    ('forget_dropped_table(integer)', 'v', 'pgkeymgr_admin', 'u'),
    ('separate_column(regclass,name)', 'v', 'pgkeymgr_admin', 'u'),
    ('migrate_column(regclass,name,integer)', 'v', 'pgkeymgr_admin', 'u'),
    ('migrate_columns(regclass,name[],integer)', 'v', 'pgkeymgr_admin', 'u'),
    ('rotate_column(regclass,name,integer,boolean)', 'v', 'pgkeymgr_admin', 'u'),
    ('rotate_columns(regclass,name[],integer,boolean)', 'v', 'pgkeymgr_admin', 'u'),
    ('attach_encrypted_partition(regclass,regclass,text,integer)', 'v', 'pgkeymgr_admin', 'u'),
    ('decrypt_column(regclass,name,integer)', 'v', 'pgkeymgr_admin', 'u'),
    ('decrypt_columns(regclass,name[],integer)', 'v', 'pgkeymgr_admin', 'u'),
    ('add_blind_index(regclass,name,text,boolean,text,text,jsonb,boolean)', 'v', 'pgkeymgr_admin', 'u'),
    ('add_blind_index(regclass,name,text,boolean,integer,text,jsonb,boolean)', 'v', 'pgkeymgr_admin', 'u'),
    ('build_blind_index(regclass,name,text,integer,text,text,jsonb,boolean)', 'v', 'pgkeymgr_admin', 'u'),
    ('rotate_blind_index(regclass,name,integer,text,text)', 'v', 'pgkeymgr_admin', 'u'),
    ('blind_index_statements(regclass,name,boolean,text)', 'v', 'pgkeymgr_admin', 'u'),
    ('drop_blind_index(regclass,name,text)', 'v', 'pgkeymgr_admin', 'u'),
    ('blind_index(regclass,name,text)', 's', 'PUBLIC', 's'), ('blind_index(regclass,name,text[])', 's', 'PUBLIC', 's'),
    ('search_terms(regclass,name,text,text)', 's', 'PUBLIC', 's'),
    ('search_range_terms(regclass,name,text,text)', 's', 'PUBLIC', 's'),
    ('search_json_terms(regclass,name,jsonb)', 's', 'PUBLIC', 's'), ('search_key_terms(regclass,name,text)', 's', 'PUBLIC', 's'),
    ('search_path_terms(regclass,name,text[],jsonb)', 's', 'PUBLIC', 's'),
    ('deterministic_tokens(regclass,name,text)', 's', 'PUBLIC', 's'),
    ('_open_text(bytea,bytea,integer)', 's', 'PUBLIC', 's'),
    ('_open_bytes(bytea,bytea,integer)', 's', 'PUBLIC', 's'),
    ('_show_text(bytea,bytea,integer)', 's', 'PUBLIC', 's'),
    ('_show_bytes(bytea,bytea,integer)', 's', 'PUBLIC', 's'),
    ('_show_computed_text(bytea,bytea,integer)', 's', 'PUBLIC', 'u'),
    ('_show_computed_bytes(bytea,bytea,integer)', 's', 'PUBLIC', 'u'),
    ('_check_reads(integer,text)', 'v', 'PUBLIC', 'u'),
    ('_seal_text(integer,text,bytea)', 'v', 'PUBLIC', 'u'),
    ('_seal_bytes(integer,bytea,bytea)', 'v', 'PUBLIC', 'u'),
    ('_seal_deterministic(integer,bytea,bytea)', 'v', 'PUBLIC', 'u'),
    ('_reseal(integer,bytea,bytea,integer)', 'v', 'PUBLIC', 'u'),
    ('_seal_compressed(integer,bytea,bytea)', 'v', 'PUBLIC', 'u'),
    ('_seal_sent_compressed(integer,bytea,bytea)', 'v', 'PUBLIC', 'u'),
    ('_reseal_compressed(integer,bytea,bytea,integer)', 'v', 'PUBLIC', 'u'),
    ('_send_text(text)', 'v', 'PUBLIC', 'u'),
    ('_send_bytes(bytea)', 'v', 'PUBLIC', 'u'),
    ('_take_text(bytea)', 'v', 'PUBLIC', 'u'),
    ('_take_bytes(bytea)', 'v', 'PUBLIC', 'u'),
    ('_seal_sent(integer,bytea,bytea)', 'v', 'PUBLIC', 'u'),
    ('_seal_sent_deterministic(integer,bytea,bytea)', 'v', 'PUBLIC', 'u'),
    ('_is_settled(xid)', 'v', 'PUBLIC', 'u'),
    ('_key_by(integer,text)', 'v', 'PUBLIC', 'u'),
    ('_blind(integer,text,text)', 's', 'PUBLIC', 's'), ('_blind_compound(integer,text,text[])', 's', 'PUBLIC', 's'),
    ('_text_terms(integer,text,text)', 's', 'PUBLIC', 's'), ('_terms(integer,text,text)', 's', 'PUBLIC', 's'),
    ('upsert(regclass,jsonb,name[],text)', 'v', 'PUBLIC', 'u'), ('text_similarity(character varying,character varying)', 'i', 'PUBLIC', 's'),
    ('_after_ddl(oid,oid,text,text,oid)', 'v', NULL, 'u'),
    ('_before_ddl(oid[],boolean,oid)', 'v', NULL, 'u'),
    -- secrets that travel sealed: a user unlocks and changes, an administrator gives and takes away
    ('exchange_offer()', 'v', 'pgkeymgr_user', 'u'),
    ('exchange_fingerprint()', 'v', 'pgkeymgr_user', 'u'),
    ('root_key_status()', 's', 'pgkeymgr_admin, pgkeymgr_monitor', 'u'),
    ('rotate_root_key()', 'v', 'pgkeymgr_admin', 'u'),
    ('verify_column(regclass,name)', 'v', 'pgkeymgr_admin', 'u'),
    ('_count_values(regclass,name)', 'v', 'pgkeymgr_admin', 'u'),
    ('rotate_exchange_key()', 'v', 'pgkeymgr_admin', 'u'),
    ('add_passphrase(text,bytea)', 'v', 'pgkeymgr_admin', 'u'),
    ('add_passphrase(integer,bytea)', 'v', 'pgkeymgr_admin', 'u'),
    ('unlock_data_key(text,bytea,boolean)', 'v', 'pgkeymgr_user', 'u'),
    ('unlock_data_key(integer,bytea,boolean)', 'v', 'pgkeymgr_user', 'u'),
    ('change_passphrase(text,bytea)', 'v', 'pgkeymgr_user', 'u'),
    ('change_passphrase(integer,bytea)', 'v', 'pgkeymgr_user', 'u'),
    ('drop_passphrase(text)', 'v', 'pgkeymgr_admin', 'u'),
    ('drop_passphrase(integer)', 'v', 'pgkeymgr_admin', 'u'),
    ('add_root_wrap(text)', 'v', 'pgkeymgr_admin', 'u'),
    ('add_root_wrap(integer)', 'v', 'pgkeymgr_admin', 'u'),
    ('drop_root_wrap(text)', 'v', 'pgkeymgr_admin', 'u'),
    ('drop_root_wrap(integer)', 'v', 'pgkeymgr_admin', 'u'),
    ('supersede_data_key(text,bytea)', 'v', 'pgkeymgr_admin', 'u'),
    ('supersede_data_key(integer,bytea)', 'v', 'pgkeymgr_admin', 'u'),
    ('import_data_key(text,bytea,timestamp with time zone,text,text,integer,uuid)', 'v', 'pgkeymgr_admin', 'u'),
    ('export_data_key(text,bytea)', 'v', 'pgkeymgr_admin', 'u'),
    ('export_data_key(integer,bytea)', 'v', 'pgkeymgr_admin', 'u'),
    ('create_user_key(bytea)', 'v', 'pgkeymgr_user', 'u'),
    ('unlock_user_key(bytea,boolean)', 'v', 'pgkeymgr_user', 'u'),
    ('change_user_passphrase(bytea)', 'v', 'pgkeymgr_user', 'u'),
    ('rotate_user_key(bytea)', 'v', 'pgkeymgr_user', 'u'),
    ('drop_user_key(regrole,boolean)', 'v', 'pgkeymgr_admin', 'u'),
    ('share_data_key(text,regrole)', 'v', 'pgkeymgr_admin', 'u'),
    ('share_data_key(integer,regrole)', 'v', 'pgkeymgr_admin', 'u'),
    ('unshare_data_key(text,regrole)', 'v', 'pgkeymgr_admin', 'u'),
    ('unshare_data_key(integer,regrole)', 'v', 'pgkeymgr_admin', 'u'),
    ('lock()', 'v', 'pgkeymgr_user', 'u'),
    ('_session_keyring()', 's', 'pgkeymgr_user', 'r'),
    -- secrets as in Supabase Vault
    ('_vault_family(text)', 's', 'pgkeymgr_admin', 'u'),
    ('_vault_seal(integer,uuid,uuid,text,boolean)', 'v', 'pgkeymgr_user', 'u'),
    ('_vault_open(integer,uuid,uuid,text)', 's', 'pgkeymgr_user', 'r'),
    -- the audit trail
    ('verify_key_events(bigint,bytea)', 's', 'pgkeymgr_admin, pgkeymgr_monitor', 'u'),
    ('checkpoint_key_events()', 'v', 'pgkeymgr_admin, pgkeymgr_monitor', 'u'),
    ('_link_key_events()', 'v', NULL, 'u'),
    ('_invalidate_keys()', 'v', NULL, 'u'),
    ('doctor()', 'v', 'pgkeymgr_admin, pgkeymgr_monitor', 'u');
INSERT INTO expected VALUES
    ('create_key(key_type,text,bytea,bytea,uuid,bytea,timestamp with time zone,text)', 'v', 'pgkeymgr_admin', 'u',
        'plpgsql'),
    ('create_vault_schema(name,text)', 'v', 'pgkeymgr_admin', 'u', 'plpgsql'),
    ('_vault_encrypt()', 'v', 'pgkeymgr_admin', 'u', 'plpgsql'),
    ('_delete_wraps()', 'v', NULL, 'u', 'plpgsql'),
    ('_report_key_change()', 'v', NULL, 'u', 'plpgsql'),
    ('_only_grow()', 'v', NULL, 'u', 'plpgsql'),
    ('_keep_keys()', 'v', NULL, 'u', 'plpgsql'),
    ('_name_role()', 'v', NULL, 'u', 'plpgsql'),
    ('_load_key(integer,text,uuid,integer,oid,boolean)', 's', NULL, 's', 'plpgsql'),
    ('_to_text(anyelement)', 's', 'PUBLIC', 's', 'plpgsql'),
    ('_from_text(text,anyelement)', 's', 'PUBLIC', 's', 'plpgsql'),
    ('_is_own(xid)', 'v', 'PUBLIC', 'u', 'plpgsql'),
    ('_is_deterministic_token(bytea)', 'i', 'PUBLIC', 's', 'plpgsql'),
    ('_is_token(bytea)', 'i', 'PUBLIC', 's', 'plpgsql'),
    ('_note_loaded()', 'v', NULL, 'u', 'plpgsql'),
    ('_granted()', 'v', NULL, 'u', 'plpgsql'),
    ('_concerned()', 'v', NULL, 'u', 'plpgsql'),
    ('_find_by_name()', 'v', NULL, 'u', 'plpgsql'),
    ('_using_types(oid[])', 's', NULL, 'u', 'plpgsql'),
    ('_invoker()', 's', NULL, 'u', 'sql'),
    ('_on_ddl()', 'v', NULL, 'u', 'plpgsql'),
    ('_on_drop()', 'v', NULL, 'u', 'plpgsql'),
    ('_on_start()', 'v', NULL, 'u', 'plpgsql'),
    ('_refuse_attach(text)', 's', NULL, 'u', 'plpgsql'),
    ('_intended_privileges()', 's', NULL, 'u', 'sql'),
    ('_view_definition(oid)', 's', 'PUBLIC', 's', 'sql'),
    ('_revoke_all(regclass,oid[])', 'v', NULL, 'u', 'plpgsql'),
    ('_set_privileges()', 'v', NULL, 'u', 'plpgsql'),
    ('get_key_by_id(uuid)', 's', 'pgkeymgr_user', 's', 'sql'),
    ('get_key_by_name(text)', 's', 'pgkeymgr_user', 's', 'sql'),
    ('get_named_keys(text)', 's', 'pgkeymgr_user', 's', 'sql'),
    ('search_within(regclass,text,integer[],anyelement,anyrange)', 's', 'PUBLIC', 's', 'sql'),
    ('search_network(regclass,text,integer[],inet,inet)', 's', 'PUBLIC', 's', 'sql'),
    ('search_json(regclass,text,integer[],jsonb,jsonb)', 's', 'PUBLIC', 's', 'sql'),
    ('search_json_key(regclass,text,integer[],jsonb,text)', 's', 'PUBLIC', 's', 'sql'),
    ('search_json_path(regclass,text,integer[],jsonb,text[],jsonb)', 's', 'PUBLIC', 's', 'sql');
INSERT INTO expected SELECT f || '(regclass,text,smallint[],text,text)', 's', 'PUBLIC', 's', 'sql'
FROM unnest('{search_like,search_ilike,search_prefix,search_suffix,search_contains}'::text[]) AS f
UNION ALL SELECT 'search_similar(regclass,text,smallint[],text,text,real)', 's', 'PUBLIC', 's', 'sql';
INSERT INTO expected SELECT format('_terms_%s(%s[],%2$s[])', f, t), 'i', 'PUBLIC', 's', 'internal'
FROM unnest('{contain,overlap}'::text[]) AS f, unnest('{smallint,integer}'::text[]) AS t;
-- Functions that look up keys are not parallel safe before PostgreSQL 17.
UPDATE expected SET parallel = CASE
        WHEN identity ~ '^(_blind_compound|_load_key|_read_as_owner|_take_key|blind_index|deterministic_tokens|search_)' THEN 'u' ELSE 'r'
    END
WHERE parallel = 's' AND current_setting('server_version_num')::int < 170000
    AND identity ~ '^(_blind|_load_key|_open_|_problem|_read_as_owner|_show_(bytes|text)|_take_key|_terms\(|_text_terms|blind_index\(|deterministic_tokens|search_|token_|crypto_.*\muuid\M)';
UPDATE expected SET language = 'internal' WHERE identity LIKE 'crypto_sign_update_agg(%';

CREATE TEMP VIEW members AS
SELECT classid, objid FROM pg_depend
WHERE deptype = 'e' AND refclassid = 'pg_extension'::regclass
    AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pgkeymgr');
CREATE TEMP VIEW functions AS
SELECT objid::regprocedure::text AS identity, pg_proc.*
FROM members JOIN pg_proc ON classid = 'pg_proc'::regclass AND objid = pg_proc.oid;

-- Two functions and those of IP addresses give NULL for NULL, as in pgsodium, and so do the functions that are called for each value of a column.
-- Functions that read and write the tables of the extension run with the rights of its owner. No role may grant the
-- functions that it may call.
SELECT set_eq(
    $$SELECT identity, provolatile, proparallel, proisstrict, prosecdef, lanname, callers
    FROM functions JOIN pg_language ON pg_language.oid = prolang, LATERAL (
        SELECT string_agg(
            CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END
                || CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END, ', '
        ) AS callers
        FROM aclexplode(coalesce(proacl, acldefault('f', proowner))) WHERE grantee <> proowner
    ) AS acl$$,
    $$SELECT identity, volatility, parallel,
        identity IN ('crypto_cmp(text,text)', 'crypto_kx_seed_new_keypair(bytea)')
            OR identity ~ '^crypto_ipcrypt_' AND identity !~ '\(\)$'
            OR identity ~ '^_(vault_seal|vault_open|open|show|seal|reseal|send|take_text|take_bytes|is_settled|is_token|is_deterministic|blind|terms|text_terms|to_text)|^text_similarity' AS strict,
        identity IN ('_load_key(integer,text,uuid,integer,oid,boolean)', '_as_owner()', '_read_as_owner()', '_report_key_change()', '_on_ddl()', '_on_drop()', '_keep_keys()', '_on_start()', '_link_key_events()')
            AS security_definer,
        language, callers
    FROM expected$$,
    'the functions'
);
SELECT is(
    array_agg(identity), NULL, 'what is SECURITY DEFINER or holds SQL has its search_path pinned'
) FROM functions JOIN pg_language ON pg_language.oid = prolang
WHERE (prosecdef OR lanname IN ('sql', 'plpgsql')) AND proconfig[1] IS DISTINCT FROM 'search_path=pg_catalog, pg_temp'
    -- These are called for each row, where a setting would cost more than the function, or become a part of the query,
    -- which a setting would prevent. Their names are qualified.
    AND identity NOT IN ('_is_token(bytea)', '_is_deterministic_token(bytea)')
    AND NOT (lanname = 'sql' AND identity ~ '^search_');
SELECT set_eq(
    $$SELECT identity FROM functions WHERE prokind = 'a'$$,
    ARRAY['crypto_sign_update_agg(bytea)', 'crypto_sign_update_agg(bytea,bytea)'], 'the aggregates'
);
SELECT set_eq(
    $$SELECT typname, string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum)
    FROM members JOIN pg_type ON classid = 'pg_type'::regclass AND objid = pg_type.oid
        -- Since PostgreSQL 17 the row types of tables and views are members too.
        JOIN pg_class ON pg_class.oid = typrelid AND relkind = 'c'
        JOIN pg_attribute ON attrelid = typrelid
    GROUP BY typname$$,
    $$VALUES
    ('crypto_box_keypair'::name, 'public bytea, secret bytea'),
    ('crypto_kx_keypair', 'public bytea, secret bytea'),
    ('crypto_kx_session', 'rx bytea, tx bytea'),
    ('crypto_sign_keypair', 'public bytea, secret bytea'),
    ('crypto_signcrypt_keypair', 'public bytea, secret bytea'),
    ('crypto_signcrypt_state_key', 'state bytea, shared_key bytea')$$,
    'the types'
);
SELECT set_eq(
    $$SELECT typname, string_agg(enumlabel, ', ' ORDER BY enumsortorder)
    FROM members JOIN pg_enum ON classid = 'pg_type'::regclass AND enumtypid = objid JOIN pg_type ON pg_type.oid = objid
    GROUP BY typname$$,
    $$VALUES
    ('column_state'::name, 'migrating, encrypted, rotating, decrypting'),
    ('key_state', 'enabled, disabled, destroyed'),
    ('key_status', 'default, valid, invalid, expired'),
    ('key_type', 'data, cryptokey, aead-ietf, aead-det, hmacsha512, hmacsha256, auth, shorthash, generichash, kdf, '
        || 'secretbox, secretstream, stream_xchacha20, ipcrypt-det, ipcrypt-pfx, ipcrypt-nd, ipcrypt-ndx'),
    ('wrap_kind', 'root, passphrase, user')$$,
    'the enums'
);
SELECT set_eq(
    $$SELECT relkind, objid::regclass::text, (
        SELECT string_agg(
            CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END || ': ' || privilege_type, ', '
        )
        FROM aclexplode(relacl) WHERE grantee <> relowner
    ), reloptions
    FROM members JOIN pg_class ON classid = 'pg_class'::regclass AND objid = pg_class.oid
    WHERE relkind <> 'c'$$,
    $$VALUES
    ('r'::"char", 'key', NULL, NULL::text[]),
    ('r', 'key_wrap', NULL, NULL),
    ('r', 'key_grant', NULL, NULL),
    ('r', 'user_key', NULL, NULL),
    ('r', 'server_key', NULL, NULL),
    ('r', 'root_key_fingerprint', NULL, NULL),
    ('r', 'key_event', NULL, NULL),
    ('r', 'key_event_turn', NULL, NULL),
    ('r', 'key_change', NULL, NULL),
    ('r', 'keys_not_destroyed', NULL, NULL),
    ('r', 'key_node', NULL, NULL),
    ('r', 'key_source', NULL, NULL),
    ('S', 'key_id_seq', NULL, NULL),
    ('r', 'encrypted_relation', NULL, NULL),
    ('r', 'encrypted_column', NULL, NULL),
    ('r', 'encrypted_constraint', NULL, NULL),
    ('r', 'column_mask', NULL, NULL),
    ('r', 'key_policy', NULL, NULL),
    ('v', 'key_policies', 'pgkeymgr_monitor: SELECT', '{security_barrier=true}'),
    ('r', 'encrypted_terms', NULL, NULL),
    ('r', 'encrypted_partition', NULL, NULL),
    ('r', 'column_operation', NULL, '{fillfactor=10}'),
    ('r', 'operation_leaf', NULL, NULL),
    ('r', 'column_turn', NULL, NULL),
    ('S', 'encrypted_relation_id_seq', NULL, NULL),
    ('S', 'encrypted_column_id_seq', NULL, NULL),
    ('v', 'encrypted_columns', 'pgkeymgr_monitor: SELECT, pgkeymgr_user: SELECT', '{security_barrier=true}'),
    ('v', 'encrypted_tables', 'PUBLIC: SELECT', '{security_barrier=true}'),
    ('v', 'column_progress', 'pgkeymgr_monitor: SELECT, pgkeymgr_user: SELECT', '{security_barrier=true}'),
    ('v', 'dropped_encrypted_columns', 'pgkeymgr_monitor: SELECT, pgkeymgr_user: SELECT', '{security_barrier=true}'),
    ('v', 'partition_progress', 'pgkeymgr_monitor: SELECT, pgkeymgr_user: SELECT', '{security_barrier=true}'),
    ('v', 'data_keys', 'pgkeymgr_user: SELECT', '{security_barrier=true}'),
    ('v', 'key_events', 'pgkeymgr_admin: SELECT, pgkeymgr_monitor: SELECT', '{security_barrier=true}'),
    ('v', 'key_versions', 'pgkeymgr_monitor: SELECT', '{security_barrier=true}'),
    ('v', 'key_usage', 'pgkeymgr_monitor: SELECT', '{security_barrier=true}'),
    ('v', 'key_grants', 'pgkeymgr_monitor: SELECT', '{security_barrier=true}'),
    ('v', 'column_grants', 'pgkeymgr_monitor: SELECT', '{security_barrier=true}'),
    -- Without a barrier: its function gives a user no rows but his own.
    ('v', 'session_keyring', 'pgkeymgr_user: SELECT', NULL),
    ('v', 'valid_key', 'pgkeymgr_user: SELECT', '{security_barrier=true}'),
    ('v', 'pgcryptokey', 'pgkeymgr_admin: SELECT', '{security_barrier=true}')$$,
    'tables and sequences are for nobody but the owner, the views show what they may'
);
SELECT set_eq(
    $$SELECT tgrelid::regclass::text, tgname, tgfoid::regprocedure::text, tgtype, tgdeferrable, tginitdeferred, tgenabled
    FROM members JOIN pg_trigger ON classid = 'pg_class'::regclass AND objid = tgrelid WHERE NOT tgisinternal$$,
    -- The type's bits: row 1, before 2, INSERT 4, DELETE 8, UPDATE 16, TRUNCATE 32.
    $$VALUES
    ('key', 'delete_wraps'::name, '_delete_wraps()', 1 + 8, false, false, 'O'::"char"),
    ('key_event', 'only_grow', '_only_grow()', 1 + 2 + 8 + 16, false, false, 'O'),
    ('key_event', 'only_grow_whole', '_only_grow()', 2 + 32, false, false, 'O'),
    ('key_event', 'link_key_events', '_link_key_events()', 1 + 4, true, true, 'O'),
    -- Also in a restore and on a logical replica.
    ('key', 'name_role', '_name_role()', 1 + 2 + 4 + 16, false, false, 'A'),
    ('key_grant', 'name_role', '_name_role()', 1 + 2 + 4 + 16, false, false, 'A'),
    ('user_key', 'name_role', '_name_role()', 1 + 2 + 4 + 16, false, false, 'A'),
    ('key', 'report_change', '_report_key_change()', 1 + 4 + 8 + 16, false, false, 'A'),
    ('key', 'report_truncate', '_report_key_change()', 32, false, false, 'A'),
    ('key_wrap', 'report_change', '_report_key_change()', 1 + 4 + 8 + 16, false, false, 'A'),
    ('key_wrap', 'report_truncate', '_report_key_change()', 32, false, false, 'A'),
    ('key_grant', 'report_change', '_report_key_change()', 1 + 4 + 8 + 16, false, false, 'A'),
    ('key_grant', 'report_truncate', '_report_key_change()', 32, false, false, 'A'),
    ('user_key', 'report_change', '_report_key_change()', 1 + 4 + 8 + 16, false, false, 'A'),
    ('user_key', 'report_truncate', '_report_key_change()', 32, false, false, 'A'),
    ('column_mask', 'report_change', '_report_key_change()', 1 + 4 + 8 + 16, false, false, 'A'),
    ('column_mask', 'report_truncate', '_report_key_change()', 32, false, false, 'A'),
    ('encrypted_relation', 'find_by_name', '_find_by_name()', 1 + 2 + 4 + 16, false, false, 'A'),
    ('encrypted_column', 'find_by_name', '_find_by_name()', 1 + 2 + 4 + 16, false, false, 'A'),
    -- In a restore, and not on a logical replica.
    ('encrypted_relation', 'note_loaded', '_note_loaded()', 1 + 2 + 4, false, false, 'O')$$,
    'the triggers'
);
SELECT is(
    array_agg(format('%s: %s', attrelid::regclass, attname)), NULL, 'no column has privileges of its own'
) FROM members JOIN pg_attribute ON classid = 'pg_class'::regclass AND attrelid = objid WHERE attacl IS NOT NULL;
SELECT set_eq(
    -- test/python/test_restore.py has what the conditions are for.
    $$SELECT dumped::regclass::text, regexp_replace(condition, '^AS stored .*_name\) AS dumped', '(by name)')
    FROM pg_extension, unnest(extconfig, extcondition) AS config (dumped, condition) WHERE extname = 'pgkeymgr'$$,
    $$VALUES ('key', '(by name)'), ('key_wrap', ''), ('key_node', ''), ('key_source', ''),
    ('key_grant', '(by name) WHERE dumped.grantee_name IS NOT NULL'), ('key_id_seq', ''),
    ('encrypted_relation', '(by name)'), ('encrypted_relation_id_seq', ''), ('encrypted_column', '(by name)'),
    ('encrypted_column_id_seq', ''), ('encrypted_terms', ''), ('encrypted_constraint', ''), ('column_operation', ''),
    ('column_mask', ''), ('key_policy', ''),
    ('user_key', '(by name)'), ('server_key', ''), ('root_key_fingerprint', ''), ('key_event', '')$$,
    'what pg_dump takes along, all of it'
);
SELECT is(
    array_agg(pg_describe_object(classid, objid, 0)), NULL, 'each of them has a comment'
) FROM members
-- Not what is there for another's sake: an identity column's sequence, a table's row type.
WHERE obj_description(objid, classid::regclass::text::name) IS NULL AND NOT EXISTS (
    SELECT FROM pg_depend WHERE pg_depend.classid = members.classid AND pg_depend.objid = members.objid
        AND deptype = 'i'
);
SELECT is(
    array_agg(identity), NULL, 'all are in the extension''s schema'
) FROM functions WHERE pronamespace <> 'pgkeymgr'::regnamespace;

-- pgsodium 3.1.11's functions, their arguments and results. Where it has no names for arguments we have. Its
-- pgsodium_derive is our pgkeymgr_derive.
CREATE TEMP TABLE pgsodium (name text, arguments text, result text);
COPY pgsodium FROM stdin;
create_key	key_type key_type DEFAULT 'aead-det'::key_type, name text DEFAULT NULL::text, raw_key bytea DEFAULT NULL::bytea, raw_key_nonce bytea DEFAULT NULL::bytea, parent_key uuid DEFAULT NULL::uuid, key_context bytea DEFAULT 'pgsodium', expires timestamp with time zone DEFAULT NULL::timestamp with time zone, associated_data text DEFAULT ''::text	valid_key
crypto_aead_det_decrypt	ciphertext bytea, additional bytea, key bytea, nonce bytea DEFAULT NULL::bytea	bytea
crypto_aead_det_decrypt	message bytea, additional bytea, key_id bigint, context bytea DEFAULT 'pgsodium', nonce bytea DEFAULT NULL::bytea	bytea
crypto_aead_det_decrypt	message bytea, additional bytea, key_uuid uuid	bytea
crypto_aead_det_decrypt	message bytea, additional bytea, key_uuid uuid, nonce bytea	bytea
crypto_aead_det_encrypt	message bytea, additional bytea, key bytea, nonce bytea DEFAULT NULL::bytea	bytea
crypto_aead_det_encrypt	message bytea, additional bytea, key_id bigint, context bytea DEFAULT 'pgsodium', nonce bytea DEFAULT NULL::bytea	bytea
crypto_aead_det_encrypt	message bytea, additional bytea, key_uuid uuid	bytea
crypto_aead_det_encrypt	message bytea, additional bytea, key_uuid uuid, nonce bytea	bytea
crypto_aead_det_keygen		bytea
crypto_aead_det_noncegen		bytea
crypto_aead_ietf_decrypt	message bytea, additional bytea, nonce bytea, key bytea	bytea
crypto_aead_ietf_decrypt	message bytea, additional bytea, nonce bytea, key_id bigint, context bytea DEFAULT 'pgsodium'	bytea
crypto_aead_ietf_decrypt	message bytea, additional bytea, nonce bytea, key_uuid uuid	bytea
crypto_aead_ietf_encrypt	message bytea, additional bytea, nonce bytea, key bytea	bytea
crypto_aead_ietf_encrypt	message bytea, additional bytea, nonce bytea, key_id bigint, context bytea DEFAULT 'pgsodium'	bytea
crypto_aead_ietf_encrypt	message bytea, additional bytea, nonce bytea, key_uuid uuid	bytea
crypto_aead_ietf_keygen		bytea
crypto_aead_ietf_noncegen		bytea
crypto_auth	message bytea, key bytea	bytea
crypto_auth	message bytea, key_id bigint, context bytea DEFAULT 'pgsodium'	bytea
crypto_auth	message bytea, key_uuid uuid	bytea
crypto_auth_hmacsha256	message bytea, key_id bigint, context bytea DEFAULT 'pgsodium'	bytea
crypto_auth_hmacsha256	message bytea, key_uuid uuid	bytea
crypto_auth_hmacsha256	message bytea, secret bytea	bytea
crypto_auth_hmacsha256_keygen		bytea
crypto_auth_hmacsha256_verify	hash bytea, message bytea, key_id bigint, context bytea DEFAULT 'pgsodium'	boolean
crypto_auth_hmacsha256_verify	hash bytea, message bytea, secret bytea	boolean
crypto_auth_hmacsha256_verify	signature bytea, message bytea, key_uuid uuid	boolean
crypto_auth_hmacsha512	message bytea, key_id bigint, context bytea DEFAULT 'pgsodium'	bytea
crypto_auth_hmacsha512	message bytea, key_uuid uuid	bytea
crypto_auth_hmacsha512	message bytea, secret bytea	bytea
crypto_auth_hmacsha512_keygen		bytea
crypto_auth_hmacsha512_verify	hash bytea, message bytea, key_id bigint, context bytea DEFAULT 'pgsodium'	boolean
crypto_auth_hmacsha512_verify	hash bytea, message bytea, secret bytea	boolean
crypto_auth_hmacsha512_verify	signature bytea, message bytea, key_uuid uuid	boolean
crypto_auth_keygen		bytea
crypto_auth_verify	mac bytea, message bytea, key bytea	boolean
crypto_auth_verify	mac bytea, message bytea, key_id bigint, context bytea DEFAULT 'pgsodium'	boolean
crypto_auth_verify	mac bytea, message bytea, key_uuid uuid	boolean
crypto_box	message bytea, nonce bytea, public bytea, secret bytea	bytea
crypto_box_new_keypair		crypto_box_keypair
crypto_box_new_seed		bytea
crypto_box_noncegen		bytea
crypto_box_open	ciphertext bytea, nonce bytea, public bytea, secret bytea	bytea
crypto_box_seal	message bytea, public_key bytea	bytea
crypto_box_seal_open	ciphertext bytea, public_key bytea, secret_key bytea	bytea
crypto_box_seed_new_keypair	seed bytea	crypto_box_keypair
crypto_cmp	one text, other text	boolean
crypto_generichash	message bytea, key bigint, context bytea DEFAULT 'pgsodium'	bytea
crypto_generichash	message bytea, key bytea DEFAULT NULL::bytea	bytea
crypto_generichash	message bytea, key_uuid uuid	bytea
crypto_generichash_keygen		bytea
crypto_hash_sha256	message bytea	bytea
crypto_hash_sha512	message bytea	bytea
crypto_ipcrypt_bin2ip	bin bytea	text
crypto_ipcrypt_decrypt	ip bytea, key bytea	bytea
crypto_ipcrypt_decrypt	ip bytea, key_id bigint, context bytea DEFAULT 'pgsodium'	bytea
crypto_ipcrypt_decrypt	ip bytea, key_uuid uuid	bytea
crypto_ipcrypt_decrypt	ip inet, key bytea	inet
crypto_ipcrypt_decrypt	ip inet, key_uuid uuid	inet
crypto_ipcrypt_encrypt	ip bytea, key bytea	bytea
crypto_ipcrypt_encrypt	ip bytea, key_id bigint, context bytea DEFAULT 'pgsodium'	bytea
crypto_ipcrypt_encrypt	ip bytea, key_uuid uuid	bytea
crypto_ipcrypt_encrypt	ip inet, key bytea	inet
crypto_ipcrypt_encrypt	ip inet, key_uuid uuid	inet
crypto_ipcrypt_ip2bin	ip text	bytea
crypto_ipcrypt_keygen		bytea
crypto_ipcrypt_nd_decrypt	ciphertext bytea, key bytea	bytea
crypto_ipcrypt_nd_decrypt	ciphertext bytea, key_id bigint, context bytea DEFAULT 'pgsodium'	bytea
crypto_ipcrypt_nd_decrypt	ciphertext bytea, key_uuid uuid	bytea
crypto_ipcrypt_nd_encrypt	ip bytea, tweak bytea, key bytea	bytea
crypto_ipcrypt_nd_encrypt	ip bytea, tweak bytea, key_id bigint, context bytea DEFAULT 'pgsodium'	bytea
crypto_ipcrypt_nd_encrypt	ip bytea, tweak bytea, key_uuid uuid	bytea
crypto_ipcrypt_nd_keygen		bytea
crypto_ipcrypt_nd_tweakgen		bytea
crypto_ipcrypt_ndx_decrypt	ciphertext bytea, key bytea	bytea
crypto_ipcrypt_ndx_decrypt	ciphertext bytea, key_id bigint, context bytea DEFAULT 'pgsodium'	bytea
crypto_ipcrypt_ndx_decrypt	ciphertext bytea, key_uuid uuid	bytea
crypto_ipcrypt_ndx_encrypt	ip bytea, tweak bytea, key bytea	bytea
crypto_ipcrypt_ndx_encrypt	ip bytea, tweak bytea, key_id bigint, context bytea DEFAULT 'pgsodium'	bytea
crypto_ipcrypt_ndx_encrypt	ip bytea, tweak bytea, key_uuid uuid	bytea
crypto_ipcrypt_ndx_keygen		bytea
crypto_ipcrypt_ndx_tweakgen		bytea
crypto_ipcrypt_pfx_decrypt	ip bytea, key bytea	bytea
crypto_ipcrypt_pfx_decrypt	ip bytea, key_id bigint, context bytea DEFAULT 'pgsodium'	bytea
crypto_ipcrypt_pfx_decrypt	ip bytea, key_uuid uuid	bytea
crypto_ipcrypt_pfx_decrypt	ip inet, key bytea	inet
crypto_ipcrypt_pfx_decrypt	ip inet, key_uuid uuid	inet
crypto_ipcrypt_pfx_encrypt	ip bytea, key bytea	bytea
crypto_ipcrypt_pfx_encrypt	ip bytea, key_id bigint, context bytea DEFAULT 'pgsodium'	bytea
crypto_ipcrypt_pfx_encrypt	ip bytea, key_uuid uuid	bytea
crypto_ipcrypt_pfx_encrypt	ip inet, key bytea	inet
crypto_ipcrypt_pfx_encrypt	ip inet, key_uuid uuid	inet
crypto_ipcrypt_pfx_keygen		bytea
crypto_kdf_derive_from_key	subkey_size bigint, subkey_id bigint, context bytea, primary_key bytea	bytea
crypto_kdf_derive_from_key	subkey_size integer, subkey_id bigint, context bytea, primary_key uuid	bytea
crypto_kdf_keygen		bytea
crypto_kx_client_session_keys	client_pk bytea, client_sk bytea, server_pk bytea	crypto_kx_session
crypto_kx_new_keypair		crypto_kx_keypair
crypto_kx_new_seed		bytea
crypto_kx_seed_new_keypair	seed bytea	crypto_kx_keypair
crypto_kx_server_session_keys	server_pk bytea, server_sk bytea, client_pk bytea	crypto_kx_session
crypto_pwhash	password bytea, salt bytea	bytea
crypto_pwhash_saltgen		bytea
crypto_pwhash_str	password bytea	bytea
crypto_pwhash_str_verify	hashed_password bytea, password bytea	boolean
crypto_secretbox	message bytea, nonce bytea, key bytea	bytea
crypto_secretbox	message bytea, nonce bytea, key_id bigint, context bytea DEFAULT 'pgsodium'	bytea
crypto_secretbox	message bytea, nonce bytea, key_uuid uuid	bytea
crypto_secretbox_keygen		bytea
crypto_secretbox_noncegen		bytea
crypto_secretbox_open	ciphertext bytea, nonce bytea, key bytea	bytea
crypto_secretbox_open	message bytea, nonce bytea, key_id bigint, context bytea DEFAULT 'pgsodium'	bytea
crypto_secretbox_open	message bytea, nonce bytea, key_uuid uuid	bytea
crypto_secretstream_keygen		bytea
crypto_shorthash	message bytea, key bigint, context bytea DEFAULT 'pgsodium'	bytea
crypto_shorthash	message bytea, key bytea	bytea
crypto_shorthash	message bytea, key_uuid uuid	bytea
crypto_shorthash_keygen		bytea
crypto_sign	message bytea, key bytea	bytea
crypto_sign_detached	message bytea, key bytea	bytea
crypto_sign_final_create	state bytea, key bytea	bytea
crypto_sign_final_verify	state bytea, signature bytea, key bytea	boolean
crypto_sign_init		bytea
crypto_sign_new_keypair		crypto_sign_keypair
crypto_sign_new_seed		bytea
crypto_sign_open	signed_message bytea, key bytea	bytea
crypto_sign_seed_new_keypair	seed bytea	crypto_sign_keypair
crypto_sign_update	state bytea, message bytea	bytea
crypto_sign_update_agg	message bytea	bytea
crypto_sign_update_agg	state bytea, message bytea	bytea
crypto_sign_update_agg1	state bytea, message bytea	bytea
crypto_sign_update_agg2	cur_state bytea, initial_state bytea, message bytea	bytea
crypto_sign_verify_detached	sig bytea, message bytea, key bytea	boolean
crypto_signcrypt_new_keypair		crypto_signcrypt_keypair
crypto_signcrypt_sign_after	state bytea, sender_sk bytea, ciphertext bytea	bytea
crypto_signcrypt_sign_before	sender bytea, recipient bytea, sender_sk bytea, recipient_pk bytea, additional bytea	crypto_signcrypt_state_key
crypto_signcrypt_verify_after	state bytea, signature bytea, sender_pk bytea, ciphertext bytea	boolean
crypto_signcrypt_verify_before	signature bytea, sender bytea, recipient bytea, additional bytea, sender_pk bytea, recipient_sk bytea	crypto_signcrypt_state_key
crypto_signcrypt_verify_public	signature bytea, sender bytea, recipient bytea, additional bytea, sender_pk bytea, ciphertext bytea	boolean
crypto_stream_xchacha20	size bigint, nonce bytea, key bytea	bytea
crypto_stream_xchacha20	size bigint, nonce bytea, key_id bigint, context bytea DEFAULT 'pgsodium'	bytea
crypto_stream_xchacha20_keygen		bytea
crypto_stream_xchacha20_noncegen		bytea
crypto_stream_xchacha20_xor	message bytea, nonce bytea, key bytea	bytea
crypto_stream_xchacha20_xor	message bytea, nonce bytea, key_id bigint, context bytea DEFAULT '\\x70676f736469756d'::bytea	bytea
crypto_stream_xchacha20_xor_ic	message bytea, nonce bytea, ic bigint, key bytea	bytea
crypto_stream_xchacha20_xor_ic	message bytea, nonce bytea, ic bigint, key_id bigint, context bytea DEFAULT 'pgsodium'	bytea
derive_key	key_id bigint, key_len integer DEFAULT 32, context bytea DEFAULT 'pgsodium'	bytea
get_key_by_id	uuid	valid_key
get_key_by_name	text	valid_key
get_named_keys	filter text DEFAULT '%'::text	SETOF valid_key
pgkeymgr_derive	key_id bigint, key_len integer DEFAULT 32, context bytea DEFAULT 'pgsodium'	bytea
randombytes_buf	size integer	bytea
randombytes_buf_deterministic	size integer, seed bytea	bytea
randombytes_new_seed		bytea
randombytes_random		integer
randombytes_uniform	upper_bound integer	integer
sodium_base642bin	base64 text	bytea
sodium_bin2base64	bin bytea	text
\.
CREATE TEMP VIEW ours AS
SELECT proname::text AS name,
    replace(pg_get_function_arguments(oid), E'\'\\x7067736f6469756d\'::bytea', E'\'pgsodium\'') AS arguments,
    pg_get_function_result(oid) AS result
FROM functions;
SELECT set_eq(
    $$SELECT name, arguments, result FROM ours WHERE name IN (SELECT name FROM pgsodium)$$,
    $$SELECT name, arguments, result FROM pgsodium$$,
    'arguments, defaults and results are pgsodium''s'
);

-- The others: our own, pgcryptokey's and the list's.
CREATE TEMP TABLE own (LIKE pgsodium);
COPY own FROM stdin;
root_key_status	OUT fingerprint text, OUT source text, OUT previous text[], OUT still_needed text[]	record
rotate_root_key		integer
derive_key_under	key_id bigint, key_len integer, context bytea, root_key text	bytea
move_expiry	key integer, expires timestamp with time zone	void
move_expiry	key text, expires timestamp with time zone	void
separate_column	relation regclass, column_name name	bigint
verify_column	relation regclass, column_name name, OUT row_key text, OUT problem text	SETOF record
create_data_key	name text, length integer DEFAULT 32, expires timestamp with time zone DEFAULT NULL::timestamp with time zone, comment text DEFAULT NULL::text, wrap text DEFAULT 'root'::text	integer
supersede_data_key	key text	integer
supersede_data_key	key integer	integer
disable_data_key	key_id integer	void
enable_data_key	key_id integer	void
key_dependents	key text	SETOF text
key_dependents	key integer	SETOF text
set_key_node	node integer, nodes integer, first_id integer DEFAULT 1	void
follow_key_source	name text	void
make_keys_here		void
key_node_status	OUT node integer, OUT nodes integer, OUT first_id integer, OUT makes_keys boolean, OUT source text, OUT subscriptions text[], OUT publications text[]	record
destroy_data_key	key_id integer, confirm_name text, after interval DEFAULT NULL::interval, force boolean DEFAULT false	void
destroy_data_key	key_id integer, confirm_name text, is_forced boolean	void
cancel_destroy	key_id integer	void
limit_encryption	key text, until timestamp with time zone	void
limit_encryption	key integer, until timestamp with time zone	void
superseded_data_keys	key text DEFAULT NULL::text, OUT key_id integer, OUT name text, OUT state key_state, OUT created timestamp with time zone, OUT superseded_by integer, OUT superseded_at timestamp with time zone, OUT destroy_after timestamp with time zone, OUT wraps text[], OUT needed_by text[]	SETOF record
superseded_data_keys	key integer, OUT key_id integer, OUT name text, OUT state key_state, OUT created timestamp with time zone, OUT superseded_by integer, OUT superseded_at timestamp with time zone, OUT destroy_after timestamp with time zone, OUT wraps text[], OUT needed_by text[]	SETOF record
prune_data_keys	key text, keep_versions integer DEFAULT 1, after interval DEFAULT '30 days'::interval	SETOF integer
prune_data_keys	key integer, keep_versions integer DEFAULT 1, after interval DEFAULT '30 days'::interval	SETOF integer
set_key_policy	key text, rotate_every interval DEFAULT NULL::interval, keep_versions integer DEFAULT NULL::integer, destroy_after interval DEFAULT '30 days'::interval	void
set_key_policy	key integer, rotate_every interval DEFAULT NULL::interval, keep_versions integer DEFAULT NULL::integer, destroy_after interval DEFAULT '30 days'::interval	void
run_key_policies	IN batch_size integer DEFAULT 5000	\N
set_mask	relation regclass, column_name name, mask text, without_grant boolean DEFAULT false	void
set_mask	relation regclass, column_name name, mask regprocedure, without_grant boolean DEFAULT false	void
grant_data_key	key text, role regrole, usage text[] DEFAULT '{encrypt,decrypt}'::text[]	void
grant_data_key	key integer, role regrole, usage text[] DEFAULT '{encrypt,decrypt}'::text[]	void
adopt_role	name text, role regrole	integer
revoke_data_key	key text, role regrole, usage text[] DEFAULT '{encrypt,decrypt,search,masked}'::text[]	void
revoke_data_key	key integer, role regrole, usage text[] DEFAULT '{encrypt,decrypt,search,masked}'::text[]	void
supersede_data_key	key text, sealed bytea	integer
supersede_data_key	key integer, sealed bytea	integer
exchange_offer	OUT public bytea, OUT challenge bytea, OUT server_key bytea, OUT signature bytea	record
exchange_fingerprint		text
rotate_exchange_key		text
add_passphrase	key text, sealed bytea	void
add_passphrase	key integer, sealed bytea	void
unlock_data_key	key text, sealed bytea, for_transaction boolean DEFAULT false	void
unlock_data_key	key integer, sealed bytea, for_transaction boolean DEFAULT false	void
change_passphrase	key text, sealed bytea	void
change_passphrase	key integer, sealed bytea	void
drop_passphrase	key text	void
drop_passphrase	key integer	void
add_root_wrap	key text	void
add_root_wrap	key integer	void
drop_root_wrap	key text	void
drop_root_wrap	key integer	void
import_data_key	name text, sealed bytea, expires timestamp with time zone DEFAULT NULL::timestamp with time zone, comment text DEFAULT NULL::text, wrap text DEFAULT 'root'::text, key_id integer DEFAULT NULL::integer, key_uuid uuid DEFAULT NULL::uuid	integer
export_data_key	key text, recipient_public bytea	bytea
export_data_key	key integer, recipient_public bytea	bytea
create_user_key	sealed bytea	void
unlock_user_key	sealed bytea, for_transaction boolean DEFAULT false	void
change_user_passphrase	sealed bytea	void
rotate_user_key	sealed bytea	void
drop_user_key	role regrole, force boolean DEFAULT false	void
share_data_key	key text, role regrole	void
share_data_key	key integer, role regrole	void
unshare_data_key	key text, role regrole	void
unshare_data_key	key integer, role regrole	void
lock		void
doctor	OUT check_name text, OUT status text, OUT object text, OUT message text, OUT hint text	SETOF record
checkpoint_key_events		text
verify_key_events	known_link bigint DEFAULT NULL::bigint, known_hash bytea DEFAULT NULL::bytea, OUT events bigint, OUT broken_link bigint, OUT reason text, OUT last_hash bytea	record
token_encrypt	key text, plaintext bytea, associated_data bytea DEFAULT '\\x'::bytea, deterministic boolean DEFAULT false	bytea
token_encrypt	key integer, plaintext bytea, associated_data bytea DEFAULT '\\x'::bytea, deterministic boolean DEFAULT false	bytea
token_encrypt_text	key text, plaintext text, associated_data bytea DEFAULT '\\x'::bytea, deterministic boolean DEFAULT false	bytea
token_encrypt_text	key integer, plaintext text, associated_data bytea DEFAULT '\\x'::bytea, deterministic boolean DEFAULT false	bytea
token_decrypt	token bytea, associated_data bytea DEFAULT '\\x'::bytea	bytea
token_decrypt_text	token bytea, associated_data bytea DEFAULT '\\x'::bytea	text
token_try_decrypt	token bytea, associated_data bytea DEFAULT '\\x'::bytea	bytea
token_reencrypt	token bytea, key text, associated_data bytea DEFAULT '\\x'::bytea	bytea
token_reencrypt	token bytea, key integer, associated_data bytea DEFAULT '\\x'::bytea	bytea
token_info	token bytea, OUT format integer, OUT suite text, OUT key_id integer, OUT key_name text, OUT key_state key_state	record
encrypt_column	relation regclass, column_name name, key text DEFAULT NULL::text, key_by name DEFAULT NULL::name, deterministic boolean DEFAULT false, drop_indexes boolean DEFAULT false, column_id uuid DEFAULT NULL::uuid, compression text DEFAULT 'none'::text	regclass
plan_encrypt_column	relation regclass, column_name name, key text DEFAULT NULL::text, key_by name DEFAULT NULL::name, deterministic boolean DEFAULT false, drop_indexes boolean DEFAULT false, compression text DEFAULT 'none'::text	TABLE(kind text, object text, detail text, statement text)
alter_encrypted_table	relation regclass, action text	regclass
refresh_encrypted_view	relation regclass	regclass
finish_update		integer
set_column_compression	relation regclass, column_name name, compression text	void
adopt_encrypted_table	relation regclass	regclass
forget_dropped_table	id integer	void
migrate_column	IN relation regclass, IN column_name name, IN batch_size integer DEFAULT 5000	\N
migrate_columns	IN relation regclass, IN column_names name[] DEFAULT NULL::name[], IN batch_size integer DEFAULT 5000	\N
rotate_column	IN relation regclass, IN column_name name, IN batch_size integer DEFAULT 5000, IN supersede boolean DEFAULT true	\N
rotate_columns	IN relation regclass, IN column_names name[] DEFAULT NULL::name[], IN batch_size integer DEFAULT 5000, IN supersede boolean DEFAULT true	\N
attach_encrypted_partition	IN relation regclass, IN partition regclass, IN bound text, IN batch_size integer DEFAULT 5000	\N
decrypt_column	IN relation regclass, IN column_name name, IN batch_size integer DEFAULT 5000	\N
decrypt_columns	IN relation regclass, IN column_names name[] DEFAULT NULL::name[], IN batch_size integer DEFAULT 5000	\N
add_blind_index	relation regclass, column_name name, "normalize" text DEFAULT 'none'::text, is_unique boolean DEFAULT false, key text DEFAULT NULL::text, kind text DEFAULT 'equality'::text, options jsonb DEFAULT NULL::jsonb, force boolean DEFAULT false	void
add_blind_index	relation regclass, column_name name, "normalize" text, is_unique boolean, key integer, kind text DEFAULT 'equality'::text, options jsonb DEFAULT NULL::jsonb, force boolean DEFAULT false	void
build_blind_index	IN relation regclass, IN column_name name, IN "normalize" text DEFAULT NULL::text, IN batch_size integer DEFAULT 5000, IN key text DEFAULT NULL::text, IN kind text DEFAULT 'equality'::text, IN options jsonb DEFAULT NULL::jsonb, IN force boolean DEFAULT false	\N
rotate_blind_index	IN relation regclass, IN column_name name, IN batch_size integer DEFAULT 5000, IN kind text DEFAULT 'equality'::text, IN key text DEFAULT NULL::text	\N
blind_index_statements	relation regclass, column_name name, is_unique boolean DEFAULT false, kind text DEFAULT NULL::text	SETOF text
drop_blind_index	relation regclass, column_name name, kind text DEFAULT 'equality'::text	void
search_terms	relation regclass, column_name name, pattern text, operator text DEFAULT 'like'::text	smallint[]
search_range_terms	relation regclass, column_name name, low text, high text	integer[]
search_json_terms	relation regclass, column_name name, part jsonb	integer[]
search_key_terms	relation regclass, column_name name, json_key text	integer[]
search_path_terms	relation regclass, column_name name, path text[], expected jsonb	integer[]
search_like	relation regclass, column_name text, terms smallint[], value text, pattern text	boolean
search_ilike	relation regclass, column_name text, terms smallint[], value text, pattern text	boolean
search_prefix	relation regclass, column_name text, terms smallint[], value text, part text	boolean
search_suffix	relation regclass, column_name text, terms smallint[], value text, part text	boolean
search_contains	relation regclass, column_name text, terms smallint[], value text, part text	boolean
search_similar	relation regclass, column_name text, terms smallint[], value text, other text, threshold real DEFAULT 0.3	boolean
text_similarity	one character varying, other character varying	real
search_within	relation regclass, column_name text, terms integer[], value anyelement, bounds anyrange	boolean
search_network	relation regclass, column_name text, terms integer[], value inet, network inet	boolean
search_json	relation regclass, column_name text, terms integer[], value jsonb, part jsonb	boolean
search_json_key	relation regclass, column_name text, terms integer[], value jsonb, json_key text	boolean
search_json_path	relation regclass, column_name text, terms integer[], value jsonb, path text[], expected jsonb	boolean
blind_index	relation regclass, column_name name, value text	bytea
blind_index	relation regclass, column_name name, VARIADIC "values" text[]	bytea
deterministic_tokens	relation regclass, column_name name, value text	bytea[]
upsert	relation regclass, new_row jsonb, conflict_columns name[] DEFAULT NULL::name[], on_conflict text DEFAULT 'update'::text	SETOF boolean
wrap_key	secret bytea	bytea
unwrap_key	wrapped bytea	bytea
create_vault_schema	schema_name name DEFAULT 'vault'::name, key text DEFAULT 'vault.secrets'::text	regnamespace
import_pgsodium_key	id uuid, status text, key_type key_type, name text DEFAULT NULL::text, key_id bigint DEFAULT NULL::bigint, key_context bytea DEFAULT NULL::bytea, raw_key bytea DEFAULT NULL::bytea, raw_key_nonce bytea DEFAULT NULL::bytea, parent_key uuid DEFAULT NULL::uuid, expires timestamp with time zone DEFAULT NULL::timestamp with time zone, associated_data text DEFAULT ''::text	integer
create_cryptokey	name text, byte_len integer, password text DEFAULT NULL::text	integer
set_cryptokey	key_id integer, password text DEFAULT NULL::text	void
set_cryptokey	name text, password text DEFAULT NULL::text	void
get_cryptokey	key_id integer, password text DEFAULT NULL::text	text
get_cryptokey	name text, password text DEFAULT NULL::text	text
change_cryptokey_password	key_id integer, old_password text, new_password text	void
change_cryptokey_password	name text, old_password text, new_password text	void
supersede_cryptokey	key_id integer, byte_len integer, password text DEFAULT NULL::text	integer
supersede_cryptokey	name text, byte_len integer, password text DEFAULT NULL::text	integer
reencrypt_data	data bytea, old_key_id integer, new_key_id integer, password text DEFAULT NULL::text	bytea
reencrypt_data_bytea	data bytea, old_key_id integer, new_key_id integer, password text DEFAULT NULL::text	bytea
drop_cryptokey	key_id integer, password text DEFAULT NULL::text	void
drop_cryptokey	name text, password text DEFAULT NULL::text	void
pg_kmgr_wrap	secret bytea	bytea
pg_kmgr_unwrap	wrapped bytea	bytea
pg_encrypt	data text, key bytea	bytea
pg_decrypt	data bytea, key bytea	text
\.
SELECT set_eq(
    $$SELECT name, arguments, result FROM ours
    WHERE name NOT IN (SELECT name FROM pgsodium) AND name NOT LIKE '\_%'$$,
    $$SELECT name, arguments, result FROM own$$,
    'arguments, defaults and results of the others'
);

-- Not only the catalog says so: each function is called by a role without grants and by one with each grant.
CREATE ROLE pgkeymgr_test_nobody;
CREATE ROLE pgkeymgr_test_user IN ROLE pgkeymgr_user;
CREATE ROLE pgkeymgr_test_admin IN ROLE pgkeymgr_admin;
GRANT USAGE ON SCHEMA pgkeymgr TO pgkeymgr_test_nobody;
SET client_min_messages = error;

-- Called with values that most functions refuse, which is after they have been called.
CREATE FUNCTION tap.may_call(role text, function regprocedure) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    call text;
    may boolean := true;
BEGIN
    SELECT format('%s %s(%s)', CASE prokind WHEN 'p' THEN 'CALL' ELSE 'SELECT' END, oid::regproc, (
        SELECT string_agg(format('%L::%s', CASE type::regtype::text
            WHEN 'bytea' THEN '\x00'
            WHEN 'text' THEN ''
            WHEN 'inet' THEN '::1'
            WHEN 'text[]' THEN '{}'
            WHEN 'key_type' THEN 'data'
            WHEN 'uuid' THEN '00000000-0000-4000-8000-000000000000'
            WHEN 'regrole' THEN 'pgkeymgr_user'
            WHEN 'timestamp with time zone' THEN 'infinity'
            WHEN 'name[]' THEN '{}'
            WHEN 'oid[]' THEN '{}'
            WHEN 'jsonb' THEN '{}'
            WHEN 'anyelement' THEN 'anything'
            ELSE '1'
        END, CASE type::regtype::text WHEN 'anyelement' THEN 'text'::regtype ELSE type::regtype END), ', ')
        FROM unnest(proargtypes) AS type
    )) INTO call
    FROM pg_proc WHERE oid = function;
    PERFORM set_config('role', role, true);
    BEGIN
        EXECUTE call;
    EXCEPTION WHEN OTHERS THEN
        may := SQLERRM NOT LIKE 'permission denied for function %'
            AND SQLERRM NOT LIKE 'permission denied for procedure %';
    END;
    PERFORM set_config('role', 'none', true);
    RETURN may;
END
$$;
SELECT set_eq(
    format('SELECT identity FROM expected WHERE may_call(%L, identity::regprocedure)', role),
    format('SELECT identity FROM expected WHERE string_to_array(callers, '', '') && %L', may),
    format('what %s may call, and what it may not', role)
)
FROM (VALUES
    ('pgkeymgr_test_nobody', '{PUBLIC}'::text[]),
    ('pgkeymgr_test_user', '{PUBLIC,pgkeymgr_user}'),
    ('pgkeymgr_test_admin', '{PUBLIC,pgkeymgr_user,pgkeymgr_admin}')
) AS roles (role, may);

-- The purpose: a user reads and writes data that the root key protects, and never holds a key.
SET ROLE pgkeymgr_test_user;
SELECT crypto_secretbox_open(crypto_secretbox('message', nonce, 7), nonce, 7) = 'message' AS opens
FROM crypto_secretbox_noncegen() AS nonce \gset
RESET ROLE;
SELECT ok(:'opens', 'a user encrypts and decrypts');

-- Nor is anybody led past the views.
SELECT throws_ok(
    format('SET LOCAL ROLE %I; SELECT FROM %s', role, relation), '42501', NULL,
    format('%s cannot read %s', role, relation)
)
FROM unnest('{pgkeymgr_test_nobody,pgkeymgr_test_user,pgkeymgr_test_admin}'::text[]) AS role,
    unnest('{key,key_wrap,key_grant,key_id_seq,user_key,server_key,root_key_fingerprint,key_event,key_event_turn,key_change,
        keys_not_destroyed,encrypted_relation,encrypted_column,encrypted_terms,encrypted_constraint,column_operation,operation_leaf,
        column_turn,column_mask,key_policy}'::text[]) AS relation;
SELECT throws_ok(
    format('SET LOCAL ROLE %I; SELECT FROM %s', role, relation), '42501', NULL,
    format('%s cannot read %s', role, relation)
)
FROM (VALUES
    ('pgkeymgr_test_nobody', 'data_keys'), ('pgkeymgr_test_nobody', 'valid_key'),
    ('pgkeymgr_test_nobody', 'pgcryptokey'), ('pgkeymgr_test_nobody', 'session_keyring'),
    ('pgkeymgr_test_nobody', 'key_events'), ('pgkeymgr_test_user', 'key_events'),
    ('pgkeymgr_test_nobody', 'encrypted_columns'), ('pgkeymgr_test_nobody', 'column_progress'),
    ('pgkeymgr_test_user', 'pgcryptokey'), ('pgkeymgr_test_user', 'key_policies')
) AS refusals (role, relation);
SELECT throws_ok(
    format('SET LOCAL ROLE %I; SELECT pgkeymgr._as_owner()', role), '42501', NULL, role || ' does nothing as the owner'
)
FROM unnest('{pgkeymgr_test_nobody,pgkeymgr_test_user,pgkeymgr_test_admin}'::text[]) AS role;

SELECT finish();
ROLLBACK;
