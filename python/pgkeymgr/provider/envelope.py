"""What is in the file of a provider that encrypts: JSON, with its format and the kind of provider that made it.

    {"format": "pgkeymgr root key 1", "kind": "vault", "ciphertext": "vault:v1:…"}

Format and kind are also what the ciphertext is bound to, where the method has associated data.
"""

import base64
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ..errors import ProviderError

FORMAT = "pgkeymgr root key 1"


def associated_data(kind: str) -> bytes:
    """Return what a ciphertext of a kind of provider is bound to."""
    return f"{FORMAT} {kind}".encode()


def encode(kind: str, fields: Mapping[str, str | int]) -> bytes:
    """Return the content of a file.

    Args:
        kind: the provider's.
        fields: what is its own.

    Returns:
        JSON.
    """
    return json.dumps({"format": FORMAT, "kind": kind, **fields}, indent=1).encode() + b"\n"


def to_base64(value: bytes) -> str:
    """Return bytes as they are written in such a file."""
    return base64.b64encode(value).decode("ascii")


def _damaged(source: str) -> ProviderError:
    return ProviderError(
        f"{source}: its file is damaged, or not one of this provider", hint="Bring back your copy."
    )


class Envelope:
    """The content of a file."""

    def __init__(self, content: bytes, kind: str, source: str) -> None:
        """Read it.

        Args:
            content: of the file.
            kind: of the provider that must have made it.
            source: where the root keys are, in words.

        Raises:
            ProviderError: it is not of this format and kind.
        """
        self._source = source
        fields: Any = None
        # The error is raised below: this exception has the content in it, and would be that one's context.
        with suppress(ValueError, RecursionError):
            fields = json.loads(content)
        if not isinstance(fields, dict) or fields.get("format") != FORMAT or fields.get("kind") != kind:
            raise _damaged(source)
        self._fields = fields

    def text(self, name: str) -> str:
        """Return a field that is text.

        Raises:
            ProviderError: it is missing or something else.
        """
        value = self._fields.get(name)
        if not isinstance(value, str) or not value:
            raise _damaged(self._source)
        return value

    def number(self, name: str) -> int:
        """Return a field that is a whole number.

        Raises:
            ProviderError: it is missing or something else.
        """
        value = self._fields.get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise _damaged(self._source)
        return value

    def binary(self, name: str) -> bytes:
        """Return a field that is bytes.

        Raises:
            ProviderError: it is missing or something else.
        """
        value: bytes | None = None
        text = self.text(name).encode("ascii", "replace")
        with suppress(ValueError):
            value = base64.b64decode(text, validate=True)
        if not value:
            raise _damaged(self._source)
        return value
