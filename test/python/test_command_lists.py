"""Tests the subcommands that list keys, grants, columns and events, and how the command connects."""

import csv
import io
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import ROOT_KEY, Cluster
from conftest import rows, value
from in_process import invoke
from installed import COMMAND, ENVIRONMENT, run
from pgkeymgr.root_key import fingerprint

OTHER = "42" * 32
FRAMES = re.compile("[\u2500-\u257f\u2580-\u259f]")


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """A cluster with the extension in two databases, an encrypted column, a reader, and a monitor."""
    with Cluster() as cluster:
        cluster.create_database("shop", "pgkeymgr")
        cluster.create_database("clinic", "My Schema")
        with cluster.connect("shop") as connection:
            for statement in (
                "CREATE ROLE reader LOGIN",
                "CREATE ROLE auditor LOGIN IN ROLE pgkeymgr_monitor",
                "CREATE ROLE nobody_in_particular LOGIN",
                "CREATE TABLE customer (id integer PRIMARY KEY, ssn text)",
                "INSERT INTO customer SELECT n, 'ssn ' || n FROM generate_series(1, 50) AS n",
                "GRANT SELECT ON customer TO reader",
                "SELECT pgkeymgr.encrypt_column('customer', 'ssn')",
                "SELECT pgkeymgr.supersede_data_key('public.customer.ssn')",
                "SELECT pgkeymgr.create_data_key('archive')",
            ):
                rows(connection, statement)
        with cluster.connect("clinic") as connection:
            rows(connection, "SELECT \"My Schema\".create_data_key('patients')")
        yield cluster


def _environment(cluster: Cluster, **more: str) -> dict[str, str]:
    return {"PGHOST": str(cluster.directory), "PGPORT": str(cluster.port), "PGUSER": "postgres", **more}


def call(cluster: Cluster, *words: str, status: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command against the cluster, and check its status, and that it prints no key and no traceback."""
    done = invoke(*words, environment=_environment(cluster, **more))
    assert done.returncode == status, done.stdout + done.stderr
    assert not re.search(rf"{ROOT_KEY}|{OTHER}|Traceback|pgkeymgr: pgkeymgr:", done.stdout + done.stderr)
    return done


def document(cluster: Cluster, *words: str) -> Any:
    """Run the command with --json, and return its rows."""
    return json.loads(call(cluster, *words, "--json").stdout)["rows"]


def test_keys_list(server: Cluster) -> None:
    found = {(row["database"], row["name"], row["state"]) for row in document(server, "keys", "list")}
    assert found == {
        ("shop", "public.customer.ssn", "current"),
        ("shop", "archive", "current"),
        ("clinic", "patients", "current"),
    }
    every = document(server, "keys", "list", "--all", "-d", "shop")
    assert sorted((row["id"], row["state"], row["needed_by"]) for row in every) == [
        (1, "superseded", ["public.customer.ssn"]),
        (2, "current", ["public.customer.ssn"]),
        (3, "current", []),
    ]
    table = list(csv.DictReader(io.StringIO(call(server, "keys", "list", "--format", "csv").stdout)))
    assert {row["key"] for row in table} == {"public.customer.ssn", "archive", "patients"}


def test_keys_show(server: Cluster) -> None:
    (old, new) = document(server, "keys", "show", "public.customer.ssn")
    assert [use["need"] for use in old["usage"]] == ["earlier values"]
    assert [use["need"] for use in new["usage"]] == ["current"]
    assert {("reader", "grant"), ("postgres", "superuser")} <= {
        (grant["role"], grant["source"]) for grant in new["grants"]
    }
    assert "reader" in call(server, "keys", "show", "2", "-d", "shop").stdout
    assert "does not exist" in call(server, "keys", "show", "nowhere", status=1).stderr


def test_keys_are_changed(server: Cluster) -> None:
    shop = ("-d", "shop")
    assert "is key" in call(server, "keys", "create", "temporary", "--comment", "a comment", *shop).stdout
    call(server, "keys", "grant", "temporary", "reader", "--usage", "encrypt", *shop)
    (grant,) = document(server, "grants", "list", "--role", "reader", "--key", "temporary", *shop)
    assert (grant["usage"], grant["source"], grant["grantor"]) == (["encrypt"], "grant", "postgres")
    call(server, "keys", "revoke", "temporary", "reader", *shop)
    assert document(server, "grants", "list", "--role", "reader", "--key", "temporary", *shop) == []
    call(server, "keys", "disable", "temporary", *shop)
    (key,) = document(server, "keys", "show", "temporary", *shop)
    assert key["state"] == "disabled"
    call(server, "keys", "enable", str(key["id"]), *shop)
    # Nobody can be asked.
    assert "--yes" in call(server, "keys", "destroy", "temporary", *shop, status=1).stderr
    assert document(server, "keys", "show", "temporary", *shop)[0]["state"] == "current"
    call(server, "keys", "destroy", "temporary", "--yes", *shop)
    assert document(server, "keys", "show", "temporary", *shop)[0]["state"] == "destroyed"
    assert (
        "is still needed"
        in call(server, "keys", "destroy", "public.customer.ssn", "--yes", *shop, status=1).stderr
    )


def test_grants_list(server: Cluster) -> None:
    readers = document(server, "grants", "list", "--column", "customer.ssn")
    assert {(row["role"], row["source"], row["can_read"]) for row in readers} == {
        ("reader", "grant", True),
        ("postgres", "grant", True),
        ("postgres", "owner", True),
        ("postgres", "superuser", True),
    }
    (mine,) = document(server, "grants", "list", "--role", "reader")
    assert (mine["key"], mine["usage"]) == ("public.customer.ssn", ["decrypt"])
    assert "does not exist" in call(server, "grants", "list", "--role", "nowhere", status=1).stderr


def test_columns(server: Cluster) -> None:
    (column,) = document(server, "columns", "list")
    assert (column["database"], column["table"], column["column"]) == ("shop", "public.customer", "ssn")
    (shown,) = document(server, "columns", "show", "customer_encrypted", "ssn")
    assert {version["need"] for version in shown["versions"]} == {"current", "earlier values"}
    assert "reader" in call(server, "columns", "show", "customer", "ssn").stdout
    assert "no database has" in call(server, "columns", "show", "customer", "id", status=1).stderr


def test_audit_list(server: Cluster) -> None:
    events = document(server, "audit", "list", "--event", "grant", "--key", "public.customer.ssn", "-d", "shop")
    assert [event["detail"] for event in events if "reader" in event["detail"]] == ["decrypt, role reader"]
    assert [row["link"] for row in document(server, "audit", "list", "-n", "2", "-d", "clinic")] == [1]
    assert document(server, "audit", "list", "--since", "tomorrow") == []
    assert document(server, "audit", "list", "--role", "reader") == []
    printed = call(server, "audit", "list", "-d", "clinic").stdout
    assert re.fullmatch(r"\S+ \S+ create key 1 \(patients\) by postgres from \[local\]\n", printed)


def test_audit_verify(server: Cluster) -> None:
    (whole,) = document(server, "audit", "verify", "-d", "shop")
    assert (whole["broken_link"], whole["last_link"]) == (None, whole["events"])
    noted = ["--link", str(whole["last_link"]), "--hash", whole["last_hash"]]
    call(server, "audit", "verify", "-d", "shop", *noted)
    noted[-1] = "00" * 32
    assert (
        "the hash is not the known one" in call(server, "audit", "verify", "-d", "shop", *noted, status=1).stderr
    )


def test_audit_follow(server: Cluster) -> None:
    """It prints the last events, then each new one, and ends with Ctrl-C."""
    command = [str(COMMAND), "audit", "follow", "-d", "clinic", "-n", "1", "--interval", "0.1", "--json"]
    with subprocess.Popen(
        command,
        env={**ENVIRONMENT, **_environment(server)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        first = json.loads(process.stdout.readline())
        with server.connect("clinic") as connection:
            rows(connection, "SELECT \"My Schema\".create_data_key('followed')")
        second = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
    assert (first["event"], second["event"], second["key"]) == ("create", "create", "followed")
    assert second["link"] == first["link"] + 1
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in error


@pytest.mark.parametrize("words", ["status", "doctor", "keys list", "grants list", "columns list", "audit list"])
def test_eighty_columns(server: Cluster, words: str) -> None:
    """No line is longer, unless a single word is, and nothing has a frame."""
    done = invoke(*words.split(), environment=_environment(server, COLUMNS="80"))
    assert done.returncode in (0, 1)
    assert not FRAMES.search(done.stdout)
    for line in done.stdout.splitlines():
        assert len(line) <= 80 or len(line.split()) <= 2, line
    # Names are not divided.
    if words in ("status", "keys list", "columns list"):
        assert "public.customer.ssn" in done.stdout


def test_in_a_pipe(server: Cluster) -> None:
    """Without a width, each finding and each row is a line."""
    environment = {**ENVIRONMENT, **_environment(server)}
    del environment["COLUMNS"]
    done = subprocess.run(
        [COMMAND, "columns", "list"], env=environment, check=True, capture_output=True, text=True
    )
    heading, line = done.stdout.splitlines()
    assert heading.startswith("TABLE ")
    assert line.split()[:3] == ["public.customer", "ssn", "text"]
    done = subprocess.run([COMMAND, "doctor"], env=environment, check=False, capture_output=True, text=True)
    findings = [line for line in done.stdout.splitlines() if not line.startswith("    Hint: ")]
    assert all(re.match(r"(ERROR|WARNING|NOTICE) \S+ \w+: ", line) for line in findings)
    assert any(line.startswith("WARNING shop columns_unfinished: public.customer.ssn: ") for line in findings)
    verbose = subprocess.run(
        [COMMAND, "doctor", "--verbose"], env=environment, check=False, capture_output=True, text=True
    )
    assert "OK all encoding: UTF8" in verbose.stdout


def test_status_as_csv(server: Cluster) -> None:
    table = list(csv.DictReader(io.StringIO(call(server, "status", "--format", "csv").stdout)))
    assert [(row["database"], row["table"], row["column"], row["state"]) for row in table] == [
        ("shop", "public.customer", "ssn", "migrating")
    ]


def test_watch(server: Cluster) -> None:
    command = [str(COMMAND), "columns", "list", "--watch", "0.1", "-d", "shop"]
    with subprocess.Popen(
        command, env={**ENVIRONMENT, **_environment(server)}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        headings = [process.stdout.readline().split()[0] for _ in range(4)][::2]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert headings == ["TABLE", "TABLE"]
    assert process.returncode == 130


def test_wrong_root_key(server: Cluster) -> None:
    """Both commands fail where the server has another root key than the databases need."""
    server.install_getkey(f"#!/bin/sh\necho {OTHER}\n")
    try:
        done = call(server, "status", status=1)
        assert fingerprint(bytes.fromhex(ROOT_KEY)) in done.stderr
        assert "shop: the server does not have the root key" in done.stderr
        assert "\nERROR shop root_key_fingerprint: " in call(server, "doctor", status=2).stdout
    finally:
        server.install_getkey(f"#!/bin/sh\necho {ROOT_KEY}\n")


# Connections.


def _names(done: subprocess.CompletedProcess[str]) -> set[str]:
    return {row["database"] for row in json.loads(done.stdout)["rows"]}


def test_ways_to_connect(server: Cluster, tmp_path: Path) -> None:
    """As psql: with its options, a URI, a connection string, or a service."""
    host, port = str(server.directory), str(server.port)
    options = ["-h", host, "-p", port, "-U", "postgres"]
    uri = f"postgresql:///shop?host={host}&port={port}&user=postgres"
    service = tmp_path / "services"
    service.write_text(f"[ours]\nhost={host}\nport={port}\nuser=postgres\ndbname=postgres\n")
    environment = {"PGSERVICEFILE": str(service)}
    for words, found in (
        ([*options], {"shop", "clinic"}),
        ([*options, "-d", "shop"], {"shop"}),
        (["--host", host, "--port", port, "--username", "postgres", "--dbname", "clinic"], {"clinic"}),
        ([uri], {"shop"}),
        (["-d", uri], {"shop"}),
        (["--dsn", uri], {"shop"}),
        (["--dsn", uri, "-d", "clinic"], {"clinic"}),
        ([uri, "--all-databases"], {"shop", "clinic"}),
        (["--dsn", f"host={host} port={port} user=postgres"], {"shop", "clinic"}),
        (["-d", f"host={host} port={port} user=postgres dbname=clinic"], {"clinic"}),
        (["-d", "service=ours"], {"shop", "clinic"}),
        ([*options, "--database", "shop", "--database", "clinic"], {"shop", "clinic"}),
    ):
        done = invoke("keys", "list", "--json", *words, environment=environment)
        assert done.returncode == 0, (words, done.stderr)
        assert _names(done) == found, words
    by_service = invoke("keys", "list", "--json", environment={**environment, "PGSERVICE": "ours"})
    assert _names(by_service) == {"shop", "clinic"}


def test_procedures_connect_alike(server: Cluster) -> None:
    host, port = str(server.directory), str(server.port)
    uri = f"postgresql://postgres@/shop?host={host}&port={port}"
    assert invoke("migrate", "customer", "ssn", uri).returncode == 0
    with server.connect("shop") as connection:
        assert value(connection, "SELECT state::text FROM pgkeymgr.encrypted_columns") == "encrypted"
    done = invoke("rotate", "column", "customer", "ssn", "-h", host, "-p", port, "-U", "postgres", "-d", "shop")
    assert done.returncode == 0, done.stderr
    failed = invoke("migrate", "customer", "id", uri)
    assert failed.returncode == 1
    assert failed.stderr.startswith("pgkeymgr: ")
    assert "pgkeymgr: pgkeymgr:" not in failed.stderr


def test_completion_of_databases(server: Cluster) -> None:
    words = {"COMP_WORDS": "pgkeymgr status --database ", "COMP_CWORD": "3", "_PGKEYMGR_COMPLETE": "complete_bash"}
    done = run(environment={**_environment(server), **words})
    assert {"shop", "clinic"} <= set(done.stdout.split())
    gone = run(environment={**words, "PGHOST": "/nowhere"})
    assert (gone.stdout.strip(), gone.stderr) == ("", "")


def test_unknown_user(server: Cluster) -> None:
    done = call(server, "status", status=1, PGUSER="root")
    assert 'role "root" does not exist' in done.stderr
    assert "sudo -u postgres" in done.stderr


# Roles.


@pytest.mark.parametrize(
    "words",
    ["status", "keys list", "keys show archive", "grants list", "grants list --column customer.ssn",
     "columns list", "columns show customer ssn", "audit list", "audit verify"],
)  # fmt: skip
def test_monitor(server: Cluster, words: str) -> None:
    """A member of pgkeymgr_monitor sees as much as a superuser."""
    mine, theirs = (
        call(server, *words.split(), "-d", "shop", PGUSER=user).stdout for user in ("auditor", "postgres")
    )
    assert mine == theirs != ""


def test_monitor_calls_the_doctor(server: Cluster) -> None:
    found = json.loads(invoke("doctor", "--json", environment=_environment(server, PGUSER="auditor")).stdout)
    assert found["problems"] == {}
    assert not [each for each in found["findings"] if each["message"].startswith("could not")]


def test_monitor_changes_nothing(server: Cluster) -> None:
    for words in ("keys create mine", "keys disable archive", "keys grant archive auditor", "rotate key archive"):
        done = call(server, *words.split(), "-d", "shop", status=1, PGUSER="auditor")
        assert "permission denied" in done.stderr
        assert "pgkeymgr_admin" in done.stderr


def test_others_see_nothing(server: Cluster) -> None:
    for words in ("keys list", "grants list", "columns list", "audit list", "audit verify"):
        done = call(server, *words.split(), "-d", "shop", status=1, PGUSER="nobody_in_particular")
        assert done.stdout == "" or "READS" not in done.stdout
        assert "permission denied" in done.stderr
        assert "pgkeymgr_monitor" in done.stderr


def test_root_user_of_the_machine(server: Cluster) -> None:
    """Without a user, the name of this process's own is used, as by psql."""
    environment = _environment(server)
    del environment["PGUSER"]
    if os.geteuid() == 0:
        done = invoke("keys", "list", environment=environment)
        assert done.returncode == 1
        assert "--username" in done.stderr
