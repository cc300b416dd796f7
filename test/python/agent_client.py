"""A running agent for the tests, and connections to it without the client's code."""

import os
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_process import Agent
from pgkeymgr.agent import protocol
from pgkeymgr.agent.protocol import LENGTH_BYTES
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
