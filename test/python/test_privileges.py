"""Privileges on the extension's objects: those that it intends, whatever the default privileges are.

Three databases of one cluster: ``plain``, ``opened``, where everybody gets everything on new objects, and
``hardened``, where nobody gets anything, not even their owner.
"""

from collections.abc import Iterator

import psycopg
import pytest
from cluster import Cluster
from conftest import Connection, rows, value
from psycopg import errors

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

# What a role without any privilege may do with an extension.
FORBIDDEN = (
    "SELECT k.pgkeymgr_derive(1)",
    "SELECT k.derive_key(1)",
    "TABLE k.key",
    "TABLE k.key_wrap",
    "TABLE k.key_grant",
    "TABLE k.user_key",
    "TABLE k.server_key",
    "TABLE k.data_keys",
    "INSERT INTO k.key_grant VALUES (1, 'anon', '{decrypt}')",
    "UPDATE k.key SET owner = 'anon'",
    "DELETE FROM k.key_wrap",
    "TRUNCATE k.key_wrap",
    "SELECT nextval('k.key_id_seq')",
    "SELECT setval('k.encrypted_relation_id_seq', 1)",
    "SELECT k.create_data_key('x')",
    "SELECT k.encrypt_column('pg_class', 'relname')",
    "CALL k.rotate_column('pg_class', 'relname')",
    "SELECT k._set_privileges()",
    "SELECT k._revoke_all('pg_proc', '{}')",
    "SELECT k._take_key(1, '', 1, '', '', '', true, 1, 1, '', true, true, '', '', '{}', 1, '', '')",
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
        # What PUBLIC is to have.
        assert value(anon, "SELECT k.crypto_hash_sha256('')")
        assert value(anon, "SELECT NULL::k.key_type IS NULL")


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
