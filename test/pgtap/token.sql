-- sql/key/token.sql

-- First in a transaction of its own, since a session remembers no checks from row to row in a transaction that has
-- changed a key, and what it remembers is tested here, too.
CREATE ROLE pgkeymgr_test_alice IN ROLE pgkeymgr_admin;
CREATE ROLE pgkeymgr_test_encrypter IN ROLE pgkeymgr_user;
CREATE ROLE pgkeymgr_test_decrypter IN ROLE pgkeymgr_user;
CREATE ROLE pgkeymgr_test_group;
CREATE ROLE pgkeymgr_test_member IN ROLE pgkeymgr_user, pgkeymgr_test_group;
CREATE ROLE pgkeymgr_test_noinherit NOINHERIT IN ROLE pgkeymgr_user, pgkeymgr_test_group;
CREATE ROLE pgkeymgr_test_stranger IN ROLE pgkeymgr_user;
SET ROLE pgkeymgr_test_alice;
SELECT pgkeymgr.create_data_key('test token') AS a, pgkeymgr.create_data_key('test token other', 64) AS b \gset
SELECT pgkeymgr.grant_data_key(:a, role, usage) FROM (VALUES
    ('pgkeymgr_test_encrypter'::regrole, '{encrypt}'::text[]),
    ('pgkeymgr_test_decrypter', '{decrypt}'),
    ('pgkeymgr_test_group', '{encrypt,decrypt}')
) AS grants (role, usage);
RESET ROLE;

BEGIN;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(215);
CREATE TEMP TABLE v AS
SELECT
    :a AS a,
    :b AS b,
    'a long plaintext'::bytea AS plaintext,
    'row 17 of a table'::bytea AS ad,
    token_encrypt('test token', 'a long plaintext', 'row 17 of a table') AS randomized,
    token_encrypt('test token', 'a long plaintext', 'row 17 of a table', true) AS deterministic,
    token_encrypt('test token', 'a long plaintext') AS token;
GRANT SELECT ON v, messages TO PUBLIC;

-- Round trips.
SELECT round_trips('token_encrypt(a, m, ad)', 'token_decrypt(c, ad)', 'CASE WHEN length(m) < 1024 THEN 33 ELSE 45 END');
SELECT round_trips('token_encrypt(b, m, ad)', 'token_decrypt(c, ad)', 'CASE WHEN length(m) < 1024 THEN 33 ELSE 45 END');
SELECT round_trips('token_encrypt(''test token'', m)', 'token_decrypt(c)', 'CASE WHEN length(m) < 1024 THEN 33 ELSE 45 END');
SELECT round_trips('token_encrypt(a, m, ad, true)', 'token_decrypt(c, ad)', 21);
SELECT round_trips('token_encrypt(''test token'', m, deterministic => true)', 'token_decrypt(c)', 21);
SELECT is(token_decrypt(token_encrypt(a, plaintext, m, is_deterministic), m), plaintext, 'associated data: ' || name)
FROM v, messages, (VALUES (false), (true)) AS modes (is_deterministic);
SELECT is(
    token_decrypt_text(token_encrypt_text(key => a, plaintext => t, associated_data => ad, deterministic => d), ad), t,
    'a text by id: ' || left(t, 20)
)
FROM v, (VALUES (''), ('a'), ('Grüße, 世界 🔑'), (repeat('ü', 500000))) AS texts (t),
    (VALUES (false), (true)) AS modes (d);
SELECT is(token_decrypt_text(token_encrypt_text('test token', t)), t, 'a text by name: ' || left(t, 20))
FROM (VALUES (''), ('a'), ('Grüße, 世界 🔑')) AS texts (t);
SELECT is(
    token_decrypt(token => token_encrypt(key => 'test token', plaintext => plaintext, associated_data => ad,
        deterministic => true), associated_data => ad),
    plaintext, 'with named arguments'
) FROM v;
SELECT is(token_decrypt(token_encrypt_text('test token', 'ü')), convert_to('ü', 'UTF8'), 'a text is its UTF-8');
SELECT is(token_decrypt(token_encrypt('test token', plaintext, ''), ''), plaintext, 'no associated data is empty data')
FROM v;

-- The format.
SELECT is(substr(randomized, 1, 5), '\x01' || int4send(a), 'format 1 and the id: randomized') FROM v;
SELECT is(substr(deterministic, 1, 5), '\x02' || int4send(a), 'format 2 and the id: deterministic') FROM v;
SELECT is(ARRAY[get_byte(t, 0), length(t)], expected, 'format and length: ' || size || ' bytes')
FROM (VALUES (1023, ARRAY[1, 1056]), (1024, ARRAY[3, 1069])) AS expectations (size, expected),
    token_encrypt('test token', decode(repeat('00', size), 'hex')) AS t;
SELECT is(count(DISTINCT token_encrypt('test token', 'message')), 1000::bigint, 'randomized tokens differ')
FROM generate_series(1, 1000);
SELECT is(count(DISTINCT substr(token_encrypt('test token', ''), 6, 12)), 1000::bigint, 'since their nonces do')
FROM generate_series(1, 1000);
SELECT generates('token_encrypt(''test token'', ''message'')', 40);
SELECT is(token_encrypt('test token', plaintext, ad, true), deterministic, 'deterministic ones are equal') FROM v;
SELECT is(count(DISTINCT t), 4::bigint, 'but for another key, plaintext or associated data')
FROM v, LATERAL (VALUES
    (deterministic),
    (token_encrypt(b, plaintext, ad, true)),
    (token_encrypt(a, plaintext || '\x00', ad, true)),
    (token_encrypt(a, plaintext, ad || '\x00', true))
) AS tokens (t);
SELECT is(token_info(t)::text, format('(1,%s,%s,"test token",enabled)', suite, a), 'token_info: ' || suite)
FROM v, LATERAL (VALUES
    (randomized, 'aes-256-gcm-siv'), (deterministic, 'aes-256-siv'),
    (token_encrypt('test token', decode(repeat('00', 1024), 'hex')), 'xaes-256-gcm')
) AS tokens (t, suite);
SELECT is(token_info(set_byte(randomized, 39, 0))::text, token_info(randomized)::text, 'which does not verify it')
FROM v;

-- NULL is no plaintext and no token; anywhere else it is an error.
SELECT is(result, NULL, 'NULL gives NULL') FROM v, LATERAL (VALUES
    (token_encrypt(a, NULL)),
    (token_encrypt('test token', NULL, ad, true)),
    (token_encrypt_text(a, NULL)),
    (token_encrypt_text('test token', NULL, ad, true)),
    (token_decrypt(NULL)),
    (convert_to(token_decrypt_text(NULL, ad), 'UTF8')),
    (token_try_decrypt(NULL)),
    (token_reencrypt(NULL, a)),
    (token_reencrypt(NULL, 'test token', ad))
) AS results (result);
SELECT is(token_info(NULL)::text, NULL, 'NULL says nothing');
SELECT refuses(call, '22000', naming) FROM (VALUES
    ('token_encrypt(NULL::text, plaintext)', 'key'),
    ('token_encrypt(NULL::integer, plaintext)', 'key'),
    ('token_encrypt(a, plaintext, NULL)', 'associated_data'),
    ('token_encrypt(''test token'', plaintext, NULL)', 'associated_data'),
    ('token_encrypt(a, plaintext, NULL, true)', 'associated_data'),
    ('token_encrypt(a, plaintext, ad, NULL)', 'deterministic'),
    ('token_encrypt_text(NULL::text, ''text'')', 'key'),
    ('token_encrypt_text(NULL::integer, ''text'')', 'key'),
    ('token_encrypt_text(a, ''text'', NULL)', 'associated_data'),
    ('token_encrypt_text(''test token'', ''text'', ad, NULL)', 'deterministic'),
    ('token_decrypt(randomized, NULL)', 'associated_data'),
    ('token_decrypt(deterministic, NULL)', 'associated_data'),
    ('token_decrypt_text(randomized, NULL)', 'associated_data'),
    ('token_try_decrypt(randomized, NULL)', 'associated_data'),
    ('token_reencrypt(randomized, NULL::text, ad)', 'key'),
    ('token_reencrypt(randomized, NULL::integer, ad)', 'key'),
    ('token_reencrypt(randomized, a, NULL)', 'associated_data')
) AS calls (call, naming);

-- No such key.
SELECT refuses(call, '42704', naming) FROM (VALUES
    ('token_encrypt(''unknown'', plaintext)', '"unknown"'),
    ('token_encrypt('''', plaintext)', '""'),
    ('token_encrypt(''TEST TOKEN'', plaintext)', '"TEST TOKEN"'),
    ('token_encrypt(repeat(''a'', 10000), plaintext)', 'aaa'),
    ('token_encrypt(0, plaintext)', '0'),
    ('token_encrypt(-1, plaintext)', '-1'),
    ('token_encrypt(2147483647, plaintext)', '2147483647'),
    ('token_encrypt_text(''unknown'', ''text'')', '"unknown"'),
    ('token_reencrypt(randomized, ''unknown'', ad)', '"unknown"'),
    ('token_reencrypt(randomized, 0, ad)', '0'),
    ('token_decrypt(''\x017fffffff'' || substr(randomized, 6), ad)', '2147483647'),
    ('token_decrypt(''\x0100000000'' || substr(randomized, 6), ad)', '0')
) AS calls (call, naming);
-- An id that no key can have.
SELECT refuses('token_decrypt(''\x0180000000'' || substr(randomized, 6), ad)', '22000', '2147483648');
SELECT refuses('token_info(''\x01ffffffff'' || substr(randomized, 6))', '22000', '4294967295');
SELECT is(answer('token_try_decrypt(''\x0180000000'' || substr(randomized, 6), ad)'), NULL, 'is in no token');

-- A token that does not open, every way: not altered, cut, extended, nor with other associated data.
CREATE FUNCTION tap.opened(call text, value bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    altered record;
    opened text;
    got bytea;
BEGIN
    EXECUTE format('SELECT %s FROM v, (SELECT $1 AS x) AS unaltered', call) INTO STRICT got USING value;
    IF got IS NULL THEN
        RAISE 'the token itself does not open';
    END IF;
    FOR altered IN SELECT * FROM alterations(value) LOOP
        BEGIN
            EXECUTE format('SELECT %s FROM v, (SELECT $1 AS x) AS altered', call) INTO got USING altered.x;
            IF got IS NOT NULL THEN
                opened := concat_ws(', ', opened, altered.change);
            END IF;
        EXCEPTION WHEN OTHERS THEN
            NULL;
        END;
    END LOOP;
    RETURN opened;
END
$$;
SELECT is(opened('token_decrypt(x, ad)', t), NULL, 'altered, it does not open: ' || get_byte(t, 0))
FROM v, LATERAL (VALUES (randomized), (deterministic)) AS tokens (t);
SELECT is(opened('token_decrypt(x)', token_encrypt(a, '', '', d)), NULL, 'nor does a token of nothing')
FROM v, (VALUES (false), (true)) AS modes (d);
SELECT refuses_altered('ad', 'token_decrypt(randomized, x)');
SELECT refuses_altered('ad', 'token_decrypt(deterministic, x)');
CREATE FUNCTION tap.try_errors(token bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    altered record;
    errors text;
    got bytea;
BEGIN
    FOR altered IN SELECT * FROM alterations(token) LOOP
        BEGIN
            got := token_try_decrypt(altered.x, 'row 17 of a table');
            IF got IS NOT NULL THEN
                errors := concat_ws(', ', errors, altered.change || ' opens');
            END IF;
        EXCEPTION WHEN OTHERS THEN
            errors := concat_ws(', ', errors, altered.change || ' ' || SQLSTATE);
        END;
    END LOOP;
    RETURN errors;
END
$$;
SELECT is(try_errors(t), NULL, 'token_try_decrypt gives NULL for all of these: ' || get_byte(t, 0))
FROM v, LATERAL (VALUES (randomized), (deterministic)) AS tokens (t);
SELECT is(token_try_decrypt(randomized, ad), plaintext, 'and the plaintext for the token itself') FROM v;
SELECT is(token_try_decrypt(randomized), NULL, 'NULL without its associated data') FROM v;
SELECT refuses(format('token_decrypt(%s)', value)) FROM (VALUES
    (''''''), ('plaintext'), ('''\x00'''), ('''\x01'''), ('''\x02'''), ('substr(token, 1, 5)'), ('substr(token, 2)'),
    ('''\x02'' || substr(token, 2)'), ('''\x01'' || substr(deterministic, 2)')
) AS values (value);
SELECT is(answer(format('%s(set_byte(token, 0, %s))', function, format)), '22000', format('%s refuses format %s',
    function, format))
FROM unnest('{token_decrypt,token_decrypt_text,token_info}'::text[]) AS function,
    unnest('{0,6,127,255}'::integer[]) AS format;
SELECT refuses('token_decrypt_text(token_encrypt(a, ''\xff''))');
-- PostgreSQL's text cannot hold NUL; to cut it there would show something else than what was encrypted.
SELECT refuses('token_decrypt_text(token_encrypt(a, ''\x00''))');
SELECT refuses('token_decrypt_text(token_encrypt(a, ''before\000after''))');


-- token_reencrypt: another key, the same suite, the same associated data.
SELECT is(
    substr(new, 1, 5), substr(t, 1, 1) || int4send(b), 'reencrypted under another key: ' || token_info(t)::text
) FROM v, LATERAL (VALUES (randomized), (deterministic)) AS tokens (t), LATERAL token_reencrypt(t, b, ad) AS new;
SELECT is(token_decrypt(new, ad), plaintext, 'and it decrypts')
FROM v, LATERAL (VALUES (randomized), (deterministic)) AS tokens (t),
    LATERAL token_reencrypt(token => t, key => 'test token other', associated_data => ad) AS new;
SELECT is(token_decrypt(token_reencrypt(token, 'test token other')), plaintext, 'without associated data') FROM v;
SELECT is(token_reencrypt(deterministic, a, ad), deterministic, 'deterministic, under its own key') FROM v;
SELECT isnt(token_reencrypt(randomized, a, ad), randomized, 'randomized, under a new nonce') FROM v;
SELECT is(token_decrypt(token_reencrypt(token_encrypt(a, m), b)), m, 'reencrypted: ' || name) FROM v, messages;
SELECT refuses('token_reencrypt(randomized, b)');
SELECT refuses('token_reencrypt(randomized, b, ad || ''\x00'')');
SELECT refuses('token_reencrypt(substr(randomized, 2), b, ad)');

-- Privileges. Each role is asked twice in one statement, and all of them in one statement, so that what was checked
-- for one is remembered when it is another's turn.
CREATE FUNCTION tap.twice(role text, call text) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(DISTINCT as_role(role, call), ', ') FROM generate_series(1, 2)
$$;
CREATE TEMP TABLE answers AS
SELECT role, twice(role, 'substr(token_encrypt(a, plaintext), 1, 1)') AS encrypts,
    twice(role, 'substr(token_encrypt(''test token'', plaintext), 1, 1)') AS encrypts_by_name,
    twice(role, 'token_decrypt_text(token)') AS decrypts,
    twice(role, 'encode(token_try_decrypt(token), ''escape'')') AS tries,
    twice(role, 'substr(token_reencrypt(token, a), 1, 1)') AS reencrypts,
    twice(role, 'token_info(token)') AS info
FROM unnest('{postgres,pgkeymgr_test_stranger,pgkeymgr_test_encrypter,pgkeymgr_test_stranger,pgkeymgr_test_decrypter,
    pgkeymgr_test_stranger,pgkeymgr_test_alice,pgkeymgr_test_member,pgkeymgr_test_stranger}'::text[]) AS role;
SELECT set_eq('SELECT * FROM answers', $$
    SELECT role, encrypts, encrypts AS by_name, decrypts, decrypts AS tries, reencrypts, format(
        CASE WHEN encrypts || decrypts = '4250142501' THEN '(1,aes-256-gcm-siv,%s,,)'
            ELSE '(1,aes-256-gcm-siv,%s,"test token",enabled)' END, a) AS info
    FROM v, (VALUES
        ('postgres', '\x01', 'a long plaintext', '\x01'),
        ('pgkeymgr_test_alice', '\x01', 'a long plaintext', '\x01'),
        ('pgkeymgr_test_encrypter', '\x01', '42501', '42501'),
        ('pgkeymgr_test_decrypter', '42501', 'a long plaintext', '42501'),
        ('pgkeymgr_test_member', '\x01', 'a long plaintext', '\x01'),
        ('pgkeymgr_test_stranger', '42501', '42501', '42501')
    ) AS expectations (role, encrypts, decrypts, reencrypts)
$$, 'who may encrypt, decrypt and reencrypt');
SELECT refuses('token_decrypt(token)', '42501', 'for key ', 'SET LOCAL ROLE pgkeymgr_test_stranger');
SELECT refuses('token_encrypt(a, plaintext)', '42501', '"test token"', 'SET LOCAL ROLE pgkeymgr_test_decrypter');

-- The same from statement to statement, with what SET ROLE leaves in the session.
SET ROLE pgkeymgr_test_decrypter;
SELECT token_decrypt_text(token) AS decrypted FROM v \gset
SET ROLE pgkeymgr_test_stranger;
SELECT answer('token_decrypt_text(token)') AS refused \gset
SET ROLE pgkeymgr_test_decrypter;
SELECT token_decrypt_text(token) AS decrypted_again FROM v \gset
RESET ROLE;
SELECT is(ARRAY[:'decrypted', :'refused', :'decrypted_again'], '{a long plaintext,42501,a long plaintext}',
    'SET ROLE to one who may, one who may not, and back');

-- A member who does not inherit has nothing of his role before SET ROLE. (Nor the right to call: that is given here.)
GRANT USAGE ON SCHEMA pgkeymgr TO pgkeymgr_test_noinherit, pgkeymgr_test_group;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA pgkeymgr TO pgkeymgr_test_noinherit, pgkeymgr_test_group;
SELECT is(as_role('pgkeymgr_test_noinherit', 'token_decrypt_text(token)'), '42501', 'a member with NOINHERIT');
SELECT is(as_role('pgkeymgr_test_group', 'token_decrypt_text(token)'), 'a long plaintext', 'after SET ROLE');
SELECT is(as_role('pgkeymgr_test_stranger', 'token_decrypt_text(token)'), '42501', 'before a GRANT of the role');
GRANT pgkeymgr_test_group TO pgkeymgr_test_stranger;
SELECT is(as_role('pgkeymgr_test_stranger', 'token_decrypt_text(token)'), 'a long plaintext', 'after it');
REVOKE pgkeymgr_test_group FROM pgkeymgr_test_stranger;
SELECT is(as_role('pgkeymgr_test_stranger', 'token_decrypt_text(token)'), '42501', 'and after its REVOKE');

-- A SECURITY DEFINER function is a channel: its owner's grant counts. A view is none: PostgreSQL calls the functions
-- in a view as the one who reads it, so he needs pgkeymgr_user and a grant of the key.
CREATE TABLE public.secrets AS SELECT token FROM v;
CREATE VIEW public.shown AS SELECT token_decrypt_text(token) AS shown FROM public.secrets;
CREATE FUNCTION public.show_secret() RETURNS text LANGUAGE sql SECURITY DEFINER AS
    'SELECT pgkeymgr.token_decrypt_text(token) FROM public.secrets';
ALTER TABLE public.secrets OWNER TO pgkeymgr_test_decrypter;
ALTER VIEW public.shown OWNER TO pgkeymgr_test_decrypter;
ALTER FUNCTION public.show_secret() OWNER TO pgkeymgr_test_decrypter;
CREATE ROLE pgkeymgr_test_nobody;
GRANT SELECT ON public.shown TO PUBLIC;
GRANT USAGE ON SCHEMA public TO PUBLIC;
SELECT is(as_role(role, call), result, format('%s: %s', role, call)) FROM (VALUES
    ('pgkeymgr_test_decrypter', 'public.show_secret()', 'a long plaintext'),
    ('pgkeymgr_test_stranger', 'public.show_secret()', 'a long plaintext'),
    ('pgkeymgr_test_nobody', 'public.show_secret()', 'a long plaintext'),
    ('pgkeymgr_test_decrypter', 'SELECT shown FROM public.shown', 'a long plaintext'),
    ('pgkeymgr_test_member', 'SELECT shown FROM public.shown', 'a long plaintext'),
    ('pgkeymgr_test_stranger', 'SELECT shown FROM public.shown', '42501'),
    ('pgkeymgr_test_nobody', 'SELECT shown FROM public.shown', '42501')
) AS answers (role, call, result);
SELECT is(
    as_role('pgkeymgr_test_stranger', 'SELECT string_agg(t, '' '') FROM (VALUES (public.show_secret()),
        (encode(token_try_decrypt(token), ''escape''))) AS parts (t)'), '42501',
    'the channel opens nothing beside it'
);

-- Workers of a parallel query have neither the leader's keys nor his role to themselves.
CREATE TABLE public.tokens AS
SELECT token_encrypt('test token', int4send(n), deterministic => n % 2 = 0) AS token, int4send(n) AS plaintext
FROM generate_series(1, 1000) AS n;
GRANT SELECT ON public.tokens TO PUBLIC;
SET LOCAL parallel_setup_cost = 0;
SET LOCAL parallel_tuple_cost = 0;
SET LOCAL min_parallel_table_scan_size = 0;
SET LOCAL parallel_leader_participation = off;
PREPARE by_workers AS SELECT count(*) FROM public.tokens WHERE token_decrypt(token) = plaintext;
CREATE FUNCTION tap.plan_of_by_workers() RETURNS SETOF text LANGUAGE plpgsql AS
    'BEGIN RETURN QUERY EXECUTE ''EXPLAIN EXECUTE by_workers''; END';
SELECT alike(
    string_agg(line, ' '),
    CASE WHEN current_setting('server_version_num')::int < 170000 THEN '%  ->  Seq Scan on tokens%'
        ELSE '%Parallel Seq Scan on tokens%' END,
    'workers decrypt from PostgreSQL 17 on'
) FROM plan_of_by_workers() AS line;
SELECT results_eq('by_workers', ARRAY[1000::bigint], 'all of it');
SELECT results_eq(
    'SELECT count(*) FROM public.tokens WHERE length(token_encrypt(''test token'', plaintext)) = 37',
    ARRAY[1000::bigint], 'and encrypt'
);
SELECT throws_ok(
    'SET LOCAL ROLE pgkeymgr_test_stranger; SELECT count(*) FROM public.tokens
     WHERE pgkeymgr.token_decrypt(token) = plaintext', '42501', NULL, 'but not for a stranger'
);

-- A change of a key counts at once in the transaction that makes it, and not after it is rolled back; all of it
-- within one statement, so that what was checked before and between is not what counts.
CREATE FUNCTION tap.around(change text, call text) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    answers text[] := ARRAY[answer(call)];
BEGIN
    BEGIN
        EXECUTE format('SELECT %s FROM v', change);
        answers := answers || answer(call);
        RAISE EXCEPTION 'to be undone';
    EXCEPTION WHEN raise_exception THEN
        answers := answers || answer(call);
    END;
    RETURN answers;
END
$$;
SELECT is(around(change, call), answers, format('before, after and without %s: %s', change, call)) FROM (VALUES
    ('disable_data_key(a)', 'token_decrypt_text(token)', '{a long plaintext,55000,a long plaintext}'::text[]),
    ('disable_data_key(a)', 'length(token_encrypt(''test token'', plaintext))', '{49,55000,49}'),
    ('supersede_data_key(a)', '(token_info(token_encrypt(''test token'', plaintext))).key_id = a', '{true,false,true}'),
    ('create_data_key(''new'')', 'length(token_encrypt(''new'', plaintext))', '{42704,49,42704}')
) AS changes (change, call, answers);
SELECT refuses(call, state, naming, after) FROM (VALUES
    ('token_decrypt(token)', '55000', '"test token"', 'SELECT disable_data_key(a) FROM v'),
    ('token_encrypt(a, plaintext)', '55000', '"test token"', 'SELECT disable_data_key(a) FROM v'),
    ('token_encrypt(a, plaintext)', '55000', '"test token"', 'SELECT supersede_data_key(a) FROM v'),
    ('token_decrypt(token)', '55000', '"test token"', 'SELECT destroy_data_key(a, ''test token'') FROM v'),
    ('token_decrypt(token)', '42704', '', 'DELETE FROM key WHERE name = ''test token'''),
    ('token_encrypt(''test token'', plaintext)', '42704', '"test token"',
        'DELETE FROM key WHERE name = ''test token'''),
    ('token_decrypt(token)', '42501', 'for key ', 'SELECT revoke_data_key(a, ''pgkeymgr_test_decrypter'') FROM v;
     SET LOCAL ROLE pgkeymgr_test_decrypter')
) AS changes (call, state, naming, after);
SELECT is(token_decrypt(token), plaintext, 'all of that was undone') FROM v;

-- Grants are for the versions to come, too.
SELECT supersede_data_key(:a) AS next \gset
ALTER TABLE v ADD COLUMN next_token bytea;
UPDATE v SET next_token = token_encrypt(:next, plaintext);
SELECT is(as_role(role, call), result, format('after a supersede, %s: %s', role, call)) FROM (VALUES
    ('pgkeymgr_test_decrypter', 'token_decrypt_text(next_token)', 'a long plaintext'),
    ('pgkeymgr_test_decrypter', 'token_encrypt(''test token'', plaintext)', '42501'),
    ('pgkeymgr_test_encrypter', 'substr(token_encrypt(''test token'', plaintext), 1, 1)', '\x01'),
    ('pgkeymgr_test_encrypter', 'token_decrypt_text(next_token)', '42501'),
    ('pgkeymgr_test_encrypter', 'token_encrypt(a, plaintext)', '55000'),
    ('pgkeymgr_test_stranger', 'token_decrypt_text(next_token)', '42501')
) AS answers (role, call, result);
SELECT revoke_data_key(:next, 'pgkeymgr_test_decrypter');
SELECT is(as_role('pgkeymgr_test_decrypter', call), '42501', 'a revoke is for all versions: ' || call)
FROM (VALUES ('token_decrypt_text(token)'), ('token_decrypt_text(next_token)')) AS calls (call);

SELECT disable_data_key(a) FROM v;
SELECT is(token_try_decrypt(token), NULL, 'token_try_decrypt gives NULL for a disabled key') FROM v;
SELECT is((token_info(token)).key_state, 'disabled', 'token_info says so') FROM v;
SELECT enable_data_key(a) FROM v;
DELETE FROM key WHERE id = :a;
SELECT is(token_try_decrypt(token), NULL, 'and NULL for a key that is not there any more') FROM v;
SELECT is(token_info(token)::text, format('(1,aes-256-gcm-siv,%s,,)', a), 'whose id is all that is known') FROM v;

SELECT finish();
ROLLBACK;

DELETE FROM pgkeymgr.key WHERE id IN (:a, :b);
DELETE FROM pgkeymgr.key_grant WHERE family IN (:a, :b);
DROP ROLE pgkeymgr_test_alice, pgkeymgr_test_encrypter, pgkeymgr_test_decrypter, pgkeymgr_test_group,
    pgkeymgr_test_member, pgkeymgr_test_noinherit, pgkeymgr_test_stranger;
