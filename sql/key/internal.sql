-- How the Python side reads and writes the key table. PUBLIC may call what a view of an encrypted table needs, and
-- gets nothing by it: what they load is for the user who was named, and what runs as owner is only what a
-- function of pgkeymgr has prepared in the same session. Python: session.py

CREATE FUNCTION @extschema@._take_key(
    for_user oid,
    id integer,
    uuid bytea,
    family integer,
    name text,
    key_type text,
    state text,
    is_expired boolean,
    superseded_by integer,
    derivation_id bigint,
    context bytea,
    may_encrypt boolean,
    may_decrypt boolean,
    root_wrap bytea,
    fingerprint text,
    other_wraps text[],
    passphrase_wrap bytea,
    user_wrap bytea
)
RETURNS void
LANGUAGE plpython3u STABLE PARALLEL SAFE
AS $$
@load@
return GD['pgkeymgr']._take_key(id, uuid, family, name, key_type, state, is_expired, superseded_by, derivation_id, context, may_encrypt, may_decrypt, root_wrap, fingerprint, other_wraps, for_user, passphrase_wrap, user_wrap)
$$;
REVOKE ALL ON FUNCTION @extschema@._take_key(
    oid, integer, bytea, integer, text, text, text, boolean, integer, bigint, bytea, boolean, boolean, bytea, text,
    text[], bytea, bytea
) FROM PUBLIC;
COMMENT ON FUNCTION @extschema@._take_key(
    oid, integer, bytea, integer, text, text, text, boolean, integer, bigint, bytea, boolean, boolean, bytea, text,
    text[], bytea, bytea
) IS 'Internal: give a key''s record to the session.';

CREATE FUNCTION @extschema@._load_key(wanted_id integer, wanted_name text, wanted_uuid uuid, for_user oid)
RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found integer := wanted_id;
BEGIN
    -- Each by its own index: one condition for the three of them would look into all three each time.
    IF wanted_name <> '' THEN
        -- Of a name's versions the current one, if there is one.
        SELECT k.id INTO found FROM @extschema@.key AS k WHERE k.name = wanted_name
        ORDER BY k.superseded_by IS NULL AND k.state = 'enabled' DESC, k.id DESC
        LIMIT 1;
    ELSIF wanted_uuid <> '00000000-0000-0000-0000-000000000000' THEN
        SELECT k.id INTO found FROM @extschema@.key AS k WHERE k.uuid = wanted_uuid;
    END IF;
    PERFORM @extschema@._take_key(
        for_user, k.id, uuid_send(k.uuid), k.family, k.name, k.key_type::text, k.state::text,
        coalesce(k.expires <= clock_timestamp(), false), k.superseded_by, k.derivation_id, k.context,
        k.is_owner OR 'encrypt' = ANY (k.usage), k.is_owner OR 'decrypt' = ANY (k.usage),
        w.wrapped, w.fingerprint,
        ARRAY(SELECT DISTINCT kind::text FROM @extschema@.key_wrap WHERE key_id = k.id AND kind <> 'root'),
        -- Only looked for where there is no other way in.
        CASE WHEN w.wrapped IS NULL THEN (
            SELECT o.wrapped FROM @extschema@.key_wrap AS o WHERE o.key_id = k.id AND o.kind = 'passphrase'
        ) END,
        CASE WHEN w.wrapped IS NULL THEN (
            SELECT o.wrapped FROM @extschema@.user_key AS u
            JOIN @extschema@.key_wrap AS o ON o.holder = encode(u.public, 'hex')
            WHERE u.role = for_user AND o.key_id = k.id AND o.kind = 'user'
        ) END
    )
    FROM (
        SELECT key.*, pg_has_role(for_user, key.owner::oid, 'USAGE') AS is_owner,
            ARRAY(
                SELECT unnest(g.usage) FROM @extschema@.key_grant AS g
                WHERE g.family IN (key.family, key.parent_family) AND pg_has_role(for_user, g.grantee::oid, 'USAGE')
            ) AS usage
        FROM @extschema@.key AS key
        WHERE key.id = found
    ) AS k
    LEFT JOIN @extschema@.key_wrap AS w ON w.key_id = k.id AND w.kind = 'root';
END
$$;
GRANT EXECUTE ON FUNCTION @extschema@._load_key(integer, text, uuid, oid) TO PUBLIC;
COMMENT ON FUNCTION @extschema@._load_key(integer, text, uuid, oid) IS
    'Internal: read a key''s record for a user.';

CREATE FUNCTION @extschema@._load_latest_key(
    wanted_id integer,
    wanted_name text,
    wanted_uuid text,
    for_user oid
)
RETURNS void
LANGUAGE plpython3u STABLE
AS $$
@load@
return GD['pgkeymgr']._load_latest_key(wanted_id, wanted_name, wanted_uuid, for_user)
$$;
GRANT EXECUTE ON FUNCTION @extschema@._load_latest_key(integer, text, text, oid) TO PUBLIC;
COMMENT ON FUNCTION @extschema@._load_latest_key(integer, text, text, oid) IS
    'Internal: _load_key as of now, in a transaction that sees an older state.';

CREATE FUNCTION @extschema@._as_owner()
RETURNS void
LANGUAGE plpython3u VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
@load@
return GD['pgkeymgr']._as_owner()
$$;
GRANT EXECUTE ON FUNCTION @extschema@._as_owner() TO PUBLIC;
COMMENT ON FUNCTION @extschema@._as_owner() IS
    'Internal: do what a function of pgkeymgr has prepared in this session.';
