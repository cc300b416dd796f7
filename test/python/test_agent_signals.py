"""How an agent ends: by its own exit status, whatever signals arrive while it does."""

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from agent_process import Agent

KEY = "01" * 32
STARTS = int(os.environ.get("PGKEYMGR_STARTS", "3"))


def _wait_for(manager: socket.socket, message: bytes) -> None:
    while manager.recv(4096) != message:
        pass


def _has_ended(process: subprocess.Popen[bytes], within: float) -> bool:
    try:
        process.wait(timeout=within)
    except subprocess.TimeoutExpired:
        return False
    return True


def test_an_end_right_after_the_start() -> None:
    with Agent([KEY]) as agent:
        for _ in range(STARTS):
            assert agent.stop() == 0
            agent.start()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_more_signals_while_it_ends(tmp_path: Path, number: signal.Signals) -> None:
    with Agent([KEY]) as agent, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        agent.stop()
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        process = subprocess.Popen(
            agent.arguments,
            env=agent.environment | {"NOTIFY_SOCKET": str(tmp_path / "notify")},
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait_for(manager, b"READY=1")
            process.terminate()
            _wait_for(manager, b"STOPPING=1")
            # At least one arrives in each stage of its end: asyncio's, and the interpreter's. They are not sent
            # without a pause: CPython's own handler can wait for itself once asyncio's pipe is full.
            while not _has_ended(process, within=0.001):
                process.send_signal(number)
        finally:
            process.kill()
            assert process.wait(timeout=30) == 0
