"""Values on their way from a view's trigger to the base table's, which seals them for the row as it is stored.

Between the two triggers, the base table's own triggers and a statement run. The triggers belong to the table's
owner, and the plan of the statement can be logged, so neither may see the plaintext. Until the value is sealed,
the ciphertext column has a ticket: a zero byte, with which no token begins, and a number of 8 bytes. The value
waits here, in the memory of this backend.
"""

from __future__ import annotations

from struct import Struct

from ..errors import DataError

TYPE_CHECKING = False  # see key/named_tuple.py
if TYPE_CHECKING:
    from ..key.database import Database

REWRITE = b"\0"
"""The mark that the procedures put into a ciphertext column: its trigger rewrites the value and keeps the row.

Tickets begin with it, as no token does.
"""

WAITING_MAX = 1000
"""The number of values that can wait: those of the present row, and of rows that an error has undone."""

_pack_ticket = Struct(">cQ").pack


class Transit:
    """The values that wait in one session.

    A ticket hides a value, but is not a secret: code between the two triggers runs as the role that writes. So a
    value is only available to the user who has left it, and in the same statement: an error can keep the trigger
    from taking it, and then it waits while others run code.

    Attributes:
        waiting: the waiting values, by their tickets and the users who have left them.
        stamp: the statement in which the values were left.
    """

    def __init__(self, database: Database) -> None:
        self._get_stamp = database.stamp
        self._get_transaction = database.transaction
        self._user = database.user
        self.waiting: dict[tuple[bytes, int], bytes] = {}
        self.stamp = 0
        self._transaction = 0
        self._number = 0

    def send(self, value: bytes) -> bytes:
        """Leave a value for the base table's trigger.

        Args:
            value: the value to be sealed.

        Returns:
            The ticket.
        """
        stamp, waiting = self._get_stamp(), self.waiting
        if stamp != self.stamp:
            waiting.clear()  # values of rows that were rolled back
            self.stamp = stamp
            # Each transaction counts from one, so that a ticket reveals nothing: neither the time nor how much the
            # session has written before.
            if (transaction := self._get_transaction()) != self._transaction:
                self._transaction, self._number = transaction, 0
        elif len(waiting) >= WAITING_MAX:
            del waiting[next(iter(waiting))]
        self._number = number = self._number + 1
        ticket = _pack_ticket(REWRITE, number)
        waiting[ticket, self._user()] = value
        return ticket

    def send_text(self, value: str) -> bytes:
        """Leave a value that is text; see ``send``."""
        return self.send(value.encode())

    def take(self, ticket: bytes) -> bytes:
        """Return the value of a ticket, which does not wait any longer.

        Raises:
            DataError: there is none, or another user or another statement has left it.
        """
        value = self.waiting.pop((ticket, self._user()), None) if self._get_stamp() == self.stamp else None
        if value is None:
            raise DataError("this is not a ciphertext: it refers to a value that another statement has sent")
        return value
