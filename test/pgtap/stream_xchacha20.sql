-- sql/crypto/stream_xchacha20.sql
BEGIN;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(92);

-- draft-irtf-cfrg-xchacha-03, appendix A.3.2.1 (from block 0 on) and A.3.2.2 (from block 1 on).
CREATE TEMP TABLE v AS
SELECT
    '\x808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f'::bytea AS key,
    '\x404142434445464748494a4b4c4d4e4f5051525354555658'::bytea AS nonce,
    'The dhole (pronounced "dole") is also known as the Asiatic wild dog, red dog, and whistling dog. '
    'It is about the size of a German shepherd but looks more like a long-legged fox. '
    'This highly elusive and skilled jumper is classified with wolves, coyotes, jackals, and foxes '
    'in the taxonomic family Canidae.'::bytea AS message,
    '\x4559abba4e48c16102e8bb2c05e6947f50a786de162f9b0b7e592a9b53d0d4e98d8d6410d540a1a6375b26d80dace4fa'
    'b52384c731acbf16a5923c0c48d3575d4d0d2c673b666faa731061277701093a6bf7a158a8864292a41c48e3a9b4c0da'
    'ece0f8d98d0d7e05b37a307bbb66333164ec9e1b24ea0d6c3ffddcec4f68e7443056193a03c810e11344ca06d8ed8a2b'
    'fb1e8d48cfa6bc0eb4e2464b748142407c9f431aee769960e15ba8b96890466ef2457599852385c661f752ce20f9da0c'
    '09ab6b19df74e76a95967446f8d0fd415e7bee2a12a114c20eb5292ae7a349ae577820d5520a1f3fb62a17ce6a7e68fa'
    '7c79111d8860920bc048ef43fe84486ccb87c25f0ae045f0cce1e7989a9aa220a28bdd4827e751a24a6d5c62d790a663'
    '93b93111c1a55dd7421a10184974c7c5'::bytea AS ciphertext,
    '\x7d0a2e6b7f7c65a236542630294e063b7ab9b555a5d5149aa21e4ae1e4fbce87ecc8e08a8b5e350abe622b2ffa617b20'
    '2cfad72032a3037e76ffdcdc4376ee053a190d7e46ca1de04144850381b9cb29f051915386b8a710b8ac4d027b8b050f'
    '7cba5854e028d564e453b8a968824173fc16488b8970cac828f11ae53cabd20112f87107df24ee6183d2274fe4c8b148'
    '5534ef2c5fbc1ec24bfc3663efaa08bc047d29d25043532db8391a8a3d776bf4372a6955827ccb0cdd4af403a7ce4c63'
    'd595c75a43e045f0cce1f29c8b93bd65afc5974922f214a40b7c402cdb91ae73c0b63615cdad0480680f16515a7ace9d'
    '39236464328a37743ffc28f4ddb324f4d0f5bbdc270c65b1749a6efff1fbaa09536175ccd29fb9e6057b307320d31683'
    '8a9c71f70b5b5907a66f7ea49aadc409'::bytea AS from_block_1,
    derive_key(7) AS derived;

SELECT is(crypto_stream_xchacha20_xor(message, nonce, key), ciphertext, 'the draft''s vector') FROM v;
SELECT is(crypto_stream_xchacha20_xor(ciphertext, nonce, key), message, 'the draft''s vector, decrypted') FROM v;
SELECT is(crypto_stream_xchacha20_xor_ic(message, nonce, 1, key), from_block_1, 'the draft''s vector from block 1')
FROM v;
-- libsodium, test/default/xchacha20.c, the first of its stream vectors.
SELECT is(
    crypto_stream_xchacha20(
        29, '\xb33ffd3096479bcfbc9aee49417688a0a2554f8d95389419',
        '\x79c99798ac67300bbb2704c95c341e3245f3dcb21761b98e52ff45b24f304fc4'::bytea
    ),
    '\xc6e9758160083ac604ef90e712ce6e75d7797590744e0cf060f013739c', 'libsodium''s vector'
);

SELECT round_trips(
    'crypto_stream_xchacha20_xor(m, nonce, key)', 'crypto_stream_xchacha20_xor(c, nonce, key)', 0
);
SELECT round_trips(
    'crypto_stream_xchacha20_xor_ic(m, nonce, 3, 7)', 'crypto_stream_xchacha20_xor_ic(c, nonce, 3, 7)', 0
);

-- The stream is what '' XOR it is; the number of a block counts 64 bytes, and carries over 32 bits.
SELECT is(
    crypto_stream_xchacha20(size, nonce, key),
    crypto_stream_xchacha20_xor(decode(repeat('00', size), 'hex'), nonce, key),
    format('%s bytes of the stream', size)
) FROM v, (VALUES (0), (1), (64), (65), (100000)) AS sizes (size);
SELECT is(
    substr(crypto_stream_xchacha20(256, nonce, key), 129),
    crypto_stream_xchacha20_xor_ic(decode(repeat('00', 128), 'hex'), nonce, 2, key), 'blocks 2 and 3'
) FROM v;
SELECT is(
    substr(crypto_stream_xchacha20_xor_ic(decode(repeat('00', 128), 'hex'), nonce, ic, key), 65),
    crypto_stream_xchacha20_xor_ic(decode(repeat('00', 64), 'hex'), nonce, ic + 1, key),
    format('the block after block %s', ic)
) FROM v, (VALUES (4294967295), (-1)) AS blocks (ic);

-- A number stands for its derived key.
SELECT is(
    crypto_stream_xchacha20(100, nonce, id, context),
    crypto_stream_xchacha20(100, nonce, derive_key(id, 32, context)),
    format('the stream of number %s, context %s', id, context)
) FROM v, ids;
SELECT is(
    crypto_stream_xchacha20_xor(message, nonce, id, context),
    crypto_stream_xchacha20_xor(message, nonce, derive_key(id, 32, context)),
    format('XOR with number %s, context %s', id, context)
) FROM v, ids;
SELECT is(
    crypto_stream_xchacha20_xor_ic(message, nonce, 9, id, context),
    crypto_stream_xchacha20_xor_ic(message, nonce, 9, derive_key(id, 32, context)),
    format('XOR with block 9 on of number %s, context %s', id, context)
) FROM v, ids;
SELECT is(crypto_stream_xchacha20(99, nonce, 7), crypto_stream_xchacha20(99, nonce, derived), 'the default context')
FROM v;
SELECT is(
    crypto_stream_xchacha20_xor_ic(message, nonce, 9, 7),
    crypto_stream_xchacha20_xor_ic(message, nonce, 9, derived), 'the default context of _xor_ic'
) FROM v;
SELECT is(
    crypto_stream_xchacha20_xor(message, nonce, 7),
    crypto_stream_xchacha20_xor(message, nonce, derive_key(7, 32, 'pgosdium')),
    'the default context of _xor is misspelt, as pgsodium''s'
) FROM v;
SELECT is(
    crypto_stream_xchacha20_xor(message => message, nonce => nonce, key => key),
    crypto_stream_xchacha20_xor_ic(message => message, nonce => nonce, ic => 0, key => key),
    'with named arguments'
) FROM v;
SELECT is(
    crypto_stream_xchacha20_xor(message => message, nonce => nonce, key_id => 7, context => 'context1'),
    crypto_stream_xchacha20_xor_ic(
        message => message, nonce => nonce, ic => 0, key_id => 7, context => 'context1'
    ), 'by number, with named arguments'
) FROM v;
SELECT is(
    crypto_stream_xchacha20(size => 99, nonce => nonce, key => derived),
    crypto_stream_xchacha20(size => 99, nonce => nonce, key_id => 7, context => 'pgsodium'),
    'the stream, with named arguments'
) FROM v;

SELECT refuses(call, state) FROM (VALUES
    ('crypto_stream_xchacha20(-1, nonce, key)', '22000'),
    ('crypto_stream_xchacha20(-9223372036854775808, nonce, key)', '22000'),
    ('crypto_stream_xchacha20(1073741824, nonce, key)', '54000'),
    ('crypto_stream_xchacha20(2147483647, nonce, key)', '54000'),
    ('crypto_stream_xchacha20(9223372036854775807, nonce, key)', '54000'),
    ('crypto_stream_xchacha20(-1, nonce, 7)', '22000'),
    ('crypto_stream_xchacha20(1073741824, nonce, 7)', '54000')
) AS calls (call, state);
SELECT refuses(call) FROM (VALUES
    ('crypto_stream_xchacha20(1, nonce || ''\x00'', key)'),
    ('crypto_stream_xchacha20(1, substr(nonce, 2), key)'),
    ('crypto_stream_xchacha20(1, nonce, key || ''\x00'')'),
    ('crypto_stream_xchacha20(1, nonce, substr(key, 2))'),
    ('crypto_stream_xchacha20(1, nonce, 7, ''short'')'),
    ('crypto_stream_xchacha20_xor(message, nonce || ''\x00'', key)'),
    ('crypto_stream_xchacha20_xor(message, nonce, substr(key, 2))'),
    ('crypto_stream_xchacha20_xor(message, nonce, 7, ''too long.'')'),
    ('crypto_stream_xchacha20_xor_ic(message, substr(nonce, 2), 1, key)'),
    ('crypto_stream_xchacha20_xor_ic(message, nonce, 1, key || ''\x00'')'),
    ('crypto_stream_xchacha20_xor_ic(message, nonce, 1, 7, ''short'')'),

    ('crypto_stream_xchacha20(NULL, nonce, key)'),
    ('crypto_stream_xchacha20(1, NULL, key)'),
    ('crypto_stream_xchacha20(1, nonce, NULL::bytea)'),
    ('crypto_stream_xchacha20(NULL, nonce, 7)'),
    ('crypto_stream_xchacha20(1, NULL, 7)'),
    ('crypto_stream_xchacha20(1, nonce, NULL::bigint)'),
    ('crypto_stream_xchacha20(1, nonce, 7, NULL)'),
    ('crypto_stream_xchacha20_xor(NULL, nonce, key)'),
    ('crypto_stream_xchacha20_xor(message, NULL, key)'),
    ('crypto_stream_xchacha20_xor(message, nonce, NULL::bytea)'),
    ('crypto_stream_xchacha20_xor(NULL, nonce, 7)'),
    ('crypto_stream_xchacha20_xor(message, NULL, 7)'),
    ('crypto_stream_xchacha20_xor(message, nonce, NULL::bigint)'),
    ('crypto_stream_xchacha20_xor(message, nonce, 7, NULL)'),
    ('crypto_stream_xchacha20_xor_ic(NULL, nonce, 1, key)'),
    ('crypto_stream_xchacha20_xor_ic(message, NULL, 1, key)'),
    ('crypto_stream_xchacha20_xor_ic(message, nonce, NULL, key)'),
    ('crypto_stream_xchacha20_xor_ic(message, nonce, 1, NULL::bytea)'),
    ('crypto_stream_xchacha20_xor_ic(NULL, nonce, 1, 7)'),
    ('crypto_stream_xchacha20_xor_ic(message, NULL, 1, 7)'),
    ('crypto_stream_xchacha20_xor_ic(message, nonce, NULL, 7)'),
    ('crypto_stream_xchacha20_xor_ic(message, nonce, 1, NULL::bigint)'),
    ('crypto_stream_xchacha20_xor_ic(message, nonce, 1, 7, NULL)')
) AS calls (call);

SELECT generates('crypto_stream_xchacha20_keygen()', 32);
SELECT generates('crypto_stream_xchacha20_noncegen()', 24);

SELECT finish();
ROLLBACK;
