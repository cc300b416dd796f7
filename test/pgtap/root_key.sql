-- sql/root_key.sql
BEGIN;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(63);

-- The root key of test/cluster.py. The keys below are those that pgsodium 3.1.9 derives from it.
CREATE TEMP TABLE v AS SELECT decode(repeat('10', 32), 'hex') AS root_key;

SELECT is(derive_key(id, size, context), key, format('pgsodium''s key %s, %s bytes, %s', id, size, context))
FROM (VALUES
    (0, 32, 'pgsodium'::bytea, '\x0771db62c7814c9fa85a9e297f2c3d66029bbda3ffa1d521aab572b4b45ba500'::bytea),
    (2, 32, 'pgsodium', '\x7f31fe7b375be4ffca6203eacf3aa72a74fe303dca18c0fb79d79b0d955fc8e2'),
    (-1, 32, 'pgsodium', '\x86b336723e89a61df78e05332e6a8843d9fcb30233d6819d1b357c289b58123c'),
    (9223372036854775807, 32, 'pgsodium',
        '\x7f0deb39496b097f7ff57db9c74283c1946a11ea3af44152f9347045af622978'),
    (1, 16, 'pgsodium', '\x8b72284bb36e02f3ce130f068d8f567c'),
    (0, 24, 'pgsodium', '\x5d05afb3573438b3d2961a29559148ba32efcf4fae5e22ee'),
    (-1, 33, 'pgsodium', '\x2c3b70c6ce4cb283713ce1e9936d5df37f9a4c298dc847cd817a6944ad4c94d333'),
    (9223372036854775807, 64, '\xffffffffffffffff',
        '\x8207df37ca70a65977559fe47c690b41d6600f2e9afcb9d9ea52d56d0e1dca71821247cda2a0aabaf920347d1c23db3c'
        '4d806dfc542942720bdf1b39102bf62b'),
    (7, 32, 'context1', '\x6651ebcf90cf473e09c4154b0a437c5501f28c256fe0d9b9f605312fdf46f234')
) AS keys (id, size, context, key);
SELECT is(
    derive_key(id, 32, context), crypto_kdf_derive_from_key(32, id, context, root_key),
    format('libsodium''s key %s of %s', id, context)
) FROM v, ids;
SELECT is(derive_key(7), derive_key(7, 32, 'pgsodium'), '32 bytes and the context pgsodium are the default');
SELECT is(derive_key(key_id => 7, context => 'context1'), derive_key(7, 32, 'context1'), 'with named arguments');
SELECT is(
    pgkeymgr_derive(id, 32, context), derive_key(id, 32, context), format('pgkeymgr_derive of %s, %s', id, context)
) FROM ids;
SELECT is(pgkeymgr_derive(7), derive_key(7), 'the same defaults');
SELECT is(
    pgkeymgr_derive(key_id => 7, key_len => 16, context => 'context1'), derive_key(7, 16, 'context1'),
    'pgkeymgr_derive with named arguments'
);
SELECT is(
    array_agg(length(derive_key(7, size)) ORDER BY size), array_agg(size ORDER BY size), '16 to 64 bytes'
) FROM generate_series(16, 64) AS size;
SELECT is(count(DISTINCT derive_key(id)), 1000::bigint, 'a thousand numbers, a thousand keys')
FROM generate_series(1, 1000) AS id;

SELECT refuses(replace(call, 'F', name))
FROM (VALUES ('derive_key'), ('pgkeymgr_derive')) AS functions (name), (VALUES
    ('F(1, 15)'),
    ('F(1, 65)'),
    ('F(1, 0)'),
    ('F(1, -1)'),
    ('F(1, -2147483648)'),
    ('F(1, 1073741824)'),
    ('F(1, 2147483647)'),
    ('F(1, 32, ''short'')'),
    ('F(1, 32, ''too long.'')'),
    ('F(1, 32, '''')'),
    ('F(NULL)'),
    ('F(1, NULL)'),
    ('F(1, 32, NULL)')
) AS calls (call);

-- From the root key of a fingerprint: this one, or none.
SELECT is(
    derive_key_under(7, 16, 'context1', fingerprint), derive_key(7, 16, 'context1'), 'under the newest, by its fingerprint'
) FROM root_key_status();
SELECT refuses(format(call, fingerprint)) FROM root_key_status(), (VALUES
    ('derive_key_under(1, 15, ''pgsodium'', %L)'),
    ('derive_key_under(1, 32, ''short'', %L)'),
    ('derive_key_under(1, 32, ''pgsodium'', NULL)'),
    ('derive_key_under(1, 32, ''pgsodium'', '''')')
) AS calls (call);
SELECT throws_ok(
    $$SELECT derive_key_under(1, 32, 'pgsodium', 'bcfeb526')$$, '55000', NULL, 'part of a fingerprint is none'
);

-- The root key itself is never shown: only its fingerprint, which is always the same, is.
SELECT is(fingerprint, 'bcfeb5264e5a18c35f29399ef36dacb2', 'the fingerprint') FROM root_key_status();
SELECT alike(source, 'getkey %/pgkeymgr_getkey', 'where it came from') FROM root_key_status();
SELECT is(previous, '{}', 'there are no root keys before it') FROM root_key_status();
SELECT is(leaks(root_key_status()::text), NULL, 'the status tells no key');

-- A worker has no root key from its leader: it gets its own, which is the same.
CREATE TABLE public.numbers AS SELECT id, derive_key(id) AS key FROM generate_series(1, 1000) AS id;
SET LOCAL parallel_setup_cost = 0;
SET LOCAL parallel_tuple_cost = 0;
SET LOCAL min_parallel_table_scan_size = 0;
SET LOCAL parallel_leader_participation = off;
PREPARE by_workers AS SELECT count(*) FROM public.numbers WHERE derive_key(id) = key;
CREATE FUNCTION tap.plan_of_by_workers() RETURNS SETOF text LANGUAGE plpgsql AS
    'BEGIN RETURN QUERY EXECUTE ''EXPLAIN EXECUTE by_workers''; END';
SELECT alike(string_agg(line, ' '), '%Parallel Seq Scan on numbers%Filter: (derive_key(%', 'workers derive')
FROM plan_of_by_workers() AS line;
SELECT results_eq('by_workers', ARRAY[1000::bigint], 'and they derive the same keys');

SELECT finish();
ROLLBACK;
