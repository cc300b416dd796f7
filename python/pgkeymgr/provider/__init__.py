"""Key providers: where the root keys are kept, and who opens them. The agent and ``pgkeymgr init`` use them.

What a provider protects is the text that a getkey script prints: see ``plain``. A provider is chosen and set up
by a table of settings, the section ``[provider]`` of agent.toml.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple, Protocol

from ..errors import ParameterError
from .settings import Settings

Ask = Callable[[str], bytes]
"""Shows a prompt, and returns the passphrase or the PIN that somebody has typed."""


class Provider(Protocol):
    """Where root keys are kept."""

    kind: str

    @property
    def source(self) -> str:
        """Where that is, in words; safe to show."""

    def load(self) -> list[bytes]:
        """Get the root keys.

        Returns:
            32 bytes each, newest first; at least one.

        Raises:
            ProviderError: it cannot be reached, or does not give them.
            GetkeyError: the getkey script does not.
            PassphraseError: the passphrase or the PIN is wrong.
        """

    def store(self, keys: Sequence[bytes], replace: bool = False) -> None:
        """Protect and keep root keys. They are read back and compared before they count.

        Args:
            keys: 32 bytes each, newest first; at least one.
            replace: put them in the place of those that are there, which are kept beside as FILE.old.

        Raises:
            ProviderError: there are some already, or these cannot be kept: then nothing has changed.
        """


class Kind(NamedTuple):
    """A kind of provider."""

    module: str
    extra: str | None


AVAILABLE: dict[str, Kind] = {
    "file": Kind("plain_file", None),
    "passphrase": Kind("passphrase", None),
    "command": Kind("command", None),
    "pkcs11": Kind("token", "pkcs11"),
    "kmip": Kind("kmip", "kmip"),
    "aws-kms": Kind("aws_kms", "aws-kms"),
    "vault": Kind("vault", None),
}
"""The kinds: each one's module here, and the extra of the Python package that it needs, as in
``pip install "pgkeymgr[aws-kms]"``, or None."""


def open_provider(settings: Mapping[str, Any], ask: Ask | None = None) -> Provider:
    """Make a provider. Nothing is opened, and nobody is asked, before ``load`` or ``store``.

    Args:
        settings: the table ``[provider]``: ``kind``, and what this kind needs.
        ask: asks somebody; None where nobody can be asked.

    Returns:
        The provider.

    Raises:
        ParameterError: a setting is unknown, missing, of the wrong type or out of range.
    """
    kind = settings.get("kind")
    if not isinstance(kind, str) or kind not in AVAILABLE:
        raise ParameterError(
            "the provider has no kind" if kind is None else "there is no provider of this kind",
            hint=f"kind is one of {', '.join(AVAILABLE)}.",
        )
    taken = Settings(settings, kind)
    provider: Provider = import_module(f".{AVAILABLE[kind].module}", __package__).from_settings(taken, ask)
    taken.refuse_others()
    return provider
