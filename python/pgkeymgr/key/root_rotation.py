"""The rotation of the root key, and the status of wraps that still need an older root key."""

from typing import Any

from ..errors import Error, UnsupportedError
from ..root_key import RootKey
from .database import Rows
from .record import wrap_associated_data
from .root_wrap import server_key_associated_data
from .table import DERIVED_WRAP_BYTES, KeyTable

_READ_COMMITTED = ("read committed", "read uncommitted")


class RootRotation:
    """The rotation of the root key, for one session."""

    def __init__(self, table: KeyTable) -> None:
        self._table = table
        self._database = table.database
        self._wraps = table.root_wraps

    def root_key_status(self) -> tuple[str, str, list[str], list[str]]:
        """Return this session's root key, and the other root keys that the wraps of this database need.

        Returns:
            The fingerprint of the root key, its source, the fingerprints of the previous root keys, newest first,
            and the sorted fingerprints of other root keys under which this database has wraps.

        Raises:
            RootKeyError: there is no root key.
            GetkeyError: the getkey script was refused, or failed.
            AgentError: the agent did not answer.
        """
        root_key = self._database.root_key()
        counts = self._database.as_owner(self._wraps.counts)
        needed = sorted(fingerprint for fingerprint in counts if fingerprint != root_key.fingerprint)
        return root_key.fingerprint, root_key.source, list(root_key.previous), needed

    def rotate_root_key(self) -> int:
        """Make all wraps under older root keys again under the newest root key, or none of them if one fails.

        Returns:
            The number of new wraps.

        Raises:
            RootKeyError: there is no root key, or the root key of a wrap is not available.
            UnsupportedError: the transaction sees an older state, and would miss wraps.
            DataError: a wrap does not open: the row was altered.
        """
        if self._database.setting("transaction_isolation") not in _READ_COMMITTED:
            raise UnsupportedError(
                "rotate_root_key() must see all wraps that are committed",
                hint="Call it in a transaction that is READ COMMITTED.",
            )
        root_key = self._wraps.reload()
        count: int = self._table.change(lambda: self._rotate(root_key))
        self._table.audit.record(
            "rotate_root_key", None, None, f"to {root_key.fingerprint}, {count} wraps replaced"
        )
        return count

    # One root key is used throughout, since an agent may receive a still newer root key during the rotation.

    def _rotate(self, root_key: RootKey) -> int:
        execute = self._database.execute
        newest = root_key.fingerprint
        # The lock allows one rotation at a time, and waits for sessions that make a wrap under an older root key:
        # see RootWraps.
        execute("LOCK TABLE {s}.root_key_fingerprint IN SHARE ROW EXCLUSIVE MODE")
        self._wraps.note(newest)
        execute("DELETE FROM {s}.root_key_fingerprint WHERE fingerprint <> $1", ("text", newest))
        count = self._table.wrap_rows.rewrap_under_root(newest, lambda row: _rewrap_key(root_key, row))
        return count + self._rotate_server_keys(root_key)

    def _rotate_server_keys(self, root_key: RootKey) -> int:
        newest = root_key.fingerprint
        rows: Rows = self._database.execute(
            """
            SELECT purpose, public, wrapped, fingerprint
            FROM {s}.server_key
            WHERE fingerprint <> $1
            """,
            ("text", newest),
        )
        for row in rows:
            associated_data = server_key_associated_data(row["purpose"], row["public"])
            self._database.execute(
                "UPDATE {s}.server_key SET wrapped = $3, fingerprint = $1 WHERE purpose = $2",
                ("text", newest),
                ("text", row["purpose"]),
                ("bytea", root_key.rewrap(row["wrapped"], associated_data, row["fingerprint"])),
            )
        return len(rows)


def _rewrap_key(root_key: RootKey, row: dict[str, Any]) -> bytes:
    number, context, made_under = row["derivation_id"], row["context"], row["fingerprint"]
    derivation = b"" if number is None else number.to_bytes(8, "little", signed=True) + context
    associated_data = wrap_associated_data(row["uuid"], row["key_type"], derivation)
    try:
        if number is not None:
            # The key is derived from the old root key. From now on, its wrap holds the key itself, not its length.
            held = root_key.unwrap(row["wrapped"], associated_data, made_under)
            if len(held) == DERIVED_WRAP_BYTES:
                held = root_key.derive(number, held[0], context, made_under)
            return root_key.wrap(held, associated_data)
        return root_key.rewrap(row["wrapped"], associated_data, made_under)
    except Error as error:
        name = "" if row["name"] is None else f' "{row["name"]}"'
        error.message = f"key {row['key_id']}{name}: {error.message}"
        raise
