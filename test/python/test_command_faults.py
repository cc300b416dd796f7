"""Faults around the command: a full disk, wrong names, missing rights, and a server that does not answer."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster
from conftest import rows
from in_process import invoke
from installed import COMMAND


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """A cluster with an encrypted column, a plaintext column, and roles with fewer rights."""
    with Cluster() as cluster:
        cluster.create_database("shop", "pgkeymgr")
        cluster.create_database("empty", "pgkeymgr")
        with cluster.connect("shop") as connection:
            for statement in (
                "CREATE ROLE watcher LOGIN IN ROLE pgkeymgr_monitor",
                "CREATE TABLE customer (id integer PRIMARY KEY, name text, ssn text)",
                "SELECT pgkeymgr.encrypt_column('customer', 'ssn')",
                "CALL pgkeymgr.migrate_column('customer', 'ssn')",
                "SELECT pgkeymgr.set_mask('customer', 'ssn', 'last4')",
            ):
                rows(connection, statement)
        yield cluster


def call(cluster: Cluster, *words: str, status: int, user: str = "postgres") -> str:
    """Run the command, check its status, and return what it printed."""
    environment = {"PGHOST": str(cluster.directory), "PGPORT": str(cluster.port), "PGUSER": user}
    done = invoke(*words, environment=environment)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("words", [["--help"], ["keys", "list", "-d", "shop"], ["audit", "export", "-d", "shop"]])
def test_a_full_disk_is_reported(server: Cluster, words: list[str]) -> None:
    environment = {**os.environ, "PGHOST": str(server.directory), "PGPORT": str(server.port), "PGUSER": "postgres"}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [COMMAND, *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=environment
        )
    assert done.stderr == "pgkeymgr: No space left on device\n"
    assert done.returncode == 1


def test_names_that_do_not_exist(server: Cluster) -> None:
    """An empty list of grants would look as if nobody could read a column, or as if a role could use no key."""
    assert 'role "nobody" does not exist' in call(server, "grants", "list", "--role", "nobody", status=1)
    for column in ("customer.name", "nowhere.name"):
        shown = call(server, "grants", "list", "--column", column, "-d", "shop", status=1)
        assert f"no database has an encrypted column {column}" in shown
    assert "No role" in call(server, "grants", "list", "--role", "pgkeymgr_user", status=0)
    shown = call(server, "decrypt", "customer", "name", "-d", "shop", status=1)
    assert 'column "name" of customer is not encrypted' in shown


def test_files_that_cannot_be_written(server: Cluster) -> None:
    for words in (("report", "--output"), ("metrics", "--textfile")):
        shown = call(server, *words, "/nowhere/file", "-d", "empty", status=1)
        assert "pgkeymgr: /nowhere/file: No such file or directory\n" in shown


def test_missing_rights_have_a_hint(server: Cluster) -> None:
    for words in (("verify",), ("rotate", "root")):
        shown = call(server, *words, "-d", "shop", status=1, user="watcher")
        assert "shop: permission denied for function" in shown
        assert "superuser" in shown
    shown = call(server, "keys", "list", "-d", "shop", status=1, user="stranger")
    assert 'role "stranger" does not exist. Run the command as a user of the database' in shown


def test_messages_are_sentences(server: Cluster) -> None:
    shown = call(server, "status", "-h", "/nowhere", status=1)
    assert "No such file or directory. Is the server running" in shown
    shown = call(server, "status", "--format", "yaml", status=2)
    assert "Invalid value for '--format': 'yaml' is not one of" in shown
    assert "There are no encrypted columns." in call(server, "verify", "-d", "empty", status=0)
    assert "last4" in call(server, "columns", "show", "customer", "ssn", "-d", "shop", status=0)


def test_a_read_only_server_has_a_hint(server: Cluster) -> None:
    with server.connect() as connection:
        rows(connection, "CREATE ROLE reader LOGIN SUPERUSER")
        rows(connection, "ALTER ROLE reader SET default_transaction_read_only = on")
    assert "connect to the primary" in call(server, "keys", "create", "k", "-d", "shop", status=1, user="reader")


def test_a_hint_names_an_installed_page(server: Cluster) -> None:
    shown = call(server, "audit", "checkpoint", "-d", "shop", status=1)
    assert "needs the agent" in shown
    assert "/doc/pgkeymgr/docs/audit.md" in shown
