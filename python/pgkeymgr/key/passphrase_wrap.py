"""The wraps of keys under passphrases: they are opened, added, replaced and removed here."""

import os
from hashlib import blake2b

from ..errors import DataError, KeyStateError, PassphraseError
from ..root_key.wrap import unwrap
from .passphrase import Stretched, Stretching
from .record import Record
from .table import KeyTable

_OPENED_MAX = 16_384
"""The number of secrets that a session keeps, of 300 bytes each. It forgets the least recently used first."""


class PassphraseWraps:
    """The passphrase wraps of keys, for one session."""

    def __init__(self, table: KeyTable) -> None:
        self._table = table
        self._session_key = os.urandom(32)
        self._opened: dict[bytes, bytes] = {}

    def open_with_passphrase(self, record: Record, passphrase: bytes) -> bytes:
        """Return the secret of a key that has a passphrase wrap; see ``open_wrap``."""
        return self.open_wrap(record, passphrase)[0]

    def open_wrap(
        self, record: Record, passphrase: bytes, stretched: dict[Stretching, bytes] | None = None
    ) -> tuple[bytes, bytes]:
        """Open a key's passphrase wrap.

        Args:
            record: the record of the key.
            passphrase: the passphrase, of any length but 0.
            stretched: the keys that the passphrase gave for other wraps; the key for this wrap is added.

        Returns:
            The secret and the wrap. Only functions that exist for this purpose may give the secret to SQL.

        Raises:
            PassphraseError: the passphrase is wrong, or the wrap was altered.
            KeyStateError: the key has no passphrase wrap.
        """
        found = self._table.wrap_rows.passphrase_wrap(record)
        if found is None:
            raise KeyStateError(f"{record} has no passphrase", hint="add_passphrase() gives it one.")
        stretching, wrapped = found
        # A second call with the same passphrase for the same wrap need not stretch it again.
        which = blake2b(
            record.associated_data + wrapped + passphrase, digest_size=32, key=self._session_key
        ).digest()
        opened = self._opened.pop(which, None)
        if opened is not None:
            self._opened[which] = opened  # the end of the dictionary is for the last used entry
            return opened, wrapped
        known = {} if stretched is None else stretched
        try:
            if stretching not in known:
                known[stretching] = stretching.wrapping_key(passphrase)
            secret = unwrap(wrapped, record.associated_data, known[stretching])
        except DataError as error:
            if "not authentic" not in error.message:
                error.message = f"{record}: {error.message}"
                raise
            raise PassphraseError(f"wrong passphrase for {record}") from None
        if len(self._opened) >= _OPENED_MAX:
            del self._opened[next(iter(self._opened))]
        self._opened[which] = secret
        return secret, wrapped

    def add_passphrase(
        self, record: Record, secret: bytes, passphrase: bytes, stretched: Stretched | None = None
    ) -> None:
        """Wrap a key under a passphrase too; this replaces an earlier passphrase.

        Args:
            record: the record of the key.
            secret: the secret of the key, opened before.
            passphrase: the passphrase, of any length but 0.
            stretched: the stretched passphrase, if it has been stretched for another wrap.
        """
        under = stretched or Stretching.new().stretch(passphrase)

        def replace() -> bytes:
            return self._table.wrap_rows.of(record).set_passphrase(secret, under)

        self._table.unlocked.add_wrap(record, self._table.change(replace))
        self._table.audit.record("set_passphrase", record.id, record.name)

    def check_has_none(self, record: Record) -> None:
        """Refuse a key that has a passphrase.

        Raises:
            KeyStateError: the key has a passphrase.
        """
        if record.has_wrap("passphrase"):
            raise KeyStateError(
                f"{record} already has a passphrase", hint="Use change_passphrase() or drop_passphrase()."
            )

    def add_root_wrap(self, record: Record, secret: bytes) -> None:
        """Wrap a key under the root key too.

        Args:
            record: the record of the key.
            secret: the secret of the key, opened before.

        Raises:
            RootKeyError: there is no root key.
        """
        self._table.change(lambda: self._table.wrap_rows.of(record).set_root(secret))
        self._table.audit.record("add_root_wrap", record.id, record.name, even_if_undone=True)

    def drop_wrap(self, record: Record, kind: str) -> None:
        """Remove a wrap of a key, but not its last.

        Args:
            record: the record of the key.
            kind: ``root`` or ``passphrase``.

        Raises:
            KeyStateError: the key has no such wrap, or no other wrap.
        """
        if not self._table.change(lambda: self._table.wrap_rows.remove([record.id], kind)):
            raise KeyStateError(f"{record} has no {kind} wrap")
        self._table.audit.record(f"drop_{kind}_wrap", record.id, record.name)

    def clear(self) -> None:
        """Forget the secrets that this session has opened."""
        self._opened.clear()
