-- sql/key/nodes.sql, and the arguments by which keys, columns and blind indexes are the same on several nodes
BEGIN;
SET client_min_messages = error;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(51);

CREATE ROLE pgkeymgr_test_alice IN ROLE pgkeymgr_admin;
CREATE ROLE pgkeymgr_test_bob IN ROLE pgkeymgr_user;
CREATE TEMP TABLE v AS SELECT randombytes_buf(32) AS secret;
GRANT SELECT ON v TO PUBLIC;

-- set_key_node
SELECT results_eq(
    'SELECT * FROM key_node_status()',
    $$VALUES (NULL::integer, NULL::integer, NULL::integer, true, NULL::text, '{}'::text[], '{}'::text[])$$,
    'a database by itself'
);
SELECT refuses(call, state, naming) FROM (VALUES
    ('set_key_node(0, 3)', '22023', 'node must be 1 to 3'),
    ('set_key_node(4, 3)', '22023', 'node must be 1 to 3'),
    ('set_key_node(1, 0)', '22023', 'nodes must be 1 to 1024'),
    ('set_key_node(1, 1025)', '22023', 'nodes must be 1 to 1024'),
    ('set_key_node(1, 2, 0)', '22023', 'first_id must be 1 to 1000000000'),
    ('set_key_node(NULL, 2)', '22000', 'node must not be NULL'),
    ('set_key_node(1, NULL)', '22000', 'nodes must not be NULL'),
    ('set_key_node(1, 2, NULL)', '22000', 'first_id must not be NULL'),
    ('follow_key_source(NULL)', '22000', 'name must not be NULL'),
    ('follow_key_source('''')', '22023', 'name must be 1 to 255'),
    ('follow_key_source(repeat(''a'', 256))', '22023', 'name must be 1 to 255')
) AS calls (call, state, naming);
SELECT is(
    as_role('pgkeymgr_test_bob', call), '42501', 'only administrators: ' || call
) FROM unnest('{"set_key_node(1, 2)",follow_key_source(''a''),make_keys_here(),key_node_status(),key_dependents(1)}'::text[]) AS call;

SELECT create_data_key('before') AS before \gset
SELECT refuses(
    format('set_key_node(%s, 3)', :before % 3 + 1), '55000', format('key %s has an id that another of the 3 nodes', :before)
);
SELECT lives_ok(format('SELECT set_key_node(%s, 3, %s)', (:before - 1) % 3 + 1, :before), 'ids that fit');
SELECT is(as_role('pgkeymgr_test_alice', 'set_key_node(2, 3, 1000000)'), '', 'an administrator may');
SELECT is(create_data_key(name), id, 'key ' || name || ' of node 2') FROM (VALUES
    ('a', 1000001), ('b', 1000004), ('c', 1000007)
) AS made (name, id);
SELECT is(supersede_data_key('before'), 1000010, 'a version, too');
SELECT results_eq(
    $$SELECT event, detail, role FROM key_events WHERE event = 'set_key_node' ORDER BY at DESC LIMIT 1$$,
    $$VALUES ('set_key_node', 'node 2 of 3, ids from 1000000 on', 'pgkeymgr_test_alice')$$, 'the trail has it'
);
-- A key of another node, with a greater id.
INSERT INTO key (id, family, name, owner) VALUES (2000001, 2000001, 'of node 3', 10);
SELECT is(create_data_key('d'), 1000013, 'ids of another node do not matter');
SELECT setval('key_id_seq', 1);
SELECT is(create_data_key('e'), 1000016, 'the sequence was behind');
SELECT setval('key_id_seq', 1000015, false);
SELECT is(create_data_key('f'), 1000019, 'and by one id');

-- The newest version has not the greatest id.
SELECT is(import_data_key('versions', seal(secret), key_id => 3000001), 3000001, 'an id from elsewhere') FROM v;
SELECT is(supersede_data_key('versions') < 3000001, true, 'its next version has a smaller one');
SELECT is(
    (token_info(token_encrypt_text('versions', 'x'))).key_id, (SELECT superseded_by FROM key WHERE id = 3000001),
    'and is current'
);
SELECT disable_data_key(superseded_by) FROM key WHERE id = 3000001;
SELECT refuses(
    'token_encrypt_text(''versions'', ''x'')', '55000', format('key %s "versions" is disabled', superseded_by)
) FROM key WHERE id = 3000001;

-- follow_key_source and make_keys_here
SELECT is(as_role('pgkeymgr_test_alice', 'follow_key_source(''main'')'), '', 'an administrator may');
SELECT results_eq(
    'SELECT node, makes_keys, source FROM key_node_status()', $$VALUES (2, false, 'main')$$, 'another node makes keys'
);
SELECT refuses('create_data_key(''x'')', '55000', 'cannot make or change keys on this node: node "main" makes them');
SELECT is(token_decrypt_text(token_encrypt_text('a', 'x')), 'x', 'keys are used');
SELECT lives_ok('SELECT grant_data_key(''a'', ''pgkeymgr_test_bob''), revoke_data_key(''a'', ''pgkeymgr_test_bob'')', 'and granted');
SELECT is(as_role('pgkeymgr_test_alice', 'make_keys_here()'), '', 'an administrator may');
SELECT isnt(create_data_key('x'), NULL, 'keys are made again');

-- encrypt_column with an id, add_blind_index with a key
CREATE TABLE public.test_one (id integer PRIMARY KEY, s text, t text);
CREATE TABLE public.test_two (id integer PRIMARY KEY, s text);
SELECT encrypt_column('test_one', 's', 'a', column_id => 'b3b0f4a9-7f52-4d6e-93b8-6f4f5b8f1a11');
SELECT results_eq(
    $$SELECT column_id FROM encrypted_columns WHERE relation = 'test_one'::regclass$$,
    $$VALUES ('b3b0f4a9-7f52-4d6e-93b8-6f4f5b8f1a11'::uuid)$$, 'the id that was given'
);
SELECT refuses(
    format('encrypt_column(%L, ''s'', ''a'', column_id => ''b3b0f4a9-7f52-4d6e-93b8-6f4f5b8f1a11'')', relation), '42710',
    'column with id b3b0f4a9-7f52-4d6e-93b8-6f4f5b8f1a11 already exists'
) FROM (VALUES ('test_two')) AS taken (relation);
SELECT encrypt_column('test_two', 's', 'b');
INSERT INTO test_one VALUES (1, 'same'), (2, 'other');
INSERT INTO test_two VALUES (7, 'same');
SELECT grant_data_key('a', 'pgkeymgr_test_bob', '{encrypt}');
SELECT grant_data_key('a', 'pgkeymgr_test_alice', '{decrypt}');
SELECT add_blind_index('test_one', 's', key => 'c');
SELECT add_blind_index('test_two', 's', 'none', false, (SELECT id FROM key WHERE name = 'c'));
SELECT results_eq(
    'SELECT o.id, w.id FROM test_one AS o JOIN test_two AS w ON o.s_bidx = w.s_bidx', 'VALUES (1, 7)', 'they can be joined'
);
SELECT set_eq(
    $$SELECT grantee::regrole::text, usage FROM key_grant JOIN key USING (family) WHERE name = 'c'$$,
    $$VALUES ('pgkeymgr_test_bob', '{encrypt}'::text[]), ('pgkeymgr_test_alice', '{search}')$$,
    'the usages that the index needs'
);
SELECT refuses('destroy_data_key(id, name) FROM key WHERE name = ''c'' --', '55000', 'the blind index of column "s" of test_one');
SELECT set_eq(
    'SELECT * FROM key_dependents(''c'')',
    $$VALUES ('the blind index of column "s" of test_one'), ('the blind index of column "s" of test_two')$$, 'dependents'
);
SELECT drop_blind_index('test_one', 's'), drop_blind_index('test_two', 's');
SELECT is((SELECT state::text FROM key WHERE name = 'c'), 'enabled', 'the key that was given stays');
-- The key that was made for one blind index is given to another.
SELECT add_blind_index('test_one', 's');
SELECT id AS own FROM key WHERE name LIKE '%.bidx.%' \gset
SELECT add_blind_index('test_two', 's', 'none', false, :own);
SELECT drop_blind_index('test_one', 's');
SELECT is((SELECT count(*) FROM key WHERE id = :own), 1::bigint, 'the key that another column uses stays');
SELECT drop_blind_index('test_two', 's');
SELECT add_blind_index('test_one', 's');
SELECT drop_blind_index('test_one', 's');
SELECT is((SELECT count(*) FROM key WHERE name LIKE '%.bidx.%'), 1::bigint, 'another key was made, and goes');
SELECT add_blind_index('test_two', 's', key => 'c');
SELECT refuses(call, state, naming) FROM (VALUES
    ('add_blind_index(''test_one'', ''s'', key => ''nothing'')', '42704', '"nothing"'),
    ('add_blind_index(''test_one'', ''s'', ''none'', false, 999)', '42704', '999'),
    ('add_blind_index(''test_two'', ''s'', key => ''c'')', '42710', 'already has a blind index')
) AS calls (call, state, naming);

SELECT finish();
ROLLBACK;
