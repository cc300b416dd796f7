"""Tests ``pgkeymgr root new``, and which sources of a root key it refuses."""

import json
import os
import pwd
import re
import stat
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cluster import ROOT_KEY, Cluster
from conftest import rows, value
from installed import run
from pgkeymgr.root_key import fingerprint

KEY = "24" * 32


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster without a root key."""
    with Cluster(root_keys=None) as running:
        running.create_database("shop")
        yield running


@pytest.fixture
def server(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, with a root key that init has made."""
    directory = cluster.directory / "keys"
    directory.mkdir()
    cluster.give_to_server(directory)
    done = run("init", "--pgdata", cluster.data, "--key-file", directory / "root_key")
    assert done.returncode == 0, done.stderr
    yield cluster
    cluster.getkey.unlink()
    subprocess.run(["rm", "-r", directory], check=True)


def _file(server: Cluster) -> Path:
    return server.directory / "keys" / "root_key"


def _new(server: Cluster, *more: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = run("root", "new", "--pgdata", server.data, *more)
    assert done.returncode == status, done.stdout + done.stderr
    # No key is printed.
    assert not re.search("[0-9a-f]{64}|Traceback", done.stdout + done.stderr)
    return done


def test_new(server: Cluster) -> None:
    """The new key is above the old one, in a file with the same owner and mode, and the server uses it."""
    file = _file(server)
    (old,) = file.read_text().split()
    before = file.stat()
    made = json.loads(_new(server, "--yes", "--json").stdout)
    new, kept = file.read_text().split()
    assert kept == old != new
    assert made["fingerprint"] == fingerprint(bytes.fromhex(new))
    assert made["previous"] == [fingerprint(bytes.fromhex(old))]
    after = file.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
    assert after.st_ino != before.st_ino
    assert [path.name for path in file.parent.iterdir()] == ["root_key"]
    with server.connect("shop") as connection:
        found = rows(connection, "SELECT fingerprint, previous FROM pgkeymgr.root_key_status()")
        assert found == [(made["fingerprint"], made["previous"])]

    again = _new(server, "--yes")
    assert len(file.read_text().split()) == 3
    assert again.stdout.count("previous") == 2
    said = again.stderr
    for command in ("pgkeymgr rotate root", "pgkeymgr agent reload", f"escrow split --getkey {server.getkey}"):
        assert command in said


def test_rotation(server: Cluster) -> None:
    """All steps of a rotation, by commands alone."""
    environment = {"PGHOST": str(server.directory), "PGPORT": str(server.port), "PGUSER": "postgres"}
    with server.connect("shop") as connection:
        value(connection, "SELECT pgkeymgr.create_data_key('rotated ' || clock_timestamp())")
    made = json.loads(_new(server, "--yes", "--json").stdout)
    done = run("rotate", "root", "--json", environment=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["can_withdraw"] == made["previous"]
    with server.connect("shop") as connection:
        rows(connection, "SET session_replication_role = replica")
        rows(connection, "TRUNCATE pgkeymgr.key_wrap, pgkeymgr.key, pgkeymgr.root_key_fingerprint")


def test_root_new_asks_for_confirmation(server: Cluster) -> None:
    before = _file(server).read_bytes()
    assert "--yes" in _new(server, status=1).stderr
    assert _file(server).read_bytes() == before


def test_calls_at_the_same_time_lose_no_key(server: Cluster) -> None:
    """Each of several calls at the same time adds a key, and none is lost."""
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: json.loads(_new(server, "--yes", "--json").stdout), range(4)))
    kept = [fingerprint(bytes.fromhex(key)) for key in _file(server).read_text().split()]
    assert len(kept) == 5
    assert {each["fingerprint"] for each in made} == {*kept[:4]}


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (f"echo {ROOT_KEY}\n", "does not print a file"),
        ("file=$HOME/key\ncat $file\n", "does not print a file"),
        ("file=/a\nfile=/b\n", "does not print a file"),
        (f"file=FILE\necho {ROOT_KEY}\n", "does not print the keys in"),
        # The new key is not the first line that it prints, so the file gets its old content back.
        ("file=FILE\ntail -n 1 $file\n", "is as it was"),
    ],
)
def test_scripts_that_it_refuses(server: Cluster, script: str, reason: str) -> None:
    before = _file(server).read_bytes()
    server.getkey.unlink()
    server.install_getkey("#!/bin/sh\n" + script.replace("FILE", str(_file(server))))
    assert reason in _new(server, "--yes", status=1).stderr
    assert _file(server).read_bytes() == before
    assert [path.name for path in _file(server).parent.iterdir()] == ["root_key"]


def test_a_file_that_others_can_read(server: Cluster) -> None:
    before = _file(server).read_bytes()
    _file(server).chmod(0o444)
    _new(server, "--yes", status=1)
    assert _file(server).read_bytes() == before
    _file(server).chmod(0o400)


def test_a_link(server: Cluster) -> None:
    """The file behind a link is replaced, and the link stays."""
    file = _file(server)
    real = file.with_name("real")
    file.rename(real)
    file.symlink_to(real)
    _new(server, "--yes")
    assert file.is_symlink()
    assert len(real.read_text().split()) == 2
    assert stat.S_IMODE(real.stat().st_mode) == 0o400


def test_no_root_key_yet(cluster: Cluster) -> None:
    assert "pgkeymgr init" in _new(cluster, "--yes", status=1).stderr


def test_agent(server: Cluster, tmp_path: Path) -> None:
    """Where an agent has the root key, its script must be named."""
    before = _file(server).read_bytes()
    environment = {"PGKEYMGR_AGENT": str(tmp_path / "agent.toml")}
    done = run("root", "new", "--pgdata", server.data, "--yes", environment=environment)
    assert done.returncode == 1
    assert "from the agent" in done.stderr
    assert _file(server).read_bytes() == before
    done = run("root", "new", "--getkey", server.getkey, "--yes", environment=environment)
    assert done.returncode == 0, done.stderr
    assert len(_file(server).read_text().split()) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user(server: Cluster) -> None:
    """A user who may not read the key cannot replace it."""
    before = _file(server).read_bytes()
    user = pwd.getpwnam("nobody")
    done = subprocess.run(
        ["pgkeymgr", "root", "new", "--getkey", server.getkey, "--yes"],
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert _file(server).read_bytes() == before
