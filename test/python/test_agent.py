"""The agent as a process: what it does, whom it serves, and how it protects its memory."""

import os
import secrets
import subprocess
from pathlib import Path

import agent_client
import other_users
import pytest
from agent_client import CONTEXT, NEW, OLD, OTHER, local, needs_root, print_of
from agent_process import Agent
from pgkeymgr.agent import protocol
from pgkeymgr.agent.protocol import FRAME_BYTES_MAX
from pgkeymgr.agent.remote import RemoteRootKey
from pgkeymgr.agent.socket_path import SOCKET, find_socket
from pgkeymgr.errors import AgentError, DataError, LimitError, RootKeyError

agent = agent_client.agent


def test_an_agent_derives_and_wraps_as_the_root_key_does(agent: Agent) -> None:
    remote, here = agent.root_key(), local(NEW, OLD)
    assert (remote.fingerprint, remote.previous) == (here.fingerprint, here.previous)
    assert remote.source == f"agent {agent.socket} (getkey {agent.getkey})"
    for key_id in (0, 1, -1, 2**63 - 1, -(2**63)):
        for length in (16, 64):
            for under in (None, print_of(NEW), print_of(OLD)):
                assert remote.derive(key_id, length, CONTEXT, under) == here.derive(key_id, length, CONTEXT, under)
    for secret in (b"", b"x" * 32, secrets.token_bytes(protocol.SECRET_BYTES_MAX)):
        wrapped = remote.wrap(secret, b"ad")
        assert here.unwrap(wrapped, b"ad", print_of(NEW)) == secret
        assert remote.unwrap(wrapped, b"ad", print_of(NEW)) == secret
        rewrapped = remote.rewrap(local(OLD).wrap(secret, b"ad"), b"ad", print_of(OLD))
        assert here.unwrap(rewrapped, b"ad", print_of(NEW)) == secret


def test_errors_are_those_of_the_root_key(agent: Agent) -> None:
    remote, here = agent.root_key(), local(NEW, OLD)
    wrapped = here.wrap(b"secret", b"ad")
    for root_key in (remote, here):
        for length, context in ((15, CONTEXT), (65, CONTEXT), (-1, CONTEXT), (2**31 - 1, CONTEXT), (32, b"short")):
            with pytest.raises(DataError):
                root_key.derive(1, length, context)
        with pytest.raises(RootKeyError, match=print_of(OTHER)):
            root_key.derive(1, 32, CONTEXT, print_of(OTHER))
        for other in (b"", wrapped[:-1], wrapped[:-1] + bytes([wrapped[-1] ^ 1])):
            with pytest.raises(DataError, match="not authentic"):
                root_key.unwrap(other, b"ad", print_of(NEW))
            with pytest.raises(DataError, match="not authentic"):
                root_key.rewrap(other, b"ad", print_of(NEW))
        with pytest.raises(DataError):
            root_key.unwrap(wrapped, b"another", print_of(NEW))
        with pytest.raises(RootKeyError):
            root_key.unwrap(wrapped, b"ad", print_of(OTHER))
    with pytest.raises(LimitError, match="too large for the agent"):
        remote.wrap(bytes(protocol.SECRET_BYTES_MAX + 1), b"")
    with pytest.raises(LimitError, match="too large for the agent"):
        remote.wrap(b"", bytes(FRAME_BYTES_MAX))
    assert remote.unwrap(wrapped, b"ad", print_of(NEW)) == b"secret"


def test_find_socket(tmp_path: Path) -> None:
    assert find_socket({"PGKEYMGR_AGENT": "/nowhere/agent.sock"}) == "/nowhere/agent.sock"
    for environment in ({}, {"PGKEYMGR_AGENT": ""}):
        assert find_socket(environment) == (SOCKET if os.path.lexists(SOCKET) else None)
    with pytest.raises(AgentError, match="not an absolute path"):
        find_socket({"PGKEYMGR_AGENT": "agent.sock"})


# Whom it serves

_AS_SOMEBODY = """
import sys
from pgkeymgr.agent.remote import Control, RemoteRootKey
from pgkeymgr.errors import Error
for call in (
    lambda: RemoteRootKey(sys.argv[1]).derive(1, 32, b"pgsodium"),
    lambda: RemoteRootKey(sys.argv[1]).fingerprint,
    lambda: RemoteRootKey(sys.argv[1]).wrap(b"x" * 100000, b""),
    lambda: Control(sys.argv[1]).status(),
    lambda: Control(sys.argv[1]).lock(),
    lambda: Control(sys.argv[1]).unlock(lambda prompt: b""),
    lambda: Control(sys.argv[1]).reload(lambda prompt: b""),
):
    try:
        call()
        print("done")
    except Error as error:
        print(error.sqlstate, error.message)
"""


def as_user(agent: Agent, user: str) -> list[str]:
    """Try everything as another user, and return what came of it."""
    done = subprocess.run(
        [other_users.PYTHON, "-c", _AS_SOMEBODY, str(agent.socket)],
        env=other_users.ENVIRONMENT,
        user=user,
        group="nogroup",
        extra_groups=[],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.splitlines()


@needs_root
def test_other_users_are_refused() -> None:
    with Agent([NEW], users=["postgres"]) as agent:
        refused = as_user(agent, "nobody")
        assert refused == ["58000 the agent does not serve user id 65534"] * 7
        assert agent.control().status()["refused"] == 7
        # All 7 are one line in the log.
        assert agent.log.count("refused process") == 1
        # The server's user uses it, and does not control it; root controls it, and does not use it.
        server = as_user(agent, "postgres")
        assert server[:4] == ["done"] * 4
        assert len(server) == 7
        assert all("42501 permission denied: only root and the agent's own user" in line for line in server[4:])
        with pytest.raises(AgentError, match="does not serve user id 0"):
            agent.root_key().derive(1, 32, CONTEXT)
        assert agent.control().status()["state"] == "unlocked"


@needs_root
def test_the_agents_own_user_controls_it() -> None:
    with Agent([NEW], "--no-lock-memory", users=["postgres"], user="nobody") as agent:
        assert as_user(agent, "nobody")[3:] == ["done"] * 4
        assert as_user(agent, "postgres")[:4] == ["done"] * 4
        assert agent.control().status()["uid"] == 65534


@needs_root
def test_the_other_side_is_checked_too(tmp_path: Path) -> None:
    """A process of another user at the socket is not asked, and gets no secret."""
    tmp_path.chmod(0o1777)
    for parent in tmp_path.parents:
        if parent.stat().st_uid == os.geteuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    path = tmp_path / "agent.sock"
    script = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen();"
        "print(flush=True); c, _ = s.accept(); print(c.recv(100))"
    )
    impostor = subprocess.Popen(
        [other_users.PYTHON, "-c", script, str(path)], user="nobody", stdout=subprocess.PIPE, text=True
    )
    try:
        assert impostor.stdout is not None
        impostor.stdout.readline()
        with pytest.raises(AgentError, match="belongs to user id 65534, which is not trusted"):
            RemoteRootKey(str(path)).wrap(b"secret", b"")
        assert impostor.stdout.readline() == "b''\n"
    finally:
        impostor.kill()
        impostor.wait()
        impostor.stdout.close()  # type: ignore[union-attr]


def test_a_directory_that_others_can_write_is_refused(agent: Agent) -> None:
    root_key = agent.root_key()
    agent.directory.chmod(0o777)
    try:
        where = f'lies in the directory "{agent.directory}", which others can write'
        with pytest.raises(AgentError, match=where) as refused:
            root_key.derive(1, 32, CONTEXT)
        assert f"chmod o-w {agent.directory}" in str(refused.value.hint)
        with Agent([OLD]) as other:
            other.stop()
            other.directory.chmod(0o777)
            with pytest.raises(RuntimeError, match="which others can write"):
                other.start()
            # With the sticky bit nobody can replace what is another's.
            other.directory.chmod(0o1777)
            other.start()
    finally:
        agent.directory.chmod(0o755)
    root_key.derive(1, 32, CONTEXT)


# Memory


def test_memory_is_protected(agent: Agent) -> None:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{agent.pid}/status").read_text().splitlines())
    assert int(status["VmLck"].split()[0]) > 10_000
    limits = Path(f"/proc/{agent.pid}/limits").read_text()
    (core,) = [line for line in limits.splitlines() if line.startswith("Max core file size")]
    assert core.split()[4] == "0"
    assert agent.control().status()["memory_locked"] is True


_TRACE = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
print(libc.ptrace(16, int(sys.argv[1]), 0, 0), ctypes.get_errno())
try:
    open(f"/proc/{sys.argv[1]}/mem", "rb").close()
    print("opened")
except PermissionError:
    print("refused")
"""


@needs_root
def test_another_process_of_its_user_cannot_read_it() -> None:
    def trace(pid: int) -> list[str]:
        done = subprocess.run(
            [other_users.PYTHON, "-c", _TRACE, str(pid)], user="nobody", check=True, capture_output=True, text=True
        )
        return done.stdout.splitlines()

    with Agent([NEW], "--no-lock-memory", user="nobody") as agent:
        assert trace(agent.pid) == ["-1 1", "refused"]
    # And this one can read a process that did nothing about it.
    other = subprocess.Popen(["sleep", "60"], user="nobody")
    try:
        assert trace(other.pid)[1] == "opened"
    finally:
        other.kill()
        other.wait()


@needs_root
def test_no_start_without_locked_memory() -> None:
    agent = Agent([NEW], user="nobody")
    try:
        done = subprocess.run(
            ["prlimit", "--memlock=65536:65536", *agent.arguments],
            env=agent.environment,
            user="nobody",
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        assert "could not lock the agent's memory" in done.stderr
        assert "LimitMEMLOCK=infinity" in done.stderr
        assert "--no-lock-memory" in done.stderr
        assert not agent.socket.exists()
    finally:
        agent.remove()
