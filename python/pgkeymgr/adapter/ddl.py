"""DDL that a framework writes for a table, as it must be for the base table of an encrypted one.

The statements are those that frameworks generate. Their names may be quoted, and may have a schema.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .tables import EncryptedTable, EncryptedTables, quote_literal, quote_name

Find = Callable[[str], EncryptedTable | None]
"""Returns the encrypted table that a name in a statement stands for, or None."""

_PART = r'(?:"(?:[^"]|"")+"|[A-Za-z_][\w$]*)'
_NAME = rf"{_PART}(?:\.{_PART})?"
_ALTER = re.compile(rf"((?:^|; )\s*ALTER TABLE (?:IF EXISTS )?(?:ONLY )?)({_NAME})(\s.*)", re.DOTALL)
_NAMED = re.compile(
    rf"((?:^\s*CREATE (?:UNIQUE )?INDEX [^(]* ON (?:ONLY )?"
    rf"|^\s*CREATE (?:OR REPLACE )?(?:CONSTRAINT )?TRIGGER {_PART} (?:BEFORE|AFTER) [^;]*? ON "
    rf"|^\s*DROP TRIGGER (?:IF EXISTS )?{_PART} ON "
    rf"|\bREFERENCES ))({_NAME})"
)
_DROP = re.compile(rf"^(\s*DROP TABLE (?:IF EXISTS )?)({_NAME})\s*(?:CASCADE)?\s*$")
_COMMENT = re.compile(rf"^\s*COMMENT ON TABLE ({_NAME}) ")
_OF_THE_VIEW = re.compile(r"\s+RENAME (?!CONSTRAINT\b)")
_DEFAULT = re.compile(rf"\s+ALTER COLUMN ({_PART}) (?:SET|DROP) DEFAULT\b")
_NOT_NULL = re.compile(rf"(ALTER COLUMN )({_PART})( (?:SET|DROP) NOT NULL\b)")
_OF_A_VIEW_COLUMN = re.compile(rf"\s+(?:ALTER COLUMN {_PART} (?:SET DATA )?TYPE |DROP COLUMN ({_PART}))")


def unquoted(name: str) -> str:
    """Return the name that a part of a name in SQL stands for."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()


def finder(tables: EncryptedTables) -> Find:
    """Return a function that finds tables by their names in statements."""

    def find(name: str) -> EncryptedTable | None:
        parts = [unquoted(part) for part in re.findall(_PART, name)]
        return tables.find(parts[-1], parts[0] if len(parts) > 1 else None)

    return find


def base_of(table: EncryptedTable) -> str:
    """Return the name of the base table, as SQL has it."""
    return f"{quote_name(table.base_schema)}.{quote_name(table.base)}"


def view_of(table: EncryptedTable) -> str:
    """Return the name of the view, as SQL has it."""
    return f"{quote_name(table.schema)}.{quote_name(table.name)}"


def on_base(statement: str, find: Find) -> str:
    """Return a statement with the names of base tables where PostgreSQL wants a table."""
    if comment := _COMMENT.match(statement):
        return statement.replace("TABLE", "VIEW", 1) if find(comment.group(1)) else statement
    if drop := _DROP.match(statement):
        table = find(drop.group(2))
        return f"{drop.group(1)}{base_of(table)} CASCADE" if table else statement

    def named(match: re.Match[str]) -> str:
        table = find(match.group(2))
        return match.group(1) + base_of(table) if table else match.group(0)

    def altered(match: re.Match[str]) -> str:
        start, name, action = match.groups()
        table = find(name)
        default = _DEFAULT.match(action)
        if (
            table is None
            or _OF_THE_VIEW.match(action)
            # The default of an encrypted column is the view's.
            or (default and unquoted(default.group(1)) in table.columns)
        ):
            return match.group(0)
        return start + base_of(table) + _NOT_NULL.sub(lambda found: _of_cipher(table, found), action)

    return _ALTER.sub(altered, _NAMED.sub(named, statement))


def _of_cipher(table: EncryptedTable, found: re.Match[str]) -> str:
    # The column for plaintext is NULL: the ciphertext is not.
    column = table.columns.get(unquoted(found.group(2)))
    return found.group(0) if column is None else f"{found[1]}{quote_name(column.cipher_column)}{found[3]}"


@dataclass(frozen=True)
class WithoutView:
    """The statements around a statement on a base table that PostgreSQL runs only without the view.

    Attributes:
        table: the table.
        dropped: the column that the statement drops, or None.
    """

    table: EncryptedTable
    dropped: str | None

    @property
    def comments_query(self) -> str:
        """A query of the comments of the view, which go with it: columns, or NULL, and texts."""
        return (
            "SELECT a.attname::text, d.description FROM pg_catalog.pg_description AS d"
            " LEFT JOIN pg_catalog.pg_attribute AS a"
            " ON a.attrelid = d.objoid AND a.attnum = d.objsubid AND a.attnum > 0"
            " WHERE d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass"
            f" AND d.objoid = {quote_literal(view_of(self.table))}::pg_catalog.regclass"
        )

    @property
    def before(self) -> str:
        """The statement that takes the view away."""
        return f"DROP VIEW {view_of(self.table)}"

    def after(self, comments: Mapping[str | None, str]) -> list[str]:
        """Return the statements that bring the view back, with its comments."""
        function = f"{quote_name(self.table.extension_schema)}.refresh_encrypted_view"
        statements = [f"SELECT {function}({quote_literal(base_of(self.table))}::pg_catalog.regclass)"]
        for column, comment in comments.items():
            if column is None:
                statements.append(f"COMMENT ON VIEW {view_of(self.table)} IS {quote_literal(comment)}")
            elif column != self.dropped:
                name = f"{view_of(self.table)}.{quote_name(column)}"
                statements.append(f"COMMENT ON COLUMN {name} IS {quote_literal(comment)}")
        return statements


def without_view(statement: str, find: Find) -> WithoutView | None:
    """Return the steps around a statement that alters the type of a column of a view, or drops a plain column.

    PostgreSQL refuses the first, and drops such a column only together with the view.
    """
    match = _ALTER.match(statement)
    action = _OF_A_VIEW_COLUMN.match(match.group(3)) if match else None
    table = find(match.group(2)) if match and action else None
    if table is None or action is None:
        return None
    dropped = unquoted(action.group(1)) if action.group(1) else None
    # pgkeymgr itself decides whether an encrypted column can be dropped.
    return None if dropped in table.columns else WithoutView(table, dropped)


PLAIN_INDEXES = (
    "SELECT i.indexrelid::pg_catalog.regclass::pg_catalog.text FROM pg_catalog.pg_index AS i"
    " JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
    " WHERE i.indrelid = {table}::pg_catalog.regclass AND a.attname = {column}"
    " AND i.indnatts = 1 AND NOT i.indisunique AND i.indpred IS NULL"
)
"""A query of the indexes on a column alone that are not unique, with which it cannot be encrypted."""
