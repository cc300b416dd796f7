"""Makes PostgreSQL's own indexes on the columns of blind indexes, or the statements for them."""

from collections.abc import Callable
from typing import NamedTuple

from ..errors import UndefinedError, UnsupportedError
from ..key.arguments import refuse_null
from .catalog import Table
from .encrypted_table import BlindIndex, EncryptedColumn, EncryptedTable
from .index_options import USUAL_OPTIONS, IndexOptions, options_of
from .partitions import has_expression_key, partition_key
from .quoting import new_name, quote_name
from .relations import Relations


class _Index(NamedTuple):
    """An index on the column of a blind index.

    Attributes:
        name: its qualified name.
        is_valid: whether queries use it. The index of a partitioned table is valid when all partitions have one.
        is_attached: whether the index of a partition belongs to the index of the partitioned table.
    """

    name: str
    is_valid: bool
    is_attached: bool


class _IndexOfBase(NamedTuple):
    """An index on the column of a blind index, and perhaps on others.

    Attributes:
        name: its name, without the schema of the table.
        is_unique: whether it is unique.
        is_partial: whether it has a WHERE.
        is_own: whether its WHERE shows that pgkeymgr can have made it.
        columns: its columns; None for an expression.
    """

    name: str
    is_unique: bool
    is_partial: bool
    is_own: bool
    columns: list[str | None]

    def described(self, blind: str) -> tuple[object, ...]:
        """Return the properties that the index of the successor of a blind index has in common with this index."""
        columns = tuple("" if column == blind else column for column in self.columns)
        return self.is_unique, self.is_partial, columns


def _statement(
    table: Table, name: str, index: BlindIndex, schema: str, keys: list[str], *, is_unique: bool, how: str = ""
) -> str:
    """Return the statement that makes an index on the column of a blind index.

    Args:
        table: the base table, or a partition.
        name: the name of the index.
        index: the blind index.
        schema: the schema of the extension, quoted.
        keys: further columns.
        is_unique: whether the index is unique.
        how: ``CONCURRENTLY``, ``ONLY``, or nothing.
    """
    words = ["CREATE", "UNIQUE INDEX" if is_unique else "INDEX", "CONCURRENTLY" if how == "CONCURRENTLY" else ""]
    only = "ONLY " if how == "ONLY" else ""
    blind = quote_name(index.name)
    using, elements = "", [blind, *map(quote_name, keys)]
    if index.operator_class is not None:
        using, elements = " USING gin", [f"{blind} {schema}.{index.operator_class}"]
    return (
        f"{' '.join(word for word in words if word)} {quote_name(name)} ON {only}{table.qualified}{using}"
        f" ({', '.join(elements)}) WHERE {blind} IS NOT NULL"
    )


class PostgresIndexes:
    """PostgreSQL's indexes on the columns of blind indexes of a database, for one session."""

    def __init__(self, relations: Relations) -> None:
        self._relations = relations
        self._database = relations.database

    def blind_index_statements(
        self, relation: str, column_name: str, is_unique: bool, kind: str | None
    ) -> list[str]:
        """Return the statements that make the indexes of blind indexes without blocking writers.

        Each must run outside of a transaction block. After some of them, the others are returned.

        Args:
            relation: the view, or the base table.
            column_name: a column with a blind index.
            is_unique: whether an equality index is to refuse two rows with the same normalized value.
            kind: the kind of the blind index; None for all kinds.

        Returns:
            The statements; none if there are valid indexes.

        Raises:
            DataError: an argument is NULL.
            UndefinedError: the column has no blind index.
            PrivilegeError: the current user does not own the table.
        """
        refuse_null(is_unique=is_unique)
        table, column = self._relations.encrypted_column(relation, column_name)
        self._relations.check_owner(table.base)
        indexes = [index for index in column.indexes if kind in (None, index.kind)]
        if not indexes:
            of_kind = "" if kind is None else f" of kind {kind}"
            raise UndefinedError(f'column "{column.name}" of {table.name} has no blind index{of_kind}')
        return [
            statement
            for index in indexes
            for statement in self.statements(table, column, index, is_unique=is_unique and index.is_of_equality)
        ]

    def statements(
        self, table: EncryptedTable, column: EncryptedColumn, index: BlindIndex, *, is_unique: bool
    ) -> list[str]:
        """Return the statements that make the missing index; see ``blind_index_statements``."""
        base = self._relations.described(table.base)
        if any(each.is_valid for each in self._indexes(base.oid, index)):
            return []
        keys = self._partition_key(base, column) if is_unique else []
        return self._statements(table, base, index, keys, None, {}, is_unique=is_unique)

    def _statements(
        self,
        table: EncryptedTable,
        node: Table,
        blind: BlindIndex,
        keys: list[str],
        parent: str | None,
        taken: dict[str, set[str]],
        *,
        is_unique: bool,
    ) -> list[str]:
        """Return the statements for a table or a partition, and for all below.

        Args:
            table: the table as it is registered.
            node: its base table, or a partition.
            blind: the blind index.
            keys: further columns of the index.
            parent: the index of the table that the partition belongs to, qualified, or None.
            taken: the names that no new index can have, by schema; completed here.
            is_unique: whether the index is unique.
        """
        found: list[str] = []
        index = None
        for each in self._indexes(node.oid, blind):
            if each.is_valid and each.is_attached:
                return []
            if each.is_valid or node.kind == "p":
                index = each.name
            else:
                # CREATE INDEX CONCURRENTLY leaves such an index behind if it fails.
                found.append(f"DROP INDEX CONCURRENTLY {each.name}")
        if index is None:
            names = taken.setdefault(node.schema, self._relations.names_of_relations(node.schema))
            start = table.name if node.oid == table.base else node.name
            name = new_name(f"{start}_{blind.name}", "_idx", names)
            names.add(name)
            index = f"{quote_name(node.schema)}.{quote_name(name)}"
            how = "ONLY" if node.kind == "p" else "CONCURRENTLY"
            found.append(_statement(node, name, blind, self._database.schema, keys, is_unique=is_unique, how=how))
        if node.kind == "p":
            for row in self._database.query(
                "SELECT inhrelid::bigint AS oid FROM pg_inherits WHERE inhparent = $1 AND NOT inhdetachpending"
                " ORDER BY 1",
                ("oid", node.oid),
            ):
                below = self._relations.described(row["oid"])
                found += self._statements(table, below, blind, keys, index, taken, is_unique=is_unique)
        if parent is not None:
            found.append(f"ALTER INDEX {parent} ATTACH PARTITION {index}")
        return found

    def _indexes(self, oid: int, blind: BlindIndex) -> list[_Index]:
        rows = self._database.query(
            "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name, i.indisvalid AS is_valid,"
            " EXISTS (SELECT FROM pg_inherits AS p WHERE p.inhrelid = c.oid)"
            "  OR NOT (SELECT t.relispartition FROM pg_class AS t WHERE t.oid = i.indrelid) AS is_attached"
            " FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid"
            " JOIN pg_namespace AS n ON n.oid = c.relnamespace"
            " JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
            " WHERE i.indrelid = $1 AND a.attname = $2 ORDER BY c.oid",
            ("oid", oid),
            ("text", blind.name),
        )
        return [_Index(**row) for row in rows]

    def statement(
        self, base: Table, table: EncryptedTable, column: EncryptedColumn, index: BlindIndex, *, is_unique: bool
    ) -> str:
        """Return the statement that makes the index of a blind index.

        Args:
            base: the base table.
            table: the same as it is registered.
            column: the column.
            index: its blind index.
            is_unique: whether it refuses two rows with the same normalized value.
        """
        name = new_name(f"{table.name}_{index.name}", "_idx", self._relations.names_of_relations(base.schema))
        keys = self._partition_key(base, column) if is_unique else []
        return _statement(base, name, index, self._database.schema, keys, is_unique=is_unique)

    def _partition_key(self, base: Table, column: EncryptedColumn) -> list[str]:
        """Return the columns that PostgreSQL asks for in a unique index on a table."""
        if base.kind != "p":
            return []
        if has_expression_key(self._database, base):
            raise UnsupportedError(
                f'column "{column.name}" of {base} cannot have a unique blind index: PostgreSQL has none where '
                "an expression is in the partition key"
            )
        names = sorted(partition_key(self._database, base))
        self._database.notice(
            f'the values of column "{column.name}" of {base} are unique together with its partition key '
            f"({', '.join(map(quote_name, names))}) only, since PostgreSQL checks each partition by itself"
        )
        return names

    def write_unique(
        self,
        base: Table,
        table: EncryptedTable,
        name: str,
        columns: tuple[str, ...],
        options: IndexOptions = USUAL_OPTIONS,
    ) -> None:
        """Make the unique index that stands for a constraint.

        Args:
            base: the table.
            table: the same, as registered.
            name: the name of the constraint.
            columns: the columns of the constraint; the index has the blind indexes of encrypted columns.
            options: the options of the index.
        """
        names = []
        for each in columns:
            encrypted = table.encrypted.get(each)
            names.append(quote_name((encrypted.blind if encrypted else None) or each))
        self._relations.run_naming(base, base.schema, options.create(base, name, f"({', '.join(names)})"))
        for statement in options.later(base, name):
            self._relations.run(base, statement)

    def to_copy(self, base: Table, table: EncryptedTable, index: BlindIndex) -> Callable[[BlindIndex], list[str]]:
        """Find the indexes on the column of a blind index, for its successor.

        Args:
            base: the base table.
            table: the same as it is registered.
            index: the blind index.

        Returns:
            The function that returns the statements that make the same indexes for the successor.

        Raises:
            UnsupportedError: an index does not belong to pgkeymgr.
        """
        there = self._indexes_with(base, index)
        uniques = {each.name: each.columns for each in table.constraints if each.kind == "u"}
        for each in there:
            is_ours = each.name in uniques or (each.columns[0] == index.name and each.is_partial)
            if not (is_ours and each.is_own) or None in each.columns:
                raise UnsupportedError(
                    f'index "{each.name}" has the column "{index.name}", and is none of pgkeymgr\'s',
                    hint="Drop the index before, and create it again afterwards.",
                )

        def statements(successor: BlindIndex) -> list[str]:
            made = []
            for each in there:
                taken = self._relations.names_of_relations(base.schema)
                name = new_name(each.name, "_next", taken)
                if each.is_partial:
                    keys = [key for key in each.columns[1:] if key is not None]
                    made.append(
                        _statement(base, name, successor, self._database.schema, keys, is_unique=each.is_unique)
                    )
                    continue
                keys = [successor.name if key == index.name else key or "" for key in each.columns]
                options = options_of(self._database, base, each.name)
                made.append(options.create(base, name, f"({', '.join(map(quote_name, keys))})"))
                made += options.later(base, name)
            return made

        return statements

    def renames(self, base: Table, index: BlindIndex, successor: BlindIndex) -> list[tuple[str, str]]:
        """Return the names of the indexes of a successor, and those that they will have instead.

        The later names are those of the same indexes on the column that the successor replaces.
        """
        names = {each.described(index.name): each.name for each in self._indexes_with(base, index)}
        return [
            (each.name, names[each.described(successor.name)])
            for each in self._indexes_with(base, successor)
            if each.described(successor.name) in names
        ]

    def _indexes_with(self, base: Table, index: BlindIndex) -> list[_IndexOfBase]:
        rows = self._database.query(
            "SELECT c.relname::text AS name, i.indisunique AS is_unique,"
            " pg_get_expr(i.indpred, i.indrelid) AS predicate,"
            " ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place)"
            "  LEFT JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number ORDER BY k.place)"
            "  AS columns"
            " FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid"
            " WHERE i.indrelid = $1 AND EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = i.indrelid"
            "  AND a.attname = $2 AND a.attnum = ANY (i.indkey::int2[])) ORDER BY c.oid",
            ("oid", base.oid),
            ("text", index.name),
        )
        (own,) = self._database.query("SELECT format('(%I IS NOT NULL)', $1) AS predicate", ("text", index.name))
        return [
            _IndexOfBase(**row, is_partial=predicate is not None, is_own=predicate in (None, own["predicate"]))
            for row in rows
            for predicate in [row.pop("predicate")]
        ]
