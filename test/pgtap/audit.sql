-- sql/key/audit.sql
SET search_path = pgkeymgr, tap, public;
SET client_min_messages = error;

-- A failure ends in an error, which undoes its transaction: it is kept for the next one that gets to write.
-- So this part commits. (psql shows the SQLSTATE of that one error.)
CREATE FUNCTION tap.message(secret text) RETURNS bytea LANGUAGE sql VOLATILE AS $$
    SELECT crypto_box_seal(challenge || int4send(length(secret)) || secret::bytea, public)
    FROM (SELECT * FROM exchange_offer() OFFSET 0) AS offer
$$;
CREATE TEMP TABLE moments (n serial, moment text, failures bigint);
SELECT create_data_key('pgkeymgr_test failing') AS id \gset
SELECT add_passphrase(:id, message('right'));
\set ON_ERROR_STOP off
\set failures 'count(*) FROM key_events WHERE event = ''failed_unlock'' AND key_id = ' :id
\set VERBOSITY sqlstate
SELECT unlock_data_key(:id, message('wrong'));
\set VERBOSITY default
\set ON_ERROR_STOP on
INSERT INTO moments (moment, failures) SELECT 'after the failure', :failures;
BEGIN;
SELECT exchange_offer() IS NULL AS is_null \gset
ROLLBACK;
INSERT INTO moments (moment, failures) SELECT 'an offer that was rolled back', :failures;
SELECT exchange_offer() IS NULL AS is_null \gset
INSERT INTO moments (moment, failures) SELECT 'an offer', :failures;
SELECT exchange_offer() IS NULL AS is_null \gset
INSERT INTO moments (moment, failures) SELECT 'another', :failures;
SELECT unlock_data_key(:id, message('right'));
INSERT INTO moments (moment, failures) SELECT 'another event', :failures;
-- An unlock may have been of use before it was rolled back.
\set unlocks 'count(*) FROM key_events WHERE event = ''unlock'' AND key_id = ' :id
BEGIN;
SELECT unlock_data_key(:id, message('right'));
ROLLBACK;
INSERT INTO moments (moment, failures) SELECT 'an unlock that was rolled back', :unlocks;
SELECT exchange_offer() IS NULL AS is_null \gset
INSERT INTO moments (moment, failures) SELECT 'the next offer', :unlocks;
SELECT exchange_offer() IS NULL AS is_null \gset
INSERT INTO moments (moment, failures) SELECT 'and another one', :unlocks;
SELECT lock();
RESET pgkeymgr.unlocked;
DELETE FROM key WHERE id = :id;
DROP FUNCTION tap.message(text);

BEGIN;
\ir include/assertions.sql
SELECT plan(127);
SELECT results_eq(
    'SELECT moment, failures FROM moments ORDER BY n',
    $$VALUES ('after the failure', 0::bigint), ('an offer that was rolled back', 0), ('an offer', 1), ('another', 1),
    ('another event', 1), ('an unlock that was rolled back', 1), ('the next offer', 2), ('and another one', 2)$$,
    'a failed unlock, and one that was rolled back, is written with the next offer that commits, once'
);
SELECT ok(bool_and(link IS NOT NULL AND hash IS NOT NULL), 'what is committed is linked')
FROM key_events WHERE key_name = 'pgkeymgr_test failing';
SELECT is(broken_link, NULL, 'and whole') FROM verify_key_events();

-- A trail of this file's own.
ALTER TABLE key_event DISABLE TRIGGER USER;
TRUNCATE key_event;
ALTER TABLE key_event ENABLE TRIGGER USER;
CREATE ROLE pgkeymgr_test_alice IN ROLE pgkeymgr_admin;
CREATE ROLE pgkeymgr_test_bob IN ROLE pgkeymgr_user;
CREATE ROLE pgkeymgr_test_nobody;
GRANT USAGE ON SCHEMA pgkeymgr TO pgkeymgr_test_nobody;
CREATE TEMP TABLE v AS
SELECT convert_to('correct horse', 'UTF8') AS one, convert_to('battery staple', 'UTF8') AS two,
    randombytes_buf(32) AS secret, pair.public AS recipient
FROM crypto_box_new_keypair() AS pair;
GRANT SELECT ON v TO PUBLIC;

-- With nothing in it.
SELECT results_eq(
    'SELECT * FROM verify_key_events()', 'VALUES (0::bigint, NULL::bigint, NULL::text, NULL::bytea)', 'an empty trail'
);
SELECT results_eq(
    $$SELECT events, broken_link, reason FROM verify_key_events(1, '\x00')$$,
    $$VALUES (0::bigint, 1::bigint, 'the event is missing')$$, 'of which an event is known'
);

-- Each kind of event: what is called, as whom, and the row that it gives: event, key and detail.
CREATE TEMP TABLE steps (n integer GENERATED ALWAYS AS IDENTITY, role text, call text, events text);
INSERT INTO steps (role, call, events) VALUES
    ('postgres', 'create_data_key(''k'')', 'create k'),
    ('pgkeymgr_test_alice', 'create_data_key(''Grüße 🔑'')', 'create Grüße 🔑'),
    ('pgkeymgr_test_alice', 'import_data_key(''i'', seal(secret))', 'import i'),
    ('postgres', 'supersede_data_key(''i'')', 'supersede i: by key <id>'),
    ('postgres', 'disable_data_key(id_of(''i''))', 'disable i'),
    ('postgres', 'enable_data_key(id_of(''i''))', 'enable i'),
    ('postgres', 'grant_data_key(''k'', ''pgkeymgr_test_bob'')', 'grant k: encrypt, decrypt, role pgkeymgr_test_bob'),
    ('postgres', 'revoke_data_key(''k'', ''pgkeymgr_test_bob'', ''{encrypt}'')',
        'revoke k: encrypt, role pgkeymgr_test_bob'),
    ('postgres', 'export_data_key(''k'', recipient)', 'export k: to <recipient>'),
    ('postgres', 'add_passphrase(''k'', seal(one))', 'set_passphrase k'),
    ('postgres', 'drop_root_wrap(''k'')', 'drop_root_wrap k'),
    ('pgkeymgr_test_bob', 'unlock_data_key(''k'', seal(two))', NULL),
    ('pgkeymgr_test_bob', 'unlock_data_key(''k'', seal(one))',
        'failed_unlock k: attempt <n> of this session, unlock k: for the session'),
    ('postgres', 'unlock_data_key(''k'', seal(one), true)', 'unlock k: for the transaction'),
    ('pgkeymgr_test_bob', 'change_passphrase(''k'', seal(two, one))', NULL),
    ('pgkeymgr_test_bob', 'change_passphrase(''k'', seal(one, two))',
        'failed_change_passphrase k: attempt <n> of this session, set_passphrase k'),
    ('postgres', 'supersede_data_key(''k'', seal(one))', NULL),
    ('postgres', 'unlock_data_key(''k'', seal(two), true)',
        'failed_supersede k: attempt <n> of this session, unlock k: for the transaction'),
    ('postgres', 'add_root_wrap(''k'')', 'add_root_wrap k'),
    ('postgres', 'supersede_data_key(''k'', seal(two))', 'supersede k: by key <id>'),
    ('postgres', 'drop_passphrase(''k'')', 'drop_passphrase_wrap k, drop_passphrase_wrap k'),
    ('pgkeymgr_test_bob', 'create_user_key(seal(one))', 'create_user_key: <public>'),
    ('pgkeymgr_test_bob', 'unlock_user_key(seal(two))', NULL),
    ('pgkeymgr_test_bob', 'unlock_user_key(seal(one))',
        'failed_unlock_user_key: attempt <n> of this session, unlock_user_key: for the session'),
    ('pgkeymgr_test_bob', 'change_user_passphrase(seal(two, one))', NULL),
    ('pgkeymgr_test_bob', 'change_user_passphrase(seal(one, two))',
        'failed_change_user_passphrase: attempt <n> of this session, change_user_passphrase'),
    ('postgres', 'share_data_key(''k'', ''pgkeymgr_test_bob'')', 'share k: to role pgkeymgr_test_bob'),
    ('postgres', 'unshare_data_key(''k'', ''pgkeymgr_test_bob'')', 'unshare k: from role pgkeymgr_test_bob'),
    ('pgkeymgr_test_bob', 'rotate_user_key(seal(one))', NULL),
    ('pgkeymgr_test_bob', 'rotate_user_key(seal(two))',
        'failed_rotate_user_key: attempt <n> of this session, rotate_user_key: <public>, 0 data keys sealed to it'),
    ('postgres', 'drop_user_key(''pgkeymgr_test_bob'')', 'drop_user_key: role pgkeymgr_test_bob; <public>'),
    ('postgres', 'destroy_data_key(id_of(''i''), ''i'')', 'destroy i'),
    ('postgres', 'destroy_data_key(id_of(''Grüße 🔑''), ''Grüße 🔑'', true)', 'destroy Grüße 🔑: force'),
    ('pgkeymgr_test_alice', 'rotate_exchange_key()', 'rotate_exchange_key: <fingerprint>'),
    ('postgres', 'create_key(''auth'', ''a'')', 'create a'),
    ('pgkeymgr_test_bob', 'create_cryptokey(''c'', 32, ''a password'')', 'create c'),
    ('pgkeymgr_test_bob', 'get_cryptokey(''c'', ''a guess'')', NULL),
    ('pgkeymgr_test_bob', 'get_cryptokey(''c'', ''a password'')',
        'failed_get_cryptokey c: attempt <n> of this session, get_cryptokey c'),
    ('pgkeymgr_test_bob', 'set_cryptokey(''c'', ''a password'')', 'set_cryptokey c'),
    ('pgkeymgr_test_bob', 'drop_cryptokey(''c'', ''a password'')', 'drop c'),
    -- Secrets that are given away for each row are an event each, and only once in a transaction.
    ('pgkeymgr_test_alice', 'SELECT count(derive_key(number % 2)) FROM generate_series(6, 9) AS number',
        'derive: number 0, context pgsodium, 32 bytes, derive: number 1, context pgsodium, 32 bytes'),
    ('pgkeymgr_test_alice', 'pgkeymgr_derive(7, 64, ''context1'')', 'derive: number 7, context context1, 64 bytes'),
    ('pgkeymgr_test_alice', 'pgkeymgr_derive(7, 64, ''context1'')', NULL),
    -- A call that is refused, or only reads or decrypts, is no event.
    ('pgkeymgr_test_bob', 'create_data_key(''x'')', NULL),
    ('postgres', 'create_data_key(''k'')', NULL),
    ('postgres', 'unlock_data_key(''unknown'', seal(one))', NULL),
    ('postgres', 'exchange_offer()', NULL),
    ('postgres', 'exchange_fingerprint()', NULL),
    ('postgres', 'token_decrypt(token_encrypt(''k'', secret))', NULL),
    ('postgres', 'lock()', NULL);
CREATE FUNCTION tap.id_of(wanted text) RETURNS integer LANGUAGE sql SECURITY DEFINER SET search_path = pgkeymgr AS $$
    SELECT id FROM key WHERE name = wanted AND superseded_by IS NULL
$$;
GRANT EXECUTE ON FUNCTION tap.id_of(text) TO PUBLIC;
CREATE TEMP TABLE recorded (n integer, position integer, id uuid, k_id integer, expected text, found text, role text,
    session_role text, client text, is_now boolean, is_unlinked boolean, step_role text);
CREATE FUNCTION tap.take_steps() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    step record;
    began timestamptz;
BEGIN
    FOR step IN SELECT * FROM steps ORDER BY n LOOP
        began := clock_timestamp();
        PERFORM as_role(step.role, step.call);
        -- In the order in which they happened. A failure is one of the step before, written in this one.
        INSERT INTO recorded
        SELECT step.n, row_number() OVER (ORDER BY e.at), e.id, e.key_id, step.events,
            concat_ws(': ', concat_ws(' ', event, key_name), detail), e.role, e.session_role, e.client,
            e.at BETWEEN began - interval '5 s' AND clock_timestamp(), e.link IS NULL AND e.hash IS NULL, step.role
        FROM key_event AS e WHERE e.id NOT IN (SELECT r.id FROM recorded AS r);
    END LOOP;
END
$$;
SELECT take_steps();
SELECT is(
    (
        SELECT string_agg(
            regexp_replace(regexp_replace(regexp_replace(regexp_replace(replace(
                found, encode(recipient, 'hex'), '<recipient>'
            ), '(rotate_exchange_key: )[0-9a-f]{64}', '\1<fingerprint>'), '[0-9a-f]{64}', '<public>'),
            'by key \d+', 'by key <id>'), 'attempt \d+', 'attempt <n>'), ', ' ORDER BY position
        )
        FROM recorded, v WHERE recorded.n = steps.n
    ),
    events, format('%s as %s', call, role)
) FROM steps ORDER BY n;
SELECT is(
    string_agg(format('%s: %s', n, found), ', ') FILTER (WHERE role <> step_role OR session_role <> 'postgres'
        OR client <> '[local]' OR NOT is_now OR NOT is_unlinked),
    NULL, 'each as the role that called, in this session, now, and not linked yet'
) FROM recorded;
SELECT set_eq(
    $$SELECT DISTINCT k_id FROM recorded WHERE found LIKE '% k' OR found LIKE '% k: %'$$,
    $$SELECT id FROM key WHERE name = 'k'$$, 'with the key''s id: both versions'
);
SELECT is(count(*), 0::bigint, 'and no id where there is no key') FROM recorded
WHERE (found ~ '^(failed_)?(create|unlock|change|rotate|drop)_user' OR found LIKE 'rotate_exchange%')
    AND k_id IS NOT NULL;
SELECT results_eq(
    $$SELECT string_agg(substring(detail, 'attempt (\d+)'), ',' ORDER BY at)
        FROM key_event WHERE event LIKE 'failed%'$$,
    $$VALUES ('2,3,4,5,6,7,8')$$, 'failures are counted by the session'
);
SELECT is(leaks(string_agg(e::text, ' ')), 'recipient', 'no secret is in it') FROM key_event AS e;

-- They are linked when the transaction commits, or when it is asked to check what it has deferred.
SELECT results_eq(
    'SELECT events > 0, broken_link, reason, last_hash FROM verify_key_events()',
    'VALUES (true, NULL::bigint, NULL::text, NULL::bytea)', 'not linked, not in the chain'
);
SET CONSTRAINTS ALL IMMEDIATE;
SET CONSTRAINTS ALL DEFERRED;
SELECT results_eq(
    'SELECT link FROM key_event ORDER BY at', 'SELECT generate_series(1, count(*)) FROM recorded', 'in order of time'
);
CREATE FUNCTION tap.chain() RETURNS TABLE (link bigint, hash bytea, expected bytea) LANGUAGE sql AS $$
    SELECT link, hash, sha256(lag(hash, 1, decode(repeat('00', 32), 'hex')) OVER (ORDER BY link) || packed)
    FROM key_event AS e, LATERAL (
        SELECT string_agg(CASE WHEN value IS NULL THEN '\x00'
            ELSE '\x01' || int4send(octet_length(value)) || convert_to(value, 'UTF8') END, '' ORDER BY i) AS packed
        FROM unnest(ARRAY[
            e.link::text, e.id::text, to_char(e.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), e.event,
            e.key_id::text, e.key_name, e.role, e.session_role, e.client, e.detail
        ]) WITH ORDINALITY AS fields (value, i)
    ) AS each_event
$$;
SELECT is(array_agg(link) FILTER (WHERE hash IS DISTINCT FROM expected), NULL, 'each has the hash that it should have')
FROM chain();
SELECT results_eq(
    'SELECT * FROM verify_key_events()',
    $$SELECT count(*), NULL::bigint, NULL::text, (SELECT hash FROM key_event ORDER BY link DESC LIMIT 1)
        FROM recorded$$,
    'the chain is whole'
);
SET LOCAL TimeZone = 'Asia/Kathmandu';
SET LOCAL DateStyle = 'German';
SELECT is(broken_link, NULL, 'wherever it is looked at') FROM verify_key_events();
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO';
SELECT results_eq(
    'SELECT * FROM key_events ORDER BY link',
    'SELECT link, at, event, key_id, key_name, role, session_role, client, detail, hash, id FROM key_event ORDER BY link',
    'the view shows all of it'
);
-- The next transaction's go on from there.
SELECT create_data_key('next'), disable_data_key(id_of('k'));
SET CONSTRAINTS ALL IMMEDIATE;
SET CONSTRAINTS ALL DEFERRED;
SELECT is(link, count, 'linked to the last') FROM key_event, (SELECT count(*) FROM key_event) AS counted
WHERE event = 'disable' AND key_name = 'k';
SELECT is(array_agg(link) FILTER (WHERE hash IS DISTINCT FROM expected), NULL, 'with the right hashes') FROM chain();
SELECT is(broken_link, NULL, 'the chain is whole') FROM verify_key_events();

-- A hash that was noted elsewhere.
SELECT results_eq(
    format('SELECT broken_link, reason FROM verify_key_events(%s, %L)', link, hash),
    'VALUES (NULL::bigint, NULL::text)',
    'known: ' || link
) FROM key_event WHERE link IN (1, 10, (SELECT max(link) FROM key_event)) ORDER BY link;
SELECT results_eq(
    format('SELECT broken_link, reason, last_hash FROM verify_key_events(known_link => 10, known_hash => %L)',
        set_bit(hash, 0, 1 - get_bit(hash, 0))),
    $$SELECT 10::bigint, 'the hash is not the known one', hash FROM key_event WHERE link = 9$$, 'another hash is known'
) FROM key_event WHERE link = 10;
SELECT results_eq(
    $$SELECT broken_link, reason FROM verify_key_events(1000000, '\x00')$$,
    $$SELECT max(link) + 1, 'the event is missing' FROM key_event$$, 'a link is known that is not there'
);
SELECT refuses(call, '22023', 'known_link') FROM (VALUES
    ('verify_key_events(1)'), ('verify_key_events(NULL, ''\x00'')'), ('verify_key_events(known_hash => ''\x00'')')
) AS calls (call);

-- It only grows, for everybody.
SELECT throws_ok(change, '42501', format('pgkeymgr: %s of the audit trail is refused: it only grows',
    split_part(change, ' ', 1)))
FROM (VALUES
    ('UPDATE key_event SET detail = ''nothing'' WHERE link = 1'),
    ('UPDATE key_event SET link = link'),
    ('DELETE FROM key_event WHERE link = 1'),
    ('DELETE FROM key_event'),
    ('TRUNCATE key_event')
) AS changes (change);
SELECT throws_ok(change, '23514', NULL, regexp_replace(change, '\s+', ' ', 'g')) FROM (VALUES
    ('INSERT INTO key_event (id, link, event, role, session_role, client)
        VALUES (gen_random_uuid(), 1000, ''create'', ''a'', ''b'', ''c'')'),
    ('INSERT INTO key_event (id, hash, event, role, session_role, client)
        VALUES (gen_random_uuid(), ''\x00'', ''create'', ''a'', ''b'', ''c'')')
) AS changes (change);

-- A change by somebody who can change the table all the same is found: by the first link that does not fit.
CREATE FUNCTION tap.found_out(change text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE 'ALTER TABLE key_event DISABLE TRIGGER USER';
    EXECUTE change;
    SELECT format('%s: %s', broken_link, reason) INTO result FROM verify_key_events();
    RAISE SQLSTATE 'P1234' USING MESSAGE = result;
EXCEPTION
    WHEN SQLSTATE 'P1234' THEN
        RETURN SQLERRM;
    WHEN check_violation THEN
        RETURN 'refused';
END
$$;
SELECT max(link) AS last FROM key_event \gset
SELECT is(found_out(change), found, regexp_replace(change, '\s+', ' ', 'g')) FROM (VALUES
    ('SELECT', ': '),
    ('UPDATE key_event SET detail = ''nothing'' WHERE link = 7', '7: the event was changed'),
    ('UPDATE key_event SET detail = NULL WHERE link = 7', '7: the event was changed'),
    ('UPDATE key_event SET detail = '''' WHERE link = 1', '1: the event was changed'),
    ('UPDATE key_event SET event = ''disable'' WHERE link = 7', '7: the event was changed'),
    ('UPDATE key_event SET role = session_role, session_role = role WHERE link = 2', '2: the event was changed'),
    ('UPDATE key_event SET client = ''10.0.0.1:1'' WHERE link = 7', '7: the event was changed'),
    ('UPDATE key_event SET at = at + interval ''1 microsecond'' WHERE link = 7', '7: the event was changed'),
    ('UPDATE key_event SET key_id = key_id + 1 WHERE link = 7', '7: the event was changed'),
    ('UPDATE key_event SET key_name = ''K'' WHERE link = 7', '7: the event was changed'),
    ('UPDATE key_event SET id = gen_random_uuid() WHERE link = 7', '7: the event was changed'),
    ('UPDATE key_event SET hash = ''\x00'' WHERE link = 7', '7: the event was changed'),
    ('UPDATE key_event SET hash = ''\x00'' WHERE link > 20', '21: the event was changed'),
    -- The text of one field moved to the next.
    ('UPDATE key_event SET event = ''gran'', key_name = ''tk'' WHERE link = 7', '7: the event was changed'),
    ('DELETE FROM key_event WHERE link = 1', '1: the event is missing'),
    ('DELETE FROM key_event WHERE link = 7', '7: the event is missing'),
    ('DELETE FROM key_event WHERE link IN (30, 12)', '12: the event is missing'),
    ('UPDATE key_event SET link = NULL, hash = NULL WHERE link = 7', '7: the event is missing'),
    -- One removed, and the others moved up; one put in, and the others moved down; two exchanged.
    ('DELETE FROM key_event WHERE link = 7; UPDATE key_event SET link = link + 1000000 WHERE link > 7;
        UPDATE key_event SET link = link - 1000001 WHERE link > 1000000', '7: the event was changed'),
    ('UPDATE key_event SET link = link + 1000000 WHERE link >= 7;
        UPDATE key_event SET link = link - 999999 WHERE link > 1000000;
        INSERT INTO key_event SELECT gen_random_uuid(), 7, at, event, key_id, key_name, role, session_role, client,
            detail,
            hash FROM key_event WHERE link = 8', '7: the event was changed'),
    ('UPDATE key_event SET link = link + 1000000 WHERE link IN (7, 8);
        UPDATE key_event SET link = 1000015 - link WHERE link > 1000000',
        '7: the event was changed'),
    ('INSERT INTO key_event SELECT gen_random_uuid(), max(link) + 1, now(), ''create'', 1, ''k'', ''a'', ''a'',
        ''a'', NULL,
        ''\x00'' FROM key_event', :last + 1 || ': the event was changed')
) AS changes (change, found);
-- An event that is in the view, and not in the chain, if it can be put in at all.
SELECT isnt(found_out(change), ': ', change) FROM (
    SELECT format('INSERT INTO key_event VALUES (gen_random_uuid(), %s, now(), ''create'', 1, ''k'', '
        '''a'', ''a'', ''a'', NULL, ''\x00'')', link)
    FROM unnest('{0,-5}'::integer[]) AS link
) AS changes (change);
-- A cut end, and a chain that was made again as a whole, are only found by a hash that was noted.
SELECT hash AS last_hash FROM key_event WHERE link = :last \gset
ALTER TABLE key_event DISABLE TRIGGER USER;
DELETE FROM key_event WHERE link > 20;
SELECT is(broken_link, NULL, 'the end is cut off') FROM verify_key_events();
SELECT results_eq(
    format('SELECT events, broken_link, reason FROM verify_key_events(%s, %L)', :last, :'last_hash'),
    $$VALUES (20::bigint, 21::bigint, 'the event is missing')$$, 'known to be longer'
);
SELECT hash AS noted FROM key_event WHERE link = 20 \gset
UPDATE key_event SET detail = 'nothing' WHERE link = 7;
DO $$
BEGIN
    FOR n IN 7..20 LOOP
        UPDATE key_event AS e SET hash = c.expected FROM chain() AS c WHERE c.link = n AND e.link = n;
    END LOOP;
END
$$;
ALTER TABLE key_event ENABLE TRIGGER USER;
SELECT is(broken_link, NULL, 'a chain that was computed again') FROM verify_key_events();
SELECT results_eq(
    format('SELECT broken_link, reason FROM verify_key_events(20, %L)', :'noted'),
    $$VALUES (20::bigint, 'the hash is not the known one')$$, 'has other hashes than are known'
);

-- Roles that may see it, and roles that may not.
SELECT is(as_role('pgkeymgr_test_alice', call), expected, 'an administrator of keys: ' || call) FROM (VALUES
    ('SELECT count(*) FROM key_events', '20'), ('SELECT broken_link IS NULL FROM verify_key_events()', 'true'),
    ('SELECT count(*) FROM key_event', '42501')
) AS calls (call, expected);
SELECT is(as_role(role, call), '42501', format('%s may not: %s', role, call))
FROM unnest('{pgkeymgr_test_bob,pgkeymgr_test_nobody}'::text[]) AS role, (VALUES
    ('SELECT count(*) FROM key_events'), ('verify_key_events()')
) AS calls (call);
SELECT throws_ok(format('SET LOCAL ROLE pgkeymgr_test_alice; %s', change), '42501', NULL, 'not even she: ' || change)
FROM (VALUES
    ('INSERT INTO key_event (id, event, role, session_role, client) SELECT gen_random_uuid(), '''', '''', '''', '''''),
    ('DELETE FROM key_event'), ('UPDATE key_event SET detail = NULL'), ('TRUNCATE key_event'),
    ('LOCK TABLE key_event_turn IN EXCLUSIVE MODE'), ('DELETE FROM key_events')
) AS changes (change);

-- A link that is undone with its savepoint is made again.
SET CONSTRAINTS ALL DEFERRED;
CREATE TEMP TABLE made AS SELECT create_data_key('key ' || i) AS id FROM generate_series(1, 3) AS i;
SAVEPOINT before_link;
SET CONSTRAINTS ALL IMMEDIATE;
SELECT is(count(*), 3::bigint, 'three events are linked')
FROM key_event WHERE key_id IN (SELECT id FROM made) AND hash IS NOT NULL;
ROLLBACK TO before_link;
SET CONSTRAINTS ALL IMMEDIATE;
SELECT is(count(*), 3::bigint, 'and are, after that was rolled back')
FROM key_event WHERE key_id IN (SELECT id FROM made) AND hash IS NOT NULL;

SELECT finish();
ROLLBACK;
