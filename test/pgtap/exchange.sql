-- sql/sealed/exchange.sql
BEGIN;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(121);

CREATE ROLE pgkeymgr_test_alice IN ROLE pgkeymgr_admin;
CREATE ROLE pgkeymgr_test_bob IN ROLE pgkeymgr_user;
CREATE ROLE pgkeymgr_test_nobody;
GRANT USAGE ON SCHEMA pgkeymgr TO pgkeymgr_test_nobody;
DELETE FROM server_key;
CREATE TEMP TABLE v AS SELECT randombytes_buf(32) AS secret, randombytes_buf(32) AS other, ''::bytea AS nothing;
GRANT SELECT ON v TO PUBLIC;

-- The exchange key is made when it is first needed, and kept wrapped.
SELECT refuses(
    call, '55000', 'read-only', 'SET LOCAL transaction_read_only = on'
) FROM (VALUES ('exchange_offer()'), ('exchange_fingerprint()')) AS calls (call);
SELECT is_empty('SELECT FROM server_key', 'no exchange key yet');
SELECT matches(as_role('pgkeymgr_test_bob', 'exchange_fingerprint()'), '^[0-9a-f]{64}$', 'a user''s call makes it');
SELECT results_eq(
    $$SELECT purpose, length(public), fingerprint, length(wrapped) - 41, created BETWEEN now() AND clock_timestamp()
    FROM server_key$$,
    $$SELECT 'exchange', 32, fingerprint, 64, true FROM root_key_status()$$,
    'its 64 bytes under the root key'
);
SELECT is(exchange_fingerprint(), encode(sha256(public), 'hex'), 'the fingerprint is SHA-256 of its public half')
FROM server_key;
SELECT is(exchange_fingerprint(), as_role('pgkeymgr_test_alice', 'exchange_fingerprint()'), 'the same for everybody');
SELECT is(exchange_fingerprint(), exchange_fingerprint(), 'each time');

-- Offers.
CREATE TEMP TABLE offers AS
SELECT n, (offer).* FROM (SELECT n, exchange_offer() AS offer FROM generate_series(1, 20) AS n OFFSET 0) AS each_offer;
SELECT results_eq(
    'SELECT DISTINCT length(public), length(challenge), length(server_key), length(signature) FROM offers',
    'VALUES (32, 32, 32, 64)', 'the parts of an offer'
);
SELECT results_eq(
    $$SELECT count(*), count(DISTINCT public), count(DISTINCT challenge), count(DISTINCT signature) FROM offers$$,
    'VALUES (20::bigint, 20::bigint, 20::bigint, 20::bigint)', 'none of them twice'
);
SELECT is(array_agg(DISTINCT encode(sha256(server_key), 'hex')), ARRAY[exchange_fingerprint()],
    'all of the same server')
FROM offers;
CREATE FUNCTION tap.is_signed(
    public bytea, challenge bytea, server_key bytea, signature bytea, label text DEFAULT 'format 1'
) RETURNS boolean LANGUAGE sql AS $$
    SELECT crypto_sign_verify_detached(
        signature, convert_to('pgkeymgr exchange offer, ' || label, 'UTF8') || '\x00' || public || challenge, server_key
    )
$$;
SELECT ok(bool_and(is_signed(public, challenge, server_key, signature)), 'each is signed') FROM offers;
SELECT ok(NOT is_signed(public, challenge, server_key, signature, 'format 2'), 'with a label') FROM offers WHERE n = 1;
SELECT is(count(*) FILTER (WHERE is_signed(x, challenge, server_key, signature)), 0::bigint, 'no other public key is')
FROM offers, flips(public) WHERE n = 1;
SELECT is(count(*) FILTER (WHERE is_signed(public, x, server_key, signature)), 0::bigint, 'nor another challenge')
FROM offers, flips(challenge) WHERE n = 1;
SELECT is(count(*), 0::bigint, 'nor is one offer''s signature another''s')
FROM offers AS one, offers AS other
WHERE one.n <> other.n AND is_signed(one.public, one.challenge, one.server_key, other.signature);
SELECT is(as_role('pgkeymgr_test_bob', 'exchange_offer() IS NOT NULL'), 'true', 'a user may');

-- The row is bound to its public half and to the root key.
SELECT refuses(call, state, '', after) FROM (VALUES
    ('UPDATE server_key SET wrapped = set_bit(wrapped, 300, 1 - get_bit(wrapped, 300))', '22000'),
    ('UPDATE server_key SET wrapped = substr(wrapped, 1, 104)', '22000'),
    ('UPDATE server_key SET wrapped = ''''', '22000'),
    ('UPDATE server_key SET public = set_bit(public, 0, 1 - get_bit(public, 0))', '22000'),
    ('UPDATE server_key SET fingerprint = repeat(''0'', 32)', '55000')
) AS changes (after, state), (VALUES ('exchange_offer()'), ('exchange_fingerprint()')) AS calls (call);
SELECT throws_ok('INSERT INTO server_key VALUES (''other'', '''', '''', '''')', '23514', NULL, 'one purpose only');

-- Where nothing can be written, offers are made and answered.
SAVEPOINT writable;
SET LOCAL transaction_read_only = on;
SELECT exchange_offer() IS NOT NULL AS read_only_offer,
    answer('import_data_key(''x'', seal(secret, other))') AS state \gset
ROLLBACK TO writable;
SELECT ok(:'read_only_offer', 'an offer in a read-only transaction');
SELECT is(:'state'::text, '22000', 'and what is sealed to it is opened');

-- A good message.
SELECT is(import_data_key('good', seal(secret)), currval('key_id_seq')::integer, 'a sealed message') FROM v;
SELECT is(
    as_role('pgkeymgr_test_alice', 'import_data_key(''alice''''s'', seal(secret)) > 0'), 'true', 'another role''s'
);
SELECT refuses('import_data_key(''x'', seal(secret), wrap => NULL)', '22000', 'wrap');

-- Good for one call.
SELECT seal(secret) AS sealed FROM v \gset
SELECT isnt(import_data_key('once', :'sealed'), NULL, 'once');
SELECT refuses(format('import_data_key(''x'', %L)', sealed), '28000', 'no open offer')
FROM (VALUES (:'sealed'), ('\x'), ('\x00')) AS messages (sealed);
SELECT exchange_offer() IS NULL AS is_null \gset
SELECT refuses(format('import_data_key(''x'', %L)', :'sealed'), '28000', 'not for the present offer');
SELECT refuses(format('import_data_key(''x'', %L)', :'sealed'), '28000', 'no open offer');
-- This holds whether the call succeeded or failed, and whether its transaction did.
SELECT seal(secret) AS sealed FROM v \gset
SELECT refuses('import_data_key(''x'', ''wrong'')', '28000', 'not for the present offer');
SELECT refuses(format('import_data_key(''x'', %L)', :'sealed'), '28000', 'no open offer');
SELECT seal(secret) AS sealed FROM v \gset
SELECT refuses('import_data_key(''x'', NULL)', '22000', 'sealed');
SELECT refuses(format('import_data_key(''x'', %L)', :'sealed'), '28000', 'no open offer');
SELECT seal(secret) AS sealed FROM v \gset
SELECT refuses(format('import_data_key(''good'', %L)', :'sealed'), '42710', '"good"');
SELECT refuses(format('import_data_key(''x'', %L)', :'sealed'), '28000', 'no open offer');
SELECT seal(secret) AS sealed FROM v \gset
SAVEPOINT before;
SELECT isnt(import_data_key('undone', :'sealed'), NULL, 'an import');
ROLLBACK TO before;
SELECT is_empty('SELECT FROM key WHERE name = ''undone''', 'that is undone');
SELECT refuses(format('import_data_key(''x'', %L)', :'sealed'), '28000', 'no open offer');

-- To the present offer only.
SELECT seal(secret) AS first FROM v \gset
SELECT seal(secret) AS second FROM v \gset
SELECT refuses(format('import_data_key(''x'', %L)', :'first'), '28000', 'not for the present offer');
SELECT seal(secret) AS first FROM v \gset
SELECT seal(secret) AS second FROM v \gset
SELECT isnt(import_data_key('second', :'second'), NULL, 'the second offer takes the place of the first');
SELECT seal(secret) AS sealed FROM v \gset
SELECT lock();
SELECT refuses(format('import_data_key(''x'', %L)', :'sealed'), '28000', 'no open offer');
-- The challenge is part of it, and not only the key that it is sealed to.
CREATE FUNCTION tap.answer_to_offer(opened text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    offer record;
    result text;
BEGIN
    SELECT * INTO offer FROM exchange_offer();
    EXECUTE format('SELECT crypto_box_seal(%s, $1) FROM v', opened) INTO result USING offer.public, offer.challenge;
    RETURN answer(format('import_data_key(''by answer'', %L)', result));
END
$$;
SELECT is(answer_to_offer(opened) ~ '^\d{1,4}$', true, 'accepted: ' || opened) FROM (VALUES
    ('$2 || ''\x00000020'' || secret')
) AS messages (opened);
SELECT is(answer_to_offer(opened), '28000', 'refused: ' || opened) FROM (VALUES
    (''''''),
    ('''\x00000020'' || secret'),
    ('substr($2, 1, 31)'),
    ('substr($2, 1, 31) || ''\x00000020'' || secret'),
    ('set_bit($2, 0, 1 - get_bit($2, 0)) || ''\x00000020'' || secret'),
    ('set_bit($2, 255, 1 - get_bit($2, 255)) || ''\x00000020'' || secret'),
    ('decode(repeat(''00'', 32), ''hex'') || ''\x00000020'' || secret'),
    ('secret || ''\x00000020'' || $2')
) AS messages (opened);
SELECT is(
    answer(format('import_data_key(''x'', %L)', crypto_box_seal(challenge || '\x00000020' || secret, other))), '28000',
    'sealed to another public key'
) FROM v, (SELECT challenge FROM exchange_offer() OFFSET 0) AS offer;

-- By the role that the offer was made to.
SET ROLE pgkeymgr_test_alice;
SELECT seal(secret) AS sealed FROM v \gset
RESET ROLE;
SELECT refuses(format('import_data_key(''x'', %L)', :'sealed'), '28000', 'not for the present offer');
SELECT is(
    as_role('pgkeymgr_test_alice', format('import_data_key(''x'', %L)', :'sealed')), '28000',
    'nor is it good for that role any more'
);
SELECT seal(secret) AS sealed FROM v \gset
SELECT is(
    as_role('pgkeymgr_test_alice', format('import_data_key(''x'', %L)', :'sealed')), '28000',
    'a superuser''s offer is not another role''s'
);
SET ROLE pgkeymgr_test_alice;
SELECT seal(secret) AS sealed FROM v \gset
RESET ROLE;
SELECT is(
    as_role('pgkeymgr_test_alice', format('import_data_key(''by alice'', %L) > 0', :'sealed')), 'true',
    'a role''s own, later in the session'
);

-- Altered in any bit, cut anywhere, or longer. (The sealed message is 48 + 32 + 4 + 32 bytes long.)
CREATE FUNCTION tap.answers_to_altered() RETURNS TABLE (change text, answer text) LANGUAGE plpgsql AS $$
DECLARE
    altered record;
BEGIN
    FOR altered IN SELECT * FROM generate_series(0, 8 * 116 - 1, 5) AS bit LOOP
        change := 'bit ' || altered.bit;
        answer := answer(format('import_data_key(''x'', %L)', set_bit(s, altered.bit, 1 - get_bit(s, altered.bit))))
            FROM (SELECT seal(secret) AS s FROM v OFFSET 0) AS sealed;
        RETURN NEXT;
    END LOOP;
    FOR altered IN SELECT * FROM generate_series(0, 115) AS size LOOP
        change := 'cut to ' || altered.size;
        answer := answer(format('import_data_key(''x'', %L)', substr(s, 1, altered.size)))
            FROM (SELECT seal(secret) AS s FROM v OFFSET 0) AS sealed;
        RETURN NEXT;
    END LOOP;
    change := 'a byte longer';
    answer := answer(format('import_data_key(''x'', %L)', s || '\x00'))
        FROM (SELECT seal(secret) AS s FROM v OFFSET 0) AS sealed;
    RETURN NEXT;
END
$$;
SELECT is(length(seal(secret)), 116, 'the length of a sealed message') FROM v;
SELECT is(
    string_agg(DISTINCT answer, ', '), '28000', format('refused with 28000, all %s alterations', count(*))
) FROM answers_to_altered();

-- The challenge is followed by secrets with their lengths, as many as there should be, and none of them empty.
SELECT refuses(call, '22000', naming) FROM (VALUES
    ('import_data_key(''x'', seal_packed(''\x00''))', 'malformed'),
    ('import_data_key(''x'', seal_packed(''\x000000''))', 'malformed'),
    ('import_data_key(''x'', seal_packed(''\x00000001''))', 'malformed'),
    ('import_data_key(''x'', seal_packed(''\x00000021'' || secret))', 'malformed'),
    ('import_data_key(''x'', seal_packed(''\xffffffff'' || secret))', 'malformed'),
    ('import_data_key(''x'', seal_packed(''\x00000020'' || secret || ''\x00''))', 'malformed'),
    ('import_data_key(''x'', seal_packed(''\x0000001f'' || secret))', 'malformed'),
    ('import_data_key(''x'', seal_packed(secret))', 'malformed'),
    ('import_data_key(''x'', seal_packed(''''))', '1 secrets in it, not 0'),
    ('import_data_key(''x'', seal(VARIADIC ''{}''))', '1 secrets in it, not 0'),
    ('import_data_key(''x'', seal(secret, other))', '1 secrets in it, not 2'),
    ('import_data_key(''x'', seal(secret, other), wrap => ''user'')', '1 secrets in it, not 2'),
    ('import_data_key(''x'', seal(secret), wrap => ''passphrase'')', '2 secrets in it, not 1'),
    ('import_data_key(''x'', seal(secret, other, other), wrap => ''passphrase'')', '2 secrets in it, not 3'),
    ('change_passphrase(''good'', seal(secret))', '2 secrets in it, not 1'),
    ('rotate_user_key(seal(secret, other, secret))', '1 or 2 secrets in it, not 3'),
    ('import_data_key(''x'', seal(nothing))', 'empty'),
    ('import_data_key(''x'', seal(secret, nothing), wrap => ''passphrase'')', 'empty'),
    ('import_data_key(''x'', seal(nothing, secret), wrap => ''passphrase'')', 'empty'),
    -- 65536 bytes are taken: this one is refused for another reason.
    ('import_data_key(''x'', seal(decode(repeat(''ab'', 65452), ''hex'')))', 'not 65452'),
    ('import_data_key(''x'', seal(decode(repeat(''ab'', 65453), ''hex'')))', 'at most 65536 bytes long, not 65537'),
    ('import_data_key(''x'', seal(decode(repeat(''ab'', 10000000), ''hex'')))', 'at most 65536')
) AS calls (call, naming);
SELECT is_empty('SELECT FROM key WHERE name = ''x''', 'what is refused leaves nothing behind');

-- Each function that takes a sealed message: none without one, nor with one that was used.
SELECT refuses(format(call, 'NULL'), '22000', 'sealed') FROM (VALUES
    ('add_passphrase(''good'', %s)'), ('unlock_data_key(''good'', %s)'), ('change_passphrase(''good'', %s)'),
    ('supersede_data_key(''good'', %s)'), ('import_data_key(''x'', %s)'), ('create_user_key(%s)'),
    ('unlock_user_key(%s)'), ('change_user_passphrase(%s)'), ('rotate_user_key(%s)')
) AS calls (call)
UNION ALL
SELECT refuses(format(call, '''\x00'''), '28000', 'no open offer') FROM (VALUES
    ('add_passphrase(''good'', %s)'), ('unlock_data_key(''good'', %s)'), ('change_passphrase(''good'', %s)'),
    ('supersede_data_key(''good'', %s)'), ('import_data_key(''x'', %s)'), ('create_user_key(%s)'),
    ('unlock_user_key(%s)'), ('change_user_passphrase(%s)'), ('rotate_user_key(%s)')
) AS calls (call);

-- rotate_exchange_key
CREATE TEMP TABLE before_rotation AS SELECT exchange_fingerprint() AS pinned, * FROM server_key;
SELECT seal(secret) AS sealed FROM v \gset
SELECT rotate_exchange_key() AS rotated \gset
SELECT refuses(format('import_data_key(''x'', %L)', :'sealed'), '28000', 'no open offer');
SELECT is(:'rotated'::text, exchange_fingerprint(), 'the new fingerprint is returned');
SELECT isnt(:'rotated'::text, pinned, 'it is another one') FROM before_rotation;
SELECT results_eq(
    $$SELECT s.public <> b.public, s.wrapped <> b.wrapped, s.created > b.created, length(s.wrapped), s.fingerprint
    FROM server_key AS s, before_rotation AS b$$,
    $$SELECT true, true, true, 64 + 41, fingerprint FROM root_key_status()$$,
    'the new key is in place of the old one'
);
SELECT ok(is_signed(o.public, o.challenge, s.public, o.signature), 'and signs the offers')
FROM exchange_offer() AS o, server_key AS s;
SELECT ok(NOT is_signed(o.public, o.challenge, b.public, o.signature), 'which the old one does not')
FROM exchange_offer() AS o, before_rotation AS b;
SELECT isnt(import_data_key('after rotation', seal(secret)), NULL, 'messages go on') FROM v;
SELECT is(
    as_role('pgkeymgr_test_alice', 'rotate_exchange_key() = exchange_fingerprint()'), 'true', 'an administrator may'
);

-- Roles that may not.
SELECT is(as_role(role, call), '42501', format('%s may not: %s', role, call)) FROM (VALUES
    ('pgkeymgr_test_nobody', 'exchange_offer()'),
    ('pgkeymgr_test_nobody', 'exchange_fingerprint()'),
    ('pgkeymgr_test_nobody', 'rotate_exchange_key()'),
    ('pgkeymgr_test_bob', 'rotate_exchange_key()')
) AS calls (role, call);
SELECT is(
    as_role('pgkeymgr_test_bob', 'import_data_key(''x'', seal(secret))'), '42501',
    'an offer is no permission for what it is answered with'
);

SELECT finish();
ROLLBACK;
