-- sql/column/encrypt_column.sql, ddl.sql: roles, policies and privileges on columns of encrypted tables.

BEGIN;
SET search_path = pgkeymgr, tap, public;
SET client_min_messages = error;
\ir include/assertions.sql
\ir include/two_schemas.sql
SELECT plan(124);

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
    'and on the base table they are not to be read');

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

SELECT * FROM finish();
ROLLBACK;
