"""Whether the values of an encrypted column open, and their blind indexes are theirs."""

from ..errors import DataError, PrivilegeError
from ..key.table import KeyTable
from .catalog import Table
from .definition import Definition
from .quoting import new_name, quote_name
from .registry import EncryptedColumn, EncryptedTable
from .relations import Relations, without_values

PROBLEMS_MAX = 10_000
_WRONG_INDEX = "blind index does not match its value"


class VerifyColumn:
    """The verification of encrypted columns, for one session.

    It reads with the rights of the table's owner, since what is in a table can be the owner's code; what the
    caller may read, and with which key, is checked before.
    """

    def __init__(self, relations: Relations, keys: KeyTable) -> None:
        self._relations = relations
        self._keys = keys
        self._database = relations.database

    def verify_column(self, relation: str, column_name: str) -> list[tuple[str, str]]:
        """Open every value of a column, and compare its blind index with it.

        Args:
            relation: the view, or the base table.
            column_name: an encrypted column.

        Returns:
            For each value that does not open, or has another blind index than is its own, which row it is in and
            what is wrong with it; at most PROBLEMS_MAX.

        Raises:
            UndefinedError: the column is not encrypted.
            PrivilegeError: the current user may not read the table, or may not decrypt with the column's key; or
                its owner may not.
            UnsupportedError: the base table is not what pgkeymgr made of it.
        """
        table, column, base = self._find(relation, column_name)
        record = self._keys.find(column.key)
        record.check_usage(encrypt=False)
        self._relations.check_owners_key(self._keys, base, column, ("decrypt",))
        definition = Definition(table, base, self._database.schema)
        keys = [f"b.{quote_name(name)}" for name in table.key_columns]
        row_key = f"pg_catalog.concat_ws(', ', {', '.join(keys)})" if keys else "b.ctid::pg_catalog.text"
        cipher = f"b.{quote_name(column.cipher)}"
        problem = (
            f"CASE WHEN {cipher} IS NOT NULL THEN {self._database.schema}._problem({cipher},"
            f" {definition.place(column, 'b')}, {column.family}) END"
        )
        taken = {each.name for each in base.columns}
        names = [quote_name(new_name(name, "", taken)) for name in ("pgkeymgr_row_key", "pgkeymgr_problem")]
        condition, verdict = f"b.{names[1]} IS NOT NULL", f"b.{names[1]}"
        rows = f"{cipher} IS NOT NULL"
        if column.blind:
            blind = f"b.{quote_name(column.blind)}"
            # Of a value that does not open, there is none to be compared.
            condition = (
                f"CASE WHEN b.{names[1]} IS NOT NULL THEN true"
                f" ELSE {blind} IS DISTINCT FROM {definition.blinded(column, definition.read(column, 'b'))} END"
            )
            verdict = f"coalesce(b.{names[1]}, '{_WRONG_INDEX}')"
            rows += f" OR {blind} IS NOT NULL"
        with without_values(f'a value of column "{column.name}" of {table.name} is none of type {column.type}'):
            found = self._relations.run(
                base,
                f"SELECT b.{names[0]} AS row_key, {verdict} AS problem FROM (SELECT b.*, {row_key} AS {names[0]},"
                f" {problem} AS {names[1]} FROM {base.only} AS b WHERE {rows} OFFSET 0) AS b"
                f" WHERE {condition} LIMIT {PROBLEMS_MAX}",
            )
        return [(row["row_key"], row["problem"]) for row in found]

    def _count_values(self, relation: str, column_name: str) -> int:
        """Return how many values an encrypted column has; see ``verify_column``."""
        _, column, base = self._find(relation, column_name)
        (row,) = self._relations.run(
            base, f"SELECT count(b.{quote_name(column.cipher)}) AS count FROM {base.only} AS b"
        )
        return int(row["count"])

    def _find(self, relation: str, column_name: str) -> tuple[EncryptedTable, EncryptedColumn, Table]:
        if column_name is None:
            raise DataError("column_name must not be NULL")
        table, column = self._relations.encrypted_column(relation, column_name)
        base = self._relations.described(table.base)
        self._relations.check_base(table, base)
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
        return table, column, base
