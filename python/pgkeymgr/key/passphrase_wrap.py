"""Keys under passphrases: opened, and given, changed or rid of a passphrase."""

import os
from hashlib import blake2b

from ..errors import DataError, KeyStateError, PassphraseError
from ..wrap import unwrap
from .database import Rows
from .keyring import KEYS_MAX, Record
from .passphrase import Stretching
from .table import KeyTable


class PassphraseWraps:
    """The passphrase wraps of keys, for one session."""

    def __init__(self, table: KeyTable) -> None:
        self._table = table
        self._database = table.database
        self._session_key = os.urandom(32)
        self._opened: dict[bytes, bytes] = {}

    def open_with_passphrase(self, record: Record, passphrase: bytes) -> bytes:
        """Return the secret of a key that has a passphrase wrap.

        Args:
            record: the key's.
            passphrase: of any length but 0.

        Returns:
            The secret. It must not be given to SQL, but by functions whose purpose that is.

        Raises:
            PassphraseError: the passphrase is wrong, or the wrap was altered.
            KeyStateError: the key has no passphrase wrap.
        """

        def read() -> Rows:
            return self._database.execute(
                "SELECT salt, opslimit, memlimit, wrapped FROM {s}.key_wrap"
                " WHERE key_id OPERATOR(pg_catalog.=) $1 AND kind = 'passphrase'",
                ("integer", record.id),
            )

        rows = self._database.as_owner(read)
        if not rows:
            raise KeyStateError(f"{record} has no passphrase")
        (row,) = rows
        # A second call with the same passphrase for the same wrap need not stretch it again.
        which = blake2b(
            record.associated_data + row["wrapped"] + passphrase, digest_size=32, key=self._session_key
        ).digest()
        if which in self._opened:
            return self._opened[which]
        stretching = Stretching(row["salt"], row["opslimit"], row["memlimit"])
        try:
            secret = unwrap(row["wrapped"], record.associated_data, stretching.wrapping_key(passphrase))
        except DataError as error:
            if "not authentic" not in error.message:
                error.message = f"{record}: {error.message}"
                raise
            raise PassphraseError(f"wrong passphrase for {record}") from None
        if len(self._opened) >= KEYS_MAX:
            self._opened.clear()
        self._opened[which] = secret
        return secret

    def add_passphrase(self, record: Record, secret: bytes, passphrase: bytes) -> None:
        """Wrap a key under a passphrase too, in place of the one it may have had.

        Args:
            record: the key's.
            secret: the key's, opened before.
            passphrase: of any length but 0.
        """

        def replace() -> None:
            self._delete_wrap(record, "passphrase")
            self._table.insert_passphrase_wrap(record.id, secret, record.associated_data, passphrase)

        self._table.change(replace)

    def add_root_wrap(self, record: Record, secret: bytes) -> None:
        """Wrap a key under the root key too.

        Args:
            record: the key's.
            secret: the key's, opened before.

        Raises:
            RootKeyError: there is no root key.
        """

        def replace() -> None:
            self._delete_wrap(record, "root")
            self._table.insert_root_wrap(record.id, secret, record.associated_data)

        self._table.change(replace)

    def drop_wrap(self, record: Record, kind: str) -> None:
        """Remove a wrap of a key, but not its last.

        Args:
            record: the key's.
            kind: ``root`` or ``passphrase``.

        Raises:
            KeyStateError: it has no such wrap, or no other.
        """
        kinds = {*record.other_wraps, *(["root"] if record.root_wrap else [])}
        if kind not in kinds:
            raise KeyStateError(f"{record} has no {kind} wrap")
        if len(kinds) == 1:
            raise KeyStateError(f"the {kind} wrap of {record} is its last: without it, it cannot be opened")
        self._table.change(lambda: self._delete_wrap(record, kind))

    def _delete_wrap(self, record: Record, kind: str) -> None:
        self._database.execute(
            "DELETE FROM {s}.key_wrap WHERE key_id OPERATOR(pg_catalog.=) $1 AND kind = $2::{s}.wrap_kind",
            ("integer", record.id),
            ("text", kind),
        )

    def lock(self) -> None:
        """Forget everything that this session has unlocked."""
        self._table.keyring.clear()
        self._opened.clear()
