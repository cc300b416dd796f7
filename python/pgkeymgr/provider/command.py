"""Provider ``command``: a getkey script prints the root keys, as ``getkey`` describes. It cannot store any.

Settings: ``script``.
"""

from collections.abc import Callable, Sequence

from ..errors import ProviderError
from ..root_key import getkey
from .settings import Settings

KIND = "command"


class Command:
    """A getkey script."""

    kind = KIND

    def __init__(self, script: str) -> None:
        """Initialize the provider.

        Args:
            script: the absolute path of the script.
        """
        self._script = script

    @property
    def source(self) -> str:
        """The place of the root keys, in words."""
        return f'the getkey script "{self._script}"'

    def load(self) -> list[bytes]:
        """Return the root keys; see ``Provider.load``. The script has 30 seconds."""
        return getkey.parse(getkey.run(self._script), self._script)

    def store(self, keys: Sequence[bytes], replace: bool = False) -> None:
        """Refuse to store root keys, since a script can only print them.

        Raises:
            ProviderError: always.
        """
        raise ProviderError(
            f"{self.source} cannot store any root keys",
            hint="Put the root key where the script reads it, before the previous root keys.",
        )


def from_settings(settings: Settings, ask: Callable[[str], bytes] | None) -> Command:
    """Return the provider; see ``open_provider``."""
    return Command(settings.path("script"))
