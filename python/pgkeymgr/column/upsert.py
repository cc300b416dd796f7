"""INSERT ... ON CONFLICT for tables with encrypted columns."""

from collections.abc import Sequence

from ..errors import ParameterError, UndefinedColumnError
from .catalog import Table
from .definition import Definition
from .forms import form_of
from .quoting import quote_name
from .registry import EncryptedTable
from .relations import Relations, without_values

_UNIQUE_VIOLATION = "23505"
_ATTEMPTS = 100
_EQUAL = "OPERATOR(pg_catalog.=)"


class Upserts:
    """Rows inserted or updated, for one session."""

    def __init__(self, relations: Relations) -> None:
        self._relations = relations
        self._database = relations.database

    def upsert(
        self, relation: str, new_row: str, conflict_columns: Sequence[str] | None, on_conflict: str
    ) -> bool:
        """Insert a row, or update the one that it is in conflict with.

        Args:
            relation: the view of a table with encrypted columns, or the base table.
            new_row: a JSON object: columns and their values. Columns that it does not have keep their values in an
                update, and get their defaults in an insert.
            conflict_columns: a row that is equal in these is updated; None for the primary key.
            on_conflict: ``update`` or ``nothing``.

        Returns:
            Whether the row was inserted.

        Raises:
            ParameterError: an argument is out of range.
            UndefinedColumnError: there is no such column, or the row lacks a column of the conflict.
            UndefinedError: the relation has no encrypted columns.
        """
        if relation is None:
            raise ParameterError("relation must not be NULL")
        given = self._keys_of(new_row)
        if on_conflict not in ("update", "nothing"):
            raise ParameterError("on_conflict must be update or nothing")
        table = self._relations.encrypted_table(relation)
        conflict = list(conflict_columns) if conflict_columns is not None else table.key_columns
        if not conflict:
            raise ParameterError(f"{table.name} has no primary key: name the columns of the conflict")
        view = self._database.as_owner(lambda: self._relations.described(table.relation))
        columns = {column.name for column in view.columns}
        for name in (*given, *conflict):
            if name not in columns:
                raise UndefinedColumnError(f'{table.name} has no column "{name}"')
            if name not in given:
                raise UndefinedColumnError(f'column "{name}" of the conflict is not in new_row')
        conditions = " AND ".join(
            self._database.as_owner(lambda: [self._equal(table, view, each) for each in conflict])
        )
        source = f"pg_catalog.jsonb_populate_record(NULL::{view.qualified}, $1) AS new"
        find = f"SELECT FROM {view.qualified} AS target, {source} WHERE {conditions}"
        others = ", ".join(
            f"{quote_name(name)} = new.{quote_name(name)}" for name in given if name not in conflict
        )
        names = ", ".join(map(quote_name, given))
        update = f"UPDATE {view.qualified} AS target SET {others} FROM {source} WHERE {conditions}"
        insert = f"INSERT INTO {view.qualified} ({names}) SELECT {names} FROM {source}"
        with without_values("new_row has a value that is not valid for the type of its column"):
            return self._write(update if on_conflict == "update" and others else find, insert, find, new_row)

    def _write(self, update: str, insert: str, find: str, new_row: str) -> bool:
        row = ("jsonb", new_row)
        for _ in range(_ATTEMPTS):
            if self._database.write(update, row):
                return False
            try:
                self._database.write(insert, row)
                return True
            except Exception as error:
                # Inserted by another session in between, and then found; or in conflict with another column.
                is_found = getattr(error, "sqlstate", None) == _UNIQUE_VIOLATION and self._database.write(
                    find, row
                )
                if not is_found:
                    raise
        # There it is, and a trigger or a policy keeps it from being updated, as it would in ON CONFLICT DO UPDATE.
        return False

    @staticmethod
    def _keys_of(new_row: str) -> list[str]:
        import json

        row = None if new_row is None else json.loads(new_row)
        if not isinstance(row, dict):
            raise ParameterError("new_row must be a JSON object")
        if not row:
            raise ParameterError("new_row has no columns")
        return list(row)

    def _equal(self, table: EncryptedTable, view: Table, column_name: str) -> str:
        # The blind index, if there is one that takes equal values for equal.
        name = quote_name(column_name)
        column = table.encrypted.get(column_name)
        if column is None or not column.blind or not table.key_columns:
            form = form_of(self._database, view.column(column_name).type_oid)
            is_builtin = form is not None and form.base != ""
            return f"target.{name} {_EQUAL if is_builtin else '='} new.{name}"
        base = self._relations.described(table.base)
        definition = Definition(table, base, self._database.schema)
        same_key = " AND ".join(
            f"b.{quote_name(key)} {_EQUAL} target.{quote_name(key)}" for key in table.key_columns
        )
        return (
            f"EXISTS (SELECT FROM {base.qualified} AS b WHERE {same_key} AND b.{quote_name(column.blind)} {_EQUAL}"
            f" {definition.blinded(column, f'new.{name}')})"
        )
