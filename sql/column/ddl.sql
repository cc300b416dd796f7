-- The views of encrypted tables follow DDL on their base tables. Python: column/ddl.py

CREATE FUNCTION @extschema@._after_ddl(base oid, altered oid, command text, kind text, invoker oid)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
SET standard_conforming_strings = on
SET row_security = on
-- The catalog's expressions are kept as text: of constants that mean the same in every session.
SET DateStyle = 'ISO, YMD'
SET IntervalStyle = 'postgres'
SET extra_float_digits = 1
AS $$
@load@
return GD['pgkeymgr']._after_ddl(base, altered, command, kind, invoker)
$$;
REVOKE ALL ON FUNCTION @extschema@._after_ddl(oid, oid, text, text, oid) FROM PUBLIC;
COMMENT ON FUNCTION @extschema@._after_ddl(oid, oid, text, text, oid) IS
    'Internal: make the view of an encrypted table what it must be after DDL.';

CREATE FUNCTION @extschema@._note_loaded()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.loaded := clock_timestamp();
    RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION @extschema@._note_loaded() FROM PUBLIC;
COMMENT ON FUNCTION @extschema@._note_loaded() IS
    'Internal: note when a table with encrypted columns came into the registry; encrypt_column() takes the note away.';
CREATE TRIGGER note_loaded BEFORE INSERT ON @extschema@.encrypted_relation FOR EACH ROW
    EXECUTE FUNCTION @extschema@._note_loaded();

-- Tables with encrypted columns on which, or on whose views, this transaction has changed privileges: of GRANT and
-- REVOKE, PostgreSQL tells an event trigger no object.
CREATE FUNCTION @extschema@._granted()
RETURNS TABLE (base oid, altered oid)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
DECLARE
    relations oid[];
    began integer := age(pg_current_xact_id()::xid);
BEGIN
    -- A row of this transaction, or of one of its subtransactions, which have later numbers. Rows that others have
    -- committed since this transaction began are found, too; they are looked at again for nothing.
    relations := ARRAY(SELECT c.oid FROM pg_class AS c WHERE age(c.xmin) <= began);
    -- Privileges on columns are in the rows of the columns, of which there are many. The counter is of what this
    -- session has updated, also in earlier transactions, until it reports that.
    IF pg_stat_get_xact_tuples_updated('pg_attribute'::regclass) > 0 OR current_setting('track_counts') <> 'on' THEN
        relations := relations || ARRAY(SELECT DISTINCT a.attrelid FROM pg_attribute AS a WHERE age(a.xmin) <= began);
        PERFORM pg_stat_force_next_flush();
    END IF;
    RETURN QUERY SELECT r.base::oid, r.relation::oid FROM @extschema@.encrypted_relation AS r
        WHERE r.relation = ANY (relations)
        UNION ALL SELECT r.base::oid, r.base::oid FROM @extschema@.encrypted_relation AS r
        WHERE r.base = ANY (relations) AND r.relation <> ALL (relations);
END
$$;
REVOKE ALL ON FUNCTION @extschema@._granted() FROM PUBLIC;
COMMENT ON FUNCTION @extschema@._granted() IS
    'Internal: tables with encrypted columns on which this transaction has changed privileges.';

-- Tables with encrypted columns that a statement concerns, and how; see column/ddl.py.
CREATE FUNCTION @extschema@._concerned()
RETURNS TABLE (base oid, altered oid, command text, kind text)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
-- The planner takes it for large, and compiling takes a hundred times longer than running.
SET jit = off
AS $$
DECLARE
    one record;
    types oid[] := '{}';
BEGIN
    FOR one IN SELECT DISTINCT d.classid, d.objid, d.command_tag, d.object_type FROM pg_event_trigger_ddl_commands() AS d LOOP
        command := one.command_tag;
        altered := one.objid;
        IF one.command_tag IN ('GRANT', 'REVOKE') THEN
            IF one.object_type = 'TABLE' THEN
                kind := 'grant';
                FOR base, altered IN SELECT g.base, g.altered FROM @extschema@._granted() AS g LOOP
                    RETURN NEXT;
                END LOOP;
            END IF;
        ELSIF one.classid = 'pg_class'::regclass THEN
            kind := CASE one.command_tag WHEN 'CREATE INDEX' THEN 'index' ELSE 'table' END;
            FOR base IN
                SELECT r.base::oid FROM @extschema@.encrypted_relation AS r
                WHERE r.base::oid = CASE kind
                    WHEN 'index' THEN (SELECT i.indrelid FROM pg_index AS i WHERE i.indexrelid = one.objid)
                    ELSE one.objid END
                UNION SELECT r.base::oid FROM @extschema@.encrypted_relation AS r WHERE r.relation::oid = one.objid
            LOOP
                RETURN NEXT;
            END LOOP;
            IF kind = 'table' THEN
                types := types || ARRAY(SELECT c.reltype FROM pg_class AS c WHERE c.oid = one.objid AND c.reltype <> 0);
            END IF;
        ELSIF one.classid = 'pg_trigger'::regclass THEN
            kind := 'table';
            FOR base IN
                SELECT r.base::oid FROM pg_trigger AS t JOIN @extschema@.encrypted_relation AS r ON r.base::oid = t.tgrelid
                WHERE t.oid = one.objid
            LOOP
                RETURN NEXT;
            END LOOP;
        ELSIF one.classid = 'pg_type'::regclass THEN
            types := types || one.objid;
        ELSIF one.classid = 'pg_namespace'::regclass AND one.command_tag = 'ALTER SCHEMA' THEN
            kind := 'schema';
            FOR base IN
                SELECT r.base::oid FROM @extschema@.encrypted_relation AS r JOIN pg_class AS c
                    ON c.oid IN (r.base::oid, r.relation::oid) WHERE c.relnamespace = one.objid
                UNION SELECT r.base::oid FROM @extschema@.encrypted_column AS e
                    JOIN @extschema@.encrypted_relation AS r ON r.id = e.relation_id
                    JOIN pg_type AS t ON t.oid = e.data_type::oid WHERE t.typnamespace = one.objid
                -- Or a constraint, which is text here, names a schema that has gone.
                UNION SELECT r.base::oid FROM @extschema@.encrypted_constraint AS e
                    JOIN @extschema@.encrypted_relation AS r ON r.id = e.relation_id
                    WHERE e.kind = 'c' AND EXISTS (
                        SELECT FROM regexp_matches(
                            e.definition, '((?<![[:alnum:]_$."])[a-z_][a-z0-9_$]*|"(?:[^"]|"")+")\.', 'g'
                        ) AS named (parts)
                        WHERE NOT EXISTS (SELECT FROM pg_namespace AS n WHERE quote_ident(n.nspname) = named.parts[1])
                    )
            LOOP
                RETURN NEXT;
            END LOOP;
        END IF;
    END LOOP;
    IF types = '{}' THEN
        RETURN;
    END IF;
    kind := 'type';
    FOR base IN
        -- The types that are made of these ones, at any depth, and the relations that have a column of such a type.
        WITH RECURSIVE used (type, relation) AS (
            SELECT altered_type, 0::oid FROM unnest(types) AS altered_type
            UNION
            SELECT coalesce(c.reltype, d.objid), coalesce(c.oid, 0::oid)
            FROM used JOIN pg_depend AS d ON d.refclassid = 'pg_type'::regclass AND d.refobjid = used.type
                AND d.classid IN ('pg_type'::regclass, 'pg_class'::regclass)
            LEFT JOIN pg_class AS c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
            WHERE used.type <> 0
        )
        SELECT r.base::oid FROM used JOIN @extschema@.encrypted_relation AS r ON r.base::oid = used.relation
        UNION SELECT r.base::oid FROM used JOIN @extschema@.encrypted_relation AS r ON r.relation::oid = used.relation
        UNION SELECT r.base::oid FROM used JOIN @extschema@.encrypted_column AS e ON e.data_type::oid = used.type
            JOIN @extschema@.encrypted_relation AS r ON r.id = e.relation_id
    LOOP
        RETURN NEXT;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION @extschema@._concerned() FROM PUBLIC;
COMMENT ON FUNCTION @extschema@._concerned() IS
    'Internal: tables with encrypted columns that the statement concerns for which an event trigger is called.';

-- Whose statement an event trigger is called for: the current user outside of functions with SECURITY DEFINER.
CREATE FUNCTION @extschema@._invoker()
RETURNS oid
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT r.oid FROM pg_roles AS r
    WHERE r.rolname = CASE current_setting('role') WHEN 'none' THEN session_user ELSE current_setting('role') END
$$;
REVOKE ALL ON FUNCTION @extschema@._invoker() FROM PUBLIC;
COMMENT ON FUNCTION @extschema@._invoker() IS
    'Internal: the role whose statement it is.';

CREATE FUNCTION @extschema@._on_ddl()
RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    one record;
    is_used boolean;
BEGIN
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
    IF NOT EXISTS (SELECT FROM @extschema@.encrypted_relation) THEN
        RETURN;
    END IF;
    FOR one IN SELECT * FROM @extschema@._concerned() LOOP
        -- PL/Python runs each query in a subtransaction, which cannot begin before PostgreSQL has processed the
        -- invalidations of the statement; it does after a command that could have written.
        DELETE FROM @extschema@.column_operation WHERE false;
        PERFORM @extschema@._after_ddl(one.base, one.altered, one.command, one.kind, @extschema@._invoker());
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION @extschema@._on_ddl() FROM PUBLIC;
COMMENT ON FUNCTION @extschema@._on_ddl() IS
    'Internal: notice DDL that concerns tables with encrypted columns; all other DDL passes.';

CREATE FUNCTION @extschema@._on_drop()
RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
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
            -- Others may have made something that depends on it, which is not to be in the way of this statement.
            EXECUTE format('DROP FUNCTION %s CASCADE', generated);
        END LOOP;
    END LOOP;
    -- With DROP COLUMN ... CASCADE on the base table, the view goes; it comes back without the column.
    IF tg_tag = 'ALTER TABLE' THEN
        FOR one IN
            SELECT r.base::oid AS base
            FROM pg_event_trigger_dropped_objects() AS d
            JOIN @extschema@.encrypted_relation AS r ON r.relation::oid = d.objid
            WHERE d.classid = 'pg_class'::regclass AND d.objsubid = 0
        LOOP
            DELETE FROM @extschema@.column_operation WHERE false;
            PERFORM @extschema@._after_ddl(one.base, one.base, tg_tag, 'table', @extschema@._invoker());
        END LOOP;
    END IF;
END
$$;
REVOKE ALL ON FUNCTION @extschema@._on_drop() FROM PUBLIC;
COMMENT ON FUNCTION @extschema@._on_drop() IS
    'Internal: forget a table with encrypted columns that was dropped.';

CREATE EVENT TRIGGER pgkeymgr_ddl ON ddl_command_end
    WHEN TAG IN ('ALTER TABLE', 'ALTER VIEW', 'ALTER SCHEMA', 'ALTER TYPE', 'ALTER DOMAIN', 'CREATE INDEX',
        'CREATE TRIGGER', 'ALTER TRIGGER', 'GRANT', 'REVOKE', 'CREATE SCHEMA')
    EXECUTE FUNCTION @extschema@._on_ddl();
COMMENT ON EVENT TRIGGER pgkeymgr_ddl IS
    'pgkeymgr: the views of encrypted tables follow DDL on their base tables; an index on ciphertext is refused.';
CREATE EVENT TRIGGER pgkeymgr_drop ON sql_drop
    EXECUTE FUNCTION @extschema@._on_drop();
COMMENT ON EVENT TRIGGER pgkeymgr_drop IS
    'pgkeymgr: an encrypted table that is dropped is forgotten.';
