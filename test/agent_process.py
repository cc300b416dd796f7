"""Throw-away agents for the tests and the benchmark: real processes, with a getkey script of their own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import other_users
from pgkeymgr.agent.remote import Control, RemoteRootKey

PACKAGE = Path(__file__).resolve().parents[1] / "python"
ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PACKAGE)}
COMMAND = [sys.executable, "-m", "pgkeymgr.command", "agent"]
START_SECONDS = 60


class Agent:
    """An agent; a context manager that starts it, and removes it and its directory at the end."""

    def __init__(
        self, keys: Sequence[str], *options: str, users: Sequence[str] = ("root",), user: str | None = None
    ) -> None:
        """Make an agent, not started yet.

        Args:
            keys: root keys in hexadecimal, newest first.
            options: more arguments for it.
            users: who may use it.
            user: whom it runs as, with the installed package; None for the own user, with this checkout's.
        """
        self.directory = Path(tempfile.mkdtemp(prefix="pgkeymgr-agent-"))
        self.directory.chmod(0o755)
        self.user = user
        if user is not None:
            shutil.chown(self.directory, user)
        self.socket = self.directory / "agent.sock"
        self.getkey = self.directory / "getkey"
        self.log_file = self.directory / "log"
        self.options = [*options, *(word for name in users for word in ("--allow-user", name))]
        self.process: subprocess.Popen[bytes] | None = None
        self.set_keys(keys)

    def set_keys(self, keys: Sequence[str]) -> None:
        """Have the getkey script print these keys from now on."""
        self.write_getkey("#!/bin/sh\n" + "".join(f"echo {key}\n" for key in keys))

    def write_getkey(self, text: str) -> None:
        """Replace the getkey script."""
        new = self.directory / "getkey.new"
        new.write_text(text)
        new.chmod(0o500)
        if self.user is not None:
            shutil.chown(new, self.user)
        new.rename(self.getkey)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    @property
    def arguments(self) -> list[str]:
        """The command line."""
        python = sys.executable if self.user is None else other_users.PYTHON
        return [python, *COMMAND[1:], "--socket", str(self.socket), "--getkey", str(self.getkey), *self.options]

    @property
    def environment(self) -> dict[str, str]:
        """The environment it is started with."""
        return ENVIRONMENT if self.user is None else other_users.ENVIRONMENT

    def start(self) -> None:
        """Start it, and wait until it says that it is ready."""
        # It says so as it does to systemd.
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, self.log_file.open("ab") as log:
            address = f"\0pgkeymgr-{os.getpid()}-{id(self)}"
            manager.bind(address)
            manager.settimeout(0.1)
            more: dict[str, Any] = {} if self.user is None else {"user": self.user}
            self.process = subprocess.Popen(
                self.arguments,
                env=self.environment | {"NOTIFY_SOCKET": "@" + address[1:]},
                stdin=subprocess.DEVNULL,
                stderr=log,
                **more,
            )
            for _ in range(START_SECONDS * 10):
                try:
                    if b"READY=1" in manager.recv(4096):
                        return
                except TimeoutError:
                    if self.process.poll() is not None:
                        break
        raise RuntimeError(f"the agent did not start: {self.log}")

    @property
    def pid(self) -> int:
        """Its process number."""
        assert self.process is not None
        return self.process.pid

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it with a signal, and return its exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout=60)

    def remove(self) -> None:
        """Kill it if it runs, and delete everything."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory)

    @property
    def log(self) -> str:
        """The text that it has logged so far."""
        return self.log_file.read_text()

    def root_key(self) -> RemoteRootKey:
        """Return what a backend uses it with."""
        return RemoteRootKey(str(self.socket))

    def control(self) -> Control:
        """Return what its administrator uses it with."""
        return Control(str(self.socket))

    def command(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run ``pgkeymgr agent COMMAND`` against it."""
        name, *options = words
        return subprocess.run(
            [*COMMAND, name, "--socket", str(self.socket), *options],
            env=ENVIRONMENT,
            check=False,
            capture_output=True,
            text=True,
            **more,
        )
