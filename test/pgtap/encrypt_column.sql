-- sql/column/encrypt_column.sql, cell.sql and ddl.sql: what can be seen within one transaction. What commits, or takes
-- more than one session, is in test/python/test_columns.py.

BEGIN;
SET search_path = pgkeymgr, tap, public;
SET client_min_messages = error;
\ir include/assertions.sql
SELECT no_plan();

-- Most of what follows is done twice: to tables in schema plain, and to the same ones in schema coded, with columns of
-- them encrypted. What comes of it must be the same.
CREATE SCHEMA plain;
CREATE SCHEMA coded;
GRANT USAGE ON SCHEMA plain, coded, public TO PUBLIC;
SELECT create_data_key('test column');
CREATE ROLE pgkeymgr_test_alice;
CREATE ROLE pgkeymgr_test_bob;
CREATE ROLE pgkeymgr_test_late;

-- What a statement gives in a schema: its rows, or SQLSTATE, constraint and column. It must have RETURNING.
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

-- What a statement that fails says, all of it.
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
        -- What went wrong once is not to go wrong in all that follows.
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

-- ------------------------------------------------------------------------------------------------------------------
-- Every type, written under some settings and read under others.

CREATE TYPE public.mood AS ENUM ('sad', 'it''s "so", \so', '');
CREATE DOMAIN public.short AS text CHECK (length(VALUE) < 30);
CREATE DOMAIN public.shorter AS public.short CHECK (VALUE <> 'no');
CREATE DOMAIN public.days AS date[];
CREATE TYPE public.pair AS (born date, note text, size float8, waited interval);
CREATE DOMAIN public.paired AS public.pair;

CREATE TEMP TABLE examples (type text, given text[]);
INSERT INTO examples VALUES
    ('text', ARRAY['', ' ', 'a', 'it''s', 'say "x"', E'two\nlines\r\n\tand \\ \\n', 'Grüße, 世界 🔑', 'NULL', '{}', '%s %I {s}',
        '$pgkeymgr$', '\x00', repeat('long ', 30000)]),
    ('varchar(12)', ARRAY['', 'a', 'twelve chars', 'üüüüüüüüüüüü', '  a  ']),
    ('varchar', ARRAY['', 'a']),
    ('char(5)', ARRAY['', 'a', 'abcde', '  a', 'ü']),
    ('"char"', ARRAY['', 'a', '"']),
    ('name', ARRAY['', 'a', 'Ä b']),
    ('smallint', ARRAY['-32768', '0', '32767']),
    ('integer', ARRAY['-2147483648', '0', '2147483647']),
    ('bigint', ARRAY['-9223372036854775808', '0', '9223372036854775807']),
    ('numeric', ARRAY['0', '0.00', '-1.10', 'NaN', 'Infinity', '-Infinity', '1e300', '1e-300',
        '123456789012345678901234567890.12345678901234567890']),
    ('numeric(10,2)', ARRAY['0', '-99999999.99', '1.005', 'NaN']),
    ('real', ARRAY['0', '-0', '1.1', '3.4028235e38', '1e-45', 'NaN', 'Infinity', '-Infinity']),
    ('double precision', ARRAY['0', '-0', '0.30000000000000004', '1.7976931348623157e308', '5e-324', 'NaN',
        'Infinity', '-Infinity']),
    ('date', ARRAY['2024-02-29', '0044-03-15 BC', '4713-01-01 BC', '5874897-12-31', 'infinity', '-infinity']),
    ('time', ARRAY['00:00:00', '24:00:00', '12:34:56.789012']),
    ('time(0)', ARRAY['12:34:56.5']),
    ('time with time zone', ARRAY['00:00:00+15:59', '12:34:56.789012-08']),
    ('timestamp', ARRAY['2024-02-29 12:34:56.789012', '4713-01-01 00:00:00 BC', '294276-12-31 23:59:59.999999',
        'infinity', '-infinity']),
    ('timestamptz', ARRAY['2024-02-29 12:34:56.789012+03', '4713-01-02 00:00:00+00 BC',
        '294276-12-31 23:59:59.999999+00', '2024-10-27 02:30:00+01', '2024-10-27 02:30:00+02', '1890-01-01 00:00+00',
        'infinity', '-infinity']),
    ('timestamptz(3)', ARRAY['2024-02-29 12:34:56.789512+03']),
    ('interval', ARRAY['0', '-1 year', '1 year 2 mons -3 days 04:05:06.789', '-1 year 2 mons 3 days -04:05:06.789',
        '-178000000 years', '1 mon -1 day', '-00:00:00.000001', '2562047788:00:54.775807']),
    ('interval year to month', ARRAY['-3 years 2 mons']),
    ('boolean', ARRAY['true', 'false']),
    ('uuid', ARRAY['00000000-0000-0000-0000-000000000000', 'FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF']),
    ('bytea', ARRAY['', '\x00', '\x5c27220aff', '\\000\\377a', '\x' || repeat('00ff', 50000)]),
    ('json', ARRAY['null', '""', '{"b" : 1,  "a":2, "a": "\u00fc\n"}', '[]', '1e400']),
    ('jsonb', ARRAY['null', '""', '{"b" : 1,  "a":2, "a": "\u00fc\n"}', '[1.10, 1e5, true]']),
    ('integer[]', ARRAY['{}', '{1,NULL,-3}', '[0:1]={1,2}', '{{1,2},{3,4}}']),
    ('text[]', ARRAY['{}', '{""}', '{NULL,"NULL"}', '{"a,b","\"q\"","\\\\","{}"," "}', E'{"two\nlines",ü}']),
    ('date[]', ARRAY['{2024-02-01,NULL,infinity,"0044-03-15 BC"}']),
    ('timestamptz[]', ARRAY['{"2024-02-01 01:02:03+04",-infinity}']),
    ('interval[]', ARRAY['{"-1 year 2 mons",NULL}']),
    ('double precision[]', ARRAY['{0.30000000000000004,NaN,-0}']),
    ('bytea[]', ARRAY['{"\\x00ff",NULL}']),
    ('varchar(3)[]', ARRAY['{abc,NULL}']),
    ('box[]', ARRAY['{(1,2),(3,4);(5,6),(7,8)}']),
    ('mood', ARRAY['sad', 'it''s "so", \so', '']),
    ('mood[]', ARRAY['{sad,NULL,""}']),
    ('short', ARRAY['', 'a', 'it''s']),
    ('shorter', ARRAY['', 'a']),
    ('days', ARRAY['{2024-02-01}', '{}']),
    ('pair', ARRAY['(2024-02-01,"it''s ""x"", (y)",0.30000000000000004,-1 year)', '(,,,)', '("0044-03-15 BC","",NaN,)']),
    ('paired', ARRAY['(2024-02-01,,1e-300,1 mon -1 day)']),
    ('pair[]', ARRAY['{"(2024-02-01,\"a b\",,)",NULL}']),
    ('daterange', ARRAY['empty', '[2024-02-01,2024-03-01)', '(,)', '[,"0044-03-15 BC")']),
    ('tstzrange', ARRAY['["2024-02-01 00:00+05","2024-02-02 00:00+05"]', 'empty']),
    ('numrange', ARRAY['[1.10,1e30)']),
    ('datemultirange', ARRAY['{}', '{[2024-02-01,2024-02-03),[2024-03-01,)}']),
    ('inet', ARRAY['192.168.0.1', '192.168.0.1/24', '::ffff:1.2.3.4', '0.0.0.0/0']),
    ('cidr', ARRAY['10.0.0.0/8', '10.1.2.3/32']),
    ('macaddr', ARRAY['08:00:2b:01:02:03']),
    ('bit(5)', ARRAY['00000', '10101']),
    ('bit varying(9)', ARRAY['', '1', '000000001']),
    ('bit varying', ARRAY['', '0011']),
    ('xml', ARRAY['', '<a b="1">&lt;ü</a>', 'a <b/> fragment', '<?xml version="1.0"?><a/>', E'<a>\n</a>']),
    ('point', ARRAY['(0.30000000000000004,-0)', '(NaN,Infinity)']),
    ('circle', ARRAY['<(1,2),3>']),
    ('path', ARRAY['[(0,0),(1,1)]', '((0,0),(1,1))']),
    ('tsvector', ARRAY['', '''it''''s'':1A,2 b:3']),
    ('tsquery', ARRAY['''it''''s'' & !b:*A']),
    ('jsonpath', ARRAY['$."a b"[*] ? (@ > 1)']),
    ('pg_lsn', ARRAY['16/B374D848']),
    ('oid', ARRAY['4294967295']);

-- One test for each: the values are the same as those of the plain table, byte for byte.
CREATE FUNCTION tap.keeps(type text, given text[], deterministic boolean) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    one text;
    got text[];
    want text[];
    got_sent bytea[];
    want_sent bytea[];
    sent text := '';
BEGIN
    PERFORM tap.twice(format('CREATE TABLE typed (id bigint PRIMARY KEY, before %1$s, v %1$s)', type));
    PERFORM pgkeymgr.encrypt_column('coded.typed', 'v', 'test column', deterministic => deterministic);
    SET LOCAL DateStyle = 'SQL, DMY';
    SET LOCAL TimeZone = 'Asia/Kolkata';
    SET LOCAL IntervalStyle = 'sql_standard';
    SET LOCAL extra_float_digits = -15;
    SET LOCAL bytea_output = 'escape';
    SET LOCAL xmloption = 'content';
    FOR i IN 1 .. cardinality(given) LOOP
        -- The literals are in ISO, YMD; the values are the same whatever is set when they are written.
        SET LOCAL DateStyle = 'ISO, YMD';
        SET LOCAL IntervalStyle = 'postgres';
        EXECUTE format('INSERT INTO plain.typed VALUES (%s, NULL, %L)', i, given[i]);
        SET LOCAL DateStyle = 'SQL, DMY';
        SET LOCAL IntervalStyle = 'sql_standard';
        EXECUTE format('INSERT INTO coded.typed SELECT id, before, v FROM plain.typed WHERE id = %s', i);
    END LOOP;
    INSERT INTO plain.typed VALUES (0, NULL, NULL);
    INSERT INTO coded.typed VALUES (0, NULL, NULL);
    SET LOCAL DateStyle = 'German, MDY';
    SET LOCAL TimeZone = 'America/St_Johns';
    SET LOCAL IntervalStyle = 'postgres_verbose';
    SET LOCAL extra_float_digits = 0;
    SET LOCAL bytea_output = 'hex';
    SET LOCAL xmloption = 'document';
    SET LOCAL array_nulls = off;
    SET LOCAL standard_conforming_strings = off;
    SET LOCAL escape_string_warning = off;
    SET LOCAL backslash_quote = off;
    SELECT array_agg(v::text ORDER BY id) INTO want FROM plain.typed;
    SELECT array_agg(v::text ORDER BY id) INTO got FROM coded.typed;
    IF got IS NOT DISTINCT FROM want THEN
        -- Again with all digits, and after an UPDATE under these settings.
        SET LOCAL extra_float_digits = 3;
        UPDATE plain.typed SET before = v, v = v;
        UPDATE coded.typed SET before = v, v = v;
        UPDATE coded.typed SET id = -id;
        SELECT array_agg(format('%s %s %s', id, before, v) ORDER BY id) INTO want FROM plain.typed;
        SELECT array_agg(format('%s %s %s', -id, before, v) ORDER BY id DESC) INTO got FROM coded.typed;
    END IF;
    IF NOT EXISTS (SELECT FROM coded.typed_encrypted WHERE v_encrypted IS NOT NULL) THEN
        want := want || 'no ciphertext'::text;
    END IF;
    SET LOCAL DateStyle TO DEFAULT;
    SET LOCAL TimeZone TO DEFAULT;
    SET LOCAL IntervalStyle TO DEFAULT;
    SET LOCAL extra_float_digits TO DEFAULT;
    SET LOCAL xmloption TO DEFAULT;
    SET LOCAL array_nulls TO DEFAULT;
    SET LOCAL standard_conforming_strings TO DEFAULT;
    SET LOCAL backslash_quote TO DEFAULT;
    DROP TABLE plain.typed;
    DROP TABLE coded.typed_encrypted CASCADE;
    RETURN is(left(got::text, 3000), left(want::text, 3000),
        format('%s, %s', type, CASE WHEN deterministic THEN 'deterministic' ELSE 'randomized' END));
EXCEPTION WHEN OTHERS THEN
    RETURN fail(format('%s: %s %s', type, SQLSTATE, SQLERRM));
END
$$;
SELECT keeps(type, given, deterministic) FROM examples, (VALUES (false), (true)) AS modes (deterministic);

-- ------------------------------------------------------------------------------------------------------------------
-- What is refused: all that is in the way is named at once, and nothing is changed.

CREATE FUNCTION tap.refused(about text, setup text, call text, VARIADIC naming text[]) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    state text := 'no error';
    message text := '';
    missing text;
    is_set_up boolean := false;
BEGIN
    BEGIN
        EXECUTE setup;
        is_set_up := true;
        EXECUTE 'SELECT pgkeymgr.' || call;
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
    END;
    SELECT 'not naming ' || string_agg(n, ', ') INTO missing FROM unnest(naming) AS n WHERE strpos(message, n) = 0;
    RETURN is(
        concat_ws(' ', CASE WHEN NOT is_set_up THEN 'the setup failed:' END, state, missing), '0A000',
        'refused: ' || about
    ) || CASE WHEN state <> '0A000' OR missing IS NOT NULL THEN E'\n' || diag(message) ELSE '' END;
END
$$;
CREATE SCHEMA no;
SELECT refused(type, format('CREATE TABLE no.t (id int PRIMARY KEY, v %s)', type), 'encrypt_column(''no.t'', ''v'')', '"v"', what)
FROM (VALUES
    ('money', 'money'), ('regclass', 'regclass'), ('regproc[]', 'regproc[]'), ('xid', 'xid'),
    ('int GENERATED BY DEFAULT AS IDENTITY', 'an identity column'),
    ('int GENERATED ALWAYS AS (id + 1) STORED', 'a generated column'),
    ('serial', 'sequence')
) AS types (type, what);
SELECT refused('a column of the primary key', 'CREATE TABLE no.t (id int, v text, PRIMARY KEY (id, v))',
    'encrypt_column(''no.t'', ''v'')', 'rows are found by it');
SELECT refused(what, setup, 'encrypt_column(''no.t'', ''v'')', what) FROM (VALUES
    ('partitioned', 'CREATE TABLE no.t (id int, v text) PARTITION BY LIST (id)'),
    ('partition', 'CREATE TABLE no.p (id int, v text) PARTITION BY LIST (id);
        CREATE TABLE no.t PARTITION OF no.p DEFAULT'),
    ('inherits', 'CREATE TABLE no.p (id int, v text); CREATE TABLE no.t () INHERITS (no.p)'),
    ('inherited', 'CREATE TABLE no.t (id int, v text); CREATE TABLE no.c () INHERITS (no.t)'),
    ('view', 'CREATE VIEW no.t AS SELECT 1 AS id, ''''::text AS v'),
    ('materialized view', 'CREATE MATERIALIZED VIEW no.t AS SELECT 1 AS id, ''''::text AS v'),
    ('foreign table', 'CREATE FOREIGN DATA WRAPPER none; CREATE SERVER none FOREIGN DATA WRAPPER none;
        CREATE FOREIGN TABLE no.t (id int, v text) SERVER none'),
    ('typed', 'CREATE TYPE no.row AS (id int, v text); CREATE TABLE no.t OF no.row'),
    ('belongs to an extension', 'CREATE TABLE no.t (id int, v text); ALTER EXTENSION pgtap ADD TABLE no.t'),
    ('privileges on single columns', 'CREATE TABLE no.t (id int, v text); ALTER TABLE no.t ENABLE ROW LEVEL SECURITY;
        GRANT SELECT (id) ON no.t TO pgkeymgr_test_alice')
) AS tables (what, setup);
SELECT refused('a temporary table', 'CREATE TEMP TABLE t (id int, v text)', 'encrypt_column(''pg_temp.t'', ''v'')',
    'temporary');
SELECT refused('a table of the system', 'SELECT', 'encrypt_column(''pg_catalog.pg_class'', ''relname'')', 'system');
SELECT refused('a table of its own', 'SELECT', 'encrypt_column(''pgkeymgr.key'', ''name'')', 'extension');

-- Each thing that uses the column alone.
CREATE TEMP TABLE obstacles (what text, setup text);
INSERT INTO obstacles VALUES
    ('index no.indexed', 'CREATE INDEX indexed ON no.t (v)'),
    ('index no.expressed', 'CREATE INDEX expressed ON no.t (lower(v))'),
    ('index no.partial', 'CREATE INDEX partial ON no.t (other) WHERE v IS NOT NULL'),
    ('index no.including', 'CREATE INDEX including ON no.t (other) INCLUDE (v)'),
    ('index no.lowered', 'CREATE UNIQUE INDEX lowered ON no.t (lower(v))'),
    ('index no.few', 'CREATE UNIQUE INDEX few ON no.t (v) WHERE other > 1'),
    ('constraint put_off', 'ALTER TABLE no.t ADD CONSTRAINT put_off UNIQUE (v) DEFERRABLE'),
    ('constraint referring', 'CREATE TABLE no.far (v text PRIMARY KEY);
        ALTER TABLE no.t ADD CONSTRAINT referring FOREIGN KEY (v) REFERENCES no.far'),
    ('constraint referred', 'ALTER TABLE no.t ADD CONSTRAINT unique_v UNIQUE (v); CREATE TABLE no.near (v text);
        ALTER TABLE no.near ADD CONSTRAINT referred FOREIGN KEY (v) REFERENCES no.t (v)'),
    ('constraint excluding', 'ALTER TABLE no.t ADD CONSTRAINT excluding EXCLUDE USING hash (v WITH =)'),
    ('column "made"', 'ALTER TABLE no.t ADD made text GENERATED ALWAYS AS (upper(v)) STORED'),
    ('view no.seen', 'CREATE VIEW no.seen AS SELECT id FROM no.t WHERE v <> '''''),
    ('view no.whole', 'CREATE VIEW no.whole AS SELECT t FROM no.t'),
    ('materialized view no.kept', 'CREATE MATERIALIZED VIEW no.kept AS SELECT v FROM no.t'),
    ('function no.atomic()', 'CREATE FUNCTION no.atomic() RETURNS text BEGIN ATOMIC SELECT v FROM no.t; END'),
    ('function no.rows()', 'CREATE FUNCTION no.rows() RETURNS SETOF no.t LANGUAGE sql AS ''SELECT * FROM no.t'''),
    ('function no.takes(no.t)', 'CREATE FUNCTION no.takes(no.t) RETURNS int LANGUAGE sql AS ''SELECT 1'''),
    ('policy mine', 'CREATE POLICY mine ON no.t USING (v = current_user)'),
    ('trigger "by_function"', 'CREATE FUNCTION no.f() RETURNS trigger LANGUAGE plpgsql AS
        ''BEGIN NEW.v := upper(NEW.v); RETURN NEW; END'';
        CREATE TRIGGER by_function BEFORE INSERT ON no.t FOR EACH ROW EXECUTE FUNCTION no.f()'),
    ('trigger "by_argument"', 'CREATE FUNCTION no.k() RETURNS trigger LANGUAGE plpgsql AS ''BEGIN RETURN NEW; END'';
        CREATE TRIGGER by_argument AFTER INSERT ON no.t FOR EACH ROW EXECUTE FUNCTION no.k(''other'', ''v'')'),
    ('trigger "of_statement"', 'CREATE FUNCTION no.s() RETURNS trigger LANGUAGE plpgsql AS
        ''BEGIN PERFORM v FROM gone; RETURN NULL; END'';
        CREATE TRIGGER of_statement AFTER DELETE ON no.t REFERENCING OLD TABLE AS gone FOR EACH STATEMENT
        EXECUTE FUNCTION no.s()'),
    ('trigger when_v', 'CREATE FUNCTION no.g() RETURNS trigger LANGUAGE plpgsql AS ''BEGIN RETURN NEW; END'';
        CREATE TRIGGER when_v BEFORE INSERT ON no.t FOR EACH ROW WHEN (NEW.v <> '''') EXECUTE FUNCTION no.g()'),
    ('trigger of_v', 'CREATE FUNCTION no.h() RETURNS trigger LANGUAGE plpgsql AS ''BEGIN RETURN NEW; END'';
        CREATE TRIGGER of_v BEFORE UPDATE OF v ON no.t FOR EACH ROW EXECUTE FUNCTION no.h()'),
    ('statistics object no.counted', 'CREATE STATISTICS no.counted ON v, other FROM no.t'),
    ('publication pgkeymgr_test', 'CREATE PUBLICATION pgkeymgr_test FOR TABLE no.t (id, v)'),
    ('sequence no.owned', 'CREATE SEQUENCE no.owned OWNED BY no.t.v'),
    ('rule ruled', 'CREATE RULE ruled AS ON INSERT TO no.t DO ALSO SELECT 1'),
    ('column c of table no.uses', 'CREATE TABLE no.uses (c no.t)'),
    ('column c of table no.uses_array', 'CREATE TABLE no.uses_array (c no.t[])');
SELECT refused(what, 'CREATE TABLE no.t (id int PRIMARY KEY, v text, other int); ' || setup,
    'encrypt_column(''no.t'', ''v'')', what)
FROM obstacles;

-- All of them, in one message; and the table is what it was.
CREATE TABLE no.t (id int PRIMARY KEY, v text DEFAULT 'x' NOT NULL CHECK (v <> ''), other int);
CREATE FUNCTION tap.state_of(relation regclass) RETURNS text
LANGUAGE sql AS $$
    SELECT concat_ws(E'\n', c::text, (SELECT string_agg(a::text, ' ' ORDER BY attnum) FROM pg_attribute AS a WHERE attrelid = c.oid),
        (SELECT string_agg(n::text, ' ' ORDER BY n.oid) FROM pg_constraint AS n WHERE conrelid = c.oid),
        (SELECT count(*) FROM pgkeymgr.encrypted_relation), (SELECT count(*) FROM pgkeymgr.key),
        (SELECT count(*) FROM pg_class), (SELECT count(*) FROM pg_proc))
    FROM pg_class AS c WHERE oid = relation
$$;
CREATE FUNCTION tap.all_refused() RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
    one text;
    before text;
    state text := 'no error';
    message text;
BEGIN
    FOR one IN SELECT setup FROM obstacles WHERE setup NOT LIKE '%kept%' LOOP
        EXECUTE one;
    END LOOP;
    before := state_of('no.t');
    BEGIN
        PERFORM encrypt_column('no.t', 'v');
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
    END;
    RETURN NEXT is(state, '0A000', 'with everything in the way');
    RETURN NEXT is(
        (SELECT string_agg(what, ', ') FROM obstacles WHERE setup NOT LIKE '%kept%' AND strpos(message, what) = 0),
        NULL, 'everything in the way is named'
    );
    RETURN NEXT is(state_of('no.t'), before, 'and nothing was changed');
END
$$;
SELECT all_refused();
DROP SCHEMA no CASCADE;

-- Wrong arguments.
CREATE SCHEMA no;
CREATE TABLE no.t (id int PRIMARY KEY, v text, k text, d date, j jsonb);
SELECT create_data_key('test column old');
SELECT supersede_data_key('test column old');
SELECT throws_ok('SELECT encrypt_column(' || arguments || ')', state, NULL, 'wrong: ' || arguments) FROM (VALUES
    ('NULL, ''v''', '22000'),
    ('''no.t'', NULL', '22000'),
    ('''no.t'', ''v'', deterministic => NULL', '22000'),
    ('''no.nothing'', ''v''', '42P01'),
    ('''no.t'', ''nothing''', '42703'),
    ('''no.t'', ''v'', ''no such key''', '42704'),
    ('''no.t'', ''v'', key_by => ''nothing''', '42703'),
    ('''no.t'', ''v'', key_by => ''v''', '0A000'),
    ('''no.t'', ''v'', key_by => ''d''', '0A000'),
    ('''no.t'', ''v'', key_by => ''j''', '0A000')
) AS wrong (arguments, state);
SELECT lives_ok($$ SELECT encrypt_column('no.t', 'v', 'test column old') $$, 'a name means its newest version');
SELECT throws_ok($$ SELECT encrypt_column('no.t', 'v') $$, '42710', NULL, 'a column is encrypted once');
SELECT throws_ok($$ SELECT encrypt_column('no.t_encrypted', 'v') $$, '42710', NULL, 'by its base table neither');
SELECT throws_ok($$ SELECT encrypt_column('no.t', 'k', key_by => 'v') $$, '0A000', NULL, 'keys by an encrypted column');
SELECT throws_ok($$ SELECT encrypt_column('no.t_encrypted', 'v_encrypted') $$, '0A000', NULL, 'ciphertext');
CREATE TABLE no.not_mine (id int PRIMARY KEY, v text);
GRANT pgkeymgr_admin TO pgkeymgr_test_bob;
GRANT USAGE ON SCHEMA no TO PUBLIC;
SELECT is(result('no', 'SELECT pgkeymgr.encrypt_column(''not_mine'', ''v'')', 'pgkeymgr_test_bob'), '42501', 'not the owner');
SELECT is(result('no', 'SELECT pgkeymgr.encrypt_column(''not_mine'', ''v'')', 'pgkeymgr_test_alice'), '42501', 'not an admin');
DROP SCHEMA no CASCADE;
SELECT is(count(*), 0::bigint, 'tables that are dropped are forgotten') FROM encrypted_columns;
SELECT is(count(*), 0::bigint, 'and their functions gone') FROM pg_proc
WHERE pronamespace = 'pgkeymgr'::regnamespace AND proname ~ '^_(insert|update|check|seal_insert|seal_update)_\d+$';

-- ------------------------------------------------------------------------------------------------------------------
-- The view is what the table was; writing does what it does to a plain table.

SELECT twice($ddl$
    CREATE TABLE customer (
        id integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
        ssn text DEFAULT '000-00-0000' NOT NULL CHECK (ssn ~ '^[0-9-]+$'),
        name varchar(20) COLLATE "C" UNIQUE,
        born date CHECK (born < '2030-01-01'),
        died date,
        code integer,
        part text,
        number bigserial,
        twice bigint GENERATED ALWAYS AS (number * 2) STORED,
        seen timestamptz DEFAULT '2024-01-01 00:00+00',
        CONSTRAINT "no break" CHECK (name <> E'two\nlines'),
        CONSTRAINT lives CHECK (born <= died),
        CONSTRAINT "not both" CHECK (NOT (ssn = '1' AND died = '2020-01-01')),
        UNIQUE (code, seen)
    );
    CREATE UNIQUE INDEX customer_part ON customer (part);
    COMMENT ON TABLE customer IS 'people''s \ data';
    COMMENT ON COLUMN customer.ssn IS 'a "number"';
    COMMENT ON COLUMN customer.code IS 'a code';
    CREATE VIEW names AS SELECT id, part, number FROM customer WHERE number < 1000;
    CREATE FUNCTION total() RETURNS bigint BEGIN ATOMIC SELECT sum(number) FROM customer; END;
    INSERT INTO customer (ssn, name) VALUES ('1-1', 'first'), ('2-2', 'second');
    GRANT SELECT, INSERT, UPDATE, DELETE ON customer TO pgkeymgr_test_alice;
    GRANT USAGE ON ALL SEQUENCES IN SCHEMA plain, coded TO pgkeymgr_test_alice;
    GRANT SELECT ON customer TO pgkeymgr_test_bob WITH GRANT OPTION;
    GRANT SELECT ON names TO pgkeymgr_test_alice;
$ddl$);
CREATE FUNCTION tap.shape(relation regclass) RETURNS SETOF text
LANGUAGE sql AS $$
    SELECT concat_ws(' ', attname, attnum, format_type(atttypid, atttypmod), attcollation::regcollation,
        replace(replace(CASE WHEN attgenerated = '' THEN pg_get_expr(adbin, adrelid) END, 'plain.', ''), 'coded.', ''),
        col_description(relation, attnum))
    FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attrelid = relation AND attnum > 0 AND attname <> 'id'
    UNION ALL SELECT obj_description(relation)
    UNION ALL SELECT acl FROM (
        SELECT a::text AS acl FROM pg_class, unnest(relacl) AS a WHERE oid = relation ORDER BY 1
    ) AS acls
$$;
SELECT is(encrypt_column('coded.customer', 'ssn', 'test column')::text, 'coded.customer', 'gives the view');
SELECT is(encrypt_column('coded.customer', 'name', 'test column')::text, 'coded.customer', 'by the view');
SELECT is(encrypt_column('coded.customer_encrypted', 'born', 'test column')::text, 'coded.customer', 'by the base table');
SELECT is(encrypt_column('coded.customer', 'died', 'test column', deterministic => true)::text, 'coded.customer', 'a fourth');
SELECT is(encrypt_column('coded.customer', 'code', 'test column')::text, 'coded.customer', 'a fifth');
SELECT results_eq('SELECT shape(''coded.customer'')', 'SELECT shape(''plain.customer'')', 'the view is what the table was');
SELECT is(
    (SELECT string_agg(attname || ' ' || attstorage::text, ', ' ORDER BY attname) FROM pg_attribute
    WHERE attrelid = 'coded.customer_encrypted'::regclass AND attname LIKE '%\_encrypted'),
    'born_encrypted e, code_encrypted e, died_encrypted e, name_encrypted e, ssn_encrypted e', 'ciphertext is not compressed'
);
SELECT is(
    (SELECT string_agg(concat_ws(' ', relation, column_name, data_type, base_relation, key_name, mode, key_by, blind_index, state),
        E'\n' ORDER BY column_name) FROM encrypted_columns),
    'coded.customer born date coded.customer_encrypted test column randomized migrating
coded.customer code integer coded.customer_encrypted test column randomized code_bidx migrating
coded.customer died date coded.customer_encrypted test column deterministic migrating
coded.customer name character varying(20) coded.customer_encrypted test column randomized name_bidx migrating
coded.customer ssn text coded.customer_encrypted test column randomized migrating', 'the registry'
);

SELECT same(statement, 'customer', role)
FROM (VALUES ('none'), ('pgkeymgr_test_alice')) AS roles (role), unnest(ARRAY[
    $$ SELECT * FROM customer ORDER BY id $$,
    $$ SELECT * FROM names ORDER BY id $$,
    $$ SELECT total() $$,
    $$ INSERT INTO customer DEFAULT VALUES RETURNING * $$,
    $$ INSERT INTO customer (ssn) VALUES (DEFAULT) RETURNING id, ssn, number $$,
    $$ INSERT INTO customer (ssn) VALUES (NULL) RETURNING * $$,
    $$ INSERT INTO customer (id, seen, number) VALUES (DEFAULT, NULL, DEFAULT), (DEFAULT, DEFAULT, 77) RETURNING * $$,
    $$ INSERT INTO customer (id, ssn, name, born) VALUES (100, '3-3', 'third', '1999-12-31') RETURNING * $$,
    $$ INSERT INTO customer (id, ssn) VALUES (100, '4') RETURNING * $$,
    $$ INSERT INTO customer (id, twice) VALUES (101, 4) RETURNING * $$,
    $$ INSERT INTO customer (id, twice) VALUES (102, DEFAULT) RETURNING * $$,
    $$ INSERT INTO customer (id, code, part) VALUES (103, 7, 'p'), (104, 8, 'q'), (105, NULL, NULL), (106, NULL, NULL) RETURNING id, twice $$,
    $$ INSERT INTO customer (code) VALUES (7) RETURNING id $$,
    $$ INSERT INTO customer (part) VALUES ('p') RETURNING id $$,
    $$ INSERT INTO customer (name) VALUES ('first') RETURNING id $$,
    $$ INSERT INTO customer (name) VALUES ('second ') RETURNING name $$,
    $$ INSERT INTO customer (name) VALUES (repeat('x', 21)) RETURNING id $$,
    $$ INSERT INTO customer (ssn) VALUES ('letters') RETURNING id $$,
    $$ INSERT INTO customer (born) VALUES ('2030-01-01') RETURNING id $$,
    $$ INSERT INTO customer (born, died) VALUES ('2020-01-02', '2020-01-01') RETURNING id $$,
    $$ INSERT INTO customer (born, died) VALUES ('2019-01-02', '2020-01-01') RETURNING * $$,
    $$ INSERT INTO customer (name) VALUES (E'two\nlines') RETURNING id $$,
    $$ INSERT INTO customer (ssn, died) VALUES ('1', '2020-01-01') RETURNING id $$,
    $$ INSERT INTO customer (name) SELECT 'made ' || i FROM generate_series(1, 20) AS i RETURNING name $$,
    $$ INSERT INTO customer (name) SELECT name FROM customer ORDER BY id RETURNING name $$,
    $$ INSERT INTO customer VALUES (DEFAULT, '9') RETURNING customer $$,
    $$ UPDATE customer SET ssn = '5-5' WHERE id = 1 RETURNING * $$,
    $$ UPDATE customer SET ssn = ssn RETURNING id $$,
    $$ UPDATE customer SET ssn = DEFAULT, name = NULL WHERE id = 2 RETURNING * $$,
    $$ UPDATE customer SET name = NULL WHERE id IN (1, 2) RETURNING * $$,
    $$ UPDATE customer SET name = 'first' WHERE id = 1 RETURNING * $$,
    $$ UPDATE customer SET name = 'first' WHERE id = 2 RETURNING * $$,
    $$ UPDATE customer SET name = 'other' RETURNING id $$,
    $$ UPDATE customer SET ssn = NULL WHERE id = 2 RETURNING * $$,
    $$ UPDATE customer SET ssn = 'letters' WHERE id = 2 RETURNING * $$,
    $$ UPDATE customer SET born = '2021-01-01' WHERE died IS NOT NULL RETURNING * $$,
    $$ UPDATE customer SET code = code + 1 WHERE code = 8 RETURNING id, code, twice $$,
    $$ UPDATE customer SET code = 10 WHERE part IN ('p', 'q') RETURNING id, code $$,
    $$ UPDATE customer SET twice = 1 WHERE number = 1 RETURNING * $$,
    $$ UPDATE customer SET twice = DEFAULT WHERE number = 1 RETURNING * $$,
    $$ UPDATE customer SET (ssn, code) = (SELECT '6-6', 66) WHERE id = 2 RETURNING ssn, code $$,
    $$ UPDATE customer SET id = id + 1000 WHERE id < 3 RETURNING * $$,
    $$ UPDATE customer AS c SET ssn = c.ssn || v.n FROM (VALUES ('-7'), ('-8')) AS v (n) WHERE c.id = 1001 RETURNING c.ssn $$,
    $$ UPDATE customer SET part = ssn WHERE id = 1001 RETURNING part $$,
    $$ UPDATE customer SET seen = NULL WHERE false RETURNING * $$,
    $$ UPDATE names SET part = 'by view' WHERE id = 1002 RETURNING * $$,
    $$ UPDATE names SET number = 8 WHERE id = 1002 RETURNING * $$,
    $$ WITH gone AS (DELETE FROM customer WHERE name LIKE 'made 1%' RETURNING name) SELECT * FROM gone ORDER BY 1 $$,
    $$ WITH new AS (INSERT INTO customer (name) VALUES ('cte') RETURNING id, name) UPDATE customer AS c SET name = 'x' FROM new WHERE c.id = new.id RETURNING c.id $$,
    $$ DELETE FROM customer AS c USING (VALUES (100), (100)) AS v (i) WHERE c.id = v.i RETURNING c.* $$,
    $$ DELETE FROM customer WHERE name = 'second ' RETURNING * $$,
    $$ DELETE FROM customer WHERE false RETURNING * $$,
    $$ SELECT ssn, count(*) FROM customer GROUP BY ssn ORDER BY ssn $$,
    $$ SELECT a.id FROM customer AS a JOIN customer AS b ON a.ssn = b.ssn AND a.id < b.id ORDER BY 1 LIMIT 3 $$,
    $$ SELECT v.x, c.ssn FROM (VALUES (1001), (-1)) AS v (x) LEFT JOIN customer AS c ON c.id = v.x $$
]) WITH ORDINALITY AS s (statement, n)
ORDER BY role, n;

-- A row that is matched twice is updated once.
SELECT twice('CREATE TABLE matched (id int PRIMARY KEY, v text, w int); INSERT INTO matched VALUES (1, ''a'', 1)');
SELECT is(encrypt_column('coded.matched', 'v', 'test column')::text, 'coded.matched', 'for rows matched twice');
SELECT same(
    'UPDATE matched SET v = n FROM (VALUES (''b''), (''c'')) AS v (n) RETURNING matched.*', 'matched'
);

-- Errors have no plaintext in them, whichever constraint it is.
INSERT INTO coded.customer (ssn, name, code, seen) VALUES ('31415926-1', 'Marmaduke', 271828, '2024-03-03');
SELECT is(
    left(said, 5) || coalesce((SELECT ' telling ' || p FROM unnest('{Marmaduke,31415926,271828}'::text[]) AS p
    WHERE strpos(said, p) > 0 LIMIT 1), ''), state, 'tells nothing: ' || statement
)
FROM (VALUES
    ('INSERT INTO customer (ssn, name) VALUES (''31415926-1'', ''Marmaduke'')', '23505'),
    ('INSERT INTO customer (ssn, code, seen) VALUES (''31415926-1'', 271828, ''2024-03-03'')', '23505'),
    ('INSERT INTO customer (ssn, name, born) VALUES (''31415926-1'', ''Marmaduke 2'', ''2031-01-01'')', '23514'),
    ('INSERT INTO customer (ssn, name) VALUES (''Marmaduke 31415926'', ''Marmaduke 2'')', '23514'),
    ('INSERT INTO customer (ssn, name) VALUES (NULL, ''Marmaduke 2'')', '23502'),
    ('INSERT INTO customer (id, ssn, name) VALUES (NULL, ''31415926-1'', ''Marmaduke 2'')', '23502'),
    ('UPDATE customer SET number = NULL WHERE code = 271828', '23502'),
    ('UPDATE customer SET name = ''Marmaduke'', code = 271828', '23505')
) AS failing (statement, state), LATERAL (SELECT failure('coded', statement) AS said OFFSET 0) AS failed;

-- ------------------------------------------------------------------------------------------------------------------
-- Ciphertexts and nonces.

CREATE TABLE coded.cells (
    id int, part text, a text, b int, c bytea, d text, open text, other int, PRIMARY KEY (id, part)
);
SELECT is(encrypt_column('coded.cells', 'a', 'test column')::text, 'coded.cells', 'a');
SELECT is(encrypt_column('coded.cells', 'b', 'test column')::text, 'coded.cells', 'b');
SELECT is(encrypt_column('coded.cells', 'c', 'test column')::text, 'coded.cells', 'c');
SELECT is(encrypt_column('coded.cells', 'd', 'test column', deterministic => true)::text, 'coded.cells', 'd');
INSERT INTO coded.cells SELECT i, 'p', 'same', 7, 'same', 'same', 'open', i FROM generate_series(1, 300) AS i;
SELECT is(count(DISTINCT a_encrypted), 300::bigint, 'equal values have different ciphertexts') FROM coded.cells_encrypted;
SELECT is(count(DISTINCT substr(a_encrypted, 6, 12)), 300::bigint, 'and nonces') FROM coded.cells_encrypted;
SELECT is(count(DISTINCT substr(x, 6, 12)), 900::bigint, 'those of other columns too')
FROM coded.cells_encrypted, unnest(ARRAY[a_encrypted, b_encrypted, c_encrypted]) AS x;
SELECT is(count(DISTINCT d_encrypted), 1::bigint, 'but one if deterministic') FROM coded.cells_encrypted;

-- An UPDATE of each set of columns, to new values and to the same ones.
CREATE FUNCTION tap.updates() RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
    names text[] := '{a,b,c,d,open,other}';
    news text[] := ARRAY['a || ''+''', 'b + 1', 'c || ''+''', 'd || ''+''', 'open || ''+''', 'other + 1'];
    is_kept boolean;
    assigned text[];
    touched text[];
    before coded.cells_encrypted;
    after coded.cells_encrypted;
    was coded.cells;
    became coded.cells;
    wrong text;
BEGIN
    FOREACH is_kept IN ARRAY ARRAY[false, true] LOOP
        FOR bits IN 1 .. 63 LOOP
            assigned := '{}';
            touched := '{}';
            FOR i IN 1 .. 6 LOOP
                IF bits & (1 << (i - 1)) > 0 THEN
                    assigned := assigned || format('%s = %s', names[i], CASE WHEN is_kept THEN names[i] ELSE news[i] END);
                    touched := touched || names[i];
                END IF;
            END LOOP;
            SELECT * INTO before FROM coded.cells_encrypted WHERE id = 1;
            SELECT * INTO was FROM coded.cells WHERE id = 1;
            EXECUTE format('UPDATE coded.cells SET %s WHERE id = 1', array_to_string(assigned, ', '));
            SELECT * INTO after FROM coded.cells_encrypted WHERE id = 1;
            SELECT * INTO became FROM coded.cells WHERE id = 1;
            SELECT concat_ws('; ', wrong, string_agg(key || ' of ' || touched::text, ', ')) INTO wrong
            FROM jsonb_each_text(to_jsonb(before)) AS old JOIN jsonb_each_text(to_jsonb(after)) AS new USING (key)
            WHERE (old.value <> new.value) <> (NOT is_kept AND replace(key, '_encrypted', '') = ANY (touched));
            SELECT concat_ws('; ', wrong, string_agg(key || ' reads wrong after ' || touched::text, ', ')) INTO wrong
            FROM jsonb_each_text(to_jsonb(was)) AS old JOIN jsonb_each_text(to_jsonb(became)) AS new USING (key)
            WHERE (old.value <> new.value) <> (NOT is_kept AND key = ANY (touched));
        END LOOP;
        RETURN NEXT is(wrong, '', CASE WHEN is_kept THEN 'the same values keep their ciphertexts'
            ELSE 'new values, and they alone, have new ciphertexts' END);
    END LOOP;
END
$$;
SELECT updates();
CREATE TEMP TABLE was AS SELECT * FROM coded.cells_encrypted WHERE id = 1;
UPDATE coded.cells SET a = a || 'x' WHERE id = 1;
UPDATE coded.cells SET a = left(a, -1) WHERE id = 1;
SELECT isnt(substr(b.a_encrypted, 6, 12), substr(w.a_encrypted, 6, 12), 'there and back is under a new nonce')
FROM coded.cells_encrypted AS b, was AS w WHERE b.id = 1;
UPDATE coded.cells SET a = NULL, b = NULL, c = NULL, d = NULL WHERE id = 1;
SELECT is(num_nulls(a, b, c, d), 4, 'NULL') FROM coded.cells WHERE id = 1;
SELECT is(num_nulls(a_encrypted, b_encrypted, c_encrypted, d_encrypted), 4, 'is NULL below') FROM coded.cells_encrypted WHERE id = 1;
UPDATE coded.cells SET a = '', b = 0, c = '', d = '' WHERE id = 1;
SELECT is(ROW(a, b, c, d)::text, '("",0,"\\x","")', 'and back') FROM coded.cells WHERE id = 1;
UPDATE coded.cells SET a = 'moves', b = 5, c = 'bytes', d = 'stays' WHERE id = 2;
UPDATE coded.cells SET id = 20002, part = 'it''s' WHERE id = 2;
SELECT is(format('%s %s %s %s', a, b, c, d), 'moves 5 \x6279746573 stays', 'a row with another key reads back')
FROM coded.cells WHERE id = 20002;
UPDATE coded.cells SET id = id + 50000 WHERE id BETWEEN 100 AND 110;
SELECT is(count(*), 11::bigint, 'many rows with other keys') FROM coded.cells WHERE id > 50000 AND a = 'same' AND b = 7;

-- Ciphertext out of its place.
CREATE TABLE coded.other (id int, part text, a text, PRIMARY KEY (id, part));
SELECT is(encrypt_column('coded.other', 'a', 'test column')::text, 'coded.other', 'another table under the same key');
INSERT INTO coded.other VALUES (3, 'p', 'from elsewhere');
INSERT INTO coded.cells (id, part, a, b, c, d) VALUES (-5, 'x', 'Marmaduke', 271828, 'Marmaduke', 'Marmaduke'),
    (-6, 'it''s', 'Marmaduke', 271828, 'Marmaduke', 'Marmaduke'), (3000, '', 'Marmaduke', 271828, 'Marmaduke', 'x');
CREATE FUNCTION tap.does_not_open(change text, query text, VARIADIC naming text[]) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    said text;
BEGIN
    BEGIN
        -- The table's triggers refuse to store it, but where the row comes from another database.
        SET LOCAL session_replication_role = replica;
        EXECUTE change;
        SET LOCAL session_replication_role = origin;
        said := failure('coded', query);
        RAISE EXCEPTION 'to be undone' USING ERRCODE = '00002';
    EXCEPTION WHEN SQLSTATE '00002' THEN NULL;
    END;
    RETURN is(
        concat_ws(' ', left(said, 5), CASE WHEN said LIKE '%Marmaduke%' OR said LIKE '%271828%' THEN 'tells' END,
        (SELECT 'not naming ' || string_agg(n, ' ') FROM unnest(naming) AS n WHERE strpos(said, n) = 0)), '22000', change
    ) || CASE WHEN said LIKE '22000%' THEN '' ELSE E'\n' || diag(said) END;
END
$$;
SELECT does_not_open(change, 'SELECT a, b, c, d FROM cells WHERE id = -6', VARIADIC naming) FROM (VALUES
    ('UPDATE coded.cells_encrypted AS t SET a_encrypted = f.a_encrypted FROM coded.cells_encrypted AS f WHERE t.id = -6 AND f.id = -5', '{"\"a\"","\"cells\"",-6,it''s}'::text[]),
    ('UPDATE coded.cells_encrypted AS t SET b_encrypted = f.b_encrypted FROM coded.cells_encrypted AS f WHERE t.id = -6 AND f.id = -5', '{"\"b\"","\"cells\"",-6,it''s}'),
    ('UPDATE coded.cells_encrypted AS t SET c_encrypted = f.c_encrypted FROM coded.cells_encrypted AS f WHERE t.id = -6 AND f.id = -5', '{"\"c\"","\"cells\"",-6,it''s}'),
    ('UPDATE coded.cells_encrypted SET c_encrypted = a_encrypted WHERE id = -6', '{"\"c\"","\"cells\"",-6,it''s}'),
    ('UPDATE coded.cells_encrypted SET b_encrypted = a_encrypted WHERE id = -6', '{"\"b\"","\"cells\"",-6,it''s}'),
    ('UPDATE coded.cells_encrypted SET a_encrypted = (SELECT a_encrypted FROM coded.other_encrypted) WHERE id = -6', '{"\"a\"","\"cells\"",-6,it''s}'),
    ('UPDATE coded.cells_encrypted SET a_encrypted = set_bit(a_encrypted, 8 * length(a_encrypted) - 1, 1 - get_bit(a_encrypted, 8 * length(a_encrypted) - 1)) WHERE id = -6', '{"\"a\"","\"cells\"",-6,it''s}'),
    ('UPDATE coded.cells_encrypted SET a_encrypted = set_bit(a_encrypted, 50, 1 - get_bit(a_encrypted, 50)) WHERE id = -6', '{"\"a\"","\"cells\"",-6,it''s}'),
    ('UPDATE coded.cells_encrypted SET a_encrypted = substr(a_encrypted, 1, length(a_encrypted) - 1) WHERE id = -6', '{"\"a\"","\"cells\"",-6,it''s}'),
    ('UPDATE coded.cells_encrypted SET d_encrypted = set_bit(d_encrypted, 50, 1 - get_bit(d_encrypted, 50)) WHERE id = -6', '{"\"d\"","\"cells\""}'),
    ('UPDATE coded.cells_encrypted SET a_encrypted = token_encrypt_text(''test column'', ''Marmaduke'') WHERE id = -6', '{"\"a\"","\"cells\"",-6,it''s}')
) AS changes (change, naming);
-- Every bit of a whole ciphertext: its key's id may be that of no key.
CREATE FUNCTION tap.open_altered() RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
    one record;
    opened text := '';
    refused text := '';
    told text := '';
    ciphertext bytea;
BEGIN
    SELECT a_encrypted INTO ciphertext FROM coded.cells_encrypted WHERE id = -6;
    SET LOCAL session_replication_role = replica;
    FOR one IN SELECT * FROM flips(ciphertext) LOOP
        BEGIN
            UPDATE coded.cells_encrypted SET a_encrypted = one.x WHERE id = -6;
            PERFORM a FROM coded.cells WHERE id = -6;
            opened := opened || ' ' || one.change;
        EXCEPTION
            WHEN check_violation THEN refused := refused || ' ' || one.change;
            WHEN OTHERS THEN
                IF SQLERRM LIKE '%Marmaduke%' OR SQLSTATE NOT IN ('22000', '42704') THEN
                    told := told || one.change || SQLSTATE || SQLERRM;
                END IF;
        END;
    END LOOP;
    SET LOCAL session_replication_role = origin;
    RETURN NEXT is(opened, '', 'opens with no bit flipped');
    RETURN NEXT is(told, '', 'and tells nothing');
    RETURN NEXT is(refused, ' bit 1 flipped bit 2 flipped bit 3 flipped bit 4 flipped bit 5 flipped bit 6 flipped bit 7 flipped', 'the first byte is checked when it is written');
END
$$;
SELECT open_altered();
SET LOCAL session_replication_role = replica;
SELECT is(result('coded', statement || ' RETURNING 1'), '23514 ' || constraint_name, statement) FROM (VALUES
    ('UPDATE cells_encrypted SET a_encrypted = substr(a_encrypted, 1, 32) WHERE id = -6', 'a_encrypted_check'),
    ('UPDATE cells_encrypted SET a_encrypted = ''plain'' WHERE id = -6', 'a_encrypted_check'),
    ('UPDATE cells_encrypted SET a_encrypted = '''' WHERE id = -6', 'a_encrypted_check'),
    ('UPDATE cells_encrypted SET a_encrypted = convert_to(repeat(''plain'', 20), ''UTF8'') WHERE id = -6', 'a_encrypted_check'),
    ('UPDATE cells_encrypted SET a_encrypted = d_encrypted WHERE id = -6', 'a_encrypted_check'),
    ('UPDATE cells_encrypted SET d_encrypted = a_encrypted WHERE id = -6', 'd_encrypted_check'),
    ('INSERT INTO cells_encrypted (id, part, a_encrypted) VALUES (9, ''n'', ''\x01'')', 'a_encrypted_check')
) AS writes (statement, constraint_name);

SET LOCAL session_replication_role = origin;
-- Where the row is written here, its trigger opens a ciphertext before it stores it.
SELECT is(left(failure('coded', statement), 5), '22000', statement) FROM unnest(ARRAY[
    'UPDATE cells_encrypted AS t SET a_encrypted = f.a_encrypted FROM cells_encrypted AS f WHERE t.id = -6 AND f.id = -5',
    'UPDATE cells_encrypted SET b_encrypted = a_encrypted WHERE id = -6',
    'INSERT INTO cells_encrypted (id, part, a_encrypted) SELECT 9, part, a_encrypted FROM cells_encrypted WHERE id = -6',
    'UPDATE cells_encrypted SET a_encrypted = set_bit(a_encrypted, 50, 1 - get_bit(a_encrypted, 50)) WHERE id = -6',
    'UPDATE cells_encrypted SET a_encrypted = ''plain'' WHERE id = -6',
    'UPDATE cells_encrypted SET a_encrypted = decode(''000000000000000001'', ''hex'') WHERE id = -6'
]) AS writes (statement);

-- What is written to the base table itself is sealed for its row, however it comes.
SELECT is(result('coded', statement), want, statement) FROM (VALUES
    ('INSERT INTO cells_encrypted (id, part, a, b, d) VALUES (901, ''n'', ''direct'', 9, ''D'') RETURNING a, b, d', '(,,)'),
    ('SELECT a, b, d FROM cells WHERE id = 901', '(direct,9,D)'),
    ('UPDATE cells_encrypted SET id = 902, part = ''m'' WHERE id = 901 RETURNING id', '(902)'),
    ('SELECT a, b, c, d FROM cells WHERE id = 902', '(direct,9,,D)'),
    ('UPDATE cells_encrypted SET a = ''other'', c = ''c'' WHERE id = 902 RETURNING a', '()'),
    ('UPDATE cells_encrypted SET a = NULL, open = ''o'' WHERE id = 902 RETURNING open', '(o)'),
    ('SELECT a, b, c, d, open FROM cells WHERE id = 902', '(other,9,"\\x63",D,o)'),
    ('UPDATE cells_encrypted SET a_encrypted = NULL, b = 10 WHERE id = 902 RETURNING id', '(902)'),
    ('SELECT a, b FROM cells WHERE id = 902', '(,10)'),
    ('UPDATE cells_encrypted SET id = 903, c_encrypted = NULL, d = ''E'' WHERE id = 902 RETURNING id', '(903)'),
    ('SELECT a, b, c, d FROM cells WHERE id = 903', '(,10,,E)'),
    ('DELETE FROM cells_encrypted WHERE id = 903 RETURNING id', '(903)')
) AS writes (statement, want);

-- While rows have their plaintext, whatever writes them seals them.
CREATE TABLE coded.halfway (id int PRIMARY KEY, v text, other int);
INSERT INTO coded.halfway SELECT i, nullif('old ' || i, 'old 2'), i FROM generate_series(1, 6) AS i;
SELECT is(encrypt_column('coded.halfway', 'v', 'test column')::text, 'coded.halfway', 'with rows');
SELECT is(result('coded', statement), want, statement) FROM (VALUES
    ('UPDATE halfway_encrypted SET v = ''new'' WHERE id = 1 RETURNING v', '()'),
    ('UPDATE halfway_encrypted SET v = ''new'' WHERE id = 2 RETURNING v', '()'),
    ('INSERT INTO halfway_encrypted (id, v) VALUES (7, ''new'') RETURNING v', '()'),
    ('UPDATE halfway_encrypted SET other = 3 WHERE id = 3 RETURNING v, other', '(,3)'),
    ('UPDATE halfway SET other = 4 WHERE id = 4 RETURNING *', '(4,"old 4",4)'),
    ('UPDATE halfway SET v = NULL WHERE id = 5 RETURNING *', '(5,,5)'),
    ('UPDATE halfway SET id = 66, v = v WHERE id = 6 RETURNING *', '(66,"old 6",6)'),
    ('SELECT id, v, v_encrypted IS NULL FROM halfway_encrypted ORDER BY id', '(1,,f)(2,,f)(3,,f)(4,,f)(5,,t)(66,,f)(7,,f)'),
    ('SELECT id, v FROM halfway ORDER BY id', '(1,new)(2,new)(3,"old 3")(4,"old 4")(5,)(66,"old 6")(7,new)')
) AS writes (statement, want);

-- ------------------------------------------------------------------------------------------------------------------
-- Names.

CREATE FUNCTION tap.named(schema text, relation text, key_name text, column_name text, other text) RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
    gave text;
    view text;
    base text;
BEGIN
    EXECUTE format('CREATE SCHEMA IF NOT EXISTS %I', schema);
    EXECUTE format(
        'CREATE TABLE %I.%I (%I int PRIMARY KEY, %I text DEFAULT %L NOT NULL UNIQUE, %I date DEFAULT ''2024-01-01'','
        ' CHECK (%4$I <> ''bad''))', schema, relation, key_name, column_name, 'it''s \', other
    );
    EXECUTE format('COMMENT ON COLUMN %I.%I.%I IS %L', schema, relation, column_name, column_name);
    view := encrypt_column(format('%I.%I', schema, relation)::regclass, column_name, 'test column');
    view := encrypt_column(view::regclass, other, 'test column', key_by => key_name);
    SELECT base_relation INTO base FROM encrypted_columns AS e WHERE e.relation = view::regclass LIMIT 1;
    EXECUTE format('INSERT INTO %s (%I) VALUES (1) RETURNING %I', view, key_name, column_name) INTO gave;
    RETURN NEXT is(gave, 'it''s \', 'INSERT into ' || view);
    EXECUTE format('UPDATE %s SET %I = %2$I || ''+'', %I = %3$I + 1, %I = %4$I + 1', view, column_name, key_name, other);
    PERFORM add_blind_index(view::regclass, column_name);
    EXECUTE format('SELECT string_agg(format(''%%s,%%s,%%s'', %I, %I, %I), '' '') FROM %s', key_name, column_name, other, view)
        INTO gave;
    RETURN NEXT is(gave, '2,it''s \+,2024-01-02', 'SELECT from ' || view);
    RETURN NEXT is(failure('public', format('INSERT INTO %s VALUES (3, ''bad'')', view)) ~ '^23514: .*violates', true, 'a CHECK of ' || view);
    RETURN NEXT is(failure('public', format('INSERT INTO %s VALUES (3, NULL)', view)) ~ '^23502: .*violates', true, 'NOT NULL of ' || view);
    RETURN NEXT is(failure('public', format('INSERT INTO %s VALUES (3, ''it''''s \+'')', view)) ~ '^23505: .*violates', true, 'UNIQUE of ' || view);
    EXECUTE format('UPDATE %s SET %I = 99', base, key_name);
    EXECUTE format('SELECT %I FROM %s', column_name, view) INTO gave;
    RETURN NEXT is(gave, 'it''s \+', 'another key below ' || view);
    EXECUTE 'SELECT c.cipher_column FROM encrypted_column AS c JOIN encrypted_relation AS r ON r.id = c.relation_id'
        ' WHERE r.base = $1::regclass AND c.column_name = $2' INTO gave USING base, column_name;
    SET LOCAL session_replication_role = replica;
    EXECUTE format('UPDATE %s SET %I = set_bit(%2$I, 50, 1 - get_bit(%2$I, 50))', base, gave);
    SET LOCAL session_replication_role = origin;
    RETURN NEXT is(
        strpos(
            failure('public', format('SELECT %I FROM %s', column_name, view)),
            format('column "%s" of "%s" in the row with %s = 99: ', column_name, relation, key_name)
        ) > 0, true, 'an error names ' || view
    );
    EXECUTE format('DELETE FROM %s WHERE %I = 99', base, key_name);
EXCEPTION WHEN OTHERS THEN
    RETURN NEXT fail(format('%s %s %s: %s %s', schema, relation, column_name, SQLSTATE, SQLERRM));
END
$$;
SELECT named(schema, relation, key_name, column_name, other) FROM (VALUES
    ('Upper Case', 'Customer', 'Id', 'SSN', 'Born'),
    ('select', 'table', 'where', 'order', 'NEW'),
    ('a.b', 'c.d', 'e.f', 'g.h', 'i.j'),
    ('it''s "quoted"', 'it''s "quoted"', 'it''s "key"', 'it''s "column"', '"'),
    (E'back\\slash', E'back\\slash', E'k\\', E'c\\', E'\\\\''o'),
    ('$$', '$pgkeymgr$', '$1', '$pgkeymgr$', '$2'),
    ('{s}', '{s}', '{s}', '{s}2', '{}'),
    ('%s', '%I', '%', '%%', '%L'),
    (repeat('s', 63), repeat('t', 63), repeat('k', 63), repeat('c', 63), repeat('o', 63)),
    ('s' || repeat('ü', 31), 't' || repeat('ü', 31), 'k' || repeat('ü', 31), 'c' || repeat('ü', 31), 'o' || repeat('ü', 31)),
    (E'new\nline', E'new\nline', E'k\n', E'c\n--', E'/*'),
    ('public', 'new', 'old', 'b', 'made'),
    ('public', 'b', 'is_unchanged', 'changed_by', 'written_1'),
    ('public', 'm', 'names', 'places', 'assignments'),
    ('public', 'value', 'ctid2', 'value', 'key'),
    ('public', '🔑', '🔑', '🔑 1', '🔑 2')
) AS names (schema, relation, key_name, column_name, other);

-- ------------------------------------------------------------------------------------------------------------------
-- Tables without a key.

SELECT twice($ddl$
    CREATE TABLE keyless (v text, n int, w date);
$ddl$);
SELECT is(encrypt_column('coded.keyless', 'v', 'test column')::text, 'coded.keyless', 'without a primary key');
SELECT is(encrypt_column('coded.keyless', 'w', 'test column', deterministic => true)::text, 'coded.keyless', 'without a primary key');
SELECT same(statement, 'keyless') FROM unnest(ARRAY[
    $$ INSERT INTO keyless VALUES ('a', 1, '2024-01-01'), ('a', 1, '2024-01-01'), ('a', 1, '2024-01-01'), ('b', 1, NULL), (NULL, NULL, NULL), (NULL, NULL, NULL) RETURNING * $$,
    $$ SELECT * FROM keyless ORDER BY 1, 2, 3 $$,
    $$ UPDATE keyless SET n = 2 WHERE v = 'a' RETURNING * $$,
    $$ UPDATE keyless SET v = 'c' WHERE v IS NULL RETURNING * $$,
    $$ UPDATE keyless SET w = '2024-01-02' WHERE v = 'c' RETURNING * $$,
    $$ DELETE FROM keyless WHERE v = 'c' RETURNING * $$,
    $$ DELETE FROM keyless WHERE n = 2 RETURNING * $$,
    $$ SELECT * FROM keyless $$
]) AS s (statement);

-- ------------------------------------------------------------------------------------------------------------------
-- A key for each tenant.

SELECT create_data_key('test tenants');
CREATE TABLE coded.tenant (id int PRIMARY KEY, tenant text, v text, w int);
GRANT SELECT, INSERT, UPDATE, DELETE ON coded.tenant TO pgkeymgr_test_alice;
SELECT is(encrypt_column('coded.tenant', 'v', 'test tenants', key_by => 'tenant')::text, 'coded.tenant', 'with key_by');
SELECT is(result('coded', 'INSERT INTO tenant (id, tenant, v) VALUES (1, ''a'', ''one''), (2, ''a'', ''two''), (3, ''b'', ''three''),
    (4, NULL, ''four''), (5, '''', ''five''), (6, ''a:b'', ''six''), (7, ''it''''s \'', ''seven''), (8, ''c'', NULL) RETURNING v', 'pgkeymgr_test_alice'),
    '()(five)(four)(one)(seven)(six)(three)(two)', 'keys are made on demand, for those who have a grant on the parent');
SELECT set_eq(
    $$ SELECT b.id, (token_info(b.v_encrypted)).key_name FROM coded.tenant_encrypted AS b WHERE v_encrypted IS NOT NULL $$,
    $$ VALUES (1, 'test tenants:a'), (2, 'test tenants:a'), (3, 'test tenants:b'), (4, 'test tenants'), (5, 'test tenants:'),
        (6, 'test tenants:a:b'), (7, 'test tenants:it''s \') $$,
    'each under its own'
);
SELECT is(count(*), 0::bigint, 'no key is made for a NULL') FROM key WHERE name = 'test tenants:c';
SELECT is(result('coded', 'SELECT id, v FROM tenant ORDER BY id', 'pgkeymgr_test_alice'),
    '(1,one)(2,two)(3,three)(4,four)(5,five)(6,six)(7,seven)(8,)', 'and grants on the parent count');
SELECT is(result('coded', 'UPDATE tenant SET tenant = ''b'' WHERE id = 2 RETURNING *', 'pgkeymgr_test_alice'), '(2,b,two,)', 'a row changes its tenant');
SELECT is((token_info(v_encrypted)).key_name, 'test tenants:b', 'and its key') FROM coded.tenant_encrypted WHERE id = 2;
SELECT is(result('coded', 'UPDATE tenant SET tenant = NULL WHERE id = 2 RETURNING *', 'pgkeymgr_test_alice'), '(2,,two,)', 'a row loses its tenant');
SELECT is((token_info(v_encrypted)).key_name, 'test tenants', 'and its key') FROM coded.tenant_encrypted WHERE id = 2;
SELECT revoke_data_key('test tenants', 'pgkeymgr_test_alice');
SELECT is(result('coded', 'SELECT v FROM tenant WHERE id = ' || id, 'pgkeymgr_test_alice'), '42501', 'a revoke on the parent counts for row ' || id)
FROM generate_series(1, 4) AS id;
SELECT is(result('coded', 'INSERT INTO tenant VALUES (9, ''new'', ''x'') RETURNING 1', 'pgkeymgr_test_alice'), '42501', 'no key is made without');
SELECT is(count(*), 0::bigint, 'none at all') FROM key WHERE name = 'test tenants:new';
SELECT grant_data_key('test tenants', 'pgkeymgr_test_alice');
SELECT throws_ok(format('SELECT destroy_data_key(%s, %L)', id, name), NULL, NULL, 'a key in use is not destroyed: ' || name)
FROM key WHERE name LIKE 'test tenants%' AND name <> 'test tenants:c';
SELECT lives_ok(format('SELECT destroy_data_key(%s, %L, true)', id, name), 'but it can be forced') FROM key WHERE name = 'test tenants:a';
SELECT is(result('coded', 'SELECT id, v FROM tenant WHERE id = ' || id), given, 'after that, row ' || id)
FROM (VALUES (1, '55000'), (2, '(2,two)'), (3, '(3,three)'), (6, '(6,six)')) AS rows (id, given);
SELECT is(result('coded', 'SELECT id, tenant FROM tenant WHERE id = 1'), '(1,a)', 'its other columns are there');
SELECT is(result('coded', 'DELETE FROM tenant_encrypted WHERE id = 1 RETURNING id'), '(1)', 'and it can be deleted below');
SELECT is(result('coded', 'INSERT INTO tenant VALUES (10, ''a'', ''x'') RETURNING 1'), '55000', 'nothing is written under a destroyed key');

-- ------------------------------------------------------------------------------------------------------------------
-- Roles: those who had privileges have what they need; others get a view without a key.

SELECT create_data_key('test roles');
SELECT twice($ddl$
    CREATE TABLE account (id int PRIMARY KEY, owner name DEFAULT current_user, a text, b text, c int DEFAULT 1);
    INSERT INTO account VALUES (1, 'pgkeymgr_test_alice', 'a1', 'b1', 1), (2, 'pgkeymgr_test_bob', 'a2', 'b2', 2);
    GRANT SELECT, INSERT, UPDATE, DELETE ON account TO pgkeymgr_test_alice;
    GRANT SELECT ON account TO pgkeymgr_test_bob;
$ddl$);
SELECT is(encrypt_column('coded.account', 'a', 'test roles')::text, 'coded.account', 'a');
SELECT is(encrypt_column('coded.account', 'b', 'test roles')::text, 'coded.account', 'b');
SELECT same(statement, 'account', role) FROM (VALUES
    ('pgkeymgr_test_alice', $$ SELECT * FROM account $$),
    ('pgkeymgr_test_alice', $$ INSERT INTO account (id, a, b) VALUES (3, 'a3', 'b3') RETURNING * $$),
    ('pgkeymgr_test_alice', $$ UPDATE account SET a = 'a4' WHERE id = 3 RETURNING * $$),
    ('pgkeymgr_test_alice', $$ DELETE FROM account WHERE a = 'a4' RETURNING * $$),
    ('pgkeymgr_test_bob', $$ SELECT a FROM account $$),
    ('pgkeymgr_test_bob', $$ INSERT INTO account (id, a) VALUES (4, 'a4') RETURNING id $$),
    ('pgkeymgr_test_bob', $$ UPDATE account SET a = 'x' RETURNING id $$),
    ('pgkeymgr_test_bob', $$ DELETE FROM account RETURNING id $$),
    ('pgkeymgr_test_late', $$ SELECT id FROM account $$)
) AS s (role, statement);
GRANT SELECT, INSERT, UPDATE, DELETE ON coded.account TO pgkeymgr_test_late;
UPDATE coded.account SET c = c;
SELECT is(result('coded', statement, role), want, format('%s: %s', role, statement)) FROM (VALUES
    ('pgkeymgr_test_late', 'SELECT id, c FROM account WHERE c = 1', '(1,1)'),
    ('pgkeymgr_test_late', 'SELECT count(*) FROM account', '(2)'),
    ('pgkeymgr_test_late', 'SELECT a FROM account', '42501'),
    ('pgkeymgr_test_late', 'SELECT id FROM account WHERE a = ''a1''', '42501'),
    ('pgkeymgr_test_late', 'INSERT INTO account (id) VALUES (9) RETURNING id', '(9)'),
    ('pgkeymgr_test_late', 'INSERT INTO account (id, a) VALUES (10, ''x'') RETURNING id', '42501'),
    ('pgkeymgr_test_late', 'UPDATE account SET a = ''x'' RETURNING id', '42501'),
    ('pgkeymgr_test_bob', 'SELECT a FROM account WHERE id = 1', '(a1)'),
    ('pgkeymgr_test_bob', 'SELECT id FROM account_encrypted WHERE id = 1', '(1)')
) AS s (role, statement, want);
SELECT disable_data_key((SELECT max(id) FROM key WHERE name = 'test roles'));
SELECT is(result('coded', statement, role), '55000', 'disabled, ' || statement)
FROM (VALUES ('none'), ('pgkeymgr_test_alice')) AS roles (role), unnest(ARRAY[
    'SELECT b FROM account', 'INSERT INTO account (id, a) VALUES (11, ''x'') RETURNING id', 'UPDATE account SET a = ''x'' RETURNING id'
]) AS s (statement);
SELECT enable_data_key((SELECT max(id) FROM key WHERE name = 'test roles'));

-- Row-level security, with policies from before and from after.
SELECT twice($ddl$
    CREATE TABLE secured (id int PRIMARY KEY, owner name DEFAULT current_user, v text, w text);
    ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON secured USING (owner = current_user) WITH CHECK (owner = current_user AND id < 100);
    CREATE POLICY seen ON secured FOR SELECT USING (id = 7);
    GRANT SELECT, INSERT, UPDATE, DELETE ON secured TO pgkeymgr_test_alice, pgkeymgr_test_bob;
$ddl$);
SELECT is(encrypt_column('coded.secured', 'v', 'test roles')::text, 'coded.secured', 'with policies');
SELECT same(statement, 'secured', role)
FROM unnest(ARRAY['none', 'pgkeymgr_test_alice', 'pgkeymgr_test_bob']) WITH ORDINALITY AS roles (role, r), unnest(ARRAY[
    $$ INSERT INTO secured (id, v) SELECT i, 'v' || i FROM generate_series(1 + %1$s, 10 + %1$s) AS i RETURNING * $$,
    $$ INSERT INTO secured (id, owner, v) VALUES (99, 'pgkeymgr_test_alice', 'x') RETURNING id $$,
    $$ INSERT INTO secured (id, v) VALUES (100 + %s, 'x') RETURNING id $$,
    $$ SELECT * FROM secured $$,
    $$ SELECT id FROM secured WHERE v LIKE 'v_' $$,
    $$ UPDATE secured SET v = v || '+' RETURNING id, v $$,
    $$ UPDATE secured SET w = 'w' RETURNING id, w $$,
    $$ UPDATE secured SET owner = 'pgkeymgr_test_bob' WHERE id = 3 RETURNING id $$,
    $$ UPDATE secured SET id = 101 + %s WHERE id = 4 + %1$s RETURNING id $$,
    $$ DELETE FROM secured WHERE id %% 3 = 0 RETURNING id $$,
    $$ SELECT id, v, w FROM secured $$
]) WITH ORDINALITY AS s (pattern, n), LATERAL (SELECT format(pattern, 10 * r) AS statement) AS filled
ORDER BY r, n;
CREATE FUNCTION public.leaks_argument(value text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE COST 0.000001 AS $$
BEGIN
    PERFORM set_config('test.leaked', concat_ws(' ', current_setting('test.leaked', true), value), true);
    RETURN true;
END
$$;
INSERT INTO coded.secured (id, owner, v) VALUES (60, 'pgkeymgr_test_alice', 'alice''s'), (61, 'pgkeymgr_test_bob', 'bob''s');
SELECT is(result('coded', 'SELECT id FROM secured WHERE leaks_argument(v) AND leaks_argument(owner) AND id >= 60', 'pgkeymgr_test_alice'), '(60)', 'with a function that tells');
SELECT matches(current_setting('test.leaked'), 'alice''s', 'it sees what alice may see');
SELECT doesnt_match(current_setting('test.leaked'), 'bob', 'and no more');
SELECT throws_ok('GRANT SELECT (id) ON coded.secured TO pgkeymgr_test_late', '0A000', NULL, 'privileges on columns come too late');
SELECT throws_ok('GRANT SELECT (id) ON coded.secured_encrypted TO pgkeymgr_test_late', '0A000', NULL,
    'and on the base table they are not to be had');

-- Privileges on single columns.
SELECT twice($ddl$
    CREATE TABLE narrow (id int PRIMARY KEY, a text, b text, c int DEFAULT 5, d date);
    INSERT INTO narrow VALUES (1, 'a1', 'b1', 1, '2024-01-01'), (2, 'a2', 'b2', 2, NULL);
    GRANT SELECT (id, a), INSERT (id, a, c), UPDATE (a, c) ON narrow TO pgkeymgr_test_alice;
    GRANT SELECT (id, b, c), UPDATE (b), DELETE ON narrow TO pgkeymgr_test_bob;
    GRANT SELECT, INSERT (id, b) ON narrow TO pgkeymgr_test_late;
$ddl$);
SELECT is(encrypt_column('coded.narrow', 'a', 'test column')::text, 'coded.narrow', 'with privileges on columns');
SELECT is(encrypt_column('coded.narrow', 'b', 'test column')::text, 'coded.narrow', 'with privileges on columns');
SELECT same(statement, 'narrow', role)
FROM unnest(ARRAY['pgkeymgr_test_alice', 'pgkeymgr_test_bob', 'pgkeymgr_test_late']) WITH ORDINALITY AS roles (role, r), unnest(ARRAY[
    $$ SELECT * FROM narrow $$,
    $$ SELECT id FROM narrow $$,
    $$ SELECT a FROM narrow $$,
    $$ SELECT b FROM narrow $$,
    $$ SELECT c FROM narrow $$,
    $$ SELECT id FROM narrow WHERE b = 'b1' $$,
    $$ SELECT count(*) FROM narrow $$,
    $$ INSERT INTO narrow (id, a) VALUES (10 + %s, 'new') RETURNING id $$,
    $$ INSERT INTO narrow (id, a, c) VALUES (20 + %s, 'new', 3) RETURNING id, a $$,
    $$ INSERT INTO narrow (id, b) VALUES (30 + %s, 'new') RETURNING id, b $$,
    $$ INSERT INTO narrow (id, a, b) VALUES (40 + %s, 'new', 'new') RETURNING id $$,
    $$ UPDATE narrow SET a = 'set' WHERE id = 1 RETURNING id $$,
    $$ UPDATE narrow SET b = 'set' WHERE id = 1 RETURNING id $$,
    $$ UPDATE narrow SET a = 'set', c = 9 WHERE id = 2 RETURNING id, a $$,
    $$ UPDATE narrow SET a = NULL WHERE id = 2 RETURNING id, a $$,
    $$ UPDATE narrow SET d = NULL WHERE id = 2 RETURNING id $$,
    $$ UPDATE narrow SET a = b WHERE id = 2 RETURNING id $$,
    $$ UPDATE narrow SET b = 'all' RETURNING id $$,
    $$ DELETE FROM narrow WHERE id = 2 RETURNING id $$
]) WITH ORDINALITY AS s (pattern, n), LATERAL (SELECT format(pattern, r) AS statement) AS filled
ORDER BY r, n;

-- ------------------------------------------------------------------------------------------------------------------
-- What is not selected is not decrypted.

CREATE FUNCTION tap.plan(query text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    line text;
    lines text := '';
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (VERBOSE, COSTS OFF) ' || query LOOP
        lines := lines || line || E'\n';
    END LOOP;
    RETURN lines;
END
$$;
SELECT unalike(plan(query), '%\_open\_%', 'decrypts nothing: ' || query) FROM unnest(ARRAY[
    'SELECT id FROM coded.cells', 'SELECT count(*) FROM coded.cells', 'SELECT id FROM coded.cells WHERE other = 3 ORDER BY open',
    'SELECT id FROM (SELECT * FROM coded.cells) AS x', 'SELECT open FROM coded.cells JOIN coded.account USING (id)'
]) AS q (query);
SELECT alike(plan('SELECT a FROM coded.cells WHERE id = 3 AND part = ''p'''), '%_open_text(b.a_encrypted%', 'what is selected is decrypted');
SELECT unalike(plan('SELECT a FROM coded.cells WHERE id = 3 AND part = ''p'''), '%b_encrypted%', 'and that alone');
SET LOCAL enable_seqscan = off;
SELECT alike(plan('SELECT a FROM coded.cells WHERE id = 3 AND part = ''p'''), '%Index Scan using cells_pkey%', 'found by the key''s index');
RESET enable_seqscan;

-- ------------------------------------------------------------------------------------------------------------------
-- DDL that is refused, and DDL that is none of our business.

SELECT throws_ok(ddl, '0A000', NULL, 'refused: ' || ddl) FROM unnest(ARRAY[
    'CREATE INDEX ON coded.cells_encrypted (a_encrypted)',
    'CREATE UNIQUE INDEX ON coded.cells_encrypted (other, a_encrypted)',
    'CREATE INDEX ON coded.cells_encrypted USING hash (c_encrypted)',
    'CREATE INDEX ON coded.cells_encrypted (other) INCLUDE (a_encrypted)',
    'ALTER TABLE coded.cells_encrypted ADD UNIQUE (a_encrypted)',
    'ALTER TABLE coded.cells_encrypted DROP COLUMN a_encrypted CASCADE',
    'ALTER TABLE coded.cells_encrypted RENAME COLUMN a_encrypted TO x'
]) AS d (ddl);
SELECT lives_ok(ddl, 'passes: ' || ddl) FROM unnest(ARRAY[
    'CREATE INDEX ON coded.cells_encrypted (other)',
    'CREATE INDEX ON coded.cells_encrypted (d_encrypted)',
    'CREATE TABLE public.unrelated (id int PRIMARY KEY, a_encrypted bytea)',
    'CREATE INDEX ON public.unrelated (a_encrypted)',
    'ALTER TABLE public.unrelated ADD COLUMN x int',
    'ALTER TABLE public.unrelated RENAME COLUMN x TO y',
    'GRANT SELECT ON public.unrelated TO pgkeymgr_test_alice',
    'CREATE VIEW public.unrelated_view AS SELECT * FROM public.unrelated',
    'ALTER VIEW public.unrelated_view RENAME TO unrelated_view_2',
    'CREATE TRIGGER t BEFORE UPDATE ON public.unrelated FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()',
    'CREATE INDEX ON public.unrelated (y)',
    'DROP TABLE public.unrelated CASCADE'
]) AS d (ddl);

SELECT * FROM finish();
ROLLBACK;
