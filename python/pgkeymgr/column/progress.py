"""The operations that run on encrypted columns, and how far each of them has come."""

from collections.abc import Mapping
from typing import Any

from ..key.database import Database
from .encrypted_table import EncryptedColumn


class Progress:
    """The progress of the operations of a database; every method runs with the rights of the extension's owner."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def lock(self, column_id: int) -> None:
        """Wait for others that begin or end an operation on a column."""
        # The user's own DDL locks the column's row in ``encrypted_column`` while it holds the table.
        # A standby cannot plan a query of an unlogged table. INSERT gets the error of all writes there.
        self._write(
            "INSERT INTO {s}.column_turn (column_id) VALUES ($1) ON CONFLICT DO NOTHING",
            ("integer", column_id),
        )
        self._write("SELECT FROM {s}.column_turn WHERE column_id = $1 FOR UPDATE", ("integer", column_id))

    def operation(self, column: EncryptedColumn) -> str | None:
        """Return the operation on a column, whose row is locked until the transaction ends, or None."""
        rows = self._write(
            "SELECT operation FROM {s}.column_operation WHERE column_id = $1 FOR UPDATE",
            ("integer", column.id),
        )
        return rows[0]["operation"] if rows else None

    def start(self, column: EncryptedColumn, operation: str, totals: Mapping[int, int]) -> None:
        """Note that an operation has begun on a column, in place of any other one.

        Args:
            column: the column.
            operation: its name.
            totals: the number of rows that need it, by the OID of the leaf that has them.
        """
        self.end(column)
        self._write(
            "INSERT INTO {s}.column_operation (column_id, operation, rows_total) VALUES ($1, $2, $3)",
            ("integer", column.id),
            ("text", operation),
            ("bigint", sum(totals.values())),
        )
        for leaf, total in totals.items():
            self._write(
                "INSERT INTO {s}.operation_leaf (column_id, leaf, rows_total) VALUES ($1, $2, $3)",
                ("integer", column.id),
                ("oid", leaf),
                ("bigint", total),
            )

    def next_leaf(self, column_ids: list[int], leaves: list[int]) -> tuple[int, int] | None:
        """Return where an operation on several columns goes on.

        Args:
            column_ids: the ids of the columns.
            leaves: the OIDs of the tables that have the rows, in their order.

        Returns:
            The OID of the first leaf that is not done for all the columns, and the next block in it; or None if
            all leaves are done.
        """
        rows = self._write(
            "SELECT n.leaf::bigint AS leaf, min(coalesce(o.position_block, 0)) AS block"
            " FROM unnest($1) WITH ORDINALITY AS n (leaf, number) CROSS JOIN unnest($2) AS c (id)"
            " LEFT JOIN {s}.operation_leaf AS o ON o.leaf = n.leaf AND o.column_id = c.id"
            " WHERE o.is_done IS NOT TRUE GROUP BY n.leaf, n.number ORDER BY n.number LIMIT 1",
            ("oid[]", leaves),
            ("integer[]", column_ids),
        )
        return (rows[0]["leaf"], rows[0]["block"]) if rows else None

    def rows_total(self, column_ids: list[int], leaf: int) -> int:
        """Return how many rows of a leaf needed the operations on some columns when these began, at least."""
        (row,) = self._write(
            "SELECT coalesce(max(rows_total), 0) AS total FROM {s}.operation_leaf"
            " WHERE column_id = ANY ($1) AND leaf = $2",
            ("integer[]", column_ids),
            ("oid", leaf),
        )
        return int(row["total"])

    def advance(self, column_id: int, leaf: int, block: int | None, rows: int, seconds: float) -> None:
        """Note how far an operation has come.

        Args:
            column_id: the id of the column.
            leaf: the OID of the table that has the rows.
            block: the next block: no row before it needs the operation. None if no row of the leaf needs it.
            rows: the number of rows that were done since the last call.
            seconds: the time that those rows took.
        """
        self._write(
            # Another call, for other columns too, may have come further.
            "INSERT INTO {s}.operation_leaf AS o (column_id, leaf, position_block, is_done, rows_done)"
            " VALUES ($1, $2, coalesce($3, 0), $3 IS NULL, $4)"
            " ON CONFLICT (column_id, leaf) DO UPDATE SET is_done = o.is_done OR excluded.is_done,"
            " position_block = greatest(o.position_block, excluded.position_block),"
            " rows_done = o.rows_done + excluded.rows_done",
            ("integer", column_id),
            ("oid", leaf),
            ("bigint", block),
            ("bigint", rows),
        )
        self._write(
            "UPDATE {s}.column_operation SET rows_done = rows_done + $2,"
            " seconds = seconds + $3 WHERE column_id = $1",
            ("integer", column_id),
            ("bigint", rows),
            ("double precision", seconds),
        )

    def restart_leaf(self, column_id: int, leaf: int) -> None:
        """Note that a leaf must be gone through from its first block again."""
        self._write(
            "UPDATE {s}.operation_leaf SET position_block = 0, is_done = false WHERE column_id = $1 AND leaf = $2",
            ("integer", column_id),
            ("oid", leaf),
        )

    def end(self, column: EncryptedColumn) -> None:
        """Note that the operation on a column has ended."""
        for table in ("operation_leaf", "column_operation"):
            self._write(f"DELETE FROM {{s}}.{table} WHERE column_id = $1", ("integer", column.id))

    def _write(self, query: str, *arguments: tuple[str, Any]) -> list[dict[str, Any]]:
        return self._database.as_owner(lambda: self._database.execute(query, *arguments))
