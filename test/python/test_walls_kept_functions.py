"""The walls around functions that a session keeps as it read them in the first call.

A role makes the first call itself, with a domain of its own in the place of a type. Later, pgkeymgr calls the
function with the rights of another role in the same session.
"""

import pytest
import walls_database
from conftest import Connection, rows, value
from psycopg import errors
from walls_database import Database, run

server = walls_database.server
database = walls_database.database
superuser = walls_database.superuser
owner = walls_database.owner

VALID = (
    "CREATE FUNCTION {schema}.valid(v text) RETURNS boolean LANGUAGE plpgsql AS"
    " $$ DECLARE t text := v; BEGIN RETURN t <> ''; END $$"
)
PAN = "CREATE DOMAIN {schema}.pan AS text CHECK ({schema}.valid(VALUE))"
STARS = r"BEGIN RETURN regexp_replace($1, '\d', '*', 'g'); END"


def call_first(connection: Connection, call: str) -> None:
    """Call a function with a domain named text in front, whose CHECK reports as whom it runs."""
    (role,) = rows(connection, "SELECT session_user::text")[0]
    run(
        connection,
        "CREATE FUNCTION pg_temp.spy(v pg_catalog.text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN"
        f" IF current_user <> '{role}' THEN RAISE WARNING 'LOOT %', current_user;"
        " INSERT INTO public.loot VALUES (current_user); END IF;"
        " RETURN true; END $$",
        "CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (pg_temp.spy(VALUE))",
        "SET search_path = pg_temp, pg_catalog",
        f"SELECT {call}",
        "SET search_path = pg_catalog",
    )


def set_mask(owner: Connection, superuser: Connection, body: str, more: str = "") -> None:
    """Make the encrypted table own.t, whose column s is masked by a function for roles without a grant."""
    walls_database.make_encrypted(owner, superuser)
    run(
        owner,
        "UPDATE t SET s = '4111222'",
        f"CREATE FUNCTION own.hide(text) RETURNS text LANGUAGE plpgsql {more} AS $$ {body} $$",
        "GRANT SELECT ON t TO wall_user",
    )
    run(superuser, "SELECT set_mask('own.t', 's', 'own.hide(text)'::regprocedure, true)")


@pytest.mark.parametrize("more", ["", "SET search_path = own"])
def test_a_reader_gives_no_type_to_a_mask_function(
    database: Database, owner: Connection, superuser: Connection, more: str
) -> None:
    set_mask(owner, superuser, "DECLARE t text := $1; BEGIN RETURN right(t, 3); END", more)
    with database.session("wall_user") as user:
        call_first(user, "own.hide('x'::pg_catalog.text)")
        assert rows(user, "SELECT s FROM own.t") == [("222",)]
    assert database.loot() == []


def test_a_replaced_mask_function_is_refused_without_its_settings(
    database: Database, owner: Connection, superuser: Connection
) -> None:
    set_mask(owner, superuser, STARS)
    with database.session("wall_user") as user:
        assert rows(user, "SELECT s FROM own.t") == [("*******",)]
        run(owner, f"CREATE OR REPLACE FUNCTION own.hide(text) RETURNS text LANGUAGE plpgsql AS $$ {STARS} $$")
        run(user, "SET standard_conforming_strings = off", "SELECT own.hide('x')", "RESET ALL")
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match=r"needs own\.hide\(text\), which other"):
            rows(user, "SELECT s FROM own.t")
        run(superuser, "SELECT set_mask('own.t', 's', 'own.hide(text)'::regprocedure, true)")
        assert rows(user, "SELECT s FROM own.t") == [("*******",)]
        run(
            owner,
            f"CREATE OR REPLACE FUNCTION own.hide(text) RETURNS text LANGUAGE plpgsql AS $$ {STARS} $$",
            "REVOKE EXECUTE ON FUNCTION own.hide(text) FROM PUBLIC",
        )
        assert rows(user, "SELECT s FROM own.t") == [("*******",)]


@pytest.mark.parametrize("call", ["own.stars($1)", 'own . "stars" ($1)', "own.between($1)"])
def test_a_mask_function_calls_no_function_that_others_can_call_first(
    database: Database, owner: Connection, superuser: Connection, call: str
) -> None:
    run(
        owner,
        f"CREATE FUNCTION own.stars(text) RETURNS text LANGUAGE plpgsql AS $$ {STARS} $$",
        "CREATE FUNCTION own.between(text) RETURNS text LANGUAGE sql AS $$ SELECT own.stars($1) $$",
        "REVOKE EXECUTE ON FUNCTION own.between(text) FROM PUBLIC",
    )
    with pytest.raises(
        errors.InvalidParameterValue, match=r"own\.hide\(text\) calls own\.stars\(text\)"
    ) as raised:
        set_mask(owner, superuser, f"BEGIN RETURN {call}; END")
    assert "Revoke EXECUTE on this function from PUBLIC" in str(raised.value.diag.message_hint)
    run(owner, "REVOKE EXECUTE ON FUNCTION own.stars(text) FROM PUBLIC")
    run(superuser, "SELECT set_mask('own.t', 's', 'own.hide(text)'::regprocedure, true)")
    with database.session("wall_user") as user:
        assert rows(user, "SELECT s FROM own.t") == [("*******",)]
        run(owner, "GRANT EXECUTE ON FUNCTION own.stars(text) TO wall_user")
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match=r"needs own\.stars\(text\)"):
            rows(user, "SELECT s FROM own.t")


def test_a_mask_is_safe_from_the_check_of_its_domain(
    database: Database, owner: Connection, superuser: Connection
) -> None:
    run(owner, VALID.format(schema="own"), PAN.format(schema="own"))
    run(owner, "CREATE TABLE card (id integer PRIMARY KEY, n own.pan)")
    run(owner, "CREATE FUNCTION own.hide(own.pan) RETURNS own.pan LANGUAGE sql AS $$ SELECT '***' $$")
    run(superuser, "SELECT encrypt_column('own.card', 'n')")
    run(owner, "INSERT INTO card VALUES (1, '4111')", "GRANT SELECT ON card TO wall_user")
    masking = "SELECT set_mask('own.card', 'n', 'own.hide(own.pan)'::regprocedure, true)"
    with pytest.raises(errors.InvalidParameterValue, match=r"calls own\.valid\(text\)"):
        rows(superuser, masking)
    run(owner, "ALTER FUNCTION own.valid(text) SET search_path = pg_catalog, pg_temp")
    for setting in ("standard_conforming_strings = on", "transform_null_equals = off", "array_nulls = on"):
        run(owner, f"ALTER FUNCTION own.valid(text) SET {setting}")
    for setting in ("DateStyle = ISO", "IntervalStyle = postgres", "TimeZone = UTC"):
        run(owner, f"ALTER FUNCTION own.valid(text) SET {setting}")
    run(superuser, masking)
    with database.session("wall_user") as user:
        call_first(user, "own.valid('x'::pg_catalog.text)")
        assert rows(user, "SELECT n FROM own.card") == [("***",)]
    assert database.loot() == []


def test_an_administrator_of_keys_verifies_as_nobody_else(
    database: Database, owner: Connection, superuser: Connection
) -> None:
    run(owner, VALID.format(schema="own"), PAN.format(schema="own"))
    run(owner, "CREATE TABLE card (id integer PRIMARY KEY, n own.pan)", "GRANT SELECT ON card TO wall_admin")
    run(superuser, "SELECT encrypt_column('own.card', 'n')", "SELECT add_blind_index('own.card', 'n')")
    run(owner, "INSERT INTO card VALUES (1, '4111')")
    verify = "SELECT * FROM pgkeymgr.verify_column('own.card', 'n')"
    with database.session("wall_admin") as admin:
        rows(admin, "SELECT grant_data_key('own.card.n', 'wall_admin')")
        call_first(admin, "own.valid('x'::pg_catalog.text)")
        with pytest.raises(errors.InsufficientPrivilege, match=r"its values call own\.valid\(text\)"):
            rows(admin, verify)
        run(owner, "REVOKE EXECUTE ON FUNCTION own.valid(text) FROM PUBLIC")
        assert rows(admin, verify) == []
    assert database.loot() == []
    assert rows(superuser, verify) == []


def test_ddl_of_others_parses_no_literal_that_they_prepared(
    database: Database, owner: Connection, superuser: Connection
) -> None:
    run(owner, VALID.format(schema="own"), PAN.format(schema="own"))
    with database.session("wall_victim") as other:
        run(other, "CREATE FUNCTION shared.f(integer) RETURNS integer LANGUAGE sql AS 'SELECT 1'")
        check = "s <> ALL ('{a}'::own.pan[]) AND shared.f(1) = 1"
        run(owner, f"CREATE TABLE card (id integer PRIMARY KEY, s text CHECK ({check}))")
        run(superuser, "SELECT encrypt_column('own.card', 's')")
        call_first(other, "own.valid('x'::pg_catalog.text)")
        run(other, "ALTER FUNCTION shared.f(integer) RENAME TO g")
    assert database.loot() == []


def test_views_of_others_come_back_without_what_an_owner_prepared(
    database: Database, owner: Connection, superuser: Connection
) -> None:
    walls_database.make_encrypted(owner, superuser)
    run(owner, "GRANT SELECT ON t TO wall_victim")
    with database.session("wall_victim") as victim:
        run(victim, VALID.format(schema="shared"), PAN.format(schema="shared"))
        run(victim, "CREATE VIEW shared.w AS SELECT id, s, '{a}'::shared.pan[] AS p FROM own.t")
    drop = "ALTER TABLE own.t_encrypted DROP COLUMN n CASCADE"
    call_first(owner, "shared.valid('x'::pg_catalog.text)")
    with pytest.raises(errors.FeatureNotSupported, match=r"its literals call shared\.valid\(text\)"):
        rows(owner, drop)
    assert database.loot() == []
    run(superuser, drop)
    assert value(superuser, "SELECT p::text FROM shared.w") == "{a}"
