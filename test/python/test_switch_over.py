"""The command ``pgkeymgr switch-over``: a logical replica takes its publisher's place."""

import json
from collections.abc import Iterator

import column_database
import pytest
from cluster import Cluster
from column_database import SETTINGS, check_works, make_customer, new_database
from conftest import rows, value
from database_session import Database
from installed import run
from subscribers import subscription

server = column_database.server


@pytest.fixture
def subscriber() -> Iterator[Cluster]:
    with Cluster(settings={**SETTINGS, "wal_retrieve_retry_interval": "100ms"}) as running:
        yield running


def switch_over(old: Database, new: Cluster, *options: str) -> tuple[int, str, str]:
    """Call the command, and return its status, and its output without and with errors."""
    done = run("switch-over", f"--from={old.server.dsn(old.name)}", f"--to={new.dsn(old.name)}", *options)
    return done.returncode, done.stdout, done.stderr


def test_switch_over(server: Cluster, subscriber: Cluster) -> None:
    with new_database(server) as database:
        with database.session() as publisher:
            make_customer(publisher)
            rows(publisher, "CREATE TABLE half (id serial PRIMARY KEY, s text); INSERT INTO half (s) VALUES ('1')")
            rows(publisher, "SELECT encrypt_column('half', 's')")
            # Numbers have gaps: the replica's own sequences would give such numbers again.
            rows(publisher, "BEGIN; SELECT create_data_key('a'), create_data_key('b'); ROLLBACK")
            rows(publisher, "SELECT create_data_key('c')")
        with subscription(database, subscriber, "FOR ALL TABLES", has_extension=True) as reader:
            with database.session() as publisher:
                rows(publisher, "CALL migrate_column('half', 's')")
                status, _, complaint = switch_over(database, subscriber)
                assert status == 1
                assert f"connected to the publisher: {publisher.info.backend_pid}" in complaint
                assert value(reader, "SELECT count(*) FROM pg_subscription") == 1
            status, output, complaint = switch_over(database, subscriber, "--json")
            assert status == 0, complaint
            done = json.loads(output)
            assert done["subscriptions"] == [database.name]
            assert done["tables"] == ["public.customer_encrypted", "public.half_encrypted"]
            assert value(reader, "SELECT count(*) FROM pg_subscription") == 0
            check_works(reader)
            rows(reader, "INSERT INTO half (s) VALUES ('2')")
            assert rows(reader, "SELECT id, s FROM half ORDER BY id") == [(1, "1"), (2, "2")]
            rows(reader, "CALL rotate_column('customer', 'ssn')")
            check_works(reader)
            rows(reader, "SELECT create_data_key('d')")
            assert value(reader, "SELECT max(id) FROM data_keys") > value(
                reader, "SELECT id FROM data_keys WHERE name = 'c'"
            )
            status, _, complaint = switch_over(database, subscriber)
            assert (status, "has no subscription" in complaint) == (1, True)
        with server.connect() as old:
            assert rows(old, "SELECT 1 FROM pg_replication_slots") == []


def test_refusals(server: Cluster, subscriber: Cluster) -> None:
    with new_database(server) as database:
        with database.session() as publisher:
            make_customer(publisher)
        with subscription(database, subscriber, "FOR ALL TABLES", has_extension=True) as reader:
            subscriber.install_getkey("#!/bin/sh\necho " + "42" * 32 + "\n")
            status, _, complaint = switch_over(database, subscriber)
            assert (status, "does not have the root key" in complaint) == (1, True)
            subscriber.install_getkey(server.getkey.read_text())
            rows(reader, f"ALTER SUBSCRIPTION {database.name} DISABLE")
            with database.session() as publisher:
                rows(publisher, "INSERT INTO customer (name, ssn) VALUES ('Di', '444')")
            status, _, complaint = switch_over(database, subscriber, "--timeout=0.1")
            assert (status, "has not caught up after 0.1 seconds" in complaint) == (1, True)
            assert value(reader, "SELECT count(*) FROM pg_subscription") == 1
