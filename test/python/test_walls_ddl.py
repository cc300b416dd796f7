"""The walls between roles, where pgkeymgr works on somebody's table or follows somebody's DDL.

A table can have code of its owner's in it. The code runs with the rights of the owner, and of whoever reads or
writes the table, but not with those of a superuser or an administrator of keys who has pgkeymgr work on it. And
the statements of one role do not fail for a fault in the tables of another.
"""

import contextlib
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cluster import Cluster
from conftest import Connection, rows, value
from psycopg import errors

ROLES = ("wall_owner", "wall_victim", "wall_admin", "wall_user", "wall_grantor")
_DATABASES = itertools.count(1)
TEMPLATE = "walls_template"


class Database:
    """A database of one test, in which wall_owner has a schema ``own``."""

    def __init__(self, server: Cluster, name: str) -> None:
        self.server = server
        self.name = name
        self.messages: list[str] = []

    @contextlib.contextmanager
    def session(self, user: str = "postgres") -> Iterator[Connection]:
        """Open a session whose messages are kept."""
        connection = self.server.connect(self.name, user=user, options="-c search_path=own,pgkeymgr,public")
        connection.add_notice_handler(lambda notice: self.messages.append(notice.message_primary or ""))
        try:
            yield connection
        finally:
            connection.close()

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


TRAPS = {
    "a CHECK": ["ALTER TABLE t ADD CHECK (own.spy(n))"],
    "a generated column": ["ALTER TABLE t ADD COLUMN g boolean GENERATED ALWAYS AS (own.spy(n)) STORED"],
    "a domain": [
        "CREATE DOMAIN own.d AS boolean CHECK (own.spied(VALUE))",
        "ALTER TABLE t ADD COLUMN g own.d GENERATED ALWAYS AS (n > 0) STORED",
    ],
    "an index expression": ["CREATE INDEX ON t (own.spy(n))"],
    "an index predicate": ["CREATE INDEX ON t (n) WHERE own.spy(n)"],
    "a trigger": [
        "CREATE FUNCTION own.fire() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM own.spy(1); RETURN NEW; END $$",
        "CREATE TRIGGER fire BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION own.fire()",
        "CREATE CONSTRAINT TRIGGER later AFTER UPDATE ON t DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION own.fire()",
    ],
    "a policy": [
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE t FORCE ROW LEVEL SECURITY",
        "CREATE POLICY seen ON t USING (own.spy(n))",
    ],
    "a cast of the key": ["CREATE CAST (own.e AS text) WITH FUNCTION own.spelt(own.e)"],
    "a default": ["ALTER TABLE t ADD COLUMN g boolean DEFAULT own.spy(1)"],
}


def make_trapped(owner: Connection, trap: str) -> None:
    """Make a table of wall_owner's with a trap in it."""
    run(
        owner,
        SPY,
        spy("spy", "integer"),
        spy("spied", "boolean"),
        "CREATE TYPE own.e AS ENUM ('x', 'y', 'z')",
        spy("spelt", "own.e", "text", "CASE $1 WHEN 'x' THEN 'x' WHEN 'y' THEN 'y' ELSE 'z' END"),
        "CREATE TABLE t (id integer, k own.e, n integer, s text, w text, PRIMARY KEY (id, k))",
        *TRAPS[trap],
        "INSERT INTO t (id, k, n, s, w) VALUES (1, 'x', 1, 'one', 'uno'), (2, 'y', 2, NULL, NULL),"
        " (3, 'z', 3, 'three', 'tre')",
    )


VALUES = [(1, "x", 1, "one", "uno"), (2, "y", 2, None, None), (3, "z", 3, "three", "tre")]
MAINTENANCE = (
    "SELECT encrypt_column('t', 's')",
    "CALL migrate_column('t', 's', 2)",
    "SELECT encrypt_column('t', 'w', deterministic => true)",
    "CALL migrate_column('t', 'w')",
    "CALL rotate_column('t', 's')",
    "SELECT add_blind_index('t', 's')",
    "SELECT * FROM verify_column('t', 's')",
    "SELECT refresh_encrypted_view('t')",
    "SELECT destroy_data_key(id, name) FROM data_keys WHERE superseded_by IS NOT NULL",
    "SELECT drop_blind_index('t', 's')",
    "CALL decrypt_column('t', 'w', 2)",
    "CALL decrypt_column('t', 's')",
)


@pytest.mark.parametrize("trap", TRAPS)
def test_maintenance_by_a_superuser(
    database: Database, owner: Connection, superuser: Connection, trap: str
) -> None:
    """The owner's code runs as the owner, if at all, cannot become anybody else, and leaves nothing behind."""
    make_trapped(owner, trap)
    for statement in MAINTENANCE:
        found = rows(superuser, statement)
        if "verify" in statement:
            assert found == []
        assert value(superuser, "SELECT current_setting('search_path')") == "own,pgkeymgr,public", statement
        assert value(superuser, "SELECT coalesce(current_setting('walls.left', true), '')") == "", statement
        assert value(superuser, "SELECT current_user::text") == "postgres", statement
        assert database.loot() == [], statement
        if trap != "a policy":
            assert rows(owner, "SELECT id, k::text, n, s, w FROM t ORDER BY id") == VALUES, statement
    assert rows(owner, "SELECT relkind::text FROM pg_class WHERE relname = 't'") == [("r",)]
    assert database.loot() == []


def test_a_statement_that_fails_as_the_owner(database: Database, owner: Connection, superuser: Connection) -> None:
    """Afterwards the caller is who it was, with the settings that it had."""
    run(
        owner,
        "CREATE FUNCTION own.fails(integer) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN"
        " IF session_user <> 'wall_owner' THEN PERFORM set_config('work_mem', '1234kB', false);"
        " RAISE EXCEPTION 'no'; END IF; RETURN true; END $$",
        "CREATE TABLE t (id integer PRIMARY KEY CHECK (own.fails(id)), s text)",
        "INSERT INTO t VALUES (1, 'x')",
    )
    run(superuser, "SELECT encrypt_column('t', 's')")
    before = value(superuser, "SELECT current_setting('work_mem')")
    for _ in range(2):
        with pytest.raises(errors.RaiseException, match="no"):
            rows(superuser, "CALL migrate_column('t', 's')")
        assert rows(superuser, "SELECT current_user::text, session_user::text") == [("postgres", "postgres")]
        assert value(superuser, "SELECT current_setting('work_mem')") == before
    with superuser.transaction():
        with pytest.raises(errors.RaiseException), superuser.transaction():
            rows(superuser, "SELECT add_blind_index('t', 's')")
        assert value(superuser, "SELECT current_user::text") == "postgres"
        assert value(superuser, "SELECT current_setting('work_mem')") == before
    run(superuser, "CREATE ROLE wall_new", "DROP ROLE wall_new")


def test_a_member_of_the_owner(database: Database, owner: Connection, superuser: Connection) -> None:
    """A role that may act as the owner does so: the owner's code has the rights of the owner."""
    make_trapped(owner, "a CHECK")
    with database.session("wall_admin") as admin:
        with pytest.raises(errors.InsufficientPrivilege, match="must be owner"):
            rows(admin, "SELECT encrypt_column('t', 's')")
        superuser.execute("GRANT wall_owner TO wall_admin")
        try:
            for statement in MAINTENANCE[:2]:
                rows(admin, statement)
        finally:
            superuser.execute("REVOKE wall_owner FROM wall_admin")
    assert database.loot() == []
    assert rows(owner, "SELECT s FROM t WHERE id = 1") == [("one",)]


def test_an_owner_without_the_key(owner: Connection, superuser: Connection) -> None:
    """Rows are sealed as the owner: the caller learns which grant is missing, before anything is done."""
    run(owner, "CREATE TABLE t (id integer PRIMARY KEY, s text)", "INSERT INTO t VALUES (1, 'x')")
    run(
        superuser,
        "SELECT encrypt_column('t', 's')",
        "SELECT revoke_data_key('own.t.s', 'wall_owner', '{decrypt}')",
    )
    for statement in (
        "CALL migrate_column('t', 's')",
        "SELECT * FROM verify_column('t', 's')",
        "SELECT add_blind_index('t', 's')",
    ):
        with pytest.raises(
            errors.InsufficientPrivilege, match=r'owner of own\.t_encrypted, "wall_owner", may not'
        ) as e:
            rows(superuser, statement)
        assert "grant_data_key('own.t.s', '\"wall_owner\"')" in (e.value.diag.message_hint or "")
    superuser.execute("SELECT grant_data_key('own.t.s', '\"wall_owner\"')")
    run(superuser, "CALL migrate_column('t', 's')")
    assert rows(owner, "SELECT s FROM t") == [("x",)]


def break_base(superuser: Connection, how: str) -> None:
    """Make a base table what no DDL of an owner's makes of it any more, as if no event trigger had heard."""
    run(superuser, "SET session_replication_role = replica", "DROP VIEW t")
    if how == "another type":
        run(
            superuser,
            "SET ROLE wall_owner",
            "CREATE TYPE own.c AS (b bytea)",
            SPY,
            spy("opened", "own.c", "bytea", "$1.b"),
            "CREATE CAST (own.c AS bytea) WITH FUNCTION own.opened(own.c) AS IMPLICIT",
            "ALTER TABLE t_encrypted DROP CONSTRAINT s_encrypted_check",
            "ALTER TABLE t_encrypted ALTER COLUMN s_encrypted TYPE own.c USING ROW(s_encrypted)::own.c",
            "RESET ROLE",
        )
    elif how == "a domain":
        run(
            superuser,
            "CREATE DOMAIN own.d AS bytea",
            "ALTER TABLE t_encrypted ALTER COLUMN s_encrypted TYPE own.d",
        )
    elif how == "gone":
        run(superuser, "ALTER TABLE t_encrypted DROP COLUMN s_encrypted")
    elif how == "a rule":
        run(
            superuser,
            "SET ROLE wall_owner",
            SPY,
            spy("spy", "integer"),
            "TRUNCATE t_encrypted",
            "DO $$ DECLARE change text; BEGIN FOR change IN"
            " SELECT format('DROP CONSTRAINT %I', conname) FROM pg_constraint"
            " WHERE conrelid = 't_encrypted'::regclass"
            " LOOP EXECUTE 'ALTER TABLE t_encrypted ' || change; END LOOP; FOR change IN"
            " SELECT format('DROP TRIGGER %I ON t_encrypted', tgname) FROM pg_trigger"
            " WHERE tgrelid = 't_encrypted'::regclass LOOP EXECUTE change; END LOOP; END $$",
            "ALTER TABLE t_encrypted ALTER COLUMN id DROP NOT NULL",
            "VACUUM t_encrypted",  # which notices that triggers and indexes have gone
            'CREATE RULE "_RETURN" AS ON SELECT TO t_encrypted DO INSTEAD'
            " SELECT 1 AS id, ''::text AS s, '\\x01'::bytea AS s_encrypted FROM (SELECT own.spy(1)) AS spied (so)"
            " WHERE so",
            "RESET ROLE",
        )
    run(superuser, "RESET session_replication_role")


@pytest.mark.parametrize("how", ["another type", "a domain", "gone", "a rule"])
def test_a_base_that_is_none_any_more(
    database: Database, owner: Connection, superuser: Connection, how: str
) -> None:
    """It is not read: each function says why, and a key that it may need is not destroyed."""
    run(owner, "CREATE TABLE t (id integer PRIMARY KEY, s text)", "INSERT INTO t VALUES (1, 'x')")
    run(superuser, "SELECT encrypt_column('t', 's')", "SELECT grant_data_key('own.t.s', 'wall_admin')")
    if how == "a rule":  # PostgreSQL makes no view of a table with a dropped column
        run(superuser, "SELECT supersede_data_key('own.t.s')")
    else:
        run(superuser, "CALL migrate_column('t', 's')", "CALL rotate_column('t', 's')")
    try:
        break_base(superuser, how)
    except errors.WrongObjectType:
        pytest.skip("PostgreSQL makes no view of a table any more")
    for statement in (
        "CALL migrate_column('t_encrypted', 's')",
        "CALL rotate_column('t_encrypted', 's')",
        "CALL decrypt_column('t_encrypted', 's')",
        "SELECT add_blind_index('t_encrypted', 's')",
        "SELECT * FROM verify_column('t_encrypted', 's')",
        "SELECT _count_values('t_encrypted', 's')",
        "SELECT refresh_encrypted_view('t_encrypted')",
    ):
        with pytest.raises(errors.FeatureNotSupported):
            rows(superuser, statement)
        assert database.loot() == [], statement
    destroy = "SELECT destroy_data_key(id, name) FROM data_keys WHERE superseded_by IS NOT NULL"
    with database.session("wall_admin") as admin:
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match="could not be looked at"):
            rows(admin, destroy)
        assert database.loot() == []
        rows(admin, destroy.replace("name)", "name, true)"))


def test_keys_of_tables_with_policies(owner: Connection, database: Database, superuser: Connection) -> None:
    """No policy hides a row from the search for values under a key, nor from who may see all of them."""
    run(
        owner,
        "CREATE TABLE t (id integer PRIMARY KEY, s text)",
        "INSERT INTO t VALUES (1, 'x')",
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE t FORCE ROW LEVEL SECURITY",
        "GRANT SELECT ON t TO wall_admin",
    )
    run(superuser, "SELECT encrypt_column('t', 's')", "CALL migrate_column('t', 's')")
    superuser.execute("SELECT supersede_data_key('own.t.s')")
    with database.session("wall_admin") as admin:
        for setting in ("on", "off"):
            admin.execute(f"SET row_security = {setting}".encode())
            with pytest.raises(errors.ObjectNotInPrerequisiteState, match="has values under it"):
                rows(admin, "SELECT destroy_data_key(id, name) FROM data_keys WHERE superseded_by IS NOT NULL")
        # The keys of the rows would be shown.
        run(owner, "ALTER TABLE t_encrypted NO FORCE ROW LEVEL SECURITY")
        admin.execute("SET row_security = on")
        with pytest.raises(errors.InsufficientPrivilege, match="row-level security"):
            rows(admin, "SELECT * FROM verify_column('t', 's')")
    assert rows(superuser, "SELECT * FROM verify_column('t', 's')") == []
    # As where the row comes from elsewhere: the table's trigger would refuse it.
    run(superuser, "SET session_replication_role = replica")
    run(superuser, "UPDATE t_encrypted SET s_encrypted = set_byte(s_encrypted, 20, 0) WHERE id = 1")
    run(superuser, "RESET session_replication_role")
    assert rows(superuser, "SELECT row_key FROM verify_column('t', 's')") == [("1",)]


def test_children_are_not_read(database: Database, owner: Connection, superuser: Connection) -> None:
    """A table that inherits from the base table is none of its rows."""
    run(owner, "CREATE TABLE t (id integer PRIMARY KEY, s text)", "INSERT INTO t VALUES (1, 'x')")
    run(
        superuser,
        "SELECT encrypt_column('t', 's')",
        "CALL migrate_column('t', 's')",
        "CALL rotate_column('t', 's')",
    )
    run(
        owner,
        SPY,
        spy("spy", "integer"),
        "CREATE TABLE child (CHECK (own.spy(id))) INHERITS (t_encrypted)",
        "INSERT INTO child (id, s_encrypted) SELECT 2, set_byte(s_encrypted, 20, 0) FROM ONLY t_encrypted",
    )
    assert rows(superuser, "SELECT * FROM verify_column('t', 's')") == []
    assert value(superuser, "SELECT _count_values('t', 's')") == 1
    run(superuser, "CALL rotate_column('t', 's')")
    assert database.loot() == []


def test_who_may_verify(database: Database, owner: Connection, superuser: Connection) -> None:
    """It takes the right to read the table and the right to decrypt, as reading it by oneself would."""
    run(owner, "CREATE TABLE t (id integer PRIMARY KEY, s text)", "INSERT INTO t VALUES (1, 'x')")
    run(superuser, "SELECT encrypt_column('t', 's')", "CALL migrate_column('t', 's')")
    with database.session("wall_admin") as admin:
        with pytest.raises(errors.InsufficientPrivilege, match="permission denied for table"):
            rows(admin, "SELECT * FROM verify_column('t', 's')")
        with pytest.raises(errors.InsufficientPrivilege, match="permission denied for table"):
            rows(admin, "SELECT _count_values('t', 's')")
        owner.execute("GRANT SELECT ON t TO wall_admin")
        with pytest.raises(errors.InsufficientPrivilege, match="permission denied to decrypt"):
            rows(admin, "SELECT * FROM verify_column('t', 's')")
        superuser.execute("SELECT grant_data_key('own.t.s', 'wall_admin', '{decrypt}')")
        assert rows(admin, "SELECT * FROM verify_column('t', 's')") == []


@pytest.mark.parametrize("normalize", ["none", "casefold"])
def test_blind_indexes_are_verified(owner: Connection, superuser: Connection, normalize: str) -> None:
    """A blind index that is another value's, or there for no value, or not there, is named, and no other row."""
    run(
        owner,
        "CREATE TABLE t (id integer PRIMARY KEY, s text, n numeric UNIQUE)",
        "INSERT INTO t SELECT i, 'Value ' || i, i FROM generate_series(1, 9) AS i",
        "INSERT INTO t VALUES (10, NULL, NULL)",
    )
    run(superuser, "SELECT encrypt_column('t', 's')", f"SELECT add_blind_index('t', 's', '{normalize}')")
    run(superuser, "SELECT encrypt_column('t', 'n')")
    verify = "SELECT row_key, problem FROM verify_column('t', '{}') ORDER BY row_key::integer"
    for step in ("SELECT 1", "UPDATE t SET s = s, n = n WHERE id < 4", "CALL migrate_column('t', 's')"):
        rows(superuser, step)
        assert rows(superuser, verify.format("s")) == rows(superuser, verify.format("n")) == [], step
    run(
        superuser,
        "SET session_replication_role = replica",
        "UPDATE t_encrypted SET s_bidx = (SELECT s_bidx FROM t_encrypted WHERE id = 1) WHERE id IN (2, 10)",
        "UPDATE t_encrypted SET s_bidx = NULL WHERE id = 3",
        "UPDATE t_encrypted SET s_encrypted = set_bit(s_encrypted, 99, 1 - get_bit(s_encrypted, 99)) WHERE id = 4",
        "UPDATE t_encrypted SET n_bidx = set_bit(n_bidx, 9, 1 - get_bit(n_bidx, 9)) WHERE id = 5",
        "RESET session_replication_role",
    )
    mismatch = "blind index does not match its value"
    found = rows(superuser, verify.format("s"))
    assert [(key, problem == mismatch) for key, problem in found] == [
        ("2", True),
        ("3", True),
        ("4", False),
        ("10", True),
    ]
    assert rows(superuser, verify.format("n")) == [("5", mismatch)]


# Event triggers


def make_encrypted(owner: Connection, superuser: Connection, name: str = "t") -> None:
    """Make a table of wall_owner's with an encrypted column in it."""
    run(owner, f"CREATE TABLE {name} (id integer PRIMARY KEY, s text, n integer)")
    run(owner, f"INSERT INTO {name} VALUES (1, 'x', 1)")
    run(superuser, f"SELECT encrypt_column('{name}', 's')", f"CALL migrate_column('{name}', 's')")


TAKEN = {
    "a view": "CREATE VIEW shared.t AS SELECT 1 AS id, 'theirs'::text AS s, 1 AS n",
    "a view with the same columns": "CREATE VIEW shared.t AS SELECT id, s, n FROM shared.source",
    "a table": "CREATE TABLE shared.t (id integer)",
    "a sequence": "CREATE SEQUENCE shared.t",
    "a type": "CREATE TYPE shared.t AS ENUM ('a')",
}


@pytest.mark.parametrize("taken", TAKEN)
@pytest.mark.parametrize("setting", ["on", "off"])
def test_a_name_that_is_taken(
    database: Database, owner: Connection, superuser: Connection, taken: str, setting: str
) -> None:
    """An event trigger that makes a view again replaces nothing of others, whatever is set."""
    make_encrypted(owner, superuser)
    with database.session("wall_victim") as victim:
        run(victim, "CREATE TABLE shared.source (id integer, s text, n integer)", TAKEN[taken])
    facts = (
        "SELECT 'class', oid, relowner::regrole::text, relkind::text, pg_get_viewdef(oid) FROM pg_class"
        " WHERE relnamespace = 'shared'::regnamespace AND relname = 't'"
        " UNION ALL SELECT 'type', oid, typowner::regrole::text, typtype::text, NULL FROM pg_type"
        " WHERE typnamespace = 'shared'::regnamespace AND typname = 't' ORDER BY 1"
    )
    before = rows(superuser, facts)
    owner.execute(f"SET check_function_bodies = {setting}".encode())
    run(owner, "DROP VIEW t")
    with pytest.raises((errors.DuplicateTable, errors.DuplicateObject)):
        rows(owner, "ALTER TABLE t_encrypted SET SCHEMA shared")
    # With the base table in that schema already, by another way.
    run(superuser, "SET session_replication_role = replica", "ALTER TABLE own.t_encrypted SET SCHEMA shared")
    superuser.execute("RESET session_replication_role")
    for statement in ("ALTER TABLE shared.t_encrypted ADD COLUMN more integer", "DROP VIEW IF EXISTS own.t"):
        with contextlib.suppress(errors.DuplicateTable, errors.DuplicateObject):
            rows(owner, statement)
    with pytest.raises((errors.DuplicateTable, errors.DuplicateObject)):
        rows(superuser, "SELECT refresh_encrypted_view('shared.t_encrypted')")
    assert rows(superuser, facts) == before
    run(superuser, "ALTER TABLE shared.t_encrypted SET SCHEMA own")
    assert rows(owner, "SELECT id, s FROM own.t") == [(1, "x")]


def test_a_view_of_anothers_in_the_place_of_the_view(
    database: Database, owner: Connection, superuser: Connection
) -> None:
    """The registry of a dump names relations, and another one may have the name by now."""
    make_encrypted(owner, superuser)
    with database.session("wall_victim") as victim:
        run(victim, "CREATE VIEW shared.theirs AS SELECT 1 AS id, 'theirs'::text AS s, 1 AS n")
    run(superuser, "UPDATE encrypted_relation SET relation = 'shared.theirs'")
    before = rows(superuser, "SELECT relowner, pg_get_viewdef(oid) FROM pg_class WHERE relname = 'theirs'")
    for statement in (
        "ALTER TABLE t_encrypted ADD COLUMN more integer",
        "ALTER TABLE t_encrypted RENAME COLUMN n TO m",
        "GRANT SELECT ON t TO wall_user",
    ):
        with contextlib.suppress(psycopg.Error):
            rows(owner, statement)
    assert rows(superuser, "SELECT relowner, pg_get_viewdef(oid) FROM pg_class WHERE relname = 'theirs'") == before


def test_an_owner_who_may_create_nothing(database: Database, owner: Connection, superuser: Connection) -> None:
    """The view that is there follows; no other is made in a schema where its owner could make none."""
    make_encrypted(owner, superuser)
    run(superuser, "CREATE SCHEMA closed", "GRANT USAGE ON SCHEMA closed TO PUBLIC")
    run(superuser, "ALTER VIEW own.t SET SCHEMA closed", "ALTER TABLE own.t_encrypted SET SCHEMA closed")
    run(
        owner,
        "ALTER TABLE closed.t_encrypted ADD COLUMN more text DEFAULT 'y'",
        "ALTER TABLE closed.t_encrypted RENAME COLUMN n TO m",
    )
    assert rows(owner, "SELECT id, s, m, more FROM closed.t") == [(1, "x", 1, "y")]
    owner.execute("DROP VIEW closed.t")
    with pytest.raises(errors.InsufficientPrivilege, match="may not create"):
        rows(owner, "ALTER TABLE closed.t_encrypted ADD COLUMN again integer")
    # The superuser may.
    run(superuser, "SELECT refresh_encrypted_view('closed.t_encrypted')", "CALL rotate_column('closed.t', 's')")
    assert rows(owner, "SELECT id, s FROM closed.t") == [(1, "x")]
    assert value(superuser, "SELECT relowner::regrole::text FROM pg_class WHERE relname = 't'") == "wall_owner"
    run(superuser, "CALL decrypt_column('closed.t', 's')")
    assert rows(owner, "SELECT id, s FROM closed.t") == [(1, "x")]


FAULTS = {
    "a grant on the base table": "GRANT SELECT ON own.t_encrypted TO wall_user",
    "a column of pgkeymgr's own": "ALTER TABLE own.t_encrypted DROP COLUMN s_encrypted CASCADE",
    "the key": "ALTER TABLE own.t_encrypted DROP COLUMN id CASCADE",
    "the view": "DROP VIEW own.t",
    "the view, and another one": "DROP VIEW own.t; CREATE VIEW own.t AS SELECT 1 AS other",
    "a function of pgkeymgr's": "DROP TRIGGER pgkeymgr_update ON own.t",
}
OTHERS = (
    "GRANT SELECT ON victim.own TO wall_user",
    "REVOKE SELECT ON victim.own FROM wall_user",
    "GRANT SELECT ON ALL TABLES IN SCHEMA victim TO wall_user",
    "ALTER TABLE victim.own ADD COLUMN j integer",
    "ALTER TABLE victim.own RENAME COLUMN j TO k",
    "CREATE INDEX ON victim.own (k)",
    "ALTER TABLE victim.own DROP COLUMN k CASCADE",
    "ALTER TYPE victim.kind ADD VALUE 'c'",
    "ALTER TYPE victim.kind RENAME VALUE 'a' TO 'z'",
    "ALTER TYPE victim.kind RENAME TO sort",
    "ALTER DOMAIN victim.text_of_theirs ADD CONSTRAINT more CHECK (VALUE <> 'no')",
    "ALTER DOMAIN victim.text_of_theirs DROP CONSTRAINT more",
    "ALTER VIEW victim.seen RENAME TO shown",
    "ALTER SCHEMA victim RENAME TO victim2",
    "CREATE SCHEMA another CREATE TABLE t (i integer) CREATE INDEX ON t (i) GRANT SELECT ON t TO wall_user",
    "DROP SCHEMA another CASCADE",
)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("way", ["by DDL", "past the event triggers"])
def test_the_ddl_of_others(
    database: Database, owner: Connection, superuser: Connection, fault: str, way: str
) -> None:
    """The statements of others do not fail, whatever an owner does to a table."""
    make_encrypted(owner, superuser)
    run(
        superuser,
        f"GRANT CREATE ON DATABASE {database.name} TO wall_victim",
        "CREATE SCHEMA victim AUTHORIZATION wall_victim",
    )
    if way == "by DDL":
        owner.execute("SET check_function_bodies = off")
        with contextlib.suppress(psycopg.Error):
            rows(owner, FAULTS[fault])
    else:
        run(superuser, "SET session_replication_role = replica", FAULTS[fault], "RESET session_replication_role")
    with database.session("wall_victim") as victim:
        run(
            victim,
            "CREATE TABLE victim.own (i integer)",
            "CREATE TYPE victim.kind AS ENUM ('a', 'b')",
            "CREATE DOMAIN victim.text_of_theirs AS text",
            "CREATE VIEW victim.seen AS SELECT i FROM victim.own",
        )
        for statement in OTHERS:
            rows(victim, statement)
        assert value(superuser, "SELECT to_regclass('victim2.own') IS NOT NULL")
    run(superuser, "GRANT SELECT ON victim2.own TO wall_user", "CREATE TABLE public.unrelated (i integer)")
    run(
        superuser,
        "GRANT SELECT ON public.unrelated TO wall_user",
        "ALTER TABLE public.unrelated ADD COLUMN j integer",
    )


def test_a_constraint_that_names_a_schema_of_others(
    database: Database, owner: Connection, superuser: Connection
) -> None:
    """It is text here, which does not follow: a warning for the other, an error for the owner."""
    run(
        superuser,
        "CREATE SCHEMA victim AUTHORIZATION wall_victim",
        "GRANT USAGE, CREATE ON SCHEMA victim TO PUBLIC",
    )
    run(superuser, f"GRANT CREATE ON DATABASE {database.name} TO wall_victim, wall_owner")
    with database.session("wall_victim") as victim:
        run(victim, "CREATE TYPE victim.kind AS ENUM ('a', 'b')")
        run(
            owner,
            "CREATE TABLE t (id integer PRIMARY KEY, s text, k victim.kind, CHECK (s <> '' OR k = 'a'))",
            "INSERT INTO t VALUES (1, 'x', 'a')",
        )
        run(superuser, "SELECT encrypt_column('t', 's')", "CALL migrate_column('t', 's')")
        database.messages.clear()
        run(victim, "ALTER SCHEMA victim RENAME TO victim2")
        assert any("does not follow" in message for message in database.messages)
        run(victim, "ALTER SCHEMA victim2 RENAME TO victim")
        run(victim, "ALTER TYPE victim.kind RENAME TO sort", "ALTER TYPE victim.sort RENAME TO kind")
    run(superuser, "ALTER SCHEMA victim OWNER TO wall_owner", "ALTER TYPE victim.kind OWNER TO wall_owner")
    for statement in ("ALTER SCHEMA victim RENAME TO victim2", "ALTER TYPE victim.kind RENAME TO sort"):
        with pytest.raises(errors.FeatureNotSupported, match="CHECK"):
            rows(owner, statement)
    run(owner, "UPDATE t SET s = 'y'")
    with pytest.raises(errors.CheckViolation):
        rows(owner, "UPDATE t SET s = '', k = 'b'")


def test_a_literal_in_a_constraint(database: Database, owner: Connection, superuser: Connection) -> None:
    """PostgreSQL checks the domains of an array's elements as soon as it parses the array."""
    run(
        owner,
        SPY,
        spy("spied", "text"),
        "CREATE DOMAIN own.d AS text CHECK (own.spied(VALUE))",
        "CREATE TYPE own.pair AS (a own.d, b integer)",
        "CREATE TABLE t (id integer PRIMARY KEY, s text CHECK (s <> ALL ('{x}'::own.d[]::text[])),"
        " w text CHECK (w <> ('(x,1)'::own.pair).a))",
        "INSERT INTO t VALUES (1, 'one', 'uno')",
    )
    for column in "sw":
        run(superuser, f"SELECT encrypt_column('t', '{column}')", f"CALL migrate_column('t', '{column}')")
    run(owner, "ALTER TABLE t_encrypted ADD COLUMN n integer")
    run(superuser, "ALTER TABLE t_encrypted ADD COLUMN m integer", "SELECT refresh_encrypted_view('t')")
    assert rows(owner, "SELECT * FROM t") == [(1, "one", "uno", None, None)]
    for violated in ("s = 'x'", "w = 'x'"):
        with pytest.raises(errors.CheckViolation):
            rows(owner, f"UPDATE t SET {violated}")
    assert database.loot() == []


def test_what_depends_on_generated_functions(database: Database, owner: Connection, superuser: Connection) -> None:
    """Views of those who may call the functions, and triggers of the owner's, are not in the way of others."""
    run(superuser, "GRANT USAGE ON SCHEMA pgkeymgr TO wall_user")
    run(
        owner, "CREATE TABLE t (id integer PRIMARY KEY, s text CHECK (s <> ''))", "INSERT INTO t VALUES (1, 'one')"
    )
    run(superuser, "SELECT encrypt_column('t', 's')", "CALL migrate_column('t', 's')")
    number = value(superuser, "SELECT id FROM encrypted_relation WHERE name = 't'")
    with database.session("wall_user") as user:
        use = f"CREATE TEMP VIEW uses AS SELECT pgkeymgr._check_{number}('x'::text)"
        run(user, use)
        run(owner, "ALTER TABLE t_encrypted ADD COLUMN n integer")
        with pytest.raises(errors.CheckViolation):
            rows(owner, "UPDATE t SET s = ''")
        run(user, use)
        run(superuser, "SELECT encrypt_column('t', 'n')", "CALL migrate_column('t', 'n')")
        run(user, use)
        run(superuser, "CALL decrypt_column('t', 'n')")
        run(
            owner,
            "CREATE TABLE other (LIKE t_encrypted)",
            "CREATE TRIGGER x BEFORE INSERT ON other FOR EACH ROW"
            f" EXECUTE FUNCTION pgkeymgr._seal_insert_{number}()",
        )
        run(user, use)
        run(superuser, "DROP TABLE t_encrypted CASCADE")
    assert value(superuser, f"SELECT count(*) FROM pg_proc WHERE proname ~ '^_[a-z_]+_{number}$'") == 0


def test_a_renamed_schema(database: Database, owner: Connection, superuser: Connection) -> None:
    """Renamed by who owns it, or by a superuser: triggers name it, and follow."""
    make_encrypted(owner, superuser)
    run(
        superuser,
        "CREATE SCHEMA victim AUTHORIZATION wall_victim",
        "GRANT CREATE, USAGE ON SCHEMA victim TO PUBLIC",
    )
    run(superuser, f"GRANT CREATE ON DATABASE {database.name} TO wall_victim")
    run(owner, "ALTER TABLE t_encrypted SET SCHEMA victim")
    with database.session("wall_victim") as victim:
        run(victim, "ALTER SCHEMA victim RENAME TO victim2")
    run(owner, "INSERT INTO t VALUES (2, 'y', 2)", "UPDATE t SET s = s || '+'", "DELETE FROM t WHERE id = 2")
    assert rows(owner, "SELECT id, s FROM t") == [(1, "x+")]
    run(superuser, "ALTER SCHEMA own RENAME TO own2", "SET search_path = own2, pgkeymgr")
    run(owner, "UPDATE own2.t SET s = 'z'")
    assert rows(owner, "SELECT id, s FROM own2.t") == [(1, "z")]


def privileges(connection: Connection, relation: str) -> set[str]:
    """Return the privileges on a relation, without who gave them."""
    found = rows(
        connection,
        "SELECT DISTINCT grantee::regrole::text, privilege_type, is_grantable FROM pg_class, aclexplode(relacl)"
        f" WHERE oid = '{relation}'::regclass",
    )
    return {f"{role} {privilege.lower()}{'*' if option else ''}" for role, privilege, option in found}


def test_grants_by_others_on_a_table(database: Database, owner: Connection, superuser: Connection) -> None:
    """By a superuser, by who has the option to grant, and in functions that run as somebody else."""
    make_encrypted(owner, superuser)
    run(owner, "GRANT SELECT, INSERT ON t TO wall_grantor WITH GRANT OPTION")
    run(superuser, "GRANT UPDATE ON own.t TO wall_user")
    with database.session("wall_grantor") as grantor:
        run(grantor, "GRANT SELECT ON own.t TO wall_user")
        assert privileges(superuser, "t") == privileges(superuser, "t_encrypted")
        with pytest.raises(errors.FeatureNotSupported, match="are those on the view"):
            rows(grantor, "GRANT SELECT ON own.t_encrypted TO wall_victim")
        run(
            owner,
            "CREATE FUNCTION own.open() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN"
            " GRANT DELETE ON own.t TO wall_victim; END $$",
            "GRANT EXECUTE ON FUNCTION own.open() TO PUBLIC",
        )
        rows(grantor, "SELECT own.open()")
    assert privileges(superuser, "t") == privileges(superuser, "t_encrypted")
    assert {"wall_user select", "wall_user update", "wall_victim delete"} <= privileges(superuser, "t_encrypted")
    # Several in one transaction, on savepoints, on columns, and next to unrelated ones.
    run(owner, "CREATE TABLE plain (i integer)", "BEGIN", "GRANT SELECT ON plain TO wall_user", "SAVEPOINT one")
    run(owner, "REVOKE UPDATE ON t FROM wall_user", "ROLLBACK TO one", "GRANT SELECT (id) ON t TO wall_victim")
    run(owner, "REVOKE SELECT ON t FROM wall_user", "RELEASE one")
    with pytest.raises(errors.FeatureNotSupported), owner.transaction():
        rows(owner, "GRANT TRUNCATE ON t_encrypted TO wall_user")
    run(owner, "GRANT INSERT ON plain TO wall_user", "COMMIT")
    assert privileges(superuser, "t") == privileges(superuser, "t_encrypted")
    assert "wall_user update" in privileges(superuser, "t_encrypted")
    with database.session("wall_victim") as victim:
        assert rows(victim, "SELECT id FROM own.t") == [(1,)]
    with database.session("wall_owner") as later:
        run(later, "BEGIN", "SAVEPOINT one", "GRANT TRUNCATE ON t TO wall_user", "COMMIT")
    assert "wall_user truncate" in privileges(superuser, "t_encrypted")
    with database.session("wall_owner") as later:
        run(later, "GRANT UPDATE (n) ON t TO wall_victim")
    assert value(superuser, "SELECT has_column_privilege('wall_victim', 'own.t_encrypted', 'n', 'UPDATE')")


def test_an_owner_given_by_a_superuser(database: Database, owner: Connection, superuser: Connection) -> None:
    """View and table change hands together, whichever is altered; the former owner keeps nothing."""
    make_encrypted(owner, superuser)
    run(superuser, "GRANT USAGE ON SCHEMA own TO wall_victim", "SELECT grant_data_key('own.t.s', 'wall_victim')")
    owners = "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relname IN ('t', 't_encrypted')"
    for statement, now in (
        ("ALTER VIEW own.t OWNER TO wall_victim", "wall_victim"),
        ("ALTER TABLE own.t_encrypted OWNER TO wall_owner", "wall_owner"),
        ("ALTER TABLE own.t OWNER TO wall_victim", "wall_victim"),
    ):
        rows(superuser, statement)
        assert rows(superuser, owners) == [(now,)]
        with database.session(now) as session:
            run(
                session,
                "UPDATE own.t SET s = s",
                "ALTER TABLE own.t_encrypted ADD COLUMN IF NOT EXISTS more integer",
            )
            assert rows(session, "SELECT s FROM own.t") == [("x",)]
    with pytest.raises(errors.InsufficientPrivilege):
        rows(owner, "SELECT s FROM own.t")


# Types


LABELS = {
    "typed": "{}",
    "in DO": "DO $$ BEGIN EXECUTE '{quoted}'; END $$",
    "in pieces": "DO $$ BEGIN EXECUTE replace('{quoted}', 'ALTER', 'AL' || 'TER'); END $$",
    "in a function": "SELECT own.execute('{quoted}')",
    "in a transaction": "BEGIN; CREATE TABLE IF NOT EXISTS own.more (i integer); {}; COMMIT",
}
SETUP = (
    "CREATE FUNCTION own.execute(text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE $1; END $$",
    "CREATE TYPE own.e AS ENUM ('a', 'b')",
    "CREATE DOMAIN own.ed AS own.e",
    "CREATE TYPE own.inner_row AS (e own.e, n integer)",
    "CREATE TYPE own.outer_row AS (i own.inner_row, t text)",
    "CREATE DOMAIN own.positive AS integer CHECK (VALUE > 0)",
    "CREATE DOMAIN own.deep AS own.outer_row[]",
    "CREATE TABLE own.address (street text, e own.e)",
    "CREATE TYPE own.span AS RANGE (subtype = own.e)",
)
COLUMNS = {
    "own.e": "'a'",
    "own.ed": "'a'",
    "own.e[]": "'{a,b}'",
    "own.inner_row": "ROW('a', 1)",
    "own.outer_row": "ROW(ROW('a', 1), 't')",
    "own.deep": "ARRAY[ROW(ROW('a', 1), 't')::own.outer_row]",
    "own.address": "ROW('Main', 'a')",
    "own.span": "'[a,b]'",
    "own.positive": "5",
}
CHANGES = {
    "ALTER TYPE own.e RENAME VALUE 'a' TO 'z'": set(COLUMNS) - {"own.positive"},
    "ALTER TYPE own.inner_row ADD ATTRIBUTE z integer": {"own.inner_row", "own.outer_row", "own.deep"},
    "ALTER TYPE own.inner_row DROP ATTRIBUTE n": {"own.inner_row", "own.outer_row", "own.deep"},
    "ALTER TYPE own.outer_row ALTER ATTRIBUTE t TYPE integer": {"own.outer_row", "own.deep"},
    "ALTER TABLE own.address ADD COLUMN city text": {"own.address"},
    "ALTER TABLE own.address DROP COLUMN street": {"own.address"},
    "ALTER DOMAIN own.positive ADD CONSTRAINT small CHECK (VALUE < 3)": {"own.positive"},
    "ALTER DOMAIN own.positive ADD CONSTRAINT small CHECK (VALUE < 3) NOT VALID": {"own.positive"},
    "ALTER DOMAIN own.positive SET NOT NULL": {"own.positive"},
    "ALTER DOMAIN own.ed SET NOT NULL": {"own.ed"},
    "ALTER DOMAIN own.deep ADD CHECK (array_length(VALUE, 1) > 7)": {"own.deep"},
}
HARMLESS = (
    "ALTER TYPE own.e ADD VALUE 'c' BEFORE 'b'",
    "ALTER TYPE own.e RENAME TO e2",
    "ALTER TYPE own.e2 RENAME TO e",
    "ALTER TYPE own.inner_row RENAME ATTRIBUTE n TO m",
    "ALTER DOMAIN own.positive RENAME CONSTRAINT positive_check TO above",
    "ALTER DOMAIN own.positive DROP CONSTRAINT above",
    "ALTER DOMAIN own.positive SET DEFAULT 1",
    "ALTER DOMAIN own.positive DROP NOT NULL",
    "ALTER DOMAIN own.positive RENAME TO positive2",
    "ALTER DOMAIN own.positive2 SET SCHEMA shared",
    "ALTER TABLE own.address RENAME COLUMN street TO way",
    "ALTER TABLE own.address ADD CHECK (way <> '')",
)


@pytest.fixture(scope="module")
def typed(server: Cluster) -> Iterator[Database]:
    """A database to copy, with a table for each type of COLUMNS."""
    with new_database(server) as made:
        with made.session("wall_owner") as owner, made.session() as superuser:
            run(owner, *SETUP)
            for number, (type_, literal) in enumerate(COLUMNS.items()):
                run(owner, f"CREATE TABLE t{number} (id integer PRIMARY KEY, s {type_})")
                run(owner, f"INSERT INTO t{number} VALUES (1, {literal}), (2, NULL)")
                run(
                    superuser, f"SELECT encrypt_column('t{number}', 's')", f"CALL migrate_column('t{number}', 's')"
                )
        yield made


@pytest.fixture
def types(server: Cluster, typed: Database) -> Iterator[Database]:
    """A copy of that database."""
    with new_database(server, typed.name) as made:
        yield made


def readings(connection: Connection) -> list[Any]:
    """Return the values of all columns, and check that they can be written."""
    found = []
    for number in range(len(COLUMNS)):
        found += rows(connection, f"SELECT s::text FROM own.t{number} ORDER BY id")
        rows(connection, f"UPDATE own.t{number} SET s = s WHERE id = 1")
    return found


@pytest.mark.parametrize("way", LABELS)
def test_a_type_is_not_changed_behind_values(types: Database, way: str) -> None:
    """So that they could not be read any more: refused, however it is written, for whoever owns the type."""
    with types.session("wall_owner") as owner, types.session() as superuser:
        before = readings(owner)
        run(superuser, "ALTER DEFAULT PRIVILEGES GRANT USAGE ON TYPES TO wall_victim")
        for change, concerned in CHANGES.items():
            statement = LABELS[way].format(change, quoted=change.replace("'", "''"))
            for session in (owner, superuser):
                # By PostgreSQL itself where a rule of the view mentions the type, or a domain is not to be NULL,
                # which the old column of an encrypted one always is.
                with pytest.raises((errors.FeatureNotSupported, errors.NotNullViolation)):
                    rows(session, statement)
                with contextlib.suppress(psycopg.Error):
                    rows(session, "ROLLBACK")
            assert readings(owner) == before, change
            assert concerned
        for statement in HARMLESS:
            rows(owner, statement)
        # Of the labels that came since, none is lost either.
        run(owner, "INSERT INTO t0 VALUES (3, 'c')")
        with pytest.raises(errors.FeatureNotSupported, match="label 'c' was renamed"):
            rows(owner, "ALTER TYPE own.e RENAME VALUE 'c' TO 'd'")
        assert readings(owner)[:2] == before[:2]


def test_a_type_of_others(types: Database) -> None:
    """As PostgreSQL keeps a type from being changed that a table uses, whosever each is."""
    with types.session("wall_owner") as owner, types.session() as superuser:
        run(superuser, "ALTER TYPE own.e OWNER TO wall_victim")
        with types.session("wall_victim") as victim, pytest.raises(errors.FeatureNotSupported, match="renamed"):
            rows(victim, "ALTER TYPE own.e RENAME VALUE 'a' TO 'z'")
        assert rows(owner, "SELECT s::text FROM t0 WHERE id = 1") == [("a",)]
        # Where nothing is encrypted any more, it is free.
        for number, (type_, _) in enumerate(COLUMNS.items()):
            if type_ != "own.positive":
                run(superuser, f"CALL decrypt_column('t{number}', 's')")
        with types.session("wall_victim") as victim:
            rows(victim, "ALTER TYPE own.e RENAME VALUE 'a' TO 'z'")
        assert rows(owner, "SELECT s::text FROM t0 WHERE id = 1") == [("z",)]


KEYS = {
    "own.e": ("'a'", ["ALTER TYPE own.e RENAME VALUE 'a' TO 'z'"]),
    "own.ed": ("'a'", ["ALTER TYPE own.e RENAME VALUE 'a' TO 'z'"]),
    "integer": ("7", ["ALTER TABLE t_encrypted ALTER COLUMN k TYPE text"]),
    "date": ("'2024-01-01'", ["ALTER TABLE t_encrypted ALTER COLUMN k TYPE timestamp"]),
}


@pytest.mark.parametrize("type_", KEYS)
def test_a_type_of_a_key(owner: Connection, superuser: Connection, type_: str) -> None:
    """A value is bound to what its row's key is, which is its text or its bytes."""
    literal, changes = KEYS[type_]
    run(owner, *SETUP, f"CREATE TABLE t (k {type_} PRIMARY KEY, s text)", f"INSERT INTO t VALUES ({literal}, 'x')")
    run(superuser, "SELECT encrypt_column('t', 's')", "CALL migrate_column('t', 's')")
    for change, session in itertools.product(changes, (owner, superuser)):
        rows(session, "BEGIN")
        if "TABLE" in change:
            rows(session, "DROP VIEW t")
        with pytest.raises(errors.FeatureNotSupported, match="bound to"):
            rows(session, change)
        rows(session, "ROLLBACK")
    assert rows(owner, "SELECT s FROM t") == [("x",)]
    if type_ == "integer":
        run(owner, "DROP VIEW t", "ALTER TABLE t_encrypted ALTER COLUMN k TYPE bigint")
    if type_ == "own.ed":
        # PostgreSQL has the values, and checks them.
        run(owner, "ALTER DOMAIN own.ed ADD CHECK (VALUE <> 'b')", "ALTER DOMAIN own.ed DROP CONSTRAINT ed_check")
    assert rows(owner, "SELECT s FROM t") == [("x",)]


# Dumps


@pytest.fixture(scope="module")
def dumped(server: Cluster) -> Iterator[Database]:
    """A database with tables of several owners and privileges of many kinds."""
    with new_database(server) as made:
        with made.session("wall_owner") as owner, made.session() as superuser:
            # The base table comes before the view in one, after it in another.
            for name in ("t", "z"):
                make_encrypted(owner, superuser, name)
            run(
                owner,
                "ALTER TABLE z_encrypted RENAME TO a_base",
                "CREATE TYPE own.e AS ENUM ('a', 'b')",
                "CREATE TABLE m (id integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, e own.e, s text UNIQUE,"
                " o integer REFERENCES t_encrypted, CHECK (s <> 'no'))",
                "INSERT INTO m (e, s, o) VALUES ('a', 'x', 1)",
            )
            for column in ("e", "s"):
                run(superuser, f"SELECT encrypt_column('m', '{column}')")
            run(
                owner,
                "CREATE FUNCTION own.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
                "CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON t_encrypted FOR EACH ROW"
                " EXECUTE FUNCTION own.touch()",
                "ALTER TABLE t_encrypted ENABLE ROW LEVEL SECURITY",
                "CREATE POLICY seen ON t_encrypted USING (true)",
                "GRANT SELECT, INSERT ON t TO wall_user",
                "GRANT SELECT ON t TO wall_victim WITH GRANT OPTION",
                "GRANT SELECT (id, s), INSERT (s), UPDATE (s) ON m TO wall_user",
                "GRANT SELECT (id) ON m TO PUBLIC",
                "GRANT DELETE, SELECT ON z TO wall_user",
                "REVOKE DELETE, TRUNCATE ON z FROM wall_owner",
            )
        yield made


STATE = (
    "SELECT relname::text, relkind::text, relowner::regrole::text, relacl::text, reloptions::text FROM pg_class"
    " WHERE relnamespace = 'own'::regnamespace ORDER BY 1",
    "SELECT attrelid::regclass::text, attname::text, attacl::text FROM pg_attribute WHERE attacl IS NOT NULL"
    " AND attrelid >= 16384 ORDER BY 1, 2",
    "SELECT proname::text, prosrc FROM pg_proc WHERE proname ~ '^_(insert|update|delete|check)_[0-9]' ORDER BY 1",
    "SELECT tgrelid::regclass::text, tgname::text, tgfoid::regproc::text FROM pg_trigger WHERE NOT tgisinternal"
    " ORDER BY 1, 2",
    "SELECT relation::text, column_name::text, base_relation::text, state::text FROM pgkeymgr.encrypted_columns"
    " ORDER BY 1, 2",
    "SELECT id, s, n FROM own.t",
    "SELECT id, e::text, s, o FROM own.m",
)


def state(database: Database) -> list[Any]:
    """Return what a dump has to bring back."""
    with database.session() as connection:
        return [rows(connection, query) for query in STATE]


RESTORES = {
    "plain": [],
    "plain, in one transaction": ["--single-transaction"],
    "custom": ["--format=custom"],
    "in parallel": ["--jobs=4"],
    "by sections": ["--section=pre-data", "--section=data", "--section=post-data"],
    "without privileges": ["--no-acl"],
}


@pytest.mark.parametrize("mode", RESTORES)
def test_a_restore(server: Cluster, dumped: Database, tmp_path: Path, mode: str) -> None:
    """It gives what there was, with no warning, and what comes after is followed."""
    dump = tmp_path / "dump"
    kind = "plain" if mode.startswith("plain") else "directory" if mode == "in parallel" else "custom"
    server.client(["pg_dump", f"--format={kind}", f"--file={dump}", dumped.name])
    for _ in range(3 if mode == "in parallel" else 1):
        with new_database(server, "template0") as target:
            if kind == "plain":
                command: list[str | Path] = ["psql", "--set=ON_ERROR_STOP=1", "--quiet", f"--file={dump}"]
                said = server.client([*command, *RESTORES[mode]], dbname=target.name).stderr
            else:
                restore: list[str | Path] = ["pg_restore", "--exit-on-error", f"--dbname={target.name}"]
                options = RESTORES[mode] if mode == "by sections" else [None]
                said = ""
                for option in options:
                    more = [option] if option else [each for each in RESTORES[mode] if "format" not in each]
                    said += server.client([*restore, *more, dump]).stderr
            assert "pgkeymgr:" not in said
            if mode != "without privileges":
                assert state(target) == state(dumped)
            with target.session("wall_owner") as owner, target.session() as superuser:
                run(owner, "GRANT SELECT, UPDATE ON t TO wall_user", "REVOKE INSERT ON t FROM wall_user")
                assert privileges(superuser, "own.t") == privileges(superuser, "own.t_encrypted")
                assert {"wall_user select", "wall_user update"} <= privileges(superuser, "own.t_encrypted")
                with pytest.raises(errors.FeatureNotSupported):
                    rows(owner, "GRANT DELETE ON t_encrypted TO wall_user")
                run(owner, "ALTER TABLE t_encrypted ADD COLUMN more integer DEFAULT 3")
                assert rows(owner, "SELECT id, s, n, more FROM t") == [(1, "x", 1, 3)]
                with pytest.raises(errors.FeatureNotSupported):
                    rows(owner, "ALTER TYPE own.e RENAME VALUE 'a' TO 'z'")
                run(superuser, "CALL migrate_column('own.m', 's')", "CALL rotate_column('own.z', 's')")


def test_a_restore_in_two_sessions(server: Cluster, dumped: Database) -> None:
    """The second one has the privileges, those on a base table before those on its view."""
    dump = server.client(["pg_dump", dumped.name]).stdout
    # Newer versions put commands of psql around a dump, which hold for one session.
    text = "".join(line for line in dump.splitlines(True) if not line.startswith(("\\restrict", "\\unrestrict")))
    first = "REVOKE ALL ON TABLE own.a_base FROM wall_owner;"
    before, found, after = text.partition(first)
    assert found
    assert "ON TABLE own.z TO" in after
    with new_database(server, "template0") as target:
        for part in (before, found + after):
            server.client(["psql", "--set=ON_ERROR_STOP=1", "--quiet"], dbname=target.name, input=part)
        assert state(target) == state(dumped)


def test_ddl_in_the_session_of_a_restore(server: Cluster, dumped: Database, tmp_path: Path) -> None:
    """A view that visibly lags behind its base table follows there, too."""
    dump = tmp_path / "dump"
    server.client(["pg_dump", "--no-acl", f"--file={dump}", dumped.name])
    more = tmp_path / "more"
    more.write_text(
        "SET search_path = own, pgkeymgr;"
        "ALTER TABLE t_encrypted ADD COLUMN more integer DEFAULT 3;"
        "ALTER TABLE m_encrypted RENAME TO base_of_m;"
        "GRANT SELECT ON t TO wall_admin;"
        "INSERT INTO m (s) VALUES ('later');"
    )
    with new_database(server, "template0") as target:
        command: list[str | Path] = ["psql", "--set=ON_ERROR_STOP=1", f"--file={dump}", f"--file={more}"]
        server.client(command, dbname=target.name)
        with target.session() as superuser:
            assert rows(superuser, "SELECT more FROM own.t") == [(3,)]
            assert privileges(superuser, "own.t") == privileges(superuser, "own.t_encrypted")
            assert value(superuser, "SELECT count(*) FROM own.m WHERE s = 'later'") == 1


# A thousand tables


def cost_of(connection: Connection, statement: str) -> float:
    """Return how many seconds a statement takes, the least of many."""

    def once() -> float:
        began = time.perf_counter()
        rows(connection, statement)
        return time.perf_counter() - began

    return min(once() for _ in range(40))


def test_statements_on_unrelated_tables_among_a_thousand(
    database: Database, owner: Connection, superuser: Connection
) -> None:
    """They take as long as with no encrypted table, but for what PostgreSQL's own larger catalog costs."""
    run(
        superuser,
        "CREATE TABLE public.unrelated (i integer)",
    )
    make_encrypted(owner, superuser)
    # As many rows in the catalog and the registry as a thousand encrypted tables have.
    run(
        superuser,
        "DO $$ BEGIN FOR i IN 1 .. 1000 LOOP"
        " EXECUTE format('CREATE TABLE own.b%s (id integer PRIMARY KEY, s_encrypted bytea, n integer)', i);"
        " EXECUTE format('CREATE VIEW own.v%s AS SELECT id, n FROM own.b%s', i, i);"
        " IF i % 100 = 0 THEN COMMIT; END IF; END LOOP; END $$",
    )
    statements = (
        "GRANT SELECT ON public.unrelated TO wall_user",
        "REVOKE SELECT ON public.unrelated FROM wall_user",
        "ALTER TABLE public.unrelated ALTER COLUMN i SET DEFAULT 1",
    )
    run(superuser, "VACUUM ANALYZE pg_class, pg_attribute, pg_depend, pg_type")
    few = [cost_of(superuser, statement) for statement in statements]
    run(
        superuser,
        "INSERT INTO encrypted_relation (base, relation, name, columns, key_columns, key_encodings)"
        " SELECT ('own.b' || i)::regclass, ('own.v' || i)::regclass, 'v' || i, '{id,n}', '{id}', '{integer}'"
        " FROM generate_series(1, 1000) AS i",
        "INSERT INTO encrypted_column (relation_id, column_name, cipher_column, data_type, type_modifier,"
        " not_null, key_name, key_family, deterministic, state, had_plaintext)"
        " SELECT id, 's', 's_encrypted', 'text', -1, false, 'own.t.s', 1, false, 'encrypted', false"
        " FROM encrypted_relation WHERE name ~ '^v'",
    )
    run(superuser, "VACUUM ANALYZE encrypted_relation, encrypted_column")
    many = [cost_of(superuser, statement) for statement in statements]
    for statement, before, after in zip(statements, few, many, strict=True):
        assert after < 2 * before + 0.0005, (statement, before, after)
    # And nothing was done to the others.
    assert not any("does not follow" in message for message in database.messages)
