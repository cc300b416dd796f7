"""The cache of users' rights to keys. It is valid as long as PostgreSQL reports no change of the key tables.

Each write to the key tables invalidates the relation cache entry of the table ``key``. PostgreSQL broadcasts that
at COMMIT, also to standbys, and reverts it at ROLLBACK. The cache watches a kept plan over that table: as long as
the plan is valid, no change was reported, and no query is sent.

PostgreSQL does not report two kinds of change: the expiry of a key, and the end of the user's membership in the
roles that the rights came through. The cache checks both at the first use in each statement. It compares the
expiry with the statement's time stamp.

In a statement that is not the first of its transaction, the session's relation cache may be out of date:
PostgreSQL accepts invalidations when a transaction begins and when a lock is taken. So the cache accepts them
first.
"""

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .database import Database
    from .record import Record

ENTRIES_MAX = 16_384
"""The maximum number of entries. The least recently used entry is removed first."""


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
    def of(cls, record: "Record") -> "Conditions":
        """Return the conditions for the use of a key."""
        return cls(record.expires, record.roles, record.root_wrap is None)


class _Entry:
    __slots__ = ("conditions", "stamp", "value")

    def __init__(self, value: Any, conditions: Conditions, stamp: int) -> None:
        self.value = value
        self.conditions = conditions
        self.stamp = stamp

    def __reduce__(self) -> str:
        raise TypeError("a key is not to be copied or written anywhere")


class UseCache:
    """The rights of the users of one session, by their questions.

    Attributes:
        is_quick: whether an answer holds for the rest of the statement. It does not in a transaction that has
            changed keys: the change may be rolled back to a savepoint within the statement.
    """

    def __init__(self, database: "Database") -> None:
        self._database = database
        self._entries: dict[Hashable, _Entry] = {}
        self._stamp = -1
        self._changed_in = -1
        self.is_quick = True

    def get(self, which: Hashable) -> Any:
        """Return the answer to a question, if it is in the cache and still true, or None.

        Args:
            which: the question; the user is part of it.
        """
        stamp = self._database.stamp()
        if stamp != self._stamp:
            self._begin_statement(stamp)
        elif not self.is_quick and not self._database.is_key_watch_valid():
            self._renew()
        entry = self._entries.get(which)
        if entry is None:
            return None
        if entry.stamp != stamp:
            del self._entries[which]
            if not self._still_holds(entry.conditions, stamp):
                return None
            self._entries[which] = entry  # the end of the dictionary is for the last used entry
            entry.stamp = stamp
        return entry.value

    def put(self, which: Hashable, value: Any, conditions: Conditions) -> None:
        """Remember the answer to a question to which ``get`` returned None.

        Args:
            which: see ``get``.
            value: the answer.
            conditions: the conditions under which the answer stays true.
        """
        if len(self._entries) >= ENTRIES_MAX:
            del self._entries[next(iter(self._entries))]
        self._entries[which] = _Entry(value, conditions, self._stamp)

    def note_change(self) -> None:
        """Note that this transaction changes keys."""
        self._changed_in = self._database.transaction()
        self.is_quick = False
        self.clear()

    def clear(self) -> None:
        """Forget all answers."""
        self._entries.clear()
        self._stamp = -1

    def _begin_statement(self, stamp: int) -> None:
        database = self._database
        transaction = database.transaction()
        if database.may_have_missed_changes():
            database.accept_invalidations()
        self.is_quick = transaction != self._changed_in
        if not database.is_key_watch_valid():
            self._renew()
        self._stamp = stamp

    def _renew(self) -> None:
        # The order matters: a change between the two steps is noticed next time.
        self._entries.clear()
        self._database.renew_key_watch()

    def _still_holds(self, conditions: Conditions, stamp: int) -> bool:
        if conditions.is_for_statement:
            return False
        if conditions.expires is not None and conditions.expires <= stamp:
            return False
        return not conditions.roles or self._database.is_member(conditions.roles)
