-- Tests that do the same to plain tables and to encrypted ones; the ROLLBACK of the file that includes this removes it.
--
-- Most tests run twice: on tables in the schema plain, and on the same tables in the schema coded, with columns of them
-- encrypted. The results must be the same.

CREATE SCHEMA plain;
CREATE SCHEMA coded;
GRANT USAGE ON SCHEMA plain, coded, public TO PUBLIC;
SELECT create_data_key('test column');
CREATE ROLE pgkeymgr_test_alice;
CREATE ROLE pgkeymgr_test_bob;
CREATE ROLE pgkeymgr_test_late;

-- Return the rows that a statement gives in a schema, or SQLSTATE, constraint and column of its error. The statement must
-- have RETURNING.
CREATE FUNCTION tap.result(schema text, statement text, role text DEFAULT 'none') RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    path text := current_setting('search_path');
    one record;
    gave text[] := '{}';
    given text;
    state text;
    named_constraint text;
    named_column text;
BEGIN
    BEGIN
        PERFORM set_config('search_path', quote_ident(schema) || ', public', true), set_config('role', role, true);
        FOR one IN EXECUTE statement LOOP
            gave := gave || one::text;
        END LOOP;
        -- In no order: RETURNING has none.
        SELECT coalesce(string_agg(g, '' ORDER BY g), '') INTO given FROM unnest(gave) AS g;
        PERFORM set_config('search_path', path, true), set_config('role', 'none', true);
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, named_constraint = CONSTRAINT_NAME,
            named_column = COLUMN_NAME;
        -- PostgreSQL itself does not tell the column of a generated one that is written.
        given := concat_ws(' ', state, nullif(named_constraint, ''), nullif(nullif(named_column, ''), 'twice'));
    END;
    RETURN given;
END
$$;

-- Return the whole error of a statement that fails.
CREATE FUNCTION tap.failure(schema text, statement text, role text DEFAULT 'none') RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    state text;
    message text;
    detail text;
    hint text;
    context text;
BEGIN
    PERFORM set_config('search_path', quote_ident(schema) || ', public', true), set_config('role', role, true);
    EXECUTE statement;
    RAISE EXCEPTION 'no error' USING ERRCODE = '00001';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
        hint = PG_EXCEPTION_HINT, context = PG_EXCEPTION_CONTEXT;
    RETURN concat_ws(E'\n', state || ': ' || message, detail, hint, regexp_replace(context, 'SQL statement ".*', ''));
END
$$;

-- In what the tables differ. Sequences are made equal afterwards: an error of the triggers comes after nextval(), one of
-- the parser before it.
CREATE FUNCTION tap.difference(relation text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    more text;
    less text;
    sequence name;
BEGIN
    EXECUTE format(
        'SELECT string_agg(t, '' '') FROM (SELECT whole_row::text FROM coded.%1$s AS whole_row EXCEPT ALL
         SELECT whole_row::text FROM plain.%1$s AS whole_row) AS t (t)', relation
    ) INTO more;
    EXECUTE format(
        'SELECT string_agg(t, '' '') FROM (SELECT whole_row::text FROM plain.%1$s AS whole_row EXCEPT ALL
         SELECT whole_row::text FROM coded.%1$s AS whole_row) AS t (t)', relation
    ) INTO less;
    FOR sequence IN SELECT relname FROM pg_class WHERE relnamespace = 'plain'::regnamespace AND relkind = 'S' LOOP
        EXECUTE format('SELECT setval(''coded.%1$I'', last_value, is_called) FROM plain.%1$I', sequence);
    END LOOP;
    RETURN concat(' too much: ' || more, ' too little: ' || less);
END
$$;

-- One test: a statement does in both schemas the same, to the table too.
CREATE FUNCTION tap.same(statement text, relation text, role text DEFAULT 'none') RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    want text;
    got text;
BEGIN
    BEGIN
        want := result('plain', statement, role);
        got := result('coded', statement, role) || difference(relation);
        -- A difference is undone, so that the tests after it do not fail as well.
        IF got <> want THEN
            RAISE EXCEPTION 'to be undone' USING ERRCODE = '00002';
        END IF;
    EXCEPTION WHEN SQLSTATE '00002' THEN NULL;
    END;
    RETURN is(got, want, regexp_replace(concat_ws(' as ', statement, nullif(role, 'none')), '\s+', ' ', 'g'));
END
$$;

-- DDL in both schemas.
CREATE FUNCTION tap.twice(ddl text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    path text := current_setting('search_path');
    schema text;
BEGIN
    FOREACH schema IN ARRAY ARRAY['plain', 'coded'] LOOP
        PERFORM set_config('search_path', schema || ', public, tap', true);
        EXECUTE ddl;
    END LOOP;
    PERFORM set_config('search_path', path, true);
END
$$;
