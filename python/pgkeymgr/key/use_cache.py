"""The cache of users' rights to keys. It is valid as long as PostgreSQL reports no change of the key tables.

Each write to the key tables invalidates the relation cache entry of the table ``key_change``. PostgreSQL
broadcasts that at COMMIT, also to standbys, and reverts it at ROLLBACK. The cache watches a kept plan over that
table and the key tables: as long as the plan is valid, no change was reported, and no query is sent.

PostgreSQL does not report two kinds of change: the expiry of a key, and the end of the user's membership in the
roles that the rights came through. The cache checks both at the first use in each statement. It compares the
expiry with the statement's time stamp.

In a statement that is not the first of its transaction, the session's relation cache may be out of date:
PostgreSQL accepts invalidations when a transaction begins and when a lock is taken. So the cache accepts them
first.

The cache is bounded by an estimate of its bytes. A cipher counts here and in the keyring, since it takes memory as
long as either has it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from .cipher import TokenCipher

TYPE_CHECKING = False  # see key/named_tuple.py
if TYPE_CHECKING:
    from typing import Any, NamedTuple

    from .database import Database
    from .record import Record
else:
    from .named_tuple import NamedTuple

BYTES_MAX = 64 * 1024 * 1024
"""The maximum of the estimated bytes of all entries. The least recently used entry is removed first."""

ENTRY_BYTES = 1024
"""The estimate for an entry, besides the texts of its question and a cipher."""

_CHARACTER_BYTES_MAX = 4


class Conditions(NamedTuple):
    """The conditions under which an answer of the cache stays true while no change is reported.

    Attributes:
        expires: the time when the answer ends, in microseconds since 2000-01-01 UTC, or None.
        roles: the OIDs of the roles that the user must be a member of.
        is_for_statement: whether the answer ends with the statement: a key that the session has unlocked may be
            locked again.
    """

    expires: int | None
    roles: Sequence[int]
    is_for_statement: bool

    @classmethod
    def of(cls, record: Record, *, encrypt: bool = False) -> Conditions:
        """Return the conditions for the use of a key.

        Args:
            record: the record of the key.
            encrypt: whether the key is to encrypt, which may end before it expires.
        """
        expires = record.expires
        if encrypt and record.encrypts_until is not None:
            expires = record.encrypts_until if expires is None else min(expires, record.encrypts_until)
        return cls(expires, record.roles, record.root_wrap is None)


class _Entry:
    __slots__ = ("conditions", "size", "stamp", "value")

    def __init__(self, value: Any, conditions: Conditions, stamp: int, size: int) -> None:
        self.value = value
        self.size = size
        # None stands for no condition, which is the usual case: a statement need not look at each.
        has_any = conditions.expires is not None or conditions.roles or conditions.is_for_statement
        self.conditions = conditions if has_any else None
        self.stamp = stamp

    def __reduce__(self) -> str:
        raise TypeError("a key must not be copied or written anywhere")


class UseCache:
    """The rights of the users of one session, by their questions.

    Attributes:
        is_quick: whether an answer holds for the rest of the statement. It does not in a transaction that has
            changed keys: the change may be rolled back to a savepoint within the statement.
        is_lasting: whether the last answer of ``get`` or ``put`` holds as long as no change is reported.
        stamp: the statement that the answers are for.
    """

    def __init__(self, database: Database, forget: Callable[[], None]) -> None:
        """Initialize an empty cache.

        Args:
            database: the session.
            forget: called when a change is reported, to forget what was made of former answers.
        """
        self._database = database
        self._forget = forget
        self._get_stamp = database.stamp
        self._get_transaction = database.transaction
        self._may_have_missed_changes = database.may_have_missed_changes
        self._entries: dict[tuple[Hashable, ...], _Entry] = {}
        self._bytes = 0
        self.stamp = -1
        self._changed_in = -1
        self.is_quick = True
        self.is_lasting = False

    def get(self, which: tuple[Hashable, ...]) -> Any:
        """Return the answer to a question, if it is in the cache and still true, or None.

        Args:
            which: the question; the user is part of it.
        """
        stamp = self._get_stamp()
        if stamp != self.stamp:
            self.carries_over(stamp)
        elif not self.is_quick and not self._database.is_key_watch_valid():
            self._renew()
        entry = self._entries.get(which)
        if entry is None:
            return None
        if entry.stamp != stamp:
            del self._entries[which]
            if entry.conditions is not None and not self._still_holds(entry.conditions, stamp):
                self._bytes -= entry.size
                return None
            self._entries[which] = entry  # the end of the dictionary is for the last used entry
            entry.stamp = stamp
        self.is_lasting = entry.conditions is None
        return entry.value

    def carries_over(self, stamp: int) -> bool:
        """Return whether a lasting answer to a former statement, which was not forgotten, is true for the present.

        Args:
            stamp: the stamp of the present statement.
        """
        # This is called for each statement, and so calls as little as possible.
        if stamp == self.stamp:
            return self.is_quick
        transaction = self._get_transaction()
        if self._may_have_missed_changes(stamp, transaction):
            self._database.accept_invalidations()
        self.is_quick = is_quick = transaction != self._changed_in
        is_valid = self._database.is_key_watch_valid()
        if not is_valid:
            self._renew()
        self.stamp = stamp
        return is_valid and is_quick

    def put(self, which: tuple[Hashable, ...], value: Any, conditions: Conditions) -> None:
        """Remember the answer to a question to which ``get`` returned None.

        Args:
            which: see ``get``.
            value: the answer.
            conditions: the conditions under which the answer stays true.
        """
        size = ENTRY_BYTES + (value.bytes if isinstance(value, TokenCipher) else 0)
        for part in which:
            if type(part) is str:  # a value of the user's may be long
                size += _CHARACTER_BYTES_MAX * len(part)
        entry = self._entries[which] = _Entry(value, conditions, self.stamp, size)
        self._bytes += size
        while self._bytes > BYTES_MAX:
            self._bytes -= self._entries.pop(next(iter(self._entries))).size
        self.is_lasting = entry.conditions is None

    def note_change(self) -> None:
        """Note that this transaction changes keys."""
        self._changed_in = self._database.transaction()
        self.is_quick = False
        self.clear()

    def clear(self) -> None:
        """Forget all answers."""
        self._forget_all()
        self.stamp = -1

    def _forget_all(self) -> None:
        self._entries.clear()
        self._bytes = 0
        self._forget()

    def _renew(self) -> None:
        # The order matters: a change between the two steps is noticed next time.
        self._forget_all()
        self._database.renew_key_watch()

    def _still_holds(self, conditions: Conditions, stamp: int) -> bool:
        if conditions.is_for_statement:
            return False
        if conditions.expires is not None and conditions.expires <= stamp:
            return False
        return not conditions.roles or self._database.is_member(conditions.roles)
