"""Fails over a Patroni cluster in the middle of migrate_column and rotate_column, and compares all values.

    python test/failover/failover.py [getkey] [agent]

Three things happen to the leader during each of the two operations:

- switchover: Patroni gives the other node the lead;
- crash: Patroni and PostgreSQL are killed with SIGKILL, and started again after the failover;
- split: Patroni alone is killed with SIGKILL. PostgreSQL goes on writing, until the other node leads and this one
  is killed. Patroni then needs pg_rewind to follow the new leader.
"""

import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from agent_process import Agent
from cluster import ROOT_KEY, pg_config
from waiting import wait_until

# The server's user can read this directory, as it perhaps cannot read the checkout.
PATRONI = Path("/var/tmp/pgkeymgr-patroni/bin/patroni")  # noqa: S108
DATABASE = "failed_over"
ROWS = 20_000
TTL = 20
PATIENCE = 120
Connection = psycopg.Connection[tuple[Any, ...]]


def free_port() -> int:
    """Return a TCP port that nobody uses at present."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def start(
    command: list[str | Path], log: Path, environment: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a process as the server's user in a session of its own."""
    who: dict[str, Any] = {}
    if os.geteuid() == 0:
        who = {"user": "postgres", "group": "postgres", "extra_groups": []}
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **(environment or {})},
            cwd=log.parent,
            start_new_session=True,
            **who,
        )


class Node:
    """A node of the cluster: Patroni, and the PostgreSQL that it starts."""

    def __init__(self, directory: Path, name: str, etcd: int, environment: dict[str, str]) -> None:
        self.name = name
        self.directory = directory / name
        self.directory.mkdir()
        self.data = self.directory / "data"
        self.log = self.directory / "patroni.log"
        self.port, self.api = free_port(), free_port()
        self.environment = environment
        self.process: subprocess.Popen[bytes] | None = None
        settings = {
            "scope": "pgkeymgr",
            "name": name,
            "restapi": {"listen": f"127.0.0.1:{self.api}", "connect_address": f"127.0.0.1:{self.api}"},
            "etcd3": {"host": f"127.0.0.1:{etcd}"},
            "bootstrap": {
                "dcs": {
                    "ttl": TTL,
                    "loop_wait": 2,
                    "retry_timeout": 5,
                    "postgresql": {
                        "use_pg_rewind": True,
                        "parameters": {"wal_keep_size": "512MB", "max_connections": 50, "fsync": "off"},
                    },
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}, "data-checksums"],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{self.port}",
                "connect_address": f"127.0.0.1:{self.port}",
                "data_dir": str(self.data),
                "bin_dir": str(pg_config("bindir")),
                "authentication": {
                    "superuser": {"username": "postgres"},
                    "replication": {"username": "postgres"},
                },
                "pg_hba": ["local all all trust", "host all all 127.0.0.1/32 trust",
                           "host replication all 127.0.0.1/32 trust"],
                "parameters": {"unix_socket_directories": str(self.directory)},
            },
        }  # fmt: skip
        self.settings = self.directory / "patroni.yml"
        self.settings.write_text(json.dumps(settings))  # JSON is YAML

    def start(self) -> None:
        """Start Patroni."""
        self.process = start([PATRONI, self.settings], self.log, self.environment)

    def kill_patroni(self) -> None:
        """Kill Patroni with SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def kill_postgres(self) -> None:
        """Kill all processes of PostgreSQL with SIGKILL."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            postmaster = int((self.data / "postmaster.pid").read_text().split()[0])
            os.kill(postmaster, signal.SIGSTOP)
            children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
            for pid in [*map(int, children), postmaster]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """Kill everything."""
        if self.process is not None and self.process.poll() is None:
            self.kill_patroni()
        self.kill_postgres()

    def connect(self, database: str = DATABASE) -> Connection:
        """Open a superuser's session."""
        return psycopg.connect(
            f"host={self.directory} port={self.port} dbname={database} user=postgres",
            autocommit=True,
            options="-c search_path=public,pgkeymgr",
        )

    def status(self) -> dict[str, Any]:
        """Return what Patroni says of the node; nothing if it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.api}/patroni", timeout=5) as answer:
                return dict(json.load(answer))
        except OSError:
            return {}

    def is_leader(self) -> bool:
        """Return whether the node leads, and takes writes."""
        status = self.status()
        return status.get("role") in {"primary", "master"} and status.get("state") == "running"

    def is_following(self, leader: "Node") -> bool:
        """Return whether the node streams from a leader."""
        streams = "SELECT FROM pg_stat_replication WHERE state = 'streaming' AND application_name = %s"
        try:
            with leader.connect("postgres") as session, self.connect("postgres"):
                return bool(session.execute(streams, (self.name,)).rowcount)
        except psycopg.Error:
            return False


class Pair:
    """Two nodes, and their etcd."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        port, peer = free_port(), free_port()
        urls = [
            f"--listen-client-urls=http://127.0.0.1:{port}",
            f"--advertise-client-urls=http://127.0.0.1:{port}",
        ]
        urls += [
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-cluster=default=http://127.0.0.1:{peer}",
        ]
        urls += [f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}", f"--data-dir={directory}/etcd"]
        self.etcd = start(["etcd", "--unsafe-no-fsync", *urls], directory / "etcd.log")
        self.nodes = [Node(directory, name, port, environment) for name in ("ann", "bob")]

    def start(self) -> None:
        """Start the nodes, and wait until one follows the other."""
        self.nodes[0].start()
        wait_until(self.nodes[0].is_leader, "the first node", PATIENCE)
        self.nodes[1].start()
        wait_until(lambda: self.nodes[1].is_following(self.nodes[0]), "the second node", PATIENCE)

    def stop(self) -> None:
        """Kill everything."""
        for node in self.nodes:
            node.stop()
        self.etcd.kill()
        self.etcd.wait()

    def leader(self) -> Node:
        """Return the leader."""
        return next(node for node in self.nodes if node.is_leader())

    def other(self, node: Node) -> Node:
        """Return the other node."""
        return next(each for each in self.nodes if each is not node)


def switchover(pair: Pair, old: Node) -> None:
    """Give the other node the lead."""
    body = json.dumps({"leader": old.name, "candidate": pair.other(old).name}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{old.api}/switchover", data=body, method="POST")
    with urllib.request.urlopen(request, timeout=PATIENCE):  # noqa: S310
        pass
    wait_until(pair.other(old).is_leader, "the new leader", PATIENCE)


def crash(pair: Pair, old: Node) -> None:
    """Kill the leader, and start it again once the other node leads."""
    old.kill_patroni()
    old.kill_postgres()
    wait_until(pair.other(old).is_leader, "the new leader", PATIENCE)
    old.start()


def split(pair: Pair, old: Node) -> None:
    """Kill the leader's Patroni. Its PostgreSQL writes until the other node leads, and then is killed, too."""
    old.kill_patroni()
    wait_until(pair.other(old).is_leader, "the new leader", PATIENCE)
    with old.connect() as lost:
        lost.execute("CREATE TABLE lost AS SELECT n FROM generate_series(1, 1000) AS n; CHECKPOINT")
    old.kill_postgres()
    old.start()


EVENTS = {"switchover": switchover, "crash": crash, "split": split}


def expected(table: str) -> list[tuple[int, str]]:
    """Return the rows of a table."""
    return [(i, f"{table} {i}") for i in range(1, ROWS + 1)]


def fail_over(pair: Pair, event: str, operation: str) -> None:
    """Let an event happen in the middle of an operation, end the operation on the new leader, and compare."""
    table = f"{event}_{operation}"
    old = pair.leader()
    call = f"CALL {operation}_column('{table}', 'secret', 50)".encode()
    with old.connect() as admin:
        admin.execute(f"CREATE TABLE {table} (id integer PRIMARY KEY, secret text)".encode())
        insert = f"INSERT INTO {table} SELECT i, '{table} ' || i FROM generate_series(1, {ROWS}) AS i"
        admin.execute(insert.encode())
        admin.execute(f"SELECT encrypt_column('{table}', 'secret')".encode())
        if operation == "rotate":
            admin.execute(f"CALL migrate_column('{table}', 'secret')".encode())

    def run() -> None:
        with contextlib.suppress(psycopg.OperationalError), old.connect() as session:
            session.execute(call)

    thread = threading.Thread(target=run)
    with pair.other(old).connect() as replica:
        thread.start()
        progress = (
            f"SELECT rows_done FROM column_progress WHERE relation = '{table}'::regclass AND rows_done > 2000"
        )
        # The node that will lead has seen a part of it.
        wait_until(lambda: replica.execute(progress.encode()).rowcount, "the operation", PATIENCE)
    with contextlib.suppress(psycopg.OperationalError), old.connect() as holder:
        if event == "split":
            # The operation does not end before the other node leads.
            holder.execute("BEGIN")
            holder.execute(f"SELECT FROM {table}_encrypted WHERE id = {ROWS} FOR UPDATE".encode())
        EVENTS[event](pair, old)
        thread.join()
    new = pair.other(old)
    with new.connect() as admin:
        found = admin.execute(
            f"SELECT state::text FROM encrypted_columns WHERE relation = '{table}'::regclass".encode()
        )
        states = [row[0] for row in found]
        assert states == [{"migrate": "migrating", "rotate": "rotating"}[operation]], states
        assert admin.execute(f"SELECT id, secret FROM {table} ORDER BY id".encode()).fetchall() == expected(table)
        admin.execute(call)
        for each in (f"{one}_{other}" for one in EVENTS for other in ("migrate", "rotate")):
            if admin.execute("SELECT to_regclass(%s)", (each,)).fetchall() != [(None,)]:
                rows = admin.execute(f"SELECT id, secret FROM {each} ORDER BY id".encode()).fetchall()
                assert rows == expected(each), f"the values of {each} differ"
        assert admin.execute("SELECT broken_link FROM verify_key_events()").fetchall() == [(None,)]
        assert admin.execute("SELECT to_regclass('lost')").fetchall() == [(None,)]
    wait_until(lambda: old.is_following(new), "the old leader to follow", PATIENCE)
    rewound = "running pg_rewind" in old.log.read_text()
    assert rewound or event != "split", "pg_rewind did not run"
    with new.connect() as admin, old.connect() as replica:
        (position,) = admin.execute("SELECT pg_current_wal_flush_lsn()").fetchall()[0]
        reached = f"SELECT FROM (SELECT) AS one WHERE pg_last_wal_replay_lsn() >= '{position}'"
        wait_until(lambda: replica.execute(reached.encode()).rowcount, "the replay", PATIENCE)
        rows = replica.execute(f"SELECT id, secret FROM {table} ORDER BY id".encode()).fetchall()
        assert rows == expected(table), "the values differ on the old leader"


@contextlib.contextmanager
def root_key(kind: str, directory: Path) -> Iterator[dict[str, str]]:
    """Provide the servers with the root key; yield their environment."""
    if kind == "agent":
        with Agent(
            [ROOT_KEY], users=["postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name]
        ) as one:
            yield {"PGKEYMGR_AGENT": str(one.socket)}
        return
    script = directory / "getkey"
    script.write_text(f"#!/bin/sh\necho {ROOT_KEY}\n")
    script.chmod(0o500)
    give(script)
    yield {"PGKEYMGR_GETKEY": str(script)}


def give(path: Path) -> None:
    """Let the server's user own a path."""
    if os.geteuid() == 0:
        shutil.chown(path, "postgres", "postgres")


def main(kinds: list[str]) -> None:
    """Run all events with each source of the root key."""
    for kind in kinds:
        directory = Path(tempfile.mkdtemp(prefix="pgkeymgr-failover-"))
        directory.chmod(0o755)
        give(directory)
        with root_key(kind, directory) as environment:
            pair = Pair(directory, environment)
            try:
                for node in pair.nodes:
                    give(node.directory)
                pair.start()
                with pair.leader().connect("postgres") as admin:
                    admin.execute(f"CREATE DATABASE {DATABASE}".encode())
                with pair.leader().connect() as admin:
                    admin.execute("CREATE SCHEMA pgkeymgr")
                    admin.execute("CREATE EXTENSION pgkeymgr SCHEMA pgkeymgr CASCADE")
                for operation in ("migrate", "rotate"):
                    for event in EVENTS:
                        began = time.monotonic()
                        fail_over(pair, event, operation)
                        seconds = time.monotonic() - began
                        print(f"{kind}, {operation}, {event}: all values are there ({seconds:.0f} s)", flush=True)
            except BaseException:
                for node in pair.nodes:
                    print(
                        f"{node.name}:", node.log.read_text()[-3000:] if node.log.exists() else "", file=sys.stderr
                    )
                raise
            finally:
                pair.stop()
                shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:] or ["getkey", "agent"])
