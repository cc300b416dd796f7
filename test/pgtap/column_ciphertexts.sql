-- sql/column/cell.sql, ddl.sql: ciphertexts and their nonces, ciphertexts out of their place, a key for each tenant, plans
-- that decrypt nothing, and indexes on ciphertext.

BEGIN;
SET search_path = pgkeymgr, tap, public;
SET client_min_messages = error;
\ir include/assertions.sql
\ir include/two_schemas.sql
SELECT plan(122);

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

-- A value that is written to the base table itself is sealed for its row, whichever statement writes it.
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
-- What is not selected is not decrypted.

CREATE TABLE coded.account (id int PRIMARY KEY, a text);
SELECT encrypt_column('coded.account', 'a', 'test column');
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
