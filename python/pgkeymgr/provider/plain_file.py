"""Provider ``file``: root keys in a file as plain text. They are as safe as the file.

Settings: ``file``.
"""

from collections.abc import Callable

from .kept import KeptInFile
from .settings import Settings

KIND = "file"


class _InTheClear:
    def protect(self, text: bytes) -> bytes:
        return text

    def open(self, content: bytes) -> bytes:
        return content


def from_settings(settings: Settings, ask: Callable[[str], bytes] | None) -> KeptInFile:
    """Return the provider; see ``open_provider``."""
    file = settings.path("file")
    return KeptInFile(KIND, f'the file "{file}"', file, _InTheClear)
