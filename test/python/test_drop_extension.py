"""DROP EXTENSION, and statements that would drop the extension too, while there are keys."""

import contextlib
from collections.abc import Iterator

import pytest
from cluster import Cluster
from conftest import Connection, rows, value
from psycopg import errors

TOKEN_TABLE = "CREATE TABLE own AS SELECT pgkeymgr.token_encrypt('k', 'precious') AS token"


@pytest.fixture
def admin(cluster: Cluster) -> Iterator[Connection]:
    """A superuser in a database of its own, whose extension has a key that only an application's table uses."""
    with cluster.temporary_database("kept"), cluster.connect("kept") as connection:
        connection.execute("SELECT pgkeymgr.create_data_key('k')")
        connection.execute(TOKEN_TABLE)
        yield connection


def check_kept(admin: Connection) -> None:
    assert value(admin, "SELECT pgkeymgr.token_decrypt(token) FROM own") == b"precious"
    assert rows(admin, "SELECT FROM pg_cursors") == []


@pytest.mark.parametrize(
    "statement",
    [
        "DROP EXTENSION pgkeymgr",
        "DROP EXTENSION IF EXISTS pgkeymgr CASCADE",
        'DROP EXTENSION plpgsql, "pgkeymgr" CASCADE',
        "DROP EXTENSION plpython3u CASCADE",
        "DROP SCHEMA other, pgkeymgr CASCADE",
        "DO $$ BEGIN EXECUTE 'DROP EXTENSION pgkeymgr' || ' CASCADE'; END $$",
    ],
)
def test_refused_with_a_hint(admin: Connection, statement: str) -> None:
    admin.execute("CREATE SCHEMA other")
    with pytest.raises(errors.DependentObjectsStillExist, match="1 of its keys is not destroyed") as refused:
        rows(admin, statement)
    assert "destroy_data_key()" in (refused.value.diag.message_hint or "")
    assert "pgkeymgr_keep_keys" in (refused.value.diag.message_hint or "")
    check_kept(admin)


@pytest.mark.parametrize(
    "statement",
    [
        "DROP /* all */ EXTENSION pgkeymgr CASCADE",
        r'DROP SCHEMA U&"pgkeym\0067r" CASCADE',
        "DROP OWNED BY CURRENT_USER CASCADE",
        "SET session_replication_role = replica; DROP /* all */ EXTENSION pgkeymgr CASCADE",
    ],
)
def test_refused_with_any_text(admin: Connection, statement: str) -> None:
    """The table that is in use has a comment with the remedy."""
    admin.execute("CREATE ROLE keep_owner SUPERUSER")
    try:
        if "OWNED" in statement:
            admin.execute("DROP TABLE own")
            admin.execute("ALTER EVENT TRIGGER pgkeymgr_keep_keys DISABLE")
            admin.execute("DROP EXTENSION pgkeymgr")
            admin.execute("SET ROLE keep_owner")
            admin.execute("CREATE EXTENSION pgkeymgr SCHEMA pgkeymgr")
            admin.execute("SELECT pgkeymgr.create_data_key('k')")
            admin.execute("RESET ROLE")
            admin.execute(TOKEN_TABLE)
            admin.execute("SET ROLE keep_owner")
        with pytest.raises(errors.ObjectInUse, match="keys_not_destroyed"):
            rows(admin, statement)
        admin.execute("RESET session_replication_role")
        check_kept(admin)
        comment = value(admin, "SELECT obj_description('pgkeymgr.keys_not_destroyed'::regclass)")
        assert "ALTER EVENT TRIGGER pgkeymgr_keep_keys DISABLE" in comment
    finally:
        admin.execute("RESET ROLE")
        admin.execute("ALTER EVENT TRIGGER pgkeymgr_keep_keys DISABLE")
        admin.execute("DROP OWNED BY keep_owner CASCADE")
        admin.execute("DROP ROLE keep_owner")


def test_refused_in_a_renamed_schema(admin: Connection) -> None:
    admin.execute("ALTER SCHEMA pgkeymgr RENAME TO renamed")
    for statement in ("DROP EXTENSION pgkeymgr", "DROP SCHEMA renamed CASCADE"):
        with pytest.raises(errors.DependentObjectsStillExist):
            rows(admin, statement)
    admin.execute("ALTER SCHEMA renamed RENAME TO pgkeymgr")
    check_kept(admin)


def test_refused_within_the_event_trigger_of_another_drop(admin: Connection) -> None:
    """The end of an inner statement does not open the way for the outer one."""
    admin.execute("CREATE SCHEMA inner_schema")
    admin.execute(
        "CREATE FUNCTION public.drop_more() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF to_regnamespace('inner_schema') IS NOT NULL THEN DROP SCHEMA inner_schema; END IF; END $$"
    )
    admin.execute(
        "CREATE EVENT TRIGGER z_more ON ddl_command_start WHEN TAG IN ('DROP EXTENSION')"
        " EXECUTE FUNCTION public.drop_more()"
    )
    with pytest.raises(errors.ObjectInUse):
        rows(admin, "DROP /* all */ EXTENSION pgkeymgr")
    check_kept(admin)


def test_other_drops_pass(admin: Connection) -> None:
    """Also within one transaction, and where a name contains the extension's or a comment has it."""
    admin.execute("CREATE ROLE keep_other")
    try:
        for _ in range(2):
            with admin.transaction():
                admin.execute('CREATE SCHEMA "pgkeymgr 2"')
                admin.execute('CREATE TABLE "pgkeymgr 2".t (id integer)')
                admin.execute('CREATE EXTENSION pgcrypto SCHEMA "pgkeymgr 2"')
                admin.execute("DROP EXTENSION pgcrypto -- not pgkeymgr")
                admin.execute('DROP SCHEMA "pgkeymgr 2" CASCADE')
                admin.execute("DROP SCHEMA IF EXISTS nothing CASCADE")
                admin.execute("DROP OWNED BY keep_other CASCADE")
                admin.execute("SET LOCAL ROLE keep_other")
        check_kept(admin)
    finally:
        admin.execute("DROP ROLE keep_other")


def test_dropped_without_keys(admin: Connection) -> None:
    """Destroyed keys are none. The key's own tables go, and the extension can be created again in the session."""
    admin.execute("SELECT pgkeymgr.destroy_data_key(id, name) FROM pgkeymgr.data_keys")
    admin.execute("DROP EXTENSION pgkeymgr")
    admin.execute("CREATE EXTENSION pgkeymgr SCHEMA pgkeymgr")
    admin.execute("SELECT pgkeymgr.create_data_key('again')")
    with pytest.raises(errors.DependentObjectsStillExist):
        admin.execute("DROP EXTENSION pgkeymgr")


def test_dropped_when_a_superuser_says_so(admin: Connection) -> None:
    """It takes effect within the transaction, and ends with it. No setting of a session does the same."""
    admin.execute("CREATE ROLE keep_owner SUPERUSER")
    try:
        admin.execute("ALTER ROLE keep_owner NOSUPERUSER")
        admin.execute("SET ROLE keep_owner")
        with pytest.raises(errors.InsufficientPrivilege):
            admin.execute("ALTER EVENT TRIGGER pgkeymgr_keep_keys DISABLE")
        admin.execute("RESET ROLE")
        with contextlib.suppress(InterruptedError), admin.transaction():
            admin.execute("ALTER EVENT TRIGGER pgkeymgr_keep_keys DISABLE")
            assert rows(admin, "SELECT status, hint FROM pgkeymgr.doctor() WHERE object LIKE '%keep_keys'") == [
                ("warning", "ALTER EVENT TRIGGER pgkeymgr_keep_keys ENABLE ALWAYS;")
            ]
            admin.execute("DROP EXTENSION pgkeymgr")
            raise InterruptedError
        with pytest.raises(errors.DependentObjectsStillExist):
            admin.execute("DROP EXTENSION pgkeymgr")
        assert rows(admin, "SELECT FROM pgkeymgr.doctor() WHERE object LIKE '%keep_keys'") == []
    finally:
        admin.execute("DROP ROLE keep_owner")
