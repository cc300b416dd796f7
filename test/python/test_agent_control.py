"""How the agent is locked, unlocked, reloaded, ended, replaced and configured."""

import contextlib
import fcntl
import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import agent_client
import pytest
from agent_client import CONTEXT, NEW, OLD, local, needs_root, print_of
from agent_process import Agent
from pgkeymgr.agent.remote import UnreachableError
from pgkeymgr.errors import AgentError, GetkeyError, RootKeyError

agent = agent_client.agent


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
        first = agent.root_key()
        made = [0, 0]
        stop = threading.Event()

        def wrap_all_the_time(which: int) -> None:
            remote = agent.root_key()
            while not stop.is_set():
                root_key = remote.renew()
                made_under = root_key.fingerprint
                try:
                    wrapped = root_key.wrap(b"secret", b"")
                except RootKeyError:
                    continue
                key = NEW if made_under == print_of(NEW) else OLD
                assert local(key).unwrap(wrapped, b"", made_under) == b"secret"
                made[which] += 1

        with ThreadPoolExecutor(2) as pool:
            wrapping = [pool.submit(wrap_all_the_time, which) for which in range(2)]
            reloads = 0
            try:
                while (reloads <= 10 or min(made) <= 100) and not any(one.done() for one in wrapping):
                    agent.set_keys([OLD, NEW] if reloads % 2 else [NEW, OLD])
                    agent.control().reload(lambda prompt: b"")
                    reloads += 1
            finally:
                stop.set()
            for one in wrapping:
                one.result()
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


def test_notifications_to_systemd(tmp_path: Path) -> None:
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


def test_an_agent_needs_no_memory_that_is_written_and_executed() -> None:
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
