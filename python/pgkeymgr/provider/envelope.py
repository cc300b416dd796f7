"""The content of an encrypting provider's file: JSON with the format, the kind of the provider and its own fields.

    {"format": "pgkeymgr root key 1", "kind": "vault", "ciphertext": "vault:v1:…"}

If the method has associated data, it binds the ciphertext to the format and the kind.
"""

import base64
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ..errors import ProviderError

FORMAT = "pgkeymgr root key 1"


def associated_data(kind: str) -> bytes:
    """Return the associated data of the ciphertexts of a kind of provider."""
    return f"{FORMAT} {kind}".encode()


def encode(kind: str, fields: Mapping[str, str | int]) -> bytes:
    """Return the content of a file.

    Args:
        kind: the kind of the provider.
        fields: the provider's own fields.

    Returns:
        The content as JSON.
    """
    return json.dumps({"format": FORMAT, "kind": kind, **fields}, indent=1).encode() + b"\n"


def to_base64(value: bytes) -> str:
    """Return bytes in the form that the file has them in."""
    return base64.b64encode(value).decode("ascii")


def _damaged(source: str) -> ProviderError:
    return ProviderError(
        f"{source}: the file is damaged, or another provider has written it",
        hint="Restore the file from your copy.",
    )


class Envelope:
    """The content of a file."""

    def __init__(self, content: bytes, kind: str, source: str) -> None:
        """Initialize the fields from the content of a file.

        Args:
            content: the content of the file.
            kind: the kind of the provider that must have written it.
            source: the place of the root keys, in words.

        Raises:
            ProviderError: the content has another format or kind.
        """
        self._source = source
        fields: Any = None
        # The error is raised below: the exception of json has the content in it, and would be its context here.
        with suppress(ValueError, RecursionError):
            fields = json.loads(content)
        if not isinstance(fields, dict) or fields.get("format") != FORMAT or fields.get("kind") != kind:
            raise _damaged(source)
        self._fields = fields

    def text(self, name: str) -> str:
        """Return a field that is text.

        Raises:
            ProviderError: the field is missing or of another type.
        """
        value = self._fields.get(name)
        if not isinstance(value, str) or not value:
            raise _damaged(self._source)
        return value

    def number(self, name: str) -> int:
        """Return a field that is a whole number.

        Raises:
            ProviderError: the field is missing or of another type.
        """
        value = self._fields.get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise _damaged(self._source)
        return value

    def binary(self, name: str) -> bytes:
        """Return a field that is base64, as at least one byte.

        Raises:
            ProviderError: the field is missing, empty or not base64.
        """
        value: bytes | None = None
        text = self.text(name).encode("ascii", "replace")
        with suppress(ValueError):
            value = base64.b64decode(text, validate=True)
        if not value:
            raise _damaged(self._source)
        return value
