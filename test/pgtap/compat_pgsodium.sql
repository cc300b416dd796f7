-- sql/compat/pgsodium.sql

-- First in a transaction of its own, for what a session remembers from row to row: see token.sql.
CREATE ROLE pgkeymgr_test_user IN ROLE pgkeymgr_user;
CREATE ROLE pgkeymgr_test_reader IN ROLE pgkeymgr_user;
CREATE ROLE pgkeymgr_test_writer IN ROLE pgkeymgr_user;
SELECT (pgkeymgr.create_key('auth', 'test remembered')).id AS remembered \gset
SELECT pgkeymgr.grant_data_key('test remembered', role, usage) FROM (VALUES
    ('pgkeymgr_test_writer'::regrole, '{encrypt}'::text[]), ('pgkeymgr_test_reader', '{decrypt}')
) AS grants (role, usage);

BEGIN;
SET client_min_messages = error;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(313);

-- In one statement, so that what was checked for one role, use and type is remembered when it is another's turn.
CREATE TEMP TABLE v AS SELECT :'remembered'::uuid AS key, decode(repeat('01', 32), 'hex') AS message;
GRANT SELECT ON v TO PUBLIC;
CREATE TEMP TABLE answers AS
SELECT role, as_role(role, 'length(crypto_auth(message, key))') AS encrypts,
    as_role(role, 'crypto_auth_verify(message, message, key)') AS decrypts,
    as_role(role, 'length(crypto_auth(message, key))') AS encrypts_again,
    as_role(role, 'length(crypto_auth_hmacsha256(message, key))') AS another_type
FROM unnest(
    '{postgres,pgkeymgr_test_user,pgkeymgr_test_writer,pgkeymgr_test_reader,pgkeymgr_test_user}'::text[]
) AS role;
SELECT is(
    format('%s %s %s %s', answers.encrypts, decrypts, encrypts_again, another_type), expected,
    'what is remembered: ' || role
) FROM answers JOIN (VALUES
    ('postgres', '32 false 32 22000'),
    ('pgkeymgr_test_writer', '32 42501 32 22000'),
    ('pgkeymgr_test_reader', '42501 false 42501 42501'),
    ('pgkeymgr_test_user', '42501 42501 42501 42501')
) AS expectations (role, expected) USING (role);
SELECT is(
    as_role('postgres', 'SELECT string_agg(answer(call), '' '') FROM (VALUES (''crypto_auth(message, key) IS NULL''),
        (''crypto_auth_hmacsha512(message, key)'')) AS calls (call)'), 'false 22000', 'nor is it another type''s'
);
DROP TABLE v;

CREATE ROLE pgkeymgr_test_alice IN ROLE pgkeymgr_admin;

-- A key with a number, which was taken over, a raw key and a key of random bytes of each type.
CREATE TEMP TABLE types (type key_type, size integer, raw bytea);
INSERT INTO types
SELECT type, size, substr('\x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f'::bytea, 1, size)
FROM unnest(enum_range(NULL::key_type)) AS type,
    LATERAL (SELECT CASE WHEN type IN ('shorthash', 'ipcrypt-det', 'ipcrypt-nd') THEN 16 ELSE 32 END) AS sizes (size)
WHERE type NOT IN ('data', 'cryptokey');
CREATE TEMP TABLE made AS
SELECT type, size, raw, (made_raw).id AS raw_id, (random).id AS random_id FROM (
    SELECT *, create_key(type, 'raw ' || type, raw) AS made_raw, create_key(type, 'random ' || type) AS random,
        import_pgsodium_key(gen_random_uuid(), 'valid', type, 'derived ' || type,
            key_id => row_number() OVER (), key_context => 'pgsodium')
    FROM types OFFSET 0
) AS made;
CREATE TEMP TABLE keys AS SELECT * FROM made, valid_key AS derived WHERE derived.name = 'derived ' || type;
SELECT is(count(*), 15::bigint, 'pgsodium''s fifteen types') FROM keys;
SELECT is(
    (name, status::text, key_type, key_context, expires, associated_data)::text,
    format('("derived %s",valid,%s,"\\x7067736f6469756d",,"")', type, type), 'a derived key: ' || type
) FROM keys;
SELECT is(count(DISTINCT key_id), 15::bigint, 'each with a number of its own') FROM keys;
SELECT set_eq($$SELECT name, derivation_id FROM data_keys WHERE derivation_id IS NOT NULL$$,
    $$SELECT name, key_id FROM keys$$, 'which data_keys says, and of these only');
SELECT is(
    (v.name, v.status::text, v.key_type, v.key_id, v.key_context)::text, format('("raw %s",valid,%s,,)', type, type),
    'a raw key: ' || type
) FROM keys JOIN valid_key AS v ON v.id = raw_id;
SELECT is(
    (v.name, v.status::text, v.key_type, v.key_id, v.key_context)::text, format('("random %s",valid,%s,,)', type, type),
    'a random key: ' || type
) FROM keys JOIN valid_key AS v ON v.id = random_id;

-- A call with a uuid gives the same as one with the number and context, or with the raw key.
CREATE TEMP TABLE v AS
SELECT 'a long message'::bytea AS message,
    'row 17 of a table'::bytea AS additional, decode(repeat('01', 24), 'hex') AS nonce,
    decode(repeat('02', 12), 'hex') AS short_nonce, decode(repeat('03', 16), 'hex') AS det_nonce;
GRANT SELECT ON v, keys TO PUBLIC;
CREATE TEMP TABLE calls (type key_type, call text);
INSERT INTO calls VALUES
    ('secretbox', 'crypto_secretbox(message, nonce, K)'),
    ('aead-ietf', 'crypto_aead_ietf_encrypt(message, additional, short_nonce, K)'),
    ('aead-ietf', 'crypto_aead_ietf_encrypt(message, NULL, short_nonce, K)'),
    ('auth', 'crypto_auth(message, K)'),
    ('hmacsha256', 'crypto_auth_hmacsha256(message, K)'),
    ('hmacsha512', 'crypto_auth_hmacsha512(message, K)'),
    ('generichash', 'crypto_generichash(message, K)'),
    ('shorthash', 'crypto_shorthash(message, K)');
CREATE FUNCTION tap.same(one text, other text, said text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE format('SELECT is(%s, %s, %L) FROM v', one, other, said) INTO result;
    RETURN result;
END
$$;
SELECT same(
    replace(call, 'K', quote_literal(id) || '::uuid'), replace(call, 'K', format('%s, %L', key_id, key_context)),
    'derived: ' || call
) FROM calls JOIN keys USING (type);
-- No number is a random key's: neither the small ones, which pgsodium gave, nor those of the rows.
SELECT is_empty(
    format(
        'SELECT number FROM v, generate_series(-1, 100) AS number WHERE %s = %s',
        replace(call, 'K', quote_literal(random_id) || '::uuid'), replace(call, 'K', 'number, ''pgsodium''')
    ), 'by no number: ' || call
) FROM calls JOIN keys USING (type);
SELECT same(
    replace(call, 'K', quote_literal(raw_id) || '::uuid'), replace(call, 'K', quote_literal(raw) || '::bytea'),
    'raw: ' || call
) FROM calls JOIN keys USING (type);
SELECT same(
    format('crypto_aead_det_encrypt(message, %s, %L::uuid%s)', additional, id, nonce),
    format('crypto_aead_det_encrypt(message, %s, %s, %L%s)', additional, key_id, key_context, nonce),
    format('derived: crypto_aead_det_encrypt(message, %s, K%s)', additional, nonce)
)
FROM keys, (VALUES ('additional'), ('NULL')) AS a (additional), (VALUES (''), (', det_nonce'), (', NULL')) AS n (nonce)
WHERE type = 'aead-det';
SELECT same(
    format('crypto_aead_det_encrypt(message, additional, %L::uuid%s)', raw_id, nonce),
    format('crypto_aead_det_encrypt(message, additional, %L::bytea%s)', raw, nonce),
    format('raw: crypto_aead_det_encrypt(message, additional, K%s)', nonce)
) FROM keys, (VALUES (''), (', det_nonce'), (', NULL')) AS n (nonce) WHERE type = 'aead-det';
SELECT is(
    crypto_kdf_derive_from_key(size, 7, 'context1', id),
    crypto_kdf_derive_from_key(size, 7, 'context1', derive_key(key_id, 32, key_context)),
    format('derived: kdf, %s', size)
) FROM (SELECT id, key_id, key_context FROM keys WHERE type = 'kdf') AS k, unnest('{16,32,64}'::integer[]) AS size;
SELECT is(
    crypto_kdf_derive_from_key(subkey_size => 32, subkey_id => 7, context => 'context1', primary_key => raw_id),
    crypto_kdf_derive_from_key(32, 7, 'context1', raw), 'raw: kdf, with named arguments'
) FROM keys WHERE type = 'kdf';

-- And back.
CREATE TEMP TABLE uuids AS
SELECT min(id::text) FILTER (WHERE type = 'secretbox')::uuid AS secretbox,
    min(id::text) FILTER (WHERE type = 'aead-ietf')::uuid AS ietf,
    min(id::text) FILTER (WHERE type = 'aead-det')::uuid AS det,
    min(id::text) FILTER (WHERE type = 'auth')::uuid AS auth,
    min(id::text) FILTER (WHERE type = 'hmacsha256')::uuid AS sha256,
    min(id::text) FILTER (WHERE type = 'hmacsha512')::uuid AS sha512,
    min(id::text) FILTER (WHERE type = 'generichash')::uuid AS generic,
    min(id::text) FILTER (WHERE type = 'shorthash')::uuid AS short,
    min(id::text) FILTER (WHERE type = 'kdf')::uuid AS kdf,
    min(id::text) FILTER (WHERE type = 'secretstream')::uuid AS stream
FROM keys;
CREATE TEMP TABLE w AS SELECT * FROM v, uuids;
DROP TABLE v;
CREATE TEMP TABLE v AS
SELECT *, crypto_secretbox(message, nonce, secretbox) AS boxed,
    crypto_aead_ietf_encrypt(message, additional, short_nonce, ietf) AS sealed,
    crypto_aead_det_encrypt(message, additional, det) AS det_sealed,
    crypto_aead_det_encrypt(message, additional, det, det_nonce) AS det_nonce_sealed
FROM w;
GRANT SELECT ON v TO PUBLIC;
SELECT round_trips('crypto_secretbox(m, nonce, secretbox)', 'crypto_secretbox_open(c, nonce, secretbox)', 16);
SELECT round_trips('crypto_aead_ietf_encrypt(m, additional, short_nonce, ietf)',
    'crypto_aead_ietf_decrypt(c, additional, short_nonce, ietf)', 16);
SELECT round_trips('crypto_aead_det_encrypt(m, additional, det)', 'crypto_aead_det_decrypt(c, additional, det)', 32);
SELECT round_trips('crypto_aead_det_encrypt(m, additional, det, det_nonce)',
    'crypto_aead_det_decrypt(c, additional, det, det_nonce)', 32);
SELECT ok(crypto_auth_verify(crypto_auth(message, auth), message, auth), 'auth verifies') FROM v;
SELECT ok(crypto_auth_hmacsha256_verify(crypto_auth_hmacsha256(message, sha256), message, sha256),
    'hmacsha256 verifies')
FROM v;
SELECT ok(crypto_auth_hmacsha512_verify(crypto_auth_hmacsha512(message, sha512), message, sha512),
    'hmacsha512 verifies')
FROM v;
SELECT ok(NOT crypto_auth_verify(crypto_auth(message, auth), message || '\x00', auth), 'auth of another message')
FROM v;
SELECT ok(NOT crypto_auth_hmacsha256_verify(decode(repeat('00', 32), 'hex'), message, sha256), 'hmacsha256 of none')
FROM v;
SELECT ok(NOT crypto_auth_hmacsha512_verify(decode(repeat('00', 64), 'hex'), message, sha512), 'hmacsha512 of none')
FROM v;
SELECT refuses_altered('boxed', 'crypto_secretbox_open(x, nonce, secretbox)');
SELECT refuses_altered('sealed', 'crypto_aead_ietf_decrypt(x, additional, short_nonce, ietf)');
SELECT refuses_altered('det_sealed', 'crypto_aead_det_decrypt(x, additional, det)');
SELECT refuses_altered('det_nonce_sealed', 'crypto_aead_det_decrypt(x, additional, det, det_nonce)');

-- Each function, with another type's key, without one, with one that is not there; and each argument NULL.
CREATE TEMP TABLE functions (call text);
INSERT INTO functions VALUES
    ('crypto_secretbox(message, nonce, secretbox)'),
    ('crypto_secretbox_open(boxed, nonce, secretbox)'),
    ('crypto_aead_ietf_encrypt(message, additional, short_nonce, ietf)'),
    ('crypto_aead_ietf_decrypt(sealed, additional, short_nonce, ietf)'),
    ('crypto_aead_det_encrypt(message, additional, det)'),
    ('crypto_aead_det_decrypt(det_sealed, additional, det)'),
    ('crypto_aead_det_encrypt(message, additional, det, det_nonce)'),
    ('crypto_aead_det_decrypt(det_nonce_sealed, additional, det, det_nonce)'),
    ('crypto_auth(message, auth)'),
    ('crypto_auth_verify(message, message, auth)'),
    ('crypto_auth_hmacsha256(message, sha256)'),
    ('crypto_auth_hmacsha256_verify(message, message, sha256)'),
    ('crypto_auth_hmacsha512(message, sha512)'),
    ('crypto_auth_hmacsha512_verify(message, message, sha512)'),
    ('crypto_generichash(message, generic)'),
    ('crypto_shorthash(message, short)'),
    ('crypto_kdf_derive_from_key(32, 7, ''context1'', kdf)');
CREATE FUNCTION tap.with_key(call text, key text) RETURNS text LANGUAGE sql AS $$
    SELECT regexp_replace(
        call, '(secretbox|ietf|det|auth|sha256|sha512|generic|short|kdf)(\)|, det_nonce)', key || '\2'
    )
$$;
SELECT refuses(with_key(call, 'stream'), '22000', '"derived secretstream"') FROM functions;
SELECT refuses(with_key(call, 'NULL::uuid'), '22000') FROM functions;
SELECT refuses(with_key(call, '''01234567-89ab-4cde-8f01-23456789abcd''::uuid'), '42704', '89ab') FROM functions;
SELECT refuses(call) FROM (VALUES
    ('crypto_secretbox(NULL, nonce, secretbox)'),
    ('crypto_secretbox(message, NULL, secretbox)'),
    ('crypto_secretbox(message, short_nonce, secretbox)'),
    ('crypto_secretbox_open(NULL, nonce, secretbox)'),
    ('crypto_secretbox_open(boxed, NULL, secretbox)'),
    ('crypto_aead_ietf_encrypt(NULL, additional, short_nonce, ietf)'),
    ('crypto_aead_ietf_encrypt(message, additional, NULL, ietf)'),
    ('crypto_aead_ietf_encrypt(message, additional, nonce, ietf)'),
    ('crypto_aead_ietf_decrypt(NULL, additional, short_nonce, ietf)'),
    ('crypto_aead_ietf_decrypt(sealed, additional, NULL, ietf)'),
    ('crypto_aead_ietf_decrypt(sealed, NULL, short_nonce, ietf)'),
    ('crypto_aead_det_encrypt(NULL, additional, det)'),
    ('crypto_aead_det_encrypt(NULL, additional, det, det_nonce)'),
    ('crypto_aead_det_decrypt(NULL, additional, det)'),
    ('crypto_aead_det_decrypt(det_sealed, NULL, det)'),
    ('crypto_aead_det_decrypt(det_sealed, additional, det, det_nonce)'),
    ('crypto_aead_det_decrypt(det_nonce_sealed, additional, det)'),
    ('crypto_auth(NULL, auth)'),
    ('crypto_auth_verify(NULL, message, auth)'),
    ('crypto_auth_verify(message, NULL, auth)'),
    ('crypto_auth_hmacsha256(NULL, sha256)'),
    ('crypto_auth_hmacsha256_verify(NULL, message, sha256)'),
    ('crypto_auth_hmacsha256_verify(message, NULL, sha256)'),
    ('crypto_auth_hmacsha512(NULL, sha512)'),
    ('crypto_auth_hmacsha512_verify(NULL, message, sha512)'),
    ('crypto_auth_hmacsha512_verify(message, NULL, sha512)'),
    ('crypto_generichash(NULL, generic)'),
    ('crypto_shorthash(NULL, short)'),
    ('crypto_kdf_derive_from_key(NULL, 7, ''context1'', kdf)'),
    ('crypto_kdf_derive_from_key(32, NULL, ''context1'', kdf)'),
    ('crypto_kdf_derive_from_key(32, 7, NULL, kdf)'),
    ('crypto_kdf_derive_from_key(65, 7, ''context1'', kdf)'),
    ('crypto_kdf_derive_from_key(32, 7, ''short'', kdf)')
) AS calls (call);
-- Nor do tokens take a primitive's key, or a primitive a data key.
SELECT create_data_key('data');
SELECT refuses('crypto_secretbox(message, nonce, (SELECT uuid FROM data_keys WHERE name = ''data''))', '22000',
    '"data"');
SELECT refuses('token_encrypt(''derived secretbox'', message)', '22000', '"derived secretbox"');

-- create_key
SELECT is((k.key_type, k.name, k.associated_data)::text, '(aead-det,,"")', 'the defaults') FROM create_key() AS k;
SELECT results_eq(
    $$SELECT name, key_type, key_context, expires, associated_data
    FROM create_key(key_type => 'auth', name => 'named', key_context => 'context1', expires => '2200-01-01',
        associated_data => 'a note', raw_key => NULL, raw_key_nonce => NULL, parent_key => (SELECT auth FROM v))$$,
    $$VALUES ('named', 'auth'::key_type, NULL::bytea, '2200-01-01'::timestamptz, 'a note')$$,
    'with named arguments'
);
SELECT is_empty($$SELECT FROM key_wrap WHERE strpos(encode(wrapped, 'hex'),
    '000102030405060708090a0b0c0d0e0f') > 0$$, 'no raw key is stored as it is');
SELECT refuses(call, state, naming) FROM (VALUES
    ('create_key(NULL)', '22000', 'key_type'),
    ('create_key(key_context => NULL)', '22000', 'key_context'),
    ('create_key(''data'')', '22023', 'data'),
    ('create_key(''cryptokey'')', '22023', 'cryptokey'),
    ('create_key(name => '''')', '22023', 'name'),
    ('create_key(name => repeat(''a'', 256))', '22023', '256'),
    ('create_key(name => repeat(''a'', 10000))', '22023', '10000'),
    ('create_key(name => ''named'')', '42710', '"named"'),
    ('create_key(key_context => ''short'')', '22000', 'key_context'),
    ('create_key(key_context => ''too long.'')', '22000', 'key_context'),
    ('create_key(expires => now())', '22023', 'expires'),
    ('create_key(expires => ''2000-01-01'')', '22023', 'expires'),
    ('create_key(parent_key => ''01234567-89ab-4cde-8f01-23456789abcd'')', '42704', '89ab'),
    ('create_key(''shorthash'', raw_key => nonce)', '22000', 'raw_key'),
    ('create_key(''secretbox'', raw_key => nonce)', '22000', 'raw_key'),
    ('create_key(''auth'', raw_key => '''')', '22000', 'raw_key')
) AS calls (call, state, naming);

-- valid_key and what looks into it: neither expired, disabled, superseded nor another's.
SELECT is((get_key_by_id(auth)).name, 'derived auth', 'get_key_by_id') FROM v;
SELECT is((get_key_by_name('derived auth')).id, auth, 'get_key_by_name') FROM v;
SELECT set_eq($$SELECT name FROM get_named_keys('RAW AEAD%')$$, ARRAY['raw aead-ietf', 'raw aead-det'],
    'get_named_keys');
SELECT is(count(*), 47::bigint, 'of all that have a name') FROM get_named_keys();
SELECT is(get_key_by_id(gen_random_uuid())::text, NULL, 'get_key_by_id of none');
SELECT is(get_key_by_id(NULL)::text, NULL, 'get_key_by_id of NULL');
SELECT is(get_key_by_name('unknown')::text, NULL, 'get_key_by_name of none');
SELECT is(get_key_by_name(NULL)::text, NULL, 'get_key_by_name of NULL');
SELECT is(get_key_by_name('data')::text, NULL, 'a data key is none of pgsodium''s');
SELECT is_empty($$SELECT get_named_keys('unknown')$$, 'get_named_keys of none');
CREATE FUNCTION tap.is_valid_after(change text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    result boolean;
BEGIN
    EXECUTE change;
    SELECT EXISTS (SELECT FROM valid_key WHERE name = 'derived auth') INTO result;
    RETURN result;
END
$$;
SELECT is(is_valid_after('UPDATE key SET expires = ' || expires || ' WHERE name = ''derived auth'''), is_valid,
    'expires ' || expires)
FROM (VALUES
    ('now() + interval ''1 hour''', true), ('now() - interval ''1 second''', false),
    ('''infinity''', true), ('''-infinity''', false),
    ('''2000-01-01''', false), ('NULL', true)
) AS expiries (expires, is_valid);
SELECT refuses('crypto_auth(message, auth)', '55000', '"derived auth"', after) FROM (VALUES
    ('UPDATE key SET expires = now() WHERE name = ''derived auth'''),
    ('SELECT disable_data_key(id) FROM key WHERE name = ''derived auth'''),
    ('SELECT destroy_data_key(id, name, force => true) FROM key WHERE name = ''derived auth''')
) AS changes (after);
-- Its number does not go with it, and that is said; what has none is destroyed for good.
SELECT refuses('destroy_data_key((SELECT id FROM key WHERE name = ''derived auth''), ''derived auth'')', '55000', 'number');
SELECT lives_ok($$SELECT destroy_data_key(id, name) FROM key WHERE name = 'random auth'$$, 'a random key is destroyed');
SELECT is(is_valid_after('SELECT disable_data_key(id) FROM key WHERE name = ''derived auth'''), false, 'disabled');
SELECT is(is_valid_after('SELECT enable_data_key(id) FROM key WHERE name = ''derived auth'''), true, 'enabled');
SELECT is(crypto_auth_verify(crypto_auth(message, auth), message, auth), true, 'and it is in use again') FROM v;
SELECT lives_ok($$SELECT supersede_data_key('derived hmacsha256')$$, 'a derived key is superseded');
SELECT isnt((get_key_by_name('derived hmacsha256')).id, sha256, 'valid_key has its successor') FROM v;
SELECT same('crypto_auth_hmacsha256(message, (get_key_by_name(''derived hmacsha256'')).id) = '
    || 'crypto_auth_hmacsha256(message, sha256)', 'false', 'which is another key; and the old one still verifies');

-- Grants.
SELECT grant_data_key('derived secretbox', 'pgkeymgr_test_reader', '{decrypt}');
SELECT grant_data_key('derived auth', 'pgkeymgr_test_reader', '{decrypt}');
SELECT grant_data_key('derived secretbox', 'pgkeymgr_test_writer', '{encrypt}');
SELECT grant_data_key('derived auth', 'pgkeymgr_test_writer', '{encrypt}');
SELECT is(as_role('pgkeymgr_test_' || role, call), result::text, format('%s: %s', role, call)) FROM v, LATERAL (VALUES
    ('writer', 'crypto_secretbox(message, nonce, secretbox)', boxed::text),
    ('writer', 'crypto_secretbox_open(boxed, nonce, secretbox)', '42501'),
    ('writer', 'crypto_auth(message, auth)', crypto_auth(message, auth)::text),
    ('writer', 'crypto_auth_verify(substr(message, 1, 0), message, auth)', '42501'),
    ('reader', 'crypto_secretbox(message, nonce, secretbox)', '42501'),
    ('reader', 'crypto_secretbox_open(boxed, nonce, secretbox)', message::text),
    ('reader', 'crypto_auth(message, auth)', '42501'),
    ('reader', format('crypto_auth_verify(%L, message, auth)', crypto_auth(message, auth)), 'true'),
    ('user', 'crypto_secretbox(message, nonce, secretbox)', '42501'),
    ('user', 'crypto_secretbox_open(boxed, nonce, secretbox)', '42501'),
    ('user', 'crypto_auth(message, auth)', '42501'),
    ('user', 'crypto_kdf_derive_from_key(32, 7, ''context1'', kdf)', '42501'),
    ('user', 'SELECT count(*) FROM valid_key', '0'),
    ('reader', 'SELECT count(*) FROM valid_key', '3'),
    ('user', 'create_key()', '42501'),
    ('alice', '(create_key(name => ''alice''''s'')).name', 'alice''s'),
    ('alice', 'crypto_auth(message, auth)', '42501'),
    ('alice', 'length(crypto_aead_det_encrypt(message, '''', (get_key_by_name(''alice''''s'')).id))', '46')
) AS answers (role, call, result);

-- import_pgsodium_key: rows of pgsodium's key table, with their numbers, or raw under a parent.
CREATE TEMP TABLE rows AS
SELECT *,
    crypto_aead_det_encrypt(raw, convert_to(id::text || associated_data, 'UTF8'), derive_key(70), raw_nonce) AS raw_key
FROM (VALUES
    ('11111111-1111-4111-8111-111111111111'::uuid, '22222222-2222-4222-8222-222222222222'::uuid, 'a note',
        '\x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f'::bytea,
        '\x0f0e0d0c0b0a09080706050403020100'::bytea)
) AS rows (id, parent, associated_data, raw, raw_nonce);
SELECT isnt(import_pgsodium_key(
    parent, 'valid', 'aead-det', name => 'imported parent', key_id => 70, key_context => 'pgsodium'
), NULL, 'the parent, a derived key') FROM rows;
SELECT isnt(import_pgsodium_key(
    rows.id, 'valid', 'hmacsha256', 'imported raw', NULL, NULL, raw_key, raw_nonce, parent, '2200-01-01',
    associated_data
), NULL, 'a raw key under it') FROM rows;
SELECT results_eq(
    $$SELECT v.id, v.key_type, v.key_id, v.key_context, v.expires, v.associated_data
    FROM valid_key AS v WHERE name LIKE 'imported%' ORDER BY name$$,
    $$VALUES
    ('22222222-2222-4222-8222-222222222222'::uuid, 'aead-det'::key_type, 70::bigint, 'pgsodium'::bytea,
        NULL::timestamptz, ''),
    ('11111111-1111-4111-8111-111111111111', 'hmacsha256', NULL, NULL, '2200-01-01', 'a note')$$,
    'they are as they were'
);
SELECT is(crypto_auth_hmacsha256(message, rows.id), crypto_auth_hmacsha256(message, raw), 'the raw key') FROM v, rows;
SELECT is(
    crypto_aead_det_encrypt(message, '', parent), crypto_aead_det_encrypt(message, '', 70, 'pgsodium'::bytea, NULL),
    'the derived key'
) FROM v, rows;
SELECT isnt(import_pgsodium_key(gen_random_uuid(), 'valid', 'auth', key_id => id, key_context => 'pgsodium'), NULL,
    format('number %s', id))
FROM unnest('{5,-1,0,-9223372036854775808}'::bigint[]) AS id;
SELECT isnt(import_pgsodium_key(gen_random_uuid(), status, 'auth', 'imported ' || status, 80, 'pgsodium',
    expires => expires), NULL, status)
FROM (VALUES ('default', NULL::timestamptz), ('invalid', NULL), ('expired', '2000-01-01'), ('valid', '2000-01-01'))
    AS statuses (status, expires);
SELECT results_eq(
    $$SELECT name, state::text, expires FROM key WHERE key_type = 'auth' AND name LIKE 'imported%' ORDER BY name$$,
    $$VALUES ('imported default', 'enabled', NULL::timestamptz), ('imported expired', 'disabled', '2000-01-01'),
        ('imported invalid', 'disabled', NULL), ('imported valid', 'enabled', '2000-01-01')$$,
    'with their status and expiry'
);
SELECT refuses(format('import_pgsodium_key(%s)', arguments), state, naming) FROM rows, LATERAL (VALUES
    ('NULL, ''valid'', ''auth'', key_id => 1, key_context => ''pgsodium''', '22000', 'id'),
    ('gen_random_uuid(), NULL, ''auth'', key_id => 1, key_context => ''pgsodium''', '22000', 'status'),
    ('gen_random_uuid(), ''valid'', NULL, key_id => 1, key_context => ''pgsodium''', '22000', 'key_type'),
    ('gen_random_uuid(), ''lost'', ''auth'', key_id => 1, key_context => ''pgsodium''', '22023', 'status'),
    ('gen_random_uuid(), ''valid'', ''data'', key_id => 1, key_context => ''pgsodium''', '22023', 'data'),
    ('gen_random_uuid(), ''valid'', ''auth''', '22023', ''),
    ('gen_random_uuid(), ''valid'', ''auth'', key_id => 1', '22023', ''),
    ('gen_random_uuid(), ''valid'', ''auth'', key_context => ''pgsodium''', '22023', ''),
    ('gen_random_uuid(), ''valid'', ''auth'', key_id => 1, key_context => ''short''', '22000', 'key_context'),
    ('gen_random_uuid(), ''valid'', ''auth'', '''', 1, ''pgsodium''', '22023', 'name'),
    ('gen_random_uuid(), ''valid'', ''auth'', ''imported raw'', 1, ''pgsodium''', '42710', '"imported raw"'),
    (format('%L, ''valid'', ''auth'', ''another'', 1, ''pgsodium''', id), '42710', '11111111'),
    -- The uuid that every other search for a key passes.
    ('''00000000-0000-0000-0000-000000000000'', ''valid'', ''auth'', ''nil'', 1, ''pgsodium''', '22023', 'id'),
    (format('gen_random_uuid(), ''valid'', ''auth'', raw_key => %L, raw_key_nonce => %L, '
        'parent_key => gen_random_uuid()', raw_key, raw_nonce), '42704', ''),
    -- Under another uuid, with another note, nonce or parent, and altered.
    (format('gen_random_uuid(), ''valid'', ''auth'', raw_key => %L, raw_key_nonce => %L, parent_key => %L, '
        'associated_data => %L', raw_key, raw_nonce, parent, associated_data), '22000', ''),
    (format('%L, ''valid'', ''auth'', raw_key => %L, raw_key_nonce => %L, parent_key => %L',
        id, raw_key, raw_nonce, parent), '22000', ''),
    (format('%L, ''valid'', ''auth'', raw_key => %L, parent_key => %L, associated_data => %L',
        id, raw_key, parent, associated_data), '22000', ''),
    (format('%L, ''valid'', ''auth'', raw_key => %L, raw_key_nonce => %L, parent_key => det, associated_data => %L',
        id, raw_key, raw_nonce, associated_data), '22000', ''),
    (format('%L, ''valid'', ''auth'', raw_key => %L, raw_key_nonce => %L, parent_key => %L, associated_data => %L',
        id, set_byte(raw_key, 0, 255 - get_byte(raw_key, 0)), raw_nonce, parent, associated_data), '22000', '')
) AS calls (arguments, state, naming);
SELECT is(as_role('pgkeymgr_test_user', 'import_pgsodium_key(gen_random_uuid(), ''valid'', ''auth'', key_id => 1,
    key_context => ''pgsodium'')'), '42501', 'users import nothing');

SELECT finish();
ROLLBACK;

DELETE FROM pgkeymgr.key_grant WHERE family IN (SELECT id FROM pgkeymgr.key WHERE uuid = :'remembered');
DELETE FROM pgkeymgr.key WHERE uuid = :'remembered';
DROP ROLE pgkeymgr_test_user, pgkeymgr_test_reader, pgkeymgr_test_writer;
