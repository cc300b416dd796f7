"""Logical replicas of the tests' databases."""

import contextlib
from collections.abc import Iterator

import column_database
from cluster import Cluster
from conftest import Connection, rows, value
from database_session import Database
from waiting import wait_until


@contextlib.contextmanager
def subscription(
    publisher: Database, subscriber: Cluster, publication: str, *, has_extension: bool
) -> Iterator[Connection]:
    """Make a subscriber with the publisher's schema, and let it copy everything."""
    with subscriber.connect() as connection:
        rows(connection, f"CREATE DATABASE {publisher.name} TEMPLATE template0")
        for role in column_database.ROLES if has_extension else ():
            rows(connection, f"DROP ROLE IF EXISTS {role}")
    with publisher.session() as there:
        rows(there, f"CREATE PUBLICATION everything {publication}")
    dump = ["pg_dump", "--schema-only", "--no-publications", publisher.name]
    if has_extension:
        subscriber.client(["psql"], input=publisher.server.client(["pg_dumpall", "--roles-only"]).stdout)
    else:
        dump.append("--table=customer")
    schema = publisher.server.client(dump).stdout
    subscriber.client(["psql", "--set=ON_ERROR_STOP=1"], dbname=publisher.name, input=schema)
    with Database(subscriber, publisher.name).session() as reader:
        name = publisher.name
        rows(
            reader, f"CREATE SUBSCRIPTION {name} CONNECTION '{publisher.server.dsn(name)}' PUBLICATION everything"
        )
        copying = "SELECT 1 FROM pg_subscription_rel WHERE srsubstate <> 'r'"
        wait_until(lambda: not rows(reader, copying), "the first copy")
        try:
            yield reader
        finally:
            reader.execute(f"DROP SUBSCRIPTION IF EXISTS {name}".encode())


def catch_up(publisher: Connection) -> None:
    """Wait until the subscriber has all that the publisher has written so far."""
    position = value(publisher, "SELECT pg_current_wal_lsn()")
    reached = (
        f"SELECT confirmed_flush_lsn >= '{position}' FROM pg_replication_slots WHERE database = current_database()"
    )
    wait_until(lambda: value(publisher, reached), "the subscriber")
