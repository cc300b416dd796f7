"""The metrics that the agent serves over HTTP: their format, the limits of the server, and who can reach it."""

import asyncio
import http.client
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from agent_client import CONTEXT, NEW, OLD, needs_root, print_of
from agent_process import Agent
from pgkeymgr.agent import metrics
from pgkeymgr.agent.exposition import OPENMETRICS
from pgkeymgr.errors import AgentError
from prometheus_text import Samples, parse

_HOST = "Host: localhost\r\n"


def state(**changes: Any) -> dict[str, Any]:
    """Return what the agent's status is made of."""
    return {
        "state": "unlocked", "fingerprint": "f" * 32, "source": "agent /secret/path", "previous": ["e" * 32],
        "version": "0.0", "started": "2026-01-01T00:00:00+00:00", "loaded": None, "memory_locked": True,
        "clients": 3, "max_clients": 10, "refused": 7, "operations": {"derive": 5}, "allowed_user_ids": [4242],
        **changes,
    }  # fmt: skip


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the client in this process enough time, however busy the machine is."""
    monkeypatch.setattr(metrics, "PATIENCE_SECONDS", 60)


def talk(*parts: bytes, then: Callable[[socket.socket], bytes] | None = None) -> bytes:
    """Send bytes to a server in this process, and return what it answers until it closes the connection."""

    def client(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            for part in parts:
                connection.sendall(part)
            if then is not None:
                return then(connection)
            answer = b""
            while received := connection.recv(1 << 16):
                answer += received
            return answer

    return serving(client)


def serving(client: Callable[[int], bytes]) -> bytes:
    """Call a function in a thread, with the port of a server in this process, and return its result."""

    async def run() -> bytes:
        connections: dict[metrics.Request, None] = {}
        server = await asyncio.get_running_loop().create_server(
            lambda: metrics.Request(state, connections), "127.0.0.1", 0
        )
        try:
            return await asyncio.to_thread(client, server.sockets[0].getsockname()[1])
        finally:
            server.close()
            for each in list(connections):
                each.cut()
            await asyncio.sleep(0)  # the transports close their sockets

    return asyncio.run(run())


def read(answer: bytes) -> tuple[int, dict[str, str], str]:
    """Return the status, the fields and the body of an answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines)
    assert int(fields["Content-Length"]) == len(body)
    return int(first.split()[1]), fields, body.decode()


def test_the_metrics() -> None:
    status, fields, body = read(talk(b"GET /metrics HTTP/1.1\r\n", _HOST.encode(), b"\r\n"))
    assert status == 200
    assert fields["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert fields["Connection"] == "close"
    found = parse(body)
    assert found["pgkeymgr_agent_unlocked"] == {(): 1}
    assert found["pgkeymgr_agent_clients"] == {(): 3}
    assert found["pgkeymgr_agent_refused_total"] == {(): 7}
    assert found["pgkeymgr_agent_info"] == {(("version", "0.0"),): 1}
    assert found["pgkeymgr_agent_operations_total"][("operation", "derive"),] == 5
    assert found["pgkeymgr_agent_operations_total"][("operation", "unwrap"),] == 0
    assert found["pgkeymgr_agent_started_timestamp_seconds"] == {(): 1767225600}
    for hidden in ("f" * 32, "e" * 32, "/secret/path", "4242"):
        assert hidden not in body


def test_openmetrics_is_written_if_it_is_asked_for() -> None:
    accept = b"Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2\r\n"
    status, fields, body = read(talk(b"GET /metrics HTTP/1.1\r\n" + _HOST.encode() + accept + b"\r\n"))
    assert (status, fields["Content-Type"]) == (200, OPENMETRICS)
    assert body.endswith("# EOF\n")
    assert "# TYPE pgkeymgr_agent_refused counter\n" in body
    parse(body, is_openmetrics=True)


@pytest.mark.parametrize(
    ("request_line", "more", "status"),
    [
        ("GET /metrics?x=y HTTP/1.1", _HOST, 200),
        ("GET /metrics HTTP/1.0", "", 200),
        ("GET /metrics HTTP/1.1", "Host: [::1]:9188\r\n", 200),
        ("GET /metrics HTTP/1.1", "Host: 127.0.0.1:9188\r\n", 200),
        ("GET / HTTP/1.1", _HOST, 404),
        ("GET /metrics/ HTTP/1.1", _HOST, 404),
        ("GET //metrics HTTP/1.1", _HOST, 404),
        ("POST /metrics HTTP/1.1", _HOST, 405),
        ("HEAD /metrics HTTP/1.1", _HOST, 405),
        # A page in a browser of the machine, which has the address of its own name changed.
        ("GET /metrics HTTP/1.1", "Host: evil.example\r\n", 421),
        ("GET /metrics HTTP/1.1", "Host: localhost.evil.example\r\n", 421),
        ("GET /metrics HTTP/1.1", "Host: 10.0.0.1\r\n", 421),
        ("GET /metrics HTTP/1.1", _HOST * 2, 400),
        ("GET /metrics HTTP/1.1", "no field\r\n", 400),
        ("GET /metrics HTTP/2", _HOST, 400),
        ("GET /metrics", _HOST, 400),
        ("\0\xff", _HOST, 400),
    ],
)
def test_requests(request_line: str, more: str, status: int) -> None:
    answer = talk(f"{request_line}\r\n{more}\r\n".encode("latin-1"))
    assert read(answer)[0] == status


def test_a_long_request_is_refused() -> None:
    assert read(talk(b"GET /metrics HTTP/1.1\r\n" + b"x" * metrics.REQUEST_BYTES_MAX))[0] == 431
    # Its end may arrive in the same piece.
    header = f"GET /metrics HTTP/1.1\r\nX: {'x' * metrics.REQUEST_BYTES_MAX}\r\n\r\n"
    assert read(talk(header.encode()))[0] == 431


def test_a_slow_client_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "PATIENCE_SECONDS", 0.1)
    assert talk(b"GET /metrics HTTP/1.1\r\n", then=received) == b""


def received(connection: socket.socket) -> bytes:
    """Return what a server sends before it closes the connection, or resets it."""
    try:
        return connection.recv(1 << 16)
    except ConnectionResetError:
        return b""


def test_the_oldest_connection_makes_room() -> None:
    def client(port: int) -> bytes:
        waiting = [
            socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(metrics.CONNECTIONS_MAX)
        ]
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=30) as last:
                last.sendall(f"GET /metrics HTTP/1.1\r\n{_HOST}\r\n".encode())
                answer = last.recv(1 << 16)
            assert received(waiting[0]) == b""
            # The others still wait for their requests, and are answered.
            waiting[-1].sendall(f"GET /metrics HTTP/1.1\r\n{_HOST}\r\n".encode())
            assert received(waiting[-1]).startswith(b"HTTP/1.1 200 ")
            return answer
        finally:
            for each in waiting:
                each.close()

    assert serving(client).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0", "10.0.0.1", "192.168.1.1", "::", "::ffff:127.0.0.1", "::1%lo", "fe80::1", "localhost", "127.1"],  # noqa: S104
)
def test_only_loopback_addresses_are_accepted(address: str) -> None:
    with pytest.raises(AgentError, match="is not"):
        metrics.listen(address, 9188)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_only_ports_are_accepted(port: int) -> None:
    with pytest.raises(AgentError, match="not in the range"):
        metrics.listen("127.0.0.1", port)


# The agent as a process.


def get(port: int) -> Samples:
    """Return the metrics of an agent."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert answer.status == 200
        return parse(answer.read().decode())
    finally:
        connection.close()


@contextmanager
def agent_with_metrics(keys: Sequence[str], *options: str) -> Iterator[tuple[Agent, int]]:
    """Yield a running agent that serves metrics, and the port."""
    for _ in range(20):
        # Below the ports that the kernel gives to clients.
        port = 10_000 + secrets.randbelow(20_000)
        users = [str(os.geteuid())]
        with Agent(keys, "--metrics-port", str(port), *options, users=users) as agent:
            if "no metrics" not in agent.log:
                yield agent, port
                return
    pytest.fail("every port is in use")


def test_the_agent_serves_its_metrics() -> None:
    with agent_with_metrics([NEW, OLD]) as (agent, port):
        agent.root_key().derive(1, 32, CONTEXT)
        found = get(port)
        assert found["pgkeymgr_agent_unlocked"] == {(): 1}
        assert found["pgkeymgr_agent_previous_root_keys"] == {(): 1}
        assert found["pgkeymgr_agent_operations_total"][("operation", "derive"),] == 1
        agent.control().lock()
        found = get(port)
        assert found["pgkeymgr_agent_unlocked"] == {(): 0}
        assert found["pgkeymgr_agent_previous_root_keys"] == {(): 0}
        assert agent.stop() == 0
        with pytest.raises(ConnectionRefusedError):
            get(port)
        assert print_of(NEW) in agent.log, "the fingerprint is in the log, and only there"


@needs_root
def test_no_port_is_open_by_default() -> None:
    with Agent([OLD], users=[str(os.geteuid())]) as agent:
        inodes = set()
        for link in Path(f"/proc/{agent.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # it was closed in the meantime
                inodes.add(os.readlink(link))
        tables = [Path(f"/proc/{agent.pid}/net/{name}") for name in ("tcp", "tcp6")]
        open_ports = {f"socket:[{line.split()[9]}]" for each in tables if each.exists() for line in _lines(each)}
        assert any(inode.startswith("socket:") for inode in inodes)
        assert not inodes & open_ports


def _lines(table: Path) -> list[str]:
    return table.read_text().splitlines()[1:]


def test_a_taken_port_does_not_keep_the_agent_from_serving_keys() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Agent([OLD], "--metrics-port", str(port), users=[str(os.geteuid())]) as agent:
            assert f"no metrics: could not listen on 127.0.0.1 port {port}: Address already in use" in agent.log
            assert agent.root_key().fingerprint == print_of(OLD)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ('metrics_address = "0.0.0.0"\nmetrics_port = 9188', "is not a loopback address"),
        ("metrics_port = 0", "the port for metrics, 0, is not in the range"),
        ('metrics_port = "9188"', 'has the wrong type of value for "metrics_port"'),
        ("metrics_port = true", 'has the wrong type of value for "metrics_port"'),
    ],
)
def test_the_agent_does_not_start_with_wrong_settings(setting: str, message: str, tmp_path: Path) -> None:
    agent = Agent([OLD], users=[str(os.geteuid())])
    try:
        config = agent.directory / "agent.toml"
        config.write_text(f"{setting}\n")
        config.chmod(0o600)
        done = subprocess.run(
            [*agent.arguments, "--config", str(config)],
            env=agent.environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 1
        assert message in done.stderr
    finally:
        agent.remove()


_SCRIPTS = Path(__file__).parents[2] / "scripts"


def test_the_unit_opens_the_network_only_where_metrics_are_switched_on() -> None:
    unit = (_SCRIPTS / "pgkeymgr-agent.service").read_text()
    assert "\nPrivateNetwork=yes\nRestrictAddressFamilies=AF_UNIX\nIPAddressDeny=any\n" in unit
    drop_in = (_SCRIPTS / "pgkeymgr-agent-metrics.conf").read_text()
    settings = [line for line in drop_in.splitlines() if line and not line.startswith("#")]
    assert settings == [
        *("[Service]", "PrivateNetwork=no", "RestrictAddressFamilies=AF_INET AF_INET6", "IPAddressAllow=localhost")
    ]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not on this machine")
def test_the_drop_in_file(tmp_path: Path) -> None:
    unit = tmp_path / "pgkeymgr-agent.service"
    text = (_SCRIPTS / unit.name).read_text()
    # The check looks for the command, which need not be installed here.
    unit.write_text(text.replace("/usr/local/bin/pgkeymgr", sys.executable))
    (tmp_path / f"{unit.name}.d").mkdir()
    shutil.copy(_SCRIPTS / "pgkeymgr-agent-metrics.conf", tmp_path / f"{unit.name}.d" / "metrics.conf")
    done = subprocess.run(["systemd-analyze", "verify", unit], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
