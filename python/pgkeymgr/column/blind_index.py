"""Blind indexes of encrypted columns: added, dropped, searched by."""

from ..errors import DataError, DuplicateKeyError, KeyStateError, ParameterError, UndefinedError, UnsupportedError
from ..key.record import Record
from ..key.table import KeyTable
from .blinding import NORMALIZATIONS, Blinding
from .catalog import Table
from .definition import Definition
from .expressions import is_there
from .obstacles import Unique
from .privileges import copy_privileges
from .quoting import new_name, quote_name
from .registry import ColumnState, Constraint, EncryptedColumn, EncryptedTable
from .relations import Relations
from .view import Views

_SUFFIX = "_bidx"
_KEY_NAME_CHARACTERS = 230


class BlindIndexes:
    """The blind indexes of a database, for one session."""

    def __init__(self, relations: Relations, views: Views, keys: KeyTable, blinding: Blinding) -> None:
        self._relations = relations
        self._views = views
        self._keys = keys
        self._database = relations.database
        self._registry = relations.registry
        self._blinding = blinding
        self._found: dict[tuple[str, str], EncryptedColumn] = {}
        self._found_at: object = None

    def add_blind_index(self, relation: str, column_name: str, normalize: str, is_unique: bool) -> None:
        """Give an encrypted column a blind index, filled for all rows.

        Args:
            relation: the view, or the base table.
            column_name: an encrypted column.
            normalize: ``none``, ``casefold`` or ``digits``.
            is_unique: refuse two rows with the same normalized value.

        Raises:
            UndefinedError: the column is not encrypted.
            DuplicateKeyError: it has a blind index, or two rows have the same value.
            ParameterError: there is no such normalization.
        """
        if normalize is None or is_unique is None:
            raise DataError("normalize and is_unique must not be NULL")
        if normalize not in NORMALIZATIONS:
            raise ParameterError("normalize must be " + ", ".join(NORMALIZATIONS))
        _, base = self._relations.lock_table(relation)
        table, column = self._relations.encrypted_column(relation, column_name)
        with self._relations.busy():
            if column.blind and column.blind_is_shown:
                raise DuplicateKeyError(f'column "{column.name}" of {table.name} has a blind index already')
            if column.blind and column.normalization != normalize:
                raise DuplicateKeyError(
                    f'column "{column.name}" of {table.name} has a blind index without normalization already, for '
                    "its UNIQUE constraint"
                )
            if column.state is ColumnState.DECRYPTING:
                raise KeyStateError(f'column "{column.name}" of {table.name} is being decrypted')
            if not column.form.is_comparable:
                raise UnsupportedError(
                    f'cannot add a blind index to column "{column.name}" of {table.name}: equal values of type '
                    f"{column.type} can have different texts",
                    hint="Encrypt a column of type text, with the values in one form.",
                )
            if normalize != "none" and not column.form.is_text:
                raise ParameterError(f"normalize must be none for values of type {column.type}")
            if not column.blind:
                record = self._keys.find(column.key)
                record.check_usage(encrypt=False)
                self._relations.check_owners_key(self._keys, base, column, ("decrypt",))
                self._add_blind(base, table, column, normalize, record)
            column.blind_is_shown = True
            self._registry.save_column(column)
            blind = column.blind or ""
            index = quote_name(
                new_name(f"{table.name}_{blind}", "_idx", self._relations.names_of_relations(base.schema))
            )
            unique = "UNIQUE " if is_unique else ""
            self._relations.run_naming(
                base,
                base.schema,
                f"CREATE {unique}INDEX {index} ON {base.qualified} ({quote_name(blind)})"
                f" WHERE {quote_name(blind)} IS NOT NULL",
            )
            self._views.write(table)
            copy_privileges(
                self._database,
                table.relation,
                table.relation,
                {name: [name] for name in table.columns} | {column.name: [column.name, blind]},
                run=lambda statement: self._relations.run(base, statement),
            )
            self._views.follow_privileges(table)

    def _add_blind(
        self, base: Table, table: EncryptedTable, column: EncryptedColumn, normalize: str, record: Record
    ) -> None:
        taken = {each.name for each in base.columns}
        column.blind = new_name(column.name, _SUFFIX, taken)
        column.blind_key = self._keys.create_for(
            record, f"{(record.name or '')[:_KEY_NAME_CHARACTERS]}.bidx.{column.id}"
        )
        column.normalization = normalize
        blind = quote_name(column.blind)
        self._relations.run(base, f"ALTER TABLE {base.qualified} ADD COLUMN {blind} pg_catalog.bytea")
        self._registry.save_column(column)
        definition = Definition(table, self._relations.described(table.base), self._database.schema)
        value = definition.blinded(column, definition.read(column, "b"))
        with self._relations.without_triggers(base):
            there = " OR ".join(is_there("b", name) for name in (column.cipher, column.name))
            self._relations.run(base, f"UPDATE {base.only} AS b SET {blind} = {value} WHERE {there}")

    def stand_for_uniques(
        self, base: Table, table: EncryptedTable, column: EncryptedColumn, uniques: list[Unique], record: Record
    ) -> None:
        """Let unique indexes on a blind index stand for UNIQUE constraints on a column.

        Args:
            base: the table.
            table: the same, as registered.
            column: the column, just registered.
            uniques: with the column in them.
            record: of the column's key.
        """
        # At once, not with the migration: rows that are there must not come twice in the meantime.
        self._add_blind(base, table, column, "none", record)
        standing = {each.name: each for each in table.constraints if each.kind == "u"}
        for unique in uniques:
            if unique.name in standing:  # for another column of the same constraint
                self._relations.run(base, f"DROP INDEX {quote_name(base.schema)}.{quote_name(unique.name)}")
                self.write_unique(base, table, unique.name, standing[unique.name].columns)
                continue
            self._registry.add_constraint(table, Constraint(unique.name, "u", unique.columns, unique.definition))
            what = f"ALTER TABLE {base.qualified} DROP CONSTRAINT" if unique.is_constraint else "DROP INDEX"
            name = quote_name(unique.name)
            self._relations.run(
                base, f"{what} {name if unique.is_constraint else f'{quote_name(base.schema)}.{name}'}"
            )
            self.write_unique(base, table, unique.name, unique.columns)

    def write_unique(self, base: Table, table: EncryptedTable, name: str, columns: tuple[str, ...]) -> None:
        """Make the unique index that stands for a constraint.

        Args:
            base: the table.
            table: the same, as registered.
            name: the constraint's.
            columns: the constraint's; encrypted ones are in the index by their blind indexes.
        """
        names = []
        for each in columns:
            encrypted = table.encrypted.get(each)
            names.append(quote_name((encrypted.blind if encrypted else None) or each))
        self._relations.run_naming(
            base,
            base.schema,
            f"CREATE UNIQUE INDEX {quote_name(name)} ON {base.qualified} ({', '.join(names)})",
        )

    def drop_blind_index(self, relation: str, column_name: str) -> None:
        """Take a blind index away.

        Args:
            relation: the view, or the base table.
            column_name: an encrypted column.

        Raises:
            UndefinedError: the column is not encrypted, or has no blind index.
            UnsupportedError: a UNIQUE constraint of the column needs it.
        """
        _, base = self._relations.lock_table(relation)
        table, column = self._relations.encrypted_column(relation, column_name)
        if not column.blind or not column.blind_is_shown:
            raise UndefinedError(f'column "{column.name}" of {table.name} has no blind index')
        if any(column.name in each.columns for each in table.constraints if each.kind == "u"):
            raise UnsupportedError(
                f'a UNIQUE constraint of column "{column.name}" of {table.name} needs its blind index'
            )
        with self._relations.busy():
            blind, key = column.blind, column.blind_key
            column.blind = column.blind_key = column.normalization = None
            column.blind_is_shown = False
            self._registry.save_column(column)
            self._views.drop_column(table, base, blind)
            if key is not None:
                self._keys.drop(self._keys.find(key))

    def blind_index(self, relation: str, column_name: str, value: str | None) -> bytes | None:
        """Return what a value has in the blind index of a column.

        Args:
            relation: the view, or the base table.
            column_name: the encrypted column.
            value: as text of the column's type; None gives None.

        Returns:
            16 bytes.

        Raises:
            UndefinedError: the column has no blind index.
            PrivilegeError: the current user may neither search nor decrypt with the column's key.
        """
        if value is None:
            return None
        column = self._find(relation, column_name)
        if column.blind_key is None:
            raise UndefinedError(
                f'column "{column_name}" of {relation} has no blind index', hint="add_blind_index() makes one."
            )
        if not column.form.is_text:
            canonical = column.form.canonical(f"$1::pg_catalog.text::{column.sql_type}", self._database.schema)
            value = self._relations.converted(canonical, value, column.type)
        return self._blinding.search_for(column.blind_key, column.normalization or "none", value)

    def _find(self, relation: str, column_name: str) -> EncryptedColumn:
        # Not again for each row of a join, as long as nothing can have changed what the names mean.
        database = self._database
        now = (
            database.user(),
            database.stamp(),
            database.transaction(),
            database.command(),
            database.setting("search_path"),
        )
        if now != self._found_at:
            self._found.clear()
            self._found_at = now
        found = self._found.get((relation, column_name))
        if found is None:
            _, found = self._relations.encrypted_column(relation, column_name)
            self._found[relation, column_name] = found
        return found
