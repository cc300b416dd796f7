-- test/pgtap/include/assertions.sql: its assertions fail where they should.
BEGIN;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(24);

CREATE TEMP TABLE v AS
SELECT
    '\x00112233445566778899aabbccddeeff'::bytea AS secret,
    '\x'::bytea AS empty,
    NULL::bytea AS nothing,
    '\x61'::bytea AS message,
    crypto_auth('\x61', decode(repeat('01', 32), 'hex')) AS mac,
    decode(repeat('01', 32), 'hex') AS key;

-- Every form in which a secret could be shown, and nothing else.
SELECT is(leaks(format('before %s after', told)), 'secret', 'found as ' || form)
FROM v, LATERAL (VALUES
    ('hexadecimal digits', encode(secret, 'hex')),
    ('capitals', upper(encode(secret, 'hex'))),
    ('base64', encode(secret, 'base64')),
    ('the escape format', encode(secret, 'escape')),
    ('Python''s repr', python_repr(secret))
) AS forms (form, told);
SELECT is(leaks(told), NULL, 'not found in: ' || told) FROM (VALUES (''), ('key 17'), ('00112233445566')) AS texts (told);
SELECT is(leaks(NULL), NULL, 'nor in nothing');

-- refuses
CREATE FUNCTION tap.fails_with(state text, message text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RAISE '%', message USING ERRCODE = state;
END
$$;
SELECT check_test(refuses($$fails_with('22000', 'what is named')$$, '22000', 'named'), true, 'refuses');
SELECT check_test(refuses('1'), false, 'refuses: no error');
SELECT check_test(refuses($$fails_with('22000', '')$$, '22023'), false, 'refuses: another SQLSTATE');
SELECT check_test(refuses($$fails_with('22000', 'what is named')$$, '22000', 'unnamed'), false, 'refuses: not named');
SELECT check_test(
    refuses($$fails_with('22000', encode(secret, 'base64'))$$, '22000'), false, 'refuses: tells a secret'
);
SELECT check_test(
    refuses($$fails_with('22000', '')$$, '22000', '', $$SELECT fails_with('22000', '')$$), false,
    'refuses: the change before it fails'
);

-- refuses_altered
SELECT check_test(
    refuses_altered('mac', $$CASE WHEN crypto_auth_verify(x, message, key) THEN '' ELSE fails_with('22000', '') END$$),
    true, 'refuses_altered'
);
SELECT check_test(refuses_altered('mac', 'length(x)'), false, 'refuses_altered: takes anything');
SELECT check_test(
    refuses_altered('mac', $$CASE WHEN get_bit(x, 7) = get_bit(mac, 7) THEN '' ELSE fails_with('22000', '') END$$),
    false, 'refuses_altered: does not look at each bit'
);
SELECT throws_ok($$SELECT refuses_altered('mac', 'fails_with(''22000'', '''')')$$, '22000', NULL,
    'refuses_altered: the call fails as it is');
SELECT throws_ok(format($$SELECT refuses_altered(%L, '1')$$, name), 'P0001', 'nothing to alter', 'no test of ' || name)
FROM (VALUES ('empty'), ('nothing')) AS names (name);

-- round_trips and generates
DELETE FROM messages WHERE name <> 'one byte';
SELECT check_test(round_trips('m', 'c', 0), true, 'round_trips');
SELECT check_test(round_trips('m', 'c', 1), false, 'round_trips: another length');
SELECT check_test(round_trips('m', $$c || '\x00'$$, 0), false, 'round_trips: another message');

SELECT * FROM finish();
ROLLBACK;
