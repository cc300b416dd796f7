"""The wraps of a database under the root key. They are made and opened here, and never under a foreign root key.

The database remembers the root keys of its wraps in ``root_key_fingerprint``. A session makes no wrap if its root
key is not one of these, and does not know them as previous root keys: the session has the wrong root key, or an
old one in memory. The session locks the rows that it reads in the table until its transaction ends. So
``rotate_root_key`` waits for the session, and misses no wrap that is being made under the old root key.
"""

from __future__ import annotations

import time

from ..root_key import RootKey, unknown_root_key

TYPE_CHECKING = False  # see key/named_tuple.py
if TYPE_CHECKING:
    from .database import Database

_UNIQUE_VIOLATION = "23505"
_LOOK_AGAIN_SECONDS = 5.0


class RootWraps:
    """The wraps under the root key, for one session."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._looked_in_vain_at = -_LOOK_AGAIN_SECONDS

    def wrap(self, secret: bytes, associated_data: bytes) -> tuple[str, bytes]:
        """Make a wrap to be stored in this database; within ``Database.as_owner``.

        Args:
            secret: the secret, of any length.
            associated_data: the data that the wrap is bound to.

        Returns:
            The fingerprint of the root key, which is to be stored with the wrap, and the wrap.

        Raises:
            RootKeyError: there is no root key, or the wraps of this database are made under another root key.
        """
        in_use = self._lock_fingerprints()
        root_key = self._root_key_for(in_use)
        if not _knows(root_key, in_use):
            raise unknown_root_key(", ".join(in_use), root_key.fingerprint, root_key.source)
        fingerprint = root_key.fingerprint
        if fingerprint not in in_use:
            self.note(fingerprint)
        return fingerprint, root_key.wrap(secret, associated_data)

    def note(self, fingerprint: str) -> None:
        """Remember that wraps of this database are made under a root key; within ``Database.as_owner``."""
        try:
            # ON CONFLICT would refuse a transaction with an older snapshot, if another session has just made the
            # first key.
            self._database.execute(
                "INSERT INTO {s}.root_key_fingerprint (fingerprint) VALUES ($1)", ("text", fingerprint)
            )
        except Exception as error:
            if getattr(error, "sqlstate", None) != _UNIQUE_VIOLATION:
                raise

    def _lock_fingerprints(self) -> list[str]:
        rows = self._database.execute("SELECT fingerprint FROM {s}.root_key_fingerprint FOR KEY SHARE")
        # The table is empty in a new database, and if only other tables were restored.
        return [row["fingerprint"] for row in rows] or sorted(self.counts())

    def counts(self) -> dict[str, int]:
        """Count the wraps that are stored, by the fingerprint of their root key; within ``Database.as_owner``."""
        from .wrap_rows import count_by_root_key

        counts = count_by_root_key(self._database)
        for row in self._database.execute("SELECT fingerprint FROM {s}.server_key"):
            counts[row["fingerprint"]] = counts.get(row["fingerprint"], 0) + 1
        return counts

    def unwrap(self, wrapped: bytes, associated_data: bytes, made_under: str) -> bytes:
        """Open a wrap; see ``RootKey.unwrap``."""
        return self._root_key_for([made_under]).unwrap(wrapped, associated_data, made_under)

    def derive(self, key_id: int, length: int, context: bytes, made_under: str) -> bytes:
        """Derive a key from the root key that its wrap was made under; see ``RootKey.derive``."""
        return self._root_key_for([made_under]).derive(key_id, length, context, made_under)

    def _root_key_for(self, fingerprints: list[str]) -> RootKey:
        root_key = self._database.root_key()
        if not _knows(root_key, fingerprints):
            # Many values may not open: the getkey script must not be run for each.
            now = time.monotonic()
            if now - self._looked_in_vain_at >= _LOOK_AGAIN_SECONDS:
                root_key = self.reload()
                if not _knows(root_key, fingerprints):
                    self._looked_in_vain_at = now
        return root_key

    def reload(self) -> RootKey:
        """Get the root key again, since it may have been rotated.

        Returns:
            The root key.

        Raises:
            RootKeyError: there is no root key.
        """
        return self._database.reload_root_key()


def server_key_associated_data(purpose: str, public: bytes) -> bytes:
    """Return the associated data of the wrap of one of the server's own key pairs.

    Args:
        purpose: the purpose of the pair.
        public: its public half, 32 bytes.

    Returns:
        The associated data.
    """
    return f"server key {purpose}".encode() + public


def _knows(root_key: RootKey, fingerprints: list[str]) -> bool:
    known = {root_key.fingerprint, *root_key.previous}
    return not fingerprints or root_key.fingerprint in fingerprints or known.issuperset(fingerprints)
