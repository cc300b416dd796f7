"""The secrets that a session has unlocked with passphrases: data keys and users' secret keys, in its memory.

A secret belongs to the role that unlocked it, and no other role can use it after SET ROLE. Each unlock has a
random mark in a setting of the session, and ends when the mark is removed. So an unlock is undone as SET is: by a
rollback, at the end of the transaction if it was for the transaction only, and by RESET ALL or DISCARD ALL, with
which connection pools clear a session for the next client. Only a superuser can set that setting. So a user who
has read a mark, in a log, say, cannot bring an ended unlock back.

While a secret is unlocked, no parallel workers are started for this session, since they have not unlocked it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import chain

from ..errors import DataError, Error, KeyStateError
from .record import Record

TYPE_CHECKING = False  # see key/named_tuple.py
if TYPE_CHECKING:
    from typing import NamedTuple, TypeVar

    from .database import Database
else:
    from .named_tuple import NamedTuple

SESSION_MARK = "pgkeymgr.unlocked"
TRANSACTION_MARK = "pgkeymgr.unlocked_in_transaction"
_MARK_BYTES = 16
_SEPARATOR = ","
_KEPT_MAX = 8
_WORKER_SETTINGS = ("max_parallel_workers", "max_parallel_workers_per_gather")


class Scope(NamedTuple):
    """The duration of an unlock. The setting is a list of marks; the unlock lasts while the list has the mark."""

    setting: str
    mark: str

    @property
    def until(self) -> str:
        """The duration in a word: ``session`` or ``transaction``."""
        return "transaction" if self.setting == TRANSACTION_MARK else "session"


class _UnlockedKey:
    """A data key that a passphrase has opened, with the passphrase wraps that are known to hold it."""

    __slots__ = ("record", "scope", "secret", "wraps")

    def __init__(self, record: Record, secret: bytes, wrapped: bytes, scope: Scope) -> None:
        self.record = record
        self.secret = secret
        self.wraps = {wrapped}
        self.scope = scope

    def __reduce__(self) -> str:
        raise TypeError("a key must not be copied or written anywhere")


class _UnlockedUser:
    """A user's secret keys, by their public keys. There are two after a rotation that may be undone."""

    __slots__ = ("pairs", "scope")

    def __init__(self, public: bytes, secret: bytes, scope: Scope) -> None:
        self.pairs = {public: secret}
        self.scope = scope

    def __reduce__(self) -> str:
        raise TypeError("a key must not be copied or written anywhere")


if TYPE_CHECKING:
    _Which = TypeVar("_Which")
    _Kept = TypeVar("_Kept", _UnlockedKey, _UnlockedUser)


class Unlocked:
    """The secrets that are unlocked in one session."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Each key may have several unlocks, since a later unlock may be undone.
        self._keys: dict[tuple[bytes, int], list[_UnlockedKey]] = {}
        self._users: dict[int, list[_UnlockedUser]] = {}

    def scope(self, *, for_transaction: bool | None) -> Scope:
        """Begin an unlock.

        Args:
            for_transaction: whether the unlock lasts until the transaction ends, instead of the session.

        Returns:
            The scope for the secrets that are unlocked next.

        Raises:
            DataError: for_transaction is NULL.
        """
        if for_transaction is None:
            raise DataError("for_transaction must not be NULL")
        self._purge()
        setting = TRANSACTION_MARK if for_transaction else SESSION_MARK
        mark = os.urandom(_MARK_BYTES).hex()
        # Only marks of this session are kept: a value that RESET ALL sets, by ALTER ROLE, say, must not be a mark.
        unlocked: Iterable[_UnlockedKey | _UnlockedUser] = chain(*self._keys.values(), *self._users.values())
        kept = {one.scope.mark: None for one in unlocked if one.scope.setting == setting}
        self._database.mark_session(setting, _SEPARATOR.join([*kept, mark]), is_local=for_transaction)
        for name in _WORKER_SETTINGS:
            self._database.query(
                "SELECT pg_catalog.set_config($1, '0', $2)", ("text", name), ("boolean", for_transaction)
            )
        return Scope(setting, mark)

    def keep_key(self, record: Record, secret: bytes, wrapped: bytes, scope: Scope) -> None:
        """Keep a data key that a passphrase has opened, for the user of the record.

        Args:
            record: the record of the key.
            secret: its bytes.
            wrapped: the passphrase wrap that was opened.
            scope: from ``scope``.
        """
        kept = self._keys.setdefault((record.uuid, record.user), [])
        kept.append(_UnlockedKey(record, secret, wrapped, scope))
        del kept[:-_KEPT_MAX]

    def add_wrap(self, record: Record, wrapped: bytes) -> None:
        """Note that another passphrase wrap holds a data key, too, if the key is unlocked."""
        for key in self._keys.get((record.uuid, record.user), ()):
            key.wraps.add(wrapped)

    def keep_user(self, user: int, public: bytes, secret: bytes, scope: Scope) -> None:
        """Keep a user's secret key.

        Args:
            user: the role's OID.
            public: the user's public key, 32 bytes.
            secret: the secret half, 32 bytes.
            scope: from ``scope``.
        """
        kept = self._users.setdefault(user, [])
        kept.append(_UnlockedUser(public, secret, scope))
        del kept[:-_KEPT_MAX]

    def add_pair(self, user: int, public: bytes, secret: bytes) -> None:
        """Keep a user's next key pair beside the present pair, if the present pair is unlocked."""
        self._purge()
        for unlocked in self._users.get(user, ()):
            unlocked.pairs[public] = secret

    def secret(self, record: Record) -> bytes:
        """Return the secret of a data key that has no wrap under the root key.

        Args:
            record: the record of the key, for the current user.

        Returns:
            The secret. It must not be given to SQL.

        Raises:
            KeyStateError: the key is locked: this user has not unlocked it, or only with a wrap that is gone.
        """
        self._purge()
        for key in self._keys.get((record.uuid, record.user), ()):
            if record.passphrase_wrap in key.wraps:
                return key.secret
        if record.user_wrap is not None:
            from .user_wrap import open_user_wrap  # the import is slow

            for user in self._users.get(record.user, ()):
                for public, secret in user.pairs.items():
                    opened = open_user_wrap(record.user_wrap, record.associated_data, public, secret)
                    if opened is not None:
                        return opened
        raise locked(record)

    def _purge(self) -> None:
        """Forget the unlocks that have ended."""
        marks = {
            setting: (self._database.setting(setting) or "").split(_SEPARATOR)
            for setting in (SESSION_MARK, TRANSACTION_MARK)
        }
        _keep_marked(self._keys, marks)
        _keep_marked(self._users, marks)

    def listing(self, user: int) -> list[tuple[str, int | None, str | None, str]]:
        """List the unlocks of a user: kind, a data key's id and name, and the duration; no secrets."""
        self._purge()
        listed: list[tuple[str, int | None, str | None, str]] = []
        for (_, owner), keys in self._keys.items():
            if owner == user:
                listed.append(("data key", keys[0].record.id, keys[0].record.name, _until(keys)))
        if user in self._users:
            listed.append(("user key", None, None, _until(self._users[user])))
        return listed

    def clear(self) -> None:
        """Forget everything."""
        self._keys.clear()
        self._users.clear()


def _keep_marked(unlocked: dict[_Which, list[_Kept]], marks: dict[str, list[str]]) -> None:
    for which, each in list(unlocked.items()):
        unlocked[which] = [one for one in each if one.scope.mark in marks[one.scope.setting]]
        if not unlocked[which]:
            del unlocked[which]


def _until(unlocked: Sequence[_UnlockedKey | _UnlockedUser]) -> str:
    return max((one.scope for one in unlocked), key=lambda scope: scope.setting == SESSION_MARK).until


def locked(record: Record) -> Error:
    """Make the error for a key that this session cannot open."""
    if not record.other_wraps:
        return KeyStateError(f"{record} has no wrap: it cannot be opened")
    ways = []
    if record.has_wrap("passphrase"):
        ways.append("unlock_data_key(), with its passphrase")
    if record.has_wrap("user"):
        ways.append("unlock_user_key(), if the key is shared to this role")
    return KeyStateError(
        f"{record} is locked: it has no wrap under the root key",
        hint=f"Call {', or '.join(ways)}, in this session and as the same role.",
    )
