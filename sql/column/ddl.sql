-- The views of encrypted tables follow DDL on their base tables. Python: column/ddl.py

-- Internal: let the view of an encrypted table follow DDL.
-- EXECUTE: nobody
CREATE FUNCTION @extschema@._after_ddl(base oid, altered oid, command text, kind text, invoker oid)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
@catalog_settings@
SET row_security = on
AS $$
@load@
return GD['pgkeymgr']._after_ddl(base, altered, command, kind, invoker)
$$;

-- Run ALTER TABLE with an action on the base table of an encrypted table, and return the view.
--
-- This is for actions that PostgreSQL refuses while the view exists, such as a change of a type. The view and the
-- objects that depend on it are created again. Names in the action need their schemas.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.alter_encrypted_table(
    relation regclass,
    action text
)
RETURNS regclass
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp
@catalog_settings@
SET row_security = on
AS $$
@load@
return GD['pgkeymgr'].alter_encrypted_table(relation, action)
$$;

-- Internal: remember what depends on the views of encrypted tables, which ALTER TABLE may drop.
-- EXECUTE: nobody
CREATE FUNCTION @extschema@._before_ddl(bases oid[], is_drop boolean, invoker oid)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
@catalog_settings@
AS $$
@load@
return GD['pgkeymgr']._before_ddl(bases, is_drop, invoker)
$$;

-- Internal: note when a table with encrypted columns came into the registry; encrypt_column() removes the note.
-- EXECUTE: nobody
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
CREATE TRIGGER note_loaded BEFORE INSERT ON @extschema@.encrypted_relation FOR EACH ROW
    EXECUTE FUNCTION @extschema@._note_loaded();

-- Internal: return the tables with encrypted columns on which this transaction has changed privileges.
--
-- The changes on their views count, too. PostgreSQL does not say to an event trigger which object a GRANT or REVOKE is
-- about.
-- EXECUTE: nobody
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
    -- A row of this transaction, or of one of its subtransactions, which have later numbers, and perhaps of others that
    -- have committed since this transaction began.
    relations := ARRAY(SELECT c.oid FROM pg_class AS c WHERE age(c.xmin) <= began);
    -- Privileges on columns are in the rows of the columns, of which there are many. The counter is of what this
    -- session has updated, also in earlier transactions, until it reports that.
    IF pg_stat_get_xact_tuples_updated('pg_attribute'::regclass) > 0 OR current_setting('track_counts') <> 'on' THEN
        relations := relations || ARRAY(SELECT DISTINCT a.attrelid FROM pg_attribute AS a WHERE age(a.xmin) <= began);
        PERFORM pg_stat_force_next_flush();
    END IF;
    relations := ARRAY(
        SELECT changed.oid FROM @extschema@.encrypted_relation AS r
        CROSS JOIN LATERAL (VALUES (r.base::oid), (r.relation::oid)) AS changed (oid)
        WHERE changed.oid = ANY (relations)
    );
    IF relations = '{}' THEN
        RETURN;
    END IF;
    -- A fault in a table that others have changed is none of this statement's.
    relations := ARRAY(
        SELECT c.oid FROM pg_class AS c
        WHERE c.oid = ANY (relations)
            AND (
                CASE WHEN age(c.xmin) <= began THEN @extschema@._is_own(c.xmin) ELSE false END
                OR EXISTS (
                    SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid
                        AND CASE WHEN age(a.xmin) <= began THEN @extschema@._is_own(a.xmin) ELSE false END
                )
            )
    );
    RETURN QUERY SELECT r.base::oid, r.relation::oid FROM @extschema@.encrypted_relation AS r
        WHERE r.relation = ANY (relations)
        UNION ALL SELECT r.base::oid, r.base::oid FROM @extschema@.encrypted_relation AS r
        WHERE r.base = ANY (relations) AND r.relation <> ALL (relations);
END
$$;

-- Internal: tables with encrypted columns that have values of one of these types, at any depth.
-- EXECUTE: nobody
CREATE FUNCTION @extschema@._using_types(types oid[])
RETURNS TABLE (base oid)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
BEGIN
    IF types = '{}' THEN
        RETURN;
    END IF;
    RETURN QUERY
        -- The types that are made of these ones, at any depth, and the relations that have a column of such a type. A
        -- table that inherits from another, or is a partition of it, gets and loses columns with it.
        WITH RECURSIVE used (type, relation) AS (
            SELECT altered_type, 0::oid FROM unnest(types) AS altered_type
            UNION
            SELECT next.type, next.relation FROM used CROSS JOIN LATERAL (
                SELECT coalesce(c.reltype, d.objid) AS type, coalesce(c.oid, 0::oid) AS relation
                FROM pg_depend AS d LEFT JOIN pg_class AS c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
                WHERE d.refclassid = 'pg_type'::regclass AND d.refobjid = used.type
                    AND d.classid IN ('pg_type'::regclass, 'pg_class'::regclass)
                UNION ALL
                SELECT c.reltype, 0::oid FROM pg_type AS t JOIN pg_inherits AS i ON i.inhparent = t.typrelid
                JOIN pg_class AS c ON c.oid = i.inhrelid WHERE t.oid = used.type
            ) AS next
            WHERE used.type <> 0
        )
        SELECT r.base::oid FROM used JOIN @extschema@.encrypted_relation AS r ON r.base::oid = used.relation
            WHERE used.relation <> 0
        UNION SELECT r.base::oid FROM used JOIN @extschema@.encrypted_relation AS r ON r.relation::oid = used.relation
            WHERE used.relation <> 0
        UNION SELECT r.base::oid FROM used JOIN @extschema@.encrypted_column AS e ON e.data_type::oid = used.type
            JOIN @extschema@.encrypted_relation AS r ON r.id = e.relation_id;
END
$$;

-- Internal: return the tables with encrypted columns that the statement of an event trigger concerns.
--
-- The Python side, column/ddl.py, describes the columns of the result.
-- EXECUTE: nobody
CREATE FUNCTION @extschema@._concerned()
RETURNS TABLE (base oid, altered oid, command text, kind text)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
-- The planner overestimates the result, and compiling the query would take a hundred times longer than running it.
SET jit = off
AS $$
DECLARE
    one record;
    types oid[] := '{}';
    members oid[];
BEGIN
    FOR one IN SELECT DISTINCT d.classid, d.objid, d.command_tag, d.object_type FROM pg_event_trigger_ddl_commands() AS d LOOP
        command := one.command_tag;
        altered := one.objid;
        IF one.command_tag ~ '^(CREATE|ALTER) (POLICY|PUBLICATION)$|^CREATE (RULE|STATISTICS|.*VIEW|FUNCTION|PROCEDURE)$' THEN
            -- The object reads an encrypted column of a base table, which has NULL there. A view reads it by its rule.
            kind := 'dependent';
            FOR base IN
                SELECT DISTINCT r.base::oid FROM pg_depend AS d
                JOIN pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
                CROSS JOIN LATERAL (
                    SELECT d.refobjid UNION SELECT p.relid::oid FROM pg_partition_ancestors(d.refobjid) AS p (relid)
                ) AS p (oid)
                JOIN @extschema@.encrypted_relation AS r ON r.base::oid = p.oid AND r.relation::oid <> one.objid
                JOIN @extschema@.encrypted_column AS e ON e.relation_id = r.id AND e.column_name = a.attname
                WHERE d.refclassid = 'pg_class'::regclass AND (
                    d.classid = one.classid AND d.objid = one.objid
                    OR d.classid = 'pg_rewrite'::regclass
                        AND one.classid = 'pg_class'::regclass
                        AND d.objid IN (SELECT w.oid FROM pg_rewrite AS w WHERE w.ev_class = one.objid)
                    OR d.classid = 'pg_publication_rel'::regclass
                        AND one.classid = 'pg_publication'::regclass
                        AND d.objid IN (SELECT p.oid FROM pg_publication_rel AS p WHERE p.prpubid = one.objid)
                )
            LOOP
                RETURN NEXT;
            END LOOP;
        END IF;
        IF one.command_tag IN ('GRANT', 'REVOKE') THEN
            IF one.object_type = 'TABLE' THEN
                kind := 'grant';
                FOR base, altered IN SELECT g.base, g.altered FROM @extschema@._granted() AS g LOOP
                    RETURN NEXT;
                END LOOP;
            END IF;
        ELSIF one.command_tag = 'COMMENT' THEN
            kind := 'comment';
            FOR base IN
                SELECT r.base::oid FROM @extschema@.encrypted_relation AS r
                WHERE one.classid = 'pg_class'::regclass AND one.objid IN (r.base::oid, r.relation::oid)
            LOOP
                RETURN NEXT;
            END LOOP;
        ELSIF one.classid = 'pg_class'::regclass THEN
            IF one.command_tag = 'CREATE VIEW' THEN
                -- An existing view may have a new column, and so its row type has a new field.
                types := types || ARRAY(SELECT c.reltype FROM pg_class AS c WHERE c.oid = one.objid);
                CONTINUE;
            END IF;
            kind := CASE one.command_tag WHEN 'CREATE INDEX' THEN 'index' ELSE 'table' END;
            -- The registry has the root of a partitioned table only.
            members := ARRAY(
                SELECT a.oid::oid FROM pg_partition_ancestors(
                    coalesce((SELECT i.indrelid FROM pg_index AS i WHERE i.indexrelid = one.objid), one.objid::oid)
                ) AS a (oid)
            );
            IF kind = 'table' THEN
                -- It is a partition. Or another table inherits from it now, or has it as a partition.
                FOR base IN
                    SELECT r.base::oid FROM @extschema@.encrypted_relation AS r
                        WHERE r.base::oid = ANY (members) AND r.base::oid <> one.objid
                    UNION SELECT r.base::oid FROM pg_inherits AS i JOIN @extschema@.encrypted_relation AS r
                        ON r.base::oid = i.inhparent WHERE i.inhrelid = one.objid
                    UNION SELECT r.base::oid FROM pg_inherits AS i JOIN @extschema@.encrypted_relation AS r
                        ON r.base::oid = i.inhrelid WHERE i.inhparent = one.objid
                        -- A detached partition that was attached again is looked at with its parent.
                        AND NOT EXISTS (
                            SELECT FROM @extschema@.encrypted_relation AS o WHERE o.base::oid IN (
                                SELECT a.oid::oid FROM pg_partition_ancestors(i.inhrelid) AS a (oid)
                                WHERE a.oid::oid <> i.inhrelid
                            )
                        )
                LOOP
                    RETURN NEXT;
                END LOOP;
            END IF;
            IF one.command_tag IN ('CREATE TABLE', 'CREATE FOREIGN TABLE') THEN
                CONTINUE;
            END IF;
            FOR base IN
                SELECT r.base::oid FROM @extschema@.encrypted_relation AS r
                WHERE r.base::oid = CASE kind
                    WHEN 'index' THEN (SELECT i.indrelid FROM pg_index AS i WHERE i.indexrelid = one.objid)
                    ELSE one.objid END
                    OR (kind = 'index' AND r.base::oid = ANY (members))
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
                    OR r.base::oid IN (SELECT a.oid::oid FROM pg_partition_ancestors(t.tgrelid) AS a (oid))
                WHERE t.oid = one.objid
            LOOP
                RETURN NEXT;
            END LOOP;
        ELSIF one.classid = 'pg_type'::regclass THEN
            types := types || one.objid;
        ELSIF one.classid = 'pg_cast'::regclass THEN
            kind := 'cast';
            FOR base IN
                SELECT u.base FROM pg_cast AS c CROSS JOIN LATERAL @extschema@._using_types(ARRAY[
                    CASE c.castsource WHEN 'text'::regtype THEN c.casttarget ELSE c.castsource END
                ]) AS u
                WHERE c.oid = one.objid AND 'text'::regtype IN (c.castsource, c.casttarget)
            LOOP
                RETURN NEXT;
            END LOOP;
        ELSIF one.command_tag IN ('CREATE FUNCTION', 'CREATE PROCEDURE') THEN
            -- OR REPLACE gives the triggers of existing tables another body.
            kind := 'function';
            FOR base IN
                SELECT DISTINCT r.base::oid FROM pg_proc AS p JOIN pg_trigger AS t ON t.tgfoid = p.oid
                JOIN @extschema@.encrypted_relation AS r ON r.base::oid = t.tgrelid
                    OR r.base::oid IN (SELECT a.oid::oid FROM pg_partition_ancestors(t.tgrelid) AS a (oid))
                WHERE p.oid = one.objid AND p.pronamespace <> '@extschema@'::regnamespace AND NOT t.tgisinternal
            LOOP
                RETURN NEXT;
            END LOOP;
        ELSIF one.classid IN ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_collation'::regclass, 'pg_extension'::regclass)
        THEN
            -- Text here may name it: a constraint, or the expression of a generated column that a constraint mentions.
            kind := 'name';
            FOR base IN
                SELECT DISTINCT r.base::oid FROM @extschema@.encrypted_constraint AS e
                JOIN @extschema@.encrypted_relation AS r ON r.id = e.relation_id
                WHERE e.kind = 'c' AND (e.definition ~ '[[:alnum:]_$"]\.[[:alpha:]_"]' OR EXISTS (
                    SELECT FROM pg_attribute AS a WHERE a.attrelid = r.base::oid AND a.attgenerated <> ''
                ))
                -- The functions of the triggers name the collations of columns.
                UNION SELECT r.base::oid FROM @extschema@.encrypted_relation AS r
                WHERE one.classid = 'pg_collation'::regclass AND EXISTS (
                    SELECT FROM pg_attribute AS a WHERE a.attrelid = r.base::oid AND a.attcollation = one.objid
                )
            LOOP
                RETURN NEXT;
            END LOOP;
            IF one.classid = 'pg_extension'::regclass THEN
                types := types || ARRAY(
                    SELECT d.objid FROM pg_depend AS d WHERE d.refclassid = 'pg_extension'::regclass
                        AND d.refobjid = one.objid AND d.classid = 'pg_type'::regclass AND d.deptype = 'e'
                );
            END IF;
        ELSIF one.classid = 'pg_namespace'::regclass AND one.command_tag = 'ALTER SCHEMA' THEN
            kind := 'schema';
            FOR base IN
                SELECT r.base::oid FROM @extschema@.encrypted_relation AS r JOIN pg_class AS c
                    ON c.oid IN (r.base::oid, r.relation::oid) WHERE c.relnamespace = one.objid
                UNION SELECT r.base::oid FROM @extschema@.encrypted_column AS e
                    JOIN @extschema@.encrypted_relation AS r ON r.id = e.relation_id
                    JOIN pg_type AS t ON t.oid = e.data_type::oid WHERE t.typnamespace = one.objid
                UNION SELECT r.base::oid FROM @extschema@.encrypted_relation AS r
                    JOIN pg_attribute AS a ON a.attrelid = r.base::oid
                    JOIN pg_collation AS c ON c.oid = a.attcollation WHERE c.collnamespace = one.objid
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
    kind := 'type';
    FOR base IN SELECT u.base FROM @extschema@._using_types(types) AS u LOOP
        RETURN NEXT;
    END LOOP;
END
$$;

-- Internal: return the role whose statement an event trigger is called for.
--
-- This is the current user outside of functions with SECURITY DEFINER.
-- EXECUTE: nobody
CREATE FUNCTION @extschema@._invoker()
RETURNS oid
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT r.oid FROM pg_roles AS r
    WHERE r.rolname = CASE current_setting('role') WHEN 'none' THEN session_user ELSE current_setting('role') END
$$;

-- Internal: notice DDL that concerns tables with encrypted columns; all other DDL passes.
-- EXECUTE: nobody
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
        -- The extension's schema has another name now, so none of the names below is found any more.
        EXECUTE format(
            'SELECT EXISTS (SELECT FROM %s.encrypted_relation)',
            (SELECT p.pronamespace::regnamespace FROM pg_event_trigger AS e JOIN pg_proc AS p ON p.oid = e.evtfoid
            WHERE e.evtname = 'pgkeymgr_ddl')
        ) INTO is_used;
        IF is_used THEN
                        RAISE EXCEPTION 'the schema of pgkeymgr must keep its name, which tables with encrypted columns use'
                USING ERRCODE = '0A000';
        END IF;
        -- The owner could put another schema in its place, whose functions and triggers would run as a superuser.
        IF EXISTS (
            SELECT FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
            JOIN pg_roles AS r ON r.oid = n.nspowner WHERE e.extname = 'pgkeymgr' AND NOT r.rolsuper
        ) THEN
            RAISE EXCEPTION 'the schema of pgkeymgr must keep its name' USING ERRCODE = '0A000',
                HINT = 'Let a superuser own the schema: ALTER SCHEMA ... OWNER TO.';
        END IF;
        RETURN;
    END IF;
    IF NOT EXISTS (SELECT FROM @extschema@.encrypted_relation) THEN
        RETURN;
    END IF;
    -- The extension is being updated, and finish_update() makes all views and triggers again.
    IF tg_tag = 'ALTER EXTENSION' AND EXISTS (
        SELECT FROM @extschema@.encrypted_relation AS r WHERE r.made_by <> '@version@'
    ) THEN
        RETURN;
    END IF;
    -- A dump that is restored with --disable-triggers enables the triggers of the registry's tables after their rows.
    IF tg_tag = 'ALTER TABLE' AND EXISTS (
        SELECT FROM pg_event_trigger_ddl_commands() AS d WHERE d.classid = 'pg_class'::regclass
            AND d.objid IN ('@extschema@.encrypted_relation'::regclass, '@extschema@.encrypted_column'::regclass)
    ) THEN
        UPDATE @extschema@.encrypted_relation AS r SET base = r.base WHERE r.base_name IS NOT NULL;
        UPDATE @extschema@.encrypted_column AS c SET data_type = c.data_type WHERE c.data_type_name IS NOT NULL;
    END IF;
    FOR one IN SELECT * FROM @extschema@._concerned() LOOP
        -- PL/Python runs each query in a subtransaction, which cannot begin before PostgreSQL has processed the
        -- invalidations of the statement; it does after a command that could have written.
        DELETE FROM @extschema@.column_operation WHERE false;
        PERFORM @extschema@._after_ddl(one.base, one.altered, one.command, one.kind, @extschema@._invoker());
    END LOOP;
END
$$;

-- Internal: note that a table with encrypted columns was dropped, and keep the definition of its columns.
-- EXECUTE: nobody
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
        SELECT r.id, d.object_identity AS base_name, coalesce(v.object_identity, format('%I.%I', d.schema_name, r.name))
            AS relation_name
        FROM pg_event_trigger_dropped_objects() AS d
        JOIN @extschema@.encrypted_relation AS r ON r.base::oid = d.objid
        LEFT JOIN pg_event_trigger_dropped_objects() AS v
            ON v.classid = 'pg_class'::regclass AND v.objid = r.relation::oid AND v.objsubid = 0 AND v.objid <> d.objid
        WHERE d.classid = 'pg_class'::regclass AND d.objsubid = 0
    LOOP
        -- The definition stays. A tool may put a copy of the table in its place, which only the column's uuid opens.
        DELETE FROM @extschema@.operation_leaf AS o USING @extschema@.encrypted_column AS c
        WHERE c.relation_id = one.id AND o.column_id = c.id;
        DELETE FROM @extschema@.column_operation AS o USING @extschema@.encrypted_column AS c
        WHERE c.relation_id = one.id AND o.column_id = c.id;
        DELETE FROM @extschema@.encrypted_partition AS p WHERE p.relation_id = one.id;
        UPDATE @extschema@.encrypted_relation AS r SET dropped = clock_timestamp(), base = 0, base_name = one.base_name,
            relation = 0, relation_name = one.relation_name
        WHERE r.id = one.id;
        FOR generated IN
            SELECT p.oid::regprocedure FROM pg_proc AS p
            WHERE p.pronamespace = '@extschema@'::regnamespace
                AND p.proname ~ ('^_(insert|update|check|seal_insert|seal_update)_' || one.id || '$')
                -- Citus drops a table that it has copied, and then gives the copy the triggers of the table.
                AND NOT EXISTS (SELECT FROM pg_extension AS x WHERE x.extname = 'citus')
        LOOP
            -- Objects of other roles may depend on it, and must not make this statement fail.
            EXECUTE format('DROP FUNCTION %s CASCADE', generated);
        END LOOP;
    END LOOP;
    DELETE FROM @extschema@.encrypted_partition AS p USING pg_event_trigger_dropped_objects() AS d
    WHERE d.classid = 'pg_class'::regclass AND d.objsubid = 0 AND p.partition = d.objid;
    -- A type that is dropped with such a table, or later, keeps its name there.
    UPDATE @extschema@.encrypted_column AS c SET data_type = 0, data_type_name = d.object_identity
    FROM pg_event_trigger_dropped_objects() AS d, @extschema@.encrypted_relation AS r
    WHERE d.classid = 'pg_type'::regclass AND d.objid = c.data_type::oid AND r.id = c.relation_id
        AND r.dropped IS NOT NULL;
    IF NOT EXISTS (SELECT FROM @extschema@.encrypted_relation) THEN
        RETURN;
    END IF;
    -- A type, for instance, that is dropped with CASCADE takes the columns of this type along. For ALTER TABLE, the
    -- other event trigger looks at the table as it has become.
    IF tg_tag <> 'ALTER TABLE' THEN
        FOR one IN
            SELECT r.base, d.address_names[3] AS name, d.address_names[3] = ANY (r.key_columns) AS is_key
            FROM pg_event_trigger_dropped_objects() AS d
            JOIN @extschema@.encrypted_relation AS r ON r.base::oid = d.objid
            WHERE d.classid = 'pg_class'::regclass AND d.objsubid <> 0 AND (
                d.address_names[3] = ANY (r.key_columns) OR EXISTS (
                    SELECT FROM @extschema@.encrypted_column AS c WHERE c.relation_id = r.id
                        AND d.address_names[3] IN (c.column_name, c.cipher_column, c.blind_column, c.key_by)
                ) OR EXISTS (
                    SELECT FROM @extschema@.encrypted_terms AS t
                    JOIN @extschema@.encrypted_column AS c ON c.id = t.column_id
                    WHERE c.relation_id = r.id AND d.address_names[3] = t.terms_column
                )
            )
        LOOP
            RAISE EXCEPTION 'cannot drop column "%" of table % because %', one.name, one.base, CASE
                WHEN one.is_key THEN 'the values of encrypted columns are bound to it'
                ELSE 'it belongs to an encrypted column' END
                USING ERRCODE = 'dependent_objects_still_exist',
                HINT = 'decrypt_column() makes encrypted columns plain ones again.';
        END LOOP;
    END IF;
    FOR one IN
        -- The view of a table that lost a column goes, too. It comes back without the column.
        SELECT r.base::oid AS base, 'table' AS kind
        FROM pg_event_trigger_dropped_objects() AS d
        JOIN @extschema@.encrypted_relation AS r ON r.relation::oid = d.objid
        WHERE d.classid = 'pg_class'::regclass AND d.objsubid = 0 AND (
            tg_tag = 'ALTER TABLE' OR EXISTS (
                SELECT FROM pg_event_trigger_dropped_objects() AS c
                WHERE c.classid = 'pg_class'::regclass AND c.objid = r.base::oid AND c.objsubid <> 0
            )
        )
        -- A composite type or a row type lost a field.
        UNION SELECT u.base, 'type' FROM @extschema@._using_types(ARRAY(
            SELECT c.reltype FROM pg_event_trigger_dropped_objects() AS d JOIN pg_class AS c ON c.oid = d.objid
            WHERE d.classid = 'pg_class'::regclass AND d.objsubid <> 0 AND c.reltype <> 0 AND tg_tag <> 'ALTER TABLE'
        )) AS u
        -- A CHECK constraint, which is text here, has the name of an object that has gone.
        UNION SELECT r.base::oid, 'name' FROM @extschema@.encrypted_constraint AS e
        JOIN @extschema@.encrypted_relation AS r ON r.id = e.relation_id
        JOIN pg_event_trigger_dropped_objects() AS d
            ON d.classid IN ('pg_proc'::regclass, 'pg_type'::regclass, 'pg_operator'::regclass, 'pg_collation'::regclass)
            AND NOT d.is_temporary
        WHERE e.kind = 'c' AND strpos(lower(e.definition), lower(coalesce(d.object_name, d.address_names[
            array_upper(d.address_names, 1)]))) > 0
        -- The triggers found rows by an index that has gone. The catalog no longer shows which table that was.
        UNION SELECT r.base::oid, 'name' FROM @extschema@.encrypted_relation AS r
        WHERE tg_tag <> 'ALTER TABLE' AND r.key_columns <> '{}'
            AND EXISTS (SELECT FROM pg_event_trigger_dropped_objects() AS d WHERE d.object_type = 'index')
            AND EXISTS (SELECT FROM pg_class AS c WHERE c.oid = r.base::oid)
            AND NOT EXISTS (
                SELECT FROM pg_index AS i WHERE i.indrelid = r.base::oid AND i.indisunique AND ARRAY(
                    SELECT a.attname FROM pg_attribute AS a
                    WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[])
                ) <@ r.key_columns
            )
    LOOP
        DELETE FROM @extschema@.column_operation WHERE false;
        PERFORM @extschema@._after_ddl(one.base, one.base, tg_tag, one.kind, @extschema@._invoker());
    END LOOP;
END
$$;

-- Internal: refuse ALTER TABLE ... ATTACH PARTITION of a plain table, and say how it is attached.
--
-- PostgreSQL would refuse it as well, since the plain table has no column for the ciphertext. The search_path of the
-- statement is unknown here; so all tables of the names count.
-- EXECUTE: nobody
CREATE FUNCTION @extschema@._refuse_attach(statement text)
RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    word text := '(?:"(?:[^"]|"")+"|[[:alpha:]_][[:alnum:]_$]*)';
    parts text[] := regexp_match(statement, format(
        '^\s*alter\s+table\s+(?:if\s+exists\s+)?(?:only\s+)?(%1$s(?:\.%1$s)?)\s+attach\s+partition\s+(%1$s(?:\.%1$s)?)'
        '\s+(for\s+values.*?|default)[\s;]*$', word
    ), 'i');
    parent text[] := parse_ident(parts[1]);
    partition text[] := parse_ident(parts[2]);
    parents oid[];
    partitions oid[];
    one record;
BEGIN
    parents := ARRAY(
        SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relname = parent[cardinality(parent)] AND (cardinality(parent) = 1 OR n.nspname = parent[1])
            AND c.relkind IN ('p', 'v')
    );
    partitions := ARRAY(
        SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relname = partition[cardinality(partition)] AND c.relkind IN ('r', 'p')
            AND (cardinality(partition) = 1 OR n.nspname = partition[1])
    );
    FOR one IN
        SELECT r.name, CASE WHEN p.relkind = 'v' THEN r.base ELSE p.oid::regclass END AS parent, c.oid::regclass AS partition
        FROM @extschema@.encrypted_relation AS r
        JOIN pg_class AS b ON b.oid = r.base::oid AND b.relkind = 'p'
        JOIN pg_class AS p ON p.oid = ANY (parents) AND (p.oid IN (r.base::oid, r.relation::oid)
            OR r.base::oid IN (SELECT a.oid::oid FROM pg_partition_ancestors(p.oid) AS a (oid)))
        JOIN pg_class AS c ON c.oid = ANY (partitions)
        WHERE cardinality(parents) = 1 AND cardinality(partitions) = 1 AND EXISTS (
            SELECT FROM @extschema@.encrypted_column AS e WHERE e.relation_id = r.id AND NOT EXISTS (
                SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = e.cipher_column
                    AND NOT a.attisdropped
            )
        )
    LOOP
        RAISE EXCEPTION 'cannot attach % to %: its rows are not encrypted for %', one.partition, one.parent, one.name
            USING ERRCODE = '0A000', HINT = format(
                'CALL @extschema@.attach_encrypted_partition(%L, %L, %L) encrypts its rows in batches, and attaches it.',
                one.parent::text, one.partition::text, parts[3]
            );
    END LOOP;
END
$$;

-- Internal: remember what depends on the views of encrypted tables, which ALTER TABLE may drop.
--
-- DROP COLUMN ... CASCADE on a base table drops its view, and all objects that depend on the view. After the statement,
-- nothing shows which objects these were, and before it, nothing shows which table it will alter.
-- EXECUTE: nobody
CREATE FUNCTION @extschema@._on_start()
RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
DECLARE
    bases oid[];
BEGIN
    IF to_regclass('@extschema@.encrypted_relation') IS NULL THEN
        RETURN;
    END IF;
    IF current_query() ~* '^\s*alter\s+table\M.*\mattach\s+partition\M' THEN
        PERFORM @extschema@._refuse_attach(current_query());
    END IF;
    -- A client's own ALTER TABLE without the word drops no column. With a thousand encrypted tables, the query below
    -- takes longer than the whole statement.
    IF current_query() ~* '^\s*alter\s+table\M' AND current_query() !~* 'drop' THEN
        RETURN;
    END IF;
    bases := ARRAY(
        SELECT DISTINCT r.base::oid FROM @extschema@.encrypted_relation AS r JOIN pg_class AS c ON c.oid = r.relation::oid
        CROSS JOIN LATERAL (
            SELECT d.classid, d.objid FROM pg_depend AS d
            WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.deptype IN ('n', 'a')
            UNION ALL SELECT d.classid, d.objid FROM pg_type AS t JOIN pg_depend AS d
                ON d.refclassid = 'pg_type'::regclass AND d.refobjid IN (t.oid, t.typarray) AND d.deptype IN ('n', 'a')
            WHERE t.oid = c.reltype
        ) AS d
        LEFT JOIN pg_rewrite AS w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
        LEFT JOIN pg_trigger AS t ON d.classid = 'pg_trigger'::regclass AND t.oid = d.objid
        WHERE c.relkind = 'v' AND d.classid <> 'pg_attrdef'::regclass AND t.tgname::text IS DISTINCT FROM 'pgkeymgr_insert'
            AND t.tgname::text IS DISTINCT FROM 'pgkeymgr_update'
            AND (w.ev_class IS DISTINCT FROM c.oid OR w.rulename <> '_RETURN')
    );
    IF bases <> '{}' THEN
        -- Reading definitions takes milliseconds for each object, and few statements drop a column. A function can run
        -- one of which the client's statement shows nothing: it is refused, if it drops something else with a view.
        PERFORM @extschema@._before_ddl(
            bases, coalesce(current_query() ~* 'drop', true), @extschema@._invoker()
        );
    END IF;
END
$$;

CREATE EVENT TRIGGER pgkeymgr_start ON ddl_command_start
    WHEN TAG IN ('ALTER TABLE')
    EXECUTE FUNCTION @extschema@._on_start();
COMMENT ON EVENT TRIGGER pgkeymgr_start IS
    'pgkeymgr: what depends on the view of an encrypted table comes back with the view after DROP COLUMN ... CASCADE.';
CREATE EVENT TRIGGER pgkeymgr_ddl ON ddl_command_end
    WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE', 'CREATE FOREIGN TABLE', 'ALTER FOREIGN TABLE', 'ALTER VIEW', 'ALTER SCHEMA',
        'ALTER TYPE', 'ALTER DOMAIN', 'CREATE INDEX', 'CREATE TRIGGER', 'ALTER TRIGGER', 'GRANT', 'REVOKE', 'CREATE SCHEMA',
        'CREATE VIEW', 'CREATE MATERIALIZED VIEW', 'CREATE RULE', 'CREATE POLICY', 'ALTER POLICY', 'CREATE STATISTICS',
        'CREATE PUBLICATION', 'ALTER PUBLICATION', 'CREATE CAST', 'COMMENT', 'CREATE FUNCTION', 'CREATE PROCEDURE',
        'ALTER FUNCTION', 'ALTER ROUTINE', 'ALTER OPERATOR', 'ALTER COLLATION', 'ALTER EXTENSION')
    EXECUTE FUNCTION @extschema@._on_ddl();
COMMENT ON EVENT TRIGGER pgkeymgr_ddl IS
    'pgkeymgr: let the views of encrypted tables follow DDL on their base tables, and refuse indexes on ciphertext.';
CREATE EVENT TRIGGER pgkeymgr_drop ON sql_drop
    EXECUTE FUNCTION @extschema@._on_drop();
COMMENT ON EVENT TRIGGER pgkeymgr_drop IS
    'pgkeymgr: keep the definitions of the encrypted columns of a table that is dropped.';
