-- sql/doctor.sql
BEGIN;
SET search_path = pgkeymgr, tap, public;
\ir include/assertions.sql
SELECT plan(10);

-- Its findings depend on the machine, and are tested in test/python/test_doctor.py; here, only their form is.
CREATE TEMP TABLE v AS SELECT decode(repeat('10', 32), 'hex') AS root_key;
CREATE TEMP TABLE findings AS SELECT row_number() OVER () AS line, d.* FROM doctor() AS d;
SELECT set_eq(
    'SELECT DISTINCT check_name FROM findings',
    $$VALUES ('root_key'), ('root_key_fingerprint'), ('root_key_location'), ('logging'), ('core_dumps'), ('swap'), ('tls'),
    ('libraries'), ('encoding'), ('key_expiry'), ('key_use'), ('key_numbers'), ('key_nodes'), ('columns_unfinished'),
    ('blind_indexes'), ('searches'), ('column_tables'), ('column_writes'),
    ('event_triggers'), ('plaintext_left'), ('standby'), ('roles'),
    ('audit_trail')$$,
    'each check has a row'
);
SELECT is(array_agg(DISTINCT status), NULL, 'each status is one of four')
FROM findings WHERE status NOT IN ('ok', 'notice', 'warning', 'error');
SELECT is(array_agg(f), NULL, 'what is ok is so for the whole check')
FROM findings AS f WHERE status = 'ok' AND EXISTS (
    SELECT FROM findings AS o WHERE o.check_name = f.check_name AND o.status <> 'ok'
);
SELECT is(array_agg(f), NULL, 'each finding says what to do') FROM findings AS f WHERE status <> 'ok' AND hint IS NULL;
SELECT is(array_agg(f), NULL, 'each says what it is') FROM findings AS f WHERE message IS NULL OR message = '';
SELECT is(
    array_agg(status ORDER BY line),
    array_agg(status ORDER BY array_position('{error,warning,notice,ok}', status)), 'the worst comes first'
) FROM findings;
SELECT is(array_agg(f), NULL, 'there is nothing that could not be checked')
FROM findings AS f WHERE message LIKE 'could not be checked%';
SELECT is(leaks(string_agg(f::text, ' ')), NULL, 'it tells no key') FROM findings AS f;

-- An expired key, and that key no more.
SELECT create_data_key('expires soon', expires => clock_timestamp() + interval '1 day') AS key \gset
SELECT results_eq(
    $$SELECT status, object FROM doctor() WHERE check_name = 'key_expiry'$$,
    format('VALUES (%L, %L)', 'warning', 'key ' || :key || ' (expires soon)'), 'a key that expires'
);
SELECT disable_data_key(:key);
SELECT results_eq(
    $$SELECT status FROM doctor() WHERE check_name = 'key_expiry'$$, ARRAY['ok'], 'a key that is not used any more'
);

SELECT finish();
ROLLBACK;
