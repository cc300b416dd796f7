-- sql/column/blind_index.sql

CREATE ROLE pgkeymgr_test_alice IN ROLE pgkeymgr_admin;
CREATE ROLE pgkeymgr_test_reader IN ROLE pgkeymgr_user;
CREATE ROLE pgkeymgr_test_stranger IN ROLE pgkeymgr_user;

BEGIN;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(126);
SET client_min_messages = warning;
CREATE TYPE public.test_mood AS ENUM ('sad', 'glad');
CREATE DOMAIN public.test_code AS text;
CREATE TABLE public.test_person (
    id integer PRIMARY KEY,
    t text,
    v varchar(40),
    i integer,
    b bigint,
    n numeric,
    d date,
    ts timestamptz,
    u uuid,
    bo boolean,
    by bytea,
    e public.test_mood,
    c public.test_code,
    ip inet,
    plain text
);
INSERT INTO public.test_person VALUES
    (1, 'Ann', 'v', 1, 10000000000, 1.0, '2026-01-02', '2026-01-02 03:04:05+06', gen_random_uuid(), true, '\x00ff',
        'glad', 'x', '10.0.0.1', 'p'),
    (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'p'),
    (3, '', '', 0, 0, 0, '2000-01-01', '2000-01-01 00:00:00+00', '00000000-0000-0000-0000-000000000000', false, '',
        'sad', '', '::1', 'q');
CREATE TEMP TABLE names AS
SELECT attname::text AS name FROM pg_attribute
WHERE attrelid = 'public.test_person'::regclass AND attnum > 1 AND attname <> 'plain';
SELECT encrypt_column('public.test_person', name) FROM names;
CREATE TEMP TABLE v AS SELECT 'Ann'::text AS secret_text, 'public.test_person'::regclass AS person;
GRANT SELECT ON v, messages TO PUBLIC;

-- For each type: the rows are found by the text of their values, and by no other value.
SELECT lives_ok(
    format('SELECT add_blind_index(%L, %L, force => %L)', 'public.test_person', name, name IN ('bo', 'e')),
    'add_blind_index: ' || name
)
FROM names;
CREATE FUNCTION tap.found(name text, value text) RETURNS integer[] LANGUAGE plpgsql AS $$
DECLARE
    result integer[];
BEGIN
    EXECUTE format(
        'SELECT array_agg(id ORDER BY id) FROM public.test_person WHERE %I = blind_index(%L, %L, $1)',
        name || '_bidx', 'public.test_person', name
    ) INTO result USING value;
    RETURN result;
END
$$;
SELECT is(found(key, value), ARRAY[id], format('%s = %s', key, value))
FROM public.test_person AS p, jsonb_each_text(to_jsonb(p) - 'id' - 'plain') AS one (key, value)
WHERE key IN (SELECT name FROM names) AND value IS NOT NULL;
SELECT is(found(name, NULL), NULL, 'NULL is not found: ' || name) FROM names WHERE name IN ('t', 'i', 'by');
SELECT is(found(name, value), expected, format('another form: %s = %s', name, value)) FROM (VALUES
    ('n', '1.000', ARRAY[1]),
    ('n', '1e0', ARRAY[1]),
    ('n', '1.001', NULL),
    ('i', '+1', ARRAY[1]),
    ('i', '2', NULL),
    ('bo', 'yes', ARRAY[1]),
    ('bo', 'off', ARRAY[3]),
    ('d', 'January 2, 2026', ARRAY[1]),
    ('ts', '2026-01-01 21:04:05Z', ARRAY[1]),
    ('u', '{00000000000000000000000000000000}', ARRAY[3]),
    ('ip', '10.0.0.1/32', ARRAY[1]),
    ('t', 'ann', NULL),
    ('t', 'Ann ', NULL),
    ('c', 'x', ARRAY[1])
) AS forms (name, value, expected);
SELECT is((SELECT count(*) FROM names WHERE NOT EXISTS (
    SELECT FROM public.test_person AS p, jsonb_each_text(to_jsonb(p)) AS one (key, value)
    WHERE p.id = 2 AND key = name || '_bidx' AND value IS NULL
)), 0::bigint, 'NULL has no blind index');
SELECT is(length(t_bidx), 16, '16 bytes') FROM public.test_person WHERE id = 1;
SELECT isnt(t_bidx, v_bidx, 'the same value has another one in another column') FROM public.test_person WHERE id = 3;
SELECT is(blind_index('public.test_person_encrypted', 't', 'Ann'), blind_index('public.test_person', 't', 'Ann'),
    'by the base table, too');

-- Many in one statement, and what changes between two of them.
SELECT is((SELECT count(DISTINCT blind_index('public.test_person', 't', i::text)) FROM generate_series(1, 300) AS i),
    300::bigint, 'for each of many rows');
SELECT is(count(*), 0::bigint, 'two columns in turn') FROM generate_series(1, 9)
WHERE blind_index('public.test_person', 't', 'x') IS NOT DISTINCT FROM blind_index('public.test_person', 'v', 'x');
CREATE TABLE public.test_one (id integer PRIMARY KEY, t text);
CREATE TABLE public.test_two (id integer PRIMARY KEY, t text);
CREATE SCHEMA test_other CREATE TABLE test_one (id integer PRIMARY KEY, t text);
SELECT encrypt_column(name, 't'), add_blind_index(name, 't')
FROM unnest('{public.test_one, public.test_two, test_other.test_one}'::regclass[]) AS name;
CREATE FUNCTION pg_temp.before_and_after(change text, named text) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    one text;
    two text;
BEGIN
    EXECUTE format('SELECT blind_index(%L, ''t'', ''x'')', named) INTO one;
    EXECUTE change;
    BEGIN
        EXECUTE format('SELECT blind_index(%L, ''t'', ''x'')', named) INTO two;
    EXCEPTION WHEN undefined_object THEN
        two := 'none';
    END;
    RETURN ARRAY[one, two];
END $$;
SELECT is((changed).before_and_after[1], (changed).before_and_after[2], 'nothing changes in one statement')
FROM (SELECT pg_temp.before_and_after('SELECT 1', 'public.test_one')) AS changed;
SELECT isnt(changed[1], changed[2], 'a table takes the name of another, in one statement')
FROM pg_temp.before_and_after(
    'ALTER TABLE public.test_one RENAME TO test_three; ALTER TABLE public.test_two RENAME TO test_one', 'public.test_one'
) AS changed;
SELECT isnt(changed[1], changed[2], 'the blind index is computed again')
FROM pg_temp.before_and_after(
    $$SELECT drop_blind_index('public.test_one', 't'); SELECT add_blind_index('public.test_one', 't')$$,
    'public.test_one'
) AS changed;
SELECT is(changed[2], 'none', 'and dropped')
FROM pg_temp.before_and_after($$SELECT drop_blind_index('public.test_one', 't')$$, 'public.test_one') AS changed;
SET search_path = public, pgkeymgr, tap;
SELECT add_blind_index('test_one', 't');
SELECT isnt(changed[1], changed[2], 'search_path is another')
FROM pg_temp.before_and_after('SET LOCAL search_path = test_other, pgkeymgr, tap', 'test_one') AS changed;
SET search_path = pgkeymgr, tap, public;

-- It follows what is written.
UPDATE public.test_person SET t = 'Bob', i = 7 WHERE id = 1;
SELECT is(found('t', 'Bob'), ARRAY[1], 'after UPDATE');
SELECT is(found('t', 'Ann'), NULL, 'not the old value');
UPDATE public.test_person SET t = NULL WHERE id = 1;
SELECT is(found('t', 'Bob'), NULL, 'after UPDATE to NULL');
INSERT INTO public.test_person (id, t) VALUES (4, 'Bob'), (5, 'Bob');
SELECT is(found('t', 'Bob'), ARRAY[4, 5], 'after INSERT, two rows');
DELETE FROM public.test_person WHERE id = 4;
SELECT is(found('t', 'Bob'), ARRAY[5], 'after DELETE');
INSERT INTO public.test_person (id, t, t_bidx) VALUES (6, 'Cy', '\x00');
SELECT is(found('t', 'Cy'), ARRAY[6], 'a blind index that is given is not taken');
UPDATE public.test_person SET t_bidx = '\x00' WHERE id = 6;
SELECT is(found('t', 'Cy'), ARRAY[6], 'nor in an UPDATE');

-- Normalization.
CREATE TABLE public.test_normal (id integer PRIMARY KEY, folded text, digits text);
SELECT encrypt_column('public.test_normal', 'folded'), encrypt_column('public.test_normal', 'digits');
SELECT add_blind_index('public.test_normal', 'folded', 'casefold'),
    add_blind_index('public.test_normal', 'digits', "normalize" => 'digits');
INSERT INTO public.test_normal VALUES (1, 'Straße É', '+49 (30) 123-45'), (2, 'I', 'no digits'), (3, '', '');
SELECT is((
    SELECT array_agg(id ORDER BY id) FROM public.test_normal
    WHERE folded_bidx = blind_index('public.test_normal', 'folded', value)
), expected, 'casefold: ' || value) FROM (VALUES
    ('straße é', ARRAY[1]), ('STRASSE É', ARRAY[1]), (U&'STRASSE E\0301', ARRAY[1]), ('strase é', NULL), ('i', ARRAY[2]),
    ('', ARRAY[3]), (' ', NULL)
) AS texts (value, expected);
SELECT is((
    SELECT array_agg(id ORDER BY id) FROM public.test_normal
    WHERE digits_bidx = blind_index('public.test_normal', 'digits', value)
), expected, 'digits: ' || value) FROM (VALUES
    ('493012345', ARRAY[1]), ('+49 30/123 45', ARRAY[1]), ('49301234', NULL), ('٤٩', NULL), ('', ARRAY[3])
) AS texts (value, expected);

-- Unique.
CREATE TABLE public.test_unique (id integer PRIMARY KEY, email text);
INSERT INTO public.test_unique VALUES (1, 'a'), (2, 'A'), (3, NULL), (4, NULL);
SELECT encrypt_column('public.test_unique', 'email');
SELECT throws_ok($$SELECT add_blind_index('public.test_unique', 'email', 'casefold', true)$$, '23505', NULL,
    'two rows are equal');
UPDATE public.test_unique SET email = 'b' WHERE id = 2;
SELECT lives_ok($$SELECT add_blind_index('public.test_unique', 'email', 'casefold', true)$$, 'and now they are not');
SELECT throws_ok($$INSERT INTO public.test_unique VALUES (5, 'B')$$, '23505', NULL, 'INSERT of an equal one');
SELECT throws_ok($$UPDATE public.test_unique SET email = 'A' WHERE id = 2$$, '23505', NULL, 'UPDATE to an equal one');
SELECT lives_ok($$INSERT INTO public.test_unique VALUES (5, NULL), (6, 'c')$$, 'NULLs are not equal');

-- The index is used, where there are many rows.
CREATE TABLE public.test_many (id integer PRIMARY KEY, email text);
SELECT encrypt_column('public.test_many', 'email'), add_blind_index('public.test_many', 'email', 'casefold');
INSERT INTO public.test_many SELECT i, 'e' || i FROM generate_series(1000, 2999) AS i;
ANALYZE public.test_many_encrypted;
CREATE FUNCTION tap.plan_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    line text;
    lines text := '';
BEGIN
    FOR line IN EXECUTE 'EXPLAIN ' || query LOOP
        lines := lines || line || E'\n';
    END LOOP;
    RETURN lines;
END
$$;
SELECT matches(
    plan_of($$SELECT * FROM public.test_many WHERE email_bidx = blind_index('public.test_many', 'email', 'E1234')$$),
    'Index Scan using test_many_email_bidx_idx', 'an index scan'
);
SELECT is((
    SELECT array_agg(id) FROM public.test_many WHERE email_bidx = blind_index('public.test_many', 'email', 'E1234')
), ARRAY[1234], 'which finds the row');

-- Errors.
SELECT refuses(call, state, naming) FROM (VALUES
    ('add_blind_index(NULL, ''t'')', '22000', 'relation'),
    ('add_blind_index(person, NULL)', '22000', 'column_name'),
    ('add_blind_index(person, ''t'', NULL)', '22000', 'normalize'),
    ('add_blind_index(person, ''t'', ''none'', NULL)', '22000', 'is_unique'),
    ('add_blind_index(person, ''t'', ''upper'')', '22023', 'casefold'),
    ('add_blind_index(person, ''t'')', '42710', 'already has a blind index'),
    ('add_blind_index(person, ''plain'')', '42704', '"plain"'),
    ('add_blind_index(person, ''missing'')', '42704', '"missing"'),
    ('add_blind_index(''pg_class'', ''relname'')', '42704', 'pg_class'),
    ('drop_blind_index(NULL, ''t'')', '22000', 'relation'),
    ('drop_blind_index(person, NULL)', '22000', 'column_name'),
    ('drop_blind_index(person, ''plain'')', '42704', '"plain"'),
    ('blind_index(NULL, ''t'', ''x'')', '22000', 'relation'),
    ('blind_index(person, NULL, ''x'')', '22000', 'column_name'),
    ('blind_index(person, ''plain'', ''x'')', '42704', '"plain"'),
    ('blind_index(person, ''i'', ''one'')', '22P02', 'integer')
) AS calls (call, state, naming);
-- The change makes a new view, which has another OID.
SELECT refuses('drop_blind_index(''public.test_person'', ''t'')', '42704', 'has no blind index',
    'SELECT drop_blind_index(person, ''t'') FROM v');
SELECT refuses('blind_index(''public.test_person'', ''t'', ''x'')', '42704', 'has no blind index',
    'SELECT drop_blind_index(person, ''t'') FROM v');
SELECT refuses('add_blind_index(''public.test_person'', ''i'', ''casefold'')', '22023', 'integer',
    'SELECT drop_blind_index(person, ''i'') FROM v');

-- Privileges. A member of pgkeymgr_admin that does not own the table may not add one; a role that may use the key
-- may search.
SELECT grant_data_key('public.test_person.t', 'pgkeymgr_test_reader', '{decrypt}');
SELECT is(as_role(role, call), answer, format('%s: %s', role, call)) FROM (VALUES
    ('pgkeymgr_test_reader', 'add_blind_index(person, ''t'')', '42501'),
    ('pgkeymgr_test_reader', 'drop_blind_index(person, ''t'')', '42501'),
    ('pgkeymgr_test_alice', 'drop_blind_index(person, ''t'')', '42501'),
    ('pgkeymgr_test_alice', 'add_blind_index(person, ''t'')', '42501'),
    ('pgkeymgr_test_reader', 'length(blind_index(person, ''t'', ''x''))', '16'),
    ('pgkeymgr_test_stranger', 'blind_index(person, ''t'', ''x'')', '42501'),
    ('pgkeymgr_test_reader', 'blind_index(person, ''v'', ''x'')', '42501')
) AS calls (role, call, answer);

-- Dropped: the column, the index and the key go, and the view loses the column.
CREATE TEMP TABLE keys_before AS SELECT count(*) AS n FROM key;
SELECT lives_ok($$SELECT drop_blind_index('public.test_unique', 'email')$$, 'drop_blind_index');
SELECT is((SELECT n FROM keys_before) - count(*), 1::bigint, 'its key is gone') FROM key;
SELECT hasnt_column('public', 'test_unique', 'email_bidx', 'and the column of the view');
SELECT hasnt_column('public', 'test_unique_encrypted', 'email_bidx', 'and that of the base table');
SELECT is(email, 'c', 'the values are there') FROM public.test_unique WHERE id = 6;
SELECT lives_ok($$SELECT add_blind_index('public.test_unique', 'email')$$, 'and again');
CREATE TABLE public.test_constrained (id integer PRIMARY KEY, email text UNIQUE);
SELECT encrypt_column('public.test_constrained', 'email');
SELECT add_blind_index('public.test_constrained', 'email');
SELECT throws_ok($$SELECT drop_blind_index('public.test_constrained', 'email')$$, '0A000', NULL,
    'a UNIQUE constraint needs it');

SELECT * FROM finish(true);
ROLLBACK;
DROP ROLE pgkeymgr_test_alice, pgkeymgr_test_reader, pgkeymgr_test_stranger;
