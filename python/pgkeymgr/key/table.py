"""The rows of the key table: the functions here find, unlock, insert, supersede and delete keys.

They act for the user whom the server reports as the current user. Code that uses the tables runs with the rights
of the extension's owner, and only in the callbacks that are passed to ``Database.as_owner``.

A session's first call waits for the imports. So functions import the modules for passphrases and users' keys when
they need them.
"""

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

from ..errors import (
    DataError,
    DuplicateKeyError,
    Error,
    KeyStateError,
    ParameterError,
    PrivilegeError,
    UndefinedError,
)
from .audit import Audit
from .cipher import TokenCipher
from .keyring import Keyring
from .record import Record, wrap_associated_data
from .root_wrap import RootWraps
from .unlocked import Unlocked
from .use_cache import Conditions, UseCache

if TYPE_CHECKING:
    from .database import Database, Rows
    from .grants import Grants
    from .wrap_rows import UserKeyRows, WrapRows

NAME_CHARACTERS_MAX = 255
VALUE_CHARACTERS_MAX = 600
"""The longest value of a column that ``key_by`` names. An entry of its index has at most 2,704 bytes."""
CHILD_BYTES = 32
DERIVED_WRAP_BYTES = 1
"""The wrap of a derived key holds the key's length. After a rotation of the root key, it holds the key itself."""
TOKEN_KEY_TYPE = "data"  # noqa: S105  # this is the name of a type

_SUFFIX_BYTES = 4
_NO_ID = 0
_NO_UUID = bytes(16)

_Result = TypeVar("_Result")


class NewKey(NamedTuple):
    """A key to be made.

    Attributes:
        name: the name, or None.
        secret: its bytes; None for a derived key.
        key_type: the purpose of the key.
        expires: the expiry, as a timestamp's text; None for never.
        comment: a comment for people, or None.
        user_data: a JSON text, or None.
        derivation: a derived key's number, context and length.
        uuid: 16 bytes; None for a random one.
        owner: the OID of its owner; None for the current user.
        parent_family: the family of another key, whose grants are valid for this key, too.
        key_value: the value that the key is for, of the column that ``key_by`` names; or None.
        passphrase: the passphrase to wrap the key under, or None.
        holders: the public keys of users, to which the key is sealed.
        under_root: whether to wrap the key under the root key; None to do so only if nothing else opens the key.
    """

    name: str | None
    secret: bytes | None
    key_type: str = TOKEN_KEY_TYPE
    expires: str | None = None
    comment: str | None = None
    user_data: str | None = None
    derivation: tuple[int, bytes, int] | None = None
    uuid: bytes | None = None
    owner: int | None = None
    parent_family: int | None = None
    key_value: str | None = None
    passphrase: bytes | None = None
    holders: Sequence[bytes] = ()
    under_root: bool | None = None

    def is_under_root(self) -> bool:
        """Return whether the key is wrapped under the root key."""
        if self.under_root is None:
            return self.passphrase is None and not self.holders
        return self.under_root


class KeyTable:
    """The key table of a database, used by one session."""

    def __init__(self, database: "Database") -> None:
        self.database = database
        self.keyring = Keyring()
        self.root_wraps = RootWraps(database)
        self.unlocked = Unlocked(database)
        self.audit = Audit(database)
        self.uses = UseCache(database)

    @cached_property
    def wrap_rows(self) -> "WrapRows":
        """The stored wraps."""
        from .wrap_rows import WrapRows

        return WrapRows(self.database, self.root_wraps)

    @cached_property
    def user_key_rows(self) -> "UserKeyRows":
        """The stored key pairs of users."""
        from .wrap_rows import UserKeyRows

        return UserKeyRows(self.database)

    @cached_property
    def grants(self) -> "Grants":
        """The stored grants."""
        from .grants import Grants

        return Grants(self.database)

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
        """Return a record that was looked up, if the current user may know of the key; see ``find``."""
        if record is not None and (record.has_usage or self.is_admin()):
            return record
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
                    "SELECT FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) 'pgkeymgr_admin'"
                    " AND pg_catalog.pg_has_role($1, oid, 'USAGE')",
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
            KeyStateError: it is disabled, destroyed or expired.
            DataError: it has another type, or the argument is NULL.
        """
        return self.check_usable(self.lookup(key, with_wraps=with_wraps), key, key_type, encrypt=encrypt)

    def check_usable(
        self, record: Record | None, key: str | int | bytes, key_type: str, *, encrypt: bool
    ) -> Record:
        """Return a record that was looked up, if the current user may use its key now; see ``usable``."""
        record = self.check_visible(record, key)
        record.check_usage(encrypt=encrypt)
        record.check_state()
        check_type(record, key_type)
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
            self.uses.put(which, True, Conditions.of(record))

    def unlock(self, record: Record) -> bytes:
        """Return a key's secret. Without a wrap under the root key, it is the secret that the session unlocked.

        Args:
            record: the record of the key.

        Returns:
            The secret. It must not be given to SQL.

        Raises:
            KeyStateError: it is locked.
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
            KeyStateError: it is disabled, destroyed, expired or locked.
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
        self.uses.put(which, secret, Conditions.of(record))
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
        self.keyring.forget_last()

    def change(self, operation: Callable[[], _Result]) -> _Result:
        """Run an operation that changes keys; see ``Database.as_owner``."""
        self.note_change()
        return self.database.as_owner(operation)

    def note_change(self) -> None:
        """Note that this transaction changes keys in any way."""
        self.uses.note_change()
        self.keyring.forget_last()

    def create(self, new: NewKey, event: str = "create") -> int:
        """Make a key.

        Args:
            new: the properties of the key.
            event: the name of the event in the audit trail.

        Returns:
            Its id.

        Raises:
            ParameterError: an argument is out of range.
            DuplicateKeyError: the name or the uuid is taken, or there is a key for the value.
            RootKeyError: there is no root key.
        """
        # Within the operation, the current user is the extension's owner.
        owned = new if new.owner else new._replace(owner=self.database.user())
        new_id = self.change(lambda: self._insert(owned))
        self.audit.record(event, new_id, new.name)
        return new_id

    def _insert(self, new: NewKey, key_id: int | None = None, family: int | None = None) -> int:
        """Insert a key and its wraps; within ``change``.

        Args:
            new: the properties of the key, with its owner.
            key_id: its id; None for the next id.
            family: the family of the versions before it; None to begin a family of its own id.

        Returns:
            Its id.
        """
        if new.name is not None or new.key_type == TOKEN_KEY_TYPE:
            check_name(new.name)
        execute = self.database.execute
        if new.expires is not None and not execute(
            "SELECT WHERE $1 OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp()", ("timestamptz", new.expires)
        ):
            raise ParameterError(f"expires must lie in the future, and is {new.expires}")
        uuid = new.uuid or _new_uuid()
        number, context, size = new.derivation or (None, None, 0)
        new_id: int = key_id or _scalar(
            execute("SELECT pg_catalog.nextval('{s}.key_id_seq'::pg_catalog.regclass)::integer AS id")
        )
        rows = execute(
            "INSERT INTO {s}.key (id, uuid, family, name, key_type, expires, owner, comment, user_data,"
            " derivation_id, context, parent_family, key_value) VALUES"
            " ($1, pg_catalog.encode($2, 'hex')::uuid, $3, $4, $5::{s}.key_type, $6, $7::pg_catalog.regrole,"
            " $8, $9, $10, $11, $12, $13)"
            " ON CONFLICT DO NOTHING RETURNING id",
            ("integer", new_id),
            ("bytea", uuid),
            ("integer", family or new_id),
            ("text", new.name),
            ("text", new.key_type),
            ("timestamptz", new.expires),
            ("oid", new.owner),
            ("text", new.comment),
            ("jsonb", new.user_data),
            ("bigint", number),
            ("bytea", context),
            ("integer", new.parent_family),
            ("text", new.key_value),
        )
        if not rows:
            self._refuse_duplicate(new)
        packed = b"" if number is None or context is None else number.to_bytes(8, "little", signed=True) + context
        wraps = self.wrap_rows.of_new(new_id, wrap_associated_data(uuid, new.key_type, packed))
        body = new.secret if new.secret is not None else bytes([size])
        for public in new.holders:
            wraps.set_user(body, public)
        if new.passphrase is not None:
            from .passphrase import Stretching

            wraps.set_passphrase(body, Stretching.new().stretch(new.passphrase))
        if new.is_under_root():
            wraps.set_root(body)
        return new_id

    def _refuse_duplicate(self, new: NewKey) -> NoReturn:
        """Raise the error that names the property of a new key which another key has; within ``change``."""
        if new.uuid is not None and self.database.execute(
            "SELECT FROM {s}.key WHERE uuid OPERATOR(pg_catalog.=) pg_catalog.encode($1, 'hex')::uuid",
            ("bytea", new.uuid),
        ):
            raise DuplicateKeyError(f"there is a key with uuid {uuid_text(new.uuid)} already")
        raise DuplicateKeyError(
            f'there is an enabled key "{new.name}" already',
            hint="Supersede it, disable it, or choose another name.",
        )

    def user_public(self, user: int) -> bytes:
        """Return the public key of a user's pair.

        Args:
            user: the role's OID.

        Returns:
            32 bytes.

        Raises:
            UndefinedError: the user has no pair.
        """
        row = self.user_key_rows.find(user)
        if row is None:
            raise UndefinedError("the role has no key pair", hint="It makes one with create_user_key().")
        return row.public

    def _lock_for_holders(self, record: Record, lock: Callable[[Record], object]) -> list[bytes]:
        """Lock a key, and return the public keys of the users to whom it is sealed; within ``change``.

        Until the transaction ends, no user's key pair is rotated: a rotation would miss the new wraps.
        """
        if record.has_wrap("user"):
            self.user_key_rows.lock_for_sealing()
        lock(record)
        holders = self.wrap_rows.holders(record)
        if holders:
            self.user_key_rows.lock_for_sealing()  # the key may have been shared since the record was read
        return holders

    def supersede(self, record: Record, secret: bytes, passphrase: bytes | None = None) -> int:
        """Make a new version of a key with given bytes; see ``supersede_data_key``.

        The new version is sealed to the same users as the old version. It is wrapped under the root key if the old
        version is.

        Args:
            record: the record of the current version.
            secret: the bytes of the new version.
            passphrase: the passphrase to wrap the new version under, too, or None.

        Returns:
            The new version's id.

        Raises:
            KeyStateError: the key was superseded before, or is not enabled.
        """

        def replace() -> int:
            holders = self._lock_for_holders(record, self.wrap_rows.of)
            rows = self.database.execute(
                "UPDATE {s}.key SET superseded_by = pg_catalog.nextval('{s}.key_id_seq'::pg_catalog.regclass)"
                " WHERE id OPERATOR(pg_catalog.=) $1 AND superseded_by IS NULL AND state = 'enabled'"
                " RETURNING superseded_by, comment, user_data::text AS user_data, owner::oid AS owner, "
                "parent_family, key_value,"
                # The new version gets the lifetime that the old version was made with, from now on.
                " CASE WHEN pg_catalog.isfinite(expires) AND expires OPERATOR(pg_catalog.>) created"
                " THEN pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+)"
                " (expires OPERATOR(pg_catalog.-) created) END::text AS expires",
                ("integer", record.id),
            )
            if not rows:
                raise KeyStateError(f"{record} was superseded already, or is not enabled any more")
            (row,) = rows
            new = NewKey(
                record.name,
                secret,
                key_type=record.key_type,
                expires=row["expires"],
                comment=row["comment"],
                user_data=row["user_data"],
                passphrase=passphrase,
                owner=row["owner"],
                parent_family=row["parent_family"],
                key_value=row["key_value"],
                holders=holders,
                under_root=record.root_wrap is not None,
            )
            return self._insert(new, row["superseded_by"], record.family)

        new_id = self.change(replace)
        self.audit.record("supersede", record.id, record.name, f"by key {new_id}")
        return new_id

    def create_for(self, record: Record, name: str, value: str | None = None) -> int:
        """Make a key that has the owner and the grants of another key.

        Args:
            record: the record of the other key.
            name: the name of the new key. With a value, a similar name is used if this name is too long or taken.
            value: the value that the key is for, of the column that ``key_by`` names; or None. ``child`` finds the
                key by its value.

        Returns:
            Its id.

        Raises:
            ParameterError: the name or the value is too long.
            DuplicateKeyError: the name is taken; or, with a value, there is a key for that value.
            KeyStateError: the other key opens with a passphrase only.
        """
        if value is None:
            return self._create_for(record, name, None)
        self._check_value(record, value)
        if len(name) <= NAME_CHARACTERS_MAX:
            try:
                return self._create_for(record, name, value)
            except DuplicateKeyError:
                if self.child(record.family, value) is not None:
                    raise
        # The name is for people only: an unrelated key may have it.
        suffix = f"~{os.urandom(_SUFFIX_BYTES).hex()}"
        return self._create_for(record, name[: NAME_CHARACTERS_MAX - len(suffix)] + suffix, value)

    def _create_for(self, record: Record, name: str, value: str | None) -> int:
        def insert() -> int:
            # The users who can open the other key can open the new key, and nobody else can.
            holders = self._lock_for_holders(record, self.wrap_rows.share_lock)
            if record.root_wrap is None and not holders:
                raise KeyStateError(
                    f"{record} opens with a passphrase only: no other key can be made that does",
                    hint="add_root_wrap() first; then drop_passphrase(), add_passphrase(), drop_root_wrap() do "
                    "both.",
                )
            new = NewKey(
                name,
                os.urandom(CHILD_BYTES),
                owner=_scalar(
                    self.database.execute(
                        "SELECT owner::oid AS owner FROM {s}.key WHERE id OPERATOR(pg_catalog.=) $1",
                        ("integer", record.id),
                    )
                ),
                parent_family=record.family,
                key_value=value,
                holders=holders,
                under_root=record.root_wrap is not None,
            )
            return self._insert(new)

        new_id = self.change(insert)
        self.audit.record("create", new_id, name)
        return new_id

    def _check_value(self, record: Record, value: str) -> None:
        """Refuse a value that is too long, and a key that divides no column by values."""
        if len(value) > VALUE_CHARACTERS_MAX:
            raise ParameterError(
                f"a value of a column that key_by names must be at most {VALUE_CHARACTERS_MAX} characters long, "
                f"not {len(value)}"
            )
        if not self.database.as_owner(
            lambda: self.database.execute(
                "SELECT FROM {s}.encrypted_column WHERE key_by IS NOT NULL AND key_family = $1 LIMIT 1",
                ("integer", record.family),
            )
        ):
            raise ParameterError(f"no encrypted column has {record} divided by the values of another column")

    def child(self, family: Record | int, value: str, *, with_wraps: bool = False) -> Record | None:
        """Find the key for one value of the column that ``key_by`` names, for the current user.

        Args:
            family: the family of the column's key, or the record of that key.
            value: the value of the other column.
            with_wraps: see ``lookup``.

        Returns:
            The record of its current version in any state, even without a grant; None if there is no such key.
        """
        parent = family.family if isinstance(family, Record) else family
        rows = self.database.read_as_owner(
            lambda: self.database.execute(
                "SELECT id FROM {s}.key WHERE parent_family OPERATOR(pg_catalog.=) $1"
                " AND key_value OPERATOR(pg_catalog.=) $2 ORDER BY superseded_by IS NULL DESC, id DESC LIMIT 1",
                ("integer", parent),
                ("text", value),
            )
        )
        if not rows:
            return None
        return self.database.load_key(rows[0]["id"], "", _NO_UUID, self.database.user(), with_wraps=with_wraps)

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
                "SELECT id FROM {s}.key WHERE (family OPERATOR(pg_catalog.=) $1 OR parent_family"
                " OPERATOR(pg_catalog.=) $1) AND ($2 OR state <> 'destroyed') AND id OPERATOR(pg_catalog.<>) $3"
                " ORDER BY id DESC",
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
                "SELECT id FROM {s}.key WHERE parent_family OPERATOR(pg_catalog.=) $1 AND key_value IS NOT NULL"
                " AND superseded_by IS NULL AND state = 'enabled' ORDER BY id",
                ("integer", record.family),
            )
        )
        return [row["id"] for row in rows]

    def drop(self, record: Record) -> None:
        """Remove a key and its wraps from the table."""

        def delete() -> None:
            self.database.execute("DELETE FROM {s}.key WHERE id OPERATOR(pg_catalog.=) $1", ("integer", record.id))

        self.change(delete)
        self.audit.record("drop", record.id, record.name)

    def lookup_family(self, family: int) -> Record | None:
        """Look for the current version of a key by its family; see ``lookup``."""
        return self.database.load_key(_NO_ID, "", _NO_UUID, self.database.user(), family=family, with_wraps=False)


def check_name(name: str | None) -> None:
    """Refuse a name that is empty or too long.

    Raises:
        ParameterError: the name is empty or too long.
        DataError: the name is NULL.
    """
    if name is None:
        raise DataError("name must not be NULL")
    if not 1 <= len(name) <= NAME_CHARACTERS_MAX:
        raise ParameterError(f"name must be 1 to {NAME_CHARACTERS_MAX} characters long, not {len(name)}")


def check_length(length: int, smallest: int, largest: int) -> None:
    """Refuse a key's length that is out of range.

    Raises:
        ParameterError: the length is out of range.
        DataError: the length is NULL.
    """
    if length is None:
        raise DataError("length must not be NULL")
    if not smallest <= length <= largest:
        raise ParameterError(f"length must be {smallest} to {largest} bytes, not {length}")


def check_type(record: Record, key_type: str) -> None:
    """Refuse a key of another type.

    Raises:
        DataError: the key has another type.
    """
    if record.key_type != key_type:
        raise DataError(f"{record} is of type {record.key_type}, and this needs one of type {key_type}")


def called(key: str | int | bytes) -> str:
    """Return the words of a message for a key. They contain only the argument that the user gave."""
    if isinstance(key, str):
        return f'"{shorten(key)}"'
    return f"with uuid {uuid_text(key)}" if isinstance(key, bytes) else str(key)


def shorten(text: str) -> str:
    """Return a text for a message, cut after 255 characters, the maximum of a name."""
    return text if len(text) <= NAME_CHARACTERS_MAX else text[:NAME_CHARACTERS_MAX] + "..."


def _new_uuid() -> bytes:
    from uuid import uuid4  # the import is slow, and only needed to make a key

    return uuid4().bytes


def uuid_text(uuid: bytes) -> str:
    """Return a uuid of 16 bytes as PostgreSQL writes it."""
    digits = uuid.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _scalar(rows: "Rows") -> Any:
    ((value,),) = (row.values() for row in rows)
    return value
