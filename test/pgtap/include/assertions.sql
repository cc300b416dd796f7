-- Assertions of our own beside pgTAP's; the ROLLBACK of the file that includes this removes them.
--
-- They take calls as text. The data of a call are the columns of v, a table with one row that each file
-- makes, so that a call reads as it would in a query: 'crypto_secretbox(message, nonce, key)'.

-- The messages that every cipher, signature and hash must take.
CREATE TEMP TABLE messages (name text, m bytea);
INSERT INTO messages VALUES
    ('nothing', ''),
    ('one byte', 'a'),
    ('NUL bytes', '\x0061006200'),
    ('UTF-8', convert_to('Grüße, 世界 🔑', 'UTF8')),
    ('4080 bytes', decode(repeat('ab', 4080), 'hex')),
    ('4081 bytes', decode(repeat('ab', 4081), 'hex')),
    ('1 MB', decode(repeat('0123456789abcdef', 131072), 'hex'));

-- Numbers and contexts of derived keys.
CREATE TEMP TABLE ids (id bigint, context bytea);
INSERT INTO ids VALUES
    (0, 'pgsodium'),
    (1, 'pgsodium'),
    (-1, 'context1'),
    (9223372036854775807, '\x0000000000000000'),
    (-9223372036854775808, '\xffffffffffffffff');

-- Every value that differs from this one in one bit. Of no value there is none, and a test of all of them would pass.
CREATE FUNCTION tap.flips(value bytea, OUT change text, OUT x bytea) RETURNS SETOF record
LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(length(value), 0) = 0 THEN
        RAISE 'nothing to alter';
    END IF;
    RETURN QUERY
        SELECT format('bit %s flipped', i), set_bit(value, i, 1 - get_bit(value, i))
        FROM generate_series(0, 8 * length(value) - 1) AS i;
END
$$;

-- Those, every value that is cut short, and one that is longer.
CREATE FUNCTION tap.alterations(value bytea, OUT change text, OUT x bytea) RETURNS SETOF record
LANGUAGE sql AS $$
    SELECT change, x FROM flips(value)
    UNION ALL
    SELECT format('cut to %s bytes', i), substr(value, 1, i) FROM generate_series(0, length(value) - 1) AS i
    UNION ALL
    SELECT 'a byte longer', value || '\x00'
$$;

-- A value as Python would print it, without the quotes.
CREATE FUNCTION tap.python_repr(value bytea) RETURNS text
LANGUAGE sql AS $$
    SELECT string_agg(
        CASE
            WHEN byte = 92 THEN '\\'
            WHEN byte BETWEEN 32 AND 126 THEN chr(byte)
            WHEN byte = 9 THEN '\t'
            WHEN byte = 10 THEN '\n'
            WHEN byte = 13 THEN '\r'
            ELSE '\x' || lpad(to_hex(byte), 2, '0')
        END, '' ORDER BY i
    )
    FROM generate_series(0, length(value) - 1) AS i, LATERAL get_byte(value, i) AS byte
$$;

-- The columns of v, of 8 bytes or more, that a text holds: as hex, base64, Python's repr or what they are.
CREATE FUNCTION tap.leaks(said text) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    RETURN (
        SELECT string_agg(name, ', ')
        FROM v, jsonb_each_text(to_jsonb(v)) AS columns (name, value),
            LATERAL (SELECT decode(substr(value, 3), 'hex') WHERE value LIKE '\\x%') AS decoded (bytes)
        WHERE length(bytes) >= 8 AND (
            strpos(lower(said), encode(bytes, 'hex')) > 0
            OR strpos(said, rtrim(replace(encode(bytes, 'base64'), E'\n', ''), '=')) > 0
            OR strpos(said, encode(bytes, 'escape')) > 0
            OR strpos(said, python_repr(bytes)) > 0
        )
    );
END
$$;

-- One test: the call, after a change that is undone again, fails with this SQLSTATE; the error names that, and
-- nothing of v is in it.
CREATE FUNCTION tap.refuses(
    call text, state text DEFAULT '22000', naming text DEFAULT '', after text DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    got text := 'no error';
    message text;
    detail text;
    hint text;
    context text;
    is_changed boolean := false;
BEGIN
    BEGIN
        IF after IS NOT NULL THEN
            EXECUTE after;
        END IF;
        is_changed := true;
        EXECUTE format('SELECT %s FROM v', call);
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS got = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
            detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT, context = PG_EXCEPTION_CONTEXT;
    END;
    RETURN is(
        concat_ws(
            ' ', CASE WHEN NOT is_changed THEN 'the change failed:' END, got,
            'telling ' || leaks(concat_ws(' ', message, detail, hint, context)),
            CASE WHEN strpos(message, naming) = 0 THEN 'not naming ' || naming END
        ),
        state,
        regexp_replace(concat_ws(' after ', 'refused: ' || call, after), '\s+', ' ', 'g')
    ) || CASE WHEN got <> state THEN E'\n' || diag(coalesce(message, 'It returned.')) ELSE '' END;
END
$$;

-- The answer of a call: the result as text, or the SQLSTATE.
CREATE FUNCTION tap.answer(call text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE format('SELECT (%s)::text FROM v', call) INTO result;
    RETURN result;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END
$$;

-- The answer to a role.
GRANT USAGE ON SCHEMA tap TO PUBLIC;
CREATE FUNCTION tap.as_role(role text, call text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    PERFORM set_config('role', role, true);
    result := tap.answer(call);
    PERFORM set_config('role', 'none', true);
    RETURN result;
END
$$;

-- The message that a client sends in answer to a new offer of this session, whose signature it has checked.
CREATE FUNCTION tap.seal_packed(packed bytea) RETURNS bytea
LANGUAGE plpgsql AS $$
DECLARE
    offer record;
BEGIN
    SELECT * INTO offer FROM exchange_offer();
    IF NOT crypto_sign_verify_detached(
        offer.signature,
        convert_to('pgkeymgr exchange offer, format 1', 'UTF8') || '\x00' || offer.public || offer.challenge,
        offer.server_key
    ) THEN
        RAISE 'the offer is not signed';
    END IF;
    RETURN crypto_box_seal(offer.challenge || packed, offer.public);
END
$$;

-- The same for secrets: each is its length and its bytes.
CREATE FUNCTION tap.seal(VARIADIC secrets bytea[]) RETURNS bytea
LANGUAGE plpgsql AS $$
BEGIN
    RETURN seal_packed((
        SELECT coalesce(string_agg(int4send(length(secret)) || secret, '' ORDER BY i), '')
        FROM unnest(secrets) WITH ORDINALITY AS each_secret (secret, i)
    ));
END
$$;

-- One test: the call, in which x is the column of v, fails with 22000 whenever x is altered, and not otherwise.
CREATE FUNCTION tap.refuses_altered(column_name text, call text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    value bytea;
    altered record;
    accepted text;
BEGIN
    EXECUTE format('SELECT %I FROM v', column_name) INTO value;
    EXECUTE format('SELECT %s FROM v, (SELECT $1 AS x) AS unaltered', call) USING value;
    FOR altered IN SELECT * FROM alterations(value) LOOP
        BEGIN
            EXECUTE format('SELECT %s FROM v, (SELECT $1 AS x) AS altered', call) USING altered.x;
            accepted := concat_ws(', ', accepted, altered.change);
        EXCEPTION WHEN data_exception THEN
            NULL;
        END;
    END LOOP;
    RETURN is(accepted, NULL, format('refused with any other %s: %s', column_name, call));
END
$$;

-- A test for each of the messages, m: what one call makes of it, c, is so much longer, and the other call
-- makes m of it again. The growth is an expression that may depend on m.
CREATE FUNCTION tap.round_trips(there text, back text, growth text) RETURNS SETOF text
LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE format(
        'SELECT ok(%s = m AND length(c) = length(m) + %s, %L || name)
         FROM v, messages, LATERAL (SELECT %s AS c OFFSET 0) AS there',
        back, growth, 'round trip: ' || there || ' of ', there
    );
END
$$;

CREATE FUNCTION tap.round_trips(there text, back text, growth integer) RETURNS SETOF text
LANGUAGE sql AS $$
    SELECT round_trips(there, back, growth::text)
$$;

-- Two tests: a generator gives values of this size; and never one twice, whether for the rows of one
-- statement, as a column's default, in a prepared statement or in a function.
CREATE FUNCTION tap.generates(generator text, size integer) RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
    lengths integer[];
    every integer;
    different integer;
BEGIN
    EXECUTE format('CREATE TEMP TABLE generated (n integer, value bytea DEFAULT %s)', generator);
    EXECUTE 'INSERT INTO generated (n) SELECT generate_series(1, 50)';
    EXECUTE 'INSERT INTO generated VALUES (0, DEFAULT), (0, DEFAULT), (0, DEFAULT)';
    EXECUTE format('INSERT INTO generated SELECT n, %s FROM generate_series(1, 50) AS n', generator);
    EXECUTE format('PREPARE generate AS INSERT INTO generated VALUES ($1, %s)', generator);
    EXECUTE format(
        'CREATE FUNCTION tap.generate(n integer) RETURNS void LANGUAGE plpgsql AS
         $body$ BEGIN INSERT INTO generated VALUES (n, %s); END $body$', generator
    );
    FOR i IN 1..10 LOOP
        EXECUTE format('EXECUTE generate(%s)', i);
        EXECUTE format('SELECT generate(%s)', i);
    END LOOP;
    EXECUTE 'SELECT array_agg(DISTINCT length(value)), count(*), count(DISTINCT value) FROM generated'
        INTO lengths, every, different;
    RETURN NEXT is(lengths, ARRAY[size], format('%s gives %s bytes', generator, size));
    RETURN NEXT is(different, every, generator || ' gives no value twice');
    DROP TABLE generated;
    DROP FUNCTION tap.generate(integer);
    DEALLOCATE generate;
END
$$;
