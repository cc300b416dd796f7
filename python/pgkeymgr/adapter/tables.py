"""The tables with encrypted columns, as an adapter sees them from outside.

A table with encrypted columns is a view, and a base table below it. PostgreSQL does less on a view than on a
table. The adapters write the rest for the base table, with the names that this module gives them.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Query = Callable[[str], Sequence[Sequence[Any]]]
"""Runs a statement without parameters, and returns its rows."""


def quote_name(name: str) -> str:
    """Return a name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """Return a string constant that is valid under either value of standard_conforming_strings."""
    quoted = "'" + text.replace("'", "''") + "'"
    return "E" + quoted.replace("\\", "\\\\") if "\\" in text else quoted


def users_comment(comment: str | None) -> str | None:
    """Return the comment of a view, or None if it is the comment that pgkeymgr writes without one of a user."""
    return None if comment is not None and comment.startswith("pgkeymgr: ") else comment


@dataclass(frozen=True)
class EncryptedColumn:
    """An encrypted column.

    Attributes:
        name: its name, in the view and in the base table. There, it takes plaintext, and is NULL afterwards.
        cipher_column: the column of the base table that holds the ciphertext.
        default: the expression that a row gets without a value, or None.
        blind_column: the column of the base table with the blind index, or None.
        blind_is_shown: whether the view has that column, too.
        normalization: the rule by which the blind index compares values: ``none``, ``casefold`` or ``digits``.
        terms_column: the column with the search terms of the values, or None.
        terms_is_shown: whether the view has that column, too.
        terms_kind: what they are for: ``text``, ``range`` or ``json``; None without terms.
        compound_column: the column with the hashes of the values of this column and others together, or None.
        compound_is_shown: whether the view has that column, too.
        compound_normalizations: the rule by which that index compares the values of each of its columns, in their
            order: ``none``, ``casefold`` or ``digits``. It is empty without such an index.
    """

    name: str
    cipher_column: str
    default: str | None = None
    blind_column: str | None = None
    blind_is_shown: bool = False
    normalization: str | None = None
    terms_column: str | None = None
    terms_is_shown: bool = False
    terms_kind: str | None = None
    compound_column: str | None = None
    compound_is_shown: bool = False
    compound_normalizations: Mapping[str, str] = field(default_factory=dict)

    @property
    def hidden_index_columns(self) -> frozenset[str]:
        """The columns of its blind indexes that the view does not have."""
        columns = (
            (self.blind_column, self.blind_is_shown),
            (self.terms_column, self.terms_is_shown),
            (self.compound_column, self.compound_is_shown),
        )
        return frozenset(column for column, is_shown in columns if column and not is_shown)


@dataclass(frozen=True)
class KeptConstraint:
    """A constraint about an encrypted column, which pgkeymgr sees to and pg_constraint does not have.

    Attributes:
        name: its name.
        kind: ``c`` for CHECK, ``u`` for UNIQUE.
        columns: the columns of the table that it mentions.
        definition: its text.
    """

    name: str
    kind: str
    columns: tuple[str, ...]
    definition: str


@dataclass(frozen=True)
class EncryptedTable:
    """A table with encrypted columns.

    Attributes:
        schema: the schema of the view.
        name: the name that applications use: that of the view.
        base_schema: the schema of the base table.
        base: the name of the base table.
        is_visible: whether the view is found by its name alone.
        extension_schema: the schema of pgkeymgr.
        definition: the query of the view.
        columns: the encrypted columns by their names.
        constraints: the constraints that the base table does not have as such, by their names.
    """

    schema: str
    name: str
    base_schema: str
    base: str
    is_visible: bool
    extension_schema: str
    definition: str
    columns: Mapping[str, EncryptedColumn] = field(default_factory=dict)
    constraints: Mapping[str, KeptConstraint] = field(default_factory=dict)

    def is_own_check(self, name: str, columns: Iterable[str]) -> bool:
        """Return whether a CHECK constraint of the base table is pgkeymgr's own."""
        mentioned = set(columns)
        ciphers = {column.cipher_column for column in self.columns.values()}
        return bool(mentioned) and (
            mentioned <= ciphers or (name.startswith("pgkeymgr_") and mentioned <= set(self.columns))
        )

    def plain_names(self, name: str, columns: Iterable[Any]) -> list[Any]:
        """Return the columns of the view that those of a constraint or an index of the base table stand for.

        Args:
            name: the name of the constraint or the index.
            columns: its columns in the base table; None for an expression.
        """
        kept = self.constraints.get(name)
        return list(kept.columns) if kept else [self._plain_name(column) for column in columns]

    def _plain_name(self, column: str | None) -> str | None:
        for each in self.columns.values():
            if column == each.cipher_column or column in each.hidden_index_columns:
                return each.name
        return column

    def conflict_column(self, column: str) -> str:
        """Return the column of the base table in whose unique index a conflict of a column is found."""
        encrypted = self.columns.get(column)
        return encrypted.blind_column if encrypted and encrypted.blind_column else column

    def value(self, column: str, row: str) -> str:
        """Return the SQL expression of an encrypted column's value in a row of the base table.

        Args:
            column: the encrypted column.
            row: the row's name in the statement, quoted if it must be, such as ``excluded``.

        Raises:
            ValueError: the definition of the view is not one of pgkeymgr's.
        """
        head, found, tail = self.definition.rpartition("\n   FROM ")
        if not found or not tail.endswith(" b;"):
            raise ValueError(f"the view {self.schema}.{self.name} is not as pgkeymgr makes it")
        return f"(SELECT v.{quote_name(column)} FROM ({head} FROM (SELECT {row}.*) AS b) AS v)"

    def assignments(self, column: str, value: str, target: str) -> dict[str, str]:
        """Return the assignment of an UPDATE of the base table that gives a column a value.

        A NULL in an encrypted column of the base table leaves its value as it is: the ciphertext becomes NULL.

        Args:
            column: a column of the view.
            value: an SQL expression.
            target: the name of the row that is updated.
        """
        encrypted = self.columns.get(column)
        if encrypted is None:
            return {column: value}
        kept = f"{target}.{quote_name(encrypted.cipher_column)}"
        # IS NOT NULL is false for a composite value whose fields are NULL.
        return {
            column: value,
            encrypted.cipher_column: f"CASE WHEN {value} IS DISTINCT FROM NULL THEN {kept} END",
        }

    def assignments_from(self, row: str, column: str, target: str) -> dict[str, str]:
        """Return the assignment of an UPDATE of the base table that gives a column the value of another row.

        Args:
            row: the name of a row of the base table: ``excluded``, say.
            column: a column of the view.
            target: the name of the row that is updated.
        """
        encrypted = self.columns.get(column)
        if encrypted is None:
            return {column: f"{row}.{quote_name(column)}"}
        cipher = quote_name(encrypted.cipher_column)
        return {
            column: self.value(column, row),
            encrypted.cipher_column: f"CASE WHEN {row}.{cipher} IS NOT NULL THEN {target}.{cipher} END",
        }


class EncryptedTables:
    """The tables with encrypted columns that the user of a session has privileges on."""

    def __init__(self, tables: Iterable[EncryptedTable] = ()) -> None:
        self._tables = tuple(tables)
        self._by_name = {(table.schema, table.name): table for table in self._tables}
        self._by_base = {(table.base_schema, table.base): table for table in self._tables}
        self._visible = {table.name: table for table in self._tables if table.is_visible}
        # The base table lies where the view does.
        self._visible_base = {table.base: table for table in self._tables if table.is_visible}

    def __iter__(self) -> Iterator[EncryptedTable]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    def find(self, name: str, schema: str | None = None) -> EncryptedTable | None:
        """Return the table that applications call so, if it has encrypted columns."""
        return self._visible.get(name) if schema is None else self._by_name.get((schema, name))

    def find_base(self, name: str, schema: str | None = None) -> EncryptedTable | None:
        """Return the table whose base table has a name."""
        return self._visible_base.get(name) if schema is None else self._by_base.get((schema, name))

    @classmethod
    def load(cls, query: Query) -> "EncryptedTables":
        """Read them from a database; there are none if it does not have the extension."""
        found = query(
            "SELECT pg_catalog.quote_ident(n.nspname), n.nspname::pg_catalog.text"
            " FROM pg_catalog.pg_extension AS e"
            " JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) e.extnamespace"
            " WHERE e.extname OPERATOR(pg_catalog.=) 'pgkeymgr'"
            " AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')"
        )
        if not found:
            return cls()
        ((quoted, schema),) = found
        return cls(
            EncryptedTable(
                schema=row[0],
                name=row[1],
                base_schema=row[2],
                base=row[3],
                is_visible=row[4],
                extension_schema=schema,
                definition=row[5],
                columns={name: _column(name, each) for name, each in _object(row[6]).items()},
                constraints={name: _constraint(name, each) for name, each in _object(row[7]).items()},
            )
            for row in query(
                "SELECT vn.nspname::pg_catalog.text, v.relname::pg_catalog.text, bn.nspname::pg_catalog.text,"
                " b.relname::pg_catalog.text, pg_catalog.pg_table_is_visible(v.oid), t.definition,"
                # As text: a driver may be set up to load JSON in its own way.
                " t.columns::pg_catalog.text, t.constraints::pg_catalog.text"
                f" FROM {quoted}.encrypted_tables AS t"
                " JOIN pg_catalog.pg_class AS v ON v.oid OPERATOR(pg_catalog.=) t.relation::pg_catalog.oid"
                " JOIN pg_catalog.pg_namespace AS vn ON vn.oid OPERATOR(pg_catalog.=) v.relnamespace"
                " JOIN pg_catalog.pg_class AS b ON b.oid OPERATOR(pg_catalog.=) t.base_relation::pg_catalog.oid"
                " JOIN pg_catalog.pg_namespace AS bn ON bn.oid OPERATOR(pg_catalog.=) b.relnamespace"
            )
        )


def _object(text: str | None) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(text) if text else {}
    return read


def _column(name: str, row: Mapping[str, Any]) -> EncryptedColumn:
    return EncryptedColumn(
        name=name,
        cipher_column=row["cipher_column"],
        default=row["column_default"],
        blind_column=row["blind_column"],
        blind_is_shown=row["blind_is_shown"],
        normalization=row["normalization"],
        # A column without terms has none of these.
        terms_column=row.get("terms_column"),
        terms_is_shown=row.get("terms_is_shown", False),
        terms_kind=row.get("terms_kind"),
        compound_column=row.get("compound_column"),
        compound_is_shown=row.get("compound_is_shown", False),
        compound_normalizations=dict(
            zip(row.get("compound_columns", ()), row.get("compound_normalizations", ()), strict=True)
        ),
    )


def _constraint(name: str, row: Mapping[str, Any]) -> KeptConstraint:
    return KeptConstraint(name=name, kind=row["kind"], columns=tuple(row["columns"]), definition=row["definition"])
