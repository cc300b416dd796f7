"""A passphrase or a PIN that somebody types."""

from collections.abc import Callable

from ..errors import DataError, ProviderError
from ..sealed.typed import secret_bytes


def ask_for(ask: Callable[[str], bytes] | None, prompt: str, source: str, instead: str | None = None) -> bytes:
    """Ask for a secret.

    Args:
        ask: asks somebody, or None.
        prompt: what to show.
        source: what it is for, in words.
        instead: what to do where nobody can be asked, for the hint.

    Returns:
        The secret's bytes: text in NFC, as UTF-8.

    Raises:
        ProviderError: nobody can be asked.
        DataError: what was typed is empty or not text.
    """
    if ask is None:
        raise ProviderError(f"{source} needs somebody to ask, and there is nobody", hint=instead)
    typed = secret_bytes(ask(prompt))
    if not typed:
        raise DataError("what was typed is empty")
    return typed


def ask_twice(ask: Callable[[str], bytes] | None, prompt: str, source: str) -> bytes:
    """Ask for a new secret, and once more; see ``ask_for``.

    Raises:
        DataError: the two are not the same.
    """
    first = ask_for(ask, f"{prompt}: ", source)
    if ask_for(ask, "The same again: ", source) != first:
        raise DataError("the two are not the same")
    return first
