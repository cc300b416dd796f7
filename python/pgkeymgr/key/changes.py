"""The report of changes of the key tables to all sessions, which then read the records of keys again."""

from typing import TYPE_CHECKING

from .table import KeyTable

if TYPE_CHECKING:
    from .database import Database


class KeyChanges:
    """The report of changes, for one session."""

    def __init__(self, database: "Database", table: KeyTable) -> None:
        self._database = database
        self._table = table

    def _invalidate_keys(self) -> None:
        """Invalidate the relation cache entry of the table key_change; see ``use_cache``."""
        self._table.note_change()
        self._database.invalidate_key_watches()
