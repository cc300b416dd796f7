"""Makes keys: new keys, new versions of keys, and keys with the owner and the grants of another key."""

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import DuplicateKeyError, KeyStateError, ParameterError, UndefinedError
from .arguments import NAME_CHARACTERS_MAX, check_name, uuid_text
from .ids import KEYS, next_id
from .record import Record, wrap_associated_data
from .table import TOKEN_KEY_TYPE

if TYPE_CHECKING:
    from .database import Rows
    from .table import KeyTable

VALUE_CHARACTERS_MAX = 600
"""The longest value of a column that ``key_by`` names. An entry of its index has at most 2,704 bytes."""
CHILD_BYTES = 32

_SUFFIX_BYTES = 4
_NO_ROLE = 0


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
        id: the id that the key has on another node; None for the next id.
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
    id: int | None = None
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


class KeyMaker:
    """The functions that make keys, for one session."""

    def __init__(self, keys: "KeyTable") -> None:
        self._keys = keys
        self._database = keys.database
        self._superseded: set[int] = set()
        self._superseded_in = -1

    def create(self, new: NewKey, event: str = "create") -> int:
        """Make a key.

        Args:
            new: the properties of the key.
            event: the name of the event in the audit trail.

        Returns:
            Its id.

        Raises:
            ParameterError: an argument is out of range.
            DuplicateKeyError: the name, the uuid or the id is taken, or there is a key for the value.
            KeyStateError: this node takes its keys from another node.
            RootKeyError: there is no root key.
        """
        # Within the operation, the current user is the extension's owner.
        owned = new if new.owner else new._replace(owner=self._database.user())
        new_id = self._keys.change(lambda: self._insert(owned))
        self._keys.audit.record(event, new_id, new.name)
        return new_id

    def _insert(self, new: NewKey, superseded: Record | None = None) -> int:
        """Insert a key and its wraps; within ``change``.

        Args:
            new: the properties of the key, with its owner.
            superseded: the record of the version before it, whose family it gets; None to begin a family of its
                own id.

        Returns:
            Its id.
        """
        if new.name is not None or new.key_type == TOKEN_KEY_TYPE:
            check_name(new.name)
        execute = self._database.execute
        if new.expires is not None and not execute(
            "SELECT WHERE $1 > clock_timestamp()", ("timestamptz", new.expires)
        ):
            raise ParameterError(f"expires must be in the future, not {new.expires}")
        uuid = new.uuid or _new_uuid()
        number, context, size = new.derivation or (None, None, 0)
        if new.id is not None:
            self._begin_family(new.id)
        while True:
            new_id = new.id or next_id(self._database, KEYS, self._keys.nodes.lattice)
            if superseded is not None:
                execute(
                    "UPDATE {s}.key SET superseded_by = $2 WHERE id = $1",
                    ("integer", superseded.id),
                    ("integer", new_id),
                )
            family = new_id if superseded is None else superseded.family
            if self._insert_row(new, new_id, uuid, family, number, context):
                break
            self._refuse_duplicate(new, new_id)
        packed = b"" if number is None or context is None else number.to_bytes(8, "little", signed=True) + context
        wraps = self._keys.wrap_rows.of_new(new_id, wrap_associated_data(uuid, new.key_type, packed))
        body = new.secret if new.secret is not None else bytes([size])
        for public in new.holders:
            wraps.set_user(body, public)
        if new.passphrase is not None:
            from .passphrase import Stretching

            wraps.set_passphrase(body, Stretching.new().stretch(new.passphrase))
        if new.is_under_root():
            wraps.set_root(body)
        return new_id

    def _begin_family(self, key_id: int) -> None:
        """Make sure that an id from another node begins a family; within ``change``."""
        execute = self._database.execute
        rows = execute(
            "SELECT id FROM {s}.key WHERE family = $1 OR id = $1 ORDER BY id <> $1 LIMIT 1", ("integer", key_id)
        )
        if rows and rows[0]["id"] != key_id:
            raise DuplicateKeyError(f"key {rows[0]['id']} is a later version of a key with id {key_id}")
        if not rows:
            # The grants of a key with this id, which was dropped, are not for the next one.
            execute("DELETE FROM {s}.key_grant WHERE family = $1", ("integer", key_id))

    def _insert_row(
        self, new: NewKey, new_id: int, uuid: bytes, family: int, number: int | None, context: bytes | None
    ) -> bool:
        """Insert the row of a key, and return whether it was inserted; within ``change``."""
        rows = self._database.execute(
            """
            INSERT INTO {s}.key (
                id, uuid, family, name, key_type, expires, owner, comment, user_data, derivation_id, context,
                parent_family, key_value, owner_name
            )
            VALUES (
                $1, encode($2, 'hex')::uuid, $3, $4, $5::{s}.key_type, $6, $7, $8, $9, $10, $11, $12, $13,
                -- With session_replication_role = replica, the trigger name_role heeds only the name.
                (SELECT r.rolname FROM pg_roles AS r WHERE r.oid = $7)
            )
            ON CONFLICT DO NOTHING
            RETURNING id
            """,
            ("integer", new_id),
            ("bytea", uuid),
            ("integer", family),
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
        return bool(rows)

    def _keep_owner_name(self, new_id: int, owner: int | None, record: Record) -> None:
        """Copy the name of an owner who does not exist here to a new key; within ``change``.

        The name is set after the row was inserted: it would be looked up in an INSERT, as in a restore.

        Args:
            new_id: the id of the new key.
            owner: the OID of its owner.
            record: the record of the key that it was made from.
        """
        if owner == _NO_ROLE:
            self._database.execute(
                """
                UPDATE {s}.key
                SET owner_name = (SELECT k.owner_name FROM {s}.key AS k WHERE k.id = $2)
                WHERE id = $1
                """,
                ("integer", new_id),
                ("integer", record.id),
            )

    def _refuse_duplicate(self, new: NewKey, new_id: int) -> None:
        """Raise the error that names the property of a new key which another key has; within ``change``.

        Nothing is raised if the next id was taken at the same moment: then the caller takes another one.
        """
        found = self._database.execute(
            "SELECT id = $1 AS has_id FROM {s}.key WHERE id = $1 OR uuid = encode($2, 'hex')::uuid",
            ("integer", new_id),
            ("bytea", new.uuid),
        )
        if any(row["has_id"] for row in found):
            if new.id is None:
                return
            raise DuplicateKeyError(f"a key with id {new_id} already exists")
        if found and new.uuid is not None:
            raise DuplicateKeyError(f"a key with uuid {uuid_text(new.uuid)} already exists")
        raise DuplicateKeyError(
            f'an enabled key "{new.name}" already exists',
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
        row = self._keys.user_key_rows.find(user)
        if row is None:
            raise UndefinedError("the role has no key pair", hint="The role can make one with create_user_key().")
        return row.public

    def _lock_for_holders(self, record: Record, lock: Callable[[Record], object]) -> list[bytes]:
        """Lock a key, and return the public keys of the users to whom it is sealed; within ``change``.

        Until the transaction ends, none of their key pairs is rotated: a rotation would miss the new wraps.
        """
        pairs, wraps = self._keys.user_key_rows, self._keys.wrap_rows
        locked = set(wraps.holders(record)) if record.has_wrap("user") else set()
        if locked:
            pairs.lock_for_sealing(locked)
        lock(record)
        holders = wraps.holders(record)
        # The key may have been shared, or a pair rotated, since the wraps were read.
        if others := set(holders) - locked:
            pairs.lock_for_sealing(others)
        return holders

    def has_superseded_now(self, record: Record) -> bool:
        """Return whether this transaction has superseded a key, which others still write with."""
        return record.id in self._superseded and self._superseded_in == self._database.transaction()

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
        now = self._database.transaction()
        if self._superseded_in != now:
            self._superseded_in = now
            self._superseded.clear()
        self._superseded.add(record.id)

        def replace() -> int:
            holders = self._lock_for_holders(record, self._keys.wrap_rows.of)
            rows = self._database.execute(
                """
                UPDATE {s}.key
                -- This takes the name from the old version. The new version has another id.
                SET superseded_by = id
                WHERE id = $1
                    AND superseded_by IS NULL
                    -- The cast keeps the planner from reading the whole index of current names.
                    AND state::text = 'enabled'
                RETURNING
                    comment, user_data::text AS user_data, owner, parent_family, key_value,
                    -- The new version gets the lifetime that the old version was made with, from now on. As JSON,
                    -- the time has an offset: the abbreviation of a zone can be that of another.
                    to_json(CASE
                        WHEN isfinite(expires) AND expires > created THEN clock_timestamp() + (expires - created)
                    END) #>> '{}' AS expires
                """,
                ("integer", record.id),
            )
            if not rows:
                raise KeyStateError(f"{record} was already superseded, or is no longer enabled")
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
            new_id = self._insert(new, record)
            self._keep_owner_name(new_id, new.owner, record)
            return new_id

        new_id = self._keys.change(replace)
        self._keys.audit.record("supersede", record.id, record.name, f"by key {new_id}")
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
                if self._keys.child(record.family, value) is not None:
                    raise
        # The name is for people only: an unrelated key may have it.
        suffix = f"~{os.urandom(_SUFFIX_BYTES).hex()}"
        return self._create_for(record, name[: NAME_CHARACTERS_MAX - len(suffix)] + suffix, value)

    def _create_for(self, record: Record, name: str, value: str | None) -> int:
        def insert() -> int:
            # The users who can open the other key can open the new key, and nobody else can.
            holders = self._lock_for_holders(record, self._keys.wrap_rows.share_lock)
            if record.root_wrap is None and not holders:
                raise KeyStateError(
                    f"{record} opens with a passphrase only, which a new key for the same users would need",
                    hint="First call add_root_wrap(). When both keys exist, call drop_passphrase(), "
                    "add_passphrase() and drop_root_wrap() for both.",
                )
            owner = _scalar(
                self._database.execute("SELECT owner FROM {s}.key WHERE id = $1", ("integer", record.id))
            )
            new = NewKey(
                name,
                os.urandom(CHILD_BYTES),
                owner=owner,
                parent_family=record.family,
                key_value=value,
                holders=holders,
                under_root=record.root_wrap is not None,
            )
            new_id = self._insert(new)
            self._keep_owner_name(new_id, owner, record)
            return new_id

        new_id = self._keys.change(insert)
        self._keys.audit.record("create", new_id, name)
        return new_id

    def _check_value(self, record: Record, value: str) -> None:
        """Refuse a value that is too long, and a key that divides no column by values."""
        if len(value) > VALUE_CHARACTERS_MAX:
            raise ParameterError(
                f"a value of a column that key_by names must be at most {VALUE_CHARACTERS_MAX} characters long, "
                f"not {len(value)}"
            )
        if not self._database.as_owner(
            lambda: self._database.execute(
                """
                SELECT FROM {s}.encrypted_column
                WHERE key_by IS NOT NULL AND key_family = $1
                LIMIT 1
                """,
                ("integer", record.family),
            )
        ):
            raise ParameterError(f"no encrypted column uses {record} with key_by")


def _new_uuid() -> bytes:
    from uuid import uuid4  # the import is slow, and only needed to make a key

    return uuid4().bytes


def _scalar(rows: "Rows") -> Any:
    ((value,),) = (row.values() for row in rows)
    return value
