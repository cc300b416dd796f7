-- sql/crypto/randombytes.sql
BEGIN;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(37);

-- libsodium, test/default/randombytes.c.
CREATE TEMP TABLE v AS
SELECT
    '\x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f'::bytea AS seed,
    '\x0d8e6cc68715648926732e7ea73250cfaf2d58422083904c841a8ba33b986111f346ba50723a68ae283524a6bded09f8'
    '3be6b80595856f72e25b86918e8b114bafb94bc8abedd73daab454576b7c5833eb0bf982a1bb4587a5c970ff0810ca3b'
    '791d7e12'::bytea AS stream;

SELECT is(randombytes_buf_deterministic(100, seed), stream, 'libsodium''s vector') FROM v;
SELECT is(
    randombytes_buf_deterministic(size => size, seed => seed), substr(stream, 1, size), format('%s bytes of it', size)
) FROM v, (VALUES (0), (1), (63), (64), (65)) AS sizes (size);
SELECT is(length(randombytes_buf_deterministic(1048576, seed)), 1048576, '1 MB of it') FROM v;

SELECT is(length(randombytes_buf(size => size)), size, format('%s random bytes', size))
FROM (VALUES (0), (1), (100), (1048576)) AS sizes (size);

-- 1000 of them: the chance of less than 995 different ones, or of one sign only, is nil.
CREATE TEMP TABLE randoms AS SELECT randombytes_random() AS random FROM generate_series(1, 1000);
SELECT cmp_ok(count(DISTINCT random), '>', 994::bigint, 'random integers differ') FROM randoms;
SELECT ok(min(random) < 0 AND max(random) > 0, 'and are signed') FROM randoms;

SELECT is(array_agg(DISTINCT randombytes_uniform(3)), '{0,1,2}', 'below 3: all of 0, 1 and 2')
FROM generate_series(1, 1000);
SELECT is(array_agg(DISTINCT randombytes_uniform(upper_bound => bound)), '{0}', 'below 0 and 1: 0')
FROM generate_series(1, 100), (VALUES (0), (1)) AS bounds (bound);
SELECT ok(bool_and(random BETWEEN 0 AND 2147483646), 'below 2147483647')
FROM generate_series(1, 100), LATERAL randombytes_uniform(2147483647) AS random;
-- As in libsodium, the bound has no sign: -1 is 4294967295.
SELECT ok(min(random) < 0 AND max(random) > 0 AND NOT -1 = ANY (array_agg(random)), 'below -1, which is 2^32 - 1')
FROM (SELECT randombytes_uniform(-1) AS random FROM generate_series(1, 1000)) AS randoms;

SELECT refuses(call, state) FROM (VALUES
    ('randombytes_buf(-1)', '22000'),
    ('randombytes_buf(-2147483648)', '22000'),
    ('randombytes_buf(1073741820)', '54000'),
    ('randombytes_buf(1073741824)', '54000'),
    ('randombytes_buf(2147483647)', '54000'),
    ('randombytes_buf_deterministic(-1, seed)', '22000'),
    ('randombytes_buf_deterministic(-2147483648, seed)', '22000'),
    ('randombytes_buf_deterministic(1073741824, seed)', '54000'),
    ('randombytes_buf_deterministic(2147483647, seed)', '54000'),
    ('randombytes_buf_deterministic(1, substr(seed, 2))', '22000'),
    ('randombytes_buf_deterministic(1, seed || ''\x00'')', '22000'),
    ('randombytes_buf_deterministic(1, '''')', '22000'),
    ('randombytes_buf(NULL)', '22000'),
    ('randombytes_uniform(NULL)', '22000'),
    ('randombytes_buf_deterministic(NULL, seed)', '22000'),
    ('randombytes_buf_deterministic(1, NULL)', '22000')
) AS calls (call, state);

SELECT generates('randombytes_new_seed()', 32);
SELECT generates('randombytes_buf(24)', 24);

SELECT finish();
ROLLBACK;
