"""The root keys in the agent: fetched, held, forgotten."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..crypto.kdf import KEY_BYTES
from ..errors import AgentError, Error, ProviderError
from ..root_key import LocalRootKey, getkey, memory
from .settings import Settings

Ask = Callable[[str], bytes]

_Result = TypeVar("_Result")


class NobodyToAskError(ProviderError):
    """The provider wants a passphrase, and nobody is there to type it."""


def nobody(prompt: str) -> bytes:
    """Answer a provider's question where nobody can be asked.

    Args:
        prompt: what it asks for.

    Raises:
        NobodyToAskError: always.
    """
    raise NobodyToAskError(
        f"the provider asks: {prompt}", hint="Type it for a running agent: pgkeymgr agent unlock, or reload."
    )


def fetch(settings: Settings, ask: Ask, is_canceled: Callable[[], bool]) -> LocalRootKey:
    """Get the root keys, from a getkey script or a provider.

    Args:
        settings: one of the two is in them.
        ask: given a prompt, returns what somebody typed; may raise NobodyToAskError.
        is_canceled: asked while a getkey script runs.

    Returns:
        The root key.

    Raises:
        GetkeyError: the script was refused, or did not give a root key.
        ProviderError: the provider did not give one.
        AgentError: the settings name neither.
    """
    if settings.getkey is not None:
        output = getkey.run(settings.getkey, is_canceled)
        try:
            keys = getkey.parse(output, settings.getkey)
        finally:
            memory.wipe(output)
        source = f"getkey {settings.getkey}"
    elif settings.provider is not None:
        keys, source = _load(settings.provider, ask)
    else:
        raise AgentError(
            "nothing says where the root key is",
            hint="Name a getkey script with --getkey, or a provider in the configuration; see docs/agent.md.",
        )
    return LocalRootKey(keys, f"agent {settings.socket} ({source})")


def _load(settings: Mapping[str, Any], ask: Ask) -> tuple[list[bytes], str]:
    try:
        from ..provider import open_provider  # not needed with a getkey script

        provider = open_provider(settings, ask)
        keys, source = provider.load(), provider.source
    except Error:
        raise
    except Exception as error:
        kind = type(error).__name__
    else:
        if not keys or any(len(key) != KEY_BYTES or not any(key) for key in keys):
            raise ProviderError(f"{source} did not give root keys of {KEY_BYTES} bytes that are not zero")
        return keys, source
    # Not inside the handler: the text of that exception could hold anything.
    raise ProviderError(f"the provider failed: {kind}")


class Keeper:
    """Who holds the root keys, in one event loop.

    Attributes:
        root_key: the root key; None while the agent is locked.
    """

    def __init__(self, fetch_with: Callable[[Ask], LocalRootKey]) -> None:
        """Take where they are fetched from.

        Args:
            fetch_with: fetches them; called in a thread of its own, with whom to ask.
        """
        self.root_key: LocalRootKey | None = None
        self._fetch = fetch_with
        self._fetching = asyncio.Lock()
        self._locks = 0

    async def unlock(self, ask: Ask) -> None:
        """Get the keys if they are not there.

        Args:
            ask: see ``fetch``; called in a thread.

        Raises:
            Error: they cannot be had; the agent stays locked.
        """
        locks = self._locks
        async with self._fetching:
            if self.root_key is None:
                self._take(await _in_thread(lambda: self._fetch(ask)), locks)

    async def reload(self, ask: Ask) -> None:
        """Get the keys anew; those that are there go on serving meanwhile, and if that fails.

        Args:
            ask: see ``fetch``; called in a thread.

        Raises:
            AgentError: the agent is locked, or was locked meanwhile.
            Error: they cannot be had.
        """
        locks = self._locks
        async with self._fetching:
            if self.root_key is None:
                raise AgentError("the agent is locked", hint="pgkeymgr agent unlock gets the keys anew.")
            old = self.root_key
            self._take(await _in_thread(lambda: self._fetch(ask)), locks)
            old.forget()

    def _take(self, root_key: LocalRootKey, locks: int) -> None:
        if self._locks != locks:
            # Whoever locked the agent meanwhile has the last word.
            root_key.forget()
            raise AgentError("the agent was locked meanwhile", hint="pgkeymgr agent unlock gets the keys anew.")
        self.root_key = root_key

    def lock(self) -> None:
        """Forget the keys."""
        self._locks += 1
        if self.root_key is not None:
            self.root_key.forget()
            self.root_key = None


async def _in_thread(function: Callable[[], _Result]) -> _Result:
    # Not the loop's own threads: the agent would wait for them when it ends, and a provider may be slow.
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_Result] = loop.create_future()

    def set_result(result: _Result) -> None:
        if not done.cancelled():
            done.set_result(result)

    def set_exception(error: BaseException) -> None:
        if not done.cancelled():
            done.set_exception(error)

    def run() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the agent has ended
            try:
                result = function()
            except BaseException as error:
                loop.call_soon_threadsafe(set_exception, error)
            else:
                loop.call_soon_threadsafe(set_result, result)

    threading.Thread(target=run, daemon=True).start()
    return await done
