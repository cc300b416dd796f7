"""What is unlocked in a session: listed, and forgotten."""

from ..key.passphrase_wrap import PassphraseWraps
from ..key.table import KeyTable
from .exchange import Exchange


class SessionKeyring:
    """The listing and the end of what a session has unlocked."""

    def __init__(self, table: KeyTable, wraps: PassphraseWraps, exchange: Exchange) -> None:
        self._table = table
        self._wraps = wraps
        self._exchange = exchange

    def lock(self) -> None:
        """Forget everything that was unlocked in this session, by any role, and the open offer."""
        self._exchange.forget_offer()
        self._table.unlocked.clear()
        self._table.keyring.clear()
        self._table.forget_checks()
        self._wraps.clear()

    def _session_keyring(self) -> list[tuple[str, int | None, str | None, str]]:
        """List what the current user has unlocked in this session."""
        return self._table.unlocked.listing(self._table.database.user())
