-- sql/key/wrap_key.sql
BEGIN;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(27);

CREATE ROLE pgkeymgr_test_user IN ROLE pgkeymgr_user;
CREATE ROLE pgkeymgr_test_nobody;
GRANT USAGE ON SCHEMA pgkeymgr TO pgkeymgr_test_nobody;
CREATE TEMP TABLE v AS SELECT secret, wrapped, substr(wrapped, 17) AS body
FROM (VALUES ('a secret of my own'::bytea)) AS secrets (secret), wrap_key('a secret of my own') AS wrapped;
GRANT SELECT ON v TO PUBLIC;

-- 16 bytes of fingerprint, then a wrap.
SELECT round_trips('wrap_key(m)', 'unwrap_key(c)', 16 + 41);
SELECT is(unwrap_key(wrapped => wrap_key(secret => secret)), secret, 'with named arguments') FROM v;
SELECT is(encode(substr(wrapped, 1, 16), 'hex'), fingerprint, 'the fingerprint of the root key')
FROM v, root_key_status();
SELECT is(get_byte(wrapped, 16), 1, 'the format') FROM v;
SELECT generates('wrap_key(''secret'')', 6 + 57);
SELECT is(wrap_key(NULL), NULL, 'NULL is no secret');
SELECT is(unwrap_key(NULL), NULL, 'nor a wrap');

SELECT refuses_altered('body', 'unwrap_key(substr(wrapped, 1, 16) || x)');
-- Under which root key it was wrapped is looked at first.
SELECT refuses(call, state, naming) FROM (VALUES
    ('unwrap_key(set_byte(wrapped, 0, 255 - get_byte(wrapped, 0)))', '55000', 'root key'),
    ('unwrap_key(substr(wrapped, 2))', '55000', 'root key'),
    ('unwrap_key(decode(repeat(''00'', 73), ''hex''))', '55000', '00000000000000000000000000000000'),
    ('unwrap_key('''')', '22000', ''),
    ('unwrap_key(''\x00'')', '22000', ''),
    ('unwrap_key(substr(wrapped, 1, 15))', '22000', ''),
    ('unwrap_key(substr(wrapped, 1, 16))', '22000', '')
) AS calls (call, state, naming);
-- A wrap of a data key, from the key table, is not one.
SELECT create_data_key('a key');
SELECT refuses('unwrap_key((SELECT substr(wrapped, 1, 16) FROM v)
    || (SELECT w.wrapped FROM key_wrap AS w JOIN key ON id = key_id WHERE name = ''a key''))');
SELECT refuses(
    'token_encrypt(''a key'', secret)', '22000', '"a key"',
    'UPDATE key_wrap SET wrapped = (SELECT substr(v.wrapped, 17) FROM v)'
);

SELECT is(as_role('pgkeymgr_test_user', 'unwrap_key(wrap_key(secret))'), secret::text, 'a user may') FROM v;
SELECT is(as_role('pgkeymgr_test_nobody', call), '42501', 'nobody else: ' || call)
FROM (VALUES ('wrap_key(secret)'), ('unwrap_key(wrapped)')) AS calls (call);

SELECT finish();
ROLLBACK;
