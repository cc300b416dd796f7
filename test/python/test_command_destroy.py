"""Tests ``pgkeymgr keys destroy --after`` and ``cancel-destroy``, and which version of a key a name means."""

import csv
import io
import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cluster import Cluster
from conftest import rows
from in_process import invoke

MONTH = ["--after", "30 days"]


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """A cluster with a column and its key, and with a monitor."""
    with Cluster() as cluster:
        cluster.create_database("shop", "pgkeymgr")
        with cluster.connect("shop") as connection:
            for statement in (
                "CREATE ROLE watcher LOGIN IN ROLE pgkeymgr_monitor",
                "CREATE TABLE customer (id integer PRIMARY KEY, ssn text)",
                "SELECT pgkeymgr.encrypt_column('customer', 'ssn')",
            ):
                rows(connection, statement)
        yield cluster


def call(
    cluster: Cluster, command: str, *words: str, status: int = 0, user: str = "postgres"
) -> subprocess.CompletedProcess[str]:
    """Run a subcommand of ``keys``, and check its status."""
    environment = {"PGHOST": str(cluster.directory), "PGPORT": str(cluster.port), "PGUSER": user}
    done = invoke("keys", command, *words, "-d", "shop", environment=environment)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def create(cluster: Cluster, name: str) -> int:
    """Make a key, and return its id."""
    call(cluster, "create", name)
    (newest,) = [row for row in versions(cluster, name) if row["state"] == "current"]
    return int(newest["id"])


def versions(cluster: Cluster, key: str) -> list[dict[str, Any]]:
    """Return the versions that ``keys show`` shows."""
    found: list[dict[str, Any]] = json.loads(call(cluster, "show", key, "--json").stdout)["rows"]
    return found


def supersede(cluster: Cluster, name: str) -> None:
    with cluster.connect("shop") as connection:
        connection.execute("SELECT pgkeymgr.supersede_data_key(%s)", [name])


def test_a_destruction_is_scheduled_and_canceled(server: Cluster) -> None:
    key = create(server, "invoices")
    # Nobody can be asked, so nothing is changed.
    assert "--yes" in call(server, "destroy", "invoices", *MONTH, status=1).stderr
    assert versions(server, "invoices")[0]["destroy_after"] is None
    said = call(server, "destroy", "invoices", *MONTH, "--yes").stderr
    assert f"Key {key} (invoices) is disabled" in said
    assert f"pgkeymgr keys cancel-destroy {key}" in said
    (shown,) = versions(server, "invoices")
    assert shown["state"] == "disabled"
    left = datetime.fromisoformat(shown["destroy_after"]) - datetime.now(UTC)
    assert timedelta(days=29) < left < timedelta(days=31)

    # The list, the table of one key and the message name the same time.
    listed = list(csv.DictReader(io.StringIO(call(server, "list", "--format", "csv").stdout)))
    (time,) = [row["destroy_after"] for row in listed if row["key"] == "invoices"]
    assert time[:10] == shown["destroy_after"][:10]
    assert time in said
    assert f"destroy after {time}" in call(server, "show", "invoices").stdout
    assert "DESTROY AFTER" in call(server, "list").stdout

    # A second call, and a destruction at once, are refused with the remedy.
    for more in (MONTH, []):
        refused = call(server, "destroy", "invoices", *more, "--yes", status=1).stderr
        assert f"cancel_destroy({key})" in refused
    said = call(server, "cancel-destroy", "invoices").stderr
    assert f"pgkeymgr keys enable {key}" in said
    (shown,) = versions(server, "invoices")
    assert (shown["state"], shown["destroy_after"]) == ("disabled", None)
    assert "is not scheduled" in call(server, "cancel-destroy", "invoices", status=1).stderr
    assert "is not scheduled" in call(server, "cancel-destroy", str(key), status=1).stderr
    call(server, "enable", str(key))
    assert versions(server, "invoices")[0]["state"] == "current"


def test_refusals_change_nothing(server: Cluster) -> None:
    create(server, "kept")
    for after, message in (
        ("-1 day", "after must be a positive interval"),
        ("soon", 'invalid input syntax for type interval: "soon"'),
    ):
        assert message in call(server, "destroy", "kept", f"--after={after}", "--yes", status=1).stderr
    assert versions(server, "kept")[0]["state"] == "current"
    assert "is still needed" in call(server, "destroy", "public.customer.ssn", *MONTH, "--yes", status=1).stderr
    assert versions(server, "public.customer.ssn")[0]["state"] == "current"
    for command in (["destroy", "nowhere", *MONTH, "--yes"], ["cancel-destroy", "nowhere"]):
        assert 'key "nowhere" does not exist' in call(server, *command, status=1).stderr
    call(server, "destroy", "kept", *MONTH, "--yes")
    for command in (["destroy", "kept", "--yes"], ["cancel-destroy", "kept"]):
        assert "pgkeymgr_admin" in call(server, *command, status=1, user="watcher").stderr
    assert versions(server, "kept")[0]["destroy_after"] is not None


@pytest.mark.parametrize("after", ["30", "-30", "1.5", ""])
@pytest.mark.parametrize("words", [["keys", "destroy", "anything"], ["prune"]])
def test_an_interval_needs_a_unit(words: list[str], after: str) -> None:
    """SQL reads 30 as 30 seconds."""
    done = invoke(*words, "--yes", f"--after={after}")
    assert done.returncode == 2
    assert "write the unit of the interval" in done.stderr


def test_a_name_means_one_version(server: Cluster) -> None:
    """A disabled version and an enabled one can have the same name, and only superseded ones can be scheduled."""
    old = create(server, "tokens")
    call(server, "destroy", "tokens", *MONTH, "--yes")
    new = create(server, "tokens")
    assert old != new
    assert f"Key {new} (tokens) is disabled" in call(server, "disable", "tokens").stderr
    # Both are disabled now.
    refused = call(server, "enable", "tokens", status=1).stderr
    assert f"Name one of them by its id: {old}, {new}." in refused
    call(server, "enable", str(new))
    # A destruction is canceled by the name, although the name means the new version elsewhere.
    assert f"key {old} (tokens) is canceled" in call(server, "cancel-destroy", "tokens").stderr
    supersede(server, "tokens")
    for key in (old, new):
        call(server, "destroy", str(key), *MONTH, "--yes")
    assert f"by its id: {old}, {new}." in call(server, "cancel-destroy", "tokens", status=1).stderr
    call(server, "cancel-destroy", str(new))
    due = {row["id"]: row["destroy_after"] is not None for row in versions(server, "tokens")}
    assert (due[old], due[new]) == (True, False)
