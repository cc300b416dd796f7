-- Data keys: made, superseded, disabled, destroyed, granted. Python: key/data_key.py

CREATE FUNCTION @extschema@.create_data_key(
    name text,
    length integer DEFAULT 32,
    expires timestamptz DEFAULT NULL,
    comment text DEFAULT NULL,
    wrap text DEFAULT 'root'
)
RETURNS integer
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].create_data_key(name, length, expires, comment, wrap)
$$;
REVOKE ALL ON FUNCTION @extschema@.create_data_key(text, integer, timestamptz, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.create_data_key(text, integer, timestamptz, text, text) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.create_data_key(text, integer, timestamptz, text, text) IS
    'Make a data key of 16 to 64 random bytes, stored only wrapped under the root key, owned by the '
    'current user; its id.';

CREATE FUNCTION @extschema@.supersede_data_key(
    key text
)
RETURNS integer
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].supersede_data_key(key)
$$;
REVOKE ALL ON FUNCTION @extschema@.supersede_data_key(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.supersede_data_key(text) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.supersede_data_key(text) IS
    'Make a new version of a key, with the same name, lifetime and grants; its id. The old one still '
    'decrypts.';

CREATE FUNCTION @extschema@.supersede_data_key(
    key integer
)
RETURNS integer
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].supersede_data_key(key)
$$;
REVOKE ALL ON FUNCTION @extschema@.supersede_data_key(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.supersede_data_key(integer) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.supersede_data_key(integer) IS
    'Make a new version of a key, with the same name, lifetime and grants; its id. The old one still '
    'decrypts.';

CREATE FUNCTION @extschema@.disable_data_key(
    key_id integer
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].disable_data_key(key_id)
$$;
REVOKE ALL ON FUNCTION @extschema@.disable_data_key(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.disable_data_key(integer) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.disable_data_key(integer) IS
    'Disable a key: it neither encrypts nor decrypts until it is enabled again.';

CREATE FUNCTION @extschema@.enable_data_key(
    key_id integer
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].enable_data_key(key_id)
$$;
REVOKE ALL ON FUNCTION @extschema@.enable_data_key(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.enable_data_key(integer) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.enable_data_key(integer) IS
    'Enable a key that was disabled.';

CREATE FUNCTION @extschema@.destroy_data_key(
    key_id integer,
    confirm_name text,
    force boolean DEFAULT false
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].destroy_data_key(key_id, confirm_name, force)
$$;
REVOKE ALL ON FUNCTION @extschema@.destroy_data_key(integer, text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.destroy_data_key(integer, text, boolean) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.destroy_data_key(integer, text, boolean) IS
    'Erase every wrap of a key, for good: what it encrypted cannot be decrypted any more. confirm_name is '
    'the key''s name. Refused while a column needs the key, or if it can be derived by a number, unless forced.';

CREATE FUNCTION @extschema@.move_expiry(
    key text,
    expires timestamptz
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].move_expiry(key, expires)
$$;
REVOKE ALL ON FUNCTION @extschema@.move_expiry(text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.move_expiry(text, timestamptz) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.move_expiry(text, timestamptz) IS
    'Set the time at which a key expires, also of a key that has expired. NULL means never.';

CREATE FUNCTION @extschema@.move_expiry(
    key integer,
    expires timestamptz
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].move_expiry(key, expires)
$$;
REVOKE ALL ON FUNCTION @extschema@.move_expiry(integer, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.move_expiry(integer, timestamptz) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.move_expiry(integer, timestamptz) IS
    'Set the time at which a key expires, also of a key that has expired. NULL means never.';

CREATE FUNCTION @extschema@.grant_data_key(
    key text,
    role regrole,
    usage text[] DEFAULT '{encrypt,decrypt}'
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].grant_data_key(key, role, usage)
$$;
REVOKE ALL ON FUNCTION @extschema@.grant_data_key(text, regrole, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.grant_data_key(text, regrole, text[]) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.grant_data_key(text, regrole, text[]) IS
    'Let a role use a key and all its later versions: usage may be encrypt, decrypt and search. search is to make '
    'blind indexes and deterministic tokens, and is included in decrypt.';

CREATE FUNCTION @extschema@.revoke_data_key(
    key text,
    role regrole,
    usage text[] DEFAULT '{encrypt,decrypt,search}'
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].revoke_data_key(key, role, usage)
$$;
REVOKE ALL ON FUNCTION @extschema@.revoke_data_key(text, regrole, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.revoke_data_key(text, regrole, text[]) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.revoke_data_key(text, regrole, text[]) IS
    'Take a grant of a key back.';

CREATE FUNCTION @extschema@.grant_data_key(
    key integer,
    role regrole,
    usage text[] DEFAULT '{encrypt,decrypt}'
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].grant_data_key(key, role, usage)
$$;
REVOKE ALL ON FUNCTION @extschema@.grant_data_key(integer, regrole, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.grant_data_key(integer, regrole, text[]) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.grant_data_key(integer, regrole, text[]) IS
    'Let a role use a key and all its later versions: usage may be encrypt, decrypt and search. search is to make '
    'blind indexes and deterministic tokens, and is included in decrypt.';

CREATE FUNCTION @extschema@.revoke_data_key(
    key integer,
    role regrole,
    usage text[] DEFAULT '{encrypt,decrypt,search}'
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].revoke_data_key(key, role, usage)
$$;
REVOKE ALL ON FUNCTION @extschema@.revoke_data_key(integer, regrole, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.revoke_data_key(integer, regrole, text[]) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.revoke_data_key(integer, regrole, text[]) IS
    'Take a grant of a key back.';
