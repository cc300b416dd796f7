"""The procedures that encrypt, rotate and decrypt columns of a table in committed batches."""

from collections.abc import Callable, Sequence

from ..errors import KeyStateError
from ..key.arguments import refuse_null
from ..key.data_key import DataKeys
from ..key.table import KeyTable
from .base_table import opened_check, present_check, sealed_check
from .catalog import Table
from .decrypt_column import DecryptColumn
from .earlier_rows import let_earlier_rows_go
from .encrypted_table import ColumnState, EncryptedColumn, EncryptedTable
from .expressions import is_there
from .partitions import tree_of
from .quoting import bytes_literal, quote_name
from .relations import Relations
from .transit import REWRITE
from .view import Views
from .walk import Loaded, Task, Walk


class Operations:
    """The procedures on encrypted columns, for one session."""

    def __init__(
        self,
        relations: Relations,
        views: Views,
        decrypt_column: DecryptColumn,
        keys: KeyTable,
        data_keys: DataKeys,
    ) -> None:
        self._relations = relations
        self._views = views
        self._decrypt_column = decrypt_column
        self._keys = keys
        self._data_keys = data_keys

    def migrate_column(self, relation: str, column_name: str, batch_size: int) -> None:
        """Encrypt the rows that were there before ``encrypt_column``.

        Args:
            relation: the view, or the base table.
            column_name: an encrypted column.
            batch_size: the number of rows that are encrypted, and locked, at a time.

        Raises:
            DataError: an argument is NULL.
            UndefinedError: the column is not encrypted.
            PrivilegeError: the current user does not own the table, or may not use the key.
            UnsupportedError: it is called in a transaction.
        """
        refuse_null(column_name=column_name)
        self.migrate_columns(relation, [column_name], batch_size)

    def migrate_columns(self, relation: str, column_names: Sequence[str] | None, batch_size: int) -> None:
        """Do ``migrate_column`` for several columns, and write each row only once.

        Args:
            relation: the view, or the base table.
            column_names: encrypted columns, or None for all encrypted columns of the table.
            batch_size: the number of rows that are encrypted, and locked, at a time.

        Raises:
            UndefinedError: a column is not encrypted.
            PrivilegeError: the current user does not own the table, or may not use a key.
            UnsupportedError: it is called in a transaction.
        """
        _Migration(self._relations, self._keys, batch_size, self._views).call(relation, column_names)

    def rotate_column(self, relation: str, column_name: str, batch_size: int, supersede: bool) -> None:
        """Supersede the key of a column, and encrypt all of its rows under the new version.

        Args:
            relation: the view, or the base table.
            column_name: an encrypted column.
            batch_size: the number of rows that are encrypted, and locked, at a time.
            supersede: whether to make a new version of the key. If not, the rows under older versions are
                encrypted under the current one.

        Raises:
            DataError: an argument is NULL.
            UndefinedError: the column is not encrypted.
            KeyStateError: it is not fully encrypted yet.
            PrivilegeError: the current user does not own the table, or may not use the key.
            UnsupportedError: it is called in a transaction.
        """
        refuse_null(column_name=column_name)
        self.rotate_columns(relation, [column_name], batch_size, supersede)

    def rotate_columns(
        self, relation: str, column_names: Sequence[str] | None, batch_size: int, supersede: bool
    ) -> None:
        """Do ``rotate_column`` for several columns, and write each row only once.

        Args:
            relation: the view, or the base table.
            column_names: encrypted columns, or None for all encrypted columns of the table.
            batch_size: the number of rows that are encrypted, and locked, at a time.
            supersede: whether to make a new version of each key.

        Raises:
            DataError: an argument is NULL.
            UndefinedError: a column is not encrypted.
            KeyStateError: a column is not fully encrypted yet.
            PrivilegeError: the current user does not own the table, or may not use a key.
            UnsupportedError: it is called in a transaction.
        """
        refuse_null(supersede=supersede)
        data_keys = self._data_keys if supersede else None
        _Rotation(self._relations, self._keys, batch_size, data_keys).call(relation, column_names)

    def relations_under(self, family: int) -> list[tuple[str, list[str]]]:
        """Return the tables that have columns under a key, each with the names of these columns.

        Args:
            family: the family of the key.

        Returns:
            The OID of each base table that exists, as text, and its columns.
        """
        rows = self._relations.database.read_as_owner(
            lambda: self._relations.database.execute(
                """
                SELECT r.base::oid::text AS base, array_agg(c.column_name::text ORDER BY c.id) AS columns
                FROM {s}.encrypted_column AS c
                JOIN {s}.encrypted_relation AS r ON r.id = c.relation_id
                JOIN pg_class AS t ON t.oid = r.base::oid
                WHERE c.key_family = $1
                GROUP BY r.base
                ORDER BY min(c.id)
                """,
                ("integer", family),
            )
        )
        return [(row["base"], row["columns"]) for row in rows]

    def decrypt_column(self, relation: str, column_name: str, batch_size: int) -> None:
        """Make an encrypted column a plain one again.

        Args:
            relation: the view, or the base table.
            column_name: an encrypted column.
            batch_size: the number of rows that are decrypted, and locked, at a time.

        Raises:
            DataError: an argument is NULL.
            UndefinedError: the column is not encrypted.
            PrivilegeError: the current user does not own the table, or may not use the key.
            UnsupportedError: it is called in a transaction.
        """
        refuse_null(column_name=column_name)
        self.decrypt_columns(relation, [column_name], batch_size)

    def decrypt_columns(self, relation: str, column_names: Sequence[str] | None, batch_size: int) -> None:
        """Do ``decrypt_column`` for several columns, and write each row only once.

        Args:
            relation: the view, or the base table.
            column_names: encrypted columns, or None for all encrypted columns of the table.
            batch_size: the number of rows that are decrypted, and locked, at a time.

        Raises:
            UndefinedError: a column is not encrypted.
            PrivilegeError: the current user does not own the table, or may not use a key.
            UnsupportedError: it is called in a transaction.
        """
        _Decryption(self._relations, self._keys, batch_size, self._decrypt_column).call(relation, column_names)


class _Procedure(Walk):
    """A procedure whose columns have a state of their own, and whose rows the table's trigger writes."""

    state: ColumnState

    @property
    def operation(self) -> str:
        """The name of the operation in the registry."""
        return self.state.value

    def is_running(self, column: EncryptedColumn) -> bool:
        """Return whether a column is in the state of this operation."""
        return column.state is self.state

    def _rewrites(self, column: EncryptedColumn, needs: str) -> Task:
        return Task(column, needs, column.cipher, bytes_literal(REWRITE))

    def _alter(self, table: Table, change: str) -> None:
        with self._relations.busy(self._base):
            self._relations.run(table, f"ALTER TABLE {table.qualified} {change}")

    def _forbid(self, column: EncryptedColumn, checks: Callable[[EncryptedColumn], dict[str, str]]) -> bool:
        """Add and validate a CHECK that no row needs the operation, without a long lock.

        Partitions that are attached later need the CHECKs, too.

        Args:
            column: the column.
            checks: returns the changes of the base table that add the CHECKs, by their names.

        Returns:
            Whether the CHECK is valid. Until then, other values can come in where session_replication_role is
            replica.
        """
        if (found := self.load_one(column)) is None:
            return True
        loaded, column = found
        if self._missing(loaded, checks(column)):
            self._database.commit()
            if (found := self.lock_one(column)) is None:
                return True
            loaded, column = found
            if changes := self._missing(loaded, checks(column)):
                self._alter(loaded.base, ", ".join(f"{change} NOT VALID" for change in changes))
            self._database.commit()
            if (found := self.load_one(column)) is None:
                return True
            loaded, column = found
            if self.is_left(loaded, column):
                self._database.commit()
                return False
        # Each partition is verified in a transaction of its own. For the partitioned table, nothing is left to do.
        for oid in self._relations.leaves(loaded.base):
            if oid == self._base:
                continue
            if (leaf := self._lock_leaf(loaded, oid)) is not None:
                self._validate(leaf, column)
            self._database.commit()
            if (found := self.load_one(column)) is None:
                return True
            loaded, column = found
        self._validate(loaded.base, column)
        self._database.commit()
        return True

    def _missing(self, loaded: Loaded, checks: dict[str, str]) -> list[str]:
        """Return those of some changes that add the CHECKs which the base table has not."""
        there = self._relations.names_of_constraints(loaded.base)
        return [change for name, change in checks.items() if name not in there]

    def _validate(self, table: Table, column: EncryptedColumn) -> None:
        rows = self._database.query(
            "SELECT c.conname::text AS name FROM pg_constraint AS c WHERE c.conrelid = $1 AND c.contype = 'c'"
            " AND NOT c.convalidated AND c.conkey <@ (SELECT array_agg(a.attnum) FROM pg_attribute AS a"
            "  WHERE a.attrelid = $1 AND a.attname = ANY ($2::text[]::name[]))",
            ("oid", table.oid),
            ("text[]", [column.cipher, column.name]),
        )
        for row in rows:
            self._alter(table, f"VALIDATE CONSTRAINT {quote_name(row['name'])}")


class _Migration(_Procedure):
    """``migrate_column``."""

    state = ColumnState.MIGRATING
    verb = "migrate"

    def __init__(self, relations: Relations, keys: KeyTable, batch_size: int, views: Views) -> None:
        super().__init__(relations, keys, batch_size)
        self._views = views

    def has_work(self, table: EncryptedTable, column: EncryptedColumn) -> bool:
        """Return whether a column is not fully encrypted yet."""
        if column.state is ColumnState.ENCRYPTED:
            return False
        if column.state is not ColumnState.MIGRATING:
            raise KeyStateError(f'column "{column.name}" of {table.name} is {column.state}')
        return True

    def prepare(self, loaded: Loaded, columns: list[EncryptedColumn]) -> None:
        """Do nothing: ``encrypt_column`` has brought the columns into this state."""

    def task(self, loaded: Loaded, column: EncryptedColumn) -> Task:
        """Return the task that finds and encrypts the rows with plaintext."""
        return self._rewrites(column, is_there("b", column.name))

    def finish(self, loaded: Loaded, column: EncryptedColumn) -> bool:
        """Refuse plaintext in a column from now on, and register it as encrypted."""
        self._database.commit()
        if not self._forbid(column, self._checks):
            return False
        if (found := self.lock_one(column)) is None:
            return True
        loaded, column = found
        self._end(loaded.table, column)
        self._database.commit()
        return True

    @staticmethod
    def _checks(column: EncryptedColumn) -> dict[str, str]:
        checks = {column.sealed_constraint: sealed_check(column)}
        if column.not_null:
            checks[column.present_constraint] = present_check(column)
        return checks

    def _end(self, table: EncryptedTable, column: EncryptedColumn) -> None:
        base = self._relations.described(table.base)
        if column.not_null:
            # SET NOT NULL trusts the validated CHECK, and does not read the table under its lock.
            self._alter(
                base,
                f"ALTER COLUMN {quote_name(column.cipher)} SET NOT NULL,"
                f" DROP CONSTRAINT {quote_name(column.present_constraint)}",
            )
        column.state = ColumnState.ENCRYPTED
        self._registry.save_state(column)
        with self._relations.busy(table.base):
            self._views.write(table)
        self._progress.end(column)
        # The planner's statistics hold values of the column, those of each partition and those of all partitions
        # of a partitioned table. Dropping a column removes them, too.
        self._database.as_owner(
            lambda: self._database.execute(
                "DELETE FROM pg_catalog.pg_statistic AS s USING pg_catalog.pg_attribute AS a"
                " WHERE s.starelid OPERATOR(pg_catalog.=) ANY ($1)"
                " AND a.attrelid OPERATOR(pg_catalog.=) s.starelid"
                " AND a.attnum OPERATOR(pg_catalog.=) s.staattnum AND a.attname OPERATOR(pg_catalog.=) $2",
                ("oid[]", tree_of(self._database, base)),
                ("name", column.name),
            )
        )


class _Rotation(_Procedure):
    """``rotate_column``."""

    state = ColumnState.ROTATING
    verb = "rotate"
    prepares_alone = False

    def __init__(self, relations: Relations, keys: KeyTable, batch_size: int, data_keys: DataKeys | None) -> None:
        """Begin a call.

        Args:
            relations: the session's.
            keys: the session's.
            batch_size: the number of rows in a batch.
            data_keys: the object that supersedes the keys, or None to keep their versions.
        """
        super().__init__(relations, keys, batch_size)
        self._data_keys = data_keys

    def has_work(self, table: EncryptedTable, column: EncryptedColumn) -> bool:
        """Refuse a column that is not fully encrypted."""
        if not column.is_settled:
            raise KeyStateError(
                f'column "{column.name}" of {table.name} is {column.state}',
                hint="Call migrate_column() first." if column.state is ColumnState.MIGRATING else None,
            )
        if not column.is_indexed:
            raise KeyStateError(
                f'the blind index of column "{column.name}" of {table.name} is being built',
                hint="Call build_blind_index() first.",
            )
        return True

    def prepare(self, loaded: Loaded, columns: list[EncryptedColumn]) -> None:
        """Supersede the keys of columns, each once, and write under the new versions from now on."""
        if self._data_keys is not None:
            superseded = set()
            for column in columns:
                # With key_by, a key has children, and the children of a key that columns share are those of all.
                if column.family not in superseded:
                    superseded.add(column.family)
                    self._supersede(self._data_keys, column, [c for c in columns if c.family == column.family])
        for column in columns:
            column.state = ColumnState.ROTATING
            self._registry.save_state(column)

    def _supersede(self, data_keys: DataKeys, column: EncryptedColumn, sharing: list[EncryptedColumn]) -> None:
        record = self._keys.find_current(column.family)
        data_keys.supersede_data_key(record.id)
        if any(each.key_by for each in sharing):
            for child in self._keys.children(record):
                data_keys.supersede_data_key(child)

    def begun(self) -> None:
        """Let all statements end that may have begun to write under the old key."""
        writers: list[str] | None = None
        while True:
            loaded = self.load_running()
            if loaded is None:
                return
            rows = self._database.query(
                # A later statement uses the new version. A prepared transaction has no pid.
                "SELECT DISTINCT l.virtualtransaction AS transaction, coalesce(l.pid::text, 'of a prepared"
                " transaction') AS session FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database"
                " WHERE l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()"
                " AND d.datname = current_database() AND l.relation = ANY ($1)"
                " AND l.mode = 'RowExclusiveLock'"
                " AND ($2::text[] IS NULL OR l.virtualtransaction = ANY ($2)) ORDER BY 1",
                ("oid[]", self.relation_oids(loaded)),
                ("text[]", writers),
            )
            self._database.commit()
            if not rows:
                return
            writers = [row["transaction"] for row in rows]
            verb = "uses" if len(rows) == 1 else "use"
            self.report_waiting([f"session {row['session']}" for row in rows], f"which {verb} {loaded.table.name}")
            self.pause()

    def task(self, loaded: Loaded, column: EncryptedColumn) -> Task:
        """Return the task that finds the rows under older versions of the key, and encrypts them again."""
        # Ids are not in the order of versions, and rows under a key that was destroyed cannot be encrypted again.
        old = ", ".join(bytes_literal(key_id.to_bytes(4, "big")) for key_id in self._old_keys(column))
        key = f"pg_catalog.substr(b.{quote_name(column.cipher)}, 2, 4)"
        return self._rewrites(column, f"{key} = ANY (ARRAY[{old}]::pg_catalog.bytea[])")

    def _old_keys(self, column: EncryptedColumn) -> list[int]:
        """Return the ids of the keys whose values rotate_column is to encrypt under the current version."""
        rows = self._database.as_owner(
            lambda: self._database.execute(
                "SELECT id, family, superseded_by IS NULL AS is_current, state::text AS state FROM {s}.key"
                " WHERE family = $1 OR parent_family = $1 ORDER BY id",
                ("integer", column.family),
            )
        )
        # A query that joined the table with itself would take a time that is quadratic in the number of tenants.
        writable = {row["family"] for row in rows if row["is_current"] and row["state"] == "enabled"}
        return [
            row["id"]
            for row in rows
            if not row["is_current"] and row["state"] != "destroyed" and row["family"] in writable
        ]

    def finish(self, loaded: Loaded, column: EncryptedColumn) -> bool:
        """Register that all values of a column are under the current key."""
        column.state = ColumnState.ENCRYPTED
        self._registry.save_state(column)
        self._progress.end(column)
        return True


class _Decryption(_Procedure):
    """``decrypt_column``."""

    state = ColumnState.DECRYPTING
    verb = "decrypt"

    def __init__(
        self, relations: Relations, keys: KeyTable, batch_size: int, decrypt_column: DecryptColumn
    ) -> None:
        super().__init__(relations, keys, batch_size)
        self._decrypt_column = decrypt_column

    def has_work(self, table: EncryptedTable, column: EncryptedColumn) -> bool:
        """Accept a column in each state."""
        return True

    def prepare(self, loaded: Loaded, columns: list[EncryptedColumn]) -> None:
        """Write plaintext from now on."""
        for column in columns:
            self._decrypt_column.start(loaded.table, column)

    def task(self, loaded: Loaded, column: EncryptedColumn) -> Task:
        """Return the task that finds and decrypts the rows with ciphertext."""
        return self._rewrites(column, f"b.{quote_name(column.cipher)} IS NOT NULL")

    def finish(self, loaded: Loaded, column: EncryptedColumn) -> bool:
        """Drop the ciphertext column, and the view with the last one."""
        self._database.commit()
        if not self._forbid(column, lambda each: {each.opened_constraint: opened_check(each)}):
            return False
        let_earlier_rows_go(self._database, column.id, self.report_waiting)
        if (found := self.lock_one(column)) is None:
            return True
        loaded, column = found
        self._decrypt_column.end(loaded.table, column, self.path)
        self._database.commit()
        return True
