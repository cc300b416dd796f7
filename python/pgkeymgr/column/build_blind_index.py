"""Builds the blind index of an encrypted column in committed batches.

The procedure first adds the column of the blind index. The table's trigger fills it for each row that is written
from then on, and the batches fill it for the other rows. Until the column is complete, the view does not show it,
and searches in it are refused. In a procedure, PostgreSQL cannot make the index on the column without blocking
writers, so the caller makes it.
"""

from typing import Any, NamedTuple

from ..errors import DuplicateKeyError, KeyStateError
from ..key.arguments import refuse_null
from ..key.table import KeyTable
from .blind_index import BlindIndexes
from .definition import Definition
from .encrypted_table import BlindIndex, ColumnState, EncryptedColumn, EncryptedTable
from .index_kinds import EQUALITY
from .postgres_index import PostgresIndexes
from .quoting import quote_literal
from .relations import Relations
from .view import Views
from .walk import Loaded, Task, Walk
from .wanted_index import Wanted, check_wanted, parse_options, wanted_index


class BuildBlindIndex:
    """The procedure that builds blind indexes, for one session."""

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

    def build_blind_index(
        self,
        relation: str,
        column_name: str,
        normalize: str | None,
        batch_size: int,
        key: str | None,
        kind: str,
        options: str | None,
        force: bool,
    ) -> None:
        """Give an encrypted column a blind index, and fill it in batches.

        Args:
            relation: the view, or the base table.
            column_name: an encrypted column.
            normalize: ``none``, ``casefold`` or ``digits``, for text ``none``, ``casefold`` or ``unaccent``; None
                for that of a blind index whose building has begun, or else ``none``, and ``casefold`` for text.
            batch_size: the number of rows that are written, and locked, at a time.
            key: the name of a key for tokens, which means its current version; None for a new key, or for the key
                of a blind index whose building has begun.
            kind: ``equality``, ``compound``, ``text``, ``range`` or ``json``.
            options: a JSON object with the options of the kind; None for those of a blind index whose building has
                begun, or else the default ones.
            force: whether to index a column with few distinct values, too.

        Raises:
            DataError: an argument is NULL.
            UndefinedError: the column is not encrypted.
            DuplicateKeyError: it has a blind index with another normalization or key.
            KeyStateError: not all values of the column are encrypted under its key.
            PrivilegeError: the current user does not own the table, or may not use the key.
            UnsupportedError: it is called in a transaction.
        """
        refuse_null(column_name=column_name, kind=kind, force=force)
        request = _Request(kind, normalize, parse_options(options), key, force)
        building = _Building(
            self._relations,
            self._keys,
            batch_size,
            self._views,
            self._blind_indexes,
            self._postgres_indexes,
            request,
        )
        building.call(relation, [column_name])


class _Request(NamedTuple):
    """The arguments of a call; see ``BuildBlindIndex.build_blind_index``."""

    kind: str
    normalize: str | None
    options: dict[str, Any] | None
    key: str | None
    force: bool


class _Building(Walk):
    """``build_blind_index``."""

    verb = "add a blind index to"
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
        request: _Request,
    ) -> None:
        super().__init__(relations, keys, batch_size)
        self._views = views
        self._blind_indexes = blind_indexes
        self._postgres_indexes = postgres_indexes
        self._request = request
        self._wanted: Wanted | None = None

    @property
    def operation(self) -> str:
        """The name of the operation in the registry."""
        return "indexing"

    def is_running(self, column: EncryptedColumn) -> bool:
        """Return whether the blind index of a column is being filled."""
        index = column.index_of_kind(self._request.kind)
        return index is not None and not index.is_filled and column.state is ColumnState.ENCRYPTED

    def has_work(self, table: EncryptedTable, column: EncryptedColumn) -> bool:
        """Return whether the blind index of a column is not complete, or not shown."""
        request = self._request
        index = column.index_of_kind(request.kind)
        if index is not None and not index.is_filled and request.options is None and request.normalize is None:
            # It goes on with what it has begun with.
            self._wanted = Wanted(
                request.kind,
                column.normalization or "none",
                column.blind_bits,
                index.options,
                tuple(index.with_columns),
            )
        else:
            self._wanted = wanted_index(table, column, request.kind, request.normalize, request.options)
        base = self._relations.described(table.base)
        check_wanted(table, base, column, self._wanted, self._blind_indexes.given_key(request.key))
        if not column.is_indexed and (index is None or index.is_filled):
            raise DuplicateKeyError(
                f'another blind index of column "{column.name}" of {table.name} is being built'
            )
        if column.state is not ColumnState.ENCRYPTED:
            procedure = "migrate_column" if column.state is ColumnState.MIGRATING else "rotate_column"
            raise KeyStateError(
                f'column "{column.name}" of {table.name} is {column.state}', hint=f"Call {procedure}() first."
            )
        if index is not None and index.is_shown:
            self._report_index(table, column, index)
            return False
        return True

    def prepare(self, loaded: Loaded, columns: list[EncryptedColumn]) -> None:
        """Make the column of the blind index, and write it from now on."""
        with self._relations.busy(self._base):
            for column in columns:
                if column.index_of_kind(self._request.kind) is not None:
                    # This blind index replaces a UNIQUE constraint, and is already filled.
                    self._blind_indexes.show(loaded.table, column, EQUALITY)
                    continue
                assert self._wanted is not None  # has_work
                parts = loaded.table.parts(column, self._wanted.with_columns)
                self._blind_indexes.check_decrypt(loaded.base, parts)
                if not self._request.force:
                    self._blind_indexes.refuse_few(loaded.table, column, self._wanted)
                record = self._keys.find_current(column.family)
                given = self._blind_indexes.given_key(self._request.key)
                index = self._blind_indexes.add(loaded.base, column, self._wanted, record, given, is_filled=False)
                self._views.write(loaded.table)
                self._blind_indexes.report_leak(loaded.table, column, index)

    def task(self, loaded: Loaded, column: EncryptedColumn) -> Task:
        """Return the task that finds and writes the rows without a blind index."""
        base = self._relations.described(loaded.table.base)
        index = self._index(column)
        needs, value = Definition(loaded.table, base, self._database.schema).filling(column, index)
        return Task(column, needs, index.name, value)

    def _index(self, column: EncryptedColumn) -> BlindIndex:
        index = column.index_of_kind(self._request.kind)
        assert index is not None  # is_running
        return index

    def finish(self, loaded: Loaded, column: EncryptedColumn) -> bool:
        """Show the blind index in the view."""
        self._database.commit()
        if (found := self.lock_one(column)) is None:
            return True
        loaded, column = found
        if self._request.kind == EQUALITY:
            column.blind_is_filled = True
        else:
            self._index(column).is_filled = True
        with self._relations.busy(self._base):
            self._blind_indexes.show(loaded.table, column, self._request.kind)
        self._progress.end(column)
        self._database.commit()
        self._relations.set_local({"search_path": "pg_catalog, pg_temp"})
        self._report_index(loaded.table, column, self._index(column))
        return True

    def _report_index(self, table: EncryptedTable, column: EncryptedColumn, index: BlindIndex) -> None:
        """Send a notice with the statement that makes the index, if there is none."""
        if self._postgres_indexes.statements(table, column, index, is_unique=False):
            (row,) = self._database.query(
                "SELECT $1::pg_catalog.regclass::pg_catalog.text AS name", ("oid", table.relation)
            )
            arguments = f"{quote_literal(row['name'])}, {quote_literal(column.name)}"
            self._database.notice(
                f'the blind index of column "{column.name}" of {table.name} is complete, and has no index yet;'
                f" in psql, SELECT {self._database.schema}.blind_index_statements({arguments}) \\gexec makes it"
            )
