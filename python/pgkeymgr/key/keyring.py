"""The session keyring: the keys that a session has unlocked.

An unlocked secret is kept as long as its wrap is the same; ``use_cache`` knows the users who may use it.
"""

from __future__ import annotations

from collections.abc import Callable

from .cipher import TokenCipher
from .record import Record

TYPE_CHECKING = False  # see key/named_tuple.py
if TYPE_CHECKING:
    from typing import Any

    # The cipher, or its function, is None only if the user is -1, which is no user.
    _Opener = tuple[bytes, int, int, Any, bool]
    _Sealer = tuple[str | int, int, int, Any, bool]
    _CellOpener = tuple[int, bytes, int, int, Any, bool]
    _CellSealer = tuple[int, int, int, Any, bool]

BYTES_MAX = 64 * 1024 * 1024
"""The maximum of the estimated bytes of the unlocked keys that a session keeps. It forgets the least recently used
first."""

KEY_BYTES = 1536
"""The estimate for an unlocked key, besides its cipher."""


_NO_OPENER: _Opener = (b"", -1, -1, None, False)
_NO_SEALER: _Sealer = ("", -1, -1, None, False)
_NO_CELL_OPENER: _CellOpener = (-1, b"", -1, -1, None, False)
_NO_CELL_SEALER: _CellSealer = (-1, -1, -1, None, False)


class Unlocked:
    """A key's secret, in this session's memory, with the record that was used to open it, and its cipher."""

    __slots__ = ("cipher", "record", "secret", "size")

    def __init__(self, record: Record, secret: bytes) -> None:
        self.record = record
        self.secret = secret
        self.cipher: TokenCipher | None = None
        self.size = KEY_BYTES

    def __reduce__(self) -> str:
        raise TypeError("a key must not be copied or written anywhere")

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
        opener: the last cipher that decrypted: the token's header, the user, the statement, the cipher's
            ``decrypt_raw``, and whether it lasts, so that the next statement can use it if
            ``UseCache.carries_over``.
        sealer: the last cipher that encrypted: the key's name or id, and the rest as in ``opener``, but with the
            cipher itself.
        cell_opener: the last cipher that opened a cell: the family of the column's key, and the rest as in
            ``opener``.
        cell_sealer: the last cipher that sealed a cell: the key's family, and the rest as in ``sealer``.
    """

    def __init__(self) -> None:
        self.opener: _Opener = _NO_OPENER
        self.sealer: _Sealer = _NO_SEALER
        self.cell_opener: _CellOpener = _NO_CELL_OPENER
        self.cell_sealer: _CellSealer = _NO_CELL_SEALER
        self._unlocked: dict[int, Unlocked] = {}
        self._bytes = 0

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
        return self._use(record, unlock, with_cipher=False).secret

    def _use(self, record: Record, unlock: Callable[[Record], bytes], with_cipher: bool) -> Unlocked:
        unlocked = self._unlocked.pop(record.id, None)
        if unlocked is not None:
            self._bytes -= unlocked.size
        if unlocked is None or not unlocked.is_of(record):
            unlocked = Unlocked(record, unlock(record))
        if with_cipher:
            cipher = unlocked.cipher
            if cipher is None:
                cipher = unlocked.cipher = TokenCipher(record.id, unlocked.secret)
            unlocked.size = KEY_BYTES + cipher.bytes  # which grows
        self._unlocked[record.id] = unlocked  # the end of the dictionary is for the last used key
        self._bytes += unlocked.size
        while self._bytes > BYTES_MAX:
            self._bytes -= self._unlocked.pop(next(iter(self._unlocked))).size
        return unlocked

    def cipher(self, record: Record, unlock: Callable[[Record], bytes]) -> TokenCipher:
        """Return the cipher of a key's tokens; see ``secret``."""
        if record.root_wrap is None:
            return TokenCipher(record.id, self.secret(record, unlock))
        cipher = self._use(record, unlock, with_cipher=True).cipher
        assert cipher is not None
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
        self._bytes = 0
