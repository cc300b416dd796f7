"""The rows of the key table: a key found, unlocked, inserted, superseded, deleted.

Everything is done for the user that the server says is the current one. What touches the tables runs with the
rights of the extension's owner, and only in the callbacks that are handed to ``Database.as_owner``.

A session's first call waits for the imports: those for passphrases and users' keys are where they are needed.
"""

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import DataError, DuplicateKeyError, Error, KeyStateError, ParameterError, UndefinedError
from ..wrap import wrap
from .audit import Audit
from .cipher import TokenCipher
from .keyring import Keyring
from .record import Record, wrap_associated_data
from .root_wrap import RootWraps
from .unlocked import Unlocked
from .use_cache import Conditions, UseCache

if TYPE_CHECKING:
    from .database import Database, Rows
    from .passphrase import Stretched

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


class KeyTable:
    """The key table of a database, used by one session."""

    def __init__(self, database: "Database") -> None:
        self.database = database
        self.keyring = Keyring()
        self.root_wraps = RootWraps(database)
        self.unlocked = Unlocked(database)
        self.audit = Audit(database)
        self.uses = UseCache(database)

    def find(self, key: str | int | bytes, *, with_wraps: bool = True) -> Record:
        """Find a key for the current user, whatever its state and their grants.

        Args:
            key: its name, which means its current version, its id, or its uuid as 16 bytes.
            with_wraps: with what it is wrapped under besides the root key; to use the key, that is not needed.

        Returns:
            Its record.

        Raises:
            UndefinedError: there is none.
            DataError: the key is NULL.
        """
        if key is None:
            raise DataError("key must not be NULL")
        user = self.database.user()
        if isinstance(key, str):
            record = self.database.load_key(_NO_ID, key, _NO_UUID, user, with_wraps=with_wraps)
            called = f'"{shorten(key)}"'
        elif isinstance(key, bytes):
            record = self.database.load_key(_NO_ID, "", key, user, with_wraps=with_wraps)
            called = f"with uuid {key.hex()}"
        else:
            record = self.database.load_key(key, "", _NO_UUID, user, with_wraps=with_wraps)
            called = f"{key}"
        if record is None:
            raise UndefinedError(f"there is no key {called}")
        return record

    def usable(self, key: str | int | bytes, key_type: str, *, encrypt: bool, with_wraps: bool = True) -> Record:
        """Find a key that the current user may use now.

        Args:
            key: its name, which means its current version, its id, or its uuid as 16 bytes.
            key_type: what it must be for.
            encrypt: whether it is to encrypt or to authenticate; otherwise, to decrypt or to verify.
            with_wraps: see ``find``.

        Returns:
            Its record.

        Raises:
            UndefinedError: there is none.
            PrivilegeError: the user may not use it for this.
            KeyStateError: it is disabled, destroyed or expired.
            DataError: it is for something else, or NULL.
        """
        record = self.find(key, with_wraps=with_wraps)
        record.check_usage(encrypt=encrypt)
        record.check_state()
        check_type(record, key_type)
        return record

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

    def create(
        self,
        name: str | None,
        secret: bytes | None,
        *,
        key_type: str = "data",
        expires: str | None = None,
        comment: str | None = None,
        derivation: tuple[int, bytes, int] | None = None,
        passphrase: bytes | None = None,
        uuid: bytes | None = None,
        user_data: str | None = None,
        owner: int | None = None,
        parent_family: int | None = None,
        key_value: str | None = None,
        holders: Sequence[bytes] = (),
        under_root: bool | None = None,
        event: str = "create",
    ) -> int:
        """Make a key of the current user's.

        Args:
            name: or None for a key without one.
            secret: its bytes; None for a derived key.
            key_type: what it is for.
            expires: when, as a timestamp's text; None for never.
            comment: for people; None for none.
            derivation: a derived key's number, context and length.
            passphrase: wraps it under this.
            uuid: 16 bytes; None for a random one.
            user_data: a JSON text; None for none.
            owner: the OID of its owner; None for the current user.
            parent_family: the family of a key whose grants are this one's, too.
            key_value: of the column that ``key_by`` names; None for none.
            holders: seals it to these users' public keys.
            under_root: wraps it under the root key; None for only if there is no other way to open it.
            event: what the audit trail is to call it.

        Returns:
            Its id.

        Raises:
            ParameterError: an argument is out of range.
            DuplicateKeyError: the name is taken.
            RootKeyError: there is no root key.
        """
        new_id = self._insert(
            name,
            secret,
            key_type=key_type,
            expires=expires,
            comment=comment,
            derivation=derivation,
            passphrase=passphrase,
            uuid=uuid,
            user_data=user_data,
            owner=owner,
            parent_family=parent_family,
            key_value=key_value,
            holders=holders,
            under_root=passphrase is None and not holders if under_root is None else under_root,
        )
        self.audit.record(event, new_id, name)
        return new_id

    def _insert(
        self,
        name: str | None,
        secret: bytes | None,
        *,
        key_type: str,
        expires: str | None,
        comment: str | None,
        user_data: str | None,
        owner: int | None,
        parent_family: int | None,
        key_value: str | None,
        passphrase: bytes | None,
        holders: Sequence[bytes],
        under_root: bool,
        derivation: tuple[int, bytes, int] | None = None,
        uuid: bytes | None = None,
        family: int | None = None,
        key_id: int | None = None,
    ) -> int:
        if name is not None or key_type == "data":
            check_name(name)
        owner = owner or self.database.user()
        uuid = uuid or _new_uuid()
        number, context, size = derivation or (None, None, 0)
        packed = b"" if number is None or context is None else number.to_bytes(8, "little", signed=True) + context
        associated_data = wrap_associated_data(uuid, key_type, packed)
        body = secret if secret is not None else bytes([size])

        def insert() -> int:
            execute = self.database.execute
            if expires is not None and not execute(
                "SELECT WHERE $1 OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp()",
                ("timestamptz", expires),
            ):
                raise ParameterError(f"expires must lie in the future, and is {expires}")
            new_id = key_id or _scalar(
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
                ("text", name),
                ("text", key_type),
                ("timestamptz", expires),
                ("oid", owner),
                ("text", comment),
                ("jsonb", user_data),
                ("bigint", number),
                ("bytea", context),
                ("integer", parent_family),
                ("text", key_value),
            )
            if not rows:
                if execute(
                    "SELECT FROM {s}.key WHERE uuid OPERATOR(pg_catalog.=) pg_catalog.encode($1, 'hex')::uuid",
                    ("bytea", uuid),
                ):
                    raise DuplicateKeyError(f"there is a key with uuid {uuid_text(uuid)} already")
                raise DuplicateKeyError(
                    f'there is an enabled key "{name}" already',
                    hint="Supersede it, disable it, or choose another name.",
                )
            for public in holders:
                self.insert_user_wrap(new_id, body, associated_data, public)
            if passphrase is not None:
                from .passphrase import Stretching

                stretched = Stretching.new().stretch(passphrase)
                self.insert_passphrase_wrap(new_id, body, associated_data, stretched)
            if under_root:
                self.insert_root_wrap(new_id, body, associated_data)
            return int(new_id)

        return self.change(insert)

    def insert_root_wrap(self, key_id: int, secret: bytes, associated_data: bytes) -> None:
        """Store a key's wrap under the root key; within ``change``."""
        fingerprint, wrapped = self.root_wraps.wrap(secret, associated_data)
        self.database.execute(
            "INSERT INTO {s}.key_wrap (key_id, kind, fingerprint, wrapped) VALUES ($1, 'root', $2, $3)",
            ("integer", key_id),
            ("text", fingerprint),
            ("bytea", wrapped),
        )

    def insert_passphrase_wrap(
        self, key_id: int, secret: bytes, associated_data: bytes, stretched: "Stretched"
    ) -> bytes:
        """Store a key's wrap under a passphrase, and return it; within ``change``."""
        stretching = stretched.stretching
        wrapped = wrap(secret, associated_data, stretched.wrapping_key)
        self.database.execute(
            "INSERT INTO {s}.key_wrap (key_id, kind, salt, opslimit, memlimit, wrapped)"
            " VALUES ($1, 'passphrase', $2, $3, $4, $5)",
            ("integer", key_id),
            ("bytea", stretching.salt),
            ("integer", stretching.opslimit),
            ("bigint", stretching.memlimit),
            ("bytea", wrapped),
        )
        return wrapped

    def insert_user_wrap(self, key_id: int, secret: bytes, associated_data: bytes, public: bytes) -> None:
        """Store a key's wrap for a user, in place of the one there may be; within ``change``."""
        from .user_wrap import user_wrap

        self.database.execute(
            "INSERT INTO {s}.key_wrap (key_id, kind, holder, wrapped)"
            " VALUES ($1, 'user', pg_catalog.encode($2, 'hex'), $3)"
            " ON CONFLICT (key_id, kind, holder) DO UPDATE SET wrapped = excluded.wrapped",
            ("integer", key_id),
            ("bytea", public),
            ("bytea", user_wrap(secret, associated_data, public)),
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
        rows = self.database.as_owner(
            lambda: self.database.execute(
                "SELECT public FROM {s}.user_key WHERE role::oid OPERATOR(pg_catalog.=) $1", ("oid", user)
            )
        )
        if not rows:
            raise UndefinedError("the role has no key pair", hint="It makes one with create_user_key().")
        public: bytes = rows[0]["public"]
        return public

    def holders(self, record: Record) -> list[bytes]:
        """Return the public keys of the users to whom a key is sealed; within ``change``.

        Until the transaction ends, no user's key pair is rotated meanwhile, which would miss the wraps to come.
        """
        self.database.execute("LOCK TABLE {s}.user_key IN SHARE MODE")
        rows = self.database.execute(
            "SELECT u.public FROM {s}.user_key AS u JOIN {s}.key_wrap AS w"
            " ON w.holder OPERATOR(pg_catalog.=) pg_catalog.encode(u.public, 'hex')"
            " WHERE w.key_id OPERATOR(pg_catalog.=) $1 AND w.kind = 'user' ORDER BY u.public",
            ("integer", record.id),
        )
        return [row["public"] for row in rows]

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
            KeyStateError: the key was superseded before.
        """

        def replace() -> int:
            execute = self.database.execute
            rows = execute(
                "UPDATE {s}.key SET superseded_by = pg_catalog.nextval('{s}.key_id_seq'::pg_catalog.regclass)"
                " WHERE id OPERATOR(pg_catalog.=) $1 AND superseded_by IS NULL"
                " RETURNING superseded_by, comment, user_data::text AS user_data, owner::oid AS owner, "
                "parent_family, key_value,"
                # As long as the old one was meant to live, from now on.
                " CASE WHEN pg_catalog.isfinite(expires) AND expires OPERATOR(pg_catalog.>) created"
                " THEN pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+)"
                " (expires OPERATOR(pg_catalog.-) created) END::text AS expires",
                ("integer", record.id),
            )
            if not rows:
                raise KeyStateError(f"{record} was superseded already")
            (row,) = rows
            return self._insert(
                record.name,
                secret,
                key_type=record.key_type,
                expires=row["expires"],
                comment=row["comment"],
                user_data=row["user_data"],
                family=record.family,
                key_id=row["superseded_by"],
                passphrase=passphrase,
                owner=row["owner"],
                parent_family=row["parent_family"],
                key_value=row["key_value"],
                holders=self.holders(record) if record.has_wrap("user") else (),
                under_root=record.root_wrap is not None,
            )

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
        if value is not None:
            self._check_value(record, value)
        (row,) = self.database.as_owner(
            lambda: self.database.execute(
                "SELECT owner::oid AS owner FROM {s}.key WHERE id OPERATOR(pg_catalog.=) $1",
                ("integer", record.id),
            )
        )
        # Opened by whoever opens the other one, and by nobody else.
        holders = self.database.as_owner(lambda: self.holders(record)) if record.has_wrap("user") else ()
        if record.root_wrap is None and not holders:
            raise KeyStateError(
                f"{record} opens with a passphrase only: no other key can be made that does",
                hint="add_root_wrap() first; then drop_passphrase(), add_passphrase(), drop_root_wrap() do both.",
            )

        def create(called: str) -> int:
            return self.create(
                called,
                os.urandom(CHILD_BYTES),
                owner=row["owner"],
                parent_family=record.family,
                key_value=value,
                holders=holders,
                under_root=record.root_wrap is not None,
            )

        if value is None:
            return create(name)
        if len(name) <= NAME_CHARACTERS_MAX:
            try:
                return create(name)
            except DuplicateKeyError:
                if self.child(record.family, value) is not None:
                    raise
        # The name is for people only: a key that has nothing to do with this one may have it.
        suffix = f"~{os.urandom(_SUFFIX_BYTES).hex()}"
        return create(name[: NAME_CHARACTERS_MAX - len(suffix)] + suffix)

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
            with_wraps: see ``find``.

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
        return [record, *(self.find(row["id"]) for row in rows)]

    def delete_wraps(self, key_ids: Sequence[int], kind: str, holder: str = "") -> list[int]:
        """Remove a wrap from each of some keys, but not the last of any; within ``change``.

        Args:
            key_ids: of the keys.
            kind: of the wraps.
            holder: of a user's, the public key in hexadecimal.

        Returns:
            The ids of those that had it.

        Raises:
            KeyStateError: one of them has no other wrap.
        """
        arguments = (("integer[]", list(key_ids)), ("text", kind), ("text", holder))
        # Written, so that of two sessions that remove the last two wraps one has to wait, or to begin again.
        self.database.execute(
            "UPDATE {s}.key SET state = state WHERE id OPERATOR(pg_catalog.=) ANY ($1)", arguments[0]
        )
        rows = self.database.execute(
            "DELETE FROM {s}.key_wrap WHERE key_id OPERATOR(pg_catalog.=) ANY ($1)"
            " AND kind = $2::{s}.wrap_kind AND holder OPERATOR(pg_catalog.=) $3 RETURNING key_id",
            *arguments,
        )
        deleted = [row["key_id"] for row in rows]
        closed = self.without_wraps(deleted)
        if closed:
            names = ", ".join(f'key {row["id"]} "{row["name"]}"' for row in closed)
            raise KeyStateError(
                f"the {kind} wrap of {names} is its last: without it, it cannot be opened",
                hint="Wrap it in another way first, all its versions and the keys of its blind indexes.",
            )
        return deleted

    def without_wraps(self, key_ids: Sequence[int]) -> "Rows":
        """Return id and name of those of some keys that nothing can open any more; within ``change``."""
        return self.database.execute(
            "SELECT k.id, k.name FROM {s}.key AS k WHERE k.id OPERATOR(pg_catalog.=) ANY ($1) AND NOT EXISTS"
            " (SELECT FROM {s}.key_wrap AS w WHERE w.key_id OPERATOR(pg_catalog.=) k.id) ORDER BY k.id",
            ("integer[]", list(key_ids)),
        )

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

    def record(self, key_id: int) -> Record | None:
        """Return the record of a key by its id, whatever the current user's rights, or None."""
        return self.database.load_key(key_id, "", _NO_UUID, self.database.user(), with_wraps=False)

    def record_of_family(self, family: int) -> Record | None:
        """Return the record of the current version of a key by its family, or None; see ``record``."""
        return self.database.load_key(_NO_ID, "", _NO_UUID, self.database.user(), family=family, with_wraps=False)

    def check_usable(self, record: Record | None, called: str, key_type: str, *, encrypt: bool) -> Record:
        """Return a record that was found, if the current user may use its key now; see ``usable``."""
        if record is None:
            raise UndefinedError(f"there is no key {called}")
        record.check_usage(encrypt=encrypt)
        record.check_state()
        check_type(record, key_type)
        return record


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
