"""Tests ``pgkeymgr encrypt`` and ``pgkeymgr decrypt``: the plan, the question, and all steps."""

import json
import os
import pty
import subprocess
from collections.abc import Iterator

import pytest
from cluster import Cluster
from conftest import rows, value
from in_process import invoke
from installed import COMMAND, ENVIRONMENT


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster with the extension."""
    with Cluster() as running:
        running.create_database("shop", "pgkeymgr")
        yield running


@pytest.fixture
def server(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, with a plain table of 30 rows."""
    with cluster.connect("shop") as connection:
        rows(connection, "CREATE TABLE customer (id integer PRIMARY KEY, ssn text, note text)")
        rows(connection, "INSERT INTO customer SELECT n, 'ssn ' || n, 'a note' FROM generate_series(1, 30) AS n")
        yield cluster
        rows(connection, "DROP TABLE IF EXISTS customer_encrypted CASCADE")
        rows(connection, "DROP TABLE IF EXISTS customer CASCADE") if _kind(cluster) == "r" else None


def _kind(cluster: Cluster) -> str | None:
    with cluster.connect("shop") as connection:
        found = rows(connection, "SELECT relkind::text FROM pg_class WHERE oid = to_regclass('public.customer')")
        return str(found[0][0]) if found else None


def _environment(cluster: Cluster) -> dict[str, str]:
    return {
        "PGHOST": str(cluster.directory),
        "PGPORT": str(cluster.port),
        "PGUSER": "postgres",
        "PGDATABASE": "shop",
    }


def call(cluster: Cluster, *words: str, status: int = 0) -> tuple[str, str]:
    """Run the command, check its status, and return what it printed on stdout and stderr."""
    done = invoke(*words, environment=_environment(cluster))
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


def test_encrypt_and_decrypt(server: Cluster) -> None:
    """The plan changes nothing, and with --yes both are complete."""
    plan, _ = call(server, "encrypt", "customer", "ssn", "--plan")
    assert "public.customer.ssn: is made" in plan
    assert "about 30 rows" in plan
    assert _kind(server) == "r"
    json_plan = json.loads(call(server, "encrypt", "customer", "ssn", "--plan", "--json")[0])
    assert {"key", "leak", "time"} <= {row["kind"] for row in json_plan["plan"]}

    _, said = call(server, "encrypt", "customer", "ssn", "--yes", "--key-by", "note")
    assert "has completed for public.customer.ssn" in said
    assert "encrypted-columns.md" in said
    with server.connect("shop") as connection:
        state = rows(connection, "SELECT state::text, key_by::text FROM pgkeymgr.encrypted_columns")
        assert state == [("encrypted", "note")]
        assert value(connection, "SELECT count(*) FROM customer WHERE ssn = 'ssn ' || id") == 30
    assert "already" in call(server, "encrypt", "customer", "ssn", "--yes", status=1)[1]

    plan, _ = call(server, "decrypt", "customer", "ssn", "--plan")
    assert "30 values are decrypted" in plan
    assert "the last encrypted column" in " ".join(plan.split())
    assert _kind(server) == "v"
    done = json.loads(call(server, "decrypt", "customer", "ssn", "--yes", "--json")[0])
    assert done["done"] is True
    assert _kind(server) == "r"
    with server.connect("shop") as connection:
        assert value(connection, "SELECT count(*) FROM customer WHERE ssn = 'ssn ' || id") == 30
    assert "is not encrypted" in call(server, "decrypt", "customer", "ssn", "--yes", status=1)[1]


def test_encrypt_asks_for_confirmation(server: Cluster) -> None:
    """Without a terminal, nothing happens, and with one, the answer decides."""
    _, said = call(server, "encrypt", "customer", "ssn", status=1)
    assert "--yes" in said
    assert _kind(server) == "r"
    assert _answer(server, b"n") == 1
    assert _kind(server) == "r"
    assert _answer(server, b"y") == 0
    assert _kind(server) == "v"


def _answer(server: Cluster, answer: bytes) -> int:
    """Run the command with a terminal as stdin, on which the answer has been typed already; return the status."""
    master, slave = pty.openpty()
    os.write(master, answer + b"\n")
    try:
        done = subprocess.run(
            [COMMAND, "encrypt", "customer", "ssn"],
            env={**ENVIRONMENT, **_environment(server)},
            stdin=slave,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
    finally:
        os.close(master)
        os.close(slave)
    assert "Encrypt ssn of customer? [y/N]" in done.stderr
    assert ("Nothing was changed" in done.stderr) == (answer == b"n")
    return done.returncode


def test_obstacles(server: Cluster) -> None:
    """They are shown with a remedy, and nothing is changed, even with --yes."""
    with server.connect("shop") as connection:
        rows(connection, "CREATE INDEX by_ssn ON customer (lower(ssn))")
    shown, said = call(server, "encrypt", "customer", "ssn", "--yes", status=1)
    assert "Obstacles:" in shown
    assert "DROP INDEX" in shown
    assert "cannot be encrypted as it is" in said
    assert _kind(server) == "r"
    call(server, "encrypt", "customer", "ssn", "--yes", "--drop-indexes")
    assert _kind(server) == "v"


def test_encrypt_continues_after_encrypt_column(server: Cluster) -> None:
    """Where only encrypt_column() was called, the same command encrypts the rows."""
    with server.connect("shop") as connection:
        rows(connection, "SELECT pgkeymgr.encrypt_column('customer', 'ssn')")
        _, said = call(server, "encrypt", "customer", "ssn")
        assert "rows from before" in said
        assert value(connection, "SELECT state::text FROM pgkeymgr.encrypted_columns") == "encrypted"
    assert "does not exist" in call(server, "encrypt", "nowhere", "ssn", status=1)[1]
