"""Dumps that are restored where the roles of keys do not exist, or are others of the same names."""

from collections.abc import Iterator, Sequence

import pytest
from cluster import Cluster
from conftest import Connection, rows, value
from psycopg import errors

ROLES = ("rs_owner", "rs_app", "rs_renamed", "rs_gone", "rs_admin")


class Databases:
    """A database with keys of several roles, and another one to restore its dump to."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def connect(self, name: str) -> Connection:
        """Connect to one of the databases."""
        connection = self.cluster.connect(name)
        connection.execute("SET search_path = public, pgkeymgr")
        return connection

    def make(self) -> None:
        """Make the roles, and the keys and a table in the database ``source``."""
        with self.cluster.connect() as server:
            for role in ROLES:
                server.execute(f"CREATE ROLE {role} IN ROLE pgkeymgr_user".encode())
            server.execute("GRANT pgkeymgr_admin TO rs_owner, rs_admin")
        with self.connect("source") as source:
            source.execute("GRANT USAGE, CREATE ON SCHEMA public TO rs_owner")
            source.execute("SET ROLE rs_owner")
            source.execute("CREATE TABLE customer (id integer PRIMARY KEY, ssn text)")
            source.execute("INSERT INTO customer VALUES (1, 'one'), (2, NULL)")
            source.execute("GRANT SELECT ON customer TO rs_app")
            source.execute("SELECT encrypt_column('customer', 'ssn')")
            source.execute("SELECT create_data_key('tokens')")
            source.execute(
                "SELECT grant_data_key('tokens', role) FROM unnest('{rs_renamed,rs_gone}'::regrole[]) AS role"
            )
            source.execute("RESET ROLE")
            source.execute("SELECT create_data_key('own')")

    def restore(self, *options: str, dump: Sequence[str] = ("-Fc",)) -> Connection:
        """Dump the database ``source`` with the options ``dump``, and restore it; see ``load``."""
        file = self.cluster.directory / "dump"
        self.cluster.client(["pg_dump", *dump, "--file", str(file), "source"])
        return self.load(*options, is_text="-Fc" not in dump)

    def load(self, *options: str, is_text: bool = False) -> Connection:
        """Restore the last dump to the database ``target``, with all errors.

        Args:
            options: options of pg_restore.
            is_text: whether the dump is for psql.
        """
        with self.cluster.connect() as server:
            server.execute("DROP DATABASE IF EXISTS target WITH (FORCE)")
            server.execute("CREATE DATABASE target TEMPLATE template0")
        file = str(self.cluster.directory / "dump")
        if is_text:
            self.cluster.client(["psql", "--quiet", "--set=ON_ERROR_STOP=1", "--file", file], dbname="target")
        else:
            self.cluster.client(["pg_restore", "--exit-on-error", "--dbname=target", *options, file])
        return self.connect("target")

    def remove(self, *roles: str) -> None:
        """Drop the source database, and roles."""
        with self.cluster.connect() as server:
            server.execute("DROP DATABASE IF EXISTS source WITH (FORCE)")
            for role in roles:
                server.execute(f"DROP ROLE IF EXISTS {role}".encode())

    def drop(self) -> None:
        """Remove all that the test has made."""
        with self.cluster.connect() as server:
            server.execute("DROP DATABASE IF EXISTS target WITH (FORCE)")
        self.remove(*ROLES, "rs_other")


@pytest.fixture
def databases(cluster: Cluster) -> Iterator[Databases]:
    made = Databases(cluster)
    cluster.create_database("source")
    try:
        made.make()
        yield made
    finally:
        made.drop()


KEYS = "SELECT name, owner::regrole::text, owner_name::text FROM key ORDER BY name"
GRANTS = "SELECT grantee::regrole::text, grantee_name::text FROM key_grant ORDER BY grantee_name"


def may_use(connection: Connection, role: str, key: str = "tokens") -> bool:
    connection.execute(f"SET ROLE {role}".encode())
    try:
        rows(connection, f"SELECT token_encrypt('{key}', 'x')")
    except errors.InsufficientPrivilege:
        return False
    finally:
        connection.execute("RESET ROLE")
    return True


def test_the_roles_exist(databases: Databases) -> None:
    """In the same cluster. The numbers come from the names."""
    with databases.restore() as target:
        assert ("tokens", "rs_owner", "rs_owner") in rows(target, KEYS)
        assert rows(target, "SELECT * FROM customer ORDER BY id") == [(1, "one"), (2, None)]
        assert may_use(target, "rs_owner")
        assert may_use(target, "rs_gone")
        assert not may_use(target, "rs_app", "own")
        assert rows(target, "SELECT FROM doctor() WHERE object LIKE 'role rs%'") == []


@pytest.mark.parametrize("dump", [("-Fc",), ("--inserts",), ("--rows-per-insert=2",), ()])
def test_the_roles_do_not_exist(databases: Databases, dump: Sequence[str]) -> None:
    """All keys are there. The missing roles are named, and get what they had when somebody says so."""
    file = databases.cluster.directory / "dump"
    options = ("--no-owner", "--no-privileges")
    databases.cluster.client(
        ["pg_dump", *dump, *(() if dump == ("-Fc",) else options), "--file", str(file), "source"]
    )
    databases.remove(*ROLES)
    with databases.load(*options, is_text=dump != ("-Fc",)) as target:
        assert rows(target, "SELECT * FROM customer ORDER BY id") == [(1, "one"), (2, None)]
        target.execute("INSERT INTO customer VALUES (3, 'three')")
        assert value(target, "SELECT ssn FROM customer WHERE id = 3") == "three"
        assert value(target, "SELECT owner::text FROM data_keys WHERE name = 'tokens'") == "-"
        found = rows(target, "SELECT object, hint FROM doctor() WHERE status = 'warning' AND object LIKE 'role%'")
        assert {name for name, _ in found} == {"role rs_owner", "role rs_app", "role rs_renamed", "role rs_gone"}
        assert ("role rs_app", "SELECT adopt_role('rs_app', 'a_role');") in found
        # A role that is made later has nothing of its own accord.
        target.execute("CREATE ROLE rs_owner IN ROLE pgkeymgr_user")
        target.execute("CREATE ROLE rs_app IN ROLE pgkeymgr_user")
        assert not may_use(target, "rs_owner")
        # A new version belongs to the missing owner, too.
        target.execute("SELECT supersede_data_key('tokens')")
        assert not may_use(target, "rs_owner")
        with pytest.raises(errors.UndefinedObject, match="role 4294967294 does not exist"):
            target.execute("SELECT adopt_role('rs_owner', 4294967294::regrole)")
        with pytest.raises(errors.UndefinedObject, match='"rs_nobody"'):
            target.execute("SELECT adopt_role('rs_nobody', 'rs_owner')")
        assert value(target, "SELECT adopt_role('rs_owner', 'rs_owner')") == 4
        assert may_use(target, "rs_owner")
        assert not may_use(target, "rs_app")
        assert value(target, "SELECT adopt_role('rs_gone', 'rs_app')") == 1
        assert may_use(target, "rs_app")
        assert value(target, "SELECT count(*) FROM key_events WHERE event = 'adopt_role'") == 2
        target.execute("DROP OWNED BY rs_owner, rs_app")


def test_only_administrators_adopt(databases: Databases) -> None:
    with databases.connect("source") as source:
        source.execute("SET ROLE rs_app")
        with pytest.raises(errors.InsufficientPrivilege):
            source.execute("SELECT adopt_role('rs_gone', 'rs_app')")


def test_a_role_that_was_renamed(databases: Databases) -> None:
    """It keeps its keys, and a dump has its present name, also if another role has its former one."""
    with databases.connect("source") as source:
        source.execute("ALTER ROLE rs_renamed RENAME TO rs_other")
        source.execute("CREATE ROLE rs_renamed IN ROLE pgkeymgr_user")
        assert may_use(source, "rs_other")
        assert not may_use(source, "rs_renamed")
    with databases.restore() as target:
        assert may_use(target, "rs_other")
        assert not may_use(target, "rs_renamed")
        assert ("rs_other", "rs_other") in rows(target, GRANTS)


def test_a_role_that_was_dropped(databases: Databases) -> None:
    """Another role of its name inherits nothing, neither here nor from a dump."""
    with databases.connect("source") as source:
        source.execute("SELECT grant_data_key('own', 'rs_gone')")
        source.execute("SELECT create_data_key('left')")
        source.execute("UPDATE key SET owner = 'rs_gone'::regrole WHERE name = 'left'")
        source.execute("DROP OWNED BY rs_gone")
        source.execute("DROP ROLE rs_gone")
        source.execute("CREATE ROLE rs_gone IN ROLE pgkeymgr_user")
        for key in ("own", "tokens", "left"):
            assert not may_use(source, "rs_gone", key)
    with databases.restore() as target:
        for key in ("own", "tokens", "left"):
            assert not may_use(target, "rs_gone", key)
        assert ("left", "-", None) in rows(target, KEYS)
        assert "rs_gone" not in {name for name, _ in rows(target, GRANTS)}
        assert value(target, "SELECT count(*) FROM doctor() WHERE object = 'role without a name'") == 1


def test_numbers_of_another_cluster(databases: Databases) -> None:
    """A row that is loaded with the number of another role gets the role of its name, or none."""
    with databases.connect("source") as source:
        number = value(source, "SELECT 'rs_app'::regrole::oid::bigint")
        # As a logical replica gets them, too.
        for role in ("origin", "replica"):
            source.execute(f"SET session_replication_role = {role}".encode())
            source.execute(
                "INSERT INTO key_grant (family, grantee_name, grantee, usage)"
                f" SELECT family, n, {number}, '{{encrypt}}' FROM key,"
                " unnest('{rs_nobody,rs_gone}'::name[]) AS n WHERE name = 'own'".encode()
            )
            assert not may_use(source, "rs_app", "own")
            assert may_use(source, "rs_gone", "own")
            # Without a name, a number of another cluster says nothing.
            if role == "replica":
                source.execute(
                    f"INSERT INTO key_grant (family, grantee, usage) SELECT family, {number}, '{{encrypt}}'"
                    " FROM key WHERE name = 'own'".encode()
                )
                source.execute(f"UPDATE key_grant SET grantee = {number} WHERE grantee_name = 'rs_gone'".encode())
                source.execute(f"UPDATE key SET owner = {number} WHERE name = 'own'".encode())
                source.execute("SET session_replication_role = origin")
                assert not may_use(source, "rs_app", "own")
                assert may_use(source, "rs_gone", "own")
                assert ("own", "postgres", "postgres") in rows(source, KEYS)
            source.execute("DELETE FROM key_grant WHERE grantee_name IN ('rs_nobody', 'rs_gone')")
            assert not may_use(source, "rs_gone", "own")


def test_data_only(databases: Databases) -> None:
    """With disabled triggers no name is looked up: nobody has anything until it is adopted."""
    dump = databases.cluster.directory / "dump"
    with databases.restore("--schema-only") as target:
        target.close()
    databases.cluster.client(
        ["pg_restore", "--data-only", "--disable-triggers", "--exit-on-error", "--dbname=target", str(dump)]
    )
    with databases.connect("target") as target:
        assert rows(target, "SELECT * FROM customer ORDER BY id") == [(1, "one"), (2, None)]
        assert not may_use(target, "rs_owner")
        rows(target, "SELECT adopt_role(rolname, oid) FROM pg_roles WHERE rolname IN ('rs_owner', 'rs_gone')")
        assert may_use(target, "rs_owner")
        assert may_use(target, "rs_gone")


def test_a_replica_whose_role_was_made_again(databases: Databases) -> None:
    """A change that comes from the publisher later does not give the new role what the former one had."""
    with databases.connect("source") as source:
        number = value(source, "SELECT 'rs_app'::regrole::oid::bigint")
        source.execute("DROP OWNED BY rs_gone")
        source.execute("DROP ROLE rs_gone")
        source.execute("CREATE ROLE rs_gone IN ROLE pgkeymgr_user")
        source.execute("SET session_replication_role = replica")
        source.execute(f"UPDATE key_grant SET grantee = {number} WHERE grantee_name = 'rs_gone'".encode())
        source.execute("RESET session_replication_role")
        assert not may_use(source, "rs_gone")
        assert not may_use(source, "rs_app")
