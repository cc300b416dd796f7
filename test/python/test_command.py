"""Tests the installed command ``pgkeymgr`` against real servers: its effects, its statuses, and its output."""

import contextlib
import json
import os
import pty
import pwd
import re
import secrets
import shutil
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cluster import ROOT_KEY, Cluster
from conftest import rows, value
from document_blocks import blocks
from installed import COMMAND, ENVIRONMENT, run
from pgkeymgr.root_key import fingerprint
from test_seal import run_on_terminal
from waiting import wait_until

NEW = "42" * 32
OLD_FINGERPRINT, NEW_FINGERPRINT = (fingerprint(bytes.fromhex(key)) for key in (ROOT_KEY, NEW))
ROWS = 3000
DATABASES = {"shop": "pgkeymgr", "clinic": "My Schema"}

Connection = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    """A cluster with two templates that nobody can connect to: the extension, and something for it to do."""
    with Cluster() as cluster:
        for name, schema in DATABASES.items():
            cluster.create_database(f"{name}_template", schema)
        with cluster.connect("shop_template") as connection:
            connection.execute("CREATE TABLE customer (id integer PRIMARY KEY, ssn text)")
            rows(connection, f"INSERT INTO customer SELECT n, 'ssn ' || n FROM generate_series(1, {ROWS}) AS n")
            connection.execute("SELECT pgkeymgr.encrypt_column('customer', 'ssn')")
        with cluster.connect("clinic_template") as connection:
            connection.execute("SELECT \"My Schema\".create_data_key('patients')")
        with cluster.connect() as connection:
            for name in DATABASES:
                rows(connection, f"ALTER DATABASE {name}_template ALLOW_CONNECTIONS false")
        yield cluster


@pytest.fixture
def server(running: Cluster) -> Iterator[Cluster]:
    """A cluster with the extension in two databases, and an encrypted column in the first."""
    with running.connect() as connection:
        for name in DATABASES:
            rows(connection, f"CREATE DATABASE {name} TEMPLATE {name}_template")
        yield running
        _getkey(running, ROOT_KEY)
        for name in DATABASES:
            rows(connection, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def environment(cluster: Cluster) -> dict[str, str]:
    """Return what libpq reads, without a database."""
    return {"PGHOST": str(cluster.directory), "PGPORT": str(cluster.port), "PGUSER": "postgres"}


def call(cluster: Cluster, *arguments: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command against a cluster, and check its status, and that no root key is in what it says."""
    done = run(*arguments, environment=environment(cluster))
    assert done.returncode == status, done.stdout + done.stderr
    assert not re.search(rf"{ROOT_KEY}|{NEW}|Traceback|pgkeymgr: pgkeymgr:", done.stdout + done.stderr)
    return done


def document(cluster: Cluster, *arguments: str, status: int = 0) -> Any:
    """Run the command with --json, and return what it printed."""
    return json.loads(call(cluster, *arguments, "--json", status=status).stdout)


# Without a server.


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(shell: str) -> None:
    # Which shell it runs in, it asks its parent processes, which are the tests' here.
    done = run("--show-completion", shell, environment={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "_PGKEYMGR_COMPLETE" in done.stdout


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("pgkeymgr ", {"init", "status", "doctor", "verify", "rotate", "migrate", "escrow", "seal"}),
        ("pgkeymgr rotate ", {"root", "column", "key"}),
        ("pgkeymgr escrow c", {"combine"}),
        ("pgkeymgr rotate root --w", {"--wait-standbys"}),
    ],
)
def test_completions(typed: str, offered: set[str]) -> None:
    """As the script of bash asks for them."""
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" ")), "_PGKEYMGR_COMPLETE": "complete_bash"}
    assert offered <= set(run(environment=words).stdout.split())


@pytest.mark.parametrize(
    "command",
    ["init", "status", "doctor", "verify", "migrate", "blind-index", "rotate root", "rotate column", "rotate key",
     "escrow split", "escrow combine"],
)  # fmt: skip
def test_help_lists_the_statuses(command: str) -> None:
    shown = run(*command.split(), "--help")
    assert shown.returncode == 0
    assert "Exit status: 0" in shown.stdout
    assert "--json" in shown.stdout
    assert "\x1b" not in shown.stdout


@pytest.mark.parametrize(
    ("command", "default"),
    [
        ("init", "the owner of the data directory, or postgres"),
        ("verify", "every database that has the extension"),
    ],
)
def test_help_names_defaults(command: str, default: str) -> None:
    """Rich takes text in brackets for markup, and leaves it out."""
    assert f"[default: ({default})]" in " ".join(run(command, "--help").stdout.split())


@pytest.mark.parametrize("command", ["status", "verify", "rotate root", "doctor"])
def test_no_server_and_no_secret(command: str) -> None:
    """A password in the connection string is in no message, whatever is wrong with the string."""
    status = 3 if command == "doctor" else 1
    for dsn in ("host=/nowhere password=hunter2", "postgres://u:hunter2@/nowhere?x=y", "hunter2 hunter2"):
        done = run(*command.split(), "--dsn", dsn)
        assert (done.returncode, done.stdout) == (status, ""), done.stderr
        assert done.stderr.startswith("pgkeymgr: ")
        assert "Traceback" not in done.stderr
        assert "hunter2" not in done.stderr


# init


@pytest.fixture(scope="module")
def keyless() -> Iterator[Cluster]:
    """A running cluster without a root key."""
    with Cluster(root_keys=None) as cluster:
        cluster.create_database("test")
        yield cluster


@pytest.fixture
def bare(keyless: Cluster) -> Iterator[Cluster]:
    """A running cluster without a root key, which is without one again after the test."""
    yield keyless
    shutil.rmtree(_beside(keyless))
    for path in (keyless.getkey, keyless.data / "pgkeymgr_root_key", keyless.data / "environment"):
        path.unlink(missing_ok=True)


def _beside(cluster: Cluster) -> Path:
    directory = cluster.directory / "keys"
    directory.mkdir(exist_ok=True)
    cluster.give_to_server(directory)
    return directory


def _init(cluster: Cluster, *more: str | Path) -> list[str | Path]:
    return ["init", "--pgdata", cluster.data, "--key-file", _beside(cluster) / "root_key", *more]


def test_init(bare: Cluster) -> None:
    """The server works with what it makes; a second time it changes nothing; no key is printed."""
    done = run(*_init(bare, "--json"))
    assert (done.returncode, done.stderr) == (0, "")
    made = json.loads(done.stdout)
    script, key_file = Path(made["script"]), Path(made["key_file"])
    assert script == bare.getkey
    owner = pwd.getpwnam(bare.user).pw_uid
    for path, mode in ((script, 0o500), (key_file, 0o400)):
        assert (path.stat().st_uid, stat.S_IMODE(path.stat().st_mode)) == (owner, mode)
    key = key_file.read_text().strip()
    assert re.fullmatch("[0-9a-f]{64}", key)
    assert key not in script.read_text()
    assert fingerprint(bytes.fromhex(key)) == made["fingerprint"]
    with bare.connect("test") as connection:
        assert value(connection, "SELECT fingerprint FROM pgkeymgr.root_key_status()") == made["fingerprint"]

    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (script, key_file)}
    again = run(*_init(bare))
    assert (again.returncode, again.stdout) == (3, "")
    assert f"{script} already exists" in again.stderr
    assert json.loads(run(*_init(bare, "--json")).stdout) == {"created": False, "found": str(script)}
    assert before == {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (script, key_file)}
    assert key not in done.stdout + again.stdout + again.stderr

    # The script alone was lost, or a copy of the key was put back.
    script.unlink()
    refused = run(*_init(bare))
    assert refused.returncode == 3
    assert "--use-existing-key" in refused.stderr
    assert not script.exists()
    restored = run(*_init(bare, "--use-existing-key"))
    assert restored.returncode == 0
    assert made["fingerprint"] in restored.stdout
    assert key not in restored.stdout + restored.stderr
    assert script.read_bytes() == before[script][0]
    assert sorted(path.name for path in key_file.parent.iterdir()) == [key_file.name]


def test_init_keeps_the_key_out_of_the_data_directory(bare: Cluster) -> None:
    refused = run("init", "--pgdata", bare.data)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "every base backup would have the root key" in refused.stderr
    assert not bare.getkey.exists()
    assert run("init", "--pgdata", bare.data, "--force-location").returncode == 0
    assert (bare.data / "pgkeymgr_root_key").exists()


@pytest.mark.parametrize("where", ["server", "own", "debian", "agent", "path"])
def test_init_finds_what_is_there(bare: Cluster, where: str) -> None:
    """No second root key is made beside any source that the server, running or not, gets a root key from."""
    named = str(bare.directory / "elsewhere")
    more: dict[str, str] = {}
    arguments = _init(bare)
    if where == "server":
        bare.stop()
        bare.environment["PGKEYMGR_GETKEY"] = named
        bare.start()
    elif where == "own":
        more["PGKEYMGR_GETKEY"] = named
    elif where == "agent":
        more["PGKEYMGR_AGENT"] = named
    elif where == "debian":
        (bare.data / "environment").write_text(f"# for pg_ctlcluster\nPGKEYMGR_GETKEY = '{named}'\n")
    else:
        Path(named).write_text("#!/bin/sh\n")
        arguments += ["--path", named]
    done = run(*arguments, environment=more)
    if where == "server":
        bare.stop()
        del bare.environment["PGKEYMGR_GETKEY"]
        bare.start()
    assert done.returncode == 3, done.stderr
    assert f"{named} already exists" in done.stderr
    assert list(_beside(bare).iterdir()) == []
    assert not bare.getkey.exists()


def test_init_once_at_once(bare: Cluster) -> None:
    """Of several at the same time, one makes the key, and the others say that it is there."""
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: run(*_init(bare, "--json")), range(4)))
    assert sorted(one.returncode for one in done) == [0, 3, 3, 3]
    (made,) = (json.loads(one.stdout) for one in done if one.returncode == 0)
    key = (_beside(bare) / "root_key").read_text().strip()
    assert fingerprint(bytes.fromhex(key)) == made["fingerprint"]


def test_init_killed(bare: Cluster) -> None:
    """At whatever moment, a key file is whole or not there, and so is the script; a second call goes on."""
    key_file = _beside(bare) / "root_key"
    took = time.monotonic()
    assert run(*_init(bare)).returncode == 0
    took = time.monotonic() - took
    for turn in range(12):
        bare.getkey.unlink(missing_ok=True)
        key_file.unlink(missing_ok=True)
        process = subprocess.Popen(
            [COMMAND, *_init(bare)], env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if turn % 2:
            # Right between the two files, or nearly so.
            while process.poll() is None and not key_file.exists():
                pass
        else:
            # Most of its time goes before the files: the last half of it is what is of interest.
            threading.Event().wait(took * (0.4 + 0.05 * turn))
        process.kill()
        process.wait()
        assert {path.name for path in _beside(bare).iterdir()} <= {"root_key"}
        if key_file.exists():
            assert re.fullmatch("[0-9a-f]{64}\n", key_file.read_text())
            assert stat.S_IMODE(key_file.stat().st_mode) == 0o400
        else:
            assert not bare.getkey.exists()
        expected = 3 if bare.getkey.exists() else 0
        more = ["--use-existing-key"] if key_file.exists() else []
        assert run(*_init(bare, *more)).returncode == expected
        assert bare.getkey.read_text().endswith("\n")
        with bare.connect("test") as connection:
            key = bytes.fromhex(key_file.read_text())
            assert value(connection, "SELECT fingerprint FROM pgkeymgr.root_key_status()") == fingerprint(key)


def test_init_refuses_a_key_that_others_can_read(bare: Cluster) -> None:
    key_file = _beside(bare) / "root_key"
    key = secrets.token_hex(32)
    key_file.write_text(key)
    bare.give_to_server(key_file)
    key_file.chmod(0o440)
    done = run(*_init(bare, "--use-existing-key"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "can be read, written or run by its group or by others" in done.stderr
    assert key not in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to other users")
def test_init_refuses_where_others_could_exchange_it(bare: Cluster) -> None:
    """Neither the key nor the script is made, or read, where another user could put something else."""
    directory = _beside(bare)
    key_file = directory / "root_key"
    arguments: list[str | Path] = ["init", "--pgdata", bare.data, "--key-file", key_file]
    away = bare.directory / "away"
    away.mkdir()
    bare.give_to_server(away)
    for place in (directory, away):
        for owner, mode, reason in ((1, 0o755, "belongs to user id 1"), (0, 0o775, "can write")):
            os.chown(place, owner, 1)
            place.chmod(mode)
            for use in ([], ["--use-existing-key"]):
                if use:
                    key_file.write_text(NEW)
                    bare.give_to_server(key_file)
                    key_file.chmod(0o400)
                done = run(*arguments, "--path", away / "getkey", *use)
                assert (done.returncode, done.stdout) == (1, "")
                assert f'lies in the directory "{place}", which' in done.stderr
                assert reason in done.stderr
                assert not list(away.iterdir())
                assert list(directory.iterdir()) == ([key_file] if use else [])
                key_file.unlink(missing_ok=True)
        bare.give_to_server(place)
        place.chmod(0o755)
    key_file.write_text(NEW)
    key_file.chmod(0o400)
    done = run(*_init(bare, "--use-existing-key"))
    # Only root could read it.
    assert (done.returncode, done.stdout) == (1, "")
    assert "does not belong to the server's user" in done.stderr


def test_init_into_a_provider(tmp_path: Path) -> None:
    """Once; and shares are made of what it has."""
    file = tmp_path / "root_key"
    options = ["--provider", "file", "--set", f"file={file}"]
    done = run("init", *options, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    made = json.loads(done.stdout)
    key = file.read_text().strip()
    assert made["fingerprint"] == fingerprint(bytes.fromhex(key))
    again = run("init", *options)
    assert (again.returncode, again.stdout) == (3, "")
    assert f'"{file}" already exists' in again.stderr
    assert file.read_text().strip() == key
    split = run("escrow", "split", *options, "--threshold", "2", "--shares", "2",
                "--output-directory", tmp_path / "shares", "--json")  # fmt: skip
    assert json.loads(split.stdout)["fingerprint"] == made["fingerprint"]
    assert key not in "".join(one.stdout + one.stderr for one in (done, again, split))
    unknown = run("init", "--provider", "file", "--set", f"file={file}2", "--set", "fill=7")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "fill" in unknown.stderr
    assert run("init", "--provider", "file", "--set", "file").returncode == 1


def test_init_under_a_passphrase(tmp_path: Path) -> None:
    """It is asked for on the terminal."""
    file = tmp_path / "root_key"
    options = ["--provider", "passphrase", "--set", f"file={file}"]
    status, out, error, shown = run_on_terminal(["init", *options], [b"correct horse battery"] * 2)
    assert status == 0, error
    (made,) = re.findall("[0-9a-f]{32}", out)
    split = ["escrow", "split", *options, "--threshold", "2", "--shares", "2", "--stdout"]
    status, pages, error, shown = run_on_terminal(split, [b"correct horse battery"])
    assert status == 0, error
    assert made in pages
    assert "horse" not in out + pages + error + shown


def test_init_wrong_usage(tmp_path: Path) -> None:
    missing = run("init", "--pgdata", tmp_path)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "postgresql.conf does not exist" in missing.stderr
    assert run("init", "--pgdata", tmp_path, "--set", "a=b").returncode == 2
    assert run("init", "--provider", "file", "--use-existing-key").returncode == 2


# status


def test_status(server: Cluster) -> None:
    found = document(server, "status")
    assert found["problems"] == {}
    clinic, shop = found["databases"]
    assert (clinic["database"], clinic["schema"]) == ("clinic", "My Schema")
    assert clinic["keys"] == {"current": 1}
    assert shop["root_key"]["fingerprint"] == OLD_FINGERPRINT
    assert shop["root_key"]["still_needed"] == []
    (column,) = shop["columns"]
    assert (column["relation"], column["column"], column["state"]) == ("public.customer", "ssn", "migrating")
    text = call(server, "status").stdout
    for word in (OLD_FINGERPRINT, "public.customer", "migrating", "My Schema"):
        assert word in text
    assert "\x1b" not in text


def test_status_without_a_root_key(server: Cluster) -> None:
    """Everything else is shown all the same."""
    server.install_getkey("#!/bin/sh\necho hunter2\n")
    done = call(server, "status", "--json", "--database", "shop", status=1)
    (shop,) = json.loads(done.stdout)["databases"]
    assert shop["root_key"] is None
    assert "printed 7 characters on line 1" in shop["error"]
    assert "hunter2" not in done.stdout + done.stderr
    assert len(shop["columns"]) == 1
    call(server, "status", status=1)


def test_status_with_another_root_key(server: Cluster) -> None:
    """A restored database whose root key the server lacks is not reported as healthy."""
    _getkey(server, NEW)
    found = document(server, "status", status=1)
    assert all(OLD_FINGERPRINT in each["error"] for each in found["databases"])
    done = call(server, "status", status=1)
    assert f"does not have the root key {OLD_FINGERPRINT}" in done.stderr
    assert f"still needed  {OLD_FINGERPRINT}" in done.stdout
    _getkey(server, NEW, ROOT_KEY)
    call(server, "status")


def test_status_where_there_is_no_extension(server: Cluster) -> None:
    assert document(server, "status", "--database", "postgres", status=1)["problems"] == {
        "postgres": "the database does not have the extension pgkeymgr"
    }
    assert 'database "nowhere" does not exist' in call(server, "status", "--database", "nowhere", status=1).stderr
    with server.connect() as connection:
        for name in DATABASES:
            rows(connection, f"DROP DATABASE {name}")
    assert "no database of this cluster has the extension" in call(server, "status", status=1).stderr


def test_names_cannot_write_on_the_terminal(server: Cluster) -> None:
    with server.connect("shop") as connection:
        connection.execute('CREATE TABLE "a\x1b[31mb[bold]" (id integer PRIMARY KEY, "s\np" text)')
        connection.execute("SELECT pgkeymgr.encrypt_column('\"a\x1b[31mb[bold]\"', E's\\np')")
    text = call(server, "status").stdout
    assert "\x1b" not in text
    assert "\\x1b[31mb[bold]" in text


# rotate, migrate


def _migrate(server: Cluster) -> None:
    call(server, "migrate", "customer", "ssn", "--database", "shop")


def _key_ids(server: Cluster) -> set[int]:
    """Return the key versions that the rows are under."""
    with server.connect("shop") as connection:
        found = rows(
            connection,
            "SELECT DISTINCT i.key_id FROM customer_encrypted, pgkeymgr.token_info(ssn_encrypted) AS i",
        )
        return {row[0] for row in found}


def test_migrate_and_rotate(server: Cluster) -> None:
    assert document(server, "migrate", "customer", "ssn", "--database", "shop") == {
        "database": "shop",
        "table": "public.customer",
        "column": "ssn",
        "done": True,
    }
    (before,) = _key_ids(server)
    call(server, "rotate", "column", "public.customer", "ssn", "--dsn", "dbname=shop", "--batch-size", "100")
    (after,) = _key_ids(server)
    assert after > before
    made = document(server, "rotate", "key", "public.customer.ssn", "--database", "shop")
    assert made["columns"] == [{"table": "public.customer", "column": "ssn"}]
    assert made["id"] > after
    assert _key_ids(server) == {after}
    (shop,) = document(server, "status", "--database", "shop")["databases"]
    assert shop["keys"] == {"current": 1, "superseded": 2}


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["rotate", "column", "customer", "ssn", "--database", "shop"], 1, "is migrating"),
        (["rotate", "column", "nowhere", "ssn", "--database", "shop"], 1, 'table "nowhere" does not exist'),
        (["rotate", "column", "customer", "id", "--database", "shop"], 1, "is not encrypted"),
        (["rotate", "column", "customer", "ssn", "--database", "postgres"], 1, "does not have the extension"),
        (["rotate", "column", "customer", "ssn", "--batch-size", "0"], 2, "batch-size"),
        (["rotate", "key", "nothing", "--database", "shop"], 1, '"nothing"'),
    ],
)
def test_rotate_refuses(server: Cluster, arguments: list[str], status: int, text: str) -> None:
    done = call(server, *arguments, status=status)
    assert done.stdout == ""
    assert text in done.stderr


def _progress(connection: Connection) -> int:
    found = rows(connection, "SELECT rows_done FROM pgkeymgr.column_progress")
    return int(found[0][0]) if found else 0


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_rotate_column_is_stopped_and_goes_on(server: Cluster, kind: signal.Signals) -> None:
    _migrate(server)
    command = ["rotate", "column", "customer", "ssn", "--database", "shop", "--batch-size", "20", "--json"]
    with server.connect("shop") as watcher, server.connect("shop") as blocker, blocker.transaction():
        # It cannot come to its end while a row is locked.
        rows(blocker, "SELECT FROM customer_encrypted WHERE id = 7 FOR UPDATE")
        with subprocess.Popen(
            [COMMAND, *command],
            env={**ENVIRONMENT, **environment(server)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            wait_until(lambda: _progress(watcher), "the first batch")
            process.send_signal(kind)
            out, error = process.communicate(timeout=60)
        if kind == signal.SIGKILL:
            assert process.returncode == -signal.SIGKILL
        else:
            assert process.returncode == 130
            stopped = json.loads(out)
            assert (stopped["done"], stopped["rows_total"]) == (False, ROWS)
            assert "Call the command again" in error
        assert "Traceback" not in error
        # The procedure ends with it, while the row is still locked.
        ours = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'pgkeymgr' AND query LIKE 'CALL%'"
        wait_until(lambda: not rows(watcher, ours), "the server's end of it")
        assert value(watcher, "SELECT state::text FROM pgkeymgr.encrypted_columns") == "rotating"
        (shop,) = document(server, "status", "--database", "shop")["databases"]
        assert 0 < shop["columns"][0]["rows_done"] < ROWS
        done_before = _progress(watcher)
    with server.connect("shop") as connection:
        keys = len(rows(connection, "SELECT FROM pgkeymgr.data_keys"))
        assert len(_key_ids(server)) == 2
        call(server, *command)
        # It went on: no other version was made, and nothing is lost.
        assert done_before
        assert len(rows(connection, "SELECT FROM pgkeymgr.data_keys")) == keys
        assert len(_key_ids(server)) == 1
        wrong = f"SELECT count(*) FROM generate_series(1, {ROWS}) AS n LEFT JOIN customer AS c ON c.id = n"
        assert value(connection, f"{wrong} WHERE c.ssn IS DISTINCT FROM 'ssn ' || n") == 0
        assert value(connection, "SELECT state::text FROM pgkeymgr.encrypted_columns") == "encrypted"


def test_progress_bar_is_for_terminals(server: Cluster) -> None:
    _migrate(server)
    command = [str(COMMAND), "rotate", "column", "customer", "ssn", "--database", "shop"]
    master, slave = pty.openpty()
    shown = b""
    with server.connect("shop") as blocker, blocker.transaction():
        rows(blocker, "SELECT FROM customer_encrypted WHERE id = 7 FOR UPDATE")
        with subprocess.Popen(
            command,
            env={**ENVIRONMENT, **environment(server), "TERM": "xterm", "COLUMNS": "100"},
            stdout=subprocess.PIPE,
            stderr=slave,
        ) as process:
            os.close(slave)
            while f"/{ROWS}".encode() not in shown:
                shown += os.read(master, 1000)
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(OSError):  # the other end is closed
                while part := os.read(master, 1000):
                    shown += part
            assert process.wait(60) == 130
    os.close(master)
    assert b"public.customer.ssn" in shown
    # NO_COLOR is respected: cursor movements, but no colours.
    assert not re.search(rb"\x1b\[[0-9;]*3[0-9]", shown)


def _getkey(server: Cluster, *keys: str) -> None:
    server.install_getkey("#!/bin/sh\n" + "".join(f"echo {key}\n" for key in keys))


def test_rotate_root(server: Cluster) -> None:
    nothing = document(server, "rotate", "root")
    assert [each["rewrapped"] for each in nothing["databases"]] == [0, 0]
    assert nothing["can_withdraw"] == []
    assert "only one root key" in call(server, "rotate", "root").stderr
    _getkey(server, NEW, ROOT_KEY)
    # One database is not enough to tell, and a second call finds it done.
    part = document(server, "rotate", "root", "--database", "clinic")
    assert [each["rewrapped"] for each in part["databases"]] == [1]
    assert part["can_withdraw"] == []
    (shop,) = document(server, "status", "--database", "shop")["databases"]
    assert shop["root_key"]["still_needed"] == [OLD_FINGERPRINT]
    done = document(server, "rotate", "root")
    assert [(each["database"], each["rewrapped"]) for each in done["databases"]] == [("clinic", 0), ("shop", 1)]
    assert {each["fingerprint"] for each in done["databases"]} == {NEW_FINGERPRINT}
    assert (done["still_needed"], done["standbys"]) == ([], [])
    assert done["can_withdraw"] == [OLD_FINGERPRINT]
    said = call(server, "rotate", "root").stderr
    assert f"can be withdrawn from it: {OLD_FINGERPRINT}" in said
    assert "base backups" in said
    _getkey(server, NEW)
    _migrate(server)


def test_rotate_root_where_one_database_fails(server: Cluster) -> None:
    """The others are rotated, and the old key is not said to be free."""
    with server.connect("clinic") as connection:
        connection.execute('UPDATE "My Schema".key_wrap SET wrapped = set_byte(wrapped, 50, 1)')
    _getkey(server, NEW, ROOT_KEY)
    failed = document(server, "rotate", "root", status=1)
    assert [each["database"] for each in failed["databases"]] == ["shop"]
    assert list(failed["problems"]) == ["clinic"]
    assert failed["can_withdraw"] == []
    said = call(server, "rotate", "root", status=1).stderr
    assert "until all databases could be examined" in said


def test_rotate_root_with_a_standby(server: Cluster) -> None:
    """The old key is free when the standby has replayed the rotation, not before; one that is away counts."""
    with server.connect() as connection:
        connection.execute("SELECT pg_create_physical_replication_slot('kept', true)")
    standby = Cluster(initialize=False)
    backup = ["--write-recovery-conf", "--checkpoint=fast", "--slot=kept", f"--pgdata={standby.data}"]
    standby.run_as_server([server.bin / "pg_basebackup", *backup, f"--dbname={server.dsn()}"])
    for cluster in (server, standby):
        _getkey(cluster, NEW, ROOT_KEY)
    with standby, standby.connect("shop") as reader, server.connect() as connection:
        reader.execute("SELECT pg_wal_replay_pause()")
        wait_until(
            lambda: value(reader, "SELECT pg_get_wal_replay_pause_state()") == "paused", "the standby's pause"
        )
        behind = document(server, "rotate", "root", status=3)
        assert [each["rewrapped"] for each in behind["databases"]] == [1, 1]
        assert [(each["state"], each["replayed"]) for each in behind["standbys"]] == [("streaming", False)]
        assert behind["can_withdraw"] == []
        assert "until the standbys have replayed the rotation" in call(server, "rotate", "root", status=3).stderr
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(document, server, "rotate", "root", "--wait-standbys", "60")
            reader.execute("SELECT pg_wal_replay_resume()")
            done = waiting.result()
        assert [each["replayed"] for each in done["standbys"]] == [True]
        assert done["can_withdraw"] == [OLD_FINGERPRINT]
        standby.stop()
        wait_until(lambda: not rows(connection, "SELECT 1 FROM pg_stat_replication"), "the standby to be away")
        rows(connection, "CREATE TABLE something AS SELECT 1")
        away = document(server, "rotate", "root", status=3)
        assert [(each["name"], each["state"]) for each in away["standbys"]] == [("slot kept", "away")]
        connection.execute("SELECT pg_drop_replication_slot('kept')")
        standby.start()


# verify


def test_verify(server: Cluster) -> None:
    _migrate(server)
    (whole,) = document(server, "verify")["columns"]
    assert (whole["database"], whole["values"], whole["broken"]) == ("shop", ROWS, [])
    with server.connect("shop") as connection:
        # As where the row comes from another database: the table's triggers refuse it otherwise.
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "UPDATE customer_encrypted SET ssn_encrypted = set_byte(ssn_encrypted, 20,"
            " get_byte(ssn_encrypted, 20) # 1) WHERE id <= 25"
        )
    (broken,) = document(server, "verify", status=1)["columns"]
    assert sorted(int(row["row_key"]) for row in broken["broken"]) == list(range(1, 26))
    assert all("not authentic" in row["problem"] for row in broken["broken"])
    done = call(server, "verify", "--table", "customer", "--column", "ssn", "--database", "shop", status=1)
    assert "ssn 1" not in done.stdout
    assert "and 5 more" in done.stderr
    # A table or a column that does not exist is not reported as whole.
    assert "no database has such" in call(server, "verify", "--table", "nowhere", status=1).stderr
    assert "no database has such" in call(server, "verify", "--column", "id", status=1).stderr


# doctor


def _say(server: Cluster, name: str, schema: str, findings: list[tuple[str, ...]]) -> None:
    """Let doctor() of a database find this: what it finds by itself is tested elsewhere."""
    values = ", ".join("(" + ", ".join(f"'{word}'" for word in finding) + ")" for finding in findings)
    with server.connect(name) as connection:
        rows(
            connection,
            f'CREATE OR REPLACE FUNCTION "{schema}".doctor(OUT check_name text, OUT status text, OUT object text,'
            f" OUT message text, OUT hint text) RETURNS SETOF record LANGUAGE sql AS $$ VALUES {values} $$",
        )


CLUSTER_WIDE = ("log_parameter", "notice", "log_statement", "it is all", "set it")
FINE = ("root key", "ok", "root key", "it is there", "")


@pytest.mark.parametrize(("worst", "status"), [("ok", 0), ("notice", 0), ("warning", 1), ("error", 2)])
def test_doctor(server: Cluster, worst: str, status: int) -> None:
    _say(server, "shop", "pgkeymgr", [FINE, CLUSTER_WIDE, ("key", worst, "key 7", "it is old", "rotate it")])
    _say(server, "clinic", "My Schema", [CLUSTER_WIDE, FINE])
    found = document(server, "doctor", status=status)
    assert found["databases"] == ["clinic", "shop"]
    assert sorted((each["check_name"], each["databases"]) for each in found["findings"]) == [
        ("key", ["shop"]),
        ("log_parameter", ["clinic", "shop"]),
        ("root key", ["clinic", "shop"]),
    ]
    # Without --verbose, checks without a finding are left out.
    assert ("key 7" in call(server, "doctor", status=status).stdout) == (worst != "ok")
    text = call(server, "doctor", "--verbose", status=status).stdout
    assert text.count("it is all") == 1
    assert "key 7" in text
    both = document(server, "doctor", "--also", f"host={server.directory}", status=status)
    assert len(both["databases"]) == 4
    gone = call(server, "doctor", "--verbose", "--also", "host=/nowhere", status=3)
    assert "key 7" in gone.stdout
    assert "server 2" in gone.stderr


def test_doctor_where_there_is_none(server: Cluster) -> None:
    _say(server, "shop", "pgkeymgr", [FINE])
    _say(server, "clinic", "My Schema", [FINE])
    with server.connect("clinic") as connection:
        connection.execute('ALTER FUNCTION "My Schema".doctor() RENAME TO before')
    found = document(server, "doctor", status=3)
    assert found["databases"] == ["shop"]
    assert "has no doctor()" in found["problems"]["clinic"]


def test_a_user_without_rights_sees_an_error(server: Cluster) -> None:
    with server.connect() as connection:
        connection.execute("CREATE ROLE nobody_in_particular LOGIN")
    more: Mapping[str, str] = {**environment(server), "PGUSER": "nobody_in_particular"}
    for command in ("status", "verify", "rotate root"):
        done = run(*command.split(), environment=more)
        assert done.returncode == 1
        assert "permission denied" in done.stderr
        assert "Traceback" not in done.stderr
    with server.connect() as connection:
        connection.execute("DROP ROLE nobody_in_particular")


# The manual.


def test_manual(bare: Cluster, tmp_path: Path) -> None:
    """Each of its lines runs, one after the other."""
    # Commands for several servers have tests of their own.
    found = "".join(block.text for block in blocks("docs/command-line.md", "sh")).splitlines()
    lines = [line for line in found if not re.search("--shard|switch-over", line)]
    assert {line.split()[1] for line in lines} == {
        *("init", "upgrade", "escrow", "status", "doctor", "verify", "report", "metrics"),
        *("migrate", "rotate", "blind-index", "root", "encrypt", "decrypt", "keys", "grants", "columns", "audit"),
        "prune",
    }
    places = {"/srv/postgresql": str(bare.data), "/etc/pgkeymgr": str(_beside(bare)), "pgkeymgr ": f"{COMMAND} "}
    bare.create_database("shop")
    try:
        for line in lines:
            if line.startswith("pgkeymgr status"):
                with bare.connect("shop") as connection:
                    connection.execute("CREATE TABLE customer AS SELECT 1 AS id, 'secret' AS ssn, 'x' AS note")
                    connection.execute("SELECT pgkeymgr.encrypt_column('customer', 'ssn')")
            run_line = re.sub("|".join(places), lambda found: places[found[0]], line)
            done = subprocess.run(
                ["bash", "-c", run_line],
                env={**ENVIRONMENT, **environment(bare)},
                cwd=tmp_path,
                check=False,
                capture_output=True,
                text=True,
            )
            # The findings of the doctor depend on the machine.
            assert done.returncode == 0 or "doctor" in line, line + done.stderr
            assert "Traceback" not in done.stderr
        # The last command but one has put a new root key above it.
        _, old = (_beside(bare) / "root_key").read_text().split()
        assert (tmp_path / "root_key").read_text().split() == [old]
    finally:
        with bare.connect() as connection:
            connection.execute("DROP DATABASE shop WITH (FORCE)")
