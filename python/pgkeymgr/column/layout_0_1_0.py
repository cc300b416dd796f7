"""Changes the layout that base tables have in version 0.1.0 into the present one. The ciphertexts do not change.

Version 0.1.0 dropped the plaintext column when all rows were encrypted. Guards, and not CHECK constraints, refused
new plaintext while there was still old plaintext. The view had an INSTEAD OF DELETE trigger.
"""

from ..errors import UnsupportedError
from .base_table import sealed_check
from .catalog import Table
from .encrypted_table import ColumnState, EncryptedColumn, EncryptedTable
from .quoting import new_name, quote_literal, quote_name
from .relations import Relations

VERSION = "0.1.0"

_GUARD = "zz_pgkeymgr_"
_DELETE_TRIGGER = "pgkeymgr_delete"
_REFUSALS_OF_NULL = ("23502", "23514")  # of domains with NOT NULL, and with a CHECK


class Layout:
    """The base tables of version 0.1.0, for one session."""

    def __init__(self, relations: Relations) -> None:
        self._relations = relations
        self._database = relations.database

    def change(self, table: EncryptedTable, base: Table, view: Table | None) -> None:
        """Change the layout of a base table and its view, both of which are locked.

        Args:
            table: the table as it is registered.
            base: its base table.
            view: its view, or None if there is none now.

        Raises:
            UnsupportedError: a column cannot have the present layout.
        """
        changes = []
        for column in table.encrypted.values():
            for event in ("insert", "update"):
                self._relations.run(
                    base,
                    f"DROP TRIGGER IF EXISTS {quote_name(f'{_GUARD}{event}_{column.id}')} ON {base.qualified}",
                )
            changes += self._check_of_tokens(base, column)
            if column.is_settled:
                changes += self._plaintext_column(base, column)
        self._relations.run(base, f"ALTER TABLE {base.qualified} {', '.join(changes)}")
        if view is not None:
            self._copy_comments(table, base, view)
            self._relations.run(base, f"DROP TRIGGER IF EXISTS {_DELETE_TRIGGER} ON {view.qualified}")
        function = f"{self._database.schema}._delete_{table.id}()"
        self._database.as_owner(lambda: self._database.run(f"DROP FUNCTION IF EXISTS {function} CASCADE"))

    def _copy_comments(self, table: EncryptedTable, base: Table, view: Table) -> None:
        """Give the columns that the base table has again the comments that the view has kept."""
        for column in table.encrypted.values():
            comment = view.column(column.name).comment
            if column.is_settled and comment is not None:
                target = f"{base.qualified}.{quote_name(column.name)}"
                self._relations.run(base, f"COMMENT ON COLUMN {target} IS {quote_literal(comment)}")

    def _check_of_tokens(self, base: Table, column: EncryptedColumn) -> list[str]:
        """Return the changes that replace the CHECK of the ciphertext column by the present one."""
        rows = self._database.query(
            "SELECT c.conname::text AS name FROM pg_constraint AS c JOIN pg_attribute AS a"
            " ON a.attrelid = c.conrelid AND a.attname = $2 AND c.conkey = ARRAY[a.attnum]"
            " WHERE c.conrelid = $1 AND c.contype = 'c' AND strpos(pg_get_constraintdef(c.oid), '~~') > 0"
            " ORDER BY 1 LIMIT 1",
            ("oid", base.oid),
            ("text", column.cipher),
        )
        function = "_is_deterministic_token" if column.deterministic else "_is_token"
        is_token = f"{self._database.schema}.{function}({quote_name(column.cipher)})"
        later = " NOT VALID" if column.state is ColumnState.MIGRATING else ""
        if rows:
            name = quote_name(rows[0]["name"])
            return [f"DROP CONSTRAINT {name}", f"ADD CONSTRAINT {name} CHECK ({is_token}){later}"]
        # The table's owner has dropped the CHECK.
        name = quote_name(new_name(column.cipher, "_check", self._relations.names_of_constraints(base)))
        return [f"ADD CONSTRAINT {name} CHECK ({is_token}){later}"]

    def _plaintext_column(self, base: Table, column: EncryptedColumn) -> list[str]:
        """Return the changes that give a base table its column back, which is NULL in each row."""
        if column.name in {each.name for each in base.columns}:
            raise UnsupportedError(
                f'{base} has a column "{column.name}" beside the encrypted column of that name',
                hint="Run ROLLBACK. Rename one of them, and then run ALTER EXTENSION UPDATE again.",
            )
        try:
            # The CHECK of a domain is code of its owner.
            self._relations.run(base, f"SELECT NULL::{column.sql_type}")
        except Exception as error:
            if getattr(error, "sqlstate", None) not in _REFUSALS_OF_NULL:
                raise
            raise UnsupportedError(
                f'cannot update column "{column.name}" of {base}: type {column.type} does not accept the '
                "NULL that the update stores in each row",
                hint="Run ROLLBACK. Call decrypt_column(), and then run ALTER EXTENSION UPDATE again.",
            ) from None
        collation = f" COLLATE {column.collation}" if column.collation else ""
        return [
            f"ADD COLUMN {quote_name(column.name)} {column.sql_type}{collation}",
            sealed_check(column),
        ]
