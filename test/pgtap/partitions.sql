-- sql/column/attach_partition.sql: partitions of encrypted tables.

BEGIN;
SET search_path = pgkeymgr, tap, public;
SET client_min_messages = error;
\ir include/assertions.sql
SELECT plan(30);

CREATE TABLE public.test_day (id bigint NOT NULL, day date NOT NULL, ssn text NOT NULL CHECK (ssn <> ''), note text)
    PARTITION BY RANGE (day);
CREATE TABLE public.test_day_24 PARTITION OF public.test_day FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE public.test_day_rest PARTITION OF public.test_day DEFAULT;
SELECT throws_ok($$SELECT encrypt_column('public.test_day', 'day')$$, '0A000', NULL, 'a column of the partition key');
SELECT throws_like($$SELECT encrypt_column('public.test_day_24', 'ssn')$$, '%it is a partition: encrypt the column of the table%',
    'a partition by itself');
SELECT lives_ok($$SELECT encrypt_column('public.test_day', 'ssn')$$, 'a partitioned table is encrypted');
SELECT is((SELECT relkind::text FROM pg_class WHERE oid = 'public.test_day_encrypted'::regclass), 'p', 'it stays partitioned');
SELECT bag_eq(
    'SELECT partition::regclass::text FROM encrypted_partition',
    ARRAY['test_day_24', 'test_day_rest'], 'the registry has its partitions'
);

-- PostgreSQL gives each partition, also a later one, the triggers and the CHECK.
CREATE TABLE public.test_day_25 PARTITION OF public.test_day_encrypted FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')
    PARTITION BY LIST (id);
CREATE TABLE public.test_day_25_all PARTITION OF public.test_day_25 DEFAULT;
SELECT is(
    (SELECT count(*)::integer FROM pg_trigger WHERE tgname ~ '^zzzz_pgkeymgr' AND tgenabled = 'A'
        AND tgrelid::regclass::text ~ '^test_day'),
    10, 'each partition has the triggers, enabled ALWAYS'
);
SELECT is(
    (SELECT count(DISTINCT conrelid)::integer FROM pg_constraint WHERE conname ~ '^pgkeymgr_\d+_sealed$' AND convalidated
        AND conrelid::regclass::text ~ '^test_day'),
    5, 'and the CHECK that there is no plaintext'
);
SELECT is((SELECT count(*)::integer FROM encrypted_partition), 4, 'later partitions are registered');
INSERT INTO public.test_day VALUES (1, '2024-02-02', 'one', 'n'), (2, '2025-02-02', 'two', 'n'), (3, '2030-02-02', 'three', 'n');
INSERT INTO public.test_day_24 (id, day, ssn) VALUES (4, '2024-03-03', 'four');
SELECT results_eq('SELECT id, ssn FROM public.test_day ORDER BY id',
    $$VALUES (1::bigint, 'one'), (2, 'two'), (3, 'three'), (4, 'four')$$, 'rows of all partitions open');
SELECT is((SELECT count(ssn)::integer FROM public.test_day_encrypted), 0, 'no partition has plaintext');
SELECT throws_ok($$INSERT INTO public.test_day_24 (id, day, ssn) VALUES (5, '2024-03-03', '')$$, '23514', NULL,
    'a partition has the CHECK of the encrypted column');
SELECT throws_ok($$INSERT INTO public.test_day_25_all (id, day) VALUES (5, '2025-03-03')$$, '23502', NULL, 'and NOT NULL');
UPDATE public.test_day SET day = '2025-09-09' WHERE id IN (1, 3);
SELECT results_eq('SELECT id, ssn FROM public.test_day WHERE day >= ''2025-01-01'' ORDER BY id',
    $$VALUES (1::bigint, 'one'), (2, 'two'), (3, 'three')$$, 'rows that were moved open');
SELECT is((SELECT count(*)::integer FROM public.test_day_25_all), 3, 'they are in their partition');
SELECT is_empty($$SELECT * FROM verify_column('public.test_day', 'ssn')$$, 'all values are intact');

-- A detached partition.
ALTER TABLE public.test_day_encrypted DETACH PARTITION public.test_day_25;
SELECT is(
    (SELECT concat_ws(' ', relation, column_name, state) FROM encrypted_columns
        WHERE base_relation = 'public.test_day_25'::regclass),
    'test_day_25_decrypted ssn encrypted', 'a detached partition is registered'
);
SELECT is((SELECT count(DISTINCT uuid)::integer FROM encrypted_column), 1, 'with the id of the column');
SELECT results_eq('SELECT id, ssn FROM public.test_day_25_decrypted ORDER BY id',
    $$VALUES (1::bigint, 'one'), (2, 'two'), (3, 'three')$$, 'its values open');
SELECT is((SELECT count(*)::integer FROM public.test_day), 1, 'the table has its other rows');
INSERT INTO public.test_day_25_decrypted VALUES (6, '2025-06-06', 'six', 'n');
INSERT INTO public.test_day_25 (id, day, ssn) VALUES (7, '2025-07-07', 'seven');
SELECT is((SELECT count(ssn_encrypted)::integer FROM public.test_day_25 WHERE ssn IS NULL), 5, 'what is written is sealed');
SELECT throws_ok($$CREATE INDEX ON public.test_day_25_all (ssn_encrypted)$$, '0A000', NULL, 'an index on ciphertext is refused');
ALTER TABLE public.test_day_encrypted ATTACH PARTITION public.test_day_25 FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
SELECT is((SELECT count(*)::integer FROM encrypted_relation), 1, 'attached again, it is not registered by itself');
SELECT is((SELECT string_agg(ssn, ' ' ORDER BY id) FROM public.test_day), 'one two three four six seven', 'and its values open');
SELECT hasnt_view('public', 'test_day_25_decrypted', 'its view is gone');

-- A plain table.
CREATE TABLE public.test_plain (id bigint NOT NULL, day date NOT NULL, ssn text NOT NULL CHECK (ssn <> ''), note text);
INSERT INTO public.test_plain VALUES (8, '2026-01-01', 'eight', 'n');
SELECT throws_ok(
    $$ALTER TABLE public.test_day_encrypted ATTACH PARTITION public.test_plain FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')$$,
    '42804', NULL, 'PostgreSQL refuses it in a function'
);
SELECT throws_ok($$CALL attach_encrypted_partition('public.test_day', 'public.test_plain', 'DEFAULT')$$, '0A000', NULL,
    'the procedure cannot run in a transaction');
SELECT throws_ok($$CALL attach_encrypted_partition('public.test_day', 'public.test_plain', '; DROP')$$, '22023', NULL,
    'the bound must be one');
SELECT throws_ok($$CALL attach_encrypted_partition('public.test_day', 'public.test_plain', NULL)$$, '22000', NULL, 'and not NULL');

-- Dropped partitions.
DROP TABLE public.test_day_25;
SELECT is((SELECT count(*)::integer FROM encrypted_partition), 2, 'dropped partitions go out of the registry');
DROP TABLE public.test_day_encrypted CASCADE;
SELECT is(
    (SELECT (SELECT count(*) FROM encrypted_partition) + (SELECT count(*) FROM encrypted_relation WHERE base::oid <> 0))::integer,
    0, 'and so does the table'
);

SELECT * FROM finish();
ROLLBACK;
