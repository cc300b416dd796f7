"""The agent survives malformed and unfinished requests, many clients, and clients that wait."""

import contextlib
import random
import resource
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import agent_client
import pytest
from agent_client import CONTEXT, NEW, PATIENCE, connect, is_closed, local, print_of, receive, resident_bytes
from agent_process import Agent
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pgkeymgr.agent import protocol
from pgkeymgr.agent.protocol import FIELDS, FRAME_BYTES_MAX, LENGTH_BYTES, Operation, Status
from pgkeymgr.agent.remote import RemoteRootKey, UnreachableError
from pgkeymgr.errors import AgentError, CanceledError

agent = agent_client.agent


@pytest.fixture
def deaf(tmp_path: Path) -> Iterator[Path]:
    """A socket whose process takes connections, and never answers."""
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield path


def test_waiting_can_be_canceled(deaf: Path) -> None:
    asked = []

    def is_canceled() -> bool:
        asked.append(time.monotonic())
        return len(asked) > 10

    with pytest.raises(CanceledError, match=f"canceled while waiting for the agent at {deaf}"):
        RemoteRootKey(str(deaf), is_canceled).derive(1, 32, CONTEXT)
    assert 0.2 < asked[-1] - asked[0] < 5


def test_waiting_ends(deaf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgkeymgr.agent.remote.TIMEOUT_SECONDS", 1)
    begun = time.monotonic()
    with pytest.raises(UnreachableError, match="did not answer in 1 seconds"):
        RemoteRootKey(str(deaf)).wrap(bytes(100_000), b"")
    assert time.monotonic() - begun < 5


def test_an_answer_that_comes_too_late_is_not_taken_for_another(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        canceled = False
        remote = RemoteRootKey(str(path), lambda: canceled)
        results: list[bytes] = []

        def serve() -> None:
            first, _ = listener.accept()
            nonlocal canceled
            first.recv(1000)
            canceled = True
            second, _ = listener.accept()
            with contextlib.suppress(OSError):
                first.sendall(protocol.encode(Status.OK, (b"the answer to the first",)))
            second.recv(1000)
            second.sendall(protocol.encode(Status.OK, (b"the answer to the second",)))
            first.close()
            second.close()

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(CanceledError):
            remote.derive(1, 32, CONTEXT)
        canceled = False
        results.append(remote.derive(2, 32, CONTEXT))
        thread.join()
        assert results == [b"the answer to the second"]


def test_an_answer_with_more_bytes_behind_it_is_refused(tmp_path: Path) -> None:
    """The bytes would be taken for the answer to the next request."""
    path = tmp_path / "other.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(protocol.encode(Status.OK, (bytes(32),)) + bytes(LENGTH_BYTES))
                connection.recv(1000)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(AgentError, match="unexpected response from the agent"):
            RemoteRootKey(str(path)).derive(1, 32, CONTEXT)
        thread.join()


# What it survives


def check_health(agent: Agent) -> None:
    """It answers, and rightly."""
    assert agent.root_key().derive(1, 32, CONTEXT) == local(NEW).derive(1, 32, CONTEXT)


def test_unknown_version(agent: Agent) -> None:
    with connect(agent) as connection:
        connection.sendall(bytes.fromhex("000000020701"))
        status, fields = receive(connection)
        assert status == Status.ERROR
        assert "does not support version 7 of the protocol, only 1" in protocol.decode_error(fields).message
        # And may go on in one that is known.
        connection.sendall(protocol.encode(Operation.IDENTIFY))
        assert receive(connection)[0] == Status.OK


@pytest.mark.parametrize(
    "sent",
    [
        bytes.fromhex("00000000"),
        bytes.fromhex("ffffffff"),
        (FRAME_BYTES_MAX + 1).to_bytes(4, "big"),
        bytes.fromhex("000000020163"),
        bytes.fromhex("00000006010100000000"),
        bytes.fromhex("000000060103ffffffff"),
        protocol.encode(Operation.DERIVE, (b"short", CONTEXT, b"")),
        protocol.encode(Operation.DERIVE, (bytes(12), CONTEXT, b"\xff")),
        protocol.encode(Operation.ANSWER, (b"nobody asked",)),
        b"GET / HTTP/1.0\r\n\r\n",
    ],
)
def test_malformed(agent: Agent, sent: bytes) -> None:
    """It is answered with an error, and the connection closed."""
    with connect(agent) as connection:
        connection.sendall(sent)
        status, fields = receive(connection)
        assert status == Status.ERROR
        assert "malformed request" in protocol.decode_error(fields).message
        assert is_closed(connection)
    check_health(agent)


def test_half_closed(agent: Agent) -> None:
    with connect(agent) as connection:
        connection.sendall(protocol.encode(Operation.IDENTIFY) * 3)
        connection.shutdown(socket.SHUT_WR)
        for _ in range(3):
            assert receive(connection)[0] == Status.OK
        assert is_closed(connection)
    with connect(agent) as connection:
        connection.sendall(protocol.encode(Operation.IDENTIFY)[:-1])
        connection.shutdown(socket.SHUT_WR)
        assert is_closed(connection)
    check_health(agent)


def test_many_requests_at_once_byte_by_byte(agent: Agent) -> None:
    frames = b"".join(protocol.encode_derive(i, 32, CONTEXT, None) for i in range(50))
    with connect(agent) as connection:
        for i in range(len(frames)):
            connection.sendall(frames[i : i + 1])
        for i in range(50):
            assert receive(connection) == (Status.OK, [local(NEW).derive(i, 32, CONTEXT)])


def test_a_frame_must_be_complete_in_time(agent: Agent) -> None:
    """Slowly is not enough: the time is for the frame, not for the next byte."""
    frame = protocol.encode(Operation.WRAP, (b"", bytes(1000), b""))
    with connect(agent) as slow, connect(agent) as idle:
        begun = time.monotonic()
        slow.settimeout(0.5)
        for byte in frame:
            try:
                slow.send(bytes([byte]))
                assert slow.recv(1) == b""
                break
            except TimeoutError:
                continue
            except (BrokenPipeError, ConnectionResetError):
                break
        assert PATIENCE - 1 < time.monotonic() - begun < PATIENCE + 10
        idle.sendall(protocol.encode(Operation.IDENTIFY))
        assert receive(idle)[0] == Status.OK
    check_health(agent)


def test_a_client_that_does_not_read_is_disconnected(agent: Agent) -> None:
    """Requests come in, and nobody takes the answers: they are not kept without end."""
    before = resident_bytes(agent.pid)
    wrapped = agent.root_key().wrap(bytes(protocol.SECRET_BYTES_MAX), b"")
    request = protocol.encode(Operation.UNWRAP, (wrapped, b"", print_of(NEW).encode()))
    connections = [connect(agent) for _ in range(200)]
    try:
        begun = time.monotonic()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            connections[0].sendall(10 * request)
        assert time.monotonic() - begun > PATIENCE - 1
        for connection in connections[1:]:
            with contextlib.suppress(OSError):
                connection.sendall(request)
                connection.settimeout(0)
                connection.sendall(request)
        # Each of them has almost 1 MiB of an answer to read. Without the bound, all 199 would still be connected.
        assert agent.control().status()["clients"] < 120
        check_health(agent)
        assert resident_bytes(agent.pid) - before < 400 << 20
    finally:
        for connection in connections:
            connection.close()
    check_health(agent)


def test_the_bytes_of_unfinished_frames_are_bounded(agent: Agent) -> None:
    before = resident_bytes(agent.pid)
    part = protocol.encode(Operation.WRAP, (b"", bytes(protocol.SECRET_BYTES_MAX), b""))[:-1]
    connections = [connect(agent) for _ in range(150)]
    try:
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.sendall(part)
        # Each of them has sent 1 MiB of a request. Without the bound, all 150 would still be connected.
        assert agent.control().status()["clients"] < 80
        check_health(agent)
        assert resident_bytes(agent.pid) - before < 300 << 20
    finally:
        for connection in connections:
            connection.close()
    check_health(agent)


@given(
    pieces=st.lists(
        st.binary(max_size=100)
        | st.builds(
            protocol.encode,
            st.sampled_from([operation for operation in FIELDS if operation != Operation.LOCK])
            | st.integers(0, 255),
            st.lists(st.binary(max_size=50), max_size=4),
        ),
        max_size=5,
    )
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_fuzz(agent: Agent, pieces: list[bytes]) -> None:
    """The agent answers all bytes with frames, and goes on for other clients."""
    with connect(agent) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for piece in pieces:
                if piece[4:6] != bytes([1, Operation.LOCK]):
                    connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(65536):
                received += chunk
        while received:
            end = LENGTH_BYTES + protocol.frame_length(received)
            status, _ = protocol.decode(received[LENGTH_BYTES:end])
            assert status in list(Status)
            received = received[end:]


def test_garbage_from_many(agent: Agent) -> None:
    check_health(agent)
    before = resident_bytes(agent.pid)
    noise = random.Random(20261125)  # noqa: S311  # the same each time

    def throw(_: int) -> None:
        with connect(agent) as connection, contextlib.suppress(OSError):
            for _ in range(noise.randrange(1, 5)):
                body = noise.randbytes(noise.randrange(0, 3000))
                start = noise.choice(
                    (b"", len(body).to_bytes(4, "big"), (len(body) + 2).to_bytes(4, "big") + b"\1\3")
                )
                connection.sendall(start + body)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(throw, range(3000)))
    agent.control().unlock(lambda prompt: b"")
    check_health(agent)
    assert resident_bytes(agent.pid) - before < 64 << 20
    assert "unexpected error" not in agent.log


def test_ten_thousand_clients() -> None:
    """Each of 10,000 connections at once gets its answer; with one more, who was idle longest goes."""
    count = 10_000
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count + 100:
        pytest.fail(f"this needs {count + 100} open files, and the hard limit is {hard}")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    connections: list[socket.socket] = []
    try:
        with Agent([NEW], "--max-clients", str(count)) as agent:
            before = resident_bytes(agent.pid)
            for i in range(count):
                connections.append(connect(agent))
                connections[-1].sendall(protocol.encode_derive(i, 32, CONTEXT, None))
            for i, connection in enumerate(connections):
                assert receive(connection) == (Status.OK, [local(NEW).derive(i, 32, CONTEXT)])
            # Again, now that all are there.
            for i, connection in enumerate(connections):
                connection.sendall(protocol.encode_derive(-i, 16, CONTEXT, None))
            for i, connection in enumerate(connections):
                assert receive(connection) == (Status.OK, [local(NEW).derive(-i, 16, CONTEXT)])
            grown = resident_bytes(agent.pid) - before
            assert grown < 400 << 20
            assert agent.control().status()["clients"] == count
            # That was one more: the first is closed, the second is not.
            assert connections[0].recv(1) == b""
            connections[1].sendall(protocol.encode(Operation.IDENTIFY))
            assert receive(connections[1])[0] == Status.OK
            for connection in connections:
                connection.close()
            check_health(agent)
    finally:
        for connection in connections:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_when_full_the_clients_connect_again() -> None:
    with Agent([NEW], "--max-clients", "4") as agent:
        clients = [agent.root_key() for _ in range(12)]
        for _ in range(3):
            for client in clients:
                assert client.derive(1, 32, CONTEXT) == local(NEW).derive(1, 32, CONTEXT)
        assert agent.control().status()["clients"] <= 4
