"""Gives a blind index another key, in committed batches, while others search and write.

A second column gets the values under the new key. The table's triggers fill it for each row that is written from
then on, and the batches fill it for the other rows. Searches use the first column until the second one is complete
and takes its place, in one transaction. The second column has the same indexes as the first one. They are made
while the second column is empty.
"""

from ..errors import KeyStateError, UndefinedError, UnsupportedError
from ..key.arguments import refuse_null
from ..key.record import Record
from ..key.table import KeyTable
from .blind_index import BlindIndexes
from .definition import Definition
from .earlier_rows import let_earlier_rows_go
from .encrypted_table import BlindIndex, ColumnState, EncryptedColumn, EncryptedTable
from .postgres_index import PostgresIndexes
from .quoting import new_name, quote_name
from .relations import Relations
from .view import Views
from .walk import Loaded, Task, Walk


class RotateBlindIndex:
    """The procedure that gives blind indexes other keys, for one session."""

    def __init__(
        self,
        relations: Relations,
        views: Views,
        blind_indexes: BlindIndexes,
        postgres_indexes: PostgresIndexes,
        keys: KeyTable,
    ) -> None:
        self._relations = relations
        self._views = views
        self._blind_indexes = blind_indexes
        self._postgres_indexes = postgres_indexes
        self._keys = keys

    def rotate_blind_index(
        self, relation: str, column_name: str, batch_size: int, kind: str, key: str | None
    ) -> None:
        """Give the blind index of a column another key.

        Args:
            relation: the view, or the base table.
            column_name: an encrypted column.
            batch_size: the number of rows that are written, and locked, at a time.
            kind: the kind of the blind index.
            key: the name of a key for tokens, which means its current version; None for a new key, or for the key
                of a rotation that has begun.

        Raises:
            DataError: an argument is NULL.
            UndefinedError: the column is not encrypted, or has no blind index of the kind.
            KeyStateError: not all values of the column are encrypted under its key, another blind index of it is
                being built, or the caller has named its present key and names no other key.
            PrivilegeError: the current user does not own the table, or may not use the key.
            UnsupportedError: it is called in a transaction, or an index that pgkeymgr has not made has the column.
        """
        refuse_null(column_name=column_name, kind=kind)
        rotation = _Rotation(
            self._relations,
            self._keys,
            batch_size,
            self._views,
            self._blind_indexes,
            self._postgres_indexes,
            kind,
            key,
        )
        rotation.call(relation, [column_name])


class _Rotation(Walk):
    """``rotate_blind_index``."""

    verb = "rotate the blind index of"
    usages = ("decrypt",)
    changes_are_undone = False

    def __init__(
        self,
        relations: Relations,
        keys: KeyTable,
        batch_size: int,
        views: Views,
        blind_indexes: BlindIndexes,
        postgres_indexes: PostgresIndexes,
        kind: str,
        key: str | None,
    ) -> None:
        super().__init__(relations, keys, batch_size)
        self._views = views
        self._blind_indexes = blind_indexes
        self._postgres_indexes = postgres_indexes
        self._kind = kind
        self._key = key

    @property
    def operation(self) -> str:
        """The name of the operation in the registry."""
        return "reindexing"

    def is_running(self, column: EncryptedColumn) -> bool:
        """Return whether the second column of the blind index is being filled."""
        successor = column.successor
        return successor is not None and successor.kind == self._kind and column.state is ColumnState.ENCRYPTED

    def has_work(self, table: EncryptedTable, column: EncryptedColumn) -> bool:
        """Refuse a column whose blind index cannot be rotated now."""
        about = f'column "{column.name}" of {table.name}'
        index = column.index_of_kind(self._kind)
        if index is None:
            raise UndefinedError(f"{about} has no blind index of kind {self._kind}")
        if column.state is not ColumnState.ENCRYPTED:
            procedure = "migrate_column" if column.state is ColumnState.MIGRATING else "rotate_column"
            raise KeyStateError(f"{about} is {column.state}", hint=f"Call {procedure}() first.")
        if not self.is_running(column):
            if not column.is_indexed:
                raise KeyStateError(
                    f"another blind index of {about} is being built or rotated",
                    hint="Call build_blind_index() or rotate_blind_index() for it first.",
                )
            self._given(index)
        return True

    def _given(self, index: BlindIndex) -> Record | None:
        """Return the record of the key that the user gives, or None for a new key."""
        given = self._blind_indexes.given_key(self._key)
        if given is None and index.key_is_given:
            raise KeyStateError(
                f'the blind index "{index.name}" has a key that was named, and that other columns may use, too',
                hint="Name another key: key => 'name'.",
            )
        if given is not None and given.id == index.key:
            raise KeyStateError(
                f'the blind index "{index.name}" already has this key',
                hint="First call supersede_data_key() for the key, or name another key.",
            )
        return given

    def prepare(self, loaded: Loaded, columns: list[EncryptedColumn]) -> None:
        """Make the second column with its indexes, and write it from now on."""
        with self._relations.busy(self._base):
            for column in columns:
                index = column.index_of_kind(self._kind)
                assert index is not None  # has_work
                self._blind_indexes.check_decrypt(loaded.base, loaded.table.parts(column, index.with_columns))
                statements = self._postgres_indexes.to_copy(loaded.base, loaded.table, index)
                record = self._keys.find_current(column.family)
                successor = self._blind_indexes.add_successor(
                    loaded.base, column, index, record, self._given(index)
                )
                for statement in statements(successor):
                    self._relations.run_naming(loaded.base, loaded.base.schema, statement)
                self._views.write(loaded.table)
                self._views.follow_privileges(loaded.table)

    def task(self, loaded: Loaded, column: EncryptedColumn) -> Task:
        """Return the task that finds and writes the rows without a value in the second column."""
        base = self._relations.described(loaded.table.base)
        successor = _successor(column)
        needs, value = Definition(loaded.table, base, self._database.schema).filling(column, successor)
        return Task(column, needs, successor.name, value)

    def finish(self, loaded: Loaded, column: EncryptedColumn) -> bool:
        """Put the second column in the place of the first one."""
        self._database.commit()
        # A transaction that sees rows as they were before would find none of them by the second column.
        let_earlier_rows_go(self._database, column.id, self.report_waiting)
        if (found := self.lock_one(column)) is None:
            return True
        loaded, column = found
        index, successor = column.index_of_kind(self._kind), _successor(column)
        assert index is not None  # a successor exists only beside an index of its kind
        with self._relations.busy(self._base):
            self._swap(loaded, column, index, successor)
        self._progress.end(column)
        self._database.commit()
        return True

    def _swap(self, loaded: Loaded, column: EncryptedColumn, index: BlindIndex, successor: BlindIndex) -> None:
        base, table = loaded.base, loaded.table
        former_key, is_given = index.key, index.key_is_given
        renames = self._postgres_indexes.renames(base, index, successor)
        former = new_name(index.name, "_former", {each.name for each in base.columns})
        for old, new in ((index.name, former), (successor.name, index.name)):
            self._relations.run(
                base, f"ALTER TABLE {base.qualified} RENAME COLUMN {quote_name(old)} TO {quote_name(new)}"
            )
        self._blind_indexes.succeed(column, successor)
        table.going = {former}
        # The view reads the second column from now on, and nothing needs the first one any more.
        self._views.write(table)
        self._relations.run(base, f"ALTER TABLE {base.qualified} DROP COLUMN {quote_name(former)}")
        table.going = set()
        for old, new in renames:
            self._relations.run_naming(
                base,
                base.schema,
                f"ALTER INDEX {quote_name(base.schema)}.{quote_name(old)} RENAME TO {quote_name(new)}",
            )
        self._views.write(table)
        self._views.follow_privileges(table)
        self._blind_indexes.drop_key(former_key, is_given=is_given)


def _successor(column: EncryptedColumn) -> BlindIndex:
    if column.successor is None:
        raise UnsupportedError(f'the blind index of column "{column.name}" is not being rotated')
    return column.successor
