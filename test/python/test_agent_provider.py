"""An agent whose root key a provider has: typed passphrases, and providers that fail.

The provider is a stand-in that keeps to the contract; the real ones have tests of their own.
"""

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from agent_client import connect, receive
from agent_process import COMMAND, Agent
from pgkeymgr.agent import protocol
from pgkeymgr.agent.protocol import Operation, Status
from pgkeymgr.errors import AgentError, PassphraseError, ProviderError
from pgkeymgr.root_key import fingerprint

KEY = "c0ffee00" * 8
PASSPHRASE = "correct horse battery"

_PROGRAM = """
import sys, types
from pathlib import Path
from pgkeymgr.errors import PassphraseError, ProviderError

class StandIn:
    kind = "stand-in"
    source = "the file /keys, under a passphrase"

    def __init__(self, settings, ask):
        self.behaviour = Path(settings["behaviour"]).read_text()
        self.ask = ask

    def load(self):
        if self.behaviour == "ask" and self.ask("Passphrase of the root key: ") != {passphrase!r}:
            raise PassphraseError("wrong passphrase")
        if self.behaviour == "fail":
            raise ProviderError("the provider is away", hint="Wait for it.")
        if self.behaviour == "crash":
            raise ValueError({key!r})
        return [bytes.fromhex({key!r})[: 3 if self.behaviour == "short" else None]]

module = types.ModuleType("pgkeymgr.provider")
module.open_provider = StandIn
sys.modules["pgkeymgr.provider"] = module
from pgkeymgr.command import app
app(prog_name="pgkeymgr")
""".replace("{key!r}", repr(KEY)).replace("{passphrase!r}", repr(PASSPHRASE.encode()))


class AgentWithProvider(Agent):
    """An agent with the stand-in."""

    def __init__(self, behaviour: str) -> None:
        super().__init__([], users=[str(os.geteuid())])
        self.behave(behaviour)
        self.config = self.directory / "agent.toml"
        self.config.write_text(f'[provider]\nkind = "stand-in"\nbehaviour = "{self.directory}/behaviour"\n')

    def behave(self, behaviour: str) -> None:
        """Have the provider do this from now on."""
        (self.directory / "behaviour").write_text(behaviour)

    @property
    def arguments(self) -> list[str]:
        """The command line."""
        start = [sys.executable, "-c", _PROGRAM, "agent"]
        return [*start, "--socket", str(self.socket), "--config", str(self.config), *self.options]


@pytest.fixture
def asking() -> Iterator[AgentWithProvider]:
    """An agent that has started locked, since its provider asks."""
    with AgentWithProvider("ask") as agent:
        yield agent
        for secret in (PASSPHRASE, KEY):
            assert secret not in agent.log


def print_of_key() -> str:
    """Return the fingerprint of the provider's root key."""
    return fingerprint(bytes.fromhex(KEY))


def test_an_agent_starts_locked_and_is_unlocked_with_a_passphrase(asking: AgentWithProvider) -> None:
    assert asking.control().status()["state"] == "locked"
    assert "pgkeymgr agent unlock" in asking.log
    prompts = []

    def answer(prompt: str) -> bytes:
        prompts.append(prompt)
        return PASSPHRASE.encode()

    with pytest.raises(PassphraseError, match="wrong passphrase"):
        asking.control().unlock(lambda prompt: b"guess")
    assert asking.control().status()["state"] == "locked"
    asking.control().unlock(answer)
    assert prompts == ["Passphrase of the root key: "]
    root_key = asking.root_key()
    assert root_key.fingerprint == print_of_key()
    assert root_key.source == f"agent {asking.socket} (the file /keys, under a passphrase)"
    with pytest.raises(PassphraseError):
        asking.control().reload(lambda prompt: b"guess")
    assert asking.root_key().fingerprint == print_of_key()
    asking.control().reload(answer)


def test_nobody_waits_for_who_is_asked(asking: AgentWithProvider) -> None:
    """While somebody is asked, others are served; and who goes away without an answer blocks nobody."""
    asking.control().unlock(lambda prompt: PASSPHRASE.encode())
    with connect(asking) as connection:
        connection.sendall(protocol.encode(Operation.RELOAD))
        assert receive(connection) == (Status.ASK, [b"Passphrase of the root key: "])
        assert asking.root_key().fingerprint == print_of_key()
    asking.control().reload(lambda prompt: PASSPHRASE.encode())
    with connect(asking) as connection:
        connection.sendall(protocol.encode(Operation.RELOAD))
        receive(connection)
        # One thing at a time on a connection.
        connection.sendall(protocol.encode(Operation.STATUS))
        status, fields = receive(connection)
        assert status == Status.ERROR
        assert "before the previous one was answered" in protocol.decode_error(fields).message


def test_two_unlock_at_once(asking: AgentWithProvider) -> None:
    with ThreadPoolExecutor(3) as pool:
        unlocks = [pool.submit(asking.control().unlock, lambda prompt: PASSPHRASE.encode()) for _ in range(3)]
        for unlock in unlocks:
            unlock.result()
    assert asking.root_key().fingerprint == print_of_key()


def test_unlock_asks_on_the_terminal(asking: AgentWithProvider) -> None:
    for typed, status in (("guess", 1), (PASSPHRASE, 0)):
        terminal, its_end = pty.openpty()
        try:
            process = subprocess.Popen(
                ["setsid", "--ctty", "--wait", *COMMAND, "unlock", "--socket", str(asking.socket)],
                env=asking.environment,
                stdin=its_end,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            shown = b""
            while b"root key: " not in shown:
                assert select.select([terminal], [], [], 30)[0], shown
                shown += os.read(terminal, 1000)
            os.write(terminal, typed.encode() + b"\n")
            out, error = process.communicate(timeout=60)
            assert process.returncode == status
            assert typed not in shown.decode() + out + error
            assert bool(error) == bool(status)
        finally:
            os.close(terminal)
            os.close(its_end)
    assert asking.root_key().fingerprint == print_of_key()


def test_without_a_terminal_unlock_says_so(asking: AgentWithProvider) -> None:
    done = asking.command("unlock", stdin=subprocess.DEVNULL, start_new_session=True)
    assert done.returncode == 1
    assert "no terminal" in done.stderr


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("fail", "the provider is away"),
        ("crash", "the provider failed: ValueError"),
        ("short", "did not return root keys of 32 bytes"),
    ],
)
def test_a_broken_provider(behaviour: str, reason: str) -> None:
    with AgentWithProvider("good") as agent:
        agent.behave(behaviour)
        for _ in range(2):
            with pytest.raises(ProviderError, match=reason):
                agent.control().reload(lambda prompt: b"")
            assert agent.root_key().fingerprint == print_of_key()
        agent.control().lock()
        with pytest.raises(ProviderError, match=reason):
            agent.control().unlock(lambda prompt: b"")
        with pytest.raises(AgentError, match="is locked"):
            agent.root_key().derive(1, 32, b"pgsodium")
        agent.behave("good")
        agent.control().unlock(lambda prompt: b"")
        assert agent.root_key().fingerprint == print_of_key()
        agent.stop()
        agent.behave(behaviour)
        with pytest.raises(RuntimeError, match=reason):
            agent.start()
        assert KEY not in agent.log
        assert "Traceback" not in agent.log


def test_sighup_asks_nobody(asking: AgentWithProvider) -> None:
    asking.control().unlock(lambda prompt: PASSPHRASE.encode())
    assert asking.process is not None
    asking.process.send_signal(1)
    deadline = time.monotonic() + 30
    while "reload by SIGHUP failed: the provider asks: Passphrase of the root key" not in asking.log:
        assert time.monotonic() < deadline
    assert asking.root_key().fingerprint == print_of_key()
