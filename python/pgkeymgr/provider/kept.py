"""The common part of providers that have a file: the checks before it is written, and the verification after."""

from collections.abc import Callable, Sequence
from typing import Protocol

from ..errors import ProviderError
from .files import check_absent, read_private, write_private
from .plain import KEYS_MAX, to_keys, to_text


class Protection(Protocol):
    """Converts the text of the root keys into the content of the file, and back."""

    def protect(self, text: bytes) -> bytes:
        """Return the content of the file for root keys as text; ``plain`` describes the text."""

    def open(self, content: bytes) -> bytes:
        """Return the root keys as text for the content of the file."""


class KeptInFile:
    """A provider with a file, which holds the root keys or a reference to them."""

    def __init__(
        self,
        kind: str,
        source: str,
        file: str,
        opening: Callable[[], Protection],
        storing: Callable[[], Protection] | None = None,
        keys_max: int = KEYS_MAX,
    ) -> None:
        """Initialize the provider.

        Args:
            kind: the kind of the provider.
            source: the place of the root keys, in words; safe to show.
            file: the absolute path of the file.
            opening: makes the protection that opens the file. It may ask for a passphrase.
            storing: makes the protection of a new file. It may ask for a new passphrase. None is the same as
                ``opening``.
            keys_max: the number of root keys that the file has room for.
        """
        self.kind = kind
        self.source = source
        self._file = file
        self._opening = opening
        self._storing = storing or opening
        self._keys_max = keys_max

    def load(self) -> list[bytes]:
        """Return the root keys; see ``Provider.load``."""
        content = read_private(self._file)
        return to_keys(self._opening().open(content), self.source)

    def store(self, keys: Sequence[bytes], replace: bool = False) -> None:
        """Store root keys; see ``Provider.store``."""
        text = to_text(keys, self.source, self._keys_max)
        if not replace:
            # The check comes first, so that nobody types a passphrase, and no server stores an object, in vain.
            check_absent(self._file)
        protection = self._storing()
        content = protection.protect(text)

        def verify(written: bytes) -> None:
            if to_keys(protection.open(written), self.source) != list(keys):
                raise ProviderError(
                    f"{self.source} does not return the root keys that were stored: nothing was changed"
                )

        write_private(self._file, content, verify, replace)
