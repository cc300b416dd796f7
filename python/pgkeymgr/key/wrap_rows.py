"""The rows of the tables key_wrap and user_key. Every statement that writes them is here.

A session that adds a wrap to a key, or removes a wrap, locks the key's row and checks the key's state under that
lock. So a key that one session destroys does not get a wrap from another session: one of the two waits for the
other. The session also writes the row without a change. A REPEATABLE READ transaction would not see, and not
erase, a wrap that was added since its snapshot. The written row makes that transaction fail, so that it is begun
again.

A session that seals to users' public keys locks the rows of these pairs first, then the rows of keys, as a session
does that rotates or removes a pair. So no pair is rotated in between, and no two sessions wait for each other. It
does not lock the table: any user can write it, and keep the transaction open.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import KeyStateError, UndefinedError
from ..root_key.wrap import wrap
from .record import Record, wrap_associated_data

if TYPE_CHECKING:
    from .database import Database, Rows
    from .passphrase import Stretched, Stretching
    from .root_wrap import RootWraps

_BATCH = 1000


class KeyWraps:
    """The wraps of one key that this transaction made or locked; to be used within ``KeyTable.change``."""

    def __init__(self, database: "Database", root_wraps: "RootWraps", key_id: int, associated_data: bytes) -> None:
        self._database = database
        self._root_wraps = root_wraps
        self._key_id = key_id
        self._associated_data = associated_data

    def set_root(self, secret: bytes) -> None:
        """Store a wrap under the root key; this replaces an earlier wrap.

        Args:
            secret: the bytes to wrap, usually the key's secret.

        Raises:
            RootKeyError: there is no root key, or the wraps of this database are made under another root key.
        """
        fingerprint, wrapped = self._root_wraps.wrap(secret, self._associated_data)
        self._database.execute(
            """
            INSERT INTO {s}.key_wrap (key_id, kind, fingerprint, wrapped)
            VALUES ($1, 'root', $2, $3)
            ON CONFLICT (key_id, kind, holder) DO UPDATE
            SET fingerprint = excluded.fingerprint, wrapped = excluded.wrapped, created = excluded.created
            """,
            ("integer", self._key_id),
            ("text", fingerprint),
            ("bytea", wrapped),
        )

    def set_passphrase(self, secret: bytes, stretched: "Stretched") -> bytes:
        """Store a wrap under a passphrase, and return the wrap; this replaces an earlier wrap."""
        stretching = stretched.stretching
        wrapped = wrap(secret, self._associated_data, stretched.wrapping_key)
        self._database.execute(
            """
            INSERT INTO {s}.key_wrap (key_id, kind, salt, opslimit, memlimit, wrapped)
            VALUES ($1, 'passphrase', $2, $3, $4, $5)
            ON CONFLICT (key_id, kind, holder) DO UPDATE
            SET
                salt = excluded.salt, opslimit = excluded.opslimit, memlimit = excluded.memlimit,
                wrapped = excluded.wrapped, created = excluded.created
            """,
            ("integer", self._key_id),
            ("bytea", stretching.salt),
            ("integer", stretching.opslimit),
            ("bigint", stretching.memlimit),
            ("bytea", wrapped),
        )
        return wrapped

    def set_user(self, secret: bytes, public: bytes) -> None:
        """Store a wrap that is sealed to a user's public key; this replaces an earlier wrap."""
        from .user_wrap import user_wrap  # the import is slow

        self._database.execute(
            """
            INSERT INTO {s}.key_wrap (key_id, kind, holder, wrapped)
            VALUES ($1, 'user', encode($2, 'hex'), $3)
            ON CONFLICT (key_id, kind, holder) DO UPDATE
            SET wrapped = excluded.wrapped
            """,
            ("integer", self._key_id),
            ("bytea", public),
            ("bytea", user_wrap(secret, self._associated_data, public)),
        )

    def erase(self) -> None:
        """Remove all wraps of the key."""
        self._database.execute("DELETE FROM {s}.key_wrap WHERE key_id = $1", ("integer", self._key_id))


class SealedKey(NamedTuple):
    """A data key that is sealed to a user, and its wraps, which are locked."""

    id: int
    associated_data: bytes
    wrapped: bytes
    wraps: KeyWraps


class WrapRows:
    """The table key_wrap, for one session; within ``KeyTable.change``, unless a docstring says otherwise."""

    def __init__(self, database: "Database", root_wraps: "RootWraps") -> None:
        self._database = database
        self._root_wraps = root_wraps

    def of_new(self, key_id: int, associated_data: bytes) -> KeyWraps:
        """Return the wraps of a key that this transaction has just made."""
        return KeyWraps(self._database, self._root_wraps, key_id, associated_data)

    def of(self, record: Record) -> KeyWraps:
        """Lock a key, and return its wraps; see ``of_all``."""
        (wraps,) = self.of_all([record])
        return wraps

    def of_all(self, records: Sequence[Record]) -> list[KeyWraps]:
        """Lock keys until the transaction ends, and return the wraps of each.

        Args:
            records: the records of the keys.

        Raises:
            KeyStateError: one of them was destroyed.
            UndefinedError: one of them was dropped.
        """
        states = self.lock([record.id for record in records])
        for record in records:
            _check_locked(record, states.get(record.id))
        return [self.of_new(record.id, record.associated_data) for record in records]

    def lock(self, key_ids: Iterable[int], *, is_written: bool = True) -> dict[int, str]:
        """Lock keys until the transaction ends, so that nobody else adds wraps to them or removes any.

        Args:
            key_ids: the ids of the keys.
            is_written: whether to write the rows, too; that is not needed if no wrap is added.

        Returns:
            The states of the keys that exist, by id.
        """
        ids = ("integer[]", list(key_ids))
        # The keys are locked in the order of their ids, so that two sessions do not wait for each other.
        rows = self._database.execute(
            """
            SELECT id, state::text AS state
            FROM {s}.key
            WHERE id = ANY ($1)
            ORDER BY id
            FOR UPDATE
            """,
            ids,
        )
        if is_written:
            self._database.execute("UPDATE {s}.key SET state = state WHERE id = ANY ($1)", ids)
        return {row["id"]: row["state"] for row in rows}

    def share_lock(self, record: Record) -> None:
        """Lock a key until the transaction ends, so that it is not destroyed while a key is made for it.

        Raises:
            KeyStateError: the key was destroyed.
            UndefinedError: the key was dropped.
        """
        # A shared lock lets other sessions make keys for this key at the same time.
        rows = self._database.execute(
            "SELECT state::text AS state FROM {s}.key WHERE id = $1 FOR SHARE",
            ("integer", record.id),
        )
        _check_locked(record, rows[0]["state"] if rows else None)

    def holders(self, record: Record) -> list[bytes]:
        """Return the public keys of the users to whom a key is sealed.

        Until the key is locked, it can be shared to others, and these can rotate their pairs.
        """
        rows = self._database.execute(
            """
            SELECT u.public
            FROM {s}.user_key AS u
            JOIN {s}.key_wrap AS w ON w.holder = encode(u.public, 'hex')
            WHERE w.key_id = $1 AND w.kind = 'user'
            ORDER BY u.public
            """,
            ("integer", record.id),
        )
        return [row["public"] for row in rows]

    def passphrase_wrap(self, record: Record) -> "tuple[Stretching, bytes] | None":
        """Return the stretching and the wrap of a key's passphrase, or None; outside ``change``, too."""
        from .passphrase import Stretching

        rows = self._database.as_owner(
            lambda: self._database.execute(
                """
                SELECT salt, opslimit, memlimit, wrapped
                FROM {s}.key_wrap
                WHERE key_id = $1 AND kind = 'passphrase'
                """,
                ("integer", record.id),
            )
        )
        if not rows:
            return None
        (row,) = rows
        return Stretching(row["salt"], row["opslimit"], row["memlimit"]), row["wrapped"]

    def remove(self, key_ids: Sequence[int], kind: str, holder: bytes = b"") -> list[int]:
        """Lock keys, and remove a wrap from each, but never a key's last wrap.

        Args:
            key_ids: the ids of the keys.
            kind: the kind of the wraps.
            holder: the public key of the user, 32 bytes, for the kind ``user``.

        Returns:
            The ids of the keys that had such a wrap.

        Raises:
            KeyStateError: one of them has no other wrap.
        """
        self.lock(key_ids)
        rows = self._database.execute(
            """
            DELETE FROM {s}.key_wrap
            WHERE key_id = ANY ($1) AND kind = $2::{s}.wrap_kind AND holder = encode($3, 'hex')
            RETURNING key_id
            """,
            ("integer[]", list(key_ids)),
            ("text", kind),
            ("bytea", holder),
        )
        removed = [row["key_id"] for row in rows]
        closed = self.without_wraps(removed)
        if closed:
            names = ", ".join(f'key {row["id"]} "{row["name"]}"' for row in closed)
            raise KeyStateError(
                f"the {kind} wrap of {names} is its last wrap: nothing else opens the key",
                hint="First add another wrap to all versions of the key and to the keys of its blind indexes.",
            )
        return removed

    def without_wraps(self, key_ids: Sequence[int]) -> "Rows":
        """Return id and name of each of some keys that has no wrap any more."""
        return self._database.execute(
            """
            SELECT k.id, k.name
            FROM {s}.key AS k
            WHERE k.id = ANY ($1) AND NOT EXISTS (SELECT FROM {s}.key_wrap AS w WHERE w.key_id = k.id)
            ORDER BY k.id
            """,
            ("integer[]", list(key_ids)),
        )

    def sealed_to(self, public: bytes) -> list[SealedKey]:
        """Lock the keys that are sealed to a user, and return them; the table user_key must be locked.

        Args:
            public: the user's public key, 32 bytes.
        """
        sealed = """
            SELECT k.id, k.key_type::text AS key_type, uuid_send(k.uuid) AS uuid, w.wrapped
            FROM {s}.key_wrap AS w
            JOIN {s}.key AS k ON k.id = w.key_id
            WHERE w.kind = 'user'::{s}.wrap_kind AND w.holder = encode($1, 'hex')
            ORDER BY k.id
        """
        self.lock(row["id"] for row in self._database.execute(sealed, ("bytea", public)))
        # The query is repeated under the lock: another session may have destroyed some of the keys.
        found = []
        for row in self._database.execute(sealed, ("bytea", public)):
            associated_data = wrap_associated_data(row["uuid"], row["key_type"])
            wraps = self.of_new(row["id"], associated_data)
            found.append(SealedKey(row["id"], associated_data, row["wrapped"], wraps))
        return found

    def remove_all_of(self, public: bytes) -> None:
        """Remove all wraps that are sealed to a user, even the last wrap of a key; the keys must be locked.

        Args:
            public: the user's public key, 32 bytes.
        """
        self._database.execute(
            "DELETE FROM {s}.key_wrap WHERE kind = 'user' AND holder = encode($1, 'hex')",
            ("bytea", public),
        )

    def rewrap_under_root(self, newest: str, rewrapped: Callable[[dict[str, Any]], bytes]) -> int:
        """Make all wraps under older root keys again.

        Args:
            newest: the fingerprint of the newest root key.
            rewrapped: returns a wrap under that root key, for a row with the key and its present wrap.

        Returns:
            The number of new wraps.
        """
        execute = self._database.execute
        older = """
            SELECT
                w.key_id, w.wrapped, w.fingerprint, k.key_type::text AS key_type, k.name, k.derivation_id,
                k.context, uuid_send(k.uuid) AS uuid
            FROM {s}.key_wrap AS w
            JOIN {s}.key AS k ON k.id = w.key_id
            WHERE w.kind = 'root'::{s}.wrap_kind AND w.fingerprint <> $1
            ORDER BY w.key_id
            LIMIT $2::int8
        """
        arguments = (("text", newest), ("integer", _BATCH))
        count = 0
        while found := execute(older, *arguments):
            # The wraps are written below, which has the same effect as a write of the rows.
            states = self.lock((row["key_id"] for row in found), is_written=False)
            # The query is repeated under the lock: another session may have destroyed some of the keys. The next
            # round handles keys that the first query did not find.
            rows = [row for row in execute(older, *arguments) if row["key_id"] in states]
            execute(
                """
                UPDATE {s}.key_wrap AS w
                SET wrapped = new.wrapped, fingerprint = $1
                FROM ROWS FROM (unnest($2), unnest($3)) AS new (key_id, wrapped)
                WHERE w.kind = 'root' AND w.key_id = new.key_id
                """,
                ("text", newest),
                ("integer[]", [row["key_id"] for row in rows]),
                ("bytea[]", [rewrapped(row) for row in rows]),
            )
            count += len(rows)
        return count


def count_by_root_key(database: "Database") -> dict[str, int]:
    """Count the wraps under root keys, by fingerprint; within ``Database.as_owner``."""
    rows = database.execute(
        """
        SELECT fingerprint, count(*) AS wraps
        FROM {s}.key_wrap
        WHERE kind = 'root'
        GROUP BY fingerprint
        """
    )
    return {row["fingerprint"]: row["wraps"] for row in rows}


class UserKeyRow(NamedTuple):
    """A user's key pair, as the table has it."""

    public: bytes
    stretching: "Stretching"
    wrapped: bytes


class UserKeyRows:
    """The table user_key, for one session."""

    def __init__(self, database: "Database") -> None:
        self._database = database

    def lock_for_sealing(self, publics: Iterable[bytes]) -> None:
        """Let nobody rotate or remove pairs until the transaction ends: a rotation would miss the new wraps.

        Args:
            publics: the public keys, of 32 bytes each. A key that no pair has is left out.
        """
        self._database.execute(
            "SELECT FROM {s}.user_key WHERE public = ANY ($1) ORDER BY public FOR SHARE",
            ("bytea[]", sorted(publics)),
        )

    def lock_for_change(self, public: bytes) -> None:
        """Let nobody seal to a public key until the transaction ends: the sealed keys would be lost."""
        self._database.execute("SELECT FROM {s}.user_key WHERE public = $1 FOR UPDATE", ("bytea", public))

    def find(self, user: int) -> UserKeyRow | None:
        """Return a user's pair, or None; outside ``change``, too.

        Args:
            user: the role's OID.
        """
        from .passphrase import Stretching

        rows = self._database.as_owner(
            lambda: self._database.execute(
                "SELECT public, salt, opslimit, memlimit, wrapped FROM {s}.user_key WHERE role = $1",
                ("oid", user),
            )
        )
        if not rows:
            return None
        (row,) = rows
        return UserKeyRow(row["public"], Stretching(row["salt"], row["opslimit"], row["memlimit"]), row["wrapped"])

    def public_of_role(self, role: str) -> bytes | None:
        """Return the public key of a role by its name, locked as by ``lock_for_sealing``; within ``change``."""
        rows = self._database.execute(
            "SELECT public FROM {s}.user_key WHERE role = $1::regrole::oid AND role <> 0::oid FOR SHARE",
            ("text", role),
        )
        return rows[0]["public"] if rows else None

    def insert(self, user: int, row: UserKeyRow) -> bool:
        """Store the pair of a user who has no pair; within ``change``.

        Args:
            user: the role's OID.
            row: the pair.

        Returns:
            Whether the pair was stored: another session may have stored a pair before.
        """
        return bool(
            self._database.execute(
                """
                INSERT INTO {s}.user_key (role, public, salt, opslimit, memlimit, wrapped)
                VALUES ($1, $2, $3, $4, $5, $6)
                ON CONFLICT DO NOTHING
                RETURNING public
                """,
                *self._arguments(user, row),
            )
        )

    def replace(self, user: int, row: UserKeyRow, old_public: bytes) -> bool:
        """Store a pair in place of another pair; within ``change``.

        Args:
            user: the role's OID.
            row: the pair.
            old_public: the public key of the other pair.

        Returns:
            Whether the pair was stored. It is not stored if another session has replaced or removed the other
            pair before: the keys that were sealed to the next pair would be lost.
        """
        return bool(
            self._database.execute(
                """
                UPDATE {s}.user_key
                SET public = $2, salt = $3, opslimit = $4, memlimit = $5, wrapped = $6
                WHERE role = $1 AND public = $7
                RETURNING public
                """,
                *self._arguments(user, row),
                ("bytea", old_public),
            )
        )

    def _arguments(self, user: int, row: UserKeyRow) -> list[tuple[str, Any]]:
        return [
            ("oid", user),
            ("bytea", row.public),
            ("bytea", row.stretching.salt),
            ("integer", row.stretching.opslimit),
            ("bigint", row.stretching.memlimit),
            ("bytea", row.wrapped),
        ]

    def delete(self, role: str) -> bytes | None:
        """Remove the pair of a role by its name; within ``change``.

        Returns:
            The public key of the role, or None if the role has no pair.
        """
        rows = self._database.execute(
            """
            DELETE
            FROM {s}.user_key
            WHERE role = $1::regrole::oid AND role <> 0::oid
            RETURNING public
            """,
            ("text", role),
        )
        return rows[0]["public"] if rows else None


def _check_locked(record: Record, state: str | None) -> None:
    """Refuse a key that was destroyed, or was dropped and has no state, before its row was locked."""
    if state is None:
        raise UndefinedError(f"{record} was concurrently dropped")
    record._replace(state=state).check_not_destroyed()
