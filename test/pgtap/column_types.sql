-- sql/column/encrypt_column.sql, cell.sql: columns of every type, written under some settings and read under others.

BEGIN;
SET search_path = pgkeymgr, tap, public;
SET client_min_messages = error;
\ir include/assertions.sql
\ir include/two_schemas.sql
SELECT plan(126);

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

SELECT * FROM finish();
ROLLBACK;
