"""INSERT … ON CONFLICT into the base table of a table with encrypted columns."""

from typing import Any

from django.db.backends.postgresql import compiler
from django.db.backends.postgresql.compiler import (
    SQLAggregateCompiler,
    SQLCompiler,
    SQLDeleteCompiler,
    SQLUpdateCompiler,
)
from django.db.models.expressions import DatabaseDefault

from .names import base_name, encrypted

__all__ = [
    "SQLAggregateCompiler",
    "SQLCompiler",
    "SQLDeleteCompiler",
    "SQLInsertCompiler",
    "SQLUpdateCompiler",
]


class SQLInsertCompiler(compiler.SQLInsertCompiler):
    """An INSERT with ON CONFLICT goes to the base table, whose triggers encrypt the values."""

    def as_sql(self) -> list[tuple[str, Any]]:
        """Return the statements, with the base table under the name of the view."""
        statements: list[tuple[str, Any]] = super().as_sql()
        name = self.query.get_meta().db_table
        if not self._is_for_base:
            return statements
        quote = self.connection.ops.quote_name
        view = quote(name)
        # As an alias, a name has no schema.
        alias = quote(name.strip('"').rpartition('"."')[2])
        into = f"INSERT INTO {quote(base_name(self.connection, name))} AS {alias} ("
        return [
            (into + sql.removeprefix(f"INSERT INTO {view} (").replace(f"{view}.", f"{alias}."), parameters)
            for sql, parameters in statements
        ]

    @property
    def _is_for_base(self) -> bool:
        return (
            self.query.on_conflict is not None
            and encrypted(self.connection, self.query.get_meta().db_table) is not None
        )

    def field_as_sql(self, field: Any, get_placeholder: Any, val: Any) -> Any:
        """Return a value: the default of an encrypted column is the view's, not the base table's."""
        if field is not None and isinstance(val, DatabaseDefault) and self._is_for_base:
            table = encrypted(self.connection, self.query.get_meta().db_table)
            column = table.columns.get(field.column) if table else None
            if column is not None:
                return (column.default or "NULL").replace("%", "%%"), []
        return super().field_as_sql(field, get_placeholder, val)
