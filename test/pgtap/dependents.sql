-- sql/column/encrypt_column.sql: objects that depend on a table, taken along when a column of it is encrypted. What
-- commits, or takes more than one session, is in test/python/test_dependents.py.

BEGIN;
SET search_path = pgkeymgr, tap, public;
SET client_min_messages = error;
\ir include/assertions.sql
SELECT no_plan();

CREATE ROLE pgkeymgr_test_owner;
CREATE ROLE pgkeymgr_test_reader;
CREATE ROLE pgkeymgr_test_other;
CREATE ROLE pgkeymgr_test_admin IN ROLE pgkeymgr_admin;
GRANT USAGE ON SCHEMA tap, pgkeymgr TO pgkeymgr_test_owner, pgkeymgr_test_other;
CREATE SCHEMA dep;
GRANT USAGE ON SCHEMA dep TO PUBLIC;
GRANT CREATE ON SCHEMA dep TO pgkeymgr_test_owner, pgkeymgr_test_other;
-- Privileges that new objects would have, and those from before have not.
ALTER DEFAULT PRIVILEGES IN SCHEMA dep GRANT SELECT ON TABLES TO pgkeymgr_test_other;
ALTER DEFAULT PRIVILEGES IN SCHEMA dep GRANT EXECUTE ON FUNCTIONS TO pgkeymgr_test_other;

-- All that can be seen of the objects in schema dep, but for the tables themselves.
CREATE FUNCTION tap.objects() RETURNS SETOF text
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT concat_ws(' | ', c.relkind, c.relname, pg_get_userbyid(c.relowner), c.reloptions, c.relispopulated,
        pg_get_viewdef(c.oid), obj_description(c.oid), a.*)
    FROM pg_class AS c, LATERAL (
        SELECT string_agg(x::text, ' ' ORDER BY x::text)
        FROM aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) AS x
    ) AS a WHERE relnamespace = 'dep'::regnamespace AND relkind IN ('v', 'm') AND c.relname <> 'person'
    UNION ALL
    SELECT concat_ws(' | ', a.attrelid::regclass, a.attname, format_type(a.atttypid, a.atttypmod), a.attacl,
        pg_get_expr(d.adbin, d.adrelid), col_description(a.attrelid, a.attnum), a.attstattarget)
    FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
    LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE c.relnamespace = 'dep'::regnamespace AND c.relkind IN ('v', 'm') AND a.attnum > 0 AND c.relname <> 'person'
    UNION ALL
    SELECT concat_ws(' | ', pg_get_indexdef(i.indexrelid), i.indisclustered, obj_description(i.indexrelid))
    FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid WHERE c.relnamespace = 'dep'::regnamespace AND c.relkind = 'm'
    UNION ALL
    SELECT concat_ws(' | ', pg_get_functiondef(p.oid), pg_get_userbyid(p.proowner), obj_description(p.oid), a.*)
    FROM pg_proc AS p, LATERAL (
        SELECT string_agg(x::text, ' ' ORDER BY x::text)
        FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS x
    ) AS a WHERE p.pronamespace = 'dep'::regnamespace
    UNION ALL
    SELECT concat_ws(' | ', pg_get_ruledef(r.oid), obj_description(r.oid)) FROM pg_rewrite AS r
    JOIN pg_class AS c ON c.oid = r.ev_class WHERE c.relnamespace = 'dep'::regnamespace AND r.rulename <> '_RETURN'
    UNION ALL
    SELECT concat_ws(' | ', p.polname, p.polrelid::regclass, p.polpermissive, p.polcmd, p.polroles::regrole[],
        pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid), obj_description(p.oid))
    FROM pg_policy AS p JOIN pg_class AS c ON c.oid = p.polrelid WHERE c.relnamespace = 'dep'::regnamespace
    UNION ALL
    SELECT concat_ws(' | ', pg_get_triggerdef(t.oid), obj_description(t.oid)) FROM pg_trigger AS t
    JOIN pg_class AS c ON c.oid = t.tgrelid
    WHERE c.relnamespace = 'dep'::regnamespace AND NOT t.tgisinternal AND t.tgname NOT LIKE '%pgkeymgr%'
    ORDER BY 1
$$;

CREATE TABLE dep.person (id int PRIMARY KEY, name varchar(20), ssn text, note text);
INSERT INTO dep.person VALUES (1, 'Ann', '111', 'x'), (2, 'Bob', NULL, 'y'), (3, 'Cy', '333', 'z');
CREATE TABLE dep.log (id int, ssn text);
CREATE TABLE dep.visit (ssn text, day date);
INSERT INTO dep.visit VALUES ('111', '2020-01-01'), ('999', '2020-01-02');

CREATE VIEW dep.seen WITH (security_barrier) AS SELECT id, name AS called, ssn FROM dep.person WHERE ssn <> '';
COMMENT ON VIEW dep.seen IS 'a view''s comment';
COMMENT ON COLUMN dep.seen.called IS 'a column''s comment';
ALTER VIEW dep.seen ALTER COLUMN called SET DEFAULT 'nobody';
GRANT SELECT ON dep.seen TO pgkeymgr_test_reader WITH GRANT OPTION;
GRANT UPDATE (called) ON dep.seen TO pgkeymgr_test_reader;
CREATE VIEW dep.checked WITH (check_option = local) AS SELECT * FROM dep.person WHERE note <> '';
CREATE FUNCTION dep.instead() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER instead INSTEAD OF DELETE ON dep.seen FOR EACH ROW EXECUTE FUNCTION dep.instead();
COMMENT ON TRIGGER instead ON dep.seen IS 'a trigger''s comment';
-- Of another owner, over the first.
GRANT SELECT ON dep.seen TO pgkeymgr_test_other;
CREATE VIEW dep.starts WITH (security_invoker) AS SELECT left(ssn, 1) AS start, pg_typeof(called) AS type FROM dep.seen;
ALTER VIEW dep.starts OWNER TO pgkeymgr_test_other;
CREATE RULE nothing AS ON INSERT TO dep.starts DO INSTEAD NOTHING;
CREATE MATERIALIZED VIEW dep.kept AS SELECT id, ssn FROM dep.seen;
CREATE UNIQUE INDEX kept_id ON dep.kept (id);
CREATE INDEX kept_ssn ON dep.kept (lower(ssn)) WHERE id > 0;
COMMENT ON INDEX dep.kept_id IS 'an index''s comment';
ALTER MATERIALIZED VIEW dep.kept CLUSTER ON kept_id;
ALTER MATERIALIZED VIEW dep.kept ALTER COLUMN ssn SET STATISTICS 7;
CREATE VIEW dep.over_kept AS SELECT count(*) AS n FROM dep.kept;
CREATE MATERIALIZED VIEW dep.empty AS SELECT ssn FROM dep.person WITH NO DATA;
CREATE VIEW dep.whole AS SELECT p, to_jsonb(p) AS j FROM dep.person AS p;
CREATE FUNCTION dep.everybody() RETURNS SETOF dep.person LANGUAGE sql STABLE ROWS 7 SET work_mem = '1MB'
    AS 'SELECT * FROM dep.person ORDER BY id';
COMMENT ON FUNCTION dep.everybody() IS 'a function''s comment';
CREATE FUNCTION dep.title(p dep.person) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN p.name || p.ssn; END';
REVOKE ALL ON FUNCTION dep.title FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dep.title TO pgkeymgr_test_reader;
CREATE FUNCTION dep.atomic() RETURNS bigint BEGIN ATOMIC SELECT count(ssn) FROM dep.person; END;
CREATE VIEW dep.of_function AS SELECT id, ssn FROM dep.everybody();
CREATE RULE noting AS ON UPDATE TO dep.person WHERE OLD.ssn IS DISTINCT FROM NEW.ssn
    DO ALSO INSERT INTO dep.log VALUES (OLD.id, NEW.ssn);
COMMENT ON RULE noting ON dep.person IS 'a rule''s comment';
CREATE RULE noting_too AS ON INSERT TO dep.visit DO ALSO
    INSERT INTO dep.log SELECT id, ssn FROM dep.person WHERE ssn = NEW.ssn;
CREATE POLICY known ON dep.visit AS RESTRICTIVE FOR SELECT TO pgkeymgr_test_reader, pgkeymgr_test_other
    USING (EXISTS (SELECT FROM dep.person AS p WHERE p.ssn = visit.ssn));
COMMENT ON POLICY known ON dep.visit IS 'a policy''s comment';
-- Has nothing to do with the column, and stays what it is.
CREATE VIEW dep.unrelated AS SELECT id, note FROM dep.person;

CREATE FUNCTION tap.contents() RETURNS SETOF text
LANGUAGE sql AS $$
    SELECT 'seen ' || s::text FROM dep.seen AS s UNION ALL SELECT 'checked ' || c::text FROM dep.checked AS c
    UNION ALL SELECT 'starts ' || s::text FROM dep.starts AS s UNION ALL SELECT 'kept ' || k::text FROM dep.kept AS k
    UNION ALL SELECT 'over ' || o::text FROM dep.over_kept AS o
    UNION ALL SELECT 'whole ' || w.p::text || w.j::text FROM dep.whole AS w
    UNION ALL SELECT 'everybody ' || e::text FROM dep.everybody() AS e
    UNION ALL SELECT 'title ' || dep.title(p) FROM dep.person AS p UNION ALL SELECT 'atomic ' || dep.atomic()
    UNION ALL SELECT 'function ' || f::text FROM dep.of_function AS f UNION ALL SELECT 'unrelated ' || u::text FROM dep.unrelated AS u
    ORDER BY 1
$$;
CREATE TEMP TABLE objects_before AS SELECT objects();
CREATE TEMP TABLE contents_before AS SELECT contents();

-- The dry run says all this, and changes nothing. At any time, autovacuum may change the sizes and horizons in pg_class.
CREATE FUNCTION tap.catalog_state() RETURNS text
LANGUAGE sql AS $$
    SELECT concat_ws(' ', (SELECT sum(hashtext((to_jsonb(c)
            - '{relpages,reltuples,relallvisible,relallfrozen,relfrozenxid,relminmxid}'::text[])::text)) FROM pg_class AS c),
        (SELECT sum(hashtext(p::text)) FROM pg_proc AS p),
        (SELECT sum(hashtext(a::text)) FROM pg_attribute AS a), (SELECT count(*) FROM key), (SELECT count(*) FROM encrypted_relation),
        (SELECT count(*) FROM pg_depend), (SELECT count(*) FROM pg_constraint))
$$;
CREATE TEMP TABLE plan (kind text, object text, detail text, statement text);
CREATE TEMP TABLE state_before (state text);
INSERT INTO state_before SELECT catalog_state();
INSERT INTO plan SELECT * FROM plan_encrypt_column('dep.person', 'ssn');
SELECT is(catalog_state(), state, 'the plan changes nothing') FROM state_before;
SELECT results_eq(
    'SELECT kind, count(*) FROM plan WHERE kind <> ''time'' GROUP BY kind ORDER BY kind',
    $$VALUES ('dependent', 14::bigint), ('grant', 3), ('key', 1), ('leak', 4)$$, 'a plan without obstacles'
);
SELECT set_eq('SELECT object FROM plan WHERE kind = ''grant''', ARRAY[session_user::text, 'pgkeymgr_test_reader',
    'pgkeymgr_test_other'], 'the roles that get grants');
SELECT set_has(
    'SELECT object FROM plan WHERE kind = ''leak''',
    'VALUES (''materialized view dep.kept''), (''materialized view dep.empty'')', 'the materialized views leak'
);

-- A table and its view do not have the same columns and the same statement for them here and there.
CREATE TEMP TABLE unrelated_before AS SELECT 'dep.unrelated'::regclass::oid AS oid;
SELECT is(encrypt_column('dep.person', 'ssn')::text, 'dep.person', 'all dependents are created again');
SELECT results_eq(
    'SELECT replace(objects, ''person_encrypted'', ''person'') FROM objects() AS objects ORDER BY 1',
    'SELECT objects FROM objects_before ORDER BY 1', 'with its definition, owner, privileges, options and comments'
);
SELECT results_eq('SELECT * FROM contents()', 'SELECT contents FROM contents_before ORDER BY 1', 'with the same rows');
SELECT is('dep.unrelated'::regclass::oid, oid, 'an unrelated view is left alone') FROM unrelated_before;
UPDATE dep.person SET ssn = '444' WHERE id = 1;
UPDATE dep.person SET note = 'other' WHERE id = 1;
INSERT INTO dep.visit VALUES ('444', '2020-01-03');
SELECT results_eq('SELECT id, ssn FROM dep.log ORDER BY ssn', 'VALUES (1, ''444''), (1, ''444'')', 'the rules work');
SELECT is((SELECT ssn FROM dep.person_encrypted WHERE id = 1), NULL, 'and the table has ciphertext');
REFRESH MATERIALIZED VIEW dep.kept;
SELECT is((SELECT ssn FROM dep.kept WHERE id = 1), '444', 'a materialized view is refreshed');

-- A reader of a view needs no privileges on the table, neither before nor after.
GRANT SELECT ON dep.visit TO pgkeymgr_test_reader;
SET ROLE pgkeymgr_test_reader;
SELECT results_eq('SELECT ssn FROM dep.seen ORDER BY id', 'VALUES (''444''), (''333'')', 'a reader of a view reads it');
SELECT throws_ok('SELECT ssn FROM dep.person', '42501', NULL, 'but not the table');
SELECT throws_ok('SELECT ssn_encrypted FROM dep.person_encrypted', '42501', NULL, 'nor the base table');
RESET ROLE;

-- A second column, and views that were made on the base table itself.
CREATE VIEW dep.direct AS SELECT id, note FROM dep.person_encrypted;
SELECT is(encrypt_column('dep.person', 'note')::text, 'dep.person', 'a second column');
UPDATE dep.person SET note = 'secret' WHERE id = 1;
SELECT results_eq('SELECT note FROM dep.unrelated WHERE id = 1 UNION ALL SELECT note FROM dep.direct WHERE id = 1',
    'VALUES (''secret''), (''secret'')', 'views that knew the base table read the view now');

-- A blind index goes, and the view is made again.
SELECT add_blind_index('dep.person', 'ssn');
CREATE VIEW dep.blind AS SELECT ssn_bidx FROM dep.person;
SELECT throws_like('SELECT drop_blind_index(''dep.person'', ''ssn'')', '%view dep.blind uses column "ssn_bidx"%',
    'a view of the blind index is in the way');
DROP VIEW dep.blind;
CREATE TEMP TABLE objects_then AS SELECT objects();
SELECT drop_blind_index('dep.person', 'ssn');
SELECT results_eq('SELECT objects()', 'SELECT objects FROM objects_then ORDER BY 1', 'all others are created again');
SELECT isnt((SELECT count(*) FROM objects_then), 0::bigint, 'and there are some');

-- Indexes that are not unique.
CREATE TABLE dep.indexed (id int PRIMARY KEY, email text UNIQUE, login text);
CREATE INDEX "indexed Like" ON dep.indexed (email text_pattern_ops);
CREATE INDEX indexed_lower ON dep.indexed (lower(email), login);
SELECT results_eq($$SELECT kind, object FROM plan_encrypt_column('dep.indexed', 'email', drop_indexes => true)
    WHERE kind IN ('obstacle', 'index', 'constraint') OR object = 'indexed_email_key' ORDER BY 1, 2$$,
    $$VALUES ('constraint', 'indexed_email_key'), ('index', 'dep."indexed Like"'), ('index', 'dep.indexed_lower'),
    ('leak', 'indexed_email_key')$$, 'a plan with indexes and a UNIQUE constraint');
SELECT throws_like('SELECT encrypt_column(''dep.indexed'', ''email'')', '%drop_indexes => true%', 'an index is in the way');
SELECT is(encrypt_column('dep.indexed', 'email', drop_indexes => true)::text, 'dep.indexed', 'unless it may be dropped');
SELECT is((SELECT array_agg(c.relname::text ORDER BY c.relname) FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
    WHERE i.indrelid = 'dep.indexed_encrypted'::regclass), '{indexed_email_key,indexed_pkey}', 'UNIQUE goes on holding');
INSERT INTO dep.indexed VALUES (1, 'a');
SELECT throws_ok('INSERT INTO dep.indexed VALUES (2, ''a'')', '23505', NULL, 'by its blind index');
CREATE TABLE dep.few (id int PRIMARY KEY, email text);
CREATE UNIQUE INDEX few_lower ON dep.few (lower(email));
SELECT throws_like('SELECT encrypt_column(''dep.few'', ''email'', drop_indexes => true)', '%few_lower%',
    'a unique index is not dropped');

-- A BEFORE trigger that gives the column a value, and reads nothing of it, goes on working.
CREATE TABLE dep.stamped (id int PRIMARY KEY, note text, changed timestamptz, who text, words tsvector, body text);
INSERT INTO dep.stamped VALUES (1, 'a', '2000-01-01', 'somebody', 'old', 'b');
CREATE FUNCTION dep.stamp() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- A comment between the statements.
    NEW.changed = (CURRENT_TIMESTAMP AT TIME ZONE 'UTC')::timestamptz;
    IF NEW.note <> '' THEN
        NEW."who" := current_user::text;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON dep.stamped FOR EACH ROW EXECUTE FUNCTION dep.stamp();
CREATE TRIGGER worded BEFORE INSERT OR UPDATE ON dep.stamped FOR EACH ROW
    EXECUTE FUNCTION tsvector_update_trigger(words, 'pg_catalog.simple', body);
SELECT encrypt_column('dep.stamped', name) FROM unnest('{changed,who,words}'::name[]) AS name;
SELECT throws_like('SELECT encrypt_column(''dep.stamped'', ''body'')', '%an argument of trigger "worded" mentions%',
    'a trigger that reads the column does not');
CREATE TEMP TABLE stamp AS SELECT (CURRENT_TIMESTAMP AT TIME ZONE 'UTC')::timestamptz AS changed;
SELECT results_eq('SELECT changed, who, words FROM dep.stamped', $$VALUES ('2000-01-01'::timestamptz, 'somebody', 'old'::tsvector)$$,
    'values from before are kept');
INSERT INTO dep.stamped VALUES (2, 'a', '1999-01-01', 'me', 'none', 'Some Body'), (3, '', '1999-01-01', 'me', 'none', 'x');
SELECT results_eq(
    'SELECT id, changed, who, words::text FROM dep.stamped WHERE id > 1 ORDER BY id',
    $$SELECT 2, changed, session_user::text COLLATE "default", to_tsvector('simple', 'Some Body')::text FROM stamp
    UNION ALL SELECT 3, changed, 'me', to_tsvector('simple', 'x')::text FROM stamp$$,
    'an INSERT stores those of the trigger'
);
UPDATE dep.stamped SET note = 'b', body = 'other', changed = '1998-01-01' WHERE id = 1;
UPDATE dep.stamped_encrypted SET note = 'b', body = 'other' WHERE id = 3;
SELECT results_eq(
    'SELECT changed, who, words::text FROM dep.stamped WHERE id IN (1, 3)',
    $$SELECT changed, session_user::text COLLATE "default", to_tsvector('simple', 'other')::text FROM stamp, generate_series(1, 2)$$,
    'so does an UPDATE'
);
SELECT is((SELECT count(*) FROM dep.stamped_encrypted WHERE num_nonnulls(changed, who, words) > 0 AND id > 1), 0::bigint,
    'and the table has ciphertext');
CREATE FUNCTION tap.trigger_refused(body text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    message text := 'accepted';
BEGIN
    CREATE TABLE dep.t (id int PRIMARY KEY, v text, n int);
    EXECUTE format('CREATE OR REPLACE FUNCTION dep.trigger_of_t() RETURNS trigger LANGUAGE plpgsql AS %L',
        'BEGIN ' || body || ' RETURN NEW; END');
    CREATE TRIGGER of_t BEFORE INSERT OR UPDATE ON dep.t FOR EACH ROW EXECUTE FUNCTION dep.trigger_of_t();
    BEGIN
        PERFORM encrypt_column('dep.t', 'v');
    EXCEPTION WHEN feature_not_supported THEN
        GET STACKED DIAGNOSTICS message = MESSAGE_TEXT;
    END;
    DROP TABLE dep.t CASCADE;
    RETURN ok(message LIKE '%function dep.trigger_of_t() of trigger "of_t" mentions the column', body || ': ' || message);
END
$$;
SELECT trigger_refused(body) FROM unnest(ARRAY[
    'NEW.v := NULL;', 'NEW.v := NULLIF(''a'', ''b'');', 'NEW.v := NEW.v || ''x'';', 'NEW.v := upper(NEW.note);',
    'NEW.v := ''x''; NEW.note := NEW.v;', 'IF NEW.v = ''x'' THEN NEW.n := 1; END IF;',
    'NEW.n := CASE WHEN NEW.n > 0 THEN NEW.v = ''x'' ELSE false END::int;', 'NEW.v := ''x'' || current_user;',
    'NEW.v = ''x'' OR true;', 'EXECUTE ''SELECT $1.v'' USING NEW;', 'NEW.v := '''';', 'OLD.v := ''x'';'
]) AS body;

-- A refusal names each object that cannot be created again, with the DDL to run before and after.
CREATE FUNCTION tap.refused(setup text, naming text, hinting text DEFAULT NULL, role text DEFAULT 'none') RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
    state text := 'no error';
    message text := '';
    given text := '';
BEGIN
    CREATE TABLE dep.t (id int PRIMARY KEY, v text, n int);
    ALTER TABLE dep.t OWNER TO pgkeymgr_test_owner;
    EXECUTE setup;
    BEGIN
        PERFORM set_config('role', role, true);
        PERFORM encrypt_column('dep.t', 'v');
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, given = PG_EXCEPTION_HINT;
    END;
    PERFORM set_config('role', 'none', true);
    RETURN NEXT is(state, '0A000', 'refused: ' || naming || ': ' || message);
    RETURN NEXT ok(strpos(message, naming) > 0, 'named: ' || naming || ' in ' || message);
    IF hinting IS NOT NULL THEN
        RETURN NEXT ok(strpos(given, hinting) > 0, 'with a remedy: ' || given);
    END IF;
    IF hinting IS NOT NULL AND naming NOT LIKE '%cannot be created again' THEN
        PERFORM set_config('role', role, true);
        RETURN NEXT ok(
            (SELECT bool_and(strpos(message, p.detail) > 0) AND bool_or(strpos(p.detail, naming) > 0)
                AND bool_or(strpos(p.statement, hinting) > 0)
            FROM plan_encrypt_column('dep.t', 'v') AS p WHERE p.kind = 'obstacle'), 'planned: ' || naming
        );
        PERFORM set_config('role', 'none', true);
    END IF;
    DROP TABLE dep.t CASCADE;
END
$$;
SELECT refused('CREATE VIEW dep.grouped AS SELECT id, v FROM dep.t GROUP BY id',
    'view dep.grouped groups by the primary key', 'DROP VIEW "dep"."grouped"');
SELECT refused('CREATE VIEW dep.located AS SELECT ctid, v FROM dep.t', 'view dep.located cannot be created again',
    'CREATE VIEW "dep"."located"');
SELECT refused('CREATE VIEW dep.used AS SELECT v FROM dep.t; CREATE TABLE dep.user_of (u dep.used)',
    'column u of table dep.user_of depends on it');
SELECT refused('CREATE RULE off AS ON DELETE TO dep.t DO INSTEAD NOTHING; ALTER TABLE dep.t DISABLE RULE off',
    'rule off on table dep.t is not enabled', 'DROP RULE "off"');
SELECT refused('ALTER TABLE dep.t ENABLE ROW LEVEL SECURITY; CREATE VIEW dep.past AS SELECT v FROM dep.t',
    'view dep.past reads with the rights of its owner', 'CREATE VIEW "dep"."past"');
SELECT refused('CREATE TEMP VIEW passing AS SELECT v FROM dep.t', 'passing, which is temporary');
SELECT refused('CREATE VIEW public.apart AS SELECT v FROM dep.t; ALTER VIEW public.apart OWNER TO pgkeymgr_test_other;
    GRANT SELECT ON dep.t TO pgkeymgr_test_other; REVOKE CREATE ON SCHEMA public FROM PUBLIC',
    '"pgkeymgr_test_other", may create nothing in schema "public"');
SELECT refused('CREATE VIEW dep.theirs AS SELECT v FROM dep.t; ALTER VIEW dep.theirs OWNER TO pgkeymgr_test_other;
    GRANT SELECT ON dep.t TO pgkeymgr_test_other; GRANT pgkeymgr_test_owner TO pgkeymgr_test_admin',
    'view dep.theirs belongs to role "pgkeymgr_test_other", as which the current user cannot act',
    'DROP VIEW "dep"."theirs"', 'pgkeymgr_test_admin');
SELECT refused('CREATE STATISTICS dep.counted ON v, n FROM dep.t', 'dep.counted', 'DROP STATISTICS dep.counted');

-- The plan takes what encrypt_column takes.
CREATE TABLE dep.mine (id int PRIMARY KEY, v text);
SET ROLE pgkeymgr_test_admin;
SELECT throws_ok('SELECT * FROM plan_encrypt_column(''dep.mine'', ''v'')', '42501', NULL, 'the table of somebody else');
RESET ROLE;
SELECT throws_ok('SELECT * FROM plan_encrypt_column(''dep.mine'', ''none'')', '42703', NULL, 'a column that is not there');
SELECT throws_ok('SELECT * FROM plan_encrypt_column(''dep.mine'', NULL)', '22000', NULL, 'no column');
SELECT throws_ok('SELECT * FROM plan_encrypt_column(''dep.person'', ''ssn'')', '42710', NULL, 'an encrypted column');
SELECT results_eq($$SELECT detail FROM plan_encrypt_column('dep.mine', 'v', 'no such key') WHERE kind = 'obstacle'$$,
    $$VALUES ('key "no such key" does not exist')$$, 'a key that is not there');

SELECT * FROM finish();
ROLLBACK;
