"""The record of a key, as the key table has it for one user, and the checks of usage and state."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import DataError, KeyStateError, PrivilegeError

TYPE_CHECKING = False  # see key/named_tuple.py
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from .named_tuple import NamedTuple


class Record(NamedTuple):
    """The record of a key in the key table, for one user.

    ``expires`` is in microseconds since 2000-01-01 UTC. ``roles`` are the OIDs of the roles, besides the user,
    that the user's rights come through. The wraps under a passphrase and to the user are only present if the key
    has no wrap under the root key. ``other_wraps`` has the kinds of these wraps, or is None if it was not read.
    ``encrypts_until`` is in the same unit as ``expires``, and ``has_stopped`` says whether that time has come.
    """

    id: int
    uuid: bytes
    family: int
    parent_family: int | None
    name: str | None
    key_type: str
    state: str
    is_expired: bool
    expires: int | None
    superseded_by: int | None
    derivation_id: int | None
    context: bytes | None
    may_encrypt: bool
    may_decrypt: bool
    may_search: bool
    roles: Sequence[int]
    root_wrap: bytes | None
    fingerprint: str | None
    other_wraps: Sequence[str] | None
    user: int
    passphrase_wrap: bytes | None
    user_wrap: bytes | None
    may_read_masked: bool
    encrypts_until: int | None
    has_stopped: bool
    is_to_be_destroyed: bool

    def __str__(self) -> str:
        return f"key {self.id}" if self.name is None else f'key {self.id} "{self.name}"'

    @property
    def associated_data(self) -> bytes:
        """The data that each wrap of the key is bound to: a wrap that is copied to another key does not open."""
        derivation = b""
        if self.derivation_id is not None and self.context is not None:
            derivation = self.derivation_id.to_bytes(8, "little", signed=True) + self.context
        return wrap_associated_data(self.uuid, self.key_type, derivation)

    def has_wrap(self, kind: str) -> bool:
        """Return whether the key is wrapped under a passphrase, or to a user."""
        assert self.other_wraps is not None, "the record was found without them"
        return kind in self.other_wraps

    @property
    def has_usage(self) -> bool:
        """Whether the user may use the key for anything, and so may know of it."""
        return self.may_encrypt or self.may_decrypt or self.may_search or self.may_read_masked

    def is_current(self) -> bool:
        """Return whether the key is enabled, and no newer version has superseded it."""
        return self.state == "enabled" and self.superseded_by is None

    def check_usage(self, *, encrypt: bool) -> None:
        """Refuse a user without a grant.

        Raises:
            PrivilegeError: the user may not use the key for this.
        """
        if not (self.may_encrypt if encrypt else self.may_decrypt):
            raise PrivilegeError(
                f"permission denied to {'encrypt' if encrypt else 'decrypt'} with {self}",
                hint="Its owner or an administrator of keys can grant it, with grant_data_key().",
            )

    def check_search(self) -> None:
        """Refuse a user who may not compare values that were encrypted with the key.

        Raises:
            PrivilegeError: the user may neither search nor decrypt with the key.
        """
        if not self.may_search:
            raise PrivilegeError(
                f"permission denied to search with {self}",
                hint="Its owner or an administrator of keys can grant the usage search, with grant_data_key().",
            )

    def check_not_destroyed(self) -> None:
        """Refuse a key that was destroyed.

        Raises:
            KeyStateError: the key was destroyed.
        """
        if self.state == "destroyed":
            raise KeyStateError(f"{self} was destroyed: the data that it encrypted is lost")

    def check_state(self, *, allow_expired: bool = False) -> None:
        """Refuse a key that is not in use any more.

        Args:
            allow_expired: whether to accept a key that is only expired.

        Raises:
            KeyStateError: the key is destroyed, disabled or expired.
        """
        self.check_not_destroyed()
        if self.is_to_be_destroyed:
            raise KeyStateError(
                f"{self} is disabled and will be destroyed", hint=f"cancel_destroy({self.id}) keeps the key."
            )
        if self.state != "enabled":
            raise KeyStateError(f"{self} is disabled", hint=f"enable_data_key({self.id}) enables it.")
        if self.is_expired and not allow_expired:
            raise KeyStateError(
                f"{self} is expired",
                hint="Supersede the key. To read its data, move its expiry with move_expiry().",
            )

    def check_still_encrypts(self) -> None:
        """Refuse a key that only decrypts since a time.

        Raises:
            KeyStateError: the time has come after which the key encrypts nothing more.
        """
        if self.has_stopped:
            raise KeyStateError(
                f"{self} has stopped encrypting and only decrypts",
                hint="Supersede the key, or set another time with limit_encryption().",
            )

    def check_type(self, key_type: str) -> None:
        """Refuse a key of another type.

        Raises:
            DataError: the key has another type.
        """
        if self.key_type != key_type:
            raise DataError(f"{self} has type {self.key_type} instead of {key_type}")


def wrap_associated_data(uuid: bytes, key_type: str, derivation: bytes = b"") -> bytes:
    """Return the associated data of a key's wraps.

    Args:
        uuid: the uuid of the key, 16 bytes.
        key_type: the type of the key.
        derivation: the number of a derived key as 8 bytes, and its context of 8 bytes.

    Returns:
        The associated data, which is different for each key.
    """
    return b"key" + uuid + bytes([len(derivation)]) + derivation + key_type.encode()
