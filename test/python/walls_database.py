"""Databases for the tests of the walls between roles, where pgkeymgr works on somebody's table or follows DDL.

A table can have code of its owner's in it. The code runs with the rights of the owner, and of the roles that read
or write the table, but not with those of a superuser or an administrator of keys who lets pgkeymgr work on it. The
statements of one role do not fail for a fault in the tables of another.
"""

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import database_session
import pytest
from cluster import Cluster
from conftest import Connection, rows

ROLES = ("wall_owner", "wall_victim", "wall_admin", "wall_user", "wall_grantor")
_DATABASES = itertools.count(1)
TEMPLATE = "walls_template"


class Database(database_session.Database):
    """A database of one test, in which wall_owner has a schema ``own``. The messages of its sessions are kept."""

    search_path = "own,pgkeymgr,public"

    def __init__(self, server: Cluster, name: str) -> None:
        super().__init__(server, name)
        self.messages: list[str] = []

    def connect(self, user: str = "postgres", **more: Any) -> Connection:
        """Open a session whose messages are kept."""
        connection = super().connect(user, **more)
        connection.add_notice_handler(lambda notice: self.messages.append(notice.message_primary or ""))
        return connection

    def loot(self) -> list[Any]:
        """Return as whom the owner's code has run, besides the owner, and what it got."""
        with self.server.connect(self.name) as connection:
            return [
                *rows(connection, "SELECT DISTINCT who FROM public.loot ORDER BY 1"),
                *(message for message in self.messages if message.startswith("LOOT")),
                *rows(connection, "SELECT rolname FROM pg_roles WHERE rolsuper AND rolname LIKE 'wall%'"),
            ]


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """A server with roles, and a template database with the extension."""
    with Cluster(settings={"autovacuum": "off"}) as running:
        with running.connect() as connection:
            for role in ROLES:
                rows(connection, f"CREATE ROLE {role} LOGIN")
        running.create_database(TEMPLATE)
        with running.connect(TEMPLATE) as connection:
            for statement in (
                "GRANT pgkeymgr_admin TO wall_admin",
                "GRANT USAGE ON SCHEMA pgkeymgr TO wall_owner",
                "CREATE SCHEMA own AUTHORIZATION wall_owner",
                "CREATE SCHEMA shared",
                "GRANT USAGE, CREATE ON SCHEMA shared TO wall_owner, wall_victim",
                "GRANT USAGE ON SCHEMA own TO PUBLIC",
                "CREATE TABLE public.loot (who text)",
                "GRANT INSERT ON public.loot TO PUBLIC",
            ):
                rows(connection, statement)
        yield running


@contextlib.contextmanager
def new_database(server: Cluster, template: str = TEMPLATE) -> Iterator[Database]:
    """Make a database, which is dropped after the block."""
    name = f"walls_{next(_DATABASES)}"
    with server.database_copy(template, name):
        yield Database(server, name)


@pytest.fixture
def database(server: Cluster) -> Iterator[Database]:
    """A new database with the extension."""
    with new_database(server) as made:
        yield made


@pytest.fixture
def superuser(database: Database) -> Iterator[Connection]:
    """A superuser's session in it."""
    with database.session() as connection:
        yield connection


@pytest.fixture
def owner(database: Database) -> Iterator[Connection]:
    """A session of wall_owner's in it."""
    with database.session("wall_owner") as connection:
        yield connection


def run(connection: Connection, *statements: str) -> None:
    """Run statements, one after the other."""
    for statement in statements:
        rows(connection, statement)


@contextlib.contextmanager
def in_transaction(connection: Connection, *statements: str) -> Iterator[None]:
    """Run statements in a transaction that stays open during the block."""
    run(connection, "BEGIN", *statements)
    try:
        yield
    finally:
        run(connection, "ROLLBACK")


SPY = """CREATE FUNCTION own.look_around() RETURNS void LANGUAGE plpgsql AS $spy$
    DECLARE become text;
    BEGIN
        IF current_user <> 'wall_owner' THEN
            RAISE WARNING 'LOOT %', current_user;
            BEGIN INSERT INTO public.loot VALUES (current_user); EXCEPTION WHEN OTHERS THEN NULL; END;
            BEGIN ALTER ROLE wall_owner SUPERUSER; EXCEPTION WHEN OTHERS THEN NULL; END;
        ELSIF session_user <> 'wall_owner' THEN
            FOREACH become IN ARRAY ARRAY['RESET ROLE', 'SET ROLE postgres', 'SET LOCAL ROLE NONE',
                'SET SESSION AUTHORIZATION DEFAULT', 'SET SESSION AUTHORIZATION postgres'] LOOP
                BEGIN
                    EXECUTE become;
                    RAISE WARNING 'LOOT %: %', become, current_user;
                EXCEPTION WHEN insufficient_privilege THEN NULL;
                END;
            END LOOP;
            -- What would be left behind in the session of the caller.
            PERFORM set_config('search_path', 'own, pg_catalog', false), set_config('walls.left', 'behind', false);
            BEGIN
                CREATE TEMP TABLE left_behind (i int);
                RAISE WARNING 'LOOT a temporary table';
            EXCEPTION WHEN insufficient_privilege OR object_in_use THEN NULL;
            END;
        END IF;
    END $spy$"""
"""SQL: a function of wall_owner's that reports when it runs as somebody else, or can become somebody else."""


def spy(name: str, arguments: str, returns: str = "boolean", result: str = "true") -> str:
    """SQL: an immutable function of wall_owner's that calls the one above, which is not."""
    return (
        f"CREATE FUNCTION own.{name}({arguments}) RETURNS {returns} LANGUAGE plpgsql IMMUTABLE AS"
        f" $$ BEGIN PERFORM own.look_around(); RETURN {result}; END $$"
    )


# Event triggers


def make_encrypted(owner: Connection, superuser: Connection, name: str = "t") -> None:
    """Make a table of wall_owner's with an encrypted column in it."""
    run(owner, f"CREATE TABLE {name} (id integer PRIMARY KEY, s text, n integer)")
    run(owner, f"INSERT INTO {name} VALUES (1, 'x', 1)")
    run(superuser, f"SELECT encrypt_column('{name}', 's')", f"CALL migrate_column('{name}', 's')")


def privileges(connection: Connection, relation: str) -> set[str]:
    """Return the privileges on a relation, without who gave them."""
    found = rows(
        connection,
        "SELECT DISTINCT grantee::regrole::text, privilege_type, is_grantable FROM pg_class, aclexplode(relacl)"
        f" WHERE oid = '{relation}'::regclass",
    )
    return {f"{role} {privilege.lower()}{'*' if option else ''}" for role, privilege, option in found}
