"""Fetches the root keys for the agent, holds them, and forgets them."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..crypto.kdf import KEY_BYTES
from ..documents import page
from ..errors import AgentError, Error, GetkeyError, ProviderError
from ..root_key import LocalRootKey, getkey, memory
from .settings import Settings

Ask = Callable[[str], bytes]

_Result = TypeVar("_Result")


class NobodyToAskError(ProviderError):
    """The provider needs a passphrase or a PIN, and nobody can be asked for it."""


def refuse_to_ask(prompt: str) -> bytes:
    """Refuse a provider's question, because nobody can be asked.

    Args:
        prompt: the question.

    Raises:
        NobodyToAskError: always.
    """
    raise NobodyToAskError(
        f"the provider asks: {prompt}", hint="Run pgkeymgr agent unlock or reload, and type the answer there."
    )


def fetch(settings: Settings, ask: Ask, is_canceled: Callable[[], bool]) -> LocalRootKey:
    """Get the root keys from the getkey script or the provider in the settings.

    Args:
        settings: the settings of the agent.
        ask: shows a prompt and returns the input of a person. It may raise NobodyToAskError.
        is_canceled: returns whether to give up; it is called while a getkey script runs.

    Returns:
        The root key, with the previous root keys.

    Raises:
        GetkeyError: the script was refused, failed, or did not print a root key.
        ProviderError: the provider did not return a root key.
        AgentError: the settings name neither a script nor a provider.
    """
    if settings.getkey is not None:
        try:
            output = getkey.run(settings.getkey, is_canceled)
        except GetkeyError as error:
            # The hint is about the server, which runs the script where there is no agent.
            error.hint = (error.hint or "").replace("the server's user", "the agent's user") or None
            raise
        try:
            keys = getkey.parse(output, settings.getkey)
        finally:
            memory.wipe(output)
        source = f"getkey {settings.getkey}"
    elif settings.provider is not None:
        keys, source = _load(settings.provider, ask)
    else:
        raise AgentError(
            "the agent has neither a getkey script nor a provider",
            hint="Name a getkey script with --getkey, or a provider in the configuration. "
            f"See {page('agent.md')}.",
        )
    return LocalRootKey(keys, f"agent {settings.socket} ({source})")


def _load(settings: Mapping[str, Any], ask: Ask) -> tuple[list[bytes], str]:
    try:
        from ..provider import open_provider  # An agent with a getkey script does not need this module.

        provider = open_provider(settings, ask)
        keys, source = provider.load(), provider.source
    except Error:
        raise
    except Exception as error:
        kind = type(error).__name__
    else:
        if not keys or any(len(key) != KEY_BYTES or not any(key) for key in keys):
            raise ProviderError(f"{source} did not return root keys of {KEY_BYTES} bytes that are not all zeros")
        return keys, source
    # Inside the handler, the unexpected exception would be the context of this error. Its text could hold a
    # secret.
    raise ProviderError(f"the provider failed: {kind}")


class Keeper:
    """Holds the root keys for one event loop.

    Attributes:
        root_key: the root key; None while the agent is locked.
    """

    def __init__(self, fetch_with: Callable[[Ask], LocalRootKey]) -> None:
        """Initialize a keeper without keys, which is a locked agent.

        Args:
            fetch_with: fetches the keys; its argument asks a person. It is called in a thread of its own.
        """
        self.root_key: LocalRootKey | None = None
        self._fetch = fetch_with
        self._fetching = asyncio.Lock()
        self._locks = 0

    async def unlock(self, ask: Ask) -> None:
        """Get the keys if the agent is locked.

        Args:
            ask: see ``fetch``; it is called in a thread.

        Raises:
            Error: the keys could not be fetched; the agent stays locked.
        """
        locks = self._locks
        async with self._fetching:
            if self.root_key is None:
                self._take(await _in_thread(lambda: self._fetch(ask)), locks)

    async def reload(self, ask: Ask) -> None:
        """Get the keys again. The present keys stay in use until then, and if an error occurs.

        Args:
            ask: see ``fetch``; it is called in a thread.

        Raises:
            AgentError: the agent is locked, or was locked during the reload.
            Error: the keys could not be fetched.
        """
        locks = self._locks
        async with self._fetching:
            if self.root_key is None:
                raise AgentError("the agent is locked", hint="Unlock it with pgkeymgr agent unlock.")
            old = self.root_key
            self._take(await _in_thread(lambda: self._fetch(ask)), locks)
            old.forget()

    def _take(self, root_key: LocalRootKey, locks: int) -> None:
        if self._locks != locks:
            # A lock that was requested during the fetch must not be undone.
            root_key.forget()
            raise AgentError(
                "the agent was locked while it fetched the root keys", hint="Unlock it with pgkeymgr agent unlock."
            )
        self.root_key = root_key

    def lock(self) -> None:
        """Forget the keys."""
        self._locks += 1
        if self.root_key is not None:
            self.root_key.forget()
            self.root_key = None


async def _in_thread(function: Callable[[], _Result]) -> _Result:
    # The agent would wait for the loop's own threads when it ends, and a provider may be slow.
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_Result] = loop.create_future()

    def set_result(result: _Result) -> None:
        if not done.cancelled():
            done.set_result(result)

    def set_exception(error: BaseException) -> None:
        if not done.cancelled():
            done.set_exception(error)

    def run() -> None:
        with contextlib.suppress(RuntimeError):  # If the agent has ended, the loop is closed.
            try:
                result = function()
            except BaseException as error:
                loop.call_soon_threadsafe(set_exception, error)
            else:
                loop.call_soon_threadsafe(set_result, result)

    threading.Thread(target=run, daemon=True).start()
    return await done
