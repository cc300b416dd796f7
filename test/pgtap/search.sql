-- sql/column/search.sql, and the kinds of blind indexes other than equality in sql/column/blind_index.sql

CREATE ROLE pgkeymgr_test_alice IN ROLE pgkeymgr_admin;
CREATE ROLE pgkeymgr_test_reader IN ROLE pgkeymgr_user;
CREATE ROLE pgkeymgr_test_searcher IN ROLE pgkeymgr_user;
CREATE ROLE pgkeymgr_test_stranger IN ROLE pgkeymgr_user;

BEGIN;
SET search_path = pgkeymgr, tap, public;
SET client_min_messages = error;
\ir include/assertions.sql
SELECT plan(90);

CREATE TABLE public.test_person (
    id integer PRIMARY KEY, name text, born date, n numeric(8, 2), ip inet, doc jsonb, mood boolean, tenant text
);
SELECT encrypt_column('public.test_person', name) FROM unnest('{name,born,n,ip,doc,mood}'::name[]) AS name;

-- Each kind, by name and by defaults, and what it makes.
SELECT lives_ok(format('SELECT add_blind_index(''public.test_person'', %L, kind => %L)', name, kind), kind || ' of ' || name)
FROM (VALUES ('name', 'text'), ('born', 'range'), ('n', 'range'), ('ip', 'range'), ('doc', 'json')) AS v (name, kind);
SELECT lives_ok($$SELECT add_blind_index('public.test_person', 'name')$$, 'equality beside text');
SELECT is(
    string_agg(concat_ws(' ', column_name, blind_index, terms_index, terms_kind), ', ' ORDER BY column_name),
    'born born_terms range, doc doc_terms json, ip ip_terms range, mood, n n_terms range, name name_bidx name_terms text',
    'encrypted_columns'
) FROM encrypted_columns WHERE relation = 'public.test_person'::regclass;
SELECT is(
    string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attname),
    'born_terms integer[], doc_terms integer[], ip_terms integer[], n_terms integer[], name_bidx bytea, name_terms smallint[]',
    'the columns of the view'
) FROM pg_attribute WHERE attrelid = 'public.test_person'::regclass AND attname ~ '_(terms|bidx)$';
-- Later, because PostgreSQL does not use an index in a transaction that has also changed the rows before.
INSERT INTO public.test_person
SELECT i, 'person ' || i || ' ' || md5(i::text), date '1960-01-01' + i, i / 4.0, '10.0.0.0'::inet + i,
    jsonb_build_object('k', i, 'tags', jsonb_build_array('a', i)), i % 2 = 0, 't' || i % 3
FROM generate_series(1, 1000) AS i;
INSERT INTO public.test_person (id, name, born) VALUES (9001, 'Anna Müller', '2024-02-29'), (9002, NULL, NULL);
SELECT is(count(*), 0::bigint, 'verify_column finds nothing: ' || name)
FROM unnest('{name,born,n,ip,doc}'::name[]) AS name, verify_column('public.test_person', name) GROUP BY name;
ANALYZE public.test_person_encrypted;

-- The conditions that people write find rows by the index, with custom and with generic plans.
CREATE FUNCTION tap.plan_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    line text;
    lines text := '';
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
        lines := lines || line || E'\n';
    END LOOP;
    RETURN lines;
END
$$;
CREATE FUNCTION tap.ids(query text) RETURNS integer[] LANGUAGE plpgsql AS $$
DECLARE
    found integer[];
BEGIN
    EXECUTE format('SELECT coalesce(array_agg(id ORDER BY id), ''{}'') FROM (%s) AS q', query) INTO found;
    RETURN found;
END
$$;
CREATE TEMP TABLE searches (condition text, ids integer[]);
GRANT SELECT ON searches TO PUBLIC;
INSERT INTO searches VALUES
    ('search_like(''public.test_person'', ''name'', name_terms, name, ''%on 17 %'')', '{17}'),
    ('search_contains(''public.test_person'', ''name'', name_terms, name, ''Müll'')', '{9001}'),
    ('search_prefix(''public.test_person'', ''name'', name_terms, name, ''Anna'')', '{9001}'),
    ('search_suffix(''public.test_person'', ''name'', name_terms, name, ''ller'')', '{9001}'),
    ('search_within(''public.test_person'', ''born'', born_terms, born, daterange(''2024-01-01'', NULL))', '{9001}'),
    ('search_within(''public.test_person'', ''n'', n_terms, n, numrange(10, 10.5, ''[]''))', '{40,41,42}'),
    ('search_network(''public.test_person'', ''ip'', ip_terms, ip, ''10.0.1.0/31'')', '{256,257}'),
    ('search_json(''public.test_person'', ''doc'', doc_terms, doc, ''{"tags": [17]}'')', '{17}'),
    ('search_json_path(''public.test_person'', ''doc'', doc_terms, doc, ''{tags,1}'', ''17'')', '{17}'),
    ('name_terms @> search_terms(''public.test_person'', ''name'', ''%on 17 %'') AND name LIKE ''%on 17 %''', '{17}');
SELECT is(ids('SELECT id FROM public.test_person WHERE ' || condition), ids, condition) FROM searches;
SELECT matches(plan_of('SELECT id FROM public.test_person WHERE ' || condition), 'Index Scan on test_person_\w+_terms_idx', 'index: ' || condition)
FROM searches;
SELECT is(ids(
    $$SELECT id FROM public.test_person WHERE search_json_key('public.test_person', 'doc', doc_terms, doc, 'nothing')$$
), '{}', 'a key that is nowhere');
PREPARE named(text) AS
    SELECT id FROM public.test_person WHERE search_like('public.test_person', 'name', name_terms, name, $1);
SET LOCAL plan_cache_mode = force_generic_plan;
SELECT matches(plan_of('EXECUTE named(''%Anna%'')'), 'Bitmap Index Scan on test_person_name_terms_idx', 'a generic plan');
SELECT results_eq('EXECUTE named(''%Anna%'')', 'VALUES (9001)', 'its rows');
SET LOCAL plan_cache_mode = force_custom_plan;
SELECT results_eq('EXECUTE named(''%Anna%'')', 'VALUES (9001)', 'the rows of a custom plan');
RESET plan_cache_mode;
SELECT results_eq(
    $$SELECT w.word, p.id FROM (VALUES ('Anna'), ('on 17 '), ('nobody')) AS w (word)
    JOIN public.test_person AS p ON search_contains('public.test_person', 'name', p.name_terms, p.name, w.word) ORDER BY 2$$,
    $$VALUES ('on 17 ', 17), ('Anna', 9001)$$, 'a join'
);
SELECT is(ids($$SELECT id FROM public.test_person WHERE search_like('public.test_person', 'name', name_terms, name, NULL)$$),
    '{}', 'NULL finds nothing');
SELECT is(ids($$SELECT id FROM public.test_person WHERE search_contains('public.test_person', 'name', name_terms, name, 'ü')$$),
    '{9001}', 'a part that is too short for a term');
SELECT is(search_terms('public.test_person', 'name', 'x', 'contains'), '{}', 'has no term');
SELECT is(search_terms('public.test_person', 'name', NULL), NULL, 'the terms of NULL');
SELECT is(search_path_terms('public.test_person', 'doc', '{a,NULL}', '1'), NULL, 'a path with NULL');
SELECT is(search_range_terms('public.test_person', 'n', '1', '1') && search_range_terms('public.test_person', 'n', '1', '2'),
    true, 'a part of an interval');
SELECT is(count(*), 1001::bigint, 'no bounds') FROM public.test_person
WHERE search_within('public.test_person', 'born', born_terms, born, daterange(NULL, NULL));

-- Row-level security: the index is used before the policy, and hidden rows stay hidden.
GRANT SELECT ON public.test_person TO pgkeymgr_test_reader, pgkeymgr_test_searcher;
SELECT grant_data_key('public.test_person.' || name, 'pgkeymgr_test_reader', '{decrypt}')
FROM unnest('{name,born,n,ip,doc,mood}'::text[]) AS name;
ALTER TABLE public.test_person_encrypted ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON public.test_person_encrypted USING (tenant = 't2');
SET ROLE pgkeymgr_test_reader;
SELECT is(ids('SELECT id FROM public.test_person WHERE ' || condition),
    ARRAY(SELECT i FROM unnest(ids) AS i WHERE i < 9000 AND i % 3 = 2), 'with a policy: ' || condition)
FROM searches WHERE condition ~ '^search_';
SELECT matches(
    plan_of($$SELECT id FROM public.test_person WHERE search_like('public.test_person', 'name', name_terms, name, '%on 17 %')$$),
    'Index Scan on test_person_name_terms_idx', 'the index under a policy'
);
RESET ROLE;

-- Usages: search gives terms, and no value.
SELECT grant_data_key('public.test_person.name', 'pgkeymgr_test_searcher', '{search}');
SET ROLE pgkeymgr_test_searcher;
SELECT lives_ok($$SELECT search_terms('public.test_person', 'name', '%Anna%')$$, 'search gives terms');
SELECT throws_ok($$SELECT name FROM public.test_person WHERE id = 2$$, '42501', NULL, 'and no value');
SELECT throws_ok($$SELECT search_range_terms('public.test_person', 'born', NULL, NULL)$$, '42501', NULL, 'of another column');
RESET ROLE;
SET ROLE pgkeymgr_test_stranger;
SELECT throws_ok($$SELECT search_terms('public.test_person', 'name', '%Anna%')$$, '42501', NULL, 'without a grant');
RESET ROLE;

-- Calls that are refused.
SELECT throws_ok('SELECT ' || call, state, NULL, call) FROM (VALUES
    ('add_blind_index(''public.test_person'', ''mood'')', '0A000'),
    ('add_blind_index(''public.test_person'', ''mood'', kind => ''range'')', '0A000'),
    ('add_blind_index(''public.test_person'', ''name'', kind => ''json'')', '0A000'),
    ('add_blind_index(''public.test_person'', ''name'', kind => ''trigram'')', '22023'),
    ('add_blind_index(''public.test_person'', ''name'', kind => NULL)', '22000'),
    ('add_blind_index(''public.test_person'', ''name'', kind => ''text'')', '42710'),
    ('add_blind_index(''public.test_person'', ''name'', ''casefold'', kind => ''text'')', '42710'),
    ('add_blind_index(''public.test_person'', ''born'', kind => ''range'', options => ''{"precision": 30}'')', '42710'),
    ('add_blind_index(''public.test_person'', ''born'', options => ''{"precision": 30}'')', '22023'),
    ('add_blind_index(''public.test_person'', ''born'', options => ''{"bits": 1}'')', '22023'),
    ('add_blind_index(''public.test_person'', ''born'', options => ''[]'')', '22023'),
    ('add_blind_index(''public.test_person'', ''born'', is_unique => true, options => ''{"bits": 8}'')', '22023'),
    ('add_blind_index(''public.test_person'', ''born'', kind => ''range'', options => ''{"precision": 1.5}'')', '22023'),
    ('add_blind_index(''public.test_person'', ''born'', kind => ''range'', options => ''{"low": 1}'')', '22023'),
    ('add_blind_index(''public.test_person'', ''name'', kind => ''text'', options => ''{"bits": 8.5}'')', '22023'),
    ('add_blind_index(''public.test_person'', ''name'', kind => ''text'', options => ''{"sizes": [2.5]}'')', '22023'),
    ('add_blind_index(''public.test_person'', ''name'', kind => ''text'', options => ''{"sizes": 3}'')', '22023'),
    ('add_blind_index(''public.test_person'', ''doc'', kind => ''json'', options => ''{"bits": 16.5}'')', '22023'),
    ('add_blind_index(''public.test_person'', ''doc'', kind => ''json'', options => ''{"bits": null}'')', '22023'),
    ('_terms((SELECT min(id)::integer FROM key WHERE name LIKE ''%.doc.terms.%''), ''{"bits":8.5,"kind":"json"}'', ''{}'')', '22023'),
    ('search_terms(''public.test_person'', ''born'', ''x'')', '42704'),
    ('search_terms(''public.test_person'', ''name'', ''x'', ''regexp'')', '22023'),
    ('search_range_terms(''public.test_person'', ''born'', ''no date'', NULL)', '22007'),
    ('drop_blind_index(''public.test_person'', ''born'')', '42704')
) AS v (call, state);

-- Few distinct values.
CREATE TABLE public.test_few (id integer PRIMARY KEY, t text, u text);
INSERT INTO public.test_few SELECT i, 'value ' || i % 5, 'value ' || i FROM generate_series(1, 200) AS i;
SELECT encrypt_column('public.test_few', 't'), encrypt_column('public.test_few', 'u');
SELECT throws_ok(format('SELECT add_blind_index(''public.test_few'', ''t'', kind => %L)', kind), '0A000', NULL, 'few values: ' || kind)
FROM unnest('{equality,text}'::text[]) AS kind;
SELECT lives_ok($$SELECT add_blind_index('public.test_few', 't', force => true)$$, 'force');

-- Bits: several values have one hash, and a search compares the values.
SELECT add_blind_index('public.test_few', 'u', 'casefold', options => '{"bits": 5}');
SELECT is(max(length(u_bidx)), 1, 'a byte of a hash') FROM public.test_few;
SELECT ok(count(DISTINCT u_bidx) BETWEEN 16 AND 32, 'few hashes of many values') FROM public.test_few;
SELECT ok(count(*) > 1, 'a hash finds several values') FROM public.test_few
WHERE u_bidx = blind_index('public.test_few', 'u', 'VALUE 7');
SELECT results_eq(
    $$SELECT id FROM public.test_few WHERE u_bidx = blind_index('public.test_few', 'u', 'value 7') AND u = 'value 7'$$,
    'VALUES (7)', 'the value decides'
);
SELECT is(count(*), 0::bigint, 'verify_column with bits') FROM verify_column('public.test_few', 'u');

-- A blind index that somebody has written to the base table.
UPDATE public.test_person_encrypted SET name_terms = '{1}' WHERE id = 17;
SELECT results_eq($$SELECT row_key, problem FROM verify_column('public.test_person', 'name')$$,
    $$VALUES ('17', 'blind index does not match its value')$$, 'verify_column');

-- Taken away.
SELECT lives_ok($$SELECT drop_blind_index('public.test_person', 'name', 'text')$$, 'drop_blind_index');
SELECT hasnt_column('public', 'test_person'::name, 'name_terms'::name, 'the column is gone');
SELECT is(count(*), 0::bigint, 'and its key') FROM data_keys WHERE name LIKE '%.name.terms.%';

SELECT * FROM finish(true);
ROLLBACK;
DROP ROLE pgkeymgr_test_alice, pgkeymgr_test_reader, pgkeymgr_test_searcher, pgkeymgr_test_stranger;
