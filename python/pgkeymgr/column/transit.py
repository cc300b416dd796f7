"""Values on their way from a view's trigger to the base table's, which seals them for the row as it is stored.

Between the two run the triggers of the base table's owner, and a statement whose plan can be logged. Neither is to
see the plaintext; so the ciphertext column has a ticket meanwhile: a zero byte, which no token begins with, and a
number. The value waits here, in the memory of this backend.
"""

from typing import TYPE_CHECKING

from ..errors import DataError

if TYPE_CHECKING:
    from ..key.database import Database

REWRITE = b"\0"
"""What the procedures put into a ciphertext column: its trigger leaves the row as it was, the value rewritten.

Tickets begin with it, as no token does.
"""

WAITING_MAX = 1000
"""How many values can wait. Only those of a row that is being written do, and of rows that an error has undone."""

_NUMBER_BYTES = 8


class Transit:
    """The values that wait in one session.

    A ticket keeps a value out of sight, but is no secret: who runs code in between runs it as who writes. So a
    value is only there for the user who has left it, and in the same statement: an error can keep the trigger from
    taking it, and then it waits while others run code.
    """

    def __init__(self, database: "Database") -> None:
        self._stamp = database.stamp
        self._user = database.user
        self._waiting: dict[tuple[bytes, int], bytes] = {}
        self._transaction = database.transaction
        self._stamped = 0
        self._numbered_in = 0
        self._number = 0

    def send(self, value: bytes) -> bytes:
        """Leave a value for the base table's trigger.

        Args:
            value: what is to be sealed.

        Returns:
            The ticket.
        """
        stamp, waiting = self._stamp(), self._waiting
        if stamp != self._stamped:
            waiting.clear()  # what rows that were undone have left
            self._stamped = stamp
            # Each transaction counts from one, so that a ticket does not tell what the session has done before.
            if (transaction := self._transaction()) != self._numbered_in:
                self._numbered_in, self._number = transaction, 0
        elif len(waiting) >= WAITING_MAX:
            del waiting[next(iter(waiting))]
        self._number += 1
        ticket = REWRITE + self._number.to_bytes(_NUMBER_BYTES, "big")
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
        value = self._waiting.pop((ticket, self._user()), None) if self._stamp() == self._stamped else None
        if value is None:
            raise DataError("this is not a ciphertext, but stands for a value that is not there")
        return value
