"""The walls between roles while pgkeymgr works: what an owner's code alters, keeps locked, or gets granted."""

import contextlib
from collections.abc import Iterator

import psycopg
import pytest
import walls_database
from conftest import Connection, rows, value
from psycopg import errors
from walls_database import Database, in_transaction, make_encrypted, run

server = walls_database.server
database = walls_database.database
superuser = walls_database.superuser
owner = walls_database.owner


@pytest.fixture
def victim(database: Database, superuser: Connection) -> Iterator[Connection]:
    """A session of wall_victim's, with a table that has encrypted values of a type of wall_owner's."""
    run(
        superuser,
        "GRANT pgkeymgr_admin TO wall_owner, wall_victim",
        "CREATE TYPE own.mood AS ENUM ('happy', 'sad')",
        "ALTER TYPE own.mood OWNER TO wall_owner",
    )
    try:
        with database.session("wall_victim") as connection:
            run(
                connection,
                "CREATE TABLE shared.diary (id integer PRIMARY KEY, m own.mood)",
                "SELECT encrypt_column('shared.diary', 'm')",
                "INSERT INTO shared.diary VALUES (1, 'happy')",
            )
            yield connection
    finally:
        run(superuser, "REVOKE pgkeymgr_admin FROM wall_owner, wall_victim")


RENAME = "ALTER TYPE own.mood RENAME VALUE 'happy' TO 'merry'"


def test_a_check_alters_a_type(victim: Connection, owner: Connection) -> None:
    """Code of an owner's alters no type behind the values of others while a column of the owner is encrypted."""
    run(
        owner,
        f"CREATE FUNCTION own.alter_it(text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN {RENAME};"
        " RETURN true; END $$",
        "CREATE DOMAIN own.trap AS text CHECK (own.alter_it(VALUE))",
        "CREATE TABLE own.bait (id integer PRIMARY KEY, s own.trap)",
    )
    with pytest.raises(errors.FeatureNotSupported, match="would become unreadable"):
        rows(owner, "SELECT encrypt_column('own.bait', 's')")
    assert rows(victim, "SELECT id, m::text FROM shared.diary") == [(1, "happy")]


def test_an_action_alters_a_type(victim: Connection, owner: Connection) -> None:
    """The action of alter_encrypted_table() alters no type behind the values of others."""
    run(
        owner,
        "CREATE TABLE own.bait (id integer PRIMARY KEY, s text)",
        "SELECT encrypt_column('own.bait', 's')",
    )
    with pytest.raises(errors.FeatureNotSupported, match="would become unreadable"):
        rows(owner, f"SELECT alter_encrypted_table('own.bait', $$ADD COLUMN n integer; {RENAME}$$)")
    assert rows(victim, "SELECT id, m::text FROM shared.diary") == [(1, "happy")]


def test_an_action_with_a_commit(victim: Connection, owner: Connection) -> None:
    """An error of PL/Python's own is reported as such."""
    run(
        owner,
        "CREATE TABLE own.bait (id integer PRIMARY KEY, s text)",
        "SELECT encrypt_column('own.bait', 's')",
    )
    with pytest.raises(psycopg.Error, match="SPI_ERROR_TRANSACTION"):
        rows(owner, "SELECT alter_encrypted_table('own.bait', 'ADD COLUMN n integer; COMMIT')")


def test_an_object_without_privileges(superuser: Connection, owner: Connection) -> None:
    """A function or a view on which nobody has a privilege has none after it was created again."""
    run(
        owner,
        "CREATE TABLE own.t (id integer PRIMARY KEY, s text)",
        "CREATE FUNCTION own.peek(own.t) RETURNS integer LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
        "REVOKE ALL ON FUNCTION own.peek(own.t) FROM PUBLIC, wall_owner",
        "CREATE VIEW own.shown AS SELECT id, s FROM own.t",
        "REVOKE ALL ON own.shown FROM wall_owner",
        "ALTER DEFAULT PRIVILEGES FOR ROLE wall_owner GRANT ALL ON TABLES TO wall_user",
    )
    granted = (
        "SELECT 'peek', count(x.*) FROM pg_proc AS p LEFT JOIN LATERAL aclexplode(coalesce(p.proacl,"
        " acldefault('f', p.proowner))) AS x ON true WHERE p.oid = 'own.peek'::regproc UNION ALL"
        " SELECT 'shown', count(x.*) FROM pg_class AS c LEFT JOIN LATERAL aclexplode(coalesce(c.relacl,"
        " acldefault('r', c.relowner))) AS x ON true WHERE c.oid = 'own.shown'::regclass"
    )
    assert rows(superuser, granted) == [("peek", 0), ("shown", 0)]
    run(superuser, "SELECT encrypt_column('own.t', 's')")
    assert rows(superuser, granted) == [("peek", 0), ("shown", 0)]


@pytest.mark.parametrize("user", ["wall_victim", "postgres"])
def test_a_view_that_is_locked(database: Database, owner: Connection, superuser: Connection, user: str) -> None:
    """An owner who keeps a view locked keeps nobody from dropping a column of another table."""
    make_encrypted(owner, superuser)
    run(owner, "CREATE VIEW own.dependent AS SELECT id, s FROM own.t")
    with (
        in_transaction(owner, "LOCK TABLE own.dependent IN ACCESS EXCLUSIVE MODE"),
        database.session(user) as other,
    ):
        run(
            other,
            "SET statement_timeout = '30s'",
            "CREATE TABLE shared.plain (a integer, b integer)",
            "ALTER TABLE shared.plain DROP COLUMN b",
        )
        assert value(other, "SHOW lock_timeout") == "0"
    # The dependent object still comes back with the view.
    run(owner, "ALTER TABLE own.t_encrypted DROP COLUMN n CASCADE")
    assert rows(owner, "SELECT id, s FROM own.dependent") == [(1, "x")]


def test_a_refresh_that_is_not_committed(database: Database, owner: Connection, superuser: Connection) -> None:
    """An owner who works on a table keeps nobody from dropping a function with a name that a CHECK has."""
    run(
        superuser,
        "CREATE TABLE own.t (id integer PRIMARY KEY, s text, CHECK (s <> 'useful'))",
        "ALTER TABLE own.t OWNER TO wall_owner",
        "SELECT encrypt_column('own.t', 's')",
    )
    with database.session("wall_victim") as other:
        run(
            other,
            "CREATE FUNCTION shared.useful() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
            "SET statement_timeout = '30s'",
        )
        with in_transaction(superuser, "SELECT refresh_encrypted_view('own.t')"):
            run(other, "DROP FUNCTION shared.useful()")


CODE = {
    "a CHECK": ("text", "ALTER TABLE own.t ADD CHECK (own.sneak(n))"),
    "a CHECK of the encrypted column": ("text", "ALTER TABLE own.t ADD CHECK (own.sneak(length(s)))"),
    "a domain": ("own.sly", "SELECT"),
    "an index": ("text", "CREATE INDEX ON own.t (n) WHERE own.sneak(n)"),
    "a generated column": ("text", "ALTER TABLE own.t ADD g boolean GENERATED ALWAYS AS (own.sneak(n)) STORED"),
    "a function that calls it": ("text", "ALTER TABLE own.t ADD CHECK (own.call_it(n))"),
    "an operator": ("text", "ALTER TABLE own.t ADD CHECK (n OPERATOR(own.@@@) n)"),
}


@pytest.mark.parametrize("code", CODE)
@pytest.mark.parametrize("time", ["BEFORE", "AFTER"])
def test_a_superuser_keeps_triggers_from_firing(
    database: Database, owner: Connection, superuser: Connection, code: str, time: str
) -> None:
    """While a superuser's procedure keeps triggers from firing, no code of an owner's passes those of others."""
    type_, statement = CODE[code]
    with database.session("wall_victim") as victim:
        run(
            victim,
            "CREATE TABLE shared.ledger (v text)",
            "CREATE FUNCTION shared.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
            "CREATE TRIGGER refuse BEFORE INSERT ON shared.ledger FOR EACH ROW EXECUTE FUNCTION shared.refuse()",
            "GRANT INSERT ON shared.ledger TO wall_owner",
        )
    run(
        owner,
        "CREATE FUNCTION own.insert_it() RETURNS void LANGUAGE sql AS"
        " 'INSERT INTO shared.ledger VALUES (current_user)'",
        # An immutable function may not write, but may call a function that does.
        "CREATE FUNCTION own.sneak(integer) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS"
        " $$ BEGIN PERFORM own.insert_it(); RETURN true; END $$",
        "CREATE FUNCTION own.call_it(n integer) RETURNS boolean IMMUTABLE BEGIN ATOMIC SELECT own.sneak(n); END",
        "CREATE FUNCTION own.sneak2(a integer, b integer) RETURNS boolean LANGUAGE sql IMMUTABLE AS"
        " 'SELECT own.sneak(a)'",
        "CREATE OPERATOR own.@@@ (FUNCTION = own.sneak2, LEFTARG = integer, RIGHTARG = integer)",
        "CREATE DOMAIN own.sly AS text CHECK (own.sneak(length(VALUE)))",
        f"CREATE TABLE own.t (id integer PRIMARY KEY, s {type_}, n integer)",
        "INSERT INTO own.t VALUES (1, 'x', 1)",
        "CREATE FUNCTION own.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
        f"CREATE TRIGGER note {time} UPDATE ON own.t FOR EACH ROW EXECUTE FUNCTION own.note()",
        statement,
    )
    try:
        run(superuser, "SELECT encrypt_column('own.t', 's')")
        run(superuser, "CALL migrate_column('own.t', 's')")
        run(superuser, "CALL decrypt_column('own.t', 's')")
        assert time == "BEFORE"
    except errors.InsufficientPrivilege as error:
        assert time == "AFTER"
        assert "whose owner may not set session_replication_role" in str(error)  # noqa: PT017  # both outcomes are checked
    assert value(superuser, "SELECT count(*) FROM shared.ledger") == 0


def test_keys_of_values_belong_to_the_owner(database: Database, owner: Connection, superuser: Connection) -> None:
    """A procedure that keeps triggers from firing makes keys with an owner."""
    run(superuser, "GRANT pgkeymgr_admin TO wall_owner")
    try:
        run(
            owner,
            "CREATE TABLE own.t (id integer PRIMARY KEY, s text, tenant integer)",
            "INSERT INTO own.t VALUES (1, 'x', 1), (2, 'y', 2)",
            "CREATE FUNCTION own.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
            "CREATE TRIGGER note BEFORE UPDATE ON own.t FOR EACH ROW EXECUTE FUNCTION own.note()",
            "SELECT encrypt_column('own.t', 's', key_by => 'tenant')",
        )
        run(superuser, "CALL migrate_column('own.t', 's')")
        owners = "SELECT DISTINCT owner::regrole::text, owner_name::text FROM pgkeymgr.key"
        assert rows(superuser, owners) == [("wall_owner", "wall_owner")]
        assert rows(owner, "SELECT id, s FROM own.t ORDER BY 1") == [(1, "x"), (2, "y")]
        run(
            superuser,
            "SET session_replication_role = replica",
            "SELECT create_data_key('k')",
            "SELECT grant_data_key('k', 'wall_user', '{encrypt}')",
        )
        named = (
            "SELECT k.owner::regrole::text, g.grantee::regrole::text FROM pgkeymgr.key AS k"
            " JOIN pgkeymgr.key_grant AS g USING (family) WHERE k.name = 'k'"
        )
        assert rows(superuser, named) == [("postgres", "wall_user")]
    finally:
        run(superuser, "REVOKE pgkeymgr_admin FROM wall_owner")


def test_names_with_on(owner: Connection, superuser: Connection) -> None:
    """A policy is created again whatever its name and the names of the tables are."""
    run(
        owner,
        'CREATE TABLE own."x ON y" (id integer PRIMARY KEY, s text)',
        'CREATE TABLE own."p ON q" (id integer)',
        'CREATE POLICY "a ""ON b" ON own."p ON q" USING (id IN (SELECT id FROM own."x ON y" WHERE s <> \' ON \'))',
    )
    run(superuser, "SELECT encrypt_column('own.\"x ON y\"', 's')")
    policies = "SELECT polname::text, polrelid::regclass::text FROM pg_policy"
    assert rows(superuser, policies) == [('a "ON b', '"p ON q"')]


ROWS = {
    "a number of many digits": ("(SELECT ('{\"id\": 1, \"n\": ' || repeat('9', 6000) || '}')::jsonb)", "NULL"),
    "columns in two dimensions": ("'{\"id\": 1}'", "'{{id}}'"),
    "a column that is NULL": ("'{\"id\": 1}'", "'{NULL}'"),
}


@pytest.mark.parametrize("row", ROWS)
def test_upserts_of_odd_arguments(owner: Connection, superuser: Connection, row: str) -> None:
    """An argument that cannot be used is no internal error."""
    make_encrypted(owner, superuser)
    new_row, columns = ROWS[row]
    with pytest.raises(psycopg.DataError, match=r"not valid for the type|without NULL"):
        rows(owner, f"SELECT upsert('own.t', {new_row}, {columns}::name[])")


LOOT = (
    "CREATE FUNCTION {}({}) RETURNS {} LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.loot VALUES (current_user);"
    " RETURN; END $$"
)


def test_a_function_in_the_extensions_schema(database: Database, owner: Connection, superuser: Connection) -> None:
    """A role that may create functions in the extension's schema has none called with other rights."""
    run(superuser, "GRANT CREATE ON SCHEMA pgkeymgr TO wall_owner")
    for type_ in ("text", "name", '"char"', "unknown_type"):
        with contextlib.suppress(errors.UndefinedObject):
            run(owner, LOOT.format("pgkeymgr._revoke_all", f"{type_}, oid[]", "void"))
    make_encrypted(owner, superuser)
    run(owner, "ALTER TABLE own.t_encrypted ADD COLUMN more integer", "DROP TABLE own.t_encrypted CASCADE")
    assert database.loot() == []


def test_the_owner_of_the_extensions_schema(database: Database, superuser: Connection) -> None:
    """An owner of the schema who is no superuser does not put another one in its place, even without tables."""
    run(superuser, "ALTER SCHEMA pgkeymgr OWNER TO wall_owner", "GRANT CREATE ON SCHEMA public TO wall_owner")
    run(superuser, f"GRANT CREATE ON DATABASE {database.name} TO wall_owner")
    with (
        database.session("wall_owner") as owner,
        pytest.raises(errors.FeatureNotSupported, match="must keep its name"),
    ):
        rows(owner, "ALTER SCHEMA pgkeymgr RENAME TO elsewhere")
    run(superuser, "ALTER SCHEMA pgkeymgr OWNER TO postgres", "ALTER SCHEMA pgkeymgr RENAME TO elsewhere")
    run(superuser, "ALTER SCHEMA elsewhere RENAME TO pgkeymgr")


def test_the_functions_of_triggers_were_there(
    database: Database, owner: Connection, superuser: Connection
) -> None:
    """A role that may create functions in the extension's schema keeps none under the name of a generated one."""
    run(superuser, "GRANT CREATE, USAGE ON SCHEMA pgkeymgr TO wall_victim")
    with database.session("wall_victim") as victim:
        for number in range(1, 9):
            for name in ("_insert", "_update", "_seal_insert", "_seal_update"):
                run(
                    victim,
                    f"CREATE FUNCTION pgkeymgr.{name}_{number}() RETURNS trigger LANGUAGE plpgsql AS"
                    " $$ BEGIN RETURN NEW; END $$",
                    f"GRANT EXECUTE ON FUNCTION pgkeymgr.{name}_{number}() TO wall_owner",
                )
    make_encrypted(owner, superuser)
    owners = (
        "SELECT p.oid::regproc::text, p.proowner::regrole::text FROM pg_trigger AS t JOIN pg_proc AS p"
        " ON p.oid = t.tgfoid WHERE t.tgrelid IN ('own.t'::regclass, 'own.t_encrypted'::regclass) ORDER BY 1"
    )
    found = rows(superuser, owners)
    assert len(found) == 4
    assert {role for _, role in found} == {"postgres"}
    # With the right text, too, since a text that is right is not written again.
    run(superuser, f"ALTER FUNCTION pgkeymgr.{found[0][0]}() OWNER TO wall_victim")
    assert rows(superuser, owners) != found
    run(superuser, "SELECT refresh_encrypted_view('own.t')")
    assert rows(superuser, owners) == found
