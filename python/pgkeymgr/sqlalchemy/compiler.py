"""INSERT ... ON CONFLICT into the base table of a table with encrypted columns."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import exc, literal_column
from sqlalchemy.dialects.postgresql.dml import OnConflictClause
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.sql import coercions, elements, roles
from sqlalchemy.sql.selectable import Alias

from ..adapter.tables import EncryptedTable, EncryptedTables, quote_name

_Base: Any = PGDialect_psycopg.statement_compiler


class Compiler(_Base):
    """An INSERT with ON CONFLICT goes to the base table, under the name of the view.

    Triggers encrypt the values that it writes. The view's own expression stands where the statement reads an
    encrypted column, of the row that is there or of the row that was to be inserted.
    """

    _upserted: EncryptedTable | None = None
    """The table of the INSERT that is being compiled, if it goes to the base table."""
    _reads_rows = False
    """Whether columns that are compiled are those of rows, not the names in INSERT."""

    def _encrypted(self, table: Any) -> EncryptedTable | None:
        tables: EncryptedTables | None = getattr(self.dialect, "encrypted_tables", None)
        return tables.find(table.name, table.schema) if tables and hasattr(table, "schema") else None

    def visit_insert(self, insert_stmt: Any, *arguments: Any, **kw: Any) -> str:
        """Compile an INSERT."""
        clause = insert_stmt._post_values_clause
        table = self._encrypted(insert_stmt.table) if isinstance(clause, OnConflictClause) else None
        if table is None:
            plain: str = super().visit_insert(insert_stmt, *arguments, **kw)
            return plain
        outer, self._upserted = self._upserted, table
        try:
            text: str = super().visit_insert(self._with_defaults(insert_stmt, table), *arguments, **kw)
        finally:
            self._upserted = outer
        name = self.preparer.format_table(insert_stmt.table)
        base = f"{quote_name(table.base_schema)}.{quote_name(table.base)}"
        into = f"INSERT INTO {self._escaped(base)} AS {self.preparer.quote(table.name)} "
        return text.replace(f"INSERT INTO {name} ", into, 1)

    def _with_defaults(self, insert_stmt: Any, table: EncryptedTable) -> Any:
        # The default of an encrypted column is the view's: the base table takes NULL.
        given = {*(self.column_keys or ()), *_names(insert_stmt._values), *(insert_stmt._select_names or ())}
        for row in (each for rows in insert_stmt._multi_values for each in rows):
            given |= set(_names(row)) if isinstance(row, dict) else {c.key for c in insert_stmt.table.c}
        for encrypted in table.columns.values():
            column = next((c for c in insert_stmt.table.c if c.name == encrypted.name), None)
            key = encrypted.name if column is None else column.key
            if encrypted.default is None or key in given or (column is not None and column.default is not None):
                continue
            if column is None or insert_stmt._multi_values or insert_stmt._select_names:
                raise exc.CompileError(
                    f'the encrypted column "{encrypted.name}" of "{table.name}" has a default: give it a value in'
                    " INSERT ... ON CONFLICT"
                )
            insert_stmt = insert_stmt.values({column: literal_column(encrypted.default)})
        return insert_stmt

    def _escaped(self, text: str) -> str:
        return text.replace("%", "%%") if self.preparer._double_percents else text

    @contextmanager
    def _reading(self) -> Iterator[None]:
        outer, self._reads_rows = self._reads_rows, True
        try:
            yield
        finally:
            self._reads_rows = outer

    def visit_column(self, column: Any, *arguments: Any, **kw: Any) -> str:
        """Compile a column: an encrypted one of a row of the base table is decrypted."""
        # A row of RETURNING finds its columns by what this call keeps, with any text for the column.
        text: str = super().visit_column(column, *arguments, **kw)
        if self._upserted is not None and self._reads_rows and column.name in self._upserted.columns:
            row = self._row(column.table)
            if row is not None:
                return self._escaped(self._upserted.value(column.name, row))
        return text

    def _row(self, table: Any) -> str | None:
        assert self._upserted is not None
        if isinstance(table, Alias) and table.name == "excluded":
            return "excluded"
        inserted = self.stack[-1]["selectable"].table if self.stack else None
        # A mapped class has a copy of its table.
        is_inserted = inserted is not None and getattr(table, "fullname", None) == inserted.fullname
        return self.preparer.quote(self._upserted.name) if is_inserted else None

    def returning_clause(self, stmt: Any, *arguments: Any, **kw: Any) -> str:
        """Compile RETURNING."""
        with self._reading():
            text: str = super().returning_clause(stmt, *arguments, **kw)
        return text

    def _on_conflict_target(self, clause: Any, **kw: Any) -> str:
        table = self._upserted
        if table is None or clause.inferred_target_whereclause is not None:
            text: str = super()._on_conflict_target(clause, **kw)
            return text
        kept = table.constraints.get(str(clause.constraint_target))
        if kept is not None and kept.kind == "u":
            # It is an index on blind indexes there.
            return f"({', '.join(quote_name(table.conflict_column(each)) for each in kept.columns)})"
        if clause.inferred_target_elements is None:
            text = super()._on_conflict_target(clause, **kw)
            return text
        elements = []
        for each in clause.inferred_target_elements:
            name = each if isinstance(each, str) else getattr(each, "name", None)
            if name is not None and name in table.columns:
                elements.append(self._escaped(quote_name(table.conflict_column(name))))
            elif isinstance(each, str):
                elements.append(self.preparer.quote(each))
            else:
                elements.append(self.process(each, include_table=False, use_schema=False))
        return f"({', '.join(elements)})"

    def visit_on_conflict_do_update(self, on_conflict: Any, **kw: Any) -> str:
        """Compile DO UPDATE: an encrypted column is set together with its ciphertext."""
        table = self._upserted
        if table is None:
            text: str = super().visit_on_conflict_do_update(on_conflict, **kw)
            return text
        columns = self.stack[-1]["selectable"].table.c
        target = self.preparer.quote(table.name)
        changes: dict[str, str] = {}
        with self._reading():
            for key, value in dict(on_conflict.update_values_to_set).items():
                column = columns.get(key) if isinstance(key, str) else key
                name = key if column is None else column.name
                changes |= self._assignments(name, column, value, target, kw)
            where = ""
            if on_conflict.update_whereclause is not None:
                condition = self.process(
                    on_conflict.update_whereclause, **{**kw, "include_table": True, "use_schema": False}
                )
                where = f" WHERE {condition}"
        assignments = ", ".join(f"{self._escaped(quote_name(name))} = {text}" for name, text in changes.items())
        return f"ON CONFLICT {self._on_conflict_target(on_conflict, **kw)} DO UPDATE SET {assignments}{where}"

    def _assignments(self, name: str, column: Any, value: Any, target: str, kw: Any) -> dict[str, str]:
        assert self._upserted is not None
        value = coercions.expect(roles.ExpressionElementRole, value)
        if column is not None and isinstance(value, elements.BindParameter) and value.type._isnull:
            value = value._with_binary_element_type(column.type)
        from_excluded = (
            isinstance(value, elements.ColumnClause)
            and self._row(value.table) == "excluded"
            and value.name in self._upserted.columns
        )
        if from_excluded and value.name == name:
            found = self._upserted.assignments_from("excluded", name, target)
            return {each: self._escaped(text) for each, text in found.items()}
        text = self.process(value.self_group(), is_upsert_set=True, **{**kw, "use_schema": False})
        return self._upserted.assignments(name, text, target)


def _names(values: Any) -> list[str]:
    return [each if isinstance(each, str) else each.key for each in values or ()]
