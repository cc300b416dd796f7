"""The record of a key, as the key table has it for one user, and the checks of usage and state."""

from collections.abc import Sequence
from typing import NamedTuple

from ..errors import KeyStateError, PrivilegeError


class Record(NamedTuple):
    """The record of a key in the key table, for one user.

    ``expires`` is in microseconds since 2000-01-01 UTC. ``roles`` are the OIDs of the roles, besides the user,
    that the user's rights come through. The wraps under a passphrase and to the user are only there if the key has
    no wrap under the root key; the kinds of all of these, ``other_wraps``, may not have been looked up.
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

    def __str__(self) -> str:
        return f"key {self.id}" if self.name is None else f'key {self.id} "{self.name}"'

    @property
    def associated_data(self) -> bytes:
        """What each wrap of the key is bound to: a wrap that is copied to another key does not open."""
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
        """Whether the user may use the key for anything, and so may be told about it."""
        return self.may_encrypt or self.may_decrypt or self.may_search

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
        """Refuse a user who may not compare values by what is made of them with the key.

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
            KeyStateError: it was.
        """
        if self.state == "destroyed":
            raise KeyStateError(f"{self} was destroyed: what it encrypted is lost")

    def check_state(self, *, allow_expired: bool = False) -> None:
        """Refuse a key that is not in use any more.

        Args:
            allow_expired: do not refuse one that is only expired.

        Raises:
            KeyStateError: it is destroyed, disabled or expired.
        """
        self.check_not_destroyed()
        if self.state != "enabled":
            raise KeyStateError(f"{self} is disabled", hint=f"enable_data_key({self.id}) enables it.")
        if self.is_expired and not allow_expired:
            raise KeyStateError(
                f"{self} is expired",
                hint="Supersede it. To read what it encrypted, move its expiry with move_expiry().",
            )


def wrap_associated_data(uuid: bytes, key_type: str, derivation: bytes = b"") -> bytes:
    """Return what a wrap of a key is bound to.

    Args:
        uuid: the key's, 16 bytes.
        key_type: the key's.
        derivation: for a derived key, its number as 8 bytes and its context of 8 bytes.

    Returns:
        The associated data; no two keys have the same.
    """
    return b"key" + uuid + bytes([len(derivation)]) + derivation + key_type.encode()
