-- How the Python side reads and writes the key table. PUBLIC may call the two functions that take no argument and
-- return nothing: they run only what a function of pgkeymgr has prepared in the same session. Python: session.py

-- The fields of the Python side's Record. They have no names, since PL/Python would make a variable of each.
CREATE FUNCTION @extschema@._take_key(
    integer, bytea, integer, integer, text, text, text, boolean, bigint, integer, bigint, bytea, boolean, boolean,
    boolean, oid[], bytea, text, text[], oid, bytea, bytea
)
RETURNS boolean
LANGUAGE plpython3u STABLE PARALLEL SAFE
AS $$
@load@
return GD['pgkeymgr']._take_key(args)
$$;
REVOKE ALL ON FUNCTION @extschema@._take_key(
    integer, bytea, integer, integer, text, text, text, boolean, bigint, integer, bigint, bytea, boolean, boolean,
    boolean, oid[], bytea, text, text[], oid, bytea, bytea
) FROM PUBLIC;
COMMENT ON FUNCTION @extschema@._take_key(
    integer, bytea, integer, integer, text, text, text, boolean, bigint, integer, bigint, bytea, boolean, boolean,
    boolean, oid[], bytea, text, text[], oid, bytea, bytea
) IS 'Internal: give a key''s record to the session.';

-- It asks in small queries, since PostgreSQL sets up all parts of a large one each time, whether they are run or not.
CREATE FUNCTION @extschema@._load_key(
    wanted_id integer,
    wanted_name text,
    wanted_uuid uuid,
    wanted_family integer,
    for_user oid,
    with_wraps boolean
)
RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    k @extschema@.key;
    root_wrap bytea;
    fingerprint text;
    usage text[];
    roles oid[];
    other_wraps text[];
    passphrase_wrap bytea;
    user_wrap bytea;
    is_taken boolean;
BEGIN
    -- Each by its own index: one condition for the three of them would look into all three each time.
    IF wanted_name <> '' THEN
        -- Of a name's versions the current one, if there is one; one of pgcryptokey's only if there is no other key.
        SELECT * INTO k FROM @extschema@.key AS named WHERE named.name = wanted_name
        ORDER BY named.key_type = 'cryptokey', named.superseded_by IS NULL AND named.state = 'enabled' DESC, named.id DESC
        LIMIT 1;
    ELSIF wanted_uuid <> '00000000-0000-0000-0000-000000000000' THEN
        SELECT * INTO k FROM @extschema@.key AS found WHERE found.uuid = wanted_uuid;
    ELSIF wanted_family <> 0 THEN
        -- The current version; a family has one at most, and a disabled or destroyed one is named in the error.
        SELECT * INTO k FROM @extschema@.key AS found
        WHERE found.family = wanted_family AND found.superseded_by IS NULL;
    ELSE
        SELECT * INTO k FROM @extschema@.key AS found WHERE found.id = wanted_id;
    END IF;
    IF k.id IS NULL THEN
        RETURN;
    END IF;
    IF pg_has_role(for_user, k.owner::oid, 'USAGE') THEN
        usage := '{encrypt, decrypt, search}';
        roles := array_remove(ARRAY[k.owner::oid], for_user);
    ELSE
        SELECT array_agg(DISTINCT one), array_remove(array_agg(DISTINCT g.grantee::oid), for_user)
        INTO usage, roles
        FROM @extschema@.key_grant AS g CROSS JOIN LATERAL unnest(g.usage) AS one
        WHERE g.family IN (k.family, k.parent_family) AND pg_has_role(for_user, g.grantee::oid, 'USAGE');
    END IF;
    SELECT w.wrapped, w.fingerprint INTO root_wrap, fingerprint FROM @extschema@.key_wrap AS w
    WHERE w.key_id = k.id AND w.kind = 'root';
    IF with_wraps OR root_wrap IS NULL THEN
        other_wraps := ARRAY(
            SELECT DISTINCT w.kind::text FROM @extschema@.key_wrap AS w WHERE w.key_id = k.id AND w.kind <> 'root'
        );
    END IF;
    -- Only looked for where there is no other way in.
    IF root_wrap IS NULL THEN
        SELECT w.wrapped INTO passphrase_wrap FROM @extschema@.key_wrap AS w
        WHERE w.key_id = k.id AND w.kind = 'passphrase';
        SELECT w.wrapped INTO user_wrap FROM @extschema@.user_key AS u
        JOIN @extschema@.key_wrap AS w ON w.holder = encode(u.public, 'hex')
        WHERE u.role = for_user AND w.key_id = k.id AND w.kind = 'user';
    END IF;
    is_taken := @extschema@._take_key(
        k.id, uuid_send(k.uuid), k.family, k.parent_family, k.name, k.key_type::text, k.state::text,
        coalesce(k.expires <= clock_timestamp(), false),
        -- In the unit and from the epoch of PostgreSQL's time stamps.
        CASE WHEN isfinite(k.expires) THEN (extract(epoch FROM k.expires) * 1000000)::bigint - 946684800000000 END,
        k.superseded_by, k.derivation_id, k.context,
        coalesce('encrypt' = ANY (usage), false), coalesce('decrypt' = ANY (usage), false),
        coalesce(usage && '{search, decrypt}', false), coalesce(roles, '{}'), root_wrap, fingerprint, other_wraps, for_user,
        passphrase_wrap, user_wrap
    );
END
$$;
REVOKE ALL ON FUNCTION @extschema@._load_key(integer, text, uuid, integer, oid, boolean) FROM PUBLIC;
COMMENT ON FUNCTION @extschema@._load_key(integer, text, uuid, integer, oid, boolean) IS
    'Internal: read a key''s record for a user.';

CREATE FUNCTION @extschema@._as_owner()
RETURNS void
LANGUAGE plpython3u VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
@load@
return GD['pgkeymgr']._as_owner()
$$;
REVOKE ALL ON FUNCTION @extschema@._as_owner() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@._as_owner() TO PUBLIC;
COMMENT ON FUNCTION @extschema@._as_owner() IS
    'Internal: do what a function of pgkeymgr has prepared in this session.';

-- Read-only, so that its queries see the snapshot that Python has made the active one.
CREATE FUNCTION @extschema@._read_as_owner()
RETURNS void
LANGUAGE plpython3u STABLE PARALLEL SAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
@load@
return GD['pgkeymgr']._read_as_owner()
$$;
REVOKE ALL ON FUNCTION @extschema@._read_as_owner() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@._read_as_owner() TO PUBLIC;
COMMENT ON FUNCTION @extschema@._read_as_owner() IS
    'Internal: read what a function of pgkeymgr has prepared in this session, as it is committed by now.';

-- Whatever writes to the key tables ends in one of these triggers, a restore and a logical replica too. They are for each
-- row, since a logical replica fires no others. In PL/pgSQL, since PL/Python would convert the rows.
CREATE FUNCTION @extschema@._invalidate_keys()
RETURNS void
LANGUAGE plpython3u VOLATILE
AS $$
@load@
return GD['pgkeymgr']._invalidate_keys()
$$;
REVOKE ALL ON FUNCTION @extschema@._invalidate_keys() FROM PUBLIC;
COMMENT ON FUNCTION @extschema@._invalidate_keys() IS
    'Internal: report a change of the key tables to all sessions, when the transaction commits.';

CREATE FUNCTION @extschema@._report_key_change()
RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM @extschema@._invalidate_keys();
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION @extschema@._report_key_change() FROM PUBLIC;
COMMENT ON FUNCTION @extschema@._report_key_change() IS
    'Internal: report a change of one of the key tables.';
DO $$
DECLARE
    one pg_catalog.text;
BEGIN
    FOREACH one IN ARRAY ARRAY['key', 'key_wrap', 'key_grant', 'user_key'] LOOP
        EXECUTE pg_catalog.format(
            'CREATE TRIGGER report_change AFTER INSERT OR UPDATE OR DELETE ON %2$s.%1$I'
            ' FOR EACH ROW EXECUTE FUNCTION %2$s._report_key_change();'
            'CREATE TRIGGER report_truncate AFTER TRUNCATE ON %2$s.%1$I'
            ' FOR EACH STATEMENT EXECUTE FUNCTION %2$s._report_key_change();'
            'ALTER TABLE %2$s.%1$I ENABLE ALWAYS TRIGGER report_change;'
            'ALTER TABLE %2$s.%1$I ENABLE ALWAYS TRIGGER report_truncate',
            one, '@extschema@'
        );
    END LOOP;
END
$$;
