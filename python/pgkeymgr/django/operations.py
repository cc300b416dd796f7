"""SQL for tables with encrypted columns where it must name the base table."""

from collections.abc import Iterable, Sequence
from typing import Any

from django.db.backends.postgresql import operations
from django.db.models.constants import OnConflict

from .names import base_name, encrypted


class DatabaseOperations(operations.DatabaseOperations):
    """The operations of PostgreSQL's backend."""

    compiler_module = "pgkeymgr.django.compiler"

    def sql_flush(self, style: Any, tables: Iterable[str], **options: Any) -> list[str]:
        """Return the statements that empty tables: TRUNCATE does not take a view."""
        bases = [base_name(self.connection, table) for table in tables]
        statements: list[str] = super().sql_flush(style, bases, **options)
        return statements

    def sequence_reset_by_name_sql(self, style: Any, sequences: Iterable[dict[str, Any]]) -> list[str]:
        """Return the statements that start sequences again: a view has none."""
        statements: list[str] = super().sequence_reset_by_name_sql(
            style, [{**each, "table": base_name(self.connection, each["table"])} for each in sequences]
        )
        return statements

    def sequence_reset_sql(self, style: Any, model_list: Iterable[Any]) -> list[str]:
        """Return the statements that move the sequences of models behind the keys that are there."""
        statements = []
        for model in model_list:
            table = model._meta.db_table
            name = style.SQL_TABLE(self.quote_name(table))
            base = style.SQL_TABLE(self.quote_name(base_name(self.connection, table)))
            statements += [
                statement.replace(f"('{name}',", f"('{base}',")
                for statement in super().sequence_reset_sql(style, [model])
            ]
        return statements

    def on_conflict_suffix_sql(
        self,
        fields: Sequence[Any],
        on_conflict: OnConflict | None,
        update_fields: Iterable[str],
        unique_fields: Iterable[str],
    ) -> str:
        """Return the ON CONFLICT of an INSERT into the base table: the compiler sees to the rest."""
        first = fields[0] if fields else None
        table = encrypted(self.connection, first.model._meta.db_table) if first is not None else None
        if table is None or on_conflict != OnConflict.UPDATE:
            suffix: str = super().on_conflict_suffix_sql(fields, on_conflict, update_fields, unique_fields)
            return suffix
        target = self.quote_name(first.model._meta.db_table) if first is not None else ""
        changes: dict[str, str] = {}
        for column in update_fields:
            changes |= table.assignments_from("EXCLUDED", column, target)
        # The percent signs of a parameter's place are left to Django.
        assignments = ", ".join(
            f"{self.quote_name(column)} = {value.replace('%', '%%')}" for column, value in changes.items()
        )
        conflict = ", ".join(self.quote_name(table.conflict_column(column)) for column in unique_fields)
        return f"ON CONFLICT({conflict}) DO UPDATE SET {assignments}"
