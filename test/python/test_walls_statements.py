"""The walls between the statements of roles: none blocks, delays or runs code in the statements of another."""

from collections.abc import Iterator

import pytest
import walls_database
from conftest import Connection, rows, value
from psycopg import errors
from walls_database import Database, in_transaction, make_encrypted, run

server = walls_database.server
database = walls_database.database
superuser = walls_database.superuser
owner = walls_database.owner

TRIGGER = "CREATE OR REPLACE FUNCTION {} RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {}; RETURN NEW; END $$"
READS = "PERFORM NEW.s"
CHECKED = "CREATE TABLE own.t (id integer PRIMARY KEY, s text CHECK ({}))"
IS_GOOD = "CREATE FUNCTION own.is_good(text) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT true'"


@pytest.fixture
def victim(database: Database) -> Iterator[Connection]:
    """A session of wall_victim's in it. None of its statements may wait long."""
    with database.session("wall_victim") as connection:
        rows(connection, "SET statement_timeout = '30s'")
        yield connection


def encrypt(owner: Connection, superuser: Connection, check: str) -> None:
    """Encrypt a column of wall_owner's that has a CHECK."""
    run(owner, CHECKED.format(check))
    run(superuser, "SELECT encrypt_column('own.t', 's')")


def test_a_function_of_others_in_a_trigger(
    database: Database, owner: Connection, superuser: Connection, victim: Connection
) -> None:
    """A trigger can have anybody's function, and keeps only the owner of the table from replacing it."""
    make_encrypted(owner, superuser)
    functions = {"shared.of_victim()": victim, "shared.of_superuser()": superuser, "own.of_owner()": owner}
    for number, (function, maker) in enumerate(functions.items()):
        run(
            maker,
            TRIGGER.format(function, "NEW.n := 5"),
            f"GRANT EXECUTE ON FUNCTION {function} TO PUBLIC",
        )
        run(
            owner,
            f"CREATE TRIGGER a{number} BEFORE INSERT ON own.t_encrypted FOR EACH ROW EXECUTE FUNCTION {function}",
        )
    for maker in (owner, superuser):
        with pytest.raises(errors.FeatureNotSupported, match='column "s" of t is encrypted'):
            rows(maker, TRIGGER.format("own.of_owner()", READS))
    for function, maker in list(functions.items())[:2]:
        database.messages.clear()
        rows(maker, TRIGGER.format(function, READS))
        assert any("does not follow" in message for message in database.messages)
    # The fault is there already, and none of these statements' own.
    with in_transaction(owner, "LOCK TABLE own.t, own.t_encrypted IN ACCESS EXCLUSIVE MODE"):
        rows(victim, TRIGGER.format("shared.of_victim()", "NEW.n := 6"))


def test_a_statement_locks_nothing_of_others(owner: Connection, superuser: Connection, victim: Connection) -> None:
    """A CHECK is text here, in which an object may be named that a role drops."""
    run(owner, IS_GOOD)
    encrypt(owner, superuser, "s <> 'words' AND own.is_good(s)")
    statements = (
        "CREATE TYPE shared.words AS ENUM ()",
        "DROP TYPE shared.words",
        "CREATE FUNCTION shared.f() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "ALTER FUNCTION shared.f() COST 5",
    )
    rows(owner, "SET lock_timeout = '1s'")
    with in_transaction(victim, *statements):
        run(owner, "ALTER TABLE own.t_encrypted ADD COLUMN n integer", "INSERT INTO own.t VALUES (1, 'x', 2)")
    with pytest.raises(errors.CheckViolation):
        rows(owner, "UPDATE own.t SET s = 'words'")
    assert rows(owner, "SELECT * FROM own.t") == [(1, "x", 2)]


SETTINGS = (
    "SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET transform_null_equals = off"
    " SET array_nulls = on SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET TimeZone = 'UTC'"
)


def test_no_code_of_an_owner_runs_in_a_statement_of_others(
    owner: Connection, superuser: Connection, victim: Connection
) -> None:
    """PostgreSQL checks the domain of an array's elements when it parses the array, which may take any time."""
    run(
        owner,
        f"CREATE FUNCTION own.slow(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE {SETTINGS} AS $$ BEGIN"
        " IF session_user <> 'wall_owner' THEN"
        "  RAISE EXCEPTION USING ERRCODE = 'undefined_function', MESSAGE = session_user; END IF;"
        " RETURN true; END $$",
        "CREATE DOMAIN own.d AS text CHECK (own.slow(VALUE))",
        IS_GOOD,
    )
    run(superuser, "GRANT pgkeymgr_admin TO wall_owner")
    try:
        run(
            owner,
            CHECKED.format("s <> ALL ('{x,words}'::own.d[]::text[]) AND own.is_good(s)"),
            "SELECT encrypt_column('own.t', 's')",
        )
    finally:
        run(superuser, "REVOKE pgkeymgr_admin FROM wall_owner")
    messages: list[str] = []
    for other in (victim, superuser):
        other.add_notice_handler(lambda notice: messages.append(notice.message_primary or ""))
        run(
            other,
            "CREATE FUNCTION shared.words() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
            "ALTER FUNCTION shared.words() COST 5",
            "DROP FUNCTION shared.words()",
        )
    assert messages == []


def test_a_superusers_statement_on_something_else(
    database: Database, owner: Connection, superuser: Connection
) -> None:
    """The fault of a constraint is that of its table's owner, who has brought it about."""
    run(owner, IS_GOOD)
    encrypt(owner, superuser, "s <> 'words' AND own.is_good(s)")
    run(superuser, "ALTER SCHEMA own OWNER TO wall_victim", "REVOKE ALL ON SCHEMA own FROM wall_owner, PUBLIC")
    database.messages.clear()
    run(
        superuser,
        "CREATE FUNCTION shared.words() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "ALTER FUNCTION shared.words() COST 5",
        "DROP FUNCTION shared.words()",
    )
    assert len([message for message in database.messages if "does not follow" in message]) == 2


def test_a_grant_beside_a_change_of_others(owner: Connection, superuser: Connection, victim: Connection) -> None:
    """A GRANT looks at the tables that its own transaction has changed."""
    make_encrypted(owner, superuser)
    # A difference that no statement on the table may make.
    run(
        superuser,
        "SET session_replication_role = replica",
        "GRANT SELECT ON own.t_encrypted TO wall_user",
    )
    with in_transaction(victim, "CREATE TABLE shared.plain (i integer)"):
        run(superuser, "ALTER TABLE own.t_encrypted SET (fillfactor = 90)", "RESET session_replication_role")
        run(
            victim,
            "GRANT SELECT ON shared.plain TO wall_user",
            "SAVEPOINT one",
            "GRANT SELECT (i) ON shared.plain TO wall_grantor",
        )
    with pytest.raises(errors.FeatureNotSupported, match="follow the privileges on view"):
        rows(owner, "GRANT SELECT ON own.t_encrypted TO wall_grantor")
    with (
        in_transaction(owner, "SAVEPOINT one"),
        pytest.raises(errors.FeatureNotSupported, match="follow the privileges on view"),
    ):
        rows(owner, "GRANT SELECT (id) ON own.t_encrypted TO wall_grantor")


def test_a_grant_beside_a_grant_of_others(
    database: Database, owner: Connection, superuser: Connection, victim: Connection
) -> None:
    """Both let a role use the extension's schema, whose row in the catalog they change."""
    make_encrypted(owner, superuser)
    run(victim, "CREATE TABLE shared.v (id integer PRIMARY KEY, s text)")
    run(superuser, "SELECT encrypt_column('shared.v', 's')")
    may_use = "SELECT has_schema_privilege('wall_grantor', 'pgkeymgr', 'USAGE')"
    with in_transaction(owner, "GRANT SELECT ON own.t TO wall_user"):
        run(victim, "GRANT SELECT ON shared.v TO wall_grantor")
        assert value(victim, "SHOW lock_timeout") == "0"
    assert any("wall_grantor cannot use schema pgkeymgr yet" in message for message in database.messages)
    assert not value(superuser, may_use)
    run(superuser, "SELECT refresh_encrypted_view('shared.v')")
    assert value(superuser, may_use)


FORGED = "decode('01' || lpad(to_hex(({})), 8, '0') || repeat('00', 40), 'hex')"


def test_tables_that_look_like_copies(owner: Connection, superuser: Connection, victim: Connection) -> None:
    """A role without the key keeps no key from being destroyed, and no definition from being forgotten."""
    make_encrypted(owner, superuser)
    run(superuser, "CALL rotate_column('own.t', 's')", "GRANT USAGE ON SCHEMA pgkeymgr TO wall_victim")
    number = value(superuser, "SELECT min(id) FROM key")
    run(
        victim,
        "CREATE TABLE shared.forged (id integer, s text, n integer, s_encrypted bytea"
        " CHECK (pgkeymgr._is_token(s_encrypted)))",
        f"INSERT INTO shared.forged VALUES (1, NULL, 1, {FORGED.format(number)})",
    )
    with in_transaction(victim, "LOCK TABLE shared.forged IN ACCESS EXCLUSIVE MODE"):
        run(superuser, f"SELECT destroy_data_key({number}, 'own.t.s')", "DROP TABLE own.t_encrypted CASCADE")
        run(superuser, "SELECT forget_dropped_table(id) FROM dropped_encrypted_columns")
    current = value(superuser, "SELECT max(id) FROM key")
    # The owner of such a table may use the key here, as that of a true copy may.
    run(
        superuser,
        f"UPDATE shared.forged SET s_encrypted = {FORGED.format(current)}",
        f"SELECT grant_data_key({current}, 'wall_victim', ARRAY['search'])",
    )
    with pytest.raises(
        errors.ObjectNotInPrerequisiteState, match=r"table shared\.forged, which is not registered"
    ):
        rows(superuser, f"SELECT destroy_data_key({current}, 'own.t.s')")


def test_views_of_what_their_owners_may_not_read(
    owner: Connection, superuser: Connection, victim: Connection
) -> None:
    """A role lets nobody search a table for ciphertext by a view that it cannot read itself."""
    run(owner, "CREATE TABLE own.picture (id integer PRIMARY KEY, image bytea)")
    run(owner, f"INSERT INTO own.picture VALUES (1, {FORGED.format('1')})")
    run(superuser, "SELECT create_data_key('k')", "GRANT USAGE ON SCHEMA pgkeymgr TO wall_victim")
    run(superuser, "SELECT grant_data_key('k', 'wall_owner')")
    view = "CREATE OR REPLACE VIEW shared.seen AS SELECT pgkeymgr._open_bytes(image, '', 1) FROM own.picture"
    run(victim, view)
    assert rows(superuser, "SELECT key_dependents('k')") == []
    run(owner, "GRANT SELECT (image) ON own.picture TO wall_victim")
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match=r"view shared\.seen reads"):
        rows(superuser, "SELECT destroy_data_key(id, name) FROM key")
