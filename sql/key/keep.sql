-- DROP EXTENSION is refused while there are keys that are not destroyed. SQL only.

-- PostgreSQL drops an extension's event triggers together with the extension, before it calls those for sql_drop. Only
-- those for ddl_command_start are called, which are not given the objects of the statement. So a cursor is open on a
-- table of the extension while such a statement runs: PostgreSQL drops no table that a query of the session uses,
-- whatever way the statement came to it.
CREATE TABLE @extschema@.keys_not_destroyed ();
REVOKE ALL ON @extschema@.keys_not_destroyed FROM PUBLIC;
COMMENT ON TABLE @extschema@.keys_not_destroyed IS
    'Always empty. If this table "is being used", a statement would drop pgkeymgr with keys that are not destroyed. '
    'Destroy them with destroy_data_key(). To drop the keys together with the extension, a superuser first calls '
    'ALTER EVENT TRIGGER pgkeymgr_keep_keys DISABLE.';

-- Internal: refuse statements that would drop the extension while there are keys that are not destroyed.
-- EXECUTE: nobody
CREATE FUNCTION @extschema@._keep_keys()
RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
AS $$
DECLARE
    guard_name CONSTANT text := 'pgkeymgr keeps keys';
    -- A statement that drops the extension by its name, %2$s, also after other names, %1$s.
    pattern CONSTANT text := '\mdrop\s+(?:extension|schema|owned\s+by)\s+(?:if\s+exists\s+)?(?:%1$s\s*,\s*)*'
        '(?:"(?:%2$s)"|(?:%2$s)(?![[:alnum:]_$]))';
    item CONSTANT text := '(?:"(?:[^"]|"")+"|[[:alnum:]_$]+)';
    -- One statement can run within another one, in an event trigger. Each has its own cursor.
    depth integer := (SELECT count(*) FROM pg_cursors AS c WHERE starts_with(c.name, guard_name));
    guard refcursor;
    home text;
    target text;
    has_keys boolean;
    keys bigint;
    statements text;
BEGIN
    IF tg_event = 'ddl_command_end' THEN
        IF depth > 0 THEN
            guard := guard_name || depth;
            CLOSE guard;
        END IF;
        RETURN;
    END IF;
    -- The schema may have another name than at the installation.
    SELECT quote_ident(n.nspname), CASE tg_tag WHEN 'DROP SCHEMA' THEN n.nspname
        WHEN 'DROP OWNED' THEN pg_get_userbyid(e.extowner) END
    INTO STRICT home, target
    FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace WHERE e.extname = 'pgkeymgr';
    EXECUTE format('SELECT EXISTS (SELECT FROM %s.key AS k WHERE k.state <> ''destroyed'')', home) INTO has_keys;
    IF NOT has_keys THEN
        RETURN;
    END IF;
    -- The text of the statement only decides which message the user sees. The cursor refuses all others.
    GET DIAGNOSTICS statements = PG_CONTEXT;
    statements := concat_ws(E'\n', current_query(), statements);
    IF statements ~* format(
        pattern, item, coalesce(regexp_replace(target, '([^[:alnum:]_])', '\\\1', 'g'), 'pgkeymgr|plpython3u')
    ) THEN
        EXECUTE format('SELECT count(*) FROM %s.key AS k WHERE k.state <> ''destroyed''', home) INTO keys;
        RAISE EXCEPTION 'cannot drop extension pgkeymgr because % of its keys % not destroyed',
            keys, CASE keys WHEN 1 THEN 'is' ELSE 'are' END
            USING ERRCODE = 'dependent_objects_still_exist',
            DETAIL = 'All that the keys have encrypted would be lost.',
            HINT = 'Destroy the keys with destroy_data_key(). To drop them together with the extension, a superuser '
                'first calls ALTER EVENT TRIGGER pgkeymgr_keep_keys DISABLE.';
    END IF;
    guard := guard_name || depth + 1;
    EXECUTE format('DECLARE %I CURSOR FOR SELECT FROM %s.keys_not_destroyed', guard_name || depth + 1, home);
END
$$;

CREATE EVENT TRIGGER pgkeymgr_keep_keys ON ddl_command_start
    WHEN TAG IN ('DROP EXTENSION', 'DROP SCHEMA', 'DROP OWNED', 'DROP LANGUAGE')
    EXECUTE FUNCTION @extschema@._keep_keys();
COMMENT ON EVENT TRIGGER pgkeymgr_keep_keys IS
    'pgkeymgr: the extension is not dropped while there are keys that are not destroyed. A superuser who wants to drop '
    'them together with the extension disables this event trigger first.';
CREATE EVENT TRIGGER pgkeymgr_kept_keys ON ddl_command_end
    WHEN TAG IN ('DROP EXTENSION', 'DROP SCHEMA', 'DROP OWNED', 'DROP LANGUAGE')
    EXECUTE FUNCTION @extschema@._keep_keys();
COMMENT ON EVENT TRIGGER pgkeymgr_kept_keys IS
    'pgkeymgr: a statement has ended that would not have dropped the extension.';
-- Otherwise neither is called with session_replication_role = replica.
ALTER EVENT TRIGGER pgkeymgr_keep_keys ENABLE ALWAYS;
ALTER EVENT TRIGGER pgkeymgr_kept_keys ENABLE ALWAYS;
