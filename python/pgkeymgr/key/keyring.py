"""The session keyring: the keys that a session has used, unlocked, and what is known of them.

A key's record is read again once for each statement that uses it, so that a key disabled, revoked, dropped or
superseded elsewhere is so here at the next statement; its unlocked secret is kept as long as its wrap is the same.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..errors import KeyStateError, PrivilegeError
from .cipher import TokenCipher

KEYS_MAX = 1024
"""How many unlocked keys a session keeps; the one that was unlocked first goes first."""


# A cipher is there where the user is one.
_Opener = tuple[bytes, int, int, Any]
_Sealer = tuple[str | int, int, int, Any]
_NO_OPENER: _Opener = (b"", -1, -1, None)
_NO_SEALER: _Sealer = ("", -1, -1, None)


class Record(NamedTuple):
    """What the key table says of a key, for one user.

    The wraps that are not the root key's are there only if it has none under that: the one under a passphrase, and
    the one that is sealed to the user. Of which kinds there are any, ``other_wraps``, may not have been looked up.
    """

    id: int
    uuid: bytes
    family: int
    parent_family: int | None
    name: str | None
    key_type: str
    state: str
    is_expired: bool
    superseded_by: int | None
    derivation_id: int | None
    context: bytes | None
    may_encrypt: bool
    may_decrypt: bool
    may_search: bool
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
                hint="Supersede it. To read what it encrypted, its expiry can be moved in the table key.",
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


class Unlocked:
    """A key's secret, in this session's memory, with the record it was opened by."""

    __slots__ = ("record", "secret")

    def __init__(self, record: Record, secret: bytes) -> None:
        self.record = record
        self.secret = secret

    def __reduce__(self) -> str:
        raise TypeError("a key is not to be copied or written anywhere")

    def is_of(self, record: Record) -> bool:
        """Tell whether a record read later still has this secret."""
        mine = self.record
        return (mine.uuid, mine.key_type, mine.root_wrap, mine.derivation_id, mine.context) == (
            record.uuid,
            record.key_type,
            record.root_wrap,
            record.derivation_id,
            record.context,
        )


class Keyring:
    """What a session has unlocked, and who may use it in the present statement.

    Attributes:
        encryptors: by key and user, the statement in which that was checked, and the cipher.
        decryptors: the same by the four bytes that a token has for its key's id.
        blinders: by a blind index's key and user: the statement, and what it is keyed with.
        opener: what was decrypted with last: the token's header, the user, the statement, and the cipher.
        sealer: the same for encryption, with the key's name or id instead of the header.
        secrets: by a key's uuid, its type, the user and whether to encrypt: the statement, and the secret.
    """

    def __init__(self) -> None:
        self.encryptors: dict[tuple[str | int, int], tuple[int, TokenCipher]] = {}
        self.decryptors: dict[tuple[bytes, int], tuple[int, TokenCipher]] = {}
        self.secrets: dict[tuple[str, str, int, bool], tuple[int, bytes]] = {}
        self.blinders: dict[tuple[int, int], tuple[int, bytes]] = {}
        self.opener: _Opener = _NO_OPENER
        self.sealer: _Sealer = _NO_SEALER
        self._unlocked: dict[int, Unlocked] = {}
        self._ciphers: dict[int, TokenCipher] = {}

    def secret(self, record: Record, unlock: Callable[[Record], bytes]) -> bytes:
        """Return a key's secret, unlocked now or before.

        Args:
            record: the key's, read in this statement.
            unlock: what unlocks it.

        Returns:
            The secret.
        """
        if record.root_wrap is None:
            return unlock(record)  # whether it is still unlocked, and for whom, is looked up each time
        unlocked = self._unlocked.get(record.id)
        if unlocked is None or not unlocked.is_of(record):
            self._ciphers.pop(record.id, None)
            unlocked = Unlocked(record, unlock(record))
            if record.id not in self._unlocked and len(self._unlocked) >= KEYS_MAX:
                oldest = next(iter(self._unlocked))
                del self._unlocked[oldest]
                self._ciphers.pop(oldest, None)
            self._unlocked[record.id] = unlocked
        return unlocked.secret

    def cipher(self, record: Record, unlock: Callable[[Record], bytes]) -> TokenCipher:
        """Return what encrypts and decrypts a key's tokens; see ``secret``."""
        secret = self.secret(record, unlock)
        if record.root_wrap is None:
            return TokenCipher(record.id, secret)
        cipher = self._ciphers.get(record.id)
        if cipher is None:
            cipher = self._ciphers[record.id] = TokenCipher(record.id, secret)
        return cipher

    def forget_checks(self, more_than: int = -1) -> None:
        """Forget who may use what, so that it is checked again, if there is more of it than that."""
        for checked in (self.encryptors, self.decryptors, self.secrets, self.blinders):
            if len(checked) > more_than:
                checked.clear()
        if more_than < 0:
            self.opener, self.sealer = _NO_OPENER, _NO_SEALER

    def __len__(self) -> int:
        return len(self._unlocked)

    def clear(self) -> None:
        """Forget everything."""
        self.forget_checks()
        self._unlocked.clear()
        self._ciphers.clear()
