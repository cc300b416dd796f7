"""The rows of the key table: a key found, unlocked, inserted, superseded, deleted.

Everything is done for the user that the server says is the current one. What touches the tables runs with the
rights of the extension's owner, and only in the callbacks that are handed to ``Database.as_owner``.

A session's first call waits for the imports: those for passphrases and users' keys are where they are needed.
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
"""Of the column that ``key_by`` names: an index has it, which takes 2,704 bytes at most."""
CHILD_BYTES = 32
DERIVED_WRAP_BYTES = 1
"""What the wrap of a derived key holds: its length. A longer one holds the key, since the root key was rotated."""
TOKEN_KEY_TYPE = "data"  # noqa: S105  # a type's name

_SUFFIX_BYTES = 4
_NO_ID = 0
_NO_UUID = bytes(16)

_Result = TypeVar("_Result")


class NewKey(NamedTuple):
    """A key to be made.

    Attributes:
        name: or None for a key without one.
        secret: its bytes; None for a derived key.
        key_type: what it is for.
        expires: when, as a timestamp's text; None for never.
        comment: for people; None for none.
        user_data: a JSON text; None for none.
        derivation: a derived key's number, context and length.
        uuid: 16 bytes; None for a random one.
        owner: the OID of its owner; None for the current user.
        parent_family: the family of a key whose grants are this one's, too.
        key_value: of the column that ``key_by`` names, for which it is; None for none.
        passphrase: wraps it under this.
        holders: seals it to these users' public keys.
        under_root: wraps it under the root key; None for only if there is no other way to open it.
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
        """Return whether it is wrapped under the root key."""
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
        """Look for a key, whatever its state and the current user's grants; say nothing of it to who has none.

        Args:
            key: its name, which means its current version, its id, or its uuid as 16 bytes.
            with_wraps: with what it is wrapped under besides the root key; to use the key, that is not needed.

        Returns:
            Its record, or None if there is none.

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
        """Find a key that the current user may use for something, or may manage; whatever its state.

        Args:
            key: its name, which means its current version, its id, or its uuid as 16 bytes.
            with_wraps: see ``lookup``.

        Returns:
            Its record.

        Raises:
            UndefinedError: there is none, and the user is an administrator of keys.
            PrivilegeError: there is none, or the user may not use it: which of the two is not told.
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
            key_type: what it must be for.
            encrypt: whether it is to encrypt or to authenticate; otherwise, to decrypt or to verify.
            with_wraps: see ``lookup``.

        Returns:
            Its record.

        Raises:
            UndefinedError: there is none; see ``find``.
            PrivilegeError: the user may not use it for this.
            KeyStateError: it is disabled, destroyed or expired.
            DataError: it is for something else, or NULL.
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
        """Refuse to encrypt so that equal plaintexts are seen to be equal, to a user who may not compare them.

        Args:
            key: see ``usable``.
            key_type: what it must be for.

        Raises:
            PrivilegeError: the user may not encrypt with it, or neither search nor decrypt.
            Error: see ``usable``.
        """
        which = ("search", key, key_type, self.database.user())
        if self.uses.get(which) is None:
            record = self.usable(key, key_type, encrypt=True, with_wraps=False)
            record.check_search()
            self.uses.put(which, True, Conditions.of(record))

    def unlock(self, record: Record) -> bytes:
        """Return a key's secret by its wrap under the root key, or if it has none, as the session has unlocked it.

        Args:
            record: the key's.

        Returns:
            The secret. It must not be given to SQL.

        Raises:
            KeyStateError: it is locked.
            RootKeyError: there is no root key, or another one than the wrap was made under.
            DataError: the wrap does not open: the row was altered, or the wrap is another key's.
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
        # That it opened says that number and context are right.
        return self.root_wraps.derive(
            record.derivation_id, int.from_bytes(secret, "big"), record.context, record.fingerprint
        )

    def secret(self, uuid: str, key_type: str, encrypt: bool) -> bytes:
        """Return the secret of a key, for a primitive that the current user has a grant for.

        Args:
            uuid: the key's, as text.
            key_type: what it must be for.
            encrypt: whether it is to encrypt or to authenticate; otherwise, to decrypt or to verify.

        Returns:
            The secret. It must not be given to SQL.

        Raises:
            UndefinedError: there is no such key.
            PrivilegeError: the user may not use it for this.
            KeyStateError: it is disabled, destroyed, expired or locked.
            DataError: it is for something else.
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
        """Return what encrypts and decrypts a key's tokens, unlocked if it was not.

        Args:
            record: the key's, whose usage and state have been checked.

        Returns:
            The cipher.

        Raises:
            KeyStateError: the key is locked.
            DataError: it has the wrong length for tokens, or its wrap does not open.
        """
        return self.keyring.cipher(record, self.unlock)

    def forget_checks(self) -> None:
        """Forget who may use what, so that it is checked again."""
        self.uses.clear()
        self.keyring.forget_last()

    def change(self, operation: Callable[[], _Result]) -> _Result:
        """Run something that changes keys; see ``Database.as_owner``."""
        self.note_change()
        return self.database.as_owner(operation)

    def note_change(self) -> None:
        """Note that this transaction changes keys, in whatever way."""
        self.uses.note_change()
        self.keyring.forget_last()

    def create(self, new: NewKey, event: str = "create") -> int:
        """Make a key.

        Args:
            new: what it is to be.
            event: what the audit trail is to call it.

        Returns:
            Its id.

        Raises:
            ParameterError: an argument is out of range.
            DuplicateKeyError: the name is taken, or the uuid, or there is a key for the value.
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
            new: what it is to be; its owner must be given.
            key_id: its id; None for the next one.
            family: of the versions before it; None for its own id.

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
        """Say which of a new key's properties another key has; within ``change``."""
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
            UndefinedError: the user has none.
        """
        row = self.user_key_rows.find(user)
        if row is None:
            raise UndefinedError("the role has no key pair", hint="It makes one with create_user_key().")
        return row.public

    def _lock_for_holders(self, record: Record, lock: Callable[[Record], object]) -> list[bytes]:
        """Lock a key, and return the public keys of the users to whom it is sealed; within ``change``.

        Until the transaction ends, no user's key pair is rotated, which would miss the wraps to come.
        """
        if record.has_wrap("user"):
            self.user_key_rows.lock_for_sealing()
        lock(record)
        holders = self.wrap_rows.holders(record)
        if holders:
            self.user_key_rows.lock_for_sealing()  # if it was shared only now
        return holders

    def supersede(self, record: Record, secret: bytes, passphrase: bytes | None = None) -> int:
        """Make a new version of a key with given bytes; see ``supersede_data_key``.

        It is sealed to the users to whom the old one is, and wrapped under the root key if that is.

        Args:
            record: the current version's.
            secret: the new version's bytes.
            passphrase: wraps the new version under this, too.

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
                # As long as the old one was meant to live, from now on.
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
        """Make a key that has the owner and the grants of another one.

        Args:
            record: the other one's.
            name: the new key's. With a value, another one like it is taken if this one is too long, or not free.
            value: of the column that ``key_by`` names, for which ``child`` finds the key; None for none.

        Returns:
            Its id.

        Raises:
            ParameterError: the name is too long, or the value.
            DuplicateKeyError: the name is taken; or, with a value, there is a key for that.
            KeyStateError: the other one opens with a passphrase only.
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
        # The name is for people only: a key that has nothing to do with this one may have it.
        suffix = f"~{os.urandom(_SUFFIX_BYTES).hex()}"
        return self._create_for(record, name[: NAME_CHARACTERS_MAX - len(suffix)] + suffix, value)

    def _create_for(self, record: Record, name: str, value: str | None) -> int:
        def insert() -> int:
            # Opened by whoever opens the other one, and by nobody else.
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
        """Refuse to make a key for a value that no column asks for."""
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
            family: of the column's key, or a record of that.
            value: the other column's.
            with_wraps: see ``lookup``.

        Returns:
            The record of its current version, whatever its state and the user's grants; None if there is none.
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
        """Return a key and what belongs to it: all its versions, and the keys that were made for it.

        Args:
            record: the key's; it comes first.
            also_destroyed: include those that were destroyed.

        Returns:
            Their records.
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
        """Remove a key from the table, wraps and all."""

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
        ParameterError: it is.
        DataError: it is NULL.
    """
    if name is None:
        raise DataError("name must not be NULL")
    if not 1 <= len(name) <= NAME_CHARACTERS_MAX:
        raise ParameterError(f"name must be 1 to {NAME_CHARACTERS_MAX} characters long, not {len(name)}")


def check_length(length: int, smallest: int, largest: int) -> None:
    """Refuse a key's length that is out of range.

    Raises:
        ParameterError: it is.
        DataError: it is NULL.
    """
    if length is None:
        raise DataError("length must not be NULL")
    if not smallest <= length <= largest:
        raise ParameterError(f"length must be {smallest} to {largest} bytes, not {length}")


def check_type(record: Record, key_type: str) -> None:
    """Refuse a key that is for something else.

    Raises:
        DataError: it is.
    """
    if record.key_type != key_type:
        raise DataError(f"{record} is of type {record.key_type}, and this needs one of type {key_type}")


def called(key: str | int | bytes) -> str:
    """Return what a message calls a key that somebody has asked for: by what they gave, and nothing else."""
    if isinstance(key, str):
        return f'"{shorten(key)}"'
    return f"with uuid {uuid_text(key)}" if isinstance(key, bytes) else str(key)


def shorten(text: str) -> str:
    """Return a text for a message, cut after as many characters as a name may have."""
    return text if len(text) <= NAME_CHARACTERS_MAX else text[:NAME_CHARACTERS_MAX] + "..."


def _new_uuid() -> bytes:
    from uuid import uuid4  # slow to import, and only needed to make a key

    return uuid4().bytes


def uuid_text(uuid: bytes) -> str:
    """Return a uuid of 16 bytes as PostgreSQL writes it."""
    digits = uuid.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _scalar(rows: "Rows") -> Any:
    ((value,),) = (row.values() for row in rows)
    return value
