"""The root key: its operations (RootKey), and a root key in the memory of this process (LocalRootKey).

A root key gives two families of values. SQL can ask for derived keys: BLAKE2b with the context of 8 bytes as the
first half of the personalization, and with zeros as the second half. pgkeymgr's own derivations, the fingerprint
and the wrapping key, have a second half that is not zero. So no number and no context from SQL gives one of these
values.

Sources: https://doc.libsodium.org/key_derivation and RFC 7693
"""

from __future__ import annotations

from ..crypto.blake2b import blake2b_of_key
from ..crypto.kdf import KEY_BYTES, crypto_kdf_derive_from_key
from ..errors import RootKeyError, UnsupportedError
from . import wrap as wraps

TYPE_CHECKING = False  # see key/named_tuple.py
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object

FINGERPRINT_BYTES = 16
_FINGERPRINT_PERSON = b"pgkeymgrfingerpt"
_WRAPPING_PERSON = b"pgkeymgrwrapping"


class RootKey(Protocol):
    """A root key, wherever it is held."""

    @property
    def fingerprint(self) -> str:
        """A keyed hash of the root key, 32 hexadecimal digits. It is safe to show."""

    @property
    def source(self) -> str:
        """The place that the root key was read from, in words."""

    @property
    def previous(self) -> tuple[str, ...]:
        """The fingerprints of the previous root keys, newest first."""

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
            DataError: the length is out of range, or the context has the wrong length.
            RootKeyError: no root key has that fingerprint.
        """

    def wrap(self, secret: bytes, associated_data: bytes) -> bytes:
        """Encrypt a secret under the root key.

        Args:
            secret: the secret, of any length.
            associated_data: the identity of the wrap's owner, which is authenticated and not stored.

        Returns:
            The wrap, 41 bytes longer than the secret; see ``pgkeymgr.root_key.wrap``. The caller stores the
            fingerprint of the root key beside it.
        """

    def unwrap(self, wrapped: bytes, associated_data: bytes, made_under: str) -> bytes:
        """Decrypt a wrap.

        Args:
            wrapped: a result of ``wrap`` or ``rewrap``.
            associated_data: the associated data of the wrap.
            made_under: the fingerprint of the root key of the wrap: this root key or a previous one.

        Returns:
            The secret.

        Raises:
            RootKeyError: the wrap was made under another root key.
            DataError: the wrap does not verify.
        """

    def rewrap(self, wrapped: bytes, associated_data: bytes, made_under: str) -> bytes:
        """Wrap a wrapped secret again, under this root key. If an agent has the root key, it keeps the secret.

        Args:
            wrapped: a result of ``wrap`` or ``rewrap``.
            associated_data: the associated data of the wrap.
            made_under: the fingerprint of the root key of the wrap: this root key or a previous one.

        Returns:
            The new wrap, with the same secret and the same associated data.

        Raises:
            RootKeyError: the wrap was made under another root key.
            DataError: the wrap does not verify.
        """

    def checkpoint(self, system: int, database: str, link: int, hash: bytes) -> str:
        """Have the holder of the root key sign a checkpoint of an audit trail, and keep it.

        Args:
            system: the system identifier of the cluster, an unsigned number of 64 bits.
            database: the name of the database.
            link: the number of the last event; 0 if there is none.
            hash: its hash, 32 bytes; zeros if there is none.

        Returns:
            The checkpoint, a line of JSON; see ``pgkeymgr.agent.checkpoint``.

        Raises:
            UnsupportedError: no agent has the root key.
        """


def unknown_root_key(wanted: str, present: str, source: str) -> RootKeyError:
    """Return the error for a wrap or a request that needs a missing root key.

    Args:
        wanted: the fingerprint of the missing root key.
        present: the fingerprint of the newest root key.
        source: the place that the newest root key was read from.

    Returns:
        The error, to be raised.
    """
    return RootKeyError(
        f"wrong root key: this was wrapped under {wanted}, but the server's root key is {present}",
        hint="Give the server the root key of this database, as the newest or as a previous one. "
        f"The present root key is from {source}.",
    )


def fingerprint(key: bytes) -> str:
    """Return the fingerprint of a root key.

    The fingerprint is BLAKE2b-128 keyed with the root key. It shows whether two root keys are equal, and nothing
    else about them.

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
        """Initialize the object with root keys.

        Args:
            keys: at least one root key, 32 bytes each, newest first.
            source: the place that they were read from, in words.
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
        raise TypeError("a root key must not be copied or written anywhere")

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
        """Wrap a wrapped secret again; see ``RootKey.rewrap``."""
        return self.wrap(self.unwrap(wrapped, associated_data, made_under), associated_data)

    def checkpoint(self, system: int, database: str, link: int, hash: bytes) -> str:
        """Refuse to make a checkpoint: a checkpoint that the server itself could make would prove nothing.

        Raises:
            UnsupportedError: always.
        """
        from ..documents import page  # most sessions need none

        raise UnsupportedError(
            "a checkpoint of the audit trail needs the agent",
            hint=f"Run the root key's agent, with a file for checkpoints: see {page('audit.md')}.",
        )

    def forget(self) -> None:
        """Overwrite the keys in memory, in every object that shares them. This object has no key afterwards."""
        from .memory import wipe

        for keys in (self._keys, self._wrapping_keys):
            for key in keys.values():
                wipe(key)
            keys.clear()
