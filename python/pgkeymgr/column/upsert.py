"""INSERT ... ON CONFLICT for tables with encrypted columns."""

from collections.abc import Sequence

from ..errors import ParameterError, UndefinedColumnError
from .catalog import Table
from .definition import Definition
from .encrypted_table import EncryptedTable
from .forms import form_of
from .quoting import quote_name
from .relations import Relations
from .server_errors import without_values

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
    ) -> list[bool]:
        """Insert rows, or update those that they are in conflict with.

        Args:
            relation: the view of a table with encrypted columns, or the base table.
            new_row: a JSON object of columns and their values, or an array of objects. Columns that an object does
                not have keep their values in an update, and get their defaults in an insert.
            conflict_columns: a row that is equal in these is updated; None for the primary key.
            on_conflict: ``update`` or ``nothing``.

        Returns:
            For each object, in their order, whether its row was inserted.

        Raises:
            ParameterError: an argument is out of range.
            UndefinedColumnError: there is no such column, or a row lacks a column of the conflict.
            UndefinedError: the relation has no encrypted columns.
        """
        if relation is None:
            raise ParameterError("relation must not be NULL")
        rows = self._rows_of(new_row)
        if on_conflict not in ("update", "nothing"):
            raise ParameterError("on_conflict must be update or nothing")
        table = self._relations.encrypted_table(relation)
        conflict = list(conflict_columns) if conflict_columns is not None else table.key_columns
        if any(not isinstance(name, str) for name in conflict):
            raise ParameterError("conflict_columns must be a list of names without NULL")
        if not conflict:
            raise ParameterError(f"{table.name} has no primary key: name the columns of the conflict")
        view = self._database.as_owner(lambda: self._relations.described(table.relation))
        columns = {column.name for column in view.columns}
        for name in (*dict.fromkeys(name for _, given in rows for name in given), *conflict):
            if name not in columns:
                raise UndefinedColumnError(f'{table.name} has no column "{name}"')
        for name in conflict:
            if any(name not in given for _, given in rows):
                raise UndefinedColumnError(f'column "{name}" of the conflict is not in new_row')
        conditions = " AND ".join(
            self._database.as_owner(lambda: [self._equal(table, view, each) for each in conflict])
        )
        source = f"pg_catalog.jsonb_populate_record(NULL::{view.qualified}, $1) AS new"
        find = f"SELECT FROM {view.qualified} AS target, {source} WHERE {conditions}"
        inserted = []
        with without_values("new_row has a value that is not valid for the type of its column"):
            for row, given in rows:
                others = ", ".join(
                    f"{quote_name(name)} = new.{quote_name(name)}" for name in given if name not in conflict
                )
                names = ", ".join(map(quote_name, given))
                update = f"UPDATE {view.qualified} AS target SET {others} FROM {source} WHERE {conditions}"
                insert = f"INSERT INTO {view.qualified} ({names}) SELECT {names} FROM {source}"
                changes = on_conflict == "update" and others
                inserted.append(self._write(update if changes else find, insert, find, row))
        return inserted

    def _write(self, update: str, insert: str, find: str, new_row: str) -> bool:
        row = ("jsonb", new_row)
        for _ in range(_ATTEMPTS):
            if self._database.write(update, row):
                return False
            try:
                self._database.write(insert, row)
                return True
            except Exception as error:
                # Another session has inserted the row in between, and then it is found. Otherwise, the conflict is
                # on another column.
                is_found = getattr(error, "sqlstate", None) == _UNIQUE_VIOLATION and self._database.write(
                    find, row
                )
                if not is_found:
                    raise
        # The row exists, and a trigger or a policy keeps it from being updated, as in ON CONFLICT DO UPDATE.
        return False

    def _rows_of(self, new_row: str) -> list[tuple[str, list[str]]]:
        """Return the JSON text of each row, and the names of its columns."""
        import json

        rows = [new_row]
        if new_row is not None and new_row.lstrip().startswith("["):
            # PostgreSQL takes the array apart: Python would change numbers.
            found = self._database.query(
                "SELECT e.value::pg_catalog.text AS text FROM pg_catalog.jsonb_array_elements($1) AS e",
                ("jsonb", new_row),
            )
            rows = [row["text"] for row in found]
        # Only the names are used. As an integer, Python would refuse a number of some thousand digits.
        given = [(row, None if row is None else json.loads(row, parse_int=str, parse_float=str)) for row in rows]
        for _, columns in given:
            if not isinstance(columns, dict):
                raise ParameterError("new_row must be a JSON object or an array of objects")
            if not columns:
                raise ParameterError("new_row has no columns")
        return [(row, list(columns)) for row, columns in given]

    def _equal(self, table: EncryptedTable, view: Table, column_name: str) -> str:
        # Compare the blind index, if equal values have equal blind indexes.
        name = quote_name(column_name)
        column = table.encrypted.get(column_name)
        index = column.equality if column is not None else None
        if (
            column is None
            or index is None
            or not index.is_filled
            or column.blind_bits is not None
            or not table.key_columns
        ):
            form = form_of(self._database, view.column(column_name).type_oid)
            is_builtin = form is not None and form.base != ""
            return f"target.{name} {_EQUAL if is_builtin else '='} new.{name}"
        base = self._relations.described(table.base)
        definition = Definition(table, base, self._database.schema)
        same_key = " AND ".join(
            f"b.{quote_name(key)} {_EQUAL} target.{quote_name(key)}" for key in table.key_columns
        )
        return (
            f"EXISTS (SELECT FROM {base.qualified} AS b WHERE {same_key} AND b.{quote_name(index.name)} {_EQUAL}"
            f" {definition.indexed(column, index, f'new.{name}')})"
        )
