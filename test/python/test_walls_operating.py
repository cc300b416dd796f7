"""The walls around masks, searches, the ends of keys, and the command, for roles that choose their settings."""

import column_database
import pytest
from conftest import Connection, rows, value
from database_session import Database
from in_process import invoke
from psycopg import errors

server = column_database.server
database = column_database.database
admin = column_database.admin

CARD = "4111111111111234"
MASKED = "************1234"
MASK = r"regexp_replace($1, '\d(?=\d{4})', '*', 'g')"


def test_bounds_of_a_range_are_read_by_the_present_settings(admin: Connection) -> None:
    rows(admin, "CREATE TABLE visit (id integer PRIMARY KEY, d date, z timestamptz)")
    rows(
        admin,
        "INSERT INTO visit SELECT i, date '2020-01-01' + i, timestamptz '2020-01-01Z' + i * interval '1 hour'"
        " FROM generate_series(1, 150) AS i",
    )
    for column in ("d", "z"):
        rows(admin, f"SELECT encrypt_column('visit', '{column}')")
        rows(admin, f"CALL migrate_column('visit', '{column}')")
        rows(admin, f"SELECT add_blind_index('visit', '{column}', kind => 'range')")
    within = (
        "SELECT count(*) FROM visit WHERE search_within('visit', 'd', d_terms, d, daterange('{0}', '{0}', '[]'))"
    )
    for style in ("SQL, DMY", "SQL, MDY", "SQL, DMY"):
        rows(admin, f"SET DateStyle = '{style}'")
        assert value(admin, within.format("03/02/2020")) == 1
    for zone in ("UTC", "Asia/Tokyo"):
        rows(admin, f"SET TimeZone = '{zone}'")
        terms = "search_range_terms('visit', 'z', '2020-01-02', '2020-01-02')"
        assert value(admin, f"SELECT count(*) FROM visit WHERE z_terms && {terms} AND z = '2020-01-02'") == 1


def make_card(admin: Connection, language: str, body: str) -> None:
    """Make a table whose column is masked by a function, which col_app may read."""
    rows(admin, "CREATE TABLE card (id integer PRIMARY KEY, n text)")
    rows(admin, "SELECT encrypt_column('card', 'n')")
    admin.execute("INSERT INTO card VALUES (1, %s)", [CARD])
    rows(admin, f"CREATE FUNCTION hide(text) RETURNS text LANGUAGE {language} AS $$ {body} $$")
    rows(admin, "SELECT set_mask('card', 'n', 'hide(text)'::regprocedure, true)")
    rows(admin, "GRANT SELECT ON card TO col_app")


BODIES = {"sql": f"SELECT {MASK}", "plpgsql": f"BEGIN RETURN {MASK}; END"}


@pytest.mark.parametrize("language", BODIES)
def test_a_reader_does_not_change_the_constants_of_a_mask(
    admin: Connection, database: Database, language: str
) -> None:
    make_card(admin, language, BODIES[language])
    with database.session("col_app") as app:
        rows(app, "SET standard_conforming_strings = off")
        assert value(app, "SELECT n FROM card") == MASKED
    with database.session("col_app") as app:
        # The session would keep the statements of the function as they were parsed in its first call.
        rows(app, "SET standard_conforming_strings = off")
        rows(app, "SELECT hide('4111')")
        rows(app, "SET standard_conforming_strings = on")
        assert value(app, "SELECT n FROM card") == MASKED


def test_a_reader_does_not_change_the_texts_that_a_mask_makes(admin: Connection, database: Database) -> None:
    make_card(admin, "sql", "SELECT left(convert_to($1, 'UTF8')::text, 4) || date '2020-02-03'")
    with database.session("col_app") as app:
        shown = value(app, "SELECT n FROM card")
        for setting in ("bytea_output = escape", "DateStyle = 'SQL, DMY'"):
            rows(app, f"SET {setting}")
            assert value(app, "SELECT n FROM card") == shown == r"\x342020-02-03"


@pytest.mark.parametrize(
    "end",
    [
        "SELECT destroy_data_key({key}, 'public.customer.ssn')",
        "SELECT prune_data_keys('public.customer.ssn', 1, NULL)",
        "SELECT prune_data_keys('public.customer.ssn', 1, '1 second')",
    ],
)
@pytest.mark.parametrize("is_repeatable", [False, True])
def test_a_key_stays_while_a_transaction_writes_with_it(
    admin: Connection, database: Database, end: str, is_repeatable: bool
) -> None:
    column_database.make_customer(admin)
    rows(admin, "UPDATE customer SET ssn = NULL")
    key = value(admin, "SELECT id FROM data_keys WHERE name = 'public.customer.ssn'")
    with database.session() as writer:
        rows(writer, "BEGIN")
        rows(writer, "INSERT INTO customer (ssn) VALUES ('kept')")
        rows(admin, "SELECT supersede_data_key('public.customer.ssn')")
        if "prune" in end:
            assert rows(admin, end.format(key=key)) == []
        else:
            with pytest.raises(errors.ObjectNotInPrerequisiteState, match="is being written"):
                rows(admin, end.format(key=key))
        if is_repeatable:
            rows(admin, "BEGIN ISOLATION LEVEL REPEATABLE READ")
            rows(admin, "SELECT 1")
        rows(writer, "COMMIT")
    if "prune" in end:
        assert rows(admin, end.format(key=key)) == []
    else:
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match="has values under it"):
            rows(admin, end.format(key=key))
    rows(admin, "ROLLBACK")
    assert value(admin, "SELECT ssn FROM customer WHERE ssn IS NOT NULL") == "kept"


def test_a_key_stays_in_the_transaction_that_supersedes_it(admin: Connection) -> None:
    column_database.make_customer(admin)
    rows(admin, "UPDATE customer SET ssn = NULL")
    rows(admin, "BEGIN")
    rows(admin, "SELECT supersede_data_key('public.customer.ssn')")
    assert rows(admin, "SELECT prune_data_keys('public.customer.ssn', 1, NULL)") == []
    key = value(admin, "SELECT id FROM key_versions WHERE name = 'public.customer.ssn' AND NOT is_current")
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="until this transaction ends"):
        rows(admin, f"SELECT destroy_data_key({key}, 'public.customer.ssn')")
    rows(admin, "ROLLBACK")
    rows(admin, "SELECT supersede_data_key('public.customer.ssn')")
    assert len(rows(admin, "SELECT prune_data_keys('public.customer.ssn', 1, NULL)")) == 1


def test_a_secret_of_vault_keeps_its_key_before_it_is_committed(admin: Connection, database: Database) -> None:
    rows(admin, "SELECT create_vault_schema()")
    with database.session() as writer:
        rows(writer, "BEGIN")
        rows(writer, "SELECT vault.create_secret('kept')")
        rows(admin, "SELECT supersede_data_key('vault.secrets')")
        assert rows(admin, "SELECT prune_data_keys('vault.secrets', 1, NULL)") == []
        rows(writer, "COMMIT")
    assert value(admin, "SELECT decrypted_secret FROM vault.decrypted_secrets") == "kept"


def test_keys_and_indexes_are_managed_with_nonstandard_strings(admin: Connection) -> None:
    rows(admin, "SET standard_conforming_strings = off")
    rows(admin, "CREATE TABLE visit (id integer PRIMARY KEY, z timestamptz)")
    rows(admin, "SELECT encrypt_column('visit', 'z')")
    # The session keeps the plan of a query of the catalog that the procedure has, too.
    rows(admin, "SELECT * FROM superseded_data_keys()")
    rows(admin, "SELECT supersede_data_key('public.visit.z')")
    rows(admin, "SELECT prune_data_keys('public.visit.z')")
    rows(admin, "SELECT add_blind_index('visit', 'z', kind => 'range')")
    rows(admin, "CALL rotate_blind_index('visit', 'z', kind => 'range')")


@pytest.mark.parametrize("command", [("metrics",), ("report",), ("keys", "list")])
def test_an_owner_of_a_database_does_not_stop_the_command(
    admin: Connection, database: Database, command: tuple[str, ...]
) -> None:
    rows(admin, "SELECT create_data_key('late', expires => '12000-01-01')")
    rows(admin, "SELECT create_data_key('never', expires => 'infinity')")
    for setting in ("DateStyle = 'SQL, DMY'", "IntervalStyle = 'sql_standard'"):
        rows(admin, f"ALTER DATABASE {database.name} SET {setting}")
    done = invoke(*command, "--dsn", database.server.dsn(database.name))
    assert done.returncode == 0, done.stderr
    assert "never" in done.stdout


def test_a_table_that_cancels_the_policies_does_not_keep_others_from_them(
    admin: Connection,
) -> None:
    rows(
        admin,
        "CREATE FUNCTION stop(integer) RETURNS boolean LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE 'stop' USING ERRCODE = '57014'; END $$",
    )
    for name in ("first", "second"):
        rows(admin, f"CREATE TABLE {name} (id integer PRIMARY KEY, v text)")
        rows(admin, f"SELECT encrypt_column('{name}', 'v')")
        rows(admin, f"INSERT INTO {name} VALUES (1, 'v')")
        rows(admin, f"SELECT set_key_policy('public.{name}.v', '1 microsecond')")
    rows(admin, "ALTER TABLE first_encrypted ADD CHECK (stop(id)) NOT VALID")
    for _ in range(2):
        with pytest.raises(errors.QueryCanceled):
            rows(admin, "CALL run_key_policies()")
    assert rows(admin, "SELECT name, last_error FROM key_policies ORDER BY name") == [
        ("public.first.v", "the last run has not ended, or was stopped"),
        ("public.second.v", None),
    ]
    assert value(admin, "SELECT last_run IS NOT NULL FROM key_policies WHERE name = 'public.second.v'")


def test_finish_update_leaves_functions_of_others_alone(admin: Connection, database: Database) -> None:
    rows(admin, "GRANT CREATE, USAGE ON SCHEMA pgkeymgr TO col_other")
    with database.session("col_other") as other:
        rows(other, "CREATE FUNCTION pgkeymgr.trap() RETURNS integer LANGUAGE sql AS 'SELECT 1'")
        rows(other, "COMMENT ON FUNCTION pgkeymgr.trap() IS 'pgkeymgr: finish_update() drops it'")
    assert value(admin, "SELECT finish_update()") == 0
    assert value(admin, "SELECT pgkeymgr.trap()") == 1


def test_numbers_of_json_text_have_terms_of_any_exponent(admin: Connection) -> None:
    rows(admin, "CREATE TABLE form (id integer PRIMARY KEY, j json)")
    rows(admin, "SELECT encrypt_column('form', 'j')")
    rows(admin, "SELECT add_blind_index('form', 'j', kind => 'json', force => true)")
    for exponent in ("9" * 5000, "-" + "9" * 5000, "0" * 4999 + "1"):
        admin.execute("INSERT INTO form SELECT count(*), %s FROM form", [f'{{"a": 1e{exponent}}}'])
    found = "SELECT id FROM form WHERE j_terms ~@> search_json_terms('form', 'j', '{\"a\": 10}')"
    assert rows(admin, found) == [(2,)]
