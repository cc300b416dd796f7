"""Tests ``pgkeymgr prune``."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from cluster import Cluster
from conftest import rows
from in_process import invoke


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """A cluster with a column that needs one of three versions of its key, and with a key that nothing needs."""
    with Cluster() as cluster:
        cluster.create_database("shop", "pgkeymgr")
        with cluster.connect("shop") as connection:
            for statement in (
                "CREATE TABLE customer (id integer PRIMARY KEY, ssn text)",
                "INSERT INTO customer VALUES (1, 'a')",
                "SELECT pgkeymgr.encrypt_column('customer', 'ssn')",
                "CALL pgkeymgr.migrate_column('customer', 'ssn')",
                "SELECT pgkeymgr.supersede_data_key('public.customer.ssn')",
                "SELECT pgkeymgr.create_data_key('tokens')",
                "SELECT pgkeymgr.supersede_data_key('tokens')",
                "SELECT pgkeymgr.supersede_data_key('tokens')",
            ):
                rows(connection, statement)
        yield cluster


def _prune(cluster: Cluster, *words: str, status: int = 0) -> Any:
    environment = {"PGHOST": str(cluster.directory), "PGPORT": str(cluster.port), "PGUSER": "postgres"}
    done = invoke("prune", "-d", "shop", "--json", *words, environment=environment)
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout) if status == 0 else done.stderr


def test_prune(server: Cluster) -> None:
    """A version that has values stays, the plan changes nothing, and a second call finds nothing."""
    plan = _prune(server, "--plan")
    assert [(row["id"], row["key"]) for row in plan["candidates"]] == [(3, "tokens"), (4, "tokens")]
    assert plan["pruned"] == []
    # Nobody can be asked.
    assert "--yes" in _prune(server, status=1)
    assert "tokens: after must be a positive interval" in _prune(server, "--yes", "--after=-1 day", status=1)
    assert _prune(server, "public.customer.ssn", "--yes")["candidates"] == []
    assert _prune(server, "--yes", "--keep", "2")["pruned"] == [3]
    assert _prune(server, "tokens", "--yes", "--after", "1 day")["pruned"] == [4]
    assert _prune(server, "--plan")["candidates"] == []
    with server.connect("shop") as connection:
        found = rows(connection, "SELECT id, state::text FROM pgkeymgr.key_versions ORDER BY id")
    assert found == [(1, "enabled"), (2, "enabled"), (3, "disabled"), (4, "disabled"), (5, "enabled")]
