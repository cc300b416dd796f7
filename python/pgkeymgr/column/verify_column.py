"""Whether the values of an encrypted column open."""

from ..errors import DataError
from .definition import Definition
from .quoting import quote_name
from .relations import Relations

PROBLEMS_MAX = 10_000


class VerifyColumn:
    """The verification of encrypted columns, for one session."""

    def __init__(self, relations: Relations) -> None:
        self._relations = relations
        self._database = relations.database

    def verify_column(self, relation: str, column_name: str) -> list[tuple[str, str]]:
        """Open every value of a column, and tell which ones do not.

        Args:
            relation: the view, or the base table.
            column_name: an encrypted column.

        Returns:
            For each value that does not open, which row it is in and what is wrong with it; at most PROBLEMS_MAX.

        Raises:
            UndefinedError: the column is not encrypted.
            PrivilegeError: the current user may not decrypt with a key that a value needs.
        """
        if column_name is None:
            raise DataError("column_name must not be NULL")
        table, column = self._relations.encrypted_column(relation, column_name)
        base = self._relations.described(table.base)
        definition = Definition(table, base, self._database.schema)
        keys = [f"b.{quote_name(name)}" for name in table.key_columns]
        row_key = f"pg_catalog.concat_ws(', ', {', '.join(keys)})" if keys else "b.ctid::pg_catalog.text"
        cipher = f"b.{quote_name(column.cipher)}"
        rows = self._database.run(
            "SELECT v.row_key, v.problem FROM ("
            f"SELECT {row_key} AS row_key, {self._database.schema}._problem({cipher},"
            f" {definition.place(column, 'b')}, {column.family}) AS problem FROM ONLY {base.qualified} AS b"
            f" WHERE {cipher} IS NOT NULL OFFSET 0) AS v WHERE v.problem IS NOT NULL LIMIT {PROBLEMS_MAX}"
        )
        return [(row["row_key"], row["problem"]) for row in rows]
