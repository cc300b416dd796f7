-- sql/crypto/ipcrypt.sql and sql/compat/pgsodium_ipcrypt.sql

BEGIN;
SET client_min_messages = error;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(223);

-- The vectors of draft-denis-ipcrypt.
CREATE TEMP TABLE vectors (variant text, key bytea, ip inet, tweak bytea, result text);
INSERT INTO vectors VALUES
    ('', '\x0123456789abcdeffedcba9876543210', '0.0.0.0', NULL, 'bde9:6789:d353:824c:d7c6:f58a:6bd2:26eb'),
    ('', '\x1032547698badcfeefcdab8967452301', '255.255.255.255', NULL, 'aed2:92f6:ea23:58c3:48fd:8b8:74e8:45d8'),
    ('', '\x2b7e151628aed2a6abf7158809cf4f3c', '192.0.2.1', NULL, '1dbd:c1b9:fff1:7586:7d0b:67b4:e76e:4777'),
    ('', '\x0123456789abcdeffedcba9876543210', '2001:db8:85a3::8a2e:370:7334', NULL,
        '1eef:2352:64c8:18e6:6456:1373:f615:5032'),
    ('', '\x1032547698badcfeefcdab8967452301', '192.0.2.1', NULL, '7fde:a680:9546:ef2:d3c:7abb:1b38:2659'),
    ('nd_', '\x0123456789abcdeffedcba9876543210', '0.0.0.0', '\x08e0c289bff23b7c',
        '08e0c289bff23b7cb349aadfe3bcef56221c384c7c217b16'),
    ('nd_', '\x1032547698badcfeefcdab8967452301', '255.255.255.255', '\x08e0c289bff23b7c',
        '08e0c289bff23b7cf602ae8dcfeb47c1fbcb9597b8951b89'),
    ('nd_', '\x2b7e151628aed2a6abf7158809cf4f3c', '192.0.2.1', '\x08e0c289bff23b7c',
        '08e0c289bff23b7cca25fe3b7f2ca5e50a0deb24ef0469f8'),
    ('nd_', '\x0123456789abcdeffedcba9876543210', '2001:db8:85a3::8a2e:370:7334', '\x08e0c289bff23b7c',
        '08e0c289bff23b7cdd344485c55026d8b4cfa33b81032aff'),
    ('nd_', '\x1032547698badcfeefcdab8967452301', '192.0.2.1', '\x08e0c289bff23b7c',
        '08e0c289bff23b7c18e29f7c1fc75164251238ed9f0bd02a'),
    ('ndx_', '\x0123456789abcdeffedcba98765432101032547698badcfeefcdab8967452301', '0.0.0.0',
        '\x21bd1834bc088cd2b4ecbe30b70898d7', '21bd1834bc088cd2b4ecbe30b70898d782db0d4125fdace61db35b8339f20ee5'),
    ('ndx_', '\x1032547698badcfeefcdab89674523010123456789abcdeffedcba9876543210', '255.255.255.255',
        '\x21bd1834bc088cd2b4ecbe30b70898d7', '21bd1834bc088cd2b4ecbe30b70898d776c7dbd1ae4802a2dd95ad4f88273535'),
    ('ndx_', '\x2b7e151628aed2a6abf7158809cf4f3c3c4fcf098815f7aba6d2ae2816157e2b', '192.0.2.1',
        '\x21bd1834bc088cd2b4ecbe30b70898d7', '21bd1834bc088cd2b4ecbe30b70898d7259e85ebaa000667d2437ac7e2208d71'),
    ('ndx_', '\x0123456789abcdeffedcba98765432101032547698badcfeefcdab8967452301', '2001:db8:85a3::8a2e:370:7334',
        '\x21bd1834bc088cd2b4ecbe30b70898d7', '21bd1834bc088cd2b4ecbe30b70898d7fe8d52464555ef3458e4a6eefe14eb28'),
    ('ndx_', '\x1032547698badcfeefcdab89674523010123456789abcdeffedcba9876543210', '192.0.2.1',
        '\x21bd1834bc088cd2b4ecbe30b70898d7', '21bd1834bc088cd2b4ecbe30b70898d7c9487dffa9292855845d234bd1d72395');
INSERT INTO vectors
SELECT 'pfx_', '\x0123456789abcdeffedcba98765432101032547698badcfeefcdab8967452301', ip::inet, NULL, result
FROM (VALUES
    ('0.0.0.0', '151.82.155.134'),
    ('255.255.255.255', '94.185.169.89'),
    ('192.0.2.1', '100.115.72.131'),
    ('2001:db8::1', 'c180:5dd4:2587:3524:30ab:fa65:6ab6:f88')
) AS pairs (ip, result);
INSERT INTO vectors
SELECT 'pfx_', '\x2b7e151628aed2a6abf7158809cf4f3ca9f5ba40db214c3798f2e1c23456789a', ip::inet, NULL, result
FROM (VALUES
    ('10.0.0.47', '19.214.210.244'),
    ('10.0.0.129', '19.214.210.80'),
    ('10.0.0.234', '19.214.210.30'),
    ('172.16.5.193', '210.78.229.136'),
    ('172.16.97.42', '210.78.179.241'),
    ('172.16.248.177', '210.78.121.215'),
    ('2001:db8::a5c9:4e2f:bb91:5a7d', '7cec:702c:1243:f70:1956:125:b9bd:1aba'),
    ('2001:db8::7234:d8f1:3c6e:9a52', '7cec:702c:1243:f70:a3ef:c8e:95c1:cd0d'),
    ('2001:db8::f1e0:937b:26d4:8c1a', '7cec:702c:1243:f70:443c:c8e:6a62:b64d'),
    ('2001:db8:3a5c:0:e7d1:4b9f:2c8a:f673', '7cec:702c:3503:bef:e616:96bd:be33:a9b9'),
    ('2001:db8:9f27:0:b4e2:7a3d:5f91:c8e6', '7cec:702c:a504:b74e:194a:3d90:b047:2d1a'),
    ('2001:db8:d8b4:0:193c:a5e7:8b2f:46d1', '7cec:702c:f840:aa67:1b8:e84f:ac9d:77fb')
) AS pairs (ip, result);

CREATE TEMP TABLE v AS
SELECT crypto_ipcrypt_ip2bin('198.51.100.7') AS ip, '198.51.100.7/24'::inet AS address,
    decode(repeat('0a', 16), 'hex') AS short_key, decode(repeat('0b', 31), 'hex') || '\x00' AS long_key,
    decode(repeat('0c', 8), 'hex') AS short_tweak, decode(repeat('0d', 16), 'hex') AS long_tweak;
GRANT SELECT ON v TO PUBLIC;

SELECT unnest(ARRAY[
    is(crypto_ipcrypt_encrypt(ip, key), result::inet, format('the draft''s %s under %s', ip, key)),
    is(crypto_ipcrypt_decrypt(result::inet, key), ip, 'and back'),
    is(crypto_ipcrypt_encrypt(crypto_ipcrypt_ip2bin(host(ip)), key), crypto_ipcrypt_ip2bin(result), 'as bytes'),
    is(crypto_ipcrypt_decrypt(crypto_ipcrypt_ip2bin(result), key), crypto_ipcrypt_ip2bin(host(ip)), 'and back')
]) FROM vectors WHERE variant = '';
SELECT unnest(ARRAY[
    is(crypto_ipcrypt_pfx_encrypt(ip, key), result::inet, format('pfx: the draft''s %s under %s', ip, key)),
    is(crypto_ipcrypt_pfx_decrypt(result::inet, key), ip, 'and back'),
    is(crypto_ipcrypt_pfx_encrypt(crypto_ipcrypt_ip2bin(host(ip)), key), crypto_ipcrypt_ip2bin(result), 'as bytes'),
    is(crypto_ipcrypt_pfx_decrypt(crypto_ipcrypt_ip2bin(result), key), crypto_ipcrypt_ip2bin(host(ip)), 'and back')
]) FROM vectors WHERE variant = 'pfx_';
SELECT unnest(ARRAY[
    is(crypto_ipcrypt_ndx_encrypt(crypto_ipcrypt_ip2bin(host(ip)), tweak, key), decode(result, 'hex'),
        format('ndx: the draft''s %s under %s', ip, key)),
    is(crypto_ipcrypt_bin2ip(crypto_ipcrypt_ndx_decrypt(decode(result, 'hex'), key)), host(ip), 'and back')
]) FROM vectors WHERE variant = 'ndx_';
-- nd needs a libsodium that not every machine has.
SELECT unnest(ARRAY[
    matches(answer(format('crypto_ipcrypt_nd_encrypt(crypto_ipcrypt_ip2bin(%L), %L, %L::bytea)', host(ip), tweak, key)),
        format('^(0A000|\\x%s)$', result), format('nd: the draft''s %s under %s', ip, key)),
    matches(answer(format('crypto_ipcrypt_bin2ip(crypto_ipcrypt_nd_decrypt(%L, %L::bytea))', '\x' || result, key)),
        format('^(0A000|%s)$', host(ip)), 'and back')
]) FROM vectors WHERE variant = 'nd_';

-- Texts and bytes. pgsodium takes a zone, and has no other text for the same bytes.
SELECT unnest(ARRAY[
    is(crypto_ipcrypt_ip2bin(ip), bin::bytea, 'the bytes of ' || ip),
    is(crypto_ipcrypt_bin2ip(bin::bytea), back, 'their text: ' || back)
]) FROM (VALUES
    ('1.2.3.4', '\x00000000000000000000ffff01020304', '1.2.3.4'),
    ('::ffff:1.2.3.4', '\x00000000000000000000ffff01020304', '1.2.3.4'),
    ('::1.2.3.4', '\x00000000000000000000000001020304', '::102:304'),
    ('2001:DB8:0:0:1::0', '\x20010db8000000000001000000000000', '2001:db8:0:0:1::'),
    ('fe80::1%eth0', '\xfe800000000000000000000000000001', 'fe80::1')
) AS texts (ip, bin, back);
SELECT refuses(call) FROM (VALUES
    ('crypto_ipcrypt_ip2bin(''not an address'')'), ('crypto_ipcrypt_ip2bin('''')'), ('crypto_ipcrypt_ip2bin(''1.2.3'')'),
    ('crypto_ipcrypt_ip2bin(''1.2.3.4/24'')'), ('crypto_ipcrypt_ip2bin(''1.2.3.4%eth0'')'),
    ('crypto_ipcrypt_bin2ip(''short'')'), ('crypto_ipcrypt_bin2ip(ip || ''\x00'')'),
    ('crypto_ipcrypt_encrypt(short_tweak, short_key)'), ('crypto_ipcrypt_encrypt(ip, long_key)'),
    ('crypto_ipcrypt_decrypt(short_tweak, short_key)'), ('crypto_ipcrypt_decrypt(ip, long_key)'),
    ('crypto_ipcrypt_encrypt(address, long_key)'), ('crypto_ipcrypt_decrypt(address, long_key)'),
    ('crypto_ipcrypt_pfx_encrypt(short_tweak, long_key)'), ('crypto_ipcrypt_pfx_encrypt(ip, short_key)'),
    ('crypto_ipcrypt_pfx_decrypt(short_tweak, long_key)'), ('crypto_ipcrypt_pfx_decrypt(ip, short_key)'),
    ('crypto_ipcrypt_nd_encrypt(short_tweak, short_tweak, short_key)'),
    ('crypto_ipcrypt_nd_encrypt(ip, long_tweak, short_key)'), ('crypto_ipcrypt_nd_encrypt(ip, short_tweak, long_key)'),
    ('crypto_ipcrypt_nd_decrypt(ip, short_key)'), ('crypto_ipcrypt_nd_decrypt(ip || short_tweak, long_key)'),
    ('crypto_ipcrypt_ndx_encrypt(short_tweak, long_tweak, long_key)'),
    ('crypto_ipcrypt_ndx_encrypt(ip, short_tweak, long_key)'), ('crypto_ipcrypt_ndx_encrypt(ip, long_tweak, short_key)'),
    ('crypto_ipcrypt_ndx_decrypt(ip, long_key)'), ('crypto_ipcrypt_ndx_decrypt(ip || ip, short_key)'),
    -- The draft demands two different halves.
    ('crypto_ipcrypt_pfx_encrypt(ip, short_key || short_key)'), ('crypto_ipcrypt_pfx_decrypt(ip, short_key || short_key)'),
    ('crypto_ipcrypt_ndx_encrypt(ip, long_tweak, short_key || short_key)'),
    ('crypto_ipcrypt_ndx_decrypt(ip || ip, short_key || short_key)')
) AS calls (call);
SELECT is(answer(call), NULL, call) FROM (VALUES
    ('crypto_ipcrypt_encrypt(NULL::inet, short_key)'), ('crypto_ipcrypt_encrypt(ip, NULL::bytea)'),
    ('crypto_ipcrypt_ndx_encrypt(ip, NULL, long_key)'), ('crypto_ipcrypt_ip2bin(NULL)')
) AS calls (call);
SELECT is(crypto_ipcrypt_decrypt(crypto_ipcrypt_encrypt(address, short_key), short_key), '198.51.100.7',
    'an address without its netmask, as in pgsodium') FROM v;

SELECT generates('crypto_ipcrypt_keygen()', 16);
SELECT generates('crypto_ipcrypt_pfx_keygen()', 32);
SELECT generates('crypto_ipcrypt_nd_keygen()', 16);
SELECT generates('crypto_ipcrypt_nd_tweakgen()', 8);
SELECT generates('crypto_ipcrypt_ndx_keygen()', 32);
SELECT generates('crypto_ipcrypt_ndx_tweakgen()', 16);

-- By number: the key of that number, of the variant's length.
SELECT unnest(ARRAY[
    is(crypto_ipcrypt_encrypt(ip, 7), crypto_ipcrypt_encrypt(ip, derive_key(7, 16)), 'by number'),
    is(crypto_ipcrypt_decrypt(ip, 7, 'context1'), crypto_ipcrypt_decrypt(ip, derive_key(7, 16, 'context1')), 'and back'),
    is(crypto_ipcrypt_pfx_encrypt(ip, 7), crypto_ipcrypt_pfx_encrypt(ip, derive_key(7, 32)), 'pfx by number'),
    is(crypto_ipcrypt_pfx_decrypt(ip, 7, 'context1'), crypto_ipcrypt_pfx_decrypt(ip, derive_key(7, 32, 'context1')),
        'and back'),
    is(crypto_ipcrypt_ndx_encrypt(ip, long_tweak, 7), crypto_ipcrypt_ndx_encrypt(ip, long_tweak, derive_key(7, 32)),
        'ndx by number'),
    is(crypto_ipcrypt_ndx_decrypt(ip || ip, 7, 'context1'),
        crypto_ipcrypt_ndx_decrypt(ip || ip, derive_key(7, 32, 'context1')), 'and back'),
    is(answer('crypto_ipcrypt_nd_encrypt(ip, short_tweak, 7)'),
        answer('crypto_ipcrypt_nd_encrypt(ip, short_tweak, derive_key(7, 16))'), 'nd by number'),
    is(answer('crypto_ipcrypt_nd_decrypt(ip || short_tweak, 7)'),
        answer('crypto_ipcrypt_nd_decrypt(ip || short_tweak, derive_key(7, 16))'), 'and back')
]) FROM v;

-- By uuid. A role that may only encrypt could encrypt every address, and compare.
CREATE ROLE pgkeymgr_test_nobody IN ROLE pgkeymgr_user;
CREATE ROLE pgkeymgr_test_writer IN ROLE pgkeymgr_user;
CREATE ROLE pgkeymgr_test_searcher IN ROLE pgkeymgr_user;
CREATE ROLE pgkeymgr_test_reader IN ROLE pgkeymgr_user;
CREATE TEMP TABLE calls (type text, there text, back text);
INSERT INTO calls VALUES
    ('ipcrypt-det', 'crypto_ipcrypt_encrypt(ip, %s)', 'crypto_ipcrypt_decrypt(ip, %s)'),
    ('ipcrypt-det', 'crypto_ipcrypt_encrypt(address, %s)', 'crypto_ipcrypt_decrypt(address, %s)'),
    ('ipcrypt-pfx', 'crypto_ipcrypt_pfx_encrypt(ip, %s)', 'crypto_ipcrypt_pfx_decrypt(ip, %s)'),
    ('ipcrypt-pfx', 'crypto_ipcrypt_pfx_encrypt(address, %s)', 'crypto_ipcrypt_pfx_decrypt(address, %s)'),
    ('ipcrypt-nd', 'crypto_ipcrypt_nd_encrypt(ip, short_tweak, %s)', 'crypto_ipcrypt_nd_decrypt(short_tweak || ip, %s)'),
    ('ipcrypt-ndx', 'crypto_ipcrypt_ndx_encrypt(ip, long_tweak, %s)', 'crypto_ipcrypt_ndx_decrypt(long_tweak || ip, %s)');
CREATE TEMP TABLE keys AS
SELECT type, raw, (create_key(type::key_type, type, raw_key => raw)).id
FROM (VALUES
    ('ipcrypt-det', '\x000102030405060708090a0b0c0d0e0f'::bytea),
    ('ipcrypt-nd', '\x000102030405060708090a0b0c0d0e0f'),
    ('ipcrypt-pfx', '\x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f'),
    ('ipcrypt-ndx', '\x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f')
) AS types (type, raw);
SELECT grant_data_key(type, role::regrole, usage) FROM keys, (VALUES
    ('pgkeymgr_test_writer', '{encrypt}'::text[]), ('pgkeymgr_test_searcher', '{encrypt,search}'),
    ('pgkeymgr_test_reader', '{encrypt,decrypt}')
) AS grants (role, usage);
SELECT unnest(ARRAY[
    is(as_role('pgkeymgr_test_' || role, format(there, quote_literal(id) || '::uuid')),
        CASE WHEN role IN ('nobody', 'writer') THEN '42501' ELSE raw_there END, format('%s: %s', role, there)),
    is(as_role('pgkeymgr_test_' || role, format(back, quote_literal(id) || '::uuid')),
        CASE WHEN role <> 'reader' THEN '42501' ELSE raw_back END, format('%s: %s', role, back))
]) FROM calls JOIN keys USING (type),
    LATERAL (SELECT answer(format(there, quote_literal(raw) || '::bytea')) AS raw_there,
        answer(format(back, quote_literal(raw) || '::bytea')) AS raw_back) AS answers,
    unnest('{nobody,writer,searcher,reader}'::text[]) AS role;
SELECT refuses(format(there, quote_literal(id) || '::uuid'), '22000', 'ipcrypt') FROM calls JOIN keys ON keys.type <>
    calls.type AND (calls.type, keys.type) IN (('ipcrypt-det', 'ipcrypt-nd'), ('ipcrypt-ndx', 'ipcrypt-pfx'));
SELECT refuses('create_key(''ipcrypt-det'', raw_key => long_key)', '22000', 'raw_key');
SELECT refuses('create_key(''ipcrypt-ndx'', raw_key => short_key)', '22000', 'raw_key');

SELECT finish();
ROLLBACK;
