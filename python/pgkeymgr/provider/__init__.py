"""Key providers, which store root keys and return them to the agent and to ``pgkeymgr init``.

A provider protects a text with root keys, in the form that a getkey script prints: see ``plain``. A table of
settings, the section ``[provider]`` of agent.toml, chooses the provider and configures it.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple, Protocol

from ..errors import ParameterError
from .settings import Settings

Ask = Callable[[str], bytes]
"""Shows a prompt, and returns the passphrase or the PIN that a person has typed."""


class Provider(Protocol):
    """A store of root keys."""

    kind: str

    @property
    def source(self) -> str:
        """The place of the root keys, in words. It is safe to show."""

    def load(self) -> list[bytes]:
        """Return the root keys.

        Returns:
            At least one root key, 32 bytes each, newest first.

        Raises:
            ProviderError: the provider could not be reached, or returned no root keys.
            GetkeyError: the getkey script was refused, or failed.
            PassphraseError: the passphrase or the PIN is wrong.
        """

    def store(self, keys: Sequence[bytes], replace: bool = False) -> None:
        """Store root keys. The provider reads them back and compares them before it finishes.

        Args:
            keys: at least one root key, 32 bytes each, newest first.
            replace: whether to replace the present root keys; their file is kept as FILE.old.

        Raises:
            ProviderTakenError: there are root keys already, and ``replace`` is false.
            ProviderError: the root keys could not be stored. Nothing has changed.
        """


class Kind(NamedTuple):
    """A kind of provider: its module in this package, and the extra that it needs or None."""

    module: str
    extra: str | None


AVAILABLE: dict[str, Kind] = {
    "file": Kind("plain_file", None),
    "passphrase": Kind("passphrase", None),
    "command": Kind("command", None),
    "pkcs11": Kind("pkcs11", "pkcs11"),
    "kmip": Kind("kmip", "kmip"),
    "aws-kms": Kind("aws_kms", "aws-kms"),
    "vault": Kind("vault", None),
}
"""The kinds of providers. An extra is installed as in ``pip install "pgkeymgr[aws-kms]"``."""


def open_provider(settings: Mapping[str, Any], ask: Ask | None = None) -> Provider:
    """Return the provider that the settings describe. Only its ``load`` and ``store`` open files or ask a person.

    Args:
        settings: the table ``[provider]``: ``kind``, and the settings of this kind.
        ask: asks a person for a passphrase or a PIN; None if nobody can be asked.

    Returns:
        The provider.

    Raises:
        ParameterError: a setting is unknown, missing, of the wrong type or out of range.
    """
    kind = settings.get("kind")
    if not isinstance(kind, str) or kind not in AVAILABLE:
        raise ParameterError(
            "the provider has no kind" if kind is None else "there is no provider of this kind",
            hint=f"Set kind to one of {', '.join(AVAILABLE)}.",
        )
    taken = Settings(settings, kind)
    provider: Provider = import_module(f".{AVAILABLE[kind].module}", __package__).from_settings(taken, ask)
    taken.refuse_others()
    return provider
