-- A schema of traps: pgkeymgr's code would find them if it named a thing without its schema. The databases of the
-- tests' hostile mode (PGK_HOSTILE=1, see cluster.py) have it.
--
-- For each type of pg_catalog the schema has a domain with a CHECK that raises an error, for each operator and each
-- function another one on the same arguments, for each relation a view; and the same for what the extension has.
-- Each function of the extension that sets no search_path gets one that begins with this schema, and so do the
-- functions that it generates. So the tests' own statements find what they always do, and only the extension's code
-- springs a trap. The server's log also reports it, even if a handler of errors hides it.
CREATE SCHEMA hostile;
GRANT USAGE ON SCHEMA hostile TO PUBLIC;
SET check_function_bodies = off;
SET client_min_messages = warning;

CREATE FUNCTION hostile._spring(trap pg_catalog.text) RETURNS pg_catalog.bool LANGUAGE plpgsql AS $$
BEGIN
    RAISE LOG 'hostile: %', trap;
    RAISE EXCEPTION 'hostile: %', trap USING ERRCODE = 'EVIL0';
END
$$;

CREATE FUNCTION hostile._plant_function(name text, arguments oid[], is_variadic boolean, result oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET check_function_bodies = off AS $$
DECLARE
    types text;
    is_pseudo boolean;
    body text;
BEGIN
    SELECT string_agg(
            CASE WHEN is_variadic AND i = cardinality(arguments) THEN 'VARIADIC ' ELSE '' END || a.type::regtype, ', '
            ORDER BY i
        ),
        bool_or(t.typtype = 'p' AND t.typname NOT LIKE 'any_%')
    INTO types, is_pseudo
    FROM unnest(arguments) WITH ORDINALITY AS a (type, i) JOIN pg_type AS t ON t.oid = a.type;
    body := format('plpgsql AS %L', format('BEGIN PERFORM hostile._spring(%L); END', 'function ' || name));
    IF is_pseudo THEN
        -- PL/pgSQL does not take these types; that function of PostgreSQL raises an error whatever it is given.
        body := 'internal AS ''anyarray_in''';
    END IF;
    EXECUTE format('CREATE FUNCTION hostile.%I(%s) RETURNS %s LANGUAGE %s', name, types, result::regtype, body);
EXCEPTION WHEN duplicate_function THEN
    NULL;
END
$$;

CREATE FUNCTION hostile._plant_type(name text, base text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format(
        'CREATE DOMAIN hostile.%I AS %s CHECK (hostile._spring(%L))', name, base, 'type ' || name
    );
EXCEPTION WHEN duplicate_object THEN
    NULL;
END
$$;

CREATE FUNCTION hostile._plant(schema regnamespace) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    relation name;
BEGIN
    -- Nothing in the schema depends on the extension, which some tests drop.
    PERFORM hostile._plant_type(
        t.typname, CASE WHEN t.typtype IN ('p', 'e') THEN 'text' ELSE t.oid::regtype::text END
    )
    FROM pg_type AS t
    WHERE t.typnamespace = schema AND t.typtype IN ('b', 'r', 'm', 'p', 'e')
        AND t.oid NOT IN (SELECT typarray FROM pg_type);
    PERFORM hostile._plant_function(
        p.proname, ARRAY(SELECT unnest(p.proargtypes)), p.provariadic <> 0,
        CASE WHEN r.typnamespace = 'pg_catalog'::regnamespace THEN p.prorettype ELSE 'text'::regtype END
    )
    FROM pg_proc AS p JOIN pg_type AS r ON r.oid = p.prorettype
    WHERE p.pronamespace = schema AND p.prokind <> 'p' AND NOT EXISTS (
        SELECT FROM pg_type AS t WHERE (t.oid = ANY (p.proargtypes) OR t.oid = p.prorettype) AND t.typtype = 'p'
            AND t.typname ~ '^(internal|cstring|trigger|event_trigger|[a-z_]+_handler)$'
            OR t.oid = ANY (p.proargtypes) AND t.typnamespace <> 'pg_catalog'::regnamespace
    );
    FOR relation IN SELECT relname FROM pg_class WHERE relnamespace = schema AND relkind IN ('r', 'v') LOOP
        EXECUTE format('CREATE VIEW hostile.%I AS SELECT hostile._spring(%L)', relation, 'relation ' || relation);
        EXECUTE format('GRANT SELECT ON hostile.%I TO PUBLIC', relation);
    END LOOP;
END
$$;

SELECT hostile._plant('pg_catalog');
DO $$
DECLARE
    one record;
    f text;
BEGIN
    FOR one IN SELECT * FROM pg_operator WHERE oprnamespace = 'pg_catalog'::regnamespace LOOP
        f := 'operator ' || one.oid::regoperator;
        PERFORM hostile._plant_function(f, array_remove(ARRAY[one.oprleft, one.oprright], 0::oid), false, one.oprresult);
        EXECUTE format(
            'CREATE OPERATOR hostile.%s (%s RIGHTARG = %s, FUNCTION = hostile.%I)', one.oprname,
            CASE WHEN one.oprleft <> 0 THEN format('LEFTARG = %s,', one.oprleft::regtype) END, one.oprright::regtype, f
        );
    END LOOP;
END
$$;

CREATE FUNCTION hostile._surround(function regprocedure, schema regnamespace) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    path text := format('hostile, pg_catalog, %s, tap, public', schema);
BEGIN
    IF (SELECT prokind FROM pg_proc WHERE oid = function) <> 'p' THEN
        EXECUTE format('ALTER FUNCTION %s SET search_path = %s', function, path);
        RETURN;
    END IF;
    -- A procedure that commits can have no settings.
    UPDATE pg_proc
    SET prosrc = format(E'\nplpy.execute("SELECT pg_catalog.set_config(''search_path'', ''%s'', true)")', path) || prosrc
    WHERE oid = function;
END
$$;

CREATE FUNCTION hostile._after_create() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET check_function_bodies = off AS $$
DECLARE
    schema regnamespace := (SELECT extnamespace FROM pg_extension WHERE extname = 'pgkeymgr');
BEGIN
    IF schema IS NULL THEN
        RETURN;
    END IF;
    IF tg_tag = 'CREATE FUNCTION' THEN
        PERFORM hostile._surround(p.oid, schema)
        FROM pg_event_trigger_ddl_commands() AS d JOIN pg_proc AS p ON p.oid = d.objid
        WHERE p.pronamespace = schema AND coalesce(array_to_string(p.proconfig, ','), '') !~ 'search_path';
    ELSIF to_regclass('hostile.key_wrap') IS NULL THEN
        PERFORM hostile._plant(schema);
        PERFORM hostile._surround(p.oid, schema) FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang
        WHERE p.pronamespace = schema AND l.lanname = 'plpython3u'
            AND coalesce(array_to_string(p.proconfig, ','), '') !~ 'search_path';
    END IF;
END
$$;
CREATE EVENT TRIGGER hostile ON ddl_command_end WHEN TAG IN ('CREATE EXTENSION', 'CREATE FUNCTION')
    EXECUTE FUNCTION hostile._after_create();

-- A test's own function that one of the extension's sets off, as a trigger, say, runs as its author meant it.
CREATE FUNCTION hostile._keep_path() RETURNS event_trigger LANGUAGE plpgsql AS $$
DECLARE
    one pg_catalog.oid;
BEGIN
    FOR one IN
        SELECT p.oid FROM pg_catalog.pg_event_trigger_ddl_commands() AS d
        JOIN pg_catalog.pg_proc AS p ON p.oid OPERATOR(pg_catalog.=) d.objid
        JOIN pg_catalog.pg_language AS l ON l.oid OPERATOR(pg_catalog.=) p.prolang
        WHERE l.lanname OPERATOR(pg_catalog.=) 'plpgsql' AND p.proconfig IS NULL AND NOT d.in_extension
            AND p.pronamespace OPERATOR(pg_catalog.<>) ALL (
                ARRAY(SELECT e.extnamespace FROM pg_catalog.pg_extension AS e
                WHERE e.extname OPERATOR(pg_catalog.=) 'pgkeymgr')
            )
    LOOP
        EXECUTE pg_catalog.format('ALTER FUNCTION %s SET search_path FROM CURRENT', one::pg_catalog.regprocedure);
    END LOOP;
END
$$;
CREATE EVENT TRIGGER hostile_keep_path ON ddl_command_end WHEN TAG IN ('CREATE FUNCTION')
    EXECUTE FUNCTION hostile._keep_path();
RESET check_function_bodies;
RESET client_min_messages;
