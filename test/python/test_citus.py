"""Tables that Citus distributes.

Debian has no Citus. Where it is installed, the last tests run: they were written with Citus 13.2.2 and PostgreSQL
15. The first tests need a catalog like that of Citus only, which they make.
"""

import itertools
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from cluster import Cluster, pg_config
from conftest import Connection, rows, value
from psycopg import errors

HAS_CITUS = (pg_config("sharedir") / "extension/citus.control").exists()
_PORTS = itertools.count(5961)

FAKE = (
    "SET allow_system_table_mods = on",
    "CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass)",
    "GRANT SELECT ON pg_catalog.pg_dist_partition TO PUBLIC",
    "INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)"
    " VALUES (99999, 'citus', 10, 11, false, '13')",
    "INSERT INTO pg_depend VALUES ('pg_class'::regclass, 'pg_catalog.pg_dist_partition'::regclass, 0,"
    " 'pg_extension'::regclass, 99999, 0, 'e')",
    "RESET allow_system_table_mods",
)
STATE = (
    "SELECT (SELECT json_agg(c)::text FROM encrypted_column AS c),"
    " (SELECT json_agg(k ORDER BY id)::text FROM key AS k),"
    " (SELECT json_agg(a.attname ORDER BY a.attnum)::text FROM pg_attribute AS a"
    "  WHERE attrelid = 'customer_encrypted'::regclass),"
    " (SELECT json_agg(t ORDER BY id)::text FROM customer_encrypted AS t)"
)
REFUSED = {
    "rotate": "CALL rotate_column('customer', 'ssn')",
    "decrypt": "CALL decrypt_column('customer', 'ssn')",
    "add a blind index to": "SELECT add_blind_index('customer', 'ssn')",
    "encrypt": "SELECT encrypt_column('customer', 'name')",
    "separate": "SELECT separate_column('customer', 'ssn')",
    "migrate": "CALL migrate_column('customer', 'note')",
}


def make(connection: Connection) -> None:
    """Make a table with a column that is encrypted, and one that is to be migrated."""
    connection.execute("CREATE TABLE customer (id integer PRIMARY KEY, name text, ssn text, note text)")
    connection.execute(
        "INSERT INTO customer SELECT i, 'n' || i, 's' || i, 'o' || i FROM generate_series(1, 20) AS i"
    )
    connection.execute("SELECT encrypt_column('customer', 'ssn')")
    connection.execute("CALL migrate_column('customer', 'ssn')")


@pytest.fixture
def looks_distributed(cluster: Cluster) -> Iterator[Connection]:
    """A session in a database with a table that a catalog like that of Citus calls distributed."""
    with cluster.temporary_database("like_citus"), cluster.connect("like_citus") as connection:
        connection.execute("SET search_path = public, pgkeymgr")
        make(connection)
        connection.execute("SELECT encrypt_column('customer', 'note')")
        for statement in FAKE:
            connection.execute(statement.encode())
        connection.execute("INSERT INTO pg_catalog.pg_dist_partition VALUES ('customer_encrypted')")
        yield connection


def check_refused(connection: Connection, action: str) -> None:
    """Check that an action is refused before it changes something."""
    before = rows(connection, STATE)
    with pytest.raises(errors.FeatureNotSupported, match=f"cannot {action} column .*Citus") as refused:
        rows(connection, REFUSED[action])
    assert "undistribute_table()" in (refused.value.diag.message_hint or "")
    assert rows(connection, STATE) == before


@pytest.mark.parametrize("action", REFUSED)
def test_refused_by_a_catalog_like_that_of_citus(looks_distributed: Connection, action: str) -> None:
    check_refused(looks_distributed, action)


def test_rows_elsewhere_by_a_catalog_like_that_of_citus(looks_distributed: Connection) -> None:
    """ONLY the table would be what is left of it here. A child has to do for a shard."""
    looks_distributed.execute("ALTER EVENT TRIGGER pgkeymgr_ddl DISABLE")
    looks_distributed.execute("CREATE TABLE shard () INHERITS (customer_encrypted)")
    looks_distributed.execute("INSERT INTO shard SELECT * FROM customer_encrypted")
    looks_distributed.execute("TRUNCATE ONLY customer_encrypted")
    looks_distributed.execute("UPDATE shard SET id = id + 1")
    assert value(looks_distributed, "SELECT count(*) FROM verify_column('customer', 'ssn')") == 20
    rows(looks_distributed, "SELECT supersede_data_key('public.customer.ssn')")
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="has values under it"):
        rows(looks_distributed, "SELECT destroy_data_key(1, name) FROM data_keys WHERE id = 1")


def test_a_table_of_a_users(cluster: Cluster) -> None:
    """Its name alone does not make it Citus's catalog, nor does its schema if it belongs to no extension."""
    with cluster.temporary_database("like_citus"), cluster.connect("like_citus") as connection:
        connection.execute("SET search_path = public, pgkeymgr")
        make(connection)
        connection.execute("CREATE TABLE public.pg_dist_partition (logicalrelid regclass)")
        connection.execute("INSERT INTO public.pg_dist_partition VALUES ('customer_encrypted')")
        rows(connection, REFUSED["rotate"])
        for statement in (*FAKE[:2], "INSERT INTO pg_catalog.pg_dist_partition VALUES ('customer_encrypted')"):
            connection.execute(statement.encode())
        rows(connection, REFUSED["rotate"])


# With Citus

needs_citus = pytest.mark.skipif(not HAS_CITUS, reason="Citus is not installed; Debian has no package of it")


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[Connection]]:
    """A coordinator and two workers, to which the keys of the coordinator are replicated."""
    settings = {
        "shared_preload_libraries": "citus",
        "listen_addresses": "127.0.0.1",
        "wal_level": "logical",
        "citus.shard_count": "4",
        "citus.node_conninfo": "sslmode=disable",
    }
    with ExitStack() as stack:
        clusters = [stack.enter_context(Cluster(settings=settings, port=next(_PORTS))) for _ in range(3)]
        connections = []
        for cluster in clusters:
            with cluster.connect() as connection:
                connection.execute("CREATE DATABASE d")
            connection = stack.enter_context(cluster.connect("d"))
            connection.execute("CREATE EXTENSION citus")
            connections.append(connection)
        coordinator, *workers = connections
        rows(coordinator, f"SELECT citus_set_coordinator_host('127.0.0.1', {clusters[0].port})")
        for cluster in clusters[1:]:
            rows(coordinator, f"SELECT citus_add_node('127.0.0.1', {cluster.port})")
        rows(coordinator, "CREATE SCHEMA pgkeymgr")
        rows(coordinator, "CREATE EXTENSION pgkeymgr SCHEMA pgkeymgr CASCADE")
        for connection in connections:
            connection.execute("SET search_path = public, pgkeymgr")
        tables = "key, key_wrap, key_grant, root_key_fingerprint, user_key, server_key"
        rows(coordinator, f"CREATE PUBLICATION keys FOR TABLE {tables}")
        for number, worker in enumerate(workers):
            source = f"host=127.0.0.1 port={clusters[0].port} user=postgres dbname=d"
            rows(worker, f"CREATE SUBSCRIPTION keys_{number} CONNECTION '{source}' PUBLICATION keys")
        coordinator.execute("SET citus.enable_unsafe_triggers = on")
        coordinator.execute("SET citus.multi_shard_modify_mode = 'sequential'")
        yield connections
        for number, worker in enumerate(workers):
            worker.execute(f"DROP SUBSCRIPTION keys_{number}".encode())


def wait_for_keys(nodes: list[Connection]) -> None:
    """Wait until each worker has the keys of the coordinator."""
    query = "SELECT count(*), (SELECT json_agg(w ORDER BY w::text)::text FROM key_wrap AS w) FROM key"
    expected = rows(nodes[0], query)
    deadline = time.monotonic() + 30
    while any(rows(worker, query) != expected for worker in nodes[1:]):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@needs_citus
def test_citus(nodes: list[Connection]) -> None:
    """Encrypt, distribute, read and write, take back, rotate, distribute again."""
    admin = nodes[0]
    make(admin)
    wait_for_keys(nodes)
    rows(admin, "SELECT create_distributed_table('customer_encrypted', 'id')")
    rows(admin, "SELECT refresh_encrypted_view('customer')")
    assert value(admin, "SELECT count(DISTINCT ssn) FROM customer") == 20
    for action in REFUSED:
        if action != "migrate":
            check_refused(admin, action)
    rows(admin, "INSERT INTO customer VALUES (100, 'a', 's100'), (101, 'b', NULL)")
    rows(admin, "UPDATE customer_encrypted SET name = 'c' WHERE id = 100")
    rows(admin, "UPDATE customer_encrypted SET ssn = 'new' WHERE id = 1")
    rows(admin, "DELETE FROM customer_encrypted WHERE id IN (SELECT id FROM customer WHERE ssn = 's2')")
    upsert = (
        "INSERT INTO customer_encrypted (id, ssn) VALUES (3, 'up'), (102, 'in')"
        " ON CONFLICT (id) DO UPDATE SET ssn_encrypted = EXCLUDED.ssn_encrypted"
    )
    rows(admin, upsert)
    written = "SELECT id, name, ssn FROM customer WHERE id IN (1, 2, 3, 100, 101, 102) ORDER BY 1"
    expected = [
        (1, "n1", "new"), (3, "n3", "up"), (100, "c", "s100"), (101, "b", None), (102, None, "in"),
    ]  # fmt: skip
    assert rows(admin, written) == expected
    assert value(admin, "SELECT count(ssn) FROM customer_encrypted") == 0
    for statement in ("UPDATE customer SET name = 'x' WHERE id = 1", "DELETE FROM customer WHERE id = 1"):
        with pytest.raises(errors.FeatureNotSupported):
            rows(admin, statement)
    old = value(admin, "SELECT id FROM data_keys WHERE name = 'public.customer.ssn'")
    rows(admin, "SELECT undistribute_table('customer_encrypted')")
    assert rows(admin, "SELECT object, status FROM doctor() WHERE check_name = 'column_tables'") == [
        ("public.customer_encrypted", "warning")
    ]
    destroy = f"SELECT destroy_data_key({old}, 'public.customer.ssn')"
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="was dropped"):
        rows(admin, destroy)
    assert value(admin, "SELECT adopt_encrypted_table('customer_encrypted')::text") == "customer"
    assert rows(admin, written) == expected
    rows(admin, "CALL rotate_column('customer', 'ssn')")
    rows(admin, "SELECT add_blind_index('customer', 'ssn')")
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="in publication keys"):
        rows(admin, destroy)
    rows(admin, f"SELECT destroy_data_key({old}, 'public.customer.ssn', force => true)")
    wait_for_keys(nodes)
    rows(admin, "SELECT create_distributed_table('customer_encrypted', 'id')")
    rows(admin, "SELECT refresh_encrypted_view('customer')")
    assert rows(admin, written) == expected
    search = "SELECT id FROM customer WHERE ssn_bidx = (SELECT blind_index('customer', 'ssn', 'new'))"
    assert rows(admin, search) == [(1,)]
    assert rows(admin, "SELECT * FROM verify_column('customer', 'ssn')") == []


@needs_citus
@pytest.mark.parametrize(
    "call",
    [
        "citus_add_local_table_to_metadata('t_encrypted')",
        "create_distributed_table_concurrently('t_encrypted', 'id')",
    ],
)
def test_calls_that_citus_cannot_finish(nodes: list[Connection], call: str) -> None:
    """They would make the base table a shard, which the event trigger refuses; all stays as it was."""
    admin = nodes[0]
    rows(admin, "CREATE TABLE t (id integer PRIMARY KEY, v text)")
    rows(admin, "SELECT encrypt_column('t', 'v')")
    rows(admin, "INSERT INTO t VALUES (1, 'a')")
    with pytest.raises(errors.FeatureNotSupported, match="has encrypted columns"):
        rows(admin, f"SELECT {call}")
    rows(admin, "UPDATE t SET v = 'b'")
    assert rows(admin, "SELECT id, v FROM t") == [(1, "b")]
    rows(admin, "DROP TABLE t_encrypted CASCADE")
