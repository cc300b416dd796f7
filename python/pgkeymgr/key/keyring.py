"""The session keyring: the keys that a session has unlocked.

An unlocked secret is kept as long as its wrap is the same; ``use_cache`` knows the users who may use it.
"""

from collections.abc import Callable
from typing import Any

from .cipher import TokenCipher
from .record import Record

KEYS_MAX = 16_384
"""The number of unlocked keys that a session keeps. The oldest is forgotten first. Each takes some 2 kB."""


# The cipher is None only if the user is -1, which is no user.
_Opener = tuple[bytes, int, int, Any]
_Sealer = tuple[str | int, int, int, Any]
_CellOpener = tuple[int, bytes, int, int, Any]
_CellSealer = tuple[int, int, int, Any]
_NO_OPENER: _Opener = (b"", -1, -1, None)
_NO_SEALER: _Sealer = ("", -1, -1, None)
_NO_CELL_OPENER: _CellOpener = (-1, b"", -1, -1, None)
_NO_CELL_SEALER: _CellSealer = (-1, -1, -1, None)


class Unlocked:
    """A key's secret, in this session's memory, with the record that was used to open it."""

    __slots__ = ("record", "secret")

    def __init__(self, record: Record, secret: bytes) -> None:
        self.record = record
        self.secret = secret

    def __reduce__(self) -> str:
        raise TypeError("a key is not to be copied or written anywhere")

    def is_of(self, record: Record) -> bool:
        """Return whether a record that was read later still has this secret."""
        mine = self.record
        return (mine.uuid, mine.key_type, mine.root_wrap, mine.derivation_id, mine.context) == (
            record.uuid,
            record.key_type,
            record.root_wrap,
            record.derivation_id,
            record.context,
        )


class Keyring:
    """The keys that a session has unlocked, and the ciphers of its last uses.

    Attributes:
        opener: the last cipher that decrypted: the token's header, the user, the statement, and the cipher.
        sealer: the last cipher that encrypted, with the key's name or id instead of the header.
        cell_opener: the last cipher that opened a cell: the family of the column's key, the token's header, the
            user, the statement, and the cipher.
        cell_sealer: the last cipher that sealed a cell: the key's family, the user, the statement, and the cipher.
    """

    def __init__(self) -> None:
        self.opener: _Opener = _NO_OPENER
        self.sealer: _Sealer = _NO_SEALER
        self.cell_opener: _CellOpener = _NO_CELL_OPENER
        self.cell_sealer: _CellSealer = _NO_CELL_SEALER
        self._unlocked: dict[int, Unlocked] = {}
        self._ciphers: dict[int, TokenCipher] = {}

    def secret(self, record: Record, unlock: Callable[[Record], bytes]) -> bytes:
        """Return a key's secret, unlocked now or before.

        Args:
            record: the record of the key, read in this statement.
            unlock: the function that unlocks the key.

        Returns:
            The secret.
        """
        if record.root_wrap is None:
            return unlock(record)  # ``unlock`` checks each time that the key is still unlocked for this user
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
        """Return the cipher of a key's tokens; see ``secret``."""
        secret = self.secret(record, unlock)
        if record.root_wrap is None:
            return TokenCipher(record.id, secret)
        cipher = self._ciphers.get(record.id)
        if cipher is None:
            cipher = self._ciphers[record.id] = TokenCipher(record.id, secret)
        return cipher

    def forget_last(self) -> None:
        """Forget the ciphers of the last uses, so that the rights to use them are checked again."""
        self.opener, self.sealer = _NO_OPENER, _NO_SEALER
        self.cell_opener, self.cell_sealer = _NO_CELL_OPENER, _NO_CELL_SEALER

    def __len__(self) -> int:
        return len(self._unlocked)

    def clear(self) -> None:
        """Forget everything."""
        self.forget_last()
        self._unlocked.clear()
        self._ciphers.clear()
