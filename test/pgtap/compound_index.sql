-- sql/column/blind_index.sql: blind indexes of several columns together

BEGIN;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(63);
SET client_min_messages = warning;
CREATE TABLE public.test_person (
    id integer PRIMARY KEY, name text, city varchar(20), born date, size numeric, photo json, sex boolean, plain text
);
SELECT encrypt_column('public.test_person', c)
FROM unnest('{name,city,born,size,photo,sex}'::name[]) AS c;

CREATE FUNCTION tap.added(column_name name, options text, more text DEFAULT '') RETURNS text LANGUAGE sql AS $$
SELECT format(
    'SELECT add_blind_index(%L, %L, kind => ''compound'', options => %L%s)', 'public.test_person', column_name, options,
    more
)
$$;
-- What is refused
SELECT throws_ok(tap.added('name', options), '22023', NULL, 'options: ' || coalesce(options, 'NULL'))
FROM unnest(ARRAY[
    NULL, '{}', '{"with": []}', '{"with": "born"}', '{"with": [1]}', '{"with": null}', '{"with": {"born": 1}}', '[]',
    '{"with": ["name"]}', '{"with": ["born", "born"]}', '{"with": ["born"], "sizes": [2]}',
    '{"with": ["born"], "bits": 3}', '{"with": ["born"], "bits": "8"}'
]) AS options;
SELECT throws_ok(
    tap.added('name', format('{"with": ["born", "%s"]}', other)), '42704',
    format('pgkeymgr: column "%s" of test_person is not encrypted', other), 'with ' || other
) FROM unnest('{plain,id,missing}'::text[]) AS other;
SELECT throws_ok(tap.added('photo', '{"with": ["name"]}'), '0A000', NULL, 'a value without one form');
SELECT throws_ok(tap.added('name', '{"with": ["photo"]}'), '0A000', NULL, 'a further one without one form');
SELECT throws_ok(
    tap.added('born', '{"with": ["size"]}', ', "normalize" => ''casefold'''), '22023',
    'pgkeymgr: normalize must be none for a compound blind index without a column of texts', 'no texts'
);
SELECT throws_ok(
    tap.added('name', '{"with": ["born"], "bits": 8}', ', is_unique => true'), '22023',
    'pgkeymgr: is_unique is for a blind index of kind equality or compound with all bits', 'unique with bits'
);
SELECT throws_ok(
    $$SELECT add_blind_index('public.test_person', 'name', options => '{"with": ["born"]}')$$, '22023',
    'pgkeymgr: a blind index of kind equality has no option "with"', 'the option is for a compound index'
);

-- The distinction of values: case does not matter in texts, and no other two lists of values are equal.
SELECT lives_ok(tap.added('name', '{"with": ["city", "born"]}', ', "normalize" => ''casefold'''), 'three columns');
INSERT INTO public.test_person (id, name, city, born) VALUES
    (1, 'Ann', 'Ulm', '1990-01-01'), (2, 'AnnUlm', '', '1990-01-01'), (3, '', 'AnnUlm', '1990-01-01'),
    (4, 'ANN', 'ULM', '1990-01-01'), (5, 'Ulm', 'Ann', '1990-01-01'), (6, 'Ann', NULL, '1990-01-01'),
    (7, 'Ann', 'Ulm', NULL), (8, NULL, 'Ulm', '1990-01-01'), (9, NULL, NULL, NULL);
CREATE FUNCTION tap.found(VARIADIC given text[]) RETURNS integer[] LANGUAGE sql AS $$
SELECT array_agg(id ORDER BY id) FROM public.test_person
WHERE name_city_born_bidx = blind_index('public.test_person', 'name', VARIADIC given)
$$;
SELECT is(tap.found('ann', 'ulm', '1990-01-01'), '{1,4}', 'casefold');
SELECT is(tap.found('ann', 'ulm', 'January 1, 1990'), '{1,4}', 'a date in another form');
SELECT is(tap.found('annulm', '', '1990-01-01'), '{2}', 'the texts are not joined');
SELECT is(tap.found('', 'annulm', '1990-01-01'), '{3}', 'nor in the other way');
SELECT is(tap.found('ulm', 'ann', '1990-01-01'), '{5}', 'the order matters');
SELECT is(tap.found(NULL, 'ulm', '1990-01-01'), NULL, 'NULL is not found');
SELECT is(tap.found('ann', 'ulm', NULL), NULL, 'nor in another column');
SELECT is(
    array_agg(id ORDER BY id), '{6,7,8,9}', 'a row with a NULL has no hash'
) FROM public.test_person WHERE name_city_born_bidx IS NULL;
SELECT throws_ok(
    $$SELECT blind_index('public.test_person', 'name', 'ann', 'ulm')$$, '22023',
    'pgkeymgr: the compound blind index "name_city_born_bidx" needs 3 values: name, city, born', 'too few values'
);
SELECT throws_ok(
    $$SELECT tap.found('ann', 'ulm', 'born')$$, '22007', 'pgkeymgr: blind_index: the value is not valid for type date',
    'no date, and the message does not show it'
);
SELECT throws_ok(
    $$SELECT blind_index('public.test_person', 'name', 'ann')$$, '42704', NULL, 'one value is for an equality index'
);
SELECT is(
    blind_index('public.test_person', 'name', VARIADIC NULL::text[]), NULL, 'no values'
);
SELECT throws_ok(
    $$SELECT blind_index('public.test_person', 'city', 'ulm', '1990-01-01')$$, '42704', NULL,
    'the index belongs to its first column'
);

-- Other indexes of the column, of the same key too, have nothing in common with it.
SELECT create_data_key('test_shared') AS id \gset
SELECT add_blind_index('public.test_person', 'city', key => 'test_shared');
SELECT add_blind_index(
    'public.test_person', 'city', key => 'test_shared', kind => 'compound', options => '{"with": ["size"]}'
);
INSERT INTO public.test_person (id, city, size) VALUES (10, 'Ulm', 1.0);
SELECT is(
    array_agg(id), '{10}', 'a number in another form'
) FROM public.test_person WHERE city_size_bidx = blind_index('public.test_person', 'city', 'Ulm', '1');
SELECT is(
    count(*), 0::bigint, 'the hashes of the two kinds have sub-keys of their own'
) FROM public.test_person AS one JOIN public.test_person AS other ON one.city_bidx = other.city_size_bidx;
SELECT throws_ok(
    format('SELECT _blind_compound(%s, %L, %L)', :id, options, '{Ulm,1}'), '22000',
    'pgkeymgr: the options of the blind index are malformed', 'options of a caller: ' || options
) FROM unnest(
    '{"none","none,none,none","none,other","none,none/x","none,none/0","none,none/129","none,none/99999999999"}'::text[]
) AS options;
SELECT throws_ok(
    format('SELECT _blind(%s, %L, %L)', :id, options, 'Ulm'), '22000',
    'pgkeymgr: the options of the blind index are malformed', 'options of a caller for one value: ' || options
) FROM unnest('{"none/x","none/0","none/-8","none/129","casefold/99999999999"}'::text[]) AS options;
SELECT throws_ok(
    format('SELECT _blind_compound(%s, %L, %L)', create_data_key('test_other'), 'none,none', '{Ulm,1}'), '42704', NULL,
    'a key of no compound index'
);

-- Few bits, and uniqueness
SELECT drop_blind_index('public.test_person', 'name', 'compound');
SELECT add_blind_index(
    'public.test_person', 'name', kind => 'compound', options => '{"with": ["city"], "bits": 12}'
);
SELECT is(octet_length(name_city_bidx), 2, 'bits') FROM public.test_person WHERE id = 1;
SELECT drop_blind_index('public.test_person', 'name', 'compound');
DELETE FROM public.test_person WHERE id IN (4, 7);
SELECT lives_ok(
    tap.added('name', '{"with": ["city"]}', ', is_unique => true, "normalize" => ''casefold'''), 'unique'
);
SELECT throws_ok(
    $$INSERT INTO public.test_person (id, name, city) VALUES (11, 'ANN', 'ulm')$$, '23505', NULL, 'two equal rows'
);
SELECT lives_ok(
    $$INSERT INTO public.test_person (id, name, city) VALUES (11, 'ANN', NULL), (12, 'ANN', NULL), (13, 'Bob', 'ulm')$$,
    'NULL is not equal to NULL'
);
SELECT throws_ok(
    $$UPDATE public.test_person SET name = 'ann' WHERE id = 13$$, '23505', NULL, 'an update of one of the values'
);

-- A thief sees how often each combination occurs.
SELECT drop_blind_index('public.test_person', 'name', 'compound');
INSERT INTO public.test_person (id, name, sex) SELECT i, 'name ' || i % 12, i % 2 = 0 FROM generate_series(101, 300) AS i;
SELECT throws_like(
    tap.added('name', '{"with": ["sex"]}'), '%200 rows have 12 different values%', 'few different combinations'
);
INSERT INTO public.test_person (id, name, sex) SELECT i, 'name ' || i, i % 2 = 0 FROM generate_series(301, 500) AS i;
SELECT lives_ok(tap.added('name', '{"with": ["sex"]}'), 'enough combinations, although one type has few values');
SELECT is_empty(
    $$SELECT * FROM verify_column('public.test_person', 'sex')$$, 'verify_column finds nothing'
);
UPDATE public.test_person_encrypted SET name_sex_bidx = 'x' WHERE id = 301;
UPDATE public.test_person_encrypted SET name_sex_bidx = NULL WHERE id = 302;
SELECT set_eq(
    format('SELECT row_key, problem FROM verify_column(%L, %L)', 'public.test_person', c),
    $$VALUES ('301', 'blind index does not match its value'), ('302', 'blind index does not match its value')$$,
    'verify_column finds them by ' || c
) FROM unnest('{name,sex}'::text[]) AS c;

-- Names that need quotes, and are as long as names can be
CREATE TABLE public.test_odd (
    id integer PRIMARY KEY, "a ""b"" 'c' %s" text, "äöüäöüäöüäöüäöüäöüäöüäöüäöüäöü" integer
);
SELECT encrypt_column('public.test_odd', c)
FROM unnest(ARRAY['a "b" ''c'' %s', 'äöüäöüäöüäöüäöüäöüäöüäöüäöüäöü']::name[]) AS c;
SELECT add_blind_index(
    'public.test_odd', 'a "b" ''c'' %s', kind => 'compound',
    options => jsonb_build_object('with', ARRAY['äöüäöüäöüäöüäöüäöüäöüäöüäöüäöü'])
);
INSERT INTO public.test_odd VALUES (1, 'x', 2), (2, 'x', 3);
SELECT compound_index AS odd FROM encrypted_columns
WHERE relation = 'public.test_odd'::regclass AND compound_index IS NOT NULL \gset
SELECT is(array_agg(id), '{2}', 'a row is found by columns with odd names') FROM public.test_odd
WHERE :"odd" = blind_index('public.test_odd', 'a "b" ''c'' %s', 'x', '3');
UPDATE public.test_odd SET "äöüäöüäöüäöüäöüäöüäöüäöüäöüäöü" = 3 WHERE id = 1;
SELECT is(array_agg(id ORDER BY id), '{1,2}', 'and after an update') FROM public.test_odd
WHERE :"odd" = blind_index('public.test_odd', 'a "b" ''c'' %s', 'x', '3');
SELECT is_empty(
    $$SELECT * FROM verify_column('public.test_odd', 'äöüäöüäöüäöüäöüäöüäöüäöüäöüäöü')$$, 'verify_column finds nothing'
);
SELECT * FROM finish();
ROLLBACK;
