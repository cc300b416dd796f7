"""What ``upsert`` needs to know of a table with encrypted columns."""

from .definition import Definition
from .quoting import quote_name
from .relations import Relations


class Upserts:
    """The columns that rows are looked for by, for one session."""

    def __init__(self, relations: Relations) -> None:
        self._relations = relations

    def _key_columns(self, relation: str) -> list[str]:
        """Return the columns that tell the rows of a table apart.

        Args:
            relation: the view, or the base table.

        Returns:
            Their names; none if there is no key.

        Raises:
            UndefinedError: the relation has no encrypted columns.
        """
        return self._relations.encrypted_table(relation).key_columns

    def _equal_column(self, relation: str, column_name: str) -> str:
        """Return the condition that a column is equal in the rows ``target`` and ``new``.

        Args:
            relation: the view, or the base table.
            column_name: a column of the view.

        Returns:
            The condition, which uses the blind index where there is one that takes equal values for equal.

        Raises:
            UndefinedError: the relation has no encrypted columns.
        """
        table = self._relations.encrypted_table(relation)
        name = quote_name(column_name)
        column = table.encrypted.get(column_name)
        if column is None or not column.blind or not table.key_columns:
            return f"target.{name} = new.{name}"
        base = self._relations.described(table.base)
        definition = Definition(table, base, self._relations.database.schema)
        keys = [quote_name(key) for key in table.key_columns]
        return (
            f"({', '.join(f'target.{key}' for key in keys)}) IN (SELECT {', '.join(f'b.{key}' for key in keys)}"
            f" FROM {base.qualified} AS b WHERE b.{quote_name(column.blind)} ="
            f" {definition.blinded(column, f'new.{name}')})"
        )
