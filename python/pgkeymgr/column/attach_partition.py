"""Seals the rows of a plain table for the columns of a partitioned table, and attaches it.

The rows of a plain table hold plaintext, which no partition may have. So the table is first registered like a
detached partition, with the ids and keys of the partitioned table's columns. Then its values are migrated in
batches. Finally the table is attached. Each step skips the work that an earlier call has done.
"""

import re

from ..errors import ParameterError, UnsupportedError
from ..key.arguments import refuse_null
from .catalog import Column, Table
from .comments import Comments
from .dependent_objects import remedy
from .detached import DetachedPartitions, is_sealed_for, of_its_own
from .encrypt_column import EncryptColumn, Preparation
from .encrypted_table import ColumnState, EncryptedColumn, EncryptedTable
from .obstacles import Obstacle
from .operation import Operations
from .partitions import tree_of
from .quoting import new_name, quote_name
from .relations import Relations
from .view import Views
from .walk import SETTINGS, commit_first

_BOUND = re.compile(r"\s*(for\s+values\b|default\b)", re.IGNORECASE)


class AttachPartition:
    """Attaches plain tables to partitioned tables with encrypted columns, for one session."""

    def __init__(
        self,
        relations: Relations,
        views: Views,
        detached: DetachedPartitions,
        encrypt_column: EncryptColumn,
        operations: Operations,
    ) -> None:
        self._relations = relations
        self._views = views
        self._comments = Comments(relations)
        self._detached = detached
        self._encrypt_column = encrypt_column
        self._operations = operations
        self._database = relations.database
        self._registry = relations.registry

    def attach_encrypted_partition(self, relation: str, partition: str, bound: str, batch_size: int) -> None:
        """Encrypt the rows of a table for the columns of a partitioned table, and attach it.

        Args:
            relation: the partitioned table, its view, or a partition of it that is partitioned itself.
            partition: a plain table, or a detached partition.
            bound: the clause that follows the name of the table in ALTER TABLE ... ATTACH PARTITION.
            batch_size: the number of rows that are encrypted, and locked, at a time.

        Raises:
            DataError: an argument is NULL.
            ParameterError: the bound has another form.
            PrivilegeError: the current user does not own both tables, or may not use a key.
            UnsupportedError: it is called in a transaction; the tables differ; or something is in the way, all of
                which is named.
        """
        refuse_null(relation=relation, partition=partition, bound=bound, batch_size=batch_size)
        if not _BOUND.match(bound):
            raise ParameterError("bound must begin with FOR VALUES or DEFAULT")
        parent_oid, oid = self._relations.resolve(relation), self._relations.resolve(partition)
        commit_first(self._database)
        other = self._register(parent_oid, oid)
        self._database.commit()
        if other is None:
            return
        migrating = [name for name, column in other.encrypted.items() if column.state is ColumnState.MIGRATING]
        if migrating:
            self._operations.migrate_columns(str(other.base), migrating, batch_size)
        self._attach(parent_oid, other.base, bound)
        self._database.commit()

    def _parents(self, oid: int) -> tuple[EncryptedTable, Table, Table]:
        """Begin a transaction, and find a partitioned table.

        Returns:
            The registered table, its base table, and the table that gets the partition.
        """
        self._relations.set_local(SETTINGS)
        (row,) = self._database.query(
            "SELECT ARRAY(SELECT a.oid::oid FROM pg_partition_ancestors($1) AS a (oid))::bigint[] AS oids",
            ("oid", oid),
        )
        for each in [oid, *row["oids"]]:
            table = self._registry.find(each)
            if table is not None:
                break
        else:
            raise UnsupportedError(f"{self._relations.described(oid)} has no encrypted columns")
        self._relations.check_owner(table.base)
        base = self._relations.described(table.base)
        self._relations.check_base(table, base)
        parent = base if oid == table.relation else self._relations.described(oid)
        if parent.kind != "p":
            raise UnsupportedError(f"{parent} is not partitioned")
        return table, base, parent

    def _register(self, parent_oid: int, oid: int) -> EncryptedTable | None:
        """Register a table, or find it registered; return it, or None if it is attached."""
        table, base, _ = self._parents(parent_oid)
        other = self._registry.find(oid)
        if other is not None:
            self._relations.check_owner(other.base)
            partition = self._relations.described(other.base)
            if not is_sealed_for(table, other):
                raise of_its_own(base, partition)
            return other
        if oid in tree_of(self._database, base):
            return None
        partition = self._relations.lock(oid)
        prepared = self._prepare(table, base, partition)
        with self._relations.busy(oid):
            for each in prepared:
                self._add_columns(table, base, partition, each)
            name = new_name(partition.name, "_decrypted", self._relations.names_of_relations(partition.schema))
            other = self._registry.add_detached(table, oid, name, ColumnState.MIGRATING)
            self._detached.register(other, self._relations.described(oid))
        return other

    def _prepare(self, table: EncryptedTable, base: Table, partition: Table) -> list[Preparation]:
        """Find all obstacles to encrypting and attaching a table."""
        reasons = []
        if partition.kind in "rp":
            if partition.owner_oid != base.owner_oid:
                reasons.append(f'it belongs to another role than {base}, "{partition.owner}"')
            reasons += _differences(table, base, partition)
            reasons += self._missing_checks(table, base, partition)
        obstacles = [Obstacle(each) for each in reasons]
        prepared = []
        there = {column.name for column in partition.columns}
        for column in table.encrypted.values():
            if column.name in there or partition.kind not in "rp":
                each = self._encrypt_column.prepare(partition.oid, column.name, column.key_by, table.key_columns)
                prepared.append(each)
                obstacles += self._hindering(table, each)
        if obstacles:
            raise UnsupportedError(
                f"cannot attach {partition} to {base}: "
                + "; ".join(dict.fromkeys(each.reason for each in obstacles)),
                hint=remedy([each.before for each in obstacles], [each.after for each in obstacles]),
            )
        return prepared

    @staticmethod
    def _hindering(table: EncryptedTable, prepared: Preparation) -> list[Obstacle]:
        obstacles = prepared.hindering(drop_indexes=True)
        obstacles += [Obstacle(f"index {index.name} includes it", index.drop) for index in prepared.found.indexes]
        obstacles += [Obstacle(f"{one.name} reads it", one.drop) for one in prepared.objects if not one.obstacle]
        qualified = prepared.base.qualified
        names = {constraint.name for constraint in table.constraints if constraint.kind == "c"}
        obstacles += [
            Obstacle(
                f"{table.name} does not have constraint {check.name}",
                f"ALTER TABLE {qualified} DROP CONSTRAINT {quote_name(check.name)}",
            )
            for check in prepared.found.checks
            if check.name not in names
        ]
        uniques = {frozenset(constraint.columns) for constraint in table.constraints if constraint.kind == "u"}
        obstacles += [
            Obstacle(
                f"{table.name} does not have unique constraint {unique.name}",
                f"ALTER TABLE {qualified} DROP CONSTRAINT {quote_name(unique.name)}"
                if unique.is_constraint
                else "",
            )
            for unique in prepared.found.uniques
            if frozenset(unique.columns) not in uniques
        ]
        return obstacles

    def _missing_checks(self, table: EncryptedTable, base: Table, partition: Table) -> list[str]:
        """Return phrases for the CHECK constraints that PostgreSQL will ask for in the end."""
        own = [name for column in table.encrypted.values() for name in column.constraints]
        rows = self._database.query(
            "SELECT c.conname::text AS name FROM pg_constraint AS c WHERE c.conrelid = $1 AND c.contype = 'c'"
            " AND NOT c.connoinherit AND c.conname <> ALL ($2::text[]::name[]) AND NOT c.conkey && ARRAY("
            "  SELECT a.attnum FROM pg_attribute AS a WHERE a.attrelid = $1"
            "   AND a.attname = ANY ($3::text[]::name[]))"
            " AND NOT EXISTS (SELECT FROM pg_constraint AS o WHERE o.conrelid = $4 AND o.contype = 'c'"
            "  AND o.conname = c.conname) ORDER BY 1",
            ("oid", base.oid),
            ("text[]", own),
            ("text[]", [column.cipher for column in table.encrypted.values()]),
            ("oid", partition.oid),
        )
        return [f"it has no constraint {row['name']}" for row in rows]

    def _add_columns(self, table: EncryptedTable, base: Table, partition: Table, prepared: Preparation) -> None:
        column = table.encrypted[prepared.source.name]
        run = self._relations.run
        for check in prepared.found.checks:
            run(partition, f"ALTER TABLE {partition.qualified} DROP CONSTRAINT {quote_name(check.name)}")
        for unique in prepared.found.uniques:
            name = quote_name(unique.name)
            run(
                partition,
                f"ALTER TABLE {partition.qualified} DROP CONSTRAINT IF EXISTS {name}"
                if unique.is_constraint
                else f"DROP INDEX IF EXISTS {quote_name(partition.schema)}.{name}",
            )
        cipher, plain = quote_name(column.cipher), quote_name(column.name)
        changes = [
            f"ADD COLUMN {cipher} pg_catalog.bytea",
            f"ALTER COLUMN {cipher} SET STORAGE EXTERNAL",
            *self._checks_of(base, column),
            f"ALTER COLUMN {plain} DROP DEFAULT",
            f"ALTER COLUMN {plain} DROP NOT NULL",
        ]
        changes += [f"ADD COLUMN {quote_name(index.name)} {index.sql_type}" for index in column.indexes]
        run(partition, f"ALTER TABLE {partition.qualified} {', '.join(changes)}")
        self._comments.describe_ciphertext(partition, column)

    def _checks_of(self, base: Table, column: EncryptedColumn) -> list[str]:
        """Return the changes that add the CHECKs of a ciphertext column; migrate_column() validates them."""
        rows = self._database.query(
            "SELECT c.conname::text AS name, pg_get_expr(c.conbin, c.conrelid) AS expression"
            " FROM pg_constraint AS c WHERE c.conrelid = $1 AND c.contype = 'c'"
            " AND c.conname <> ALL ($2::text[]::name[]) AND c.conkey = ARRAY("
            "  SELECT a.attnum FROM pg_attribute AS a WHERE a.attrelid = $1 AND a.attname = $3) ORDER BY 1",
            ("oid", base.oid),
            ("text[]", list(column.constraints)),
            ("name", column.cipher),
        )
        return [f"ADD CONSTRAINT {quote_name(row['name'])} CHECK ({row['expression']}) NOT VALID" for row in rows]

    def _attach(self, parent_oid: int, oid: int, bound: str) -> None:
        table, base, parent = self._parents(parent_oid)
        self._relations.run(base, f"LOCK TABLE {parent.qualified} IN SHARE UPDATE EXCLUSIVE MODE")
        partition = self._relations.lock(oid)
        other = self._registry.find(oid)
        if other is None:  # another session has attached the table
            return
        with self._relations.busy(table.base), self._relations.busy(oid):
            for row in self._database.query(
                "SELECT c.conname::text AS name FROM pg_constraint AS c WHERE c.conrelid = $1 AND c.contype = 'c'"
                " AND NOT c.convalidated AND EXISTS (SELECT FROM pg_constraint AS p WHERE p.conrelid = $2"
                "  AND p.contype = 'c' AND p.conname = c.conname) ORDER BY 1",
                ("oid", oid),
                ("oid", base.oid),
            ):
                change = f"VALIDATE CONSTRAINT {quote_name(row['name'])}"
                self._relations.run(partition, f"ALTER TABLE {partition.qualified} {change}")
            self._detached.take_in(table, base, other, partition)
            self._relations.run(
                base, f"ALTER TABLE {parent.qualified} ATTACH PARTITION {partition.qualified} {bound}"
            )
            self._registry.note_partitions(table, set(tree_of(self._database, base)) - {base.oid})


def _differences(table: EncryptedTable, base: Table, partition: Table) -> list[str]:
    """Return in which columns a table differs from a partition of another one."""
    own = table.own_columns() - table.encrypted.keys()
    wanted = {column.name: column for column in base.columns if column.name not in own}
    there = {column.name: column for column in partition.columns}
    found = [f'it has no column "{name}"' for name in wanted if name not in there]
    found += [f'{base} has no column "{name}"' for name in there if name not in wanted]

    def differs(one: Column, other: Column) -> bool:
        return (one.sql_type, one.collation) != (other.sql_type, other.collation)

    for name in wanted.keys() & there.keys():
        if differs(wanted[name], there[name]):
            found.append(f'its column "{name}" is of type {there[name].type}, not {wanted[name].type}')
        if wanted[name].not_null and not there[name].not_null:
            found.append(f'its column "{name}" is not NOT NULL')
    return sorted(found)
