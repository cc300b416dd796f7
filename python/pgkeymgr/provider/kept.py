"""What providers that keep something in a file have in common: checks before, verification after."""

from collections.abc import Callable, Sequence
from typing import Protocol

from ..errors import ProviderError
from .files import check_absent, read_private, write_private
from .plain import KEYS_MAX, to_keys, to_text


class Protection(Protocol):
    """Turns root keys as text into what the file is to hold, and back."""

    def protect(self, text: bytes) -> bytes:
        """Return what the file is to hold, of root keys as ``plain`` has them."""

    def open(self, content: bytes) -> bytes:
        """Return the text, of what the file holds."""


class KeptInFile:
    """A provider whose root keys, or whatever leads to them, are in a file."""

    def __init__(
        self,
        kind: str,
        source: str,
        file: str,
        opening: Callable[[], Protection],
        storing: Callable[[], Protection] | None = None,
        keys_max: int = KEYS_MAX,
    ) -> None:
        """Take what makes this provider.

        Args:
            kind: its kind.
            source: where the root keys are, in words; safe to show.
            file: the absolute path of the file.
            opening: makes what opens it; somebody may be asked for a passphrase.
            storing: makes what is to protect it, if that is another; somebody may be asked for a new passphrase.
            keys_max: how many root keys fit.
        """
        self.kind = kind
        self.source = source
        self._file = file
        self._opening = opening
        self._storing = storing or opening
        self._keys_max = keys_max

    def load(self) -> list[bytes]:
        """Get the root keys; see ``Provider.load``."""
        content = read_private(self._file)
        return to_keys(self._opening().open(content), self.source)

    def store(self, keys: Sequence[bytes], replace: bool = False) -> None:
        """Protect and keep root keys; see ``Provider.store``."""
        text = to_text(keys, self.source, self._keys_max)
        if not replace:
            # Before somebody types a passphrase, or another server keeps something, for nothing.
            check_absent(self._file)
        protection = self._storing()
        content = protection.protect(text)

        def verify(written: bytes) -> None:
            if to_keys(protection.open(written), self.source) != list(keys):
                raise ProviderError(f"{self.source} does not give back what was stored: nothing was changed")

        write_private(self._file, content, verify, replace)
