-- sql/sealed/session_keyring.sql
SET search_path = pgkeymgr, tap, public;

-- Keys whose unlocking ends with a transaction, or with a session's settings, which cannot be reset within one.
-- This part commits: a key under a passphrase, and which of these listings has it.
CREATE FUNCTION tap.message(secret text) RETURNS bytea LANGUAGE sql VOLATILE AS $$
    SELECT crypto_box_seal(challenge || int4send(length(secret)) || secret::bytea, public)
    FROM (SELECT * FROM exchange_offer() OFFSET 0) AS offer
$$;
-- The rows that are listed, whether the key opens, and how many parallel workers a query may have.
CREATE FUNCTION tap.look() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    state text := 'opens';
BEGIN
    BEGIN
        PERFORM token_encrypt('pgkeymgr_test passing', '');
    EXCEPTION WHEN object_not_in_prerequisite_state THEN
        state := 'locked';
    END;
    RETURN concat_ws(
        ', ', (SELECT string_agg(format('%s for the %s', key_name, until), ', ' ORDER BY key_id) FROM session_keyring),
        state, current_setting('max_parallel_workers_per_gather')
    );
END
$$;
CREATE TABLE public.pgkeymgr_test_seen (n serial, moment text, seen text DEFAULT tap.look());
SELECT create_data_key('pgkeymgr_test passing') AS id \gset
SELECT add_passphrase(:id, message('x'));
SELECT drop_root_wrap(:id);
INSERT INTO public.pgkeymgr_test_seen (moment) VALUES ('nothing unlocked');
BEGIN;
SELECT unlock_data_key(:id, message('x'), for_transaction => true);
INSERT INTO public.pgkeymgr_test_seen (moment) VALUES ('for the transaction, in it');
COMMIT;
INSERT INTO public.pgkeymgr_test_seen (moment) VALUES ('for the transaction, after it');
BEGIN;
SELECT unlock_data_key(:id, message('x'));
SELECT look() AS looked \gset
ROLLBACK;
INSERT INTO public.pgkeymgr_test_seen (moment, seen) VALUES ('for the session, in the transaction', :'looked');
INSERT INTO public.pgkeymgr_test_seen (moment) VALUES ('for the session, rolled back');
BEGIN;
SELECT unlock_data_key(:id, message('x'));
COMMIT;
INSERT INTO public.pgkeymgr_test_seen (moment) VALUES ('for the session, committed');
-- A key that was unlocked for the session still is, after a transaction for which it was unlocked as well.
BEGIN;
SELECT unlock_data_key(:id, message('x'), for_transaction => true);
COMMIT;
INSERT INTO public.pgkeymgr_test_seen (moment) VALUES ('for the transaction later, committed');
RESET ALL;
SET search_path = pgkeymgr, tap, public;
INSERT INTO public.pgkeymgr_test_seen (moment) VALUES ('after RESET ALL');
SELECT unlock_data_key(:id, message('x'));
INSERT INTO public.pgkeymgr_test_seen (moment) VALUES ('unlocked again');
RESET pgkeymgr.unlocked;
INSERT INTO public.pgkeymgr_test_seen (moment) VALUES ('after RESET of the mark');
SELECT unlock_data_key(:id, message('x'));
DISCARD ALL;
SET search_path = pgkeymgr, tap, public;
INSERT INTO public.pgkeymgr_test_seen (moment) VALUES ('after DISCARD ALL');
-- An unlock that is not the first of the session is undone as well.
SELECT create_data_key('pgkeymgr_test lasting') AS lasting \gset
SELECT add_passphrase(:lasting, message('x'));
SELECT unlock_data_key(:lasting, message('x'));
INSERT INTO public.pgkeymgr_test_seen (moment) VALUES ('another key, unlocked');
BEGIN;
SELECT unlock_data_key(:id, message('x'));
SELECT look() AS looked \gset
ROLLBACK;
INSERT INTO public.pgkeymgr_test_seen (moment, seen) VALUES ('both, in a transaction', :'looked');
INSERT INTO public.pgkeymgr_test_seen (moment) VALUES ('the second, rolled back');
SELECT lock();
DELETE FROM key WHERE id IN (:id, :lasting);
CREATE TEMP TABLE moments AS SELECT * FROM public.pgkeymgr_test_seen;
DROP TABLE public.pgkeymgr_test_seen;
DROP FUNCTION tap.look(), tap.message(text);

BEGIN;
\ir include/assertions.sql
SELECT plan(66);
SELECT is(seen, expected, moment) FROM (VALUES
    ('nothing unlocked', 'locked, 2'),
    ('for the transaction, in it', 'pgkeymgr_test passing for the transaction, opens, 0'),
    ('for the transaction, after it', 'locked, 2'),
    ('for the session, in the transaction', 'pgkeymgr_test passing for the session, opens, 0'),
    ('for the session, rolled back', 'locked, 2'),
    ('for the session, committed', 'pgkeymgr_test passing for the session, opens, 0'),
    ('for the transaction later, committed', 'pgkeymgr_test passing for the session, opens, 0'),
    ('after RESET ALL', 'locked, 2'),
    ('unlocked again', 'pgkeymgr_test passing for the session, opens, 0'),
    ('after RESET of the mark', 'locked, 0'),
    ('after DISCARD ALL', 'locked, 2'),
    ('another key, unlocked', 'pgkeymgr_test lasting for the session, locked, 0'),
    ('both, in a transaction',
        'pgkeymgr_test passing for the session, pgkeymgr_test lasting for the session, opens, 0'),
    ('the second, rolled back', 'pgkeymgr_test lasting for the session, locked, 0')
) AS expectations (moment, expected) LEFT JOIN moments USING (moment) ORDER BY n;

CREATE ROLE pgkeymgr_test_alice IN ROLE pgkeymgr_admin;
CREATE ROLE pgkeymgr_test_bob IN ROLE pgkeymgr_user;
CREATE ROLE pgkeymgr_test_nobody;
GRANT USAGE ON SCHEMA pgkeymgr TO pgkeymgr_test_nobody;
CREATE TEMP TABLE made AS SELECT create_data_key('first') AS first, create_data_key('second') AS second;
CREATE TEMP TABLE v AS
SELECT *, convert_to('correct horse', 'UTF8') AS one, convert_to('battery staple', 'UTF8') AS two,
    'a long plaintext'::bytea AS plaintext, token_encrypt('first', 'a long plaintext') AS token,
    token_encrypt('second', 'a long plaintext') AS second_token
FROM made;
GRANT SELECT ON v TO PUBLIC;
SELECT add_passphrase('first', seal(one)), add_passphrase('second', seal(two)) FROM v;
SELECT drop_root_wrap('first'), drop_root_wrap('second');
SELECT grant_data_key('first', 'pgkeymgr_test_bob'), grant_data_key('second', 'pgkeymgr_test_bob');

-- The listing.
SELECT is_empty('SELECT * FROM session_keyring', 'nothing');
SELECT unlock_data_key('first', seal(one)) FROM v;
SELECT results_eq(
    'SELECT kind, key_id, key_name, until FROM session_keyring',
    $$SELECT 'data key', first, 'first', 'session' FROM v$$, 'a data key, for the session'
);
SELECT unlock_data_key('second', seal(two), for_transaction => true) FROM v;
SELECT set_eq(
    'SELECT key_id, key_name, until FROM session_keyring',
    $$SELECT first AS id, 'first' AS name, 'session' AS until FROM v
    UNION ALL SELECT second, 'second', 'transaction' FROM v$$,
    'and another, for the transaction'
);
SELECT is(as_role('pgkeymgr_test_alice', 'create_user_key(seal(one))'), '', 'a pair');
SELECT is(as_role('pgkeymgr_test_alice', 'SELECT count(*) FROM session_keyring'), '0', 'which is not unlocked by that');
SELECT is(as_role('pgkeymgr_test_alice', 'unlock_user_key(seal(one))'), '', 'but by this');
SELECT is(
    as_role('pgkeymgr_test_alice', 'SELECT string_agg(k::text, '' '') FROM session_keyring AS k'),
    '("user key",,,session)', 'a user''s pair, which that user sees'
);
SELECT is(leaks((SELECT string_agg(k::text, ' ') FROM session_keyring AS k)), NULL, 'no secret is in it');

-- Another role in the same session sees nothing of it, and may unlock for itself.
SELECT is(as_role('pgkeymgr_test_bob', call), expected, 'another role: ' || call) FROM (VALUES
    ('SELECT count(*) FROM session_keyring', '0'), ('token_decrypt(token)', '55000'),
    ('token_encrypt(''first'', plaintext)', '55000'), ('token_decrypt(second_token)', '55000')
) AS calls (call, expected);
SELECT is(as_role('pgkeymgr_test_bob', 'unlock_data_key(''first'', seal(one))'), '', 'unlocks for itself');
SELECT is(as_role('pgkeymgr_test_bob', 'token_decrypt(token)'), plaintext::text, 'and decrypts') FROM v;
SELECT is(
    as_role('pgkeymgr_test_bob', 'SELECT string_agg(key_name, '' '') FROM session_keyring'), 'first', 'and sees that'
);
SELECT is(token_decrypt(second_token), plaintext, 'what was unlocked is as it was') FROM v;
-- In a function that runs as its owner, what its caller has unlocked is not there.
CREATE FUNCTION public.as_bob(token bytea) RETURNS bytea LANGUAGE sql SECURITY DEFINER
SET search_path = pgkeymgr AS 'SELECT token_decrypt(token)';
ALTER FUNCTION public.as_bob(bytea) OWNER TO pgkeymgr_test_bob;
SELECT is(answer('public.as_bob(second_token)'), '55000', 'nor in a function of another role''s');
SELECT is(answer('public.as_bob(token)'), plaintext::text, 'only what that role has unlocked') FROM v;

-- Undone as SET is.
SAVEPOINT both_unlocked;
SET LOCAL pgkeymgr.unlocked = '';
SELECT answer('token_decrypt(token)') AS one, answer('token_decrypt(second_token)') AS two \gset
ROLLBACK TO both_unlocked;
SELECT is(:'one'::text, '55000', 'the session''s mark is gone');
SELECT is(:'two'::text, plaintext::text, 'and what was for the transaction is still unlocked') FROM v;
SELECT is(answer('token_decrypt(token)'), '55000', 'what was locked does not come back with the mark');
RESET pgkeymgr.unlocked_in_transaction;
SELECT is(answer('token_decrypt(second_token)'), '55000', 'nor without the transaction''s mark');
SELECT is_empty('SELECT * FROM session_keyring', 'nothing is listed');
RESET pgkeymgr.unlocked;
-- A mark that somebody else sets is none.
SELECT set_config('pgkeymgr.unlocked', repeat('0', 32), false) IS NULL AS is_null \gset
SELECT is(answer('token_decrypt(token)'), '55000', 'a mark of one''s own');
SELECT unlock_data_key('first', seal(one)) FROM v;
SELECT isnt(current_setting('pgkeymgr.unlocked'), repeat('0', 32), 'is not taken over');
SELECT matches(current_setting('pgkeymgr.unlocked'), '^[0-9a-f]{32}$', 'a random one is');
RESET pgkeymgr.unlocked;
SAVEPOINT locked;
SELECT unlock_data_key('first', seal(one)) FROM v;
SELECT answer('token_decrypt(token)') AS inside \gset
ROLLBACK TO locked;
SELECT is(:'inside'::text, plaintext::text, 'unlocked within a savepoint') FROM v;
SELECT is(answer('token_decrypt(token)'), '55000', 'it is not after a rollback to it');
SELECT is_empty('SELECT * FROM session_keyring', 'nor listed');
SAVEPOINT locked;
SELECT unlock_data_key('first', seal(one), true) FROM v;
ROLLBACK TO locked;
SELECT is(answer('token_decrypt(token)'), '55000', 'the same for a transaction');
-- Also if something was unlocked before.
SELECT unlock_data_key('second', seal(two)) FROM v;
SAVEPOINT second_unlocked;
SELECT unlock_data_key('first', seal(one)) FROM v;
ROLLBACK TO second_unlocked;
SELECT is(
    answer('token_decrypt(second_token)'), plaintext::text, 'what was unlocked before the savepoint is still'
) FROM v;
SELECT is(answer('token_decrypt(token)'), '55000', 'what was unlocked after it is not');
SELECT results_eq('SELECT key_name FROM session_keyring', ARRAY['second'], 'nor listed');
SELECT unlock_data_key('first', seal(one)) FROM v;
SAVEPOINT both_unlocked;
RELEASE SAVEPOINT both_unlocked;
SELECT is(answer('token_decrypt(token)'), plaintext::text, 'a savepoint that is released changes nothing') FROM v;

-- lock
SELECT is(as_role('pgkeymgr_test_alice', 'unlock_user_key(seal(one))'), '', 'a pair, again');
SELECT is(as_role('pgkeymgr_test_bob', 'lock()'), '', 'any user locks');
SELECT is(as_role(role, 'SELECT count(*) FROM session_keyring'), '0', 'everything that was unlocked: ' || role)
FROM unnest('{postgres,pgkeymgr_test_alice,pgkeymgr_test_bob}'::text[]) AS role;
SELECT is(answer('token_decrypt(token)'), '55000', 'it is locked');
SELECT is(answer('token_encrypt(''second'', plaintext)'), '55000', 'and the other one');
SELECT lives_ok('SELECT lock()', 'locked twice');
SELECT unlock_data_key('first', seal(one)) FROM v;
SELECT is(token_decrypt(token), plaintext, 'and unlocked again') FROM v;

-- At the next statement, the key is no more what it was.
SELECT refuses('token_decrypt(token)', state, '"first"', after) FROM (VALUES
    ('SELECT disable_data_key(first) FROM v', '55000'),
    ('SELECT destroy_data_key(first, ''first'') FROM v', '55000'),
    ('UPDATE key SET expires = now() WHERE name = ''first''', '55000'),
    ('UPDATE key_wrap SET wrapped = wrapped || ''\x00'' WHERE key_id = (SELECT first FROM v)', '55000'),
    ('DELETE FROM key_wrap WHERE key_id = (SELECT first FROM v)', '55000')
) AS changes (after, state);
SELECT is(token_decrypt(token), plaintext, 'but for those') FROM v;

-- Roles that may not.
SELECT is(as_role('pgkeymgr_test_nobody', call), '42501', 'nobody else: ' || call) FROM (VALUES
    ('lock()'), ('_session_keyring()'), ('SELECT count(*) FROM session_keyring')
) AS calls (call);

SELECT finish();
ROLLBACK;
