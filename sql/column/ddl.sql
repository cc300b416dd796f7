-- The views of encrypted tables follow DDL on their base tables. Python: column/ddl.py

CREATE FUNCTION @extschema@._after_ddl(base oid, altered oid, command text)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
SET standard_conforming_strings = on
-- The catalog's expressions are kept as text: of constants that mean the same in every session.
SET DateStyle = 'ISO, YMD'
SET IntervalStyle = 'postgres'
SET extra_float_digits = 1
AS $$
@load@
return GD['pgkeymgr']._after_ddl(base, altered, command)
$$;
REVOKE ALL ON FUNCTION @extschema@._after_ddl(oid, oid, text) FROM PUBLIC;
COMMENT ON FUNCTION @extschema@._after_ddl(oid, oid, text) IS
    'Internal: make the view of an encrypted table what it must be after DDL.';

CREATE FUNCTION @extschema@._on_ddl()
RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
-- The planner takes the two for large, and compiling takes a hundred times longer than running.
SET jit = off
AS $$
DECLARE
    one record;
    is_used boolean;
BEGIN
    -- A dump holds the views and triggers themselves, and loads the registry before it is complete.
    IF current_setting('check_function_bodies') = 'off' THEN
        RETURN;
    END IF;
    IF to_regclass('@extschema@.encrypted_relation') IS NULL THEN
        -- The extension's schema has another name now, and nothing here is found any more.
        EXECUTE format(
            'SELECT EXISTS (SELECT FROM %s.encrypted_relation)',
            (SELECT p.pronamespace::regnamespace FROM pg_event_trigger AS e JOIN pg_proc AS p ON p.oid = e.evtfoid
            WHERE e.evtname = 'pgkeymgr_ddl')
        ) INTO is_used;
        IF is_used THEN
            RAISE EXCEPTION 'tables with encrypted columns need the schema of pgkeymgr by its name'
                USING ERRCODE = '0A000';
        END IF;
        RETURN;
    END IF;
    IF tg_tag = 'ALTER TYPE' THEN
        -- What is encrypted holds the old text.
        FOR one IN
            SELECT c.column_name, r.name
            FROM pg_event_trigger_ddl_commands() AS d
            JOIN pg_type AS altered ON d.objid IN (altered.oid, altered.typrelid)
            JOIN @extschema@.encrypted_column AS c ON true
            JOIN pg_type AS t ON t.oid = c.data_type::oid AND altered.oid IN (t.oid, t.typelem, t.typbasetype)
            JOIN @extschema@.encrypted_relation AS r ON r.id = c.relation_id
            WHERE altered.typtype = 'c' AND d.objid = altered.typrelid
                OR altered.typtype = 'e' AND current_query() ~* '\yrename\s+value\y'
        LOOP
            RAISE EXCEPTION 'values of the type are encrypted in column "%" of "%", and could not be read any more',
                one.column_name, one.name
                USING ERRCODE = '0A000', HINT = 'decrypt_column() makes the column a plain one, which can be changed.';
        END LOOP;
    END IF;
    FOR one IN
        SELECT DISTINCT r.base, d.objid AS altered
        FROM pg_event_trigger_ddl_commands() AS d
        JOIN @extschema@.encrypted_relation AS r ON CASE
            -- Of the tables, or of types that their triggers name.
            WHEN d.classid = 'pg_namespace'::regclass THEN true
            WHEN tg_tag IN ('ALTER TYPE', 'ALTER DOMAIN') THEN EXISTS (
                SELECT FROM @extschema@.encrypted_column AS c JOIN pg_type AS t ON t.oid = c.data_type::oid
                WHERE c.relation_id = r.id AND d.objid IN (t.oid, t.typelem, t.typbasetype)
            )
            WHEN d.classid = 'pg_class'::regclass AND d.command_tag = 'CREATE INDEX' THEN
                r.base::oid = (SELECT i.indrelid FROM pg_index AS i WHERE i.indexrelid = d.objid)
            WHEN d.classid = 'pg_class'::regclass THEN d.objid IN (r.base::oid, r.relation::oid)
            WHEN d.classid = 'pg_trigger'::regclass THEN
                r.base::oid = (SELECT t.tgrelid FROM pg_trigger AS t WHERE t.oid = d.objid)
            ELSE d.command_tag IN ('GRANT', 'REVOKE') AND d.object_type = 'TABLE'
        END
    LOOP
        PERFORM @extschema@._after_ddl(one.base, one.altered, tg_tag);
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION @extschema@._on_ddl() FROM PUBLIC;
COMMENT ON FUNCTION @extschema@._on_ddl() IS
    'Internal: notice DDL on tables with encrypted columns; all other DDL passes.';

CREATE FUNCTION @extschema@._on_drop()
RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
-- The planner takes the two for large, and compiling takes a hundred times longer than running.
SET jit = off
AS $$
DECLARE
    one record;
    generated regprocedure;
BEGIN
    IF to_regclass('@extschema@.encrypted_relation') IS NULL THEN
        RETURN;
    END IF;
    FOR one IN
        SELECT r.id, r.base
        FROM pg_event_trigger_dropped_objects() AS d
        JOIN @extschema@.encrypted_relation AS r ON r.base::oid = d.objid
        WHERE d.classid = 'pg_class'::regclass AND d.objsubid = 0
    LOOP
        DELETE FROM @extschema@.column_operation AS o USING @extschema@.encrypted_column AS c
        WHERE c.relation_id = one.id AND o.column_id = c.id;
        DELETE FROM @extschema@.encrypted_constraint AS c WHERE c.relation_id = one.id;
        DELETE FROM @extschema@.encrypted_column AS c WHERE c.relation_id = one.id;
        DELETE FROM @extschema@.encrypted_relation AS r WHERE r.id = one.id;
        FOR generated IN
            SELECT p.oid::regprocedure FROM pg_proc AS p
            WHERE p.pronamespace = '@extschema@'::regnamespace
                AND p.proname ~ ('^_(insert|update|check|seal_insert|seal_update)_' || one.id || '$')
        LOOP
            EXECUTE format('DROP FUNCTION %s', generated);
        END LOOP;
    END LOOP;
    -- With DROP COLUMN ... CASCADE on the base table, the view goes; it comes back without the column.
    IF tg_tag = 'ALTER TABLE' AND current_setting('check_function_bodies') = 'on' THEN
        FOR one IN
            SELECT r.base
            FROM pg_event_trigger_dropped_objects() AS d
            JOIN @extschema@.encrypted_relation AS r ON r.relation::oid = d.objid
            WHERE d.classid = 'pg_class'::regclass AND d.objsubid = 0
        LOOP
            PERFORM @extschema@._after_ddl(one.base, one.base, tg_tag);
        END LOOP;
    END IF;
END
$$;
REVOKE ALL ON FUNCTION @extschema@._on_drop() FROM PUBLIC;
COMMENT ON FUNCTION @extschema@._on_drop() IS
    'Internal: forget a table with encrypted columns that was dropped.';

CREATE EVENT TRIGGER pgkeymgr_ddl ON ddl_command_end
    WHEN TAG IN ('ALTER TABLE', 'ALTER VIEW', 'ALTER SCHEMA', 'ALTER TYPE', 'ALTER DOMAIN', 'CREATE INDEX',
        'CREATE TRIGGER', 'ALTER TRIGGER',
        'GRANT', 'REVOKE')
    EXECUTE FUNCTION @extschema@._on_ddl();
COMMENT ON EVENT TRIGGER pgkeymgr_ddl IS
    'pgkeymgr: the views of encrypted tables follow DDL on their base tables; an index on ciphertext is refused.';
CREATE EVENT TRIGGER pgkeymgr_drop ON sql_drop
    EXECUTE FUNCTION @extschema@._on_drop();
COMMENT ON EVENT TRIGGER pgkeymgr_drop IS
    'pgkeymgr: an encrypted table that is dropped is forgotten.';
