"""Verifies that the values of an encrypted column can be decrypted, and that their blind indexes match."""

from ..errors import PrivilegeError
from ..key.arguments import refuse_null
from ..key.table import KeyTable
from .catalog import Table
from .definition import Definition
from .encrypted_table import BlindIndex, EncryptedColumn, EncryptedTable
from .kept_functions import KeptFunctions
from .quoting import new_name, quote_name
from .relations import Relations
from .server_errors import without_values

PROBLEMS_MAX = 10_000
_WRONG_INDEX = "blind index does not match its value"


def _keyless(base: Table) -> str:
    """Return the expression for the place of a row without a key; two partitions can have the same ctid."""
    if base.kind != "p":
        return "b.ctid::pg_catalog.text"
    return "pg_catalog.concat_ws(' ', b.tableoid::pg_catalog.regclass, b.ctid)"


def _problem(definition: Definition, column: EncryptedColumn) -> str:
    """Return the expression for the reason why the ciphertext of a row ``b`` does not open, or NULL."""
    cipher = f"b.{quote_name(column.cipher)}"
    return (
        f"CASE WHEN {cipher} IS NOT NULL THEN {definition.schema}._problem({cipher},"
        f" {definition.place(column, 'b')}, {column.family}) END"
    )


def _compared_with(table: EncryptedTable, column: EncryptedColumn) -> list[EncryptedColumn]:
    """Return the other columns whose values are in a compound index with those of a column."""
    return [
        part for _, parts in table.compound_indexes() if column in parts for part in parts if part is not column
    ]


class VerifyColumn:
    """The verification of encrypted columns, for one session.

    The verification reads with the rights of the table's owner, since a table can hold code of its owner. Before
    that, it checks that the caller may read the table and use the key.
    """

    def __init__(self, relations: Relations, keys: KeyTable) -> None:
        self._relations = relations
        self._keys = keys
        self._database = relations.database

    def verify_column(self, relation: str, column_name: str) -> list[tuple[str, str]]:
        """Decrypt every value of a column, and compare the value with its blind index.

        Args:
            relation: the view, or the base table.
            column_name: an encrypted column.

        Returns:
            The row and the fault of each value that does not open, or whose blind index is not its own; at most
            PROBLEMS_MAX.

        Raises:
            UndefinedError: the column is not encrypted.
            PrivilegeError: the current user may not read the table, or may not decrypt with the column's key, or
                with that of another column of a compound blind index with it; or its owner may not; or the current
                user could change what a value calls.
            UnsupportedError: the base table is not what pgkeymgr made of it.
        """
        table, column, base = self._find(relation, column_name)
        record = self._keys.find_current(column.family)
        record.check_usage(encrypt=False)
        self._relations.check_owners_key(self._keys, base, column, ("decrypt",))
        others = _compared_with(table, column)
        for part in others:
            self._keys.find_current(part.family).check_usage(encrypt=False)
            self._relations.check_owners_key(self._keys, base, part, ("decrypt",))
        read = {*table.key_columns, column.name, *(part.name for part in others)}
        types = [each.type_oid for each in base.columns if each.name in read]
        KeptFunctions(self._database).check_values(types, base)
        definition = Definition(table, base, self._database.schema)
        keys = [f"b.{quote_name(name)}" for name in table.key_columns]
        row_key = f"pg_catalog.concat_ws(', ', {', '.join(keys)})" if keys else _keyless(base)
        cipher = f"b.{quote_name(column.cipher)}"
        problem = _problem(definition, column)
        taken = {each.name for each in base.columns}
        names = [quote_name(new_name(name, "", taken)) for name in ("pgkeymgr_row_key", "pgkeymgr_problem")]
        condition, verdict = f"b.{names[1]} IS NOT NULL", f"b.{names[1]}"
        rows = f"{cipher} IS NOT NULL"
        wrong = []
        for index in column.own_indexes:
            blind = f"b.{quote_name(index.name)}"
            # While the blind index is being built, rows can lack a value in it.
            differs = "IS DISTINCT FROM" if index.is_filled else "OPERATOR(pg_catalog.<>)"
            wrong.append(f"{blind} {differs} {definition.index_value(column, index, 'b')}")
            rows += f" OR {blind} IS NOT NULL"
        for index, parts in table.compound_indexes():
            if column in parts:
                wrong.append(self._compound_differs(definition, index, parts, column))
                rows += f" OR b.{quote_name(index.name)} IS NOT NULL"
        if wrong:
            # A value that does not open cannot be compared with its blind indexes.
            condition = f"CASE WHEN b.{names[1]} IS NOT NULL THEN true ELSE {' OR '.join(wrong)} END"
            verdict = f"coalesce(b.{names[1]}, '{_WRONG_INDEX}')"
        with without_values(
            f'a value of column "{column.name}" of {table.name} is not valid for type {column.type}'
        ):
            found = self._relations.run(
                base,
                f"SELECT b.{names[0]} AS row_key, {verdict} AS problem FROM (SELECT b.*, {row_key} AS {names[0]},"
                f" {problem} AS {names[1]} FROM {base.only} AS b WHERE {rows} OFFSET 0) AS b"
                f" WHERE {condition} LIMIT {PROBLEMS_MAX}",
            )
        return [(row["row_key"], row["problem"]) for row in found]

    @staticmethod
    def _compound_differs(
        definition: Definition, index: BlindIndex, parts: list[EncryptedColumn], column: EncryptedColumn
    ) -> str:
        """Return the condition that a row has another value in a compound index than is its own.

        It does not hold where a value of another column does not open: that is said of that column.
        """
        others = [f"{_problem(definition, part)} IS NOT NULL" for part in parts if part is not column]
        differs = "IS DISTINCT FROM" if index.is_filled else "OPERATOR(pg_catalog.<>)"
        value = definition.index_value(parts[0], index, "b")
        wrong = f"b.{quote_name(index.name)} {differs} {value}"
        return f"CASE WHEN {' OR '.join(others)} THEN false ELSE {wrong} END"

    def _count_values(self, relation: str, column_name: str) -> int:
        """Return how many values an encrypted column has; see ``verify_column``."""
        _, column, base = self._find(relation, column_name)
        (row,) = self._relations.run(
            base, f"SELECT count(b.{quote_name(column.cipher)}) AS count FROM {base.only} AS b"
        )
        return int(row["count"])

    def _find(self, relation: str, column_name: str) -> tuple[EncryptedTable, EncryptedColumn, Table]:
        refuse_null(column_name=column_name)
        _, _, base = self._described(relation, column_name)
        (row,) = self._database.query(
            "SELECT has_table_privilege($1, 'SELECT') AS may_read, row_security_active($1) AS is_bound",
            ("oid", base.oid),
        )
        if not row["may_read"]:
            raise PrivilegeError(f"permission denied for table {base}")
        if row["is_bound"] and self._database.user() != base.owner_oid:
            raise PrivilegeError(
                f"row-level security hides rows of {base}, which verify_column() would name",
                hint="Call it as the owner of the table, or as a role that bypasses row-level security.",
            )
        # Another session may have changed the columns during the wait for this lock.
        self._relations.run(base, f"SELECT FROM {base.only} LIMIT 0")
        return self._described(str(base.oid), column_name)

    def _described(self, relation: str, column_name: str) -> tuple[EncryptedTable, EncryptedColumn, Table]:
        table, column = self._relations.encrypted_column(relation, column_name)
        base = self._relations.described(table.base)
        self._relations.check_base(table, base)
        return table, column, base
