"""The tables, as they would be without encryption."""

from collections.abc import Iterable
from typing import Any

from django.db.backends.postgresql import introspection

from ..adapter.tables import EncryptedTable, users_comment
from .names import base_name, encrypted, view_name


class DatabaseIntrospection(introspection.DatabaseIntrospection):
    """Views with encrypted columns are tables, and their base tables are not there."""

    def get_table_list(self, cursor: Any) -> list[Any]:
        """Return the tables and views that are found without naming a schema."""
        tables = self.connection.encrypted_tables
        return [
            info._replace(type="t", comment=users_comment(info.comment)) if tables.find(info.name) else info
            for info in super().get_table_list(cursor)
            if tables.find_base(info.name) is None
        ]

    def get_table_description(self, cursor: Any, table_name: str) -> list[Any]:
        """Return the columns, with NOT NULL and IDENTITY as the base table has them."""
        described: list[Any] = super().get_table_description(cursor, table_name)
        table = encrypted(self.connection, table_name)
        if table is None:
            return described
        base = {info.name: info for info in super().get_table_description(cursor, table.base)}
        columns = []
        for info in described:
            column = table.columns.get(info.name)
            stored = base[column.cipher_column if column else info.name]
            changes = {"null_ok": stored.null_ok, "is_autofield": stored.is_autofield}
            if column is None:
                changes["default"] = stored.default
            columns.append(info._replace(**changes))
        return columns

    def get_sequences(self, cursor: Any, table_name: str, table_fields: Iterable[Any] = ()) -> list[Any]:
        """Return the sequences of the columns of a table."""
        return [
            {**sequence, "table": table_name}
            for sequence in super().get_sequences(cursor, base_name(self.connection, table_name), table_fields)
        ]

    def get_relations(self, cursor: Any, table_name: str) -> dict[str, tuple[str, str]]:
        """Return the foreign keys of a table: for each column, the other table's column, and that table."""
        relations = super().get_relations(cursor, base_name(self.connection, table_name))
        return {
            column: (other_column, view_name(self.connection, other_table))
            for column, (other_column, other_table) in relations.items()
        }

    def get_constraints(self, cursor: Any, table_name: str) -> dict[str, dict[str, Any]]:
        """Return the constraints and indexes of a table, without those that are pgkeymgr's own."""
        found: dict[str, dict[str, Any]] = super().get_constraints(cursor, base_name(self.connection, table_name))
        for constraint in found.values():
            if constraint["foreign_key"]:
                other_table, other_column = constraint["foreign_key"]
                constraint["foreign_key"] = (view_name(self.connection, other_table), other_column)
        table = encrypted(self.connection, table_name)
        return found if table is None else _as_without_encryption(table, found)


def _as_without_encryption(table: EncryptedTable, found: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    constraints = {}
    for name, constraint in found.items():
        if constraint["check"] and table.is_own_check(name, constraint["columns"]):
            continue
        constraints[name] = {**constraint, "columns": table.plain_names(name, constraint["columns"])}
    for name, kept in table.constraints.items():
        # A UNIQUE that was an index before is one in the base table, too.
        if kept.kind == "c" or kept.definition.startswith("UNIQUE"):
            constraints[name] = {
                "columns": list(kept.columns),
                "primary_key": False,
                "unique": kept.kind == "u",
                "foreign_key": None,
                "check": kept.kind == "c",
                "index": False,
                "definition": None,
                "options": None,
            }
    return constraints
