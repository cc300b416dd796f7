"""Provider ``command``: a getkey script prints the root keys, as ``getkey`` says. It keeps none.

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
        """Take the script.

        Args:
            script: its absolute path.
        """
        self._script = script

    @property
    def source(self) -> str:
        """Where the root keys are, in words."""
        return f'the getkey script "{self._script}"'

    def load(self) -> list[bytes]:
        """Get the root keys; see ``Provider.load``. The script has 30 seconds."""
        return getkey.parse(getkey.run(self._script), self._script)

    def store(self, keys: Sequence[bytes], replace: bool = False) -> None:
        """Refuse: a script gives root keys and takes none."""
        raise ProviderError(
            f"{self.source} gives root keys, and cannot store any",
            hint="Put the root key where the script finds it, newest first.",
        )


def from_settings(settings: Settings, ask: Callable[[str], bytes] | None) -> Command:
    """Make the provider; see ``open_provider``."""
    return Command(settings.path("script"))
