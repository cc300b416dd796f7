"""Privileges on the extension's objects: those that it intends, whatever the default privileges are.

Three databases of one cluster: ``plain``, ``opened``, where everybody gets everything on new objects, and
``hardened``, where nobody gets anything, not even their owner.
"""

import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import psycopg
import pytest
from cluster import Cluster
from conftest import Connection, rows, value
from psycopg import errors
from waiting import wait_until

ROLES = ("anon", "app", "table_owner")
DEFAULT_PRIVILEGES = {
    "plain": (),
    "opened": tuple(
        f"ALTER DEFAULT PRIVILEGES FOR ROLE postgres, table_owner {where} GRANT ALL ON {kind} TO {whom}"
        for kind in ("FUNCTIONS", "TABLES", "SEQUENCES", "TYPES")
        for where in ("", "IN SCHEMA k", "IN SCHEMA public")
        for whom in ("anon WITH GRANT OPTION", "PUBLIC", "postgres WITH GRANT OPTION")
    ),
    "hardened": tuple(
        f"ALTER DEFAULT PRIVILEGES FOR ROLE postgres, table_owner REVOKE ALL ON {kind} FROM PUBLIC, postgres"
        for kind in ("FUNCTIONS", "TABLES", "SEQUENCES", "TYPES")
    ),
}

PRIVILEGES = """
    SELECT 'routine', oid::regprocedure::text, proacl::text FROM pg_proc WHERE pronamespace = 'k'::regnamespace
    UNION ALL
    SELECT 'relation', oid::regclass::text, relacl::text FROM pg_class WHERE relnamespace = 'k'::regnamespace
    UNION ALL
    SELECT 'column', attrelid::regclass || '.' || attname, attacl::text FROM pg_attribute WHERE attacl IS NOT NULL
        AND attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'k'::regnamespace)
    UNION ALL
    SELECT 'type', oid::regtype::text, typacl::text FROM pg_type WHERE typnamespace = 'k'::regnamespace
    UNION ALL
    SELECT 'schema', nspname, nspacl::text FROM pg_namespace WHERE nspname = 'k'
    UNION ALL
    SELECT 'view', relname, (SELECT string_agg(item::text, ' ' ORDER BY item::text) FROM unnest(relacl) AS item)
    FROM pg_class WHERE relname IN ('customer', 'customer_encrypted')
    UNION ALL
    SELECT 'at the installation', pg_describe_object(classoid, objoid, objsubid), initprivs::text
    FROM pg_init_privs WHERE privtype = 'e'
    ORDER BY 1, 2, 3
"""

# Statements that a role without any privilege must not run.
FORBIDDEN = (
    "SELECT k.pgkeymgr_derive(1)",
    "SELECT k.derive_key(1)",
    "TABLE k.key",
    "TABLE k.key_wrap",
    "TABLE k.key_grant",
    "TABLE k.user_key",
    "TABLE k.server_key",
    "TABLE k.data_keys",
    "INSERT INTO k.key_grant (family, grantee, usage) VALUES (1, 'anon'::regrole, '{decrypt}')",
    "UPDATE k.key SET owner = 'anon'::regrole",
    "DELETE FROM k.key_wrap",
    "TRUNCATE k.key_wrap",
    "SELECT nextval('k.key_id_seq')",
    "SELECT setval('k.encrypted_relation_id_seq', 1)",
    "SELECT k.create_data_key('x')",
    "SELECT k.encrypt_column('pg_class', 'relname')",
    "CALL k.rotate_column('pg_class', 'relname')",
    "SELECT k._set_privileges()",
    "SELECT k._revoke_all('pg_proc', '{}')",
)
FORBIDDEN_OF_COLUMNS = (
    "TABLE customer",
    "TABLE customer_encrypted",
    "INSERT INTO customer VALUES (9, 'x')",
    "INSERT INTO customer_encrypted (id) VALUES (9)",
    "DELETE FROM customer",
    "DELETE FROM customer_encrypted",
    "CREATE TRIGGER mine INSTEAD OF INSERT ON mine FOR EACH ROW EXECUTE FUNCTION k._insert_1()",
)


def make(server: Cluster, name: str, default_privileges: tuple[str, ...] = ()) -> None:
    """Make a database with the extension in the schema k, which anon may use."""
    with server.connect() as connection:
        rows(connection, f"CREATE DATABASE {name}")
    with server.connect(name) as connection:
        rows(connection, "CREATE SCHEMA k; GRANT ALL ON SCHEMA public TO PUBLIC")
        for statement in default_privileges:
            rows(connection, statement)
        rows(connection, "CREATE EXTENSION pgkeymgr SCHEMA k CASCADE")
        rows(connection, "GRANT USAGE ON SCHEMA k TO anon")


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """A server with the three databases and their roles."""
    with Cluster() as running:
        with running.connect() as connection:
            for role in ROLES:
                rows(connection, f"CREATE ROLE {role} LOGIN")
        for name, statements in DEFAULT_PRIVILEGES.items():
            make(running, name, statements)
        with running.connect() as connection:
            rows(connection, "GRANT pgkeymgr_admin TO table_owner")
        yield running


def refused(connection: Connection, statement: str) -> bool:
    """Return whether a statement is refused for a lack of privileges; whatever it does is undone."""
    with connection.transaction(force_rollback=True):
        try:
            rows(connection, statement)
        except errors.InsufficientPrivilege:
            return True
        except psycopg.Error:
            return False
        return False


@pytest.mark.parametrize("name", ["opened", "hardened"])
def test_default_privileges_change_nothing(server: Cluster, name: str) -> None:
    with server.connect("plain") as plain, server.connect(name) as other:
        expected = rows(plain, PRIVILEGES)
        assert len(expected) > 500
        assert rows(other, PRIVILEGES) == expected


@pytest.mark.parametrize("name", list(DEFAULT_PRIVILEGES))
def test_nothing_is_open(server: Cluster, name: str) -> None:
    with server.connect(name, "anon") as anon:
        assert [statement for statement in FORBIDDEN if not refused(anon, statement)] == []
        # These are for PUBLIC.
        assert value(anon, "SELECT k.crypto_hash_sha256('')")
        assert value(anon, "SELECT NULL::k.key_type IS NULL")
    with server.connect(name) as connection:
        # Of the members of the extension, what is generated for tables left out.
        callable_ = (
            "SELECT oid FROM pg_proc WHERE pronamespace = 'k'::regnamespace"
            " AND has_function_privilege('anon', oid, 'EXECUTE')"
            " AND oid IN (SELECT objid FROM pg_depend WHERE deptype = 'e')"
        )
        intended = (
            "SELECT object FROM k._intended_privileges()"
            " WHERE catalog = 'pg_proc'::regclass AND grantee = 'PUBLIC'"
        )
        assert sorted(rows(connection, callable_)) == sorted(rows(connection, intended))


@pytest.fixture(scope="module")
def encrypted(server: Cluster) -> Cluster:
    """The three databases, each with a table that has an encrypted column, a CHECK on it among others."""
    for name in DEFAULT_PRIVILEGES:
        with server.connect(name, "table_owner") as owner:
            rows(owner, "CREATE TABLE customer (id int PRIMARY KEY, ssn text CHECK (ssn <> ''), born date)")
            rows(owner, "INSERT INTO customer VALUES (1, 'one', '2000-01-01')")
            for role in ("anon", "PUBLIC", "postgres"):
                rows(owner, f"REVOKE ALL ON customer FROM {role}")
            rows(owner, "GRANT ALL ON customer TO table_owner")
            rows(owner, "GRANT SELECT, INSERT, UPDATE, DELETE ON customer TO app")
            for column in ("ssn", "born"):
                rows(owner, f"SELECT k.encrypt_column('customer', '{column}')")
                rows(owner, f"CALL k.migrate_column('customer', '{column}')")
    return server


@pytest.mark.parametrize("name", ["opened", "hardened"])
def test_default_privileges_change_nothing_for_columns(encrypted: Cluster, name: str) -> None:
    """Neither for what is generated, nor for the view, which has the privileges of the table."""
    with encrypted.connect("plain") as plain, encrypted.connect(name) as other:
        expected = rows(plain, PRIVILEGES)
        named = [object_ for _, object_, _ in expected]
        assert "k._insert_1()" in named
        assert [object_ for object_ in named if object_.startswith("k._check_1(")]
        assert rows(other, PRIVILEGES) == expected
        # The same when all of it is made again.
        rows(other, "SELECT k.refresh_encrypted_view('customer')")
        assert rows(other, PRIVILEGES) == expected
        rows(other, "DROP VIEW customer; SELECT k.refresh_encrypted_view('customer_encrypted')")
        assert rows(other, PRIVILEGES) == expected


@pytest.mark.parametrize("name", list(DEFAULT_PRIVILEGES))
def test_no_column_is_open(encrypted: Cluster, name: str) -> None:
    with encrypted.connect(name, "anon") as anon:
        rows(anon, "CREATE OR REPLACE VIEW mine AS SELECT 1 AS one")
        assert [statement for statement in FORBIDDEN_OF_COLUMNS if not refused(anon, statement)] == []


@pytest.mark.parametrize("name", list(DEFAULT_PRIVILEGES))
def test_an_application_works(encrypted: Cluster, name: str) -> None:
    with encrypted.connect(name, "app") as app, app.transaction(force_rollback=True):
        assert rows(app, "SELECT id, ssn, born::text FROM customer") == [(1, "one", "2000-01-01")]
        assert rows(app, "INSERT INTO customer VALUES (2, 'two', '2001-01-01') RETURNING ssn") == [("two",)]
        rows(app, "UPDATE customer SET ssn = 'three' WHERE ssn = 'two'")
        rows(app, "UPDATE customer SET id = 3 WHERE id = 2")
        with pytest.raises(errors.CheckViolation), app.transaction():
            rows(app, "UPDATE customer SET ssn = ''")
        assert rows(app, "SELECT id, ssn FROM customer ORDER BY 1") == [(1, "one"), (3, "three")]
        rows(app, "DELETE FROM customer WHERE ssn = 'three'")


# The doctor


class Finding(NamedTuple):
    """A row of doctor() about a role's privileges."""

    status: str
    object: str
    message: str
    hint: str


def findings(connection: Connection) -> list[Finding]:
    """Return what doctor() says of roles beyond the members of pgkeymgr_admin."""
    query = (
        "SELECT status, object, message, hint FROM k.doctor() WHERE check_name = 'roles'"
        " AND status IN ('error', 'warning') ORDER BY 1, 2, 3"
    )
    return [Finding(*row) for row in rows(connection, query)]


@pytest.mark.parametrize("name", list(DEFAULT_PRIVILEGES))
def test_the_doctor_finds_nothing(encrypted: Cluster, name: str) -> None:
    with encrypted.connect(name) as connection:
        assert findings(connection) == []


MANUAL: dict[str, tuple[tuple[str, ...], tuple[str, str, str, str]]] = {
    "a function": (
        ("GRANT EXECUTE ON FUNCTION k.derive_key TO anon",),
        (
            "error",
            "k.derive_key(bigint,integer,bytea)",
            "anon has EXECUTE on the object, which the extension did not grant",
            "REVOKE EXECUTE ON FUNCTION k.derive_key(bigint,integer,bytea) FROM anon CASCADE;",
        ),
    ),
    "a procedure": (
        ("GRANT EXECUTE ON PROCEDURE k.rotate_column TO PUBLIC",),
        (
            "error",
            "k.rotate_column(regclass,name,integer,boolean)",
            "PUBLIC has EXECUTE on the object, which the extension did not grant",
            "REVOKE EXECUTE ON PROCEDURE k.rotate_column(regclass,name,integer,boolean) FROM PUBLIC CASCADE;",
        ),
    ),
    "a table": (
        ("GRANT SELECT, DELETE ON k.key_wrap TO anon",),
        (
            "error",
            "k.key_wrap",
            "anon has DELETE, SELECT on the object, which the extension did not grant",
            "REVOKE DELETE, SELECT ON TABLE k.key_wrap FROM anon CASCADE;",
        ),
    ),
    "a column": (
        ("GRANT SELECT (wrapped), UPDATE (wrapped) ON k.key_wrap TO anon",),
        (
            "error",
            "k.key_wrap",
            "anon has SELECT, UPDATE (wrapped) on the object, which the extension did not grant",
            "REVOKE SELECT (wrapped), UPDATE (wrapped) ON TABLE k.key_wrap FROM anon CASCADE;",
        ),
    ),
    "a sequence": (
        ("GRANT USAGE ON SEQUENCE k.key_id_seq TO anon",),
        (
            "error",
            "k.key_id_seq",
            "anon has USAGE on the object, which the extension did not grant",
            "REVOKE USAGE ON SEQUENCE k.key_id_seq FROM anon CASCADE;",
        ),
    ),
    "a type": (
        ("GRANT USAGE ON TYPE k.key_type TO anon",),
        (
            "error",
            "k.key_type",
            "anon has USAGE on the object, which the extension did not grant",
            "REVOKE USAGE ON TYPE k.key_type FROM anon CASCADE;",
        ),
    ),
    "a view": (
        ("GRANT SELECT ON k.key_events TO anon",),
        (
            "error",
            "k.key_events",
            "anon has SELECT on the object, which the extension did not grant",
            "REVOKE SELECT ON TABLE k.key_events FROM anon CASCADE;",
        ),
    ),
    "something that is generated": (
        ("GRANT EXECUTE ON FUNCTION k._insert_1 TO anon",),
        (
            "error",
            "k._insert_1()",
            "anon has EXECUTE on the object, which the extension did not grant",
            "REVOKE EXECUTE ON FUNCTION k._insert_1() FROM anon CASCADE;",
        ),
    ),
    "a grant option": (
        ("GRANT EXECUTE ON FUNCTION k.derive_key TO pgkeymgr_admin WITH GRANT OPTION",),
        (
            "error",
            "k.derive_key(bigint,integer,bytea)",
            "pgkeymgr_admin has EXECUTE on the object with grant option, which the extension did not grant",
            "REVOKE GRANT OPTION FOR EXECUTE ON FUNCTION k.derive_key(bigint,integer,bytea) FROM pgkeymgr_admin"
            " CASCADE;",
        ),
    ),
    "a superuser, who may not always be one": (
        ("CREATE ROLE boss SUPERUSER", "GRANT SELECT ON k.key_wrap TO boss"),
        (
            "error",
            "k.key_wrap",
            "boss has SELECT on the object, which the extension did not grant",
            "REVOKE SELECT ON TABLE k.key_wrap FROM boss CASCADE;",
        ),
    ),
    "less than intended": (
        ("REVOKE EXECUTE ON FUNCTION k.crypto_hash_sha256 FROM PUBLIC",),
        (
            "warning",
            "k.crypto_hash_sha256(bytea)",
            "PUBLIC does not have EXECUTE on the object, which the extension granted",
            "GRANT EXECUTE ON FUNCTION k.crypto_hash_sha256(bytea) TO PUBLIC;",
        ),
    ),
    "less than intended on a view": (
        ("REVOKE SELECT ON k.data_keys FROM pgkeymgr_user",),
        (
            "warning",
            "k.data_keys",
            "pgkeymgr_user does not have SELECT on the object, which the extension granted",
            "GRANT SELECT ON TABLE k.data_keys TO pgkeymgr_user;",
        ),
    ),
    "less than intended on what is generated": (
        ("REVOKE EXECUTE ON FUNCTION k._insert_1 FROM table_owner",),
        (
            "warning",
            "k._insert_1()",
            "table_owner does not have EXECUTE on the object, which the extension granted",
            "GRANT EXECUTE ON FUNCTION k._insert_1() TO table_owner;",
        ),
    ),
}


@pytest.mark.parametrize("what", list(MANUAL))
def test_the_doctor_names_it(encrypted: Cluster, what: str) -> None:
    """A privilege that was granted or revoked by hand, until its hint is followed."""
    statements, expected = MANUAL[what]
    with encrypted.connect("plain") as connection, connection.transaction(force_rollback=True):
        for statement in statements:
            rows(connection, statement)
        assert findings(connection) == [Finding(*expected)]
        rows(connection, expected[3])
        assert findings(connection) == []


def test_the_doctor_names_what_was_handed_on(encrypted: Cluster) -> None:
    with encrypted.connect("plain") as connection, connection.transaction(force_rollback=True):
        rows(connection, "GRANT SELECT ON k.key TO anon WITH GRANT OPTION")
        rows(connection, "SET LOCAL ROLE anon; GRANT SELECT ON k.key TO app; RESET ROLE")
        anon, app = findings(connection)
        assert (anon.object, anon.message.split()[0]) == ("k.key", "anon")
        assert (app.object, app.message.split()[0]) == ("k.key", "app")
        rows(connection, app.hint)
        assert [found.message.split()[0] for found in findings(connection)] == ["anon"]
        rows(connection, anon.hint)
        assert findings(connection) == []


def test_the_doctor_names_an_owner(encrypted: Cluster) -> None:
    with encrypted.connect("plain") as connection, connection.transaction(force_rollback=True):
        rows(connection, "GRANT CREATE ON SCHEMA k TO app")
        rows(connection, "ALTER TABLE k.key_grant OWNER TO app; ALTER FUNCTION k.derive_key OWNER TO app")
        rows(connection, "REVOKE CREATE ON SCHEMA k FROM app")
        assert {(found.object, found.hint) for found in findings(connection)} == {
            ("k.key_grant", "ALTER TABLE k.key_grant OWNER TO a_superuser;"),
            (
                "k.derive_key(bigint,integer,bytea)",
                "ALTER FUNCTION k.derive_key(bigint,integer,bytea) OWNER TO a_superuser;",
            ),
        }


def test_the_doctor_names_predefined_roles(encrypted: Cluster) -> None:
    with encrypted.connect("plain") as connection, connection.transaction(force_rollback=True):
        rows(connection, "GRANT pg_write_all_data, pg_read_all_data TO app")
        (found,) = findings(connection)
        assert found[:3] == (
            "warning",
            "app",
            "the role can write to the extension's tables, and so grant itself keys",
        )
        reading = (
            "SELECT count(*) FROM k.doctor() WHERE object = 'app' AND status = 'notice' AND hint ~ 'pg_read_all'"
        )
        assert value(connection, reading) == 1


# What is to stay as it is


def test_a_dump_keeps_what_was_granted_on_purpose(encrypted: Cluster) -> None:
    """Only CREATE EXTENSION sets the privileges, also where default privileges of the target open everything."""
    with encrypted.connect("plain") as connection:
        rows(connection, "GRANT EXECUTE ON FUNCTION k.derive_key TO app")
        rows(connection, "REVOKE EXECUTE ON FUNCTION k.randombytes_random FROM PUBLIC")
        expected = findings(connection)
        assert [found.status for found in expected] == ["error", "warning"]
    dump = encrypted.client(["pg_dump", "plain"]).stdout
    try:
        for name, statements in (("restored", ()), ("restored_opened", DEFAULT_PRIVILEGES["opened"])):
            with encrypted.connect() as connection:
                rows(connection, f"CREATE DATABASE {name} TEMPLATE template0")
            with encrypted.connect(name) as connection:
                rows(connection, "CREATE SCHEMA k")
                for statement in statements:
                    rows(connection, statement)
            text = dump.replace("CREATE SCHEMA k;", "")
            encrypted.client(["psql", "--set=ON_ERROR_STOP=1", "--quiet"], dbname=name, input=text)
            with encrypted.connect(name) as connection:
                found = findings(connection)
            # pg_dump itself does not undo default privileges on functions that are no members of an extension.
            assert [each for each in found if not (statements and is_generated(each.object))] == expected
    finally:
        with encrypted.connect("plain") as connection:
            for each in expected:
                rows(connection, each.hint)
            assert findings(connection) == []


def is_generated(object_: str) -> bool:
    """Return whether a function's name ends with a number."""
    return object_.partition("(")[0][-1].isdigit()


# Two databases at once


def install(server: Cluster, name: str, outcome: list[Any]) -> None:
    """Create the extension, and note what came of it."""
    with server.connect(name) as connection:
        try:
            rows(connection, "CREATE EXTENSION pgkeymgr CASCADE")
            outcome.append(None)
        except psycopg.Error as error:
            outcome.append(error)


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
@pytest.mark.parametrize("before", ["", "CREATE ROLE pgkeymgr_user; CREATE ROLE pgkeymgr_admin"])
def test_two_installations_at_once(end: str, before: str) -> None:
    """Both make the roles, or the membership of one in the other, which belong to the cluster."""
    with Cluster() as cluster, cluster.connect() as connection:
        rows(connection, before or "SELECT")
        rows(connection, "CREATE DATABASE first")
        rows(connection, "CREATE DATABASE second")
        outcome: list[Any] = []
        with cluster.connect("first") as first:
            rows(first, "BEGIN; CREATE EXTENSION pgkeymgr CASCADE")
            second = threading.Thread(target=install, args=(cluster, "second", outcome))
            second.start()
            wait_until(
                lambda: rows(
                    connection,
                    "SELECT pid FROM pg_stat_activity WHERE datname = 'second' AND wait_event_type = 'Lock'",
                ),
                "the second installation",
            )
            rows(first, end)
            second.join()
        assert outcome == [None]
        assert value(connection, "SELECT pg_has_role('pgkeymgr_admin', 'pgkeymgr_user', 'MEMBER')")
