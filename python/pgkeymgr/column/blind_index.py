"""Adds and drops blind indexes of encrypted columns, with their columns and keys."""

import os
from collections.abc import Sequence

from ..errors import DataError, DuplicateKeyError, KeyStateError, ParameterError, UndefinedError, UnsupportedError
from ..key.arguments import refuse_null
from ..key.data_key import DataKeys
from ..key.record import Record
from ..key.shared_names import valid_name
from ..key.table import TOKEN_KEY_TYPE, KeyTable
from .catalog import Table
from .definition import Definition
from .encrypted_table import BlindIndex, Constraint, EncryptedColumn, EncryptedTable
from .index_kinds import COMPOUND, EQUALITY, JSON, RANGE, TEXT
from .index_options import options_of
from .obstacles import Unique
from .postgres_index import PostgresIndexes
from .privileges import copy_privileges
from .published import report_published
from .quoting import new_name, quote_name
from .relations import Relations
from .view import Views
from .wanted_index import Wanted, check_wanted, parse_options, wanted_index

_SUFFIX = "_bidx"
_TERMS_SUFFIX = "_terms"
_SAMPLE_ROWS = 1000
_SAMPLE_MIN = 100
_FEW = 25
_LEAKS = {
    EQUALITY: "which rows have equal values, and how often each value occurs",
    TEXT: "which rows have parts of a few characters in common, and how often each part occurs; often, texts can"
    " be read from that",
    RANGE: "which rows have values in the same intervals of several sizes; often, their order and their size can"
    " be read from that",
    JSON: "which rows have the same keys, or equal values in the same places, and how often each occurs",
}
_LEAK_OF_UNIQUE = "which values are equal to one that was there before"
_KEY_NAME_CHARACTERS = 230
_SUFFIX_BYTES = 4


def leak_of_uniques(uniques: Sequence[Unique]) -> str:
    """Return a phrase with the facts that a blind index shows to a thief, if unique indexes are on it.

    Args:
        uniques: the unique constraints and indexes of a column.
    """
    # No two rows are equal in a column that is unique by itself.
    is_unique = any(len(unique.columns) == 1 for unique in uniques)
    return _LEAK_OF_UNIQUE if is_unique else _LEAKS[EQUALITY]


class BlindIndexes:
    """The blind indexes of a database, for one session."""

    def __init__(
        self,
        relations: Relations,
        views: Views,
        keys: KeyTable,
        data_keys: DataKeys,
        postgres_indexes: PostgresIndexes,
    ) -> None:
        self._relations = relations
        self._views = views
        self._keys = keys
        self._database = relations.database
        self._registry = relations.registry
        self._data_keys = data_keys
        self._postgres_indexes = postgres_indexes

    def add_blind_index(
        self,
        relation: str,
        column_name: str,
        normalize: str,
        is_unique: bool,
        key: str | int | None,
        kind: str,
        options: str | None,
        force: bool,
    ) -> None:
        """Give an encrypted column a blind index, filled for all rows.

        Args:
            relation: the view, or the base table.
            column_name: an encrypted column.
            normalize: ``none``, ``casefold`` or ``digits``; for text, ``none``, ``casefold`` or ``unaccent``.
            is_unique: refuse two rows with the same normalized value.
            key: the name of a key for tokens, which means its current version, or the id of a version; None for
                a new key. The roles that may use the column's key may search with this key from then on.
            kind: ``equality``, ``compound``, ``text``, ``range`` or ``json``.
            options: a JSON object with the options of the kind, or None.
            force: whether to index a column with few distinct values, too.

        Raises:
            DataError: an argument is NULL.
            UndefinedError: the column, or one of the others of a compound index, is not encrypted.
            DuplicateKeyError: it has a blind index of the kind, or two rows have the same value.
            KeyStateError: ``build_blind_index`` is building a blind index of the column.
            ParameterError: there is no such normalization, kind or option.
            PrivilegeError: the current user may not decrypt with the given key.
            UnsupportedError: the kind is not for the type of the values, or there are few distinct values.
        """
        if normalize is None or is_unique is None:
            raise DataError("normalize and is_unique must not be NULL")
        refuse_null(kind=kind, force=force)
        _, base = self._relations.lock_table(relation)
        table, column = self._relations.encrypted_column(relation, column_name)
        self._relations.refuse_distributed(base, f'add a blind index to column "{column.name}"')
        wanted = wanted_index(table, column, kind, normalize, parse_options(options))
        if is_unique and (kind not in (EQUALITY, COMPOUND) or wanted.bits is not None):
            raise ParameterError("is_unique is for a blind index of kind equality or compound with all bits")
        with self._relations.busy(table.base):
            given = self.given_key(key)
            check_wanted(table, base, column, wanted, given)
            index = column.index_of_kind(kind)
            if index is not None and index.is_shown:
                raise DuplicateKeyError(f'column "{column.name}" of {table.name} already has a blind index')
            if not column.is_indexed:
                raise KeyStateError(
                    f'the blind index of column "{column.name}" of {table.name} is being built',
                    hint="Call build_blind_index(), or drop_blind_index().",
                )
            if index is None:
                record = self._keys.find_current(column.family)
                self.check_decrypt(base, table.parts(column, wanted.with_columns))
                if not (force or is_unique):
                    self.refuse_few(table, column, wanted)
                index = self.add(base, column, wanted, record, given)
                self._fill(table, column, index)
            statement = self._postgres_indexes.statement(base, table, column, index, is_unique=is_unique)
            self._relations.run_naming(base, base.schema, statement)
            self.show(table, column, kind)
            self.report_leak(table, column, index, is_unique=is_unique)

    def check_decrypt(self, base: Table, parts: list[EncryptedColumn]) -> None:
        """Refuse a user who may not decrypt all columns of a blind index, or whose table's owner may not.

        Raises:
            PrivilegeError: the user or the owner may not.
        """
        for part in parts:
            self._keys.find_current(part.family).check_usage(encrypt=False)
            self._relations.check_owners_key(self._keys, base, part, ("decrypt",))

    def refuse_few(self, table: EncryptedTable, column: EncryptedColumn, wanted: Wanted) -> None:
        """Refuse a column whose values differ in how often they occur, so that this identifies them.

        Raises:
            UnsupportedError: its type has few values, or its rows have few distinct values.
        """
        hint = "With force => true, it gets the blind index all the same."
        parts = table.parts(column, wanted.with_columns)
        if len(parts) == 1 and column.form.base in ("bool", "enum"):
            raise UnsupportedError(
                f'cannot add a blind index to column "{column.name}" of {table.name}: type {column.type} has few '
                "values, and how often each occurs shows which rows have which value",
                hint=hint,
            )
        base = self._relations.described(table.base)
        definition = Definition(table, base, self._database.schema)
        there = " AND ".join(definition.has_value(part, "b") for part in parts)
        value = ", ".join(part.form.canonical(definition.read(part, "b"), self._database.schema) for part in parts)
        with self._relations.users_path(base):
            (row,) = self._relations.run(
                base,
                "SELECT pg_catalog.count(*) AS count, pg_catalog.count(DISTINCT s.value) AS distinct FROM ("
                f" SELECT ROW({value}) AS value FROM {base.only} AS b WHERE {there} LIMIT {_SAMPLE_ROWS}) AS s",
            )
        if row["count"] >= _SAMPLE_MIN and row["distinct"] < _FEW:
            raise UnsupportedError(
                f'cannot add a blind index to column "{column.name}" of {table.name}: {row["count"]} rows have '
                f"{row['distinct']} different values, and how often each occurs shows which rows have which value",
                hint=hint,
            )

    def report_leak(
        self, table: EncryptedTable, column: EncryptedColumn, index: BlindIndex, *, is_unique: bool = False
    ) -> None:
        """Send a notice with the facts that a blind index shows to a thief of the disk."""
        if is_unique:
            return  # No two rows are equal, so that it shows nothing but values that come back.
        _, _, bits = index.options.partition("/") if index.is_of_equality else ("", "", "")
        if bits:
            shown = f"which rows have one of the groups of values that {bits} bits tell apart"
        elif index.kind == COMPOUND:
            names = ", ".join(f'"{part.name}"' for part in table.parts(column, index.with_columns))
            shown = f"which rows have equal values in all of {names}, and how often each combination occurs"
        else:
            shown = _LEAKS[index.kind]
        self._database.notice(
            f'a thief of the files or a backup of {table.name}, without the keys, sees in "{index.name}" {shown}'
        )

    def _save(self, column: EncryptedColumn, kind: str) -> None:
        """Write the blind index of a kind to the registry."""
        if kind == EQUALITY:
            self._registry.save_column(column)
        else:
            self._registry.save_terms(column)

    def show(self, table: EncryptedTable, column: EncryptedColumn, kind: str) -> None:
        """Show the column of a blind index in the view, to the roles that may read the encrypted column.

        Args:
            table: the table, which the caller has locked.
            column: a column whose blind index is filled.
            kind: the kind of the blind index.
        """
        base = self._relations.described(table.base)
        if kind == EQUALITY:
            column.blind_is_shown = True
        elif (index := column.index_of_kind(kind)) is not None:
            index.is_shown = True
        self._save(column, kind)
        self._views.write(table)
        # A role with privileges on some columns gets none on a compound index, which shows something of others.
        companions = [each.name for each in column.own_indexes if each.is_shown]
        copy_privileges(
            self._database,
            table.relation,
            table.relation,
            {name: [name] for name in table.columns} | {column.name: [column.name, *companions]},
            run=lambda statement: self._relations.run(base, statement),
        )
        self._views.follow_privileges(table)

    def _key_for(
        self, base: Table, column: EncryptedColumn, kind: str, record: Record, given: Record | None
    ) -> int:
        """Return the id of the key of a new blind index: the given key, or a new one beside the column's key.

        Args:
            base: the base table.
            column: the column.
            kind: the kind of the blind index.
            record: the record of the column's key.
            given: the record of the given key, which the roles that may use the column's key get grants of; None
                for a new key.
        """
        if given is not None:
            self._grant_given(base, column, given)
            return given.id
        part = {EQUALITY: "bidx", COMPOUND: "compound"}.get(kind, "terms")
        name = f"{(record.name or '')[:_KEY_NAME_CHARACTERS]}.{part}.{column.id}"
        try:
            return self._keys.maker.create_for(record, name)
        except DuplicateKeyError:
            # The key of an earlier blind index of the column may have stayed: see drop_key.
            return self._keys.maker.create_for(record, f"{name}~{os.urandom(_SUFFIX_BYTES).hex()}")

    def _add_column(self, base: Table, index: BlindIndex) -> None:
        """Add the column of a new blind index to the base table."""
        name = quote_name(index.name)
        self._relations.run(base, f"ALTER TABLE {base.qualified} ADD COLUMN {name} {index.sql_type}")
        report_published(self._database, base, f'add the column "{index.name}"')

    def given_key(self, key: str | int | None) -> Record | None:
        """Return the record of a key that a blind index is given, by its name or id; None for None."""
        if key is None:
            return None
        record = self._keys.usable(key, TOKEN_KEY_TYPE, encrypt=False)
        self._keys.keyring.secret(record, self._keys.unlock)  # it opens
        return record

    def _grant_given(self, base: Table, column: EncryptedColumn, given: Record) -> None:
        """Let the roles that may use a column's key write and search the values of its blind index."""
        roles = self._database.as_owner(
            lambda: self._database.execute(
                f"""
                SELECT {valid_name("r.oid::regrole")} AS name, array_agg(DISTINCT u.usage) AS usage
                FROM (
                    SELECT g.grantee AS role, unnest(g.usage) AS usage
                    FROM {{s}}.key_grant AS g
                    WHERE g.family = $1
                    UNION ALL
                    SELECT k.owner, 'decrypt'
                    FROM {{s}}.key AS k
                    WHERE k.family = $1 AND k.superseded_by IS NULL
                    UNION ALL
                    SELECT $3, 'decrypt'
                ) AS u
                JOIN pg_roles AS r ON r.oid = u.role
                WHERE NOT EXISTS (
                    SELECT FROM {{s}}.key AS k
                    WHERE k.id = $2 AND pg_has_role(r.oid, k.owner, 'USAGE')
                )
                GROUP BY r.oid
                ORDER BY 1
                """,
                ("integer", column.family),
                ("integer", given.id),
                ("oid", base.owner_oid),
            )
        )
        for role in roles:
            # A role that only encrypts with the column's key may not compare values.
            usage = "search" if {"decrypt", "search"} & {*role["usage"]} else "encrypt"
            self._data_keys.grant_data_key(given.id, role["name"], [usage])

    def add(
        self,
        base: Table,
        column: EncryptedColumn,
        wanted: Wanted,
        record: Record,
        given: Record | None = None,
        *,
        is_filled: bool = True,
    ) -> BlindIndex:
        """Give a column a blind index that no row has a value in yet, with the given key or a key of its own.

        Args:
            base: the base table; locked.
            column: the column.
            wanted: the kind and the options.
            record: the record of the column's key.
            given: the record of the blind index's key; None for a new key.
            is_filled: whether the caller will fill it in this transaction.

        Returns:
            The blind index.
        """
        taken = {each.name for each in base.columns}
        suffix = _SUFFIX if wanted.kind in (EQUALITY, COMPOUND) else _TERMS_SUFFIX
        name = new_name("_".join([column.name, *wanted.with_columns]), suffix, taken)
        key = self._key_for(base, column, wanted.kind, record, given)
        index = BlindIndex(
            wanted.kind,
            name,
            key,
            wanted.options,
            is_filled=is_filled,
            key_is_given=given is not None,
            with_columns=list(wanted.with_columns),
        )
        if wanted.kind == EQUALITY:
            column.blind, column.blind_key, column.blind_key_is_given = name, key, index.key_is_given
            column.normalization, column.blind_bits = wanted.normalize, wanted.bits
            column.blind_is_filled = is_filled
        elif wanted.kind == COMPOUND:
            column.compound = index
        else:
            column.terms = index
        self._add_column(base, index)
        self._save(column, wanted.kind)
        return index

    def add_successor(
        self, base: Table, column: EncryptedColumn, index: BlindIndex, record: Record, given: Record | None
    ) -> BlindIndex:
        """Give a column a second blind index of a kind, under another key, which no row has a value in yet.

        Args:
            base: the base table; locked.
            column: the column.
            index: its present blind index of the kind.
            record: the record of the column's key.
            given: the record of the key; None for a new key.

        Returns:
            The successor.
        """
        taken = {each.name for each in base.columns}
        name = new_name(index.name, "_next", taken)
        key = self._key_for(base, column, index.kind, record, given)
        column.successor = BlindIndex(
            index.kind,
            name,
            key,
            index.options,
            is_filled=False,
            key_is_given=given is not None,
            with_columns=index.with_columns,
        )
        self._add_column(base, column.successor)
        self._registry.save_terms(column)
        return column.successor

    def succeed(self, column: EncryptedColumn, successor: BlindIndex) -> None:
        """Register the successor in the place of the blind index of its kind, whose name its column has by now."""
        column.successor = None
        if successor.kind == EQUALITY:
            column.blind_key, column.blind_key_is_given = successor.key, successor.key_is_given
        elif (index := column.index_of_kind(successor.kind)) is not None:
            index.key, index.key_is_given = successor.key, successor.key_is_given
        self._registry.save_column(column)
        self._registry.save_terms(column)

    def _fill(self, table: EncryptedTable, column: EncryptedColumn, index: BlindIndex) -> None:
        """Give all rows their value in a new blind index, at once."""
        base = self._relations.described(table.base)
        needs, value = Definition(table, base, self._database.schema).filling(column, index)
        with self._relations.without_triggers(base), self._relations.users_path(base):
            blind = quote_name(index.name)
            self._relations.run(base, f"UPDATE {base.only} AS b SET {blind} = {value} WHERE {needs}")

    def stand_for_uniques(
        self, base: Table, table: EncryptedTable, column: EncryptedColumn, uniques: list[Unique], record: Record
    ) -> None:
        """Let unique indexes on a blind index stand for UNIQUE constraints on a column.

        Args:
            base: the table.
            table: the same, as registered.
            column: the column, just registered.
            uniques: the unique constraints that have the column.
            record: the record of the column's key.
        """
        # The index is filled now and not by the migration, since it must refuse duplicates from now on.
        index = self.add(base, column, Wanted(EQUALITY, "none", None, "none"), record)
        self._fill(table, column, index)
        standing = {each.name: each for each in table.constraints if each.kind == "u"}
        for unique in uniques:
            options = options_of(self._database, base, unique.name)
            if unique.name in standing:  # for another column of the same constraint
                self._relations.run(base, f"DROP INDEX {quote_name(base.schema)}.{quote_name(unique.name)}")
                self._postgres_indexes.write_unique(
                    base, table, unique.name, standing[unique.name].columns, options
                )
                continue
            self._registry.add_constraint(table, Constraint(unique.name, "u", unique.columns, unique.definition))
            what = f"ALTER TABLE {base.qualified} DROP CONSTRAINT" if unique.is_constraint else "DROP INDEX"
            name = quote_name(unique.name)
            self._relations.run(
                base, f"{what} {name if unique.is_constraint else f'{quote_name(base.schema)}.{name}'}"
            )
            self._postgres_indexes.write_unique(base, table, unique.name, unique.columns, options)
        self._report_uniques(table, index, uniques)

    def _report_uniques(self, table: EncryptedTable, index: BlindIndex, uniques: list[Unique]) -> None:
        """Send a notice that a blind index was made for unique indexes, with the facts that it shows."""
        names = ", ".join(f'"{unique.name}"' for unique in uniques)
        noun = "index" if len(uniques) == 1 else "indexes"
        self._database.notice(
            f'the blind index "{index.name}" was made for the unique {noun} {names} of {table.name}: a thief of '
            f"the files or a backup, without the keys, sees in it {leak_of_uniques(uniques)}"
        )

    def drop_blind_index(self, relation: str, column_name: str, kind: str) -> None:
        """Drop a blind index of an encrypted column.

        Args:
            relation: the view, or the base table.
            column_name: an encrypted column.
            kind: the kind of the blind index.

        Raises:
            DataError: an argument is NULL.
            UndefinedError: the column is not encrypted, or has no blind index of the kind.
            UnsupportedError: a UNIQUE constraint of the column needs it.
        """
        refuse_null(kind=kind)
        table, column = self._relations.encrypted_column(relation, column_name)
        self._relations.check_owner(table.base)
        # A batch of build_blind_index() has its turn before it locks the table, too.
        self._registry.progress.lock(column.id)
        _, base = self._relations.lock_table(relation)
        table, column = self._relations.encrypted_column(relation, column_name)
        index = column.index_of_kind(kind)
        if index is None or (index.is_filled and not index.is_shown):
            hint = None
            if column.terms is not None:
                hint = f"It has one of another kind: kind => '{column.terms.kind}' drops it."
            raise UndefinedError(f'column "{column.name}" of {table.name} has no blind index', hint=hint)
        if kind == EQUALITY and any(column.name in each.columns for each in table.constraints if each.kind == "u"):
            raise UnsupportedError(
                f'a UNIQUE constraint of column "{column.name}" of {table.name} needs its blind index'
            )
        with self._relations.busy(table.base):
            successor = column.successor if column.successor and column.successor.kind == kind else None
            if not index.is_filled or successor is not None:
                self._registry.progress.end(column)
            if successor is not None:
                column.successor = None
            if kind == EQUALITY:
                column.blind = column.blind_key = column.normalization = column.blind_bits = None
                column.blind_is_shown = column.blind_key_is_given = False
                column.blind_is_filled = True
            elif kind == COMPOUND:
                column.compound = None
            else:
                column.terms = None
            self._registry.save_column(column)
            self._registry.save_terms(column)
            if successor is not None:
                name = quote_name(successor.name)
                self._relations.run(base, f"ALTER TABLE {base.qualified} DROP COLUMN {name}")
            self._views.drop_column(table, base, index.name)
            for each in (index, successor):
                if each is not None:
                    self.drop_key(each.key, is_given=each.key_is_given)

    def drop_key(self, key_id: int | None, *, is_given: bool) -> None:
        """Drop the key that was made for a blind index, unless something else may need it.

        Args:
            key_id: the id of the key; None for no key.
            is_given: whether the user gave the key to the blind index.
        """
        if key_id is None or is_given:
            return
        nodes = self._keys.nodes
        if nodes.publications() or not nodes.status().makes_keys:
            self._database.notice(
                f"key {key_id}, which was made for the blind index, stays: other databases may have it, too"
            )
            return
        if not self._database.as_owner(
            lambda: self._database.execute(
                "SELECT FROM {s}.encrypted_column WHERE blind_key = $1"
                " UNION ALL SELECT FROM {s}.encrypted_terms WHERE terms_key = $1 LIMIT 1",
                ("integer", key_id),
            )
        ):
            self._keys.drop(self._keys.find(key_id))
