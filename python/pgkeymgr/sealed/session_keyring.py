"""The functions that list and forget the keys that a session has unlocked."""

from ..key.passphrase_wrap import PassphraseWraps
from ..key.table import KeyTable
from .exchange import Exchange


class SessionKeyring:
    """The list of the keys that a session has unlocked, and the way to forget them."""

    def __init__(self, table: KeyTable, wraps: PassphraseWraps, exchange: Exchange) -> None:
        self._table = table
        self._wraps = wraps
        self._exchange = exchange

    def lock(self) -> None:
        """Forget all keys that any role has unlocked in this session, and the open offer."""
        self._exchange.forget_offer()
        self._table.unlocked.clear()
        self._table.keyring.clear()
        self._table.forget_checks()
        self._wraps.clear()

    def _session_keyring(self) -> list[tuple[str, int | None, str | None, str]]:
        """List the keys that the current user has unlocked in this session."""
        return self._table.unlocked.listing(self._table.database.user())
