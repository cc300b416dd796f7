"""The rows of the key table: the functions here find, check, unlock and delete keys.

They act for the user whom the server reports as the current user. Code that uses the tables runs with the rights
of the extension's owner, and only in the callbacks that are passed to ``Database.as_owner``.

A session's first call waits for the imports. So functions import the modules that make keys, and those for
passphrases and users' keys, when they need them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from ..errors import DataError, Error, PrivilegeError, UndefinedError
from .audit import Audit
from .cipher import TokenCipher
from .keyring import Keyring
from .record import Record
from .root_wrap import RootWraps
from .unlocked import Unlocked
from .use_cache import Conditions, UseCache

TYPE_CHECKING = False  # see key/named_tuple.py
if TYPE_CHECKING:
    from typing import TypeVar

    from .database import Database
    from .grants import Grants
    from .maker import KeyMaker
    from .nodes import KeyNodes
    from .wrap_rows import UserKeyRows, WrapRows

    _Result = TypeVar("_Result")

DERIVED_WRAP_BYTES = 1
"""The wrap of a derived key holds the key's length. After a rotation of the root key, it holds the key itself."""
TOKEN_KEY_TYPE = "data"  # noqa: S105  # this is the name of a type

_NO_ID = 0
_NO_UUID = bytes(16)


class KeyTable:
    """The key table of a database, used by one session."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.keyring = Keyring()
        self.root_wraps = RootWraps(database)
        self.unlocked = Unlocked(database)
        self.audit = Audit(database)
        self.uses = UseCache(database, self.keyring.forget_last)

    @cached_property
    def maker(self) -> KeyMaker:
        """The functions that make keys."""
        from .maker import KeyMaker

        return KeyMaker(self)

    @cached_property
    def wrap_rows(self) -> WrapRows:
        """The stored wraps."""
        from .wrap_rows import WrapRows

        return WrapRows(self.database, self.root_wraps)

    @cached_property
    def user_key_rows(self) -> UserKeyRows:
        """The stored key pairs of users."""
        from .wrap_rows import UserKeyRows

        return UserKeyRows(self.database)

    @cached_property
    def grants(self) -> Grants:
        """The stored grants."""
        from .grants import Grants

        return Grants(self.database)

    @cached_property
    def nodes(self) -> KeyNodes:
        """The nodes that share keys."""
        from .nodes import KeyNodes

        return KeyNodes(self.database, self.audit)

    def lookup(self, key: str | int | bytes, *, with_wraps: bool = True) -> Record | None:
        """Look for a key in any state, even without a grant. Do not reveal the key to a user without a grant.

        Args:
            key: its name, which means its current version, its id, or its uuid as 16 bytes.
            with_wraps: whether to read the wraps besides the wrap under the root key; a use of the key does not
                need them.

        Returns:
            The record of the key, or None if there is no such key.

        Raises:
            DataError: the key is NULL.
        """
        if key is None:
            raise DataError("key must not be NULL")
        user = self.database.user()
        if isinstance(key, str):
            return self.database.load_key(_NO_ID, key, _NO_UUID, user, with_wraps=with_wraps)
        if isinstance(key, bytes):
            return self.database.load_key(_NO_ID, "", key, user, with_wraps=with_wraps)
        return self.database.load_key(key, "", _NO_UUID, user, with_wraps=with_wraps)

    def find(self, key: str | int | bytes, *, with_wraps: bool = True) -> Record:
        """Find a key in any state that the current user may use for something, or may manage.

        Args:
            key: its name, which means its current version, its id, or its uuid as 16 bytes.
            with_wraps: see ``lookup``.

        Returns:
            Its record.

        Raises:
            UndefinedError: there is no such key, and the user is an administrator of keys.
            PrivilegeError: there is no such key, or the user may not use it; the error does not distinguish them.
            DataError: the key is NULL.
        """
        return self.check_visible(self.lookup(key, with_wraps=with_wraps), key)

    def check_visible(self, record: Record | None, key: str | int | bytes) -> Record:
        """Return a record that was looked up, if the current user may know of the key.

        Args:
            record: the record, or None if there is no such key.
            key: the input of the user that was looked up.

        Raises:
            UndefinedError, PrivilegeError: see ``find``.
        """
        if record is not None and (record.has_usage or self.is_admin()):
            return record
        from .arguments import called  # only an error needs it

        if record is None and self.is_admin():
            raise UndefinedError(f"key {called(key)} does not exist")
        raise PrivilegeError(
            f"permission denied for key {called(key)}",
            hint="It does not exist, or it is not granted to you. Its owner or an administrator of keys can grant "
            "it, with grant_data_key().",
        )

    def is_admin(self) -> bool:
        """Return whether the current user is an administrator of keys, or a superuser."""
        user = self.database.user()
        return bool(
            self.database.read_as_owner(
                lambda: self.database.execute(
                    """
                    SELECT FROM pg_roles
                    WHERE rolname = 'pgkeymgr_admin' AND pg_has_role($1, oid, 'USAGE')
                    """,
                    ("oid", user),
                )
            )
        )

    def usable(self, key: str | int | bytes, key_type: str, *, encrypt: bool, with_wraps: bool = True) -> Record:
        """Find a key that the current user may use now.

        Args:
            key: its name, which means its current version, its id, or its uuid as 16 bytes.
            key_type: the type that the key must have.
            encrypt: whether the key is to encrypt or to authenticate; otherwise, to decrypt or to verify.
            with_wraps: see ``lookup``.

        Returns:
            Its record.

        Raises:
            UndefinedError: there is no such key; see ``find``.
            PrivilegeError: the user may not use it for this.
            KeyStateError: the key is disabled, destroyed or expired, or should encrypt and only decrypts now.
            DataError: it has another type, or the argument is NULL.
        """
        return self.check_usable(self.lookup(key, with_wraps=with_wraps), key, key_type, encrypt=encrypt)

    def check_usable(
        self,
        record: Record | None,
        key: str | int | bytes,
        key_type: str,
        *,
        encrypt: bool,
        for_search: bool = False,
    ) -> Record:
        """Return a record that was looked up, if the current user may use its key now; see ``usable``.

        Args:
            record: the record, or None if there is no such key.
            key: see ``usable``.
            key_type: see ``usable``.
            encrypt: see ``usable``.
            for_search: whether the result is only compared with ciphertexts, for which the key may have stopped
                encrypting.
        """
        record = self.check_visible(record, key)
        record.check_usage(encrypt=encrypt)
        record.check_state()
        if encrypt and not for_search:
            record.check_still_encrypts()
        record.check_type(key_type)
        return record

    def check_search(self, key: str | int | bytes, key_type: str) -> None:
        """Refuse deterministic encryption to a user who may not compare plaintexts.

        Args:
            key: see ``usable``.
            key_type: the type that the key must have.

        Raises:
            PrivilegeError: the user may not encrypt with the key, or may neither search nor decrypt with it.
            Error: see ``usable``.
        """
        which = ("search", key, key_type, self.database.user())
        if self.uses.get(which) is None:
            record = self.usable(key, key_type, encrypt=True, with_wraps=False)
            record.check_search()
            self.uses.put(which, True, Conditions.of(record, encrypt=True))

    def unlock(self, record: Record) -> bytes:
        """Return a key's secret. Without a wrap under the root key, it is the secret that the session unlocked.

        Args:
            record: the record of the key.

        Returns:
            The secret. It must not be given to SQL.

        Raises:
            KeyStateError: the key is locked.
            RootKeyError: there is no root key, or the wrap was made under another root key.
            DataError: the wrap does not open: the row was altered, or the wrap belongs to another key.
        """
        if record.root_wrap is None or record.fingerprint is None:
            return self.unlocked.secret(record)
        try:
            secret = self.root_wraps.unwrap(record.root_wrap, record.associated_data, record.fingerprint)
        except Error as error:
            error.message = f"{record}: {error.message}"
            raise
        if record.derivation_id is None or record.context is None or len(secret) > DERIVED_WRAP_BYTES:
            return secret
        # The wrap has opened, and so number and context are right.
        return self.root_wraps.derive(
            record.derivation_id, int.from_bytes(secret, "big"), record.context, record.fingerprint
        )

    def secret(self, uuid: str, key_type: str, encrypt: bool) -> bytes:
        """Return the secret of a key, for a primitive that the current user has a grant for.

        Args:
            uuid: the uuid of the key, as text.
            key_type: the type that the key must have.
            encrypt: whether the key is to encrypt or to authenticate; otherwise, to decrypt or to verify.

        Returns:
            The secret. It must not be given to SQL.

        Raises:
            UndefinedError: there is no such key.
            PrivilegeError: the user may not use it for this.
            KeyStateError: the key is disabled, destroyed, expired or locked.
            DataError: it has another type.
        """
        if uuid is None:
            raise DataError("key_uuid must not be NULL")
        which = (uuid, key_type, self.database.user(), encrypt)
        known: bytes | None = self.uses.get(which)
        if known is not None:
            return known
        which_uuid = bytes.fromhex(uuid.replace("-", ""))
        record = self.usable(which_uuid, key_type, encrypt=encrypt, with_wraps=False)
        secret = self.keyring.secret(record, self.unlock)
        self.uses.put(which, secret, Conditions.of(record, encrypt=encrypt))
        return secret

    def cipher(self, record: Record) -> TokenCipher:
        """Return the cipher of a key's tokens, and unlock the key for it if necessary.

        Args:
            record: the record of the key, whose usage and state have been checked.

        Returns:
            The cipher.

        Raises:
            KeyStateError: the key is locked.
            DataError: it has the wrong length for tokens, or its wrap does not open.
        """
        return self.keyring.cipher(record, self.unlock)

    def forget_checks(self) -> None:
        """Forget the rights of users, so that they are checked again."""
        self.uses.clear()

    def change(self, operation: Callable[[], _Result], *, is_local: bool = False) -> _Result:
        """Run an operation that changes keys; see ``Database.as_owner``.

        Args:
            operation: the operation.
            is_local: whether it concerns this database alone, so that a node that takes its keys from another node
                may do it.

        Raises:
            KeyStateError: this node takes its keys from another node.
        """
        self.note_change()
        if not is_local:
            self.nodes.begin_change()
        return self.database.as_owner(operation)

    def note_change(self) -> None:
        """Note that this transaction changes keys in any way."""
        self.uses.note_change()

    def child(self, family: int, value: str) -> Record | None:
        """Find the key for one value of the column that ``key_by`` names, for the current user.

        Args:
            family: the family of the column's key.
            value: the value of the other column.

        Returns:
            The record of its current version in any state, even without a grant; None if there is no such key.
        """
        rows = self.database.read_as_owner(
            lambda: self.database.execute(
                """
                SELECT id
                FROM {s}.key
                WHERE parent_family = $1 AND key_value = $2
                ORDER BY superseded_by IS NULL DESC, created DESC, id DESC
                LIMIT 1
                """,
                ("integer", family),
                ("text", value),
            )
        )
        if not rows:
            return None
        return self.database.load_key(rows[0]["id"], "", _NO_UUID, self.database.user(), with_wraps=False)

    def related(self, record: Record, *, also_destroyed: bool = False) -> list[Record]:
        """Return a key, all its versions, and the keys that were made for it.

        Args:
            record: the record of the key; it comes first.
            also_destroyed: whether to include destroyed keys.

        Returns:
            The records of the keys.
        """
        rows = self.database.as_owner(
            lambda: self.database.execute(
                """
                SELECT id
                FROM {s}.key
                WHERE (family = $1 OR parent_family = $1) AND ($2 OR state <> 'destroyed') AND id <> $3
                ORDER BY id DESC
                """,
                ("integer", record.family),
                ("boolean", also_destroyed),
                ("integer", record.id),
            )
        )
        found = (self.lookup(row["id"]) for row in rows)
        return [record, *(each for each in found if each is not None)]

    def children(self, record: Record) -> list[int]:
        """Return the ids of the current versions of the keys for the values of a column that ``key_by`` names."""
        rows = self.database.as_owner(
            lambda: self.database.execute(
                """
                SELECT id
                FROM {s}.key
                WHERE parent_family = $1 AND key_value IS NOT NULL AND superseded_by IS NULL AND state = 'enabled'
                ORDER BY id
                """,
                ("integer", record.family),
            )
        )
        return [row["id"] for row in rows]

    def drop(self, record: Record) -> None:
        """Remove a key and its wraps from the table."""

        def delete() -> None:
            self.database.execute("DELETE FROM {s}.key WHERE id = $1", ("integer", record.id))

        self.change(delete)
        self.audit.record("drop", record.id, record.name)

    def lookup_family(self, family: int, *, with_wraps: bool = True) -> Record | None:
        """Look for the current version of a key by its family; see ``lookup``."""
        return self.database.load_key(
            _NO_ID, "", _NO_UUID, self.database.user(), family=family, with_wraps=with_wraps
        )

    def is_known_to(self, role: int, key_id: int = _NO_ID, *, family: int = 0) -> bool:
        """Return whether a role may use a key for anything, in whatever state it is.

        Args:
            role: the OID of the role.
            key_id: the id of the key; or
            family: its family, of which the current version counts.
        """
        record = self.database.load_key(key_id, "", _NO_UUID, role, family=family, with_wraps=False)
        return record is not None and record.has_usage

    def find_current(self, family: int) -> Record:
        """Find the current version of a key by its family; see ``find``.

        An encrypted column has the family of its key: another key may have taken the name.
        """
        return self.check_visible(self.lookup_family(family), family)

    def usable_current(
        self, family: int, key_type: str, *, encrypt: bool, with_wraps: bool = True, for_search: bool = False
    ) -> Record:
        """Find the current version of a key by its family, if the current user may use it now; see ``usable``."""
        record = self.lookup_family(family, with_wraps=with_wraps)
        return self.check_usable(record, family, key_type, encrypt=encrypt, for_search=for_search)
