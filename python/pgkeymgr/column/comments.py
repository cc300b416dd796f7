"""The comments of base tables, of their views and of ciphertext columns."""

from functools import partial

from .catalog import Table
from .encrypted_table import EncryptedColumn, EncryptedTable
from .quoting import quote_literal, quote_name
from .relations import Relations

_OWN = "pgkeymgr: "
"""The beginning of the comments that describe a base table and its view, where the user's table has no comment."""

# Without names, which can change.
_ON_BASE = f"{_OWN}the base table of a view with encrypted columns; see encrypted_columns"
_ON_VIEW = f"{_OWN}a view with encrypted columns of a base table; see encrypted_columns"
_ON_CIPHER = f"{_OWN}the ciphertext of an encrypted column"


class Comments:
    """The comments of encrypted tables, for one session."""

    def __init__(self, relations: Relations) -> None:
        self._relations = relations
        self._database = relations.database

    def copy(self, table: EncryptedTable, base: Table, qualified: str) -> None:
        """Give a new view the comments of its base table, and both of them a description where there is none.

        Args:
            table: the table as it is registered.
            base: its base table.
            qualified: the qualified name of the view.
        """
        run = partial(self._relations.run, base)

        def write(kind: str, name: str, present: str | None, wanted: str) -> None:
            # Parallel sessions of pg_restore would update the same comment at once.
            if present != wanted:
                run(f"COMMENT ON {kind} {name} IS {quote_literal(wanted)}")

        (row,) = self._database.query(
            "SELECT obj_description($1, 'pg_class') AS comment,"
            " obj_description(to_regclass($2), 'pg_class') AS of_view",
            ("oid", base.oid),
            ("text", qualified),
        )
        if row["comment"] is not None and not row["comment"].startswith(_OWN):
            write("VIEW", qualified, row["of_view"], row["comment"])
        else:
            write("TABLE", base.qualified, row["comment"], _ON_BASE)
            write("VIEW", qualified, row["of_view"], _ON_VIEW)
        found = self._database.query(
            "SELECT attname::text AS name, col_description(attrelid, attnum) AS comment FROM pg_attribute"
            " WHERE attrelid = to_regclass($1)",
            ("text", qualified),
        )
        present = {row["name"]: row["comment"] for row in found}
        for column in base.columns:
            if column.comment is not None and column.name in table.columns:
                target = f"{qualified}.{quote_name(column.name)}"
                write("COLUMN", target, present.get(column.name), column.comment)

    def follow(self, table: EncryptedTable, *, is_of_view: bool) -> None:
        """Give the base table a comment that its view or a column of it has got, or the view that of a column.

        Args:
            table: the table as it is registered, with a view.
            is_of_view: whether the view has got the comment.
        """
        base = self._relations.described(table.base)
        view = self._relations.described(table.relation)
        target = base if is_of_view else view
        other = {column.name: column.comment for column in (view if is_of_view else base).columns}
        for column in target.columns:
            if column.name in other and column.comment != other[column.name]:
                name = f"COLUMN {target.qualified}.{quote_name(column.name)}"
                self._relations.run(base, f"COMMENT ON {name} IS {_literal(other[column.name])}")
        (row,) = self._database.query("SELECT obj_description($1, 'pg_class') AS comment", ("oid", view.oid))
        comment = row["comment"]
        if is_of_view and not (comment or "").startswith(_OWN):
            self._relations.run(base, f"COMMENT ON TABLE {base.qualified} IS {_literal(comment)}")

    def describe(self, table: EncryptedTable) -> None:
        """Give a base table, its view and its ciphertext columns their comments, where they have none."""
        base = self._relations.described(table.base)
        view = self._relations.described(table.relation)
        run = partial(self._relations.run, base)
        (row,) = self._database.query(
            "SELECT obj_description($1, 'pg_class') IS NULL"
            " AND obj_description($2, 'pg_class') IS NULL AS are_none",
            ("oid", base.oid),
            ("oid", view.oid),
        )
        if row["are_none"]:
            run(f"COMMENT ON TABLE {base.qualified} IS {quote_literal(_ON_BASE)}")
            run(f"COMMENT ON VIEW {view.qualified} IS {quote_literal(_ON_VIEW)}")
        for column in table.encrypted.values():
            if base.column(column.cipher).comment is None:
                self.describe_ciphertext(base, column)

    def describe_ciphertext(self, base: Table, column: EncryptedColumn) -> None:
        """Give a ciphertext column its comment."""
        target = f"{base.qualified}.{quote_name(column.cipher)}"
        self._relations.run(base, f"COMMENT ON COLUMN {target} IS {quote_literal(_ON_CIPHER)}")

    def take(self, table: EncryptedTable, base: Table) -> None:
        """Give a base table the comment of its view, which is about to be dropped."""
        (row,) = self._database.query("SELECT obj_description($1, 'pg_class') AS comment", ("oid", table.relation))
        comment = row["comment"]
        is_users = comment is not None and not comment.startswith(_OWN)
        self._relations.run(
            base, f"COMMENT ON TABLE {base.qualified} IS {_literal(comment if is_users else None)}"
        )


def _literal(comment: str | None) -> str:
    return "NULL" if comment is None else quote_literal(comment)
