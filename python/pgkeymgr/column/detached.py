"""Follows the attached and detached partitions of tables with encrypted columns.

A detached partition keeps its rows, whose values are bound to the column of the partitioned table. So it is
registered as a table of its own with the same columns, ids and keys: its values can be read through a view, and
``destroy_data_key`` finds that they need the key. A partition that is attached again is removed from the registry.
"""

from ..errors import UnsupportedError
from .catalog import Table, describe
from .comments import Comments
from .encrypted_table import EncryptedTable
from .partitions import tree_of
from .quoting import new_name, quote_literal, quote_name
from .relations import Relations
from .view import Views

_SUFFIX = "_decrypted"


class DetachedPartitions:
    """The partitions that come and go, for one session."""

    def __init__(self, relations: Relations, views: Views) -> None:
        self._relations = relations
        self._views = views
        self._comments = Comments(relations)
        self._database = relations.database
        self._registry = relations.registry

    def follow(self, table: EncryptedTable, base: Table, *, is_altered: bool) -> bool:
        """Find the partitions that have come and gone since the last DDL on a table.

        Args:
            table: the table as it is registered.
            base: its base table.
            is_altered: whether the DDL was an ALTER TABLE, which can attach a table that has rows.

        Returns:
            Whether partitions have come or gone.

        Raises:
            UnsupportedError: a table was attached whose rows are not sealed for this one.
        """
        if base.kind != "p":
            return False
        before, now = self._registry.partitions(table), set(tree_of(self._database, base)) - {base.oid}
        if before == now:
            return False
        for oid in self._roots(now - before):
            partition = self._relations.described(oid)
            other = self._registry.find(oid)
            if other is not None:
                self.take_in(table, base, other, partition)
            elif is_altered and self._is_new(oid):
                self._refuse_rows(table, base, partition)
        self._registry.note_partitions(table, now)
        for oid in sorted(before - now):
            gone = describe(self._database, oid)
            if gone is not None and not self._is_partition(oid) and self._registry.find(oid) is None:
                self._let_out(table, gone)
        return True

    def note_first(self, table: EncryptedTable) -> None:
        """Note the partitions of a table of which none are noted, as in a restored database."""
        base = describe(self._database, table.base)
        if base is not None and base.kind == "p" and not self._registry.partitions(table):
            self._registry.note_partitions(table, set(tree_of(self._database, base)) - {base.oid})

    def _roots(self, oids: set[int]) -> list[int]:
        """Return those of some tables that are partitions of none of them."""
        rows = self._database.query(
            "SELECT inhrelid::bigint AS oid FROM pg_inherits WHERE inhrelid = ANY ($1) AND inhparent <> ALL ($1)"
            " ORDER BY 1",
            ("oid[]", sorted(oids)),
        )
        return [row["oid"] for row in rows]

    def _is_partition(self, oid: int) -> bool:
        return bool(self._database.query("SELECT FROM pg_class WHERE oid = $1 AND relispartition", ("oid", oid)))

    def _is_new(self, oid: int) -> bool:
        """Return whether a table may have become a partition in this transaction."""
        rows = self._database.query(
            "SELECT FROM pg_inherits WHERE inhrelid = $1 AND age(xmin) <= age(pg_current_xact_id()::xid)",
            ("oid", oid),
        )
        return bool(rows)

    def _refuse_rows(self, table: EncryptedTable, base: Table, partition: Table) -> None:
        # Tools attach an empty table that CREATE TABLE ... (LIKE ...) has made. A table of another role is refused
        # only later, and its policies are not to run as the owner of the base table.
        with self._relations.owners_rights(partition, all_rows=True):
            if not self._database.run(f"SELECT FROM {partition.qualified} LIMIT 1"):
                return
        (row,) = self._database.query(
            "SELECT pg_get_expr(c.relpartbound, c.oid) AS bound, i.inhparent::regclass::text AS parent"
            " FROM pg_class AS c JOIN pg_inherits AS i ON i.inhrelid = c.oid WHERE c.oid = $1",
            ("oid", partition.oid),
        )
        raise UnsupportedError(
            f"cannot attach {partition} to {base}: its rows are not encrypted for {table.name}",
            hint=self.recipe(row["parent"], str(partition), row["bound"]),
        )

    def recipe(self, parent: str, partition: str, bound: str) -> str:
        """Return the hint with the call that attaches a table with rows."""
        arguments = ", ".join(map(quote_literal, (parent, partition, bound)))
        return (
            f"CALL {self._database.schema}.attach_encrypted_partition({arguments}) encrypts its rows in batches,"
            " and attaches it."
        )

    def take_in(self, table: EncryptedTable, base: Table, other: EncryptedTable, partition: Table) -> None:
        """Remove a table from the registry after it has become a partition of another one.

        Args:
            table: the table that it is a partition of, as it is registered.
            base: its base table.
            other: the partition as it is registered.
            partition: the partition.

        Raises:
            UnsupportedError: its values are not sealed for the table.
        """
        if not is_sealed_for(table, other):
            raise of_its_own(base, partition)
        lax = [name for name, column in other.encrypted.items() if not column.is_settled]
        if any(table.encrypted[name].is_settled for name in lax):
            raise UnsupportedError(
                f'cannot attach {partition} to {base}: column "{lax[0]}" of {other.name} is '
                f"{other.encrypted[lax[0]].state}"
            )
        for name, column in other.encrypted.items():
            if table.encrypted[name].is_indexed and not column.is_indexed:
                raise UnsupportedError(
                    f'cannot attach {partition} to {base}: the blind index of column "{name}" of {other.name} is '
                    "being built",
                    hint="Call build_blind_index() for it first.",
                )
        run = self._relations.run
        with self._relations.busy(partition.oid):
            if (view := self._views.described(other)) is not None:
                self._comments.take(other, partition)
                run(partition, f"DROP VIEW {view.qualified}")
            self._views.drop_sealing_triggers(other, partition)
            there = self._relations.names_of_constraints(base)
            for column in table.encrypted.values():
                for name in self._relations.names_of_constraints(partition) & set(column.constraints) - there:
                    # The table is not migrated yet, or is being decrypted.
                    run(partition, f"ALTER TABLE {partition.qualified} DROP CONSTRAINT {quote_name(name)}")
            for column in list(other.encrypted.values()):
                self._registry.remove_column(other, column)
            self._registry.remove_table(other)
            self._views.drop_functions(other)

    def _let_out(self, table: EncryptedTable, base: Table) -> None:
        """Register a table that has ceased to be a partition, and give it a view."""
        name = new_name(base.name, _SUFFIX, self._relations.names_of_relations(base.schema))
        other = self.register(self._registry.add_detached(table, base.oid, name), base)
        if other.relation == other.base:
            self._database.warn(
                f"partition {base} is detached, and its owner may create no view in schema {base.schema}",
                f"refresh_encrypted_view({quote_literal(str(base))}) makes the view that decrypts it.",
            )
            return
        view = self._relations.described(other.relation)
        self._database.notice(f"partition {base} is detached: view {view} decrypts its values")

    def register(self, other: EncryptedTable, base: Table) -> EncryptedTable:
        """Give a table that ``Registry.add_detached`` has registered its triggers and its view.

        Args:
            other: the table as it is registered.
            base: the table.
        """
        self._views.note_made(other)
        with self._relations.busy(base.oid):
            if self._relations.may_create(base, base.schema) or not self._relations.is_following:
                self._views.write(other)
                self._views.follow_privileges(other)
            else:
                self._views.write_triggers_of_base(other, base)
        if base.kind == "p":
            self._registry.note_partitions(other, set(tree_of(self._database, base)) - {base.oid})
        return other


def of_its_own(base: Table, partition: Table) -> UnsupportedError:
    """Return the error for a table that was encrypted by itself."""
    return UnsupportedError(
        f"cannot attach {partition} to {base}: the values of its own encrypted columns could not be decrypted "
        "there",
        hint="Call decrypt_column() for each of them, and then attach_encrypted_partition().",
    )


def is_sealed_for(table: EncryptedTable, other: EncryptedTable) -> bool:
    """Return whether the values of a table open in another one, and their blind indexes match."""

    def what(one: EncryptedTable) -> object:
        columns = {
            name: (
                each.uuid,
                each.cipher,
                each.family,
                each.key_by,
                each.deterministic,
                [(index.kind, index.name, index.key, index.options, index.with_columns) for index in each.indexes],
            )
            for name, each in one.encrypted.items()
        }
        return columns, one.key_columns, one.key_encodings

    return what(table) == what(other)
