"""Data keys: made, superseded, disabled, destroyed, granted."""

import os
from collections.abc import Callable, Sequence

from ..errors import DataError, DuplicateKeyError, KeyStateError, ParameterError
from .cipher import SECRET_BYTES_MAX, SECRET_BYTES_MIN
from .grants import check_usage
from .record import Record
from .table import KeyTable, NewKey, check_length, shorten, uuid_text

WRAPS = ("root", "user")


class DataKeys:
    """The management of data keys, for one session."""

    def __init__(self, table: KeyTable, find_dependents: Callable[[Record], list[str]]) -> None:
        """Take what they are managed with.

        Args:
            table: the key table.
            find_dependents: tells which objects still need a key, in words.
        """
        self._table = table
        self._database = table.database
        self._find_dependents = find_dependents

    def create_data_key(self, name: str, length: int, expires: str | None, comment: str | None, wrap: str) -> int:
        """Make a data key of random bytes, owned by the current user.

        Args:
            name: 1 to 255 characters; no other enabled key has it.
            length: 16 to 64 bytes.
            expires: when, as a timestamp's text; None for never.
            comment: for people; None for none.
            wrap: ``root``, or ``user``, which seals it to the current user's key pair and to nothing else.

        Returns:
            Its id.

        Raises:
            ParameterError: an argument is out of range.
            DuplicateKeyError: the name is taken.
            RootKeyError: there is no root key.
            UndefinedError: the current user has no key pair.
        """
        if wrap is None:
            raise DataError("wrap must not be NULL")
        if wrap not in WRAPS:
            raise ParameterError(f'wrap must be root or user, not "{shorten(wrap)}"')
        check_length(length, SECRET_BYTES_MIN, SECRET_BYTES_MAX)
        holders = [self._table.user_public(self._database.user())] if wrap == "user" else []
        return self._table.create(
            NewKey(name, os.urandom(length), expires=expires, comment=comment, holders=holders)
        )

    def supersede_data_key(self, key: str | int) -> int:
        """Make a new version of a key: the same name, lifetime, grants and holders, new random bytes.

        Args:
            key: name or id of its current version.

        Returns:
            The new version's id.

        Raises:
            UndefinedError: there is no such key.
            KeyStateError: it is not enabled, is locked, was superseded before, or has a passphrase.
        """
        record = self._table.find(key)
        record.check_state(allow_expired=True)
        if record.has_wrap("passphrase"):
            raise KeyStateError(
                f"{record} has a passphrase, and only who knows it can make a new version",
                hint="Give the passphrase, sealed, as the second argument, or drop it with drop_passphrase().",
            )
        secret = self._table.keyring.secret(record, self._table.unlock)
        return self._table.supersede(record, os.urandom(len(secret)))

    def disable_data_key(self, key_id: int) -> None:
        """Disable a key: it neither encrypts nor decrypts until it is enabled again.

        Args:
            key_id: its id.

        Raises:
            UndefinedError: there is no such key.
            KeyStateError: it was destroyed.
        """
        self._set_state(key_id, "disabled")

    def enable_data_key(self, key_id: int) -> None:
        """Enable a key that was disabled.

        Args:
            key_id: its id.

        Raises:
            UndefinedError: there is no such key.
            KeyStateError: it was destroyed.
            DuplicateKeyError: another key with its name is enabled.
        """
        self._set_state(key_id, "enabled")

    def _set_state(self, key_id: int, state: str) -> None:
        record = self._table.find(key_id)

        def update() -> None:
            execute = self._database.execute
            # Locked, so that what another session is destroying is not enabled again.
            self._table.wrap_rows.of(record)
            rows = execute(
                "UPDATE {s}.key SET state = $2::{s}.key_state WHERE id OPERATOR(pg_catalog.=) $1"
                " AND ($2 OPERATOR(pg_catalog.<>) 'enabled' OR superseded_by IS NOT NULL OR NOT EXISTS ("
                "SELECT FROM {s}.key AS other WHERE other.name OPERATOR(pg_catalog.=) key.name"
                " AND (other.key_type = 'cryptokey') = (key.key_type = 'cryptokey')"
                " AND other.state = 'enabled'::{s}.key_state AND other.superseded_by IS NULL"
                " AND other.id OPERATOR(pg_catalog.<>) key.id)) RETURNING id",
                ("integer", key_id),
                ("text", state),
            )
            if not rows:
                raise DuplicateKeyError(f'there is another enabled key "{record.name}"')

        self._table.change(update)
        if state == "enabled":
            self._table.audit.record("enable", record.id, record.name, even_if_undone=True)
        else:
            self._table.audit.record("disable", record.id, record.name)

    def move_expiry(self, key: str | int, expires: str | None) -> None:
        """Set the time at which a key expires, also of a key that has expired.

        Args:
            key: name or id.
            expires: the text of a timestamp in the future; None for never.

        Raises:
            UndefinedError: there is no such key.
            KeyStateError: it was destroyed.
            ParameterError: the time is not in the future.
        """
        record = self._table.find(key)

        def update() -> None:
            self._table.wrap_rows.of(record)
            if not self._database.execute(
                "UPDATE {s}.key SET expires = $2 WHERE id = $1 AND ($2 IS NULL OR $2 > clock_timestamp())"
                " RETURNING id",
                ("integer", record.id),
                ("timestamptz", expires),
            ):
                raise ParameterError(f"expires must be in the future, not {expires}")

        self._table.change(update)
        self._table.audit.record(
            "move_expiry", record.id, record.name, f"to {expires or 'never'}", even_if_undone=True
        )

    def destroy_data_key(self, key_id: int, confirm_name: str, force: bool) -> None:
        """Erase every wrap of a key: what it encrypted is lost, for good, once backups of the table are gone.

        Args:
            key_id: its id.
            confirm_name: its name, or its uuid if it has none.
            force: even if something still depends on the key.

        Raises:
            UndefinedError: there is no such key.
            ParameterError: the name is not the key's.
            KeyStateError: it was destroyed before, something depends on it, or it can be derived by a number.
        """
        record = self._table.find(key_id)
        if confirm_name is None:
            raise DataError("confirm_name must not be NULL")
        if force is None:
            raise DataError("force must not be NULL")
        if confirm_name != (record.name or uuid_text(record.uuid)):
            raise ParameterError(
                f"confirm_name is not the name of key {record.id}: nothing was destroyed",
                hint="Give the key's name, exactly, to show that it is the one you mean.",
            )
        record.check_not_destroyed()
        if record.derivation_id is not None and not force:
            raise KeyStateError(
                f"{record} has the number {record.derivation_id}, by which its bytes can still be derived",
                hint="Rotate the root key and withdraw the old one: then they cannot. With force => true, the key "
                "is destroyed in the table only.",
            )
        dependents = [] if force else self._find_dependents(record)
        if dependents:
            raise KeyStateError(
                f"{record} is still needed: {'; '.join(dependents)}",
                hint="rotate_column() makes columns independent of old versions. With force => true, what it "
                "encrypted is lost.",
            )

        def erase() -> None:
            # Locked before its wraps are looked for, so that none is added that the statement does not see.
            self._table.wrap_rows.of(record).erase()
            self._database.execute(
                "UPDATE {s}.key SET state = 'destroyed', derivation_id = NULL, context = NULL"
                " WHERE id OPERATOR(pg_catalog.=) $1",
                ("integer", key_id),
            )

        self._table.change(erase)
        self._table.audit.record("destroy", record.id, record.name, "force" if force else None)

    def grant_data_key(self, key: str | int, role: str, usage: Sequence[str]) -> None:
        """Let a role use a key, and the versions that come after it.

        Args:
            key: name or id.
            role: the role's name, quoted where it must be.
            usage: of ``encrypt``, ``decrypt`` and ``search``.

        Raises:
            UndefinedError: there is no such key.
            ParameterError: a usage is not one.
        """
        record = self._table.find(key)
        family = record.family
        check_usage(usage)
        if role is None:
            raise DataError("role must not be NULL")

        self._table.change(lambda: self._table.grants.add(family, role, usage))
        self._table.audit.record("grant", record.id, record.name, _described(usage, role), even_if_undone=True)

    def revoke_data_key(self, key: str | int, role: str, usage: Sequence[str]) -> None:
        """Take a grant back; see ``grant_data_key``."""
        record = self._table.find(key)
        family = record.family
        check_usage(usage)
        if role is None:
            raise DataError("role must not be NULL")

        self._table.change(lambda: self._table.grants.remove(family, role, usage))
        self._table.audit.record("revoke", record.id, record.name, _described(usage, role))


def _described(usage: Sequence[str], role: str) -> str:
    return f"{', '.join(usage)}, role {role}"
