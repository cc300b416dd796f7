-- sql/crypto/utils.sql
BEGIN;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(39);

CREATE TEMP TABLE v AS SELECT 'a secret message'::bytea AS message;

SELECT is(crypto_cmp(one => one, other => other), expected, format('crypto_cmp(%L, %L)', one, other))
FROM (VALUES
    ('', '', true),
    ('same', 'same', true),
    ('世界', '世界', true),
    ('same', 'Same', false),
    ('same', 'same ', false),
    ('same', '', false),
    ('世界', '世间', false),
    (NULL, 'same', NULL),
    ('same', NULL, NULL),
    (NULL, NULL, NULL)
) AS pairs (one, other, expected);
SELECT is(crypto_cmp(long, long), true, '1 MB is equal to itself') FROM repeat('x', 1048576) AS long;
SELECT is(crypto_cmp(long, long || 'x'), false, 'and not to a byte more') FROM repeat('x', 1048576) AS long;

-- RFC 4648, section 10, without the padding; and the two letters in which the URL-safe alphabet differs.
SELECT is(sodium_bin2base64(bin => bin), base64, format('sodium_bin2base64(%L)', bin))
FROM (VALUES
    (''::bytea, ''), ('f', 'Zg'), ('fo', 'Zm8'), ('foo', 'Zm9v'), ('foob', 'Zm9vYg'), ('fooba', 'Zm9vYmE'),
    ('foobar', 'Zm9vYmFy'), ('\xfbefff', '--__'), ('\x00', 'AA')
) AS vectors (bin, base64);
SELECT ok(sodium_base642bin(base64 => sodium_bin2base64(m)) = m, 'back from base64: ' || name) FROM messages;
SELECT is(
    array_agg(size) FILTER (WHERE sodium_base642bin(sodium_bin2base64(bin)) IS DISTINCT FROM bin), NULL,
    'back from base64: 0 to 300 bytes'
) FROM generate_series(0, 300) AS size, LATERAL substr(sha512('x') || sha512('y') || sha512('z'), 1, size) AS bin;

SELECT refuses(call) FROM (VALUES
    ('sodium_bin2base64(NULL)'),
    ('sodium_base642bin(NULL)'),
    ('sodium_base642bin(''Z'')'),
    ('sodium_base642bin(''Zm9vY'')'),
    ('sodium_base642bin(''Zg=='')'),
    ('sodium_base642bin(''++//'')'),
    ('sodium_base642bin(''Zm9v Zm9v'')'),
    ('sodium_base642bin(E''Zm9v\n'')'),
    ('sodium_base642bin(''Zm9v世界'')'),
    -- Bits that are left over and not zero: another text for the bytes of Zg.
    ('sodium_base642bin(''Zh'')')
) AS calls (call);

SELECT finish();
ROLLBACK;
