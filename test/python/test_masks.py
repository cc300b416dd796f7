"""The masks of encrypted columns: what a role reads that may not decrypt, and that it reads no more."""

import itertools

import column_database
import pytest
from column_database import make_customer
from conftest import Connection, rows, value
from database_session import Database
from psycopg import errors

server = column_database.server
database = column_database.database
admin = column_database.admin

SECRET = "4111111111111234"
READ = "SELECT ssn FROM customer ORDER BY id"


@pytest.fixture
def card(admin: Connection, database: Database) -> Connection:
    """An encrypted table with a long value, which the role ``col_app`` reads with the usage ``masked``."""
    make_customer(admin)
    admin.execute("UPDATE customer SET ssn = %s WHERE id = 1", [SECRET])
    admin.execute("GRANT SELECT, INSERT, UPDATE ON customer TO col_app, col_other")
    admin.execute("SELECT set_mask('customer', 'ssn', 'last4')")
    admin.execute("SELECT grant_data_key('public.customer.ssn', 'col_app', '{masked}')")
    return admin


def test_a_role_with_the_usage_masked_reads_the_mask(card: Connection, database: Database) -> None:
    with database.session("col_app") as app, database.session("col_other") as other:
        assert rows(app, READ) == [("1234",), (None,), ("3",)]
        with pytest.raises(errors.InsufficientPrivilege):
            rows(other, READ)
        assert rows(card, READ) == [(SECRET,), (None,), ("333",)]
        # WHERE sees the mask alone.
        assert rows(app, f"SELECT id FROM customer WHERE ssn = '{SECRET}'") == []
        assert rows(app, "SELECT id FROM customer WHERE ssn = '1234'") == [(1,)]
        assert rows(app, "SELECT id FROM customer WHERE ssn LIKE '4%'") == []


KINDS: list[tuple[str, str, dict[str, str | None]]] = [
    ("integer", "null", {"7": None}),
    ("bytea", "null", {r"\x0708": None}),
    ("jsonb", "null", {'{"a": 1}': None}),
    ("text", "last4", {"": "", "a": "", "ab": "b", "1234567": "567", "12345678": "5678", "äöüßäöüß": "äöüß"}),
    ("varchar(3)", "last4", {"abc": "c"}),
    ("char(10)", "last4", {"12345678": "5678"}),
    ("text", "email_domain", {"ann@example.org": "example.org", '"a@b"@c.de': "c.de", "ann": None}),
    ("text", "email_domain", {"@x": None, "ann@": None, "a@b c": None, "a@b@": None}),
    ("date", "year", {"2024-05-17": "2024-01-01", "infinity": None, "0044-03-15 BC": "0044-01-01 BC"}),
    ("timestamp", "year", {"2024-05-17 10:11:12.13": "2024-01-01 00:00:00"}),
    ("timestamptz", "year", {"2024-05-17 10:11:12+00": "2024-01-01 00:00:00-05"}),
]


def test_kinds_of_masks(admin: Connection, database: Database) -> None:
    for number, (type_, mask, shown) in enumerate(KINDS):
        table = f"t{number}"
        rows(admin, f"CREATE TABLE {table} (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v {type_} NOT NULL)")
        rows(admin, f"SELECT encrypt_column('{table}', 'v')")
        for each in shown:
            admin.execute(f"INSERT INTO {table} (v) VALUES (%s)".encode(), [each])
        rows(admin, f"GRANT SELECT ON {table} TO col_app")
        rows(admin, f"SELECT set_mask('{table}', 'v', '{mask}')")
        rows(admin, f"SELECT grant_data_key('public.{table}.v', 'col_app', '{{masked}}')")
    with database.session("col_app") as app:
        # The settings of the reader do not matter.
        rows(app, "SET TimeZone = 'EST5'")
        for number, (type_, mask, shown) in enumerate(KINDS):
            for style in ("SQL, DMY", "ISO"):
                rows(app, f"SET DateStyle = '{style}'")
                rows(app, f"SELECT v::text FROM t{number}")
            found = [each for (each,) in rows(app, f"SELECT v::text FROM t{number} ORDER BY id")]
            assert found == list(shown.values()), (type_, mask)


def test_masks_that_do_not_fit(admin: Connection) -> None:
    rows(admin, "CREATE TABLE t (id int PRIMARY KEY, n integer, d date, x text, later text)")
    rows(admin, "INSERT INTO t VALUES (1, 2, now(), 'x', 'y')")
    for name in ("n", "d", "x", "later"):
        rows(admin, f"SELECT encrypt_column('t', '{name}')")
        if name != "later":
            rows(admin, f"CALL migrate_column('t', '{name}')")
    for name, mask in (("n", "last4"), ("n", "year"), ("d", "last4"), ("d", "email_domain"), ("x", "year")):
        with pytest.raises(errors.FeatureNotSupported, match=f'the mask "{mask}" is for the types'):
            rows(admin, f"SELECT set_mask('t', '{name}', '{mask}')")
    with pytest.raises(errors.InvalidParameterValue, match='not "stars"'):
        rows(admin, "SELECT set_mask('t', 'x', 'stars')")
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="its base table has plaintext"):
        rows(admin, "SELECT set_mask('t', 'later', 'null')")
    with pytest.raises(errors.UndefinedObject, match="is not encrypted"):
        rows(admin, "SELECT set_mask('t', 'id', 'null')")
    rows(admin, "CREATE FUNCTION wrong(integer) RETURNS text LANGUAGE sql AS 'SELECT NULL::text'")
    rows(admin, "CREATE FUNCTION several(text) RETURNS SETOF text LANGUAGE sql AS 'SELECT NULL::text'")
    rows(admin, "CREATE FUNCTION foreign_one(text) RETURNS text LANGUAGE sql AS 'SELECT NULL::text'")
    rows(admin, "ALTER FUNCTION foreign_one OWNER TO col_other")
    for function in ("wrong(integer)", "several(text)"):
        with pytest.raises(errors.InvalidParameterValue, match="must have one argument of the type"):
            rows(admin, f"SELECT set_mask('t', 'x', '{function}'::regprocedure)")
    with pytest.raises(errors.InsufficientPrivilege, match="must belong to the owner of"):
        rows(admin, "SELECT set_mask('t', 'x', 'foreign_one(text)'::regprocedure)")
    assert rows(admin, "SELECT DISTINCT mask FROM encrypted_columns") == [(None,)]


def test_only_the_owner_of_the_table_sets_a_mask(card: Connection, database: Database) -> None:
    rows(card, "GRANT pgkeymgr_admin TO col_other")
    with database.session("col_other") as other, pytest.raises(errors.InsufficientPrivilege):
        rows(other, "SELECT set_mask('customer', 'ssn', 'null')")
    with database.session("col_app") as app, pytest.raises(errors.InsufficientPrivilege):
        rows(app, "SELECT set_mask('customer', 'ssn', NULL)")
    rows(card, "REVOKE pgkeymgr_admin FROM col_other")


def test_a_change_is_seen_at_once(card: Connection, database: Database) -> None:
    with database.session("col_app") as app, database.session("col_other") as other:
        assert rows(app, READ)[0] == ("1234",)
        rows(card, "SELECT set_mask('customer', 'ssn', 'null')")
        assert rows(app, READ)[0] == (None,)
        rows(card, "SELECT set_mask('customer', 'ssn', 'last4', without_grant => true)")
        assert rows(app, READ)[0] == rows(other, READ)[0] == ("1234",)
        assert rows(card, "SELECT mask, mask_without_grant FROM encrypted_columns") == [("last4", True)]
        rows(card, "SELECT disable_data_key(id) FROM data_keys WHERE name = 'public.customer.ssn'")
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match='ssn" is disabled'):
            rows(app, READ)
        # A role without a grant does not learn the name.
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match='the key of column "ssn"'):
            rows(other, READ)
        rows(card, "SELECT enable_data_key(id) FROM data_keys WHERE name = 'public.customer.ssn'")
        # Also within a transaction.
        app.autocommit = False
        assert rows(app, READ)[0] == ("1234",)
        rows(card, "SELECT grant_data_key('public.customer.ssn', 'col_app', '{decrypt}')")
        assert rows(app, READ)[0] == (SECRET,)
        rows(card, "SELECT revoke_data_key('public.customer.ssn', 'col_app', '{decrypt}')")
        assert rows(app, READ)[0] == ("1234",)
        app.rollback()
        rows(card, "SELECT revoke_data_key('public.customer.ssn', 'col_app')")
        assert rows(app, READ)[0] == ("1234",)
        app.rollback()
        rows(card, "SELECT set_mask('customer', 'ssn', 'last4')")
        for session in (app, other):
            with pytest.raises(errors.InsufficientPrivilege):
                rows(session, READ)
        app.rollback()
        rows(card, "SELECT set_mask('customer', 'ssn', NULL)")
        assert rows(card, READ)[0] == (SECRET,)
    found = rows(card, "SELECT detail FROM key_events WHERE event = 'set_mask' ORDER BY link")
    assert [detail.removeprefix('column "ssn" of customer: ') for (detail,) in found] == [
        "last4",
        "null",
        "last4, without a grant",
        "last4",
        "none",
    ]


def test_a_mask_that_is_rolled_back(card: Connection, database: Database) -> None:
    with database.session("col_app") as app:
        card.autocommit = False
        rows(card, "SELECT set_mask('customer', 'ssn', 'null')")
        rows(card, "SET ROLE col_app")
        assert rows(card, READ)[0] == (None,)
        rows(card, "RESET ROLE")
        assert rows(card, READ)[0] == (SECRET,)
        card.rollback()
        card.autocommit = True
        rows(card, "SET ROLE col_app")
        assert rows(card, READ)[0] == rows(app, READ)[0] == ("1234",)


def test_a_masked_role_does_not_write_what_it_reads(card: Connection, database: Database) -> None:
    cipher = "SELECT ssn_encrypted FROM customer_encrypted WHERE id = 1"
    before = value(card, cipher)
    with database.session("col_app") as app:
        rows(app, "UPDATE customer SET name = 'Anna' WHERE id = 1")
        rows(app, "UPDATE customer SET name = 'Anne', ssn = ssn WHERE ssn = '1234'")
        for usage in ("masked", "encrypt"):
            rows(card, f"SELECT grant_data_key('public.customer.ssn', 'col_app', '{{{usage}}}')")
            for written in ("'x'", "ssn || 'x'", "NULL"):
                with pytest.raises(errors.InsufficientPrivilege, match="permission denied to decrypt"):
                    rows(app, f"UPDATE customer SET ssn = {written} WHERE id = 1")
            with pytest.raises(errors.InsufficientPrivilege):
                rows(app, """SELECT upsert('customer', '{"id": 1, "name": "Ann", "ssn": "1234"}')""") and rows(
                    app, """SELECT upsert('customer', '{"id": 1, "name": "Ann", "ssn": "9"}')"""
                )
        assert value(card, cipher) == before
        # A new value is no masked one.
        rows(app, "INSERT INTO customer (name, ssn) VALUES ('Di', '87654321')")
        assert rows(app, READ)[3] == ("4321",)
    assert rows(card, READ)[0] == (SECRET,)
    assert rows(card, READ)[3] == ("87654321",)


def test_a_check_sees_the_value_and_not_the_mask(admin: Connection, database: Database) -> None:
    rows(admin, "CREATE TABLE t (id int PRIMARY KEY, least text, v text, CHECK (v >= least))")
    rows(admin, "INSERT INTO t VALUES (1, '1', '22229999')")
    rows(admin, "SELECT encrypt_column('t', 'v')")
    rows(admin, "CALL migrate_column('t', 'v')")
    rows(admin, "GRANT SELECT, UPDATE ON t TO col_app")
    rows(admin, "SELECT set_mask('t', 'v', 'last4')")
    rows(admin, "SELECT grant_data_key('public.t.v', 'col_app', '{masked}')")
    with database.session("col_app") as app, pytest.raises(errors.InsufficientPrivilege):
        rows(app, "UPDATE t SET least = '5'")
    with pytest.raises(errors.CheckViolation):
        rows(admin, "UPDATE t SET least = '5'")


# The ways of a hostile reader.


def test_internal_functions_give_no_more(card: Connection, database: Database) -> None:
    """Anybody can call the functions that open and seal values, with the ciphertext and the place of a row."""
    rows(card, "SELECT encrypt_column('customer', 'name', key => 'public.customer.ssn')")
    rows(card, "CALL migrate_column('customer', 'name')")
    rows(card, "SELECT set_mask('customer', 'name', 'null')")
    # encrypt_column() lets the roles use the key that may read the table.
    rows(card, "SELECT revoke_data_key('public.customer.ssn', 'col_app', '{encrypt,decrypt}')")
    family = value(card, "SELECT key_family FROM encrypted_column WHERE column_name = 'ssn'")
    place = "'column'::bytea || uuid_send(%L) || int8send(1)"
    ssn, name = (
        value(card, f"SELECT format($$ {place} $$, uuid) FROM encrypted_column WHERE column_name = '{column}'")
        for column in ("ssn", "name")
    )
    with database.session("col_app") as app:
        its = "(SELECT {0}_encrypted FROM customer_encrypted WHERE id = 1)".format
        assert value(app, f"SELECT _show_text({its('ssn')}, {ssn}, {family})") == "1234"
        assert value(app, f"SELECT _show_text({its('name')}, {name}, {family})") is None
        assert value(app, f"SELECT _show_computed_text({its('ssn')}, {ssn}, {family})") == "1234"
        refused = errors.InsufficientPrivilege
        for call in (
            f"_open_text({its('ssn')}, {ssn}, {family})",
            f"_open_bytes({its('ssn')}, {ssn}, {family})",
            f"_problem({its('ssn')}, {ssn}, {family})",
            f"_reseal({family}, {its('ssn')}, {ssn}, {family})",
            f"token_decrypt({its('ssn')}, {ssn})",
            f"token_reencrypt({its('ssn')}, 'public.customer.ssn', {ssn})",
            f"blind_index('customer', 'ssn', '{SECRET}')",
            f"_seal_text({family}, 'x', {ssn})",
            f"_check_reads({family}, NULL)",
            "export_data_key('public.customer.ssn', randombytes_buf(32))",
        ):
            with pytest.raises(errors.Error) as failed:
                rows(app, f"SELECT {call}")
            assert failed.value.sqlstate in ("42501", "22000", "42704"), call
            assert SECRET not in str(failed.value), call
        # The mask belongs to the place, and the ciphertext opens only there.
        for token, where in (("name", ssn), ("ssn", name)):
            given = f"_show_text({its(token)}, {where}, {family})"
            if token == "ssn":
                assert value(app, f"SELECT {given}") is None
            else:
                with pytest.raises(errors.DataException):
                    rows(app, f"SELECT {given}")
        for broken in (f"_show_text({its('ssn')}, ''::bytea, {family})", f"_show_text('', {ssn}, {family})"):
            with pytest.raises((refused, errors.DataException)):
                rows(app, f"SELECT {broken}")
        with pytest.raises(refused):
            rows(app, f"SELECT _show_text({its('ssn')}, {ssn}, {family + 1})")


LEAK = """
CREATE SCHEMA trap AUTHORIZATION col_app;
GRANT USAGE ON SCHEMA trap TO PUBLIC;
CREATE FUNCTION trap.seen(text) RETURNS boolean COST 0.0000001 LANGUAGE plpgsql
    AS $$ BEGIN RAISE NOTICE 'seen %', $1; RETURN true; END $$;
CREATE FUNCTION trap.same(text, text) RETURNS boolean COST 0.0000001 LANGUAGE plpgsql
    AS $$ BEGIN RAISE NOTICE 'seen % %', $1, $2; RETURN true; END $$;
CREATE OPERATOR trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.same);
CREATE FUNCTION trap.left(text, integer) RETURNS text LANGUAGE plpgsql
    AS $$ BEGIN RAISE NOTICE 'seen %', $1; RETURN $1; END $$;
CREATE FUNCTION trap.right(text, integer) RETURNS text LANGUAGE plpgsql
    AS $$ BEGIN RAISE NOTICE 'seen %', $1; RETURN $1; END $$;
CREATE DOMAIN trap.text AS pg_catalog.text CHECK (trap.seen(VALUE));
"""
SETTINGS = (
    "client_min_messages = debug5",
    "debug_print_parse = on",
    "debug_print_rewritten = on",
    "debug_print_plan = on",
    "plan_cache_mode = force_custom_plan",
    "log_parameter_max_length_on_error = -1",
    "plpgsql.print_strict_params = on",
    "search_path = trap, pg_catalog, public",
)
QUERIES = (
    "SELECT ssn FROM public.customer",
    "SELECT id FROM public.customer WHERE trap.seen(ssn) OR ssn OPERATOR(trap.=) 'x'",
    "SELECT ssn::integer FROM public.customer WHERE id = 1",
    "SELECT (ssn || 'x')::integer FROM public.customer WHERE id = 1",
    "SELECT count(*) FROM public.customer GROUP BY ssn HAVING ssn > '4'",
    "EXPLAIN (ANALYZE, VERBOSE) SELECT ssn FROM public.customer WHERE ssn LIKE '4%'",
    "CREATE TEMP TABLE copy AS SELECT ssn FROM public.customer",
    "UPDATE public.customer SET name = name || 'x' WHERE trap.seen(ssn)",
    "UPDATE public.customer SET ssn = ssn || 'x'",
    "UPDATE public.customer SET ssn = ssn::integer",
    "INSERT INTO public.customer (ssn) VALUES ('x') RETURNING ssn",
    "SELECT * FROM pg_stats WHERE tablename = 'customer_encrypted'",
    "SELECT * FROM pgkeymgr.encrypted_tables",
    "SELECT * FROM pgkeymgr.encrypted_columns",
)
OWNERS = {
    "sql": "AS 'SELECT left($1, 1) || ''***'''",
    "plpgsql": """AS $$
    DECLARE
        found text;
    BEGIN
        RAISE NOTICE 'masks %', $1;
        SELECT max(left($1, 1)) || '***' INTO STRICT found FROM pg_class WHERE relname::text <> $1;
        RETURN found;
    END $$""",
    "failing": """LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'a value: %', $1 USING DETAIL = $1, HINT = $1;
    END $$""",
    "casting": "LANGUAGE sql AS 'SELECT ($1 || ''x'')::integer::text'",
    "strict": """LANGUAGE plpgsql AS $$
    DECLARE
        found text;
    BEGIN
        SELECT relname INTO STRICT found FROM pg_class WHERE relname::text = $1;
        RETURN found;
    END $$""",
}


def test_a_hostile_reader_never_sees_the_value(card: Connection, database: Database) -> None:
    rows(card, LEAK)
    for kind in "FUNCTION trap.seen(text)", "FUNCTION trap.same(text, text)":
        rows(card, f"ALTER {kind} OWNER TO col_app")
    # The plan tree of the parser shows a constant as the numbers of its bytes.
    spelled = " ".join(str(byte) for byte in SECRET.encode())
    logged = len(database.server.log)
    for mask in ("last4", "null", *OWNERS):
        if mask in OWNERS:
            language = "" if "LANGUAGE" in OWNERS[mask] else f"LANGUAGE {mask}"
            rows(card, f"CREATE OR REPLACE FUNCTION masked(text) RETURNS text {language} {OWNERS[mask]}")
            rows(card, "SELECT set_mask('customer', 'ssn', 'masked(text)'::regprocedure)")
        else:
            rows(card, f"SELECT set_mask('customer', 'ssn', '{mask}')")
        for text in hostile_reading(database):
            assert SECRET[:8] not in text, (mask, text[:2000])
            assert SECRET.encode().hex() not in text, (mask, text[:2000])
            assert spelled not in " ".join(text.split()), (mask, text[:2000])
    log = database.server.log[logged:]
    assert SECRET not in log
    assert spelled not in " ".join(log.split())


def hostile_reading(database: Database) -> list[str]:
    """Run all queries of a hostile reader twice, and return all that the session received."""
    seen: list[str] = []
    with database.session("col_app") as app:
        app.add_notice_handler(lambda notice: seen.append(f"{notice.message_primary} {notice.message_detail}"))
        rows(app, "CREATE FUNCTION pg_temp.masked(text) RETURNS text LANGUAGE sql AS 'SELECT $1'")
        for setting in SETTINGS:
            rows(app, f"SET {setting}")
        for query in itertools.chain(QUERIES, QUERIES):
            try:
                seen.append(repr(rows(app, query)))
            except errors.Error as error:
                seen.append(f"{error} {error.diag.message_detail} {error.diag.message_hint} {error.diag.context}")
    assert len(seen) > 2 * len(QUERIES)
    return seen


def test_a_mask_that_is_a_function(card: Connection, database: Database) -> None:
    """The function runs with the rights of the owner of the table, under settings of its own."""
    rows(card, "ALTER VIEW customer OWNER TO col_owner")
    rows(card, "GRANT CREATE ON SCHEMA public TO col_owner")
    rows(card, "SELECT grant_data_key('public.customer.ssn', 'col_owner')")
    rows(card, "CREATE TABLE prefixes (length int); INSERT INTO prefixes VALUES (6)")
    rows(card, "ALTER TABLE prefixes OWNER TO col_owner")
    body = "SELECT left($1, length) || '-' || current_user FROM public.prefixes"
    rows(card, f"CREATE FUNCTION bin(text) RETURNS text LANGUAGE sql AS $${body}$$")
    rows(card, "ALTER FUNCTION bin(text) OWNER TO col_owner")
    rows(card, "SELECT set_mask('customer', 'ssn', 'bin(text)'::regprocedure)")
    assert value(card, "SELECT mask FROM encrypted_columns") == "public.bin(text)"
    with database.session("col_app") as app:
        rows(app, "SET search_path = pg_catalog")
        shown = "SELECT ssn FROM public.customer ORDER BY id"
        assert rows(app, shown) == [("411111-col_owner",), (None,), ("333-col_owner",)]
        assert value(app, "SELECT current_user") == "col_app"
        assert value(app, "SHOW search_path") == "pg_catalog"
        # Another function under its name is not taken for it.
        rows(card, "ALTER FUNCTION bin(text) OWNER TO col_other")
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match="mask function of column"):
            rows(app, shown)
        rows(card, "ALTER FUNCTION bin(text) OWNER TO col_owner")
        assert rows(app, shown)[0] == ("411111-col_owner",)
        # The owner gets no value that it may not decrypt.
        rows(card, "SELECT revoke_data_key('public.customer.ssn', 'col_owner', '{decrypt}')")
        with pytest.raises(errors.InsufficientPrivilege, match="the owner of the mask function"):
            rows(app, shown)
        rows(card, "SELECT grant_data_key('public.customer.ssn', 'col_owner', '{decrypt}')")
        assert rows(app, shown)[0] == ("411111-col_owner",)
        rows(card, "DROP FUNCTION bin(text)")
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match="does not exist any more"):
            rows(app, shown)
        assert rows(card, READ)[0] == (SECRET,)
        rows(card, "SELECT set_mask('customer', 'ssn', 'last4')")
        assert rows(app, shown)[0] == ("1234",)


# The changes that a mask survives.


def as_app(database: Database, query: str) -> list[tuple[object, ...]]:
    """Run a query as the role that reads the mask."""
    with database.session("col_app") as app:
        return rows(app, query)


def test_a_mask_goes_along(card: Connection, database: Database) -> None:
    read = "SELECT {} FROM {} WHERE id = 1"
    rows(card, "SELECT add_blind_index('customer', 'ssn')")
    assert as_app(database, READ)[0] == ("1234",)
    found = f"SELECT id FROM customer WHERE ssn_bidx = blind_index('customer', 'ssn', '{SECRET}')"
    with pytest.raises(errors.InsufficientPrivilege):
        as_app(database, found)
    rows(card, "CALL rotate_column('customer', 'ssn')")
    assert as_app(database, READ)[0] == ("1234",)
    rows(card, "SELECT separate_column('customer', 'ssn')")
    assert as_app(database, READ)[0] == ("1234",)
    assert rows(card, "SELECT count(*) FROM column_mask") == [(1,)]
    rows(card, "ALTER VIEW customer RENAME COLUMN ssn TO number")
    rows(card, "ALTER VIEW customer RENAME TO client")
    assert as_app(database, read.format("number", "client"))[0] == ("1234",)
    rows(card, "ALTER TABLE customer_encrypted ADD COLUMN note text")
    rows(card, "SELECT set_column_compression('client', 'number', 'deflate')")
    rows(card, "UPDATE client SET number = number || '', note = repeat('x', 100) WHERE id = 1")
    assert as_app(database, read.format("number", "client"))[0] == ("1234",)
    # A long value has another suite, which has no quick form.
    rows(card, f"UPDATE client SET number = repeat('x', 5000) || '{SECRET}' WHERE id = 1")
    assert as_app(database, read.format("number", "client"))[0] == ("1234",)
    rows(card, "CALL decrypt_column('client', 'number')")
    assert rows(card, "SELECT count(*) FROM column_mask") == [(0,)]
    assert len(as_app(database, read.format("number", "client"))[0][0]) == 5000 + len(SECRET)  # type: ignore[arg-type]


def test_masks_of_keys_for_values_and_of_partitions(admin: Connection, database: Database) -> None:
    rows(admin, "CREATE TABLE t (id int PRIMARY KEY, tenant text, v text) PARTITION BY RANGE (id)")
    rows(admin, "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10)")
    rows(admin, "CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (10) TO (20)")
    rows(admin, "INSERT INTO t VALUES (1, 'a', '22229999'), (11, 'b', '33338888'), (12, NULL, '44447777')")
    rows(admin, "SELECT encrypt_column('t', 'v', key_by => 'tenant')")
    rows(admin, "CALL migrate_column('t', 'v')")
    rows(admin, "SELECT set_mask('t', 'v', 'last4')")
    rows(admin, "GRANT SELECT, UPDATE ON t TO col_app")
    rows(admin, "SELECT grant_data_key('public.t.v', 'col_app', '{masked}')")
    masked = [("9999",), ("8888",), ("7777",)]
    assert as_app(database, "SELECT v FROM t ORDER BY id") == masked
    # With the key of one tenant, the role reads this one's values, and writes them.
    rows(admin, "SELECT grant_data_key('public.t.v:a', 'col_app', '{encrypt,decrypt}')")
    assert as_app(database, "SELECT v FROM t ORDER BY id") == [("22229999",), *masked[1:]]
    as_app(database, "UPDATE t SET v = '55556666' WHERE tenant = 'a'")
    with pytest.raises(errors.InsufficientPrivilege):
        as_app(database, "UPDATE t SET v = '55556666' WHERE tenant = 'b'")
    rows(admin, "SELECT revoke_data_key('public.t.v:a', 'col_app')")
    rows(admin, "ALTER TABLE t_encrypted DETACH PARTITION t2")
    detached = value(admin, "SELECT relation::text FROM encrypted_columns WHERE relation <> 't'::regclass")
    rows(admin, f"GRANT SELECT ON {detached} TO col_app")
    assert as_app(database, f"SELECT v FROM {detached} ORDER BY id") == masked[1:]
    rows(admin, "SELECT set_mask('t', 'v', NULL)")
    for name in ("t", detached):
        with pytest.raises(errors.InsufficientPrivilege):
            as_app(database, f"SELECT v FROM {name}")


def test_a_mask_in_a_dump(card: Connection, database: Database) -> None:
    """The dump of a table with a mask that is a function, whose name is looked up where it is restored."""
    rows(card, "CREATE FUNCTION initial(text) RETURNS text LANGUAGE sql AS 'SELECT left($1, 1)'")
    rows(card, "SELECT encrypt_column('customer', 'name')")
    rows(card, "CALL migrate_column('customer', 'name')")
    rows(card, "SELECT revoke_data_key('public.customer.name', 'col_app', '{encrypt,decrypt}')")
    rows(card, "SELECT grant_data_key('public.customer.name', 'col_app', '{masked}')")
    rows(card, "SELECT set_mask('customer', 'name', 'initial(text)'::regprocedure)")
    rows(card, "SELECT set_key_policy('public.customer.ssn', '90 days')")
    read = "SELECT name, ssn FROM customer ORDER BY id"
    expected = [("A", "1234"), ("B", None), ("C", "3")]
    assert as_app(database, read) == expected
    server = database.server
    with column_database.new_database(server, "template0") as target:
        text = server.client(["pg_dump", database.name]).stdout
        server.client(["psql", "--set=ON_ERROR_STOP=1"], dbname=target.name, input=text)
        assert as_app(target, read) == expected
        with target.session() as restored:
            assert rows(restored, READ) == [(SECRET,), (None,), ("333",)]
            assert value(restored, "SELECT rotate_every::text FROM key_policies") == "90 days"


def test_a_key_is_needed_by_a_view_that_shows_masks(card: Connection) -> None:
    """Where the registry was lost, a view tells which column has ciphertext."""
    rows(card, "DELETE FROM encrypted_column; DELETE FROM encrypted_relation")
    checks = "SELECT conname FROM pg_constraint WHERE conrelid = 'customer_encrypted'::regclass AND contype = 'c'"
    for (check,) in rows(card, checks):
        rows(card, f"ALTER TABLE customer_encrypted DROP CONSTRAINT {check}")
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match=r"which view public\.customer reads"):
        rows(card, "SELECT destroy_data_key(id, name) FROM data_keys WHERE name = 'public.customer.ssn'")
