"""The root key: what can be done with it, and the one held in this process.

Two families of values come from a root key. Derived keys are what SQL can ask for: BLAKE2b with the
8-byte context as the first half of the personalization and zeros as the second. What pgkeymgr derives
for its own use has a second half that is not zero, so no number and no context that SQL could pass gives
one of these values.
"""

from typing import Protocol

from ..crypto.blake2b import blake2b_of_key
from ..crypto.kdf import KEY_BYTES, crypto_kdf_derive_from_key
from ..errors import RootKeyError
from . import wrap as wraps

FINGERPRINT_BYTES = 16
_FINGERPRINT_PERSON = b"pgkeymgrfingerpt"
_WRAPPING_PERSON = b"pgkeymgrwrapping"


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

    def derive(self, key_id: int, length: int, context: bytes, under: str | None = None) -> bytes:
        """Derive a key, as ``crypto_kdf_derive_from_key`` does.

        Args:
            key_id: any 64-bit integer, signed.
            length: 16 to 64 bytes.
            context: 8 bytes.
            under: the fingerprint of the root key to derive from, this one or a previous one; None for this one.

        Returns:
            ``length`` bytes.

        Raises:
            DataError: length or context is out of range.
            RootKeyError: there is no root key of that fingerprint.
        """

    def wrap(self, secret: bytes, associated_data: bytes) -> bytes:
        """Encrypt a secret under the root key.

        Args:
            secret: of any length.
            associated_data: what the wrap belongs to; authenticated, not stored.

        Returns:
            The wrap; see ``pgkeymgr.wrap``. Its fingerprint is to be stored beside it.
        """

    def unwrap(self, wrapped: bytes, associated_data: bytes, made_under: str) -> bytes:
        """Decrypt a wrap.

        Args:
            wrapped: what ``wrap`` returned.
            associated_data: what it was made with.
            made_under: the fingerprint of the root key it was made under: this one or a previous one.

        Returns:
            The secret.

        Raises:
            RootKeyError: it was made under another root key.
            DataError: it does not verify.
        """

    def rewrap(self, wrapped: bytes, associated_data: bytes, made_under: str) -> bytes:
        """Make a wrap anew under this root key; an agent does not give the secret away for it.

        Args:
            wrapped: what ``wrap`` returned.
            associated_data: what it was made with.
            made_under: the fingerprint of the root key it was made under: this one or a previous one.

        Returns:
            The new wrap, of the same secret, with the same associated data.

        Raises:
            RootKeyError: it was made under another root key.
            DataError: it does not verify.
        """


def unknown_root_key(wanted: str, present: str, source: str) -> RootKeyError:
    """Make the error for something that needs a root key that is not there.

    Args:
        wanted: the fingerprint of the root key that it needs.
        present: the fingerprint of the newest root key.
        source: where that one is from.

    Returns:
        The error, to be raised.
    """
    return RootKeyError(
        f"this was made under the root key {wanted}, and the server's root key is {present}",
        hint="Give the server the root key that this database was made under, "
        f"as the newest or as a previous one; the present one is from {source}.",
    )


def fingerprint(key: bytes) -> str:
    """Return the fingerprint of a root key.

    It is BLAKE2b-128 keyed with the root key, so it tells nothing about it but whether two are the same.

    Args:
        key: 32 bytes.

    Returns:
        32 hexadecimal digits.
    """
    return blake2b_of_key(FINGERPRINT_BYTES, key, _FINGERPRINT_PERSON).hex()


class LocalRootKey:
    """A root key in this process's memory."""

    __slots__ = ("_keys", "_wrapping_keys", "fingerprint", "previous", "source")

    def __init__(self, keys: list[bytes], source: str) -> None:
        """Take the root keys.

        Args:
            keys: 32 bytes each, newest first; at least one.
            source: where they came from, in words.
        """
        assert all(len(key) == KEY_BYTES for key in keys)
        self.fingerprint = fingerprint(keys[0])
        self.previous = tuple(fingerprint(key) for key in keys[1:])
        self.source = source
        self._keys = {fingerprint(key): key for key in keys}
        self._wrapping_keys = {
            which: blake2b_of_key(wraps.KEY_BYTES, key, _WRAPPING_PERSON) for which, key in self._keys.items()
        }

    def __reduce__(self) -> str:
        raise TypeError("a root key is not to be copied or written anywhere")

    def derive(self, key_id: int, length: int, context: bytes, under: str | None = None) -> bytes:
        """Derive a key; see ``RootKey.derive``."""
        key = self._keys.get(self.fingerprint if under is None else under)
        if key is None:
            raise unknown_root_key(str(under), self.fingerprint, self.source)
        return crypto_kdf_derive_from_key(length, key_id, context, key)

    def wrap(self, secret: bytes, associated_data: bytes) -> bytes:
        """Encrypt a secret; see ``RootKey.wrap``."""
        return wraps.wrap(secret, associated_data, self._wrapping_keys[self.fingerprint])

    def unwrap(self, wrapped: bytes, associated_data: bytes, made_under: str) -> bytes:
        """Decrypt a wrap; see ``RootKey.unwrap``."""
        wrapping_key = self._wrapping_keys.get(made_under)
        if wrapping_key is None:
            raise unknown_root_key(made_under, self.fingerprint, self.source)
        return wraps.unwrap(wrapped, associated_data, wrapping_key)

    def rewrap(self, wrapped: bytes, associated_data: bytes, made_under: str) -> bytes:
        """Make a wrap anew; see ``RootKey.rewrap``."""
        return self.wrap(self.unwrap(wrapped, associated_data, made_under), associated_data)

    def forget(self) -> None:
        """Overwrite the keys in memory, for whoever has these objects; it has none afterwards."""
        from .memory import wipe

        for keys in (self._keys, self._wrapping_keys):
            for key in keys.values():
                wipe(key)
            keys.clear()
