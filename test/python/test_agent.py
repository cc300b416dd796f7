"""The agent as a process: whom it serves, what it survives, how it is locked, unlocked, reloaded, replaced."""

import contextlib
import fcntl
import json
import os
import pwd
import random
import resource
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import other_users
import pytest
from agent_process import Agent
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pgkeymgr.agent import protocol
from pgkeymgr.agent.protocol import FIELDS, FRAME_BYTES_MAX, LENGTH_BYTES, Operation, Status
from pgkeymgr.agent.remote import RemoteRootKey, UnreachableError
from pgkeymgr.agent.socket_path import SOCKET, find_socket
from pgkeymgr.errors import AgentError, CanceledError, DataError, GetkeyError, LimitError, RootKeyError
from pgkeymgr.root_key import LocalRootKey, fingerprint

OLD, NEW, OTHER = "10" * 32, "c0ffee00" * 8, "ab" * 32
CONTEXT = b"pgsodium"
PATIENCE = 10

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run processes as other users")


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    """An agent that serves the own user."""
    with Agent([NEW, OLD], users=[str(os.geteuid())]) as running:
        yield running


def local(*keys: str) -> LocalRootKey:
    """Return the same root key in this process."""
    return LocalRootKey([bytes.fromhex(key) for key in keys], "here")


def print_of(key: str) -> str:
    """Return the fingerprint of a key in hexadecimal."""
    return fingerprint(bytes.fromhex(key))


def connect(agent: Agent) -> socket.socket:
    """Connect without the client's code."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(3 * PATIENCE)
    while True:
        try:
            connection.connect(str(agent.socket))
            return connection
        except BlockingIOError:
            time.sleep(0.001)  # the kernel's queue is full: the agent is to take some


def receive(connection: socket.socket) -> tuple[int, list[bytes]]:
    """Read one response."""
    start = connection.recv(LENGTH_BYTES, socket.MSG_WAITALL)
    return protocol.decode(connection.recv(protocol.frame_length(start), socket.MSG_WAITALL))


def is_closed(connection: socket.socket) -> bool:
    """Return whether the other side closes the connection after the bytes that it has sent."""
    try:
        while connection.recv(1 << 20):
            pass
    except ConnectionResetError:
        pass
    return True


def resident_bytes(pid: int) -> int:
    """Return how much memory a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


# What it does


def test_it_does_what_the_root_key_does(agent: Agent) -> None:
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


# Lock, unlock, reload


def test_lock_and_unlock() -> None:
    with Agent([NEW]) as agent:
        remote = agent.root_key()
        derived = remote.derive(1, 32, CONTEXT)
        agent.control().lock()
        with pytest.raises(AgentError, match=f"the agent at {agent.socket} is locked") as locked:
            remote.derive(1, 32, CONTEXT)
        assert "pgkeymgr agent unlock" in str(locked.value.hint)
        with pytest.raises(AgentError, match="is locked"):
            agent.control().reload(lambda prompt: b"")
        os.kill(agent.pid, signal.SIGHUP)
        agent.control().unlock(lambda prompt: b"")
        assert remote.derive(1, 32, CONTEXT) == derived
        agent.control().unlock(lambda prompt: b"")
        assert agent.stop() == 0
        assert NEW not in agent.log


def test_reload() -> None:
    """A new root key first: what was wrapped is still opened, and an object goes on meaning what it meant."""
    with Agent([OLD]) as agent:
        remote = agent.root_key()
        assert remote.fingerprint == print_of(OLD)
        wrapped = remote.wrap(b"secret", b"")
        agent.set_keys([NEW, OLD])
        agent.control().reload(lambda prompt: b"")
        assert remote.unwrap(wrapped, b"", print_of(OLD)) == b"secret"
        assert remote.derive(1, 32, CONTEXT) == local(OLD).derive(1, 32, CONTEXT)
        # The caller may have taken its fingerprint already, to store it beside the wrap.
        replaced = f"is now {print_of(NEW)}, no longer {print_of(OLD)}"
        with pytest.raises(RootKeyError, match=replaced):
            remote.wrap(b"secret", b"")
        with pytest.raises(RootKeyError, match=replaced):
            remote.rewrap(wrapped, b"", print_of(OLD))
        assert remote.fingerprint == print_of(OLD)
        renewed = remote.renew()
        assert (renewed.fingerprint, renewed.previous) == (print_of(NEW), (print_of(OLD),))
        assert local(NEW).unwrap(renewed.rewrap(wrapped, b"", print_of(OLD)), b"", print_of(NEW)) == b"secret"


def test_reload_while_others_wrap() -> None:
    """A wrap opens under the fingerprint beside it, even if the root key changes in between."""
    with Agent([OLD]) as agent:
        end = time.monotonic() + 3
        first = agent.root_key()

        def wrap_all_the_time(_: int) -> tuple[int, int]:
            made = refused = 0
            remote = agent.root_key()
            while time.monotonic() < end:
                root_key = remote.renew()
                made_under = root_key.fingerprint
                try:
                    wrapped = root_key.wrap(b"secret", b"")
                except RootKeyError:
                    refused += 1
                    continue
                key = NEW if made_under == print_of(NEW) else OLD
                assert local(key).unwrap(wrapped, b"", made_under) == b"secret"
                made += 1
            return made, refused

        with ThreadPoolExecutor(2) as pool:
            counts = pool.map(wrap_all_the_time, range(2))
            reloads = 0
            while time.monotonic() < end:
                agent.set_keys([OLD, NEW] if reloads % 2 else [NEW, OLD])
                agent.control().reload(lambda prompt: b"")
                reloads += 1
            assert all(made > 100 for made, _ in counts)
        assert reloads > 10
        assert first.renew().fingerprint in (print_of(OLD), print_of(NEW))


@pytest.mark.parametrize("text", ["#!/bin/sh\nexit 1\n", f"#!/bin/sh\necho {NEW}x\n", "#!/no/such\n"])
def test_a_reload_that_fails_keeps_the_keys(text: str) -> None:
    with Agent([OLD]) as agent:
        remote = agent.root_key()
        derived = remote.derive(1, 32, CONTEXT)
        agent.write_getkey(text)
        done = agent.command("reload")
        assert done.returncode == 1
        assert str(agent.getkey) in done.stderr
        os.kill(agent.pid, signal.SIGHUP)
        assert remote.derive(1, 32, CONTEXT) == derived
        # The signal was taken before this lock, which it must not undo.
        agent.control().lock()
        with pytest.raises(AgentError, match="is locked"):
            remote.derive(1, 32, CONTEXT)
        with pytest.raises(GetkeyError, match="getkey script"):
            agent.control().unlock(lambda prompt: b"")
        agent.set_keys([OLD])
        agent.control().unlock(lambda prompt: b"")
        assert remote.derive(1, 32, CONTEXT) == derived


def test_a_lock_while_the_keys_are_fetched_has_the_last_word(tmp_path: Path) -> None:
    with Agent([OLD]) as agent:
        go = agent.directory / "go"
        os.mkfifo(go)
        started = agent.directory / "started"
        os.mkfifo(started)
        agent.write_getkey(f"#!/bin/sh\necho > {started}\nread x < {go}\necho {NEW}\n")
        with ThreadPoolExecutor(1) as pool:
            reload = pool.submit(agent.control().reload, lambda prompt: b"")
            started.read_text()
            # The agent serves during the reload.
            assert agent.root_key().fingerprint == print_of(OLD)
            agent.control().lock()
            go.write_text("\n")
            with pytest.raises(AgentError, match="was locked while it fetched"):
                reload.result()
        assert agent.control().status()["state"] == "locked"


def test_sighup_reloads() -> None:
    with Agent([OLD]) as agent:
        agent.set_keys([NEW, OLD])
        os.kill(agent.pid, signal.SIGHUP)
        deadline = time.monotonic() + 30
        while agent.root_key().fingerprint != print_of(NEW):
            assert time.monotonic() < deadline
        assert agent.stop() == 0
        assert "reload by SIGHUP" in agent.log


def test_the_command(agent: Agent) -> None:
    status = agent.command("status")
    assert status.returncode == 0
    assert f"The agent at {agent.socket} is unlocked." in status.stdout
    state = json.loads(agent.command("status", "--json").stdout)
    assert (state["fingerprint"], state["previous"]) == (print_of(NEW), [print_of(OLD)])
    assert agent.command("lock").returncode == 0
    locked = agent.command("status", "--json")
    assert (locked.returncode, json.loads(locked.stdout)["state"]) == (4, "locked")
    assert json.loads(locked.stdout)["fingerprint"] is None
    assert agent.command("unlock").returncode == 0
    assert agent.command("status").returncode == 0
    for key in (NEW, OLD):
        assert key not in json.dumps(state) + status.stdout + agent.log
    help_text = " ".join(agent.command("status", "--help").stdout.split())
    assert all(word in help_text for word in ("3 if the agent is not running", "4 if it is locked"))


# Ends and starts


def test_gone_and_back() -> None:
    with Agent([OLD]) as agent:
        remote = agent.root_key()
        derived = remote.derive(1, 32, CONTEXT)
        agent.stop(signal.SIGKILL)
        for root_key in (remote, agent.root_key()):
            with pytest.raises(UnreachableError, match=f"the agent at {agent.socket} ") as gone:
                root_key.derive(1, 32, CONTEXT)
            assert gone.value.sqlstate == "58000"
            assert gone.value.hint
        # The file is left: no session is to take that for a server without an agent.
        assert stat.S_ISSOCK(agent.socket.lstat().st_mode)
        status = agent.command("status", "--json")
        assert (status.returncode, json.loads(status.stdout)["state"]) == (3, "not running")
        agent.start()
        assert remote.derive(1, 32, CONTEXT) == derived
        assert agent.stop() == 0
        assert stat.S_ISSOCK(agent.socket.lstat().st_mode)
        agent.start()
        # The connection that it had is closed by now: this goes over a new one.
        assert remote.derive(1, 32, CONTEXT) == derived


def test_two_agents_do_not_share_a_socket(agent: Agent) -> None:
    done = subprocess.run(
        agent.arguments, env=agent.environment, check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert f"another agent serves {agent.socket}" in done.stderr
    agent.root_key().derive(1, 32, CONTEXT)


def test_two_agents_that_start_at_once() -> None:
    with Agent([OLD]) as agent:
        agent.stop(signal.SIGKILL)
        rivals = [
            subprocess.Popen(agent.arguments, env=agent.environment, stderr=subprocess.PIPE, text=True)
            for _ in range(4)
        ]
        try:
            for _ in range(3):
                # Three end by themselves; whichever these are.
                deadline = time.monotonic() + 60
                while sum(rival.poll() is not None for rival in rivals) < 3:
                    assert time.monotonic() < deadline
                    time.sleep(0.01)
            (winner,) = [rival for rival in rivals if rival.poll() is None]
            while True:
                with contextlib.suppress(UnreachableError):
                    assert agent.control().status()["pid"] == winner.pid
                    break
                assert time.monotonic() < deadline
        finally:
            for rival in rivals:
                rival.kill()
                _, said = rival.communicate()
                if rival is not winner:
                    assert "another agent serves" in said


@needs_root
def test_a_lock_file_that_another_user_left() -> None:
    """Whether or not the agent's user can open it, and whether or not that user still holds it."""
    with Agent([OLD]) as agent:
        agent.stop()
        lock = Path(f"{agent.socket}.lock")
        daemon = pwd.getpwnam("daemon").pw_uid
        report = rf"the lock file {lock} belongs to user id {daemon} \(daemon\), not to the agent's own user"
        os.chown(lock, daemon, -1)
        for mode in (0o755, 0o1777):
            agent.directory.chmod(mode)
            with pytest.raises(RuntimeError, match=report):
                agent.start()
            with lock.open() as held:
                fcntl.flock(held, fcntl.LOCK_EX)
                with pytest.raises(RuntimeError, match=rf"{report}[^$]*If not, it left the file: run rm {lock}"):
                    agent.start()
        lock.unlink()
        agent.start()


@needs_root
def test_files_that_root_left_to_the_agents_user() -> None:
    """As after an agent that was once started by hand."""
    agent = Agent([OLD], "--no-lock-memory", user="nobody")
    try:
        # Nobody but root can take away here what is root's.
        shutil.chown(agent.directory, "root")
        agent.directory.chmod(0o1777)
        lock = Path(f"{agent.socket}.lock")
        for left, mode, called in (
            (lock, 0o600, "lock file"),
            (agent.socket, 0o666, "socket"),
            (agent.socket, 0o600, "socket"),
        ):
            if called == "socket":
                with socket.socket(socket.AF_UNIX) as other:
                    other.bind(str(left))
            else:
                left.touch()
            left.chmod(mode)
            with pytest.raises(RuntimeError, match=rf"the {called} {left} belongs to user id 0 \(root\)"):
                agent.start()
            left.unlink()
        agent.start()
    finally:
        agent.remove()


def test_somebody_else_listens_there() -> None:
    with Agent([OLD]) as agent:
        agent.stop()
        agent.socket.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(agent.socket))
            other.listen()
            with pytest.raises(RuntimeError, match="another agent serves"):
                agent.start()
        agent.socket.unlink()
        agent.socket.write_text("a file")
        with pytest.raises(RuntimeError, match="is not a socket"):
            agent.start()
        assert agent.socket.read_text() == "a file"


def test_an_end_while_the_keys_are_fetched() -> None:
    with Agent([OLD]) as agent:
        agent.stop()
        started = agent.directory / "started"
        os.mkfifo(started)
        agent.write_getkey(f"#!/bin/sh\necho > {started}\nexec sleep 1000\n")
        process = subprocess.Popen(agent.arguments, env=agent.environment, stderr=subprocess.DEVNULL)
        started.read_text()
        process.terminate()
        assert process.wait(timeout=20) == 0


def test_a_start_that_fails() -> None:
    agent = Agent([OLD])
    try:
        agent.write_getkey("#!/bin/sh\nexit 7\n")
        with pytest.raises(RuntimeError, match="exited with status 7"):
            agent.start()
        agent.options += ["--allow-user", "no_such_user"]
        with pytest.raises(RuntimeError, match='user "no_such_user" does not exist'):
            agent.start()
        assert not agent.socket.exists()
    finally:
        agent.remove()


# The client's patience


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


def test_who_does_not_read_is_cut(agent: Agent) -> None:
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
        check_health(agent)
        assert resident_bytes(agent.pid) - before < 400 << 20
    finally:
        for connection in connections:
            connection.close()
    check_health(agent)


def test_what_is_unfinished_is_bounded(agent: Agent) -> None:
    before = resident_bytes(agent.pid)
    part = protocol.encode(Operation.WRAP, (b"", bytes(protocol.SECRET_BYTES_MAX), b""))[:-1]
    connections = [connect(agent) for _ in range(150)]
    try:
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.sendall(part)
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


# Configuration


def test_configuration(tmp_path: Path) -> None:
    from pgkeymgr.agent.settings import Settings, read, user_ids

    path = tmp_path / "agent.toml"

    def write(text: str, mode: int = 0o644) -> str:
        path.write_text(text)
        path.chmod(mode)
        return str(path)

    assert read(write("")) == Settings()
    full = 'socket = "/s"\nallow_users = ["root", 7]\nmax_clients = 5\n[provider]\nkind = "file"\n'
    assert read(write(full)) == Settings("/s", ("root", 7), 5, None, {"kind": "file"})
    assert read(write(full)).changed(getkey="/g", socket=None) == Settings("/s", ("root", 7), 5, "/g", None)
    assert user_ids(("root", 7, "8")) == {0, 7, 8}
    for text, reason in (
        ("sockets = 1", 'unknown setting "sockets"'),
        ("socket = 1", 'wrong type of value for "socket"'),
        ("max_clients = true", 'wrong type of value for "max_clients"'),
        ("max_clients = 0", "allows no clients"),
        ("allow_users = [1.5]", "must have only names and numbers"),
        ('getkey = "/g"\n[provider]\nkind = "file"', "names a getkey script and a provider"),
        ("pin = 'secret", "is not TOML"),
    ):
        with pytest.raises(AgentError, match=reason) as wrong:
            read(write(text))
        assert "secret" not in wrong.value.message + str(wrong.value.hint)
    with pytest.raises(AgentError, match="can be written by its group or by others"):
        read(write("", 0o664))
    with pytest.raises(AgentError, match="could not be read"):
        read(str(tmp_path / "none"))
    with pytest.raises(AgentError, match="user id 65534 cannot be allowed"):
        user_ids(("nobody",))


def test_the_agent_reads_its_configuration() -> None:
    agent = Agent([OLD])
    try:
        config = agent.directory / "agent.toml"
        config.write_text(f'socket = "{agent.socket}"\ngetkey = "{agent.getkey}"\nallow_users = ["root"]\n')
        command = [*agent.arguments[:4], "--config", str(config)]
        process = subprocess.Popen(command, env=agent.environment, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 60
            while True:
                with contextlib.suppress(AgentError):
                    assert agent.root_key().fingerprint == print_of(OLD)
                    break
                assert time.monotonic() < deadline
            status = subprocess.run(
                [*agent.arguments[:4], "status", "--config", str(config)], env=agent.environment, check=False
            )
            assert status.returncode == 0
        finally:
            process.terminate()
            assert process.wait(timeout=30) == 0
    finally:
        agent.remove()


# systemd


def test_what_systemd_is_told(tmp_path: Path) -> None:
    with Agent([OLD]) as agent:
        agent.stop()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(tmp_path / "notify"))
            manager.settimeout(30)
            process = subprocess.Popen(
                agent.arguments,
                env=agent.environment | {"NOTIFY_SOCKET": str(tmp_path / "notify")},
                stderr=subprocess.DEVNULL,
            )
            try:
                assert manager.recv(4096) == b"STATUS=Unlocked."
                assert manager.recv(4096) == b"READY=1"
                assert agent.root_key().fingerprint == print_of(OLD)
                agent.control().lock()
                assert manager.recv(4096) == b"STATUS=Locked: pgkeymgr agent unlock"
                process.terminate()
                assert manager.recv(4096) == b"STOPPING=1"
            finally:
                process.terminate()
                assert process.wait(timeout=30) == 0


_UNIT = Path(__file__).parents[2] / "scripts" / "pgkeymgr-agent.service"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not on this machine")
def test_the_unit_file(tmp_path: Path) -> None:
    unit = tmp_path / _UNIT.name
    text = _UNIT.read_text()
    assert "ExecStart=/usr/local/bin/pgkeymgr agent\n" in text
    # It has the command looked for, which need not be installed here.
    unit.write_text(text.replace("/usr/local/bin/pgkeymgr", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", unit], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", unit],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


_PR_SET_MDWE = 65


def test_it_needs_no_memory_that_is_written_and_executed() -> None:
    """The unit file forbids that: MemoryDenyWriteExecute."""
    forbid = (
        "import ctypes, os, sys\n"
        f"refused = ctypes.CDLL(None).prctl({_PR_SET_MDWE}, 1, 0, 0, 0)\n"
        "os.execvp(sys.argv[1], sys.argv[1:]) if not refused else sys.exit(77)\n"
    )
    agent = Agent([OLD])
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", forbid, *agent.arguments], env=agent.environment, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        try:
            while process.poll() is None:
                assert time.monotonic() < deadline
                with contextlib.suppress(UnreachableError):
                    assert agent.root_key().derive(1, 32, CONTEXT) == local(OLD).derive(1, 32, CONTEXT)
                    break
        finally:
            process.terminate()
            status = process.wait(timeout=30)
        if status == 77:
            pytest.skip("this kernel is older than 6.3: it cannot forbid that to a process by itself")
        assert status == 0
    finally:
        agent.remove()
