"""The root key: what can be done with it, and the one held in this process.

Two families of values come from a root key. Derived keys are what SQL can ask for: BLAKE2b with the
8-byte context as the first half of the personalization and zeros as the second. What pgkeymgr derives
for its own use has a second half that is not zero, so no number and no context that SQL could pass gives
one of these values.
"""

from hashlib import blake2b
from typing import Protocol

from .crypto.kdf import KEY_BYTES, crypto_kdf_derive_from_key

FINGERPRINT_BYTES = 16
_FINGERPRINT_PERSON = b"pgkeymgrfingerpt"


class RootKey(Protocol):
    """A root key, wherever it is held."""

    @property
    def fingerprint(self) -> str:
        """A keyed hash of the root key, 32 hexadecimal digits; safe to show."""

    @property
    def source(self) -> str:
        """Where the root key came from, in words."""

    @property
    def previous(self) -> tuple[str, ...]:
        """The fingerprints of the root keys before this one, newest first."""

    def derive(self, key_id: int, length: int, context: bytes) -> bytes:
        """Derive a key, as ``crypto_kdf_derive_from_key`` does.

        Args:
            key_id: any 64-bit integer, signed.
            length: 16 to 64 bytes.
            context: 8 bytes.

        Returns:
            ``length`` bytes.

        Raises:
            DataError: length or context is out of range.
        """


def fingerprint(key: bytes) -> str:
    """Return the fingerprint of a root key.

    It is BLAKE2b-128 keyed with the root key, so it tells nothing about it but whether two are the same.

    Args:
        key: 32 bytes.

    Returns:
        32 hexadecimal digits.
    """
    return blake2b(digest_size=FINGERPRINT_BYTES, key=key, person=_FINGERPRINT_PERSON).hexdigest()


class LocalRootKey:
    """A root key in this process's memory."""

    __slots__ = ("_key", "fingerprint", "previous", "source")

    def __init__(self, keys: list[bytes], source: str) -> None:
        """Take the root keys.

        Args:
            keys: 32 bytes each, newest first; at least one.
            source: where they came from, in words.
        """
        assert all(len(key) == KEY_BYTES for key in keys)
        self._key = keys[0]
        self.fingerprint = fingerprint(keys[0])
        self.previous = tuple(fingerprint(key) for key in keys[1:])
        self.source = source

    def __reduce__(self) -> str:
        raise TypeError("a root key is not to be copied or written anywhere")

    def derive(self, key_id: int, length: int, context: bytes) -> bytes:
        """Derive a key; see ``RootKey.derive``."""
        return crypto_kdf_derive_from_key(length, key_id, context, self._key)
