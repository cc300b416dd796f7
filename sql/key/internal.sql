-- The functions by which the Python side reads and writes the key table. PUBLIC may call the two functions that have
-- neither arguments nor results: they only run operations that pgkeymgr has prepared in the same session.
-- Python: backend/session.py, key/changes.py

-- Internal: give a key's record to the session.
--
-- The arguments are the fields of the Python side's Record. They have no names, since PL/Python would make a variable
-- of each.
-- EXECUTE: nobody
CREATE FUNCTION @extschema@._take_key(
    integer, bytea, integer, integer, text, text, text, boolean, bigint, integer, bigint, bytea, boolean, boolean,
    boolean, oid[], bytea, text, text[], oid, bytea, bytea, boolean, bigint, boolean, boolean
)
RETURNS boolean
LANGUAGE plpython3u STABLE PARALLEL SAFE
AS $$
@load@
return GD['pgkeymgr']._take_key(args)
$$;

-- Internal: read a key's record for a user.
--
-- The function uses small queries: PostgreSQL sets up all parts of a large query each time, even unused parts.
-- EXECUTE: nobody
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
    -- Each query uses its own index. A query with all three conditions would search all three indexes each time.
    IF wanted_name <> '' THEN
        -- The query prefers a key that is not pgcryptokey's, and then the current version.
        SELECT * INTO k FROM @extschema@.key AS named WHERE named.name = wanted_name
        ORDER BY named.key_type = 'cryptokey', named.superseded_by IS NULL AND named.state = 'enabled' DESC,
            -- Ids do not tell which version is newer: several nodes give them.
            named.created DESC, named.id DESC
        LIMIT 1;
    ELSIF wanted_uuid <> '00000000-0000-0000-0000-000000000000' THEN
        SELECT * INTO k FROM @extschema@.key AS found WHERE found.uuid = wanted_uuid;
    ELSIF wanted_family <> 0 THEN
        -- A family has at most one current version. The error names the version if it is disabled or destroyed.
        SELECT * INTO k FROM @extschema@.key AS found
        WHERE found.family = wanted_family AND found.superseded_by IS NULL;
    ELSE
        SELECT * INTO k FROM @extschema@.key AS found WHERE found.id = wanted_id;
    END IF;
    IF k.id IS NULL THEN
        RETURN;
    END IF;
    IF pg_has_role(for_user, k.owner, 'USAGE') THEN
        usage := '{encrypt, decrypt, search}';
        roles := array_remove(ARRAY[k.owner], for_user);
    ELSE
        SELECT array_agg(DISTINCT one), array_remove(array_agg(DISTINCT g.grantee), for_user)
        INTO usage, roles
        FROM @extschema@.key_grant AS g CROSS JOIN LATERAL unnest(g.usage) AS one
        WHERE g.family IN (k.family, k.parent_family) AND pg_has_role(for_user, g.grantee, 'USAGE');
    END IF;
    SELECT w.wrapped, w.fingerprint INTO root_wrap, fingerprint FROM @extschema@.key_wrap AS w
    WHERE w.key_id = k.id AND w.kind = 'root';
    IF with_wraps OR root_wrap IS NULL THEN
        other_wraps := ARRAY(
            SELECT DISTINCT w.kind::text FROM @extschema@.key_wrap AS w WHERE w.key_id = k.id AND w.kind <> 'root'
        );
    END IF;
    -- These wraps are only read if there is no wrap under the root key.
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
        -- The value has the unit and the epoch of PostgreSQL's time stamps: since 1970, the last ones do not fit.
        CASE WHEN isfinite(k.expires) THEN (extract(epoch FROM k.expires) * 1000000 - 946684800000000)::bigint END,
        k.superseded_by, k.derivation_id, k.context,
        coalesce('encrypt' = ANY (usage), false), coalesce('decrypt' = ANY (usage), false),
        coalesce(usage && '{search, decrypt}', false), coalesce(roles, '{}'), root_wrap, fingerprint, other_wraps, for_user,
        passphrase_wrap, user_wrap, coalesce('masked' = ANY (usage), false),
        CASE WHEN isfinite(k.encrypts_until)
            THEN (extract(epoch FROM k.encrypts_until) * 1000000 - 946684800000000)::bigint END,
        coalesce(k.encrypts_until <= clock_timestamp(), false), k.destroy_after IS NOT NULL
    );
END
$$;

-- Internal: run an operation that a function of pgkeymgr has prepared in this session.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._as_owner()
RETURNS void
LANGUAGE plpython3u VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
@load@
return GD['pgkeymgr']._as_owner()
$$;

-- Internal: run a read-only operation that a function of pgkeymgr has prepared in this session. It sees all committed
-- changes.
--
-- The function is STABLE, so that its queries see the snapshot that Python has made active.
-- EXECUTE: PUBLIC
CREATE FUNCTION @extschema@._read_as_owner()
RETURNS void
LANGUAGE plpython3u STABLE PARALLEL SAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
@load@
return GD['pgkeymgr']._read_as_owner()
$$;

-- A change of the key tables invalidates the catalog entry of this table, and not of the key tables. PostgreSQL would plan
-- all statements on them again after each key that a transaction makes.
CREATE TABLE @extschema@.key_change ();
REVOKE ALL ON @extschema@.key_change FROM PUBLIC;
COMMENT ON TABLE @extschema@.key_change IS
    'The table whose invalidation reports a change of the key tables to all sessions. It has no rows.';

-- Internal: report a change of the key tables to all sessions, when the transaction commits.
-- EXECUTE: nobody
CREATE FUNCTION @extschema@._invalidate_keys()
RETURNS void
LANGUAGE plpython3u VOLATILE
AS $$
@load@
return GD['pgkeymgr']._invalidate_keys()
$$;

-- Internal: report a change of one of the key tables.
--
-- All writes to the key tables fire a trigger with this function, even those of a restore and of a logical replica. The
-- triggers fire for each row, since a logical replica fires no others. The function is in PL/pgSQL, since PL/Python
-- would convert the rows.
-- EXECUTE: nobody
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
