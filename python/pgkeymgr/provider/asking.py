"""Asks a person for a passphrase or a PIN."""

from collections.abc import Callable

from ..errors import DataError, ProviderError
from ..sealed.typed import secret_bytes


def ask_for(ask: Callable[[str], bytes] | None, prompt: str, source: str, instead: str | None = None) -> bytes:
    """Ask for a secret.

    Args:
        ask: asks the person, or None.
        prompt: the text to show.
        source: the place of the root keys, in words.
        instead: the remedy if nobody can be asked, for the hint.

    Returns:
        The secret as UTF-8 in the form NFC, at least one byte.

    Raises:
        ProviderError: nobody can be asked.
        DataError: the input is empty or not text.
    """
    if ask is None:
        raise ProviderError(f"{source} needs a passphrase or a PIN, and nobody can be asked for it", hint=instead)
    typed = secret_bytes(ask(prompt))
    if not typed:
        raise DataError("the passphrase or PIN must not be empty")
    return typed


def ask_twice(ask: Callable[[str], bytes] | None, prompt: str, source: str) -> bytes:
    """Ask for a new secret twice; see ``ask_for``.

    Raises:
        DataError: the two inputs differ.
    """
    first = ask_for(ask, f"{prompt}: ", source)
    if ask_for(ask, "The same again: ", source) != first:
        raise DataError("the two inputs differ")
    return first
