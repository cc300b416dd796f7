"""Clusters whose databases share keys, for the tests."""

import contextlib
from collections.abc import Iterator

from cluster import Cluster
from conftest import Connection, rows, value
from waiting import wait_until

DATABASE = "shop"
KEY_TABLES = ("key", "key_wrap", "key_grant", "user_key", "server_key", "root_key_fingerprint")
TABLES = ", ".join(f"pgkeymgr.{table}" for table in KEY_TABLES)
SETTINGS = {"wal_level": "logical", "autovacuum": "off", "max_logical_replication_workers": "8"}


@contextlib.contextmanager
def nodes(count: int) -> Iterator[list[Connection]]:
    """Start clusters, and open a session in the database of each. All have the same root key."""
    with contextlib.ExitStack() as stack:
        sessions = []
        for _ in range(count):
            cluster = stack.enter_context(Cluster(settings=SETTINGS))
            cluster.create_database(DATABASE)
            sessions.append(stack.enter_context(contextlib.closing(connect(cluster.dsn(DATABASE)))))
        yield sessions


def connect(dsn: str) -> Connection:
    """Open a session that finds the extension's functions."""
    import psycopg

    return psycopg.connect(dsn, autocommit=True, options="-c search_path=public,pgkeymgr")


def dsn(node: Connection) -> str:
    """Return the connection string of a node's database."""
    info = node.info
    return f"host={info.host} port={info.port} dbname={info.dbname} user=postgres"


def subscribe(node: Connection, to: Connection, name: str = "keys_2") -> None:
    """Publish the key tables of a node, and let another one subscribe to them."""
    rows(to, f"CREATE PUBLICATION keys FOR TABLE {TABLES}")
    rows(node, f"CREATE SUBSCRIPTION {name} CONNECTION '{dsn(to)}' PUBLICATION keys")
    settle([node, to])


def settle(all_nodes: list[Connection]) -> None:
    """Wait until all subscriptions have their first copy, and all that is committed."""
    for node in all_nodes:
        wait_for_none(node, "SELECT 1 FROM pg_subscription_rel WHERE srsubstate <> 'r'", "the first copy")
    for node in all_nodes:
        position = value(node, "SELECT pg_current_wal_lsn()")
        behind = f"SELECT 1 FROM pg_replication_slots WHERE confirmed_flush_lsn < '{position}'"
        wait_for_none(node, behind, "the subscribers' apply")


def wait_for_none(node: Connection, query: str, what: str) -> None:
    """Wait until a query, which has a column, returns no row."""
    wait_until(lambda: not rows(node, query), what)
