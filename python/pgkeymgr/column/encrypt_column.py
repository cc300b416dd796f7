"""Makes a column an encrypted column.

All changes of the table run with the rights of its owner, as whom the caller must be able to act; the registry,
and the triggers' functions, are written with the rights of the extension's owner.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..errors import DuplicateKeyError, KeyStateError, UndefinedError, UnsupportedError
from ..key.arguments import NAME_CHARACTERS_MAX, refuse_null
from ..key.data_key import DataKeys
from ..key.record import Record
from ..key.shared_names import valid_name
from ..key.table import TOKEN_KEY_TYPE, KeyTable
from .base_table import sealed_check, sealing_obstacles
from .blind_index import BlindIndexes
from .catalog import Column, Table
from .comments import Comments
from .compression import check_compression
from .dependent_objects import DependentObject, DependentObjects, remedy
from .derived_plaintext import derived_plaintext
from .encrypted_table import ColumnState, EncryptedColumn, EncryptedTable
from .forms import BYTES, form_of, key_encoding
from .obstacles import Dependents, Obstacle, dependents, table_obstacles, whole_row_dependents
from .partitions import partition_key, tree_of
from .partman import partman_update
from .privileges import readers_and_writers
from .published import report_published
from .quoting import new_name, quote_literal, quote_name
from .relations import Relations
from .structure import (
    Structures,
    has_meaningless_part,
    has_unverified_part,
    loses_blanks,
    structure,
    text_casts,
)
from .view import Views

_SUFFIX = "_encrypted"
_REFUSALS_OF_NULL = ("23502", "23514")  # of domains with NOT NULL, and with a CHECK


@dataclass
class Preparation:
    """The facts that matter for encrypting a column.

    Attributes:
        base: the table, or the base table of one with encrypted columns.
        table: the table as it is registered; None if it has no encrypted column yet.
        source: the column.
        keys: the columns by which rows are found.
        found: the objects that mention the column.
        objects: the objects that are created again, in the order in which they need each other.
    """

    base: Table
    table: EncryptedTable | None
    source: Column
    keys: list[str]
    found: Dependents
    objects: list[DependentObject]

    def hindering(self, *, drop_indexes: bool) -> list[Obstacle]:
        """Return all obstacles.

        Args:
            drop_indexes: whether indexes that are not unique are dropped, and so are not obstacles.
        """
        obstacles = list(self.found.obstacles)
        if not drop_indexes:
            obstacles += [
                Obstacle(
                    f"index {index.name} would index it: drop_indexes => true drops it; add_blind_index() gives "
                    "equality search",
                    index.drop,
                )
                for index in self.found.indexes
            ]
        obstacles += [
            Obstacle(one.obstacle, one.drop, "; ".join(one.statements)) for one in self.objects if one.obstacle
        ]
        return obstacles

    def check(self, *, drop_indexes: bool) -> None:
        """Refuse a column that has obstacles; see ``hindering``.

        Raises:
            UnsupportedError: there are obstacles, all of which the error names.
        """
        obstacles = self.hindering(drop_indexes=drop_indexes)
        if obstacles:
            raise UnsupportedError(
                f'cannot encrypt column "{self.source.name}" of {self.base}: '
                + "; ".join(dict.fromkeys(each.reason for each in obstacles)),
                hint=remedy([each.before for each in obstacles], [each.after for each in obstacles]),
            )


class _Request(NamedTuple):
    """The arguments of a call; see ``EncryptColumn.encrypt_column``."""

    name: str
    key: str | None
    key_by: str | None
    deterministic: bool
    drop_indexes: bool
    column_id: str | None
    compression: str


class EncryptColumn:
    """Encrypts columns, for one session."""

    def __init__(
        self, relations: Relations, views: Views, blind_indexes: BlindIndexes, keys: KeyTable, data_keys: DataKeys
    ) -> None:
        self._relations = relations
        self._views = views
        self._comments = Comments(relations)
        self._blind_indexes = blind_indexes
        self._keys = keys
        self._data_keys = data_keys
        self._database = relations.database
        self._registry = relations.registry
        self._structures = Structures(relations.database)
        self._objects = DependentObjects(relations.database)

    def encrypt_column(
        self,
        relation: str,
        column_name: str,
        key: str | None,
        key_by: str | None,
        deterministic: bool,
        drop_indexes: bool,
        column_id: str | None,
        compression: str,
    ) -> str:
        """Encrypt the values that are written to a column from now on.

        Args:
            relation: the table, or the view of one with encrypted columns.
            column_name: the column.
            key: the name of a key for tokens; None for a new one, called ``schema.table.column``.
            key_by: another column of the table; each of its values gets a key of its own.
            deterministic: give equal values equal ciphertexts, which are not bound to their rows.
            drop_indexes: drop the indexes on the column that are not unique.
            column_id: the uuid that ciphertexts are bound to, as text; None for a random one.
            compression: ``none``, or ``deflate``: values are compressed before they are encrypted.

        Returns:
            The view, which has the table's name.

        Raises:
            DataError: an argument is NULL.
            UnsupportedError: there are obstacles; the error names all of them, and nothing was changed.
            ParameterError: no compression has that name.
            DuplicateKeyError: the column is already encrypted, or another column has that uuid.
            PrivilegeError: the current user does not own the table, or may not use the key.
        """
        refuse_null(
            relation=relation, column_name=column_name, deterministic=deterministic, drop_indexes=drop_indexes
        )
        check_compression(compression, deterministic=deterministic)
        oid = self._relations.resolve(relation)
        table = self._registry.find(oid)
        with self._relations.busy(table.base if table else oid):
            return self._encrypt(
                oid, _Request(column_name, key, key_by, deterministic, drop_indexes, column_id, compression)
            )

    def _encrypt(self, oid: int, request: _Request) -> str:
        """Do ``encrypt_column`` with the table or the view that has an OID; return the OID of the view as text."""
        if self._registry.find(oid):
            self._relations.lock_table(str(oid))
        else:
            self._relations.lock(oid)
        # Read the table again, now that no other session can change it.
        prepared = self.prepare(oid, request.name, request.key_by)
        prepared.check(drop_indexes=request.drop_indexes)
        base, table, source, found = prepared.base, prepared.table, prepared.source, prepared.found
        (row,) = self._relations.run(base, f"SELECT EXISTS (SELECT FROM {base.only}) AS has_rows")
        has_rows = bool(row["has_rows"])
        if has_rows:
            # Raise now the error that migrate_column would raise later.
            with self._relations.without_triggers(base, changes_are_undone=True):
                # A published table may lack a replica identity for UPDATE.
                name = quote_name(source.name)
                self._relations.run(base, f"EXPLAIN UPDATE {base.qualified} SET {name} = {name}")
        view_name = table.name if table else base.name
        record = self._key_of(request.key, f"{base.schema}.{view_name}.{request.name}")
        for index in found.indexes:
            self._relations.run(base, index.drop)
        with self._named_as_view(table, base) if table and prepared.objects else nullcontext():
            dropped = self._objects.drop(prepared.objects, found.objects)
        if table is None:
            table = self._make_base_table(base, prepared.keys)
            base = self._relations.described(base.oid)
        state = ColumnState.MIGRATING if has_rows else ColumnState.ENCRYPTED
        column = self._new_column(request, base, source, record, state)
        self._registry.add_column(table, column, source.type_oid, source.modifier)
        self._structures.check(table, base)
        # The grants come first, since rows are sealed with the owner's rights. The view gets the table's
        # privileges.
        self._grant_key(table, column, record, dropped)
        self._relations.check_owners_key(self._keys, base, column, ("encrypt", "decrypt"))
        self._add_cipher(base, column)
        for check in found.checks:
            self._registry.add_constraint(table, check)
            self._relations.run(base, f"ALTER TABLE {base.qualified} DROP CONSTRAINT {quote_name(check.name)}")
        if found.uniques:
            self._blind_indexes.stand_for_uniques(base, table, column, found.uniques, record)
        self._views.write(table)
        self._views.follow_privileges(table)
        self._views.bring_back(table, dropped, for_caller=True)
        self._report(base, table, column, found, dropped)
        return str(table.relation)

    def _new_column(
        self, request: _Request, base: Table, source: Column, record: Record, state: ColumnState
    ) -> EncryptedColumn:
        """Return the description of a new encrypted column, which has no id yet."""
        form = form_of(self._database, source.type_oid)
        assert form is not None  # otherwise, there was an obstacle
        assert record.name is not None  # keys for tokens have names
        return EncryptedColumn(
            id=0,
            uuid=bytes.fromhex((request.column_id or "").replace("-", "")),
            name=request.name,
            cipher=new_name(request.name, _SUFFIX, {column.name for column in base.columns}),
            type=source.type,
            sql_type=source.sql_type,
            form=form,
            collation=source.collation,
            not_null=source.not_null,
            default=source.default,
            key=record.name,
            family=record.family,
            key_by=request.key_by,
            deterministic=request.deterministic,
            state=state,
            blind=None,
            blind_key=None,
            normalization=None,
            blind_is_shown=False,
            compression=request.compression,
        )

    def _make_base_table(self, base: Table, keys: list[str]) -> EncryptedTable:
        """Give a table another name, and register it."""
        encodings = [key_encoding(form_of(self._database, base.column(each).type_oid)) or "" for each in keys]
        name = self.name_of_base(base)
        self._relations.run_naming(base, base.schema, f"ALTER TABLE {base.qualified} RENAME TO {quote_name(name)}")
        table = self._registry.add_table(
            base.oid,
            base.name,
            [column.name for column in base.columns],
            list(zip(keys, encodings, strict=True)),
        )
        self._views.note_made(table)
        self._registry.note_partitions(table, set(tree_of(self._database, base)) - {base.oid})
        return table

    @contextmanager
    def _named_as_view(self, table: EncryptedTable, base: Table) -> Iterator[None]:
        """Give a base table the name of its view for the block: then definitions that mention it mean the view."""
        view = self._relations.described(table.relation)
        if view.schema != base.schema:
            raise UnsupportedError(
                f"{base} and its view {view} are in different schemas, and other objects depend on the base table"
            )
        waiting = quote_name(new_name(base.name, "_waiting", self._relations.names_of_relations(base.schema)))
        schema = quote_name(base.schema)
        run = self._relations.run_naming
        run(base, base.schema, f"ALTER VIEW {view.qualified} RENAME TO {waiting}")
        run(base, base.schema, f"ALTER TABLE {base.qualified} RENAME TO {quote_name(view.name)}")
        yield
        run(base, base.schema, f"ALTER TABLE {view.qualified} RENAME TO {quote_name(base.name)}")
        run(base, base.schema, f"ALTER VIEW {schema}.{waiting} RENAME TO {quote_name(view.name)}")

    def _report(
        self,
        base: Table,
        table: EncryptedTable,
        column: EncryptedColumn,
        found: Dependents,
        dropped: list[DependentObject],
    ) -> None:
        """Send notices and warnings about all that the caller should know or do after a column was encrypted."""
        self._report_sequences(base, table)
        self._report_partman(base, table)
        self._report_dependents(base, table, column, found, dropped)
        renames = f'rename "{table.name}" to "{base.name}", and ' if len(table.encrypted) == 1 else ""
        report_published(self._database, base, f'{renames}add the column "{column.cipher}"')
        source = base.column(column.name)
        has_one_text = column.form.has_one_text(source.modifier) and source.is_collated_exactly
        if column.deterministic and not has_one_text:
            self._database.notice(
                f'equal values of column "{column.name}" of {table.name} can have different texts, and different '
                "ciphertexts then"
            )
        if not table.key_columns and not column.deterministic:
            self._database.notice(
                f"{table.name} has no primary key: its ciphertexts are bound to the column, but not to "
                "their rows, and an UPDATE looks for its rows by all their values"
            )

    def _report_dependents(
        self,
        base: Table,
        table: EncryptedTable,
        column: EncryptedColumn,
        found: Dependents,
        dropped: list[DependentObject],
    ) -> None:
        """Send notices about dropped indexes, and warnings about places that hold plaintext."""
        database = self._database
        for index in found.indexes:
            database.notice(
                f"index {index.name} was dropped: add_blind_index() gives equality search. The index was: "
                f"{index.definition}"
            )
        for copy in derived_plaintext(database, base, table, column.name, dropped):
            database.warn(f"{copy.object} {copy.detail}", copy.hint)

    def _report_partman(self, base: Table, table: EncryptedTable) -> None:
        """Send a notice with the statement for pg_partman, which still looks for the table under its old name."""
        if base.kind == "p" and len(table.encrypted) == 1:
            statement = partman_update(self._relations, base.schema, table.name, base.name)
            if statement is not None:
                self._database.notice(f"pg_partman manages {table.name}: {statement}")

    def _report_sequences(self, base: Table, table: EncryptedTable) -> None:
        """Send a notice with the call that finds each sequence of a table; PostgreSQL finds none by a view."""
        if len(table.encrypted) > 1:
            return
        rows = self._database.query(
            "SELECT a.attname::text AS name FROM pg_attribute AS a WHERE a.attrelid = $1 AND a.attnum > 0"
            " AND NOT a.attisdropped AND pg_get_serial_sequence($2, a.attname) IS NOT NULL ORDER BY a.attnum",
            ("oid", base.oid),
            ("text", base.qualified),
        )
        for row in rows:
            call = f"pg_get_serial_sequence({quote_literal(base.qualified)}, {quote_literal(row['name'])})"
            self._database.notice(
                f'the sequence of column "{row["name"]}" is found through the base table only: {call}'
            )

    def name_of_base(self, base: Table) -> str:
        """Return the name that a table gets when its first column is encrypted."""
        return new_name(base.name, _SUFFIX, self._relations.names_of_relations(base.schema))

    def prepare(
        self, oid: int, name: str, key_by: str | None, key_columns: list[str] | None = None
    ) -> "Preparation":
        """Find all that matters for encrypting a column, and change nothing.

        Args:
            oid: the OID of the table, or of the view of an encrypted table.
            name: the name of the column.
            key_by: see ``encrypt_column``.
            key_columns: the columns by which rows will be found; None for those of the table's own key.

        Raises:
            DuplicateKeyError: the column is already encrypted.
            UnsupportedError: the relation is not a table.
        """
        database = self._database
        table = self._registry.find(oid)
        base = self._relations.described(table.base if table else oid)
        if table and name in table.encrypted:
            raise DuplicateKeyError(f'column "{name}" of {table.name} is already encrypted')
        obstacles = [] if table else table_obstacles(database, base)
        if base.kind not in "rp":
            raise UnsupportedError(f"cannot encrypt columns of {base}: {obstacles[0]}")
        if base.is_distributed:
            raise UnsupportedError(
                f'cannot encrypt column "{name}" of {base}: Citus has distributed the table',
                hint="Call undistribute_table() first"
                + (", and adopt_encrypted_table()" if table else "")
                + ". create_distributed_table() distributes the base table again.",
            )
        source = base.column(name)
        keys = key_columns
        if keys is None:
            keys = table.key_columns if table else self._row_key(base, name)
        form = form_of(database, source.type_oid)
        found = Dependents()
        parts = structure(database, source.type_oid, source.modifier)
        if form is None or has_meaningless_part(parts):
            obstacles.append(f"values of type {source.type} mean nothing outside this session or database")
        else:
            found = dependents(database, base, name, form, table.relation if table else None)
            if table is None:
                whole = whole_row_dependents(database, base)
                found.objects += whole.objects
                found.obstacles += whole.obstacles
        if form is not None and form.kind != BYTES and database.setting("server_encoding") == "SQL_ASCII":
            obstacles.append("in a database with the encoding SQL_ASCII, its bytes may not be text")
        obstacles += self._text_obstacles(base, source, parts, key_by)
        obstacles += self._column_obstacles(base, table, source, keys)
        obstacles += self._key_obstacles(base, table, name, key_by, keys)
        obstacles += sealing_obstacles(database, base, [*keys, *([key_by] if key_by else [])])
        if form is not None and not self._takes_null(base, source.sql_type):
            obstacles.append(f"type {source.type} does not accept NULL, which the base table stores in the column")
        objects = self._objects.of_addresses(found.objects)
        self._objects.find_obstacles(objects, base, becomes_view=True)
        found.obstacles = [*map(Obstacle, obstacles), *found.obstacles]
        return Preparation(base, table, source, keys, found, objects)

    def _row_key(self, base: Table, name: str) -> list[str]:
        """Return the columns by which the rows of a table will be found once a column is encrypted.

        They are those of its primary key, which keeps its columns; without one, those of the first unique index of
        NOT NULL columns that lacks the column.

        Args:
            base: the table.
            name: the name of the column.
        """
        if self._database.query(
            "SELECT FROM pg_index AS i WHERE i.indrelid = $1 AND i.indisprimary", ("oid", base.oid)
        ):
            return list(base.keys[0]) if base.keys else []
        return next((list(key) for key in base.keys if name not in key), [])

    def _text_obstacles(self, base: Table, source: Column, parts: list[Any], key_by: str | None) -> list[str]:
        """Return why a text does not stand for each value of a column, or for each value that has its own key.

        Args:
            base: the table.
            source: the column.
            parts: the structure of its type.
            key_by: the column each of whose values gets a key of its own, or None.
        """
        obstacles = []
        if has_unverified_part(parts):
            obstacles.append(
                f"type {source.type} has a constraint that is NOT VALID, so that values may violate it"
            )
        if loses_blanks(parts):
            obstacles.append(f"type {source.type} has no length, and its text lacks blanks at the end of a value")
        types = [source.type_oid, *([base.column(key_by).type_oid] if key_by else [])]
        obstacles += [
            f"function {function} of a cast would make another text of a value, or another value of its text"
            for function in text_casts(self._database, types)
        ]
        return obstacles

    def _column_obstacles(
        self, base: Table, table: EncryptedTable | None, source: Column, keys: list[str]
    ) -> list[str]:
        """Return the obstacles in what a column is for its table."""
        name = source.name
        obstacles = []
        if source.identity:
            obstacles.append("it is an identity column")
        if source.generated is not None:
            obstacles.append("it is a generated column")
        if name in keys:
            obstacles.append("rows are found by it")
        if name in partition_key(self._database, base):
            obstacles.append("it is in the partition key")
        if table and name in table.own_columns() | table.shown_blind_indexes().keys():
            obstacles.append("it belongs to pgkeymgr")
        return obstacles

    def _takes_null(self, base: Table, sql_type: str) -> bool:
        with self._relations.users_path(base):
            try:
                # The CHECK of a domain is code of its owner.
                self._relations.run(base, f"SELECT NULL::{sql_type}")
            except Exception as error:
                if getattr(error, "sqlstate", None) not in _REFUSALS_OF_NULL:
                    raise
                return False
        return True

    def _key_obstacles(
        self, base: Table, table: EncryptedTable | None, name: str, key_by: str | None, keys: list[str]
    ) -> list[str]:
        database = self._database
        obstacles = []
        if table is None:
            for each in keys:
                column = base.column(each)
                if key_encoding(form_of(database, column.type_oid)) is None:
                    obstacles.append(f'ciphertexts cannot be bound to column "{each}", of type {column.type}')
        if key_by is not None and (key_by == name or (table and key_by in table.encrypted)):
            obstacles.append(f'key_by "{key_by}" is encrypted itself')
        elif key_by is not None:
            other = base.column(key_by)
            other_form = form_of(database, other.type_oid)
            if key_encoding(other_form) not in ("integer", "uuid", "text"):
                obstacles.append(f'key_by "{key_by}" is of type {other.type}, which does not name keys')
        return obstacles

    def find_key(self, key: str | None, default_name: str) -> Record | None:
        """Return the key that a column would get, or None if it would be made.

        Args:
            key: the name that the caller gave, or None.
            default_name: the name for a new key.

        Raises:
            Error: the current user may not use the key, or it cannot be used.
        """
        name = key or default_name[:NAME_CHARACTERS_MAX]
        if key is None:
            try:
                self._keys.find(name)
            except UndefinedError:
                return None
        return self._usable_key(name)

    def _key_of(self, key: str | None, default_name: str) -> Record:
        if key is None:
            name = default_name[:NAME_CHARACTERS_MAX]
            try:
                self._keys.find(name)
            except UndefinedError:
                self._data_keys.create_data_key(name, 32, None, "made by encrypt_column()", "root")
            key = name
        return self._usable_key(key)

    def _usable_key(self, key: str) -> Record:
        record = self._keys.usable(key, TOKEN_KEY_TYPE, encrypt=True)
        record.check_usage(encrypt=False)
        if record.superseded_by is not None:
            raise KeyStateError(f"{record} was superseded by key {record.superseded_by}")
        self._keys.cipher(record)  # it opens, and is of a right length
        return record

    def _grant_key(
        self,
        table: EncryptedTable,
        column: EncryptedColumn,
        record: Record,
        dropped: list[DependentObject],
    ) -> None:
        """Grant the key to the roles that could read or write the column, or read it through a view."""
        readers, writers = readers_and_writers(
            self._database, table.relation, column.name, has_default=column.default is not None
        )
        through_views = self._objects.readers(dropped)
        self._views.admit(through_views)
        readers |= through_views
        for role in sorted(readers | writers):
            if role == "0":
                self._database.notice(
                    f"PUBLIC has privileges on {table.name}, but a key cannot be granted to PUBLIC: call "
                    f"grant_data_key() for each role that uses {record}"
                )
                continue
            (row,) = self._database.query(f"SELECT {valid_name('$1::regrole')} AS name", ("oid", int(role)))
            usage = [name for name, roles in (("encrypt", writers), ("decrypt", readers)) if role in roles]
            self._data_keys.grant_data_key(record.id, row["name"], usage)

    def _add_cipher(self, base: Table, column: EncryptedColumn) -> None:
        cipher, plain = quote_name(column.cipher), quote_name(column.name)
        # The statement that a trigger runs for each row parses the constraint again: it is as short as can be.
        function = "_is_deterministic_token" if column.deterministic else "_is_token"
        is_token = f"{self._database.schema}.{function}({cipher})"
        check = new_name(column.cipher, "_check", self._relations.names_of_constraints(base))
        # migrate_column() verifies the rows that are there. With an invalid CHECK, a detached partition cannot be
        # attached again.
        later = " NOT VALID" if column.state is ColumnState.MIGRATING else ""
        changes = [
            f"ADD COLUMN {cipher} pg_catalog.bytea",
            # A ciphertext does not compress, and queries read a part of it: the id of its key.
            f"ALTER COLUMN {cipher} SET STORAGE EXTERNAL",
            f"ADD CONSTRAINT {quote_name(check)} CHECK ({is_token}){later}",
            f"ALTER COLUMN {plain} DROP DEFAULT",
            f"ALTER COLUMN {plain} DROP NOT NULL",
        ]
        if column.state is ColumnState.ENCRYPTED:
            changes.append(sealed_check(column))
        self._relations.run(base, f"ALTER TABLE {base.qualified} {', '.join(changes)}")
        if column.state is ColumnState.ENCRYPTED and column.not_null:
            # For a partitioned table, PostgreSQL looks for the column before the statement has added it.
            self._relations.run(base, f"ALTER TABLE {base.qualified} ALTER COLUMN {cipher} SET NOT NULL")
        self._comments.describe_ciphertext(base, column)
