"""The functions that make, supersede, disable, destroy and grant data keys."""

import os
from collections.abc import Callable, Sequence

from ..errors import DuplicateKeyError, KeyStateError, ParameterError, UndefinedError
from .arguments import check_length, refuse_null, shorten, uuid_text
from .cipher import SECRET_BYTES_MAX, SECRET_BYTES_MIN
from .grants import check_usage
from .maker import NewKey
from .record import Record
from .table import KeyTable

WRAPS = ("root", "user")


class DataKeys:
    """The management of data keys, for one session."""

    def __init__(self, table: KeyTable, find_dependents: Callable[[Record, bool], list[str]]) -> None:
        """Initialize the management of data keys.

        Args:
            table: the key table.
            find_dependents: returns descriptions of the objects that still need a key; the second argument is
                whether the key is to be destroyed.
        """
        self._table = table
        self._database = table.database
        self._find_dependents = find_dependents

    def create_data_key(self, name: str, length: int, expires: str | None, comment: str | None, wrap: str) -> int:
        """Make a data key of random bytes, owned by the current user.

        Args:
            name: 1 to 255 characters; no other enabled key has it.
            length: 16 to 64 bytes.
            expires: the expiry, as a timestamp's text; None for never.
            comment: a comment for people, or None.
            wrap: ``root``, or ``user``, which seals the key to the current user's key pair only.

        Returns:
            Its id.

        Raises:
            DataError: an argument is NULL.
            ParameterError: an argument is out of range.
            DuplicateKeyError: the name is taken.
            RootKeyError: there is no root key.
            UndefinedError: the current user has no key pair.
        """
        refuse_null(wrap=wrap)
        if wrap not in WRAPS:
            raise ParameterError(f'wrap must be root or user, not "{shorten(wrap)}"')
        check_length(length, SECRET_BYTES_MIN, SECRET_BYTES_MAX)
        holders = [self._table.maker.user_public(self._database.user())] if wrap == "user" else []
        return self._table.maker.create(
            NewKey(name, os.urandom(length), expires=expires, comment=comment, holders=holders)
        )

    def supersede_data_key(self, key: str | int) -> int:
        """Make a new version of a key, with the same name, lifetime, grants and holders, and new random bytes.

        Args:
            key: name or id of its current version.

        Returns:
            The new version's id.

        Raises:
            UndefinedError: there is no such key.
            KeyStateError: the key is not enabled, is locked, was superseded before, or has a passphrase.
        """
        record = self._table.find(key)
        record.check_state(allow_expired=True)
        if record.has_wrap("passphrase"):
            raise KeyStateError(
                f"{record} has a passphrase, which a new version needs",
                hint="Pass the passphrase, sealed, as the second argument, or drop it with drop_passphrase().",
            )
        secret = self._table.keyring.secret(record, self._table.unlock)
        return self._table.maker.supersede(record, os.urandom(len(secret)))

    def disable_data_key(self, key_id: int) -> None:
        """Disable a key. The key neither encrypts nor decrypts until it is enabled again.

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
            KeyStateError: it was destroyed, or its destruction is scheduled.
            DuplicateKeyError: another key with its name is enabled.
        """
        self._set_state(key_id, "enabled")

    def _set_state(self, key_id: int, state: str) -> None:
        record = self._table.find(key_id)

        def update() -> None:
            execute = self._database.execute
            # The lock prevents enabling a key again that another session is destroying.
            self._table.wrap_rows.of(record)
            if state == "enabled" and execute(
                "SELECT FROM {s}.key WHERE id = $1 AND destroy_after IS NOT NULL", ("integer", key_id)
            ):
                raise KeyStateError(
                    f"{record} is to be destroyed", hint=f"Call cancel_destroy({record.id}) before you enable it."
                )
            rows = execute(
                """
                UPDATE {s}.key
                SET state = $2::{s}.key_state
                WHERE id = $1
                    AND ($2 <> 'enabled' OR superseded_by IS NOT NULL OR NOT EXISTS (
                        SELECT FROM {s}.key AS other
                        WHERE other.name = key.name
                            AND (other.key_type = 'cryptokey') = (key.key_type = 'cryptokey')
                            AND other.state = 'enabled'::{s}.key_state
                            AND other.superseded_by IS NULL
                            AND other.id <> key.id
                    ))
                RETURNING id
                """,
                ("integer", key_id),
                ("text", state),
            )
            if not rows:
                raise DuplicateKeyError(f'another enabled key "{record.name}" exists')

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
                """
                UPDATE {s}.key
                SET expires = $2
                WHERE id = $1 AND ($2 IS NULL OR $2 > clock_timestamp())
                RETURNING id
                """,
                ("integer", record.id),
                ("timestamptz", expires),
            ):
                raise ParameterError(f"expires must be in the future, not {expires}")

        self._table.change(update)
        self._table.audit.record(
            "move_expiry", record.id, record.name, f"to {expires or 'never'}", even_if_undone=True
        )

    def limit_encryption(self, key: str | int, until: str | None) -> None:
        """Set the time after which a key encrypts nothing more, and still decrypts.

        Args:
            key: name or id.
            until: the text of a timestamp, also in the past; None for no such time.

        Raises:
            UndefinedError: there is no such key.
            KeyStateError: it was destroyed.
        """
        record = self._table.find(key)

        def update() -> None:
            self._table.wrap_rows.of(record)
            self._database.execute(
                "UPDATE {s}.key SET encrypts_until = $2 WHERE id = $1",
                ("integer", record.id),
                ("timestamptz", until),
            )

        self._table.change(update)
        self._table.audit.record(
            "limit_encryption", record.id, record.name, f"until {until or 'ever'}", even_if_undone=True
        )

    def destroy_data_key(self, key_id: int, confirm_name: str, after: str | None, force: bool) -> None:
        """Erase every wrap of a key. Its ciphertexts are lost forever, as soon as no backup has the table.

        Args:
            key_id: its id.
            confirm_name: its name, or its uuid if it has none.
            after: the text of an interval: the key is disabled at once, and erased by ``run_key_policies`` after
                that time. None to erase it at once.
            force: whether to destroy the key even if something still depends on it.

        Raises:
            DataError: an argument is NULL.
            UndefinedError: there is no such key.
            ParameterError: the name is not the key's, or the interval is not positive.
            KeyStateError: it was destroyed before, something depends on it, it can be derived by a number, or a
                publication has it; or its destruction was scheduled before, and is not due.
        """
        record = self._table.find(key_id)
        refuse_null(confirm_name=confirm_name, force=force)
        if confirm_name != (record.name or uuid_text(record.uuid)):
            raise ParameterError(
                f"confirm_name is not the name of key {record.id}: nothing was destroyed",
                hint="Pass the exact name of the key, which confirms that you mean this key.",
            )
        record.check_not_destroyed()
        if after is not None:
            self.schedule_destruction(record, after, force=force)
        else:
            self.destroy(record, force=force)

    def destroy(self, record: Record, *, force: bool) -> None:
        """Erase every wrap of a key that the current user may manage; see ``destroy_data_key``."""
        if record.is_to_be_destroyed:
            self._refuse_early(record)
        self._refuse_needed(record, force=force)
        self.erase(record, force=force)

    def erase(self, record: Record, *, force: bool) -> None:
        """Erase every wrap of a key that nothing needs; see ``destroy``."""

        def erase() -> None:
            # The key is locked before its wraps are searched, so that no session adds a wrap that this misses.
            wraps = self._table.wrap_rows.of(record)
            if record.is_to_be_destroyed:
                # Another session may have cancelled the destruction, or scheduled another one.
                self._check_due(record)
            wraps.erase()
            self._database.execute(
                """
                UPDATE {s}.key
                SET
                    state = 'destroyed', derivation_id = NULL, context = NULL, destroy_after = NULL,
                    destroy_is_forced = false
                WHERE id = $1
                """,
                ("integer", record.id),
            )

        self._table.change(erase)
        self._table.audit.record("destroy", record.id, record.name, "force" if force else None)

    def schedule_destruction(self, record: Record, after: str, *, force: bool) -> None:
        """Disable a key, and schedule its destruction; see ``destroy_data_key``.

        Args:
            record: the record of the key.
            after: a positive interval, as its text.
            force: whether to do so although something needs the key.

        Raises:
            KeyStateError: something needs the key, or its destruction is already scheduled.
            ParameterError: the interval is not positive.
        """
        if record.is_to_be_destroyed:
            raise KeyStateError(
                f"the destruction of {record} is already scheduled",
                hint=f"To set another time, call cancel_destroy({record.id}) first.",
            )
        self._refuse_needed(record, force=force)
        self.schedule(record, after, force=force)

    def schedule(self, record: Record, after: str, *, force: bool) -> None:
        """Disable a key that nothing needs, and schedule its destruction; see ``schedule_destruction``."""

        def schedule() -> str:
            self._table.wrap_rows.of(record)
            rows = self._database.execute(
                """
                UPDATE {s}.key
                SET state = 'disabled', destroy_after = clock_timestamp() + $2, destroy_is_forced = $3
                WHERE id = $1 AND now() + $2 > now() AND destroy_after IS NULL
                RETURNING to_char(destroy_after AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS"Z"') AS time
                """,
                ("integer", record.id),
                ("interval", after),
                ("boolean", force),
            )
            if not rows:
                raise ParameterError(f"after must be a positive interval, not {after}")
            return str(rows[0]["time"])

        time = self._table.change(schedule)
        forced = ", force" if force else ""
        self._table.audit.record("schedule_destroy", record.id, record.name, f"after {time}{forced}")

    def cancel_destroy(self, key_id: int) -> None:
        """Cancel the destruction of a key that was scheduled. The key stays disabled.

        Args:
            key_id: its id.

        Raises:
            UndefinedError: there is no such key.
            KeyStateError: its destruction was not scheduled, or it was destroyed.
        """
        record = self._table.find(key_id)

        def cancel() -> None:
            self._table.wrap_rows.of(record)
            if not self._database.execute(
                """
                UPDATE {s}.key
                SET destroy_after = NULL, destroy_is_forced = false
                WHERE id = $1 AND destroy_after IS NOT NULL
                RETURNING id
                """,
                ("integer", record.id),
            ):
                raise KeyStateError(f"the destruction of {record} is not scheduled")

        self._table.change(cancel)
        self._table.audit.record("cancel_destroy", record.id, record.name, even_if_undone=True)

    def _refuse_early(self, record: Record) -> None:
        self._database.read_as_owner(lambda: self._check_due(record))

    def _check_due(self, record: Record) -> None:
        """Refuse to destroy a key before the time that it was scheduled for; within ``as_owner``."""
        (row,) = self._database.execute(
            """
            SELECT
                coalesce(destroy_after <= clock_timestamp(), false) AS is_due,
                to_char(destroy_after, 'YYYY-MM-DD HH24:MI:SS TZ') AS time
            FROM {s}.key
            WHERE id = $1
            """,
            ("integer", record.id),
        )
        if row["is_due"]:
            return
        if row["time"] is None:
            raise KeyStateError(f"the destruction of {record} was cancelled")
        raise KeyStateError(
            f"{record} will not be destroyed before {row['time']}",
            hint=f"To destroy it now, call cancel_destroy({record.id}) first.",
        )

    def _refuse_needed(self, record: Record, *, force: bool) -> None:
        if record.derivation_id is not None and not force:
            raise KeyStateError(
                f"{record} has the number {record.derivation_id}, by which its bytes can still be derived",
                hint="Rotate the root key and withdraw the old one: then the number gives another key. With "
                "force => true, the key is destroyed in the table only.",
            )
        dependents = [] if force else self._find_dependents(record, True)
        if dependents:
            raise KeyStateError(
                f"{record} is still needed: {'; '.join(dependents)}",
                hint="rotate_column() makes columns independent of old versions. With force => true, the data "
                "that the key encrypted is lost.",
            )
        if not force:
            self.refuse_published(record)

    def refuse_published(self, record: Record) -> None:
        """Refuse to destroy a key that other databases take from this one.

        Raises:
            KeyStateError: a publication has it.
        """
        publications = self._table.nodes.publications()
        if publications:
            raise KeyStateError(
                f"{record} is in publication {', '.join(publications)}: other databases may have data under it",
                hint=f"On each subscriber, key_dependents({record.id}) returns the objects that need the key. "
                "With force => true, the key is destroyed on all of them.",
            )

    def key_dependents(self, key: str | int) -> list[str]:
        """Return the objects of this database that need a key.

        Args:
            key: name, which means its current version, or id.

        Returns:
            A phrase for each: an encrypted column or a blind index, and the reason why it needs the key.

        Raises:
            UndefinedError: there is no such key.
        """
        return self._find_dependents(self._table.find(key), False)

    def grant_data_key(self, key: str | int, role: str, usage: Sequence[str]) -> None:
        """Let a role use a key, and all its later versions.

        Args:
            key: name or id.
            role: the role's name, quoted where it must be.
            usage: some of ``encrypt``, ``decrypt``, ``search`` and ``masked``.

        Raises:
            DataError: an argument is NULL.
            UndefinedError: there is no such key.
            ParameterError: a usage is unknown.
        """
        record = self._table.find(key)
        family = record.family
        check_usage(usage)
        refuse_null(role=role)

        grants = self._table.grants
        add = grants.add if self._table.nodes.status().makes_keys else grants.add_missing
        self._table.change(lambda: add(family, role, usage), is_local=True)
        self._table.audit.record("grant", record.id, record.name, _described(usage, role), even_if_undone=True)

    def revoke_data_key(self, key: str | int, role: str, usage: Sequence[str]) -> None:
        """Revoke a grant; see ``grant_data_key``."""
        record = self._table.find(key)
        family = record.family
        check_usage(usage)
        refuse_null(role=role)

        self._table.change(lambda: self._table.grants.remove(family, role, usage), is_local=True)
        self._table.audit.record("revoke", record.id, record.name, _described(usage, role))

    def adopt_role(self, name: str, role: str) -> int:
        """Give a role the keys, grants and key pair of a role that did not exist when a dump was restored.

        Args:
            name: the name of the other role.
            role: the role's name, quoted where it must be.

        Returns:
            The number of keys, grants and key pairs.

        Raises:
            DataError: an argument is NULL.
            UndefinedError: there is no such role, or nothing was kept under the name.
        """
        refuse_null(name=name, role=role)
        keys, grants, pairs = self._table.change(lambda: self._table.grants.adopt(name, role), is_local=True)
        if not keys + grants + pairs:
            raise UndefinedError(
                f'nothing is kept under the name "{shorten(name)}"',
                hint="doctor() lists the names of roles that did not exist when a dump was restored.",
            )
        detail = f'role {role}, kept as "{shorten(name)}", keys: {keys}, grants: {grants}, key pairs: {pairs}'
        self._table.audit.record("adopt_role", None, None, detail, even_if_undone=True)
        return keys + grants + pairs


def _described(usage: Sequence[str], role: str) -> str:
    return f"{', '.join(usage)}, role {role}"
