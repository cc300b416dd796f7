"""A dry run of ``encrypt_column``: lists obstacles, dependent objects, leaks and the expected time."""

import json
from collections.abc import Iterator

from ..errors import Error
from ..key.arguments import refuse_null
from ..key.shared_names import valid_name
from .blind_index import leak_of_uniques
from .catalog import Table
from .compression import check_compression
from .dependent_objects import MATERIALIZED_VIEW, DependentObjects
from .derived_plaintext import derived_plaintext
from .encrypt_column import EncryptColumn, Preparation
from .encrypted_table import NONE
from .partitions import has_foreign_partition
from .partman import partman_update
from .privileges import readers_and_writers
from .quoting import quote_literal
from .relations import Relations
from .server_errors import is_intervention

Row = tuple[str, str, str, str | None]
"""The kind of a finding, its object, a phrase, and a statement."""

OBSTACLE, DEPENDENT, INDEX, CONSTRAINT, GRANT, LEAK, KEY, TIME, TOOL = (
    "obstacle", "dependent", "index", "constraint", "grant", "leak", "key", "time", "tool",
)  # fmt: skip

_MIGRATE_SECONDS = 40e-6
_BLIND_SECONDS = 50e-6
"""For each row, measured with values of 27 characters on one core of the machine of docs/performance.md."""

_FEW = 10_000  # rows, which are counted


class PlanEncryptColumn:
    """Dry runs, for one session."""

    def __init__(self, relations: Relations, encrypt_column: EncryptColumn) -> None:
        self._relations = relations
        self._database = relations.database
        self._encrypt_column = encrypt_column
        self._objects = DependentObjects(relations.database)

    def plan_encrypt_column(
        self,
        relation: str,
        column_name: str,
        key: str | None,
        key_by: str | None,
        deterministic: bool,
        drop_indexes: bool,
        compression: str,
    ) -> list[Row]:
        """Return the plan of ``encrypt_column`` with the same arguments, and change nothing.

        Args:
            relation: see ``encrypt_column``.
            column_name: see there.
            key: see there.
            key_by: see there.
            deterministic: see there.
            drop_indexes: see there.
            compression: see there.

        Returns:
            Rows. ``encrypt_column`` accepts the column if none of them is an obstacle; whether a definition still
            works on the view is only known when it is tried.

        Raises:
            DataError: an argument is NULL.
            ParameterError: no compression has that name.
            DuplicateKeyError: the column is already encrypted.
            PrivilegeError: the current user does not own the table.
            UnsupportedError: the relation is not a table, or the column would be deterministic and compressed.
        """
        refuse_null(
            relation=relation, column_name=column_name, deterministic=deterministic, drop_indexes=drop_indexes
        )
        check_compression(compression, deterministic=deterministic)
        oid = self._relations.resolve(relation)
        self._relations.check_owner(oid)
        prepared = self._encrypt_column.prepare(oid, column_name, key_by)
        rows = self._count(prepared.base)
        return [
            *self._obstacles(prepared, rows, drop_indexes=drop_indexes),
            *self._changes(prepared, drop_indexes=drop_indexes),
            *self._key(prepared, key),
            *self._leaks(prepared, deterministic=deterministic, compression=compression),
            *self._times(prepared, rows),
        ]

    def _obstacles(self, prepared: Preparation, rows: int, *, drop_indexes: bool) -> Iterator[Row]:
        called = f"{prepared.base}.{prepared.source.name}"
        for obstacle in dict.fromkeys(prepared.hindering(drop_indexes=drop_indexes)):
            after = f"; -- afterwards, adapted if need be:\n{obstacle.after}" if obstacle.after else ""
            yield OBSTACLE, called, obstacle.reason, f"{obstacle.before}{after}" or None
        if rows:
            try:
                with self._relations.without_triggers(prepared.base, changes_are_undone=True):
                    pass
            except Error as error:
                yield OBSTACLE, called, error.message, None

    def _changes(self, prepared: Preparation, *, drop_indexes: bool) -> Iterator[Row]:
        for one in prepared.objects:
            if one.obstacle is None:
                filled = " and filled" if one.create[0].endswith(" WITH DATA") else ""
                statements = "; ".join([one.drop, *one.statements])
                yield DEPENDENT, one.name, f"is created again{filled}, as {one.owner}", statements
        for index in prepared.found.indexes if drop_indexes else []:
            yield INDEX, index.name, "is dropped; add_blind_index() gives equality search", index.drop
        for check in prepared.found.checks:
            yield CONSTRAINT, check.name, "is checked by the triggers of the table", None
        for unique in prepared.found.uniques:
            yield CONSTRAINT, unique.name, "becomes a unique index on a blind index", None
        base = prepared.base
        if base.kind == "p" and prepared.table is None:
            name = self._encrypt_column.name_of_base(base)
            statement = partman_update(self._relations, base.schema, base.name, name)
            if statement is not None:
                yield TOOL, "pg_partman", f"knows the table by its name, and is to know it as {name}", statement

    def _key(self, prepared: Preparation, key: str | None) -> Iterator[Row]:
        base, table, name = prepared.base, prepared.table, prepared.source.name
        default = f"{base.schema}.{table.name if table else base.name}.{name}"
        try:
            record = self._encrypt_column.find_key(key, default)
        except Exception as error:
            if is_intervention(error):
                raise
            yield OBSTACLE, key or default, getattr(error, "message", None) or str(error), None
            return
        called = record.name if record else default
        yield KEY, called or default, "is used" if record else "is made", None
        readers, writers = readers_and_writers(
            self._database,
            table.relation if table else base.oid,
            name,
            has_default=prepared.source.default is not None,
        )
        readers |= self._objects.readers(prepared.objects)
        for role in sorted(readers | writers):
            usages = [usage for usage, roles in (("encrypt", writers), ("decrypt", readers)) if role in roles]
            (row,) = self._database.query(
                f"SELECT CASE $1 WHEN 0 THEN 'PUBLIC' ELSE {valid_name('pg_get_userbyid($1)')} END AS name",
                ("oid", int(role)),
            )
            if role == "0":
                yield (
                    GRANT,
                    "PUBLIC",
                    "has privileges on the table, and needs grants on the key role by role",
                    None,
                )
            else:
                yield (
                    GRANT,
                    row["name"],
                    f"gets {' and '.join(usages)} on key {quote_literal(called or default)}",
                    None,
                )

    def _leaks(self, prepared: Preparation, *, deterministic: bool, compression: str) -> Iterator[Row]:
        base, name = prepared.base, prepared.source.name
        called = f"{base}.{name}"
        yield LEAK, called, "the length of each value can be seen, and whether it is NULL", None
        if compression != NONE:
            detail = "compressed: the length that can be seen tells how much a value repeats, a part of it too"
            yield LEAK, called, detail, None
        if deterministic:
            yield LEAK, called, "deterministic: it can be seen which rows are equal, here and in backups", None
        shown = leak_of_uniques(prepared.found.uniques)
        for unique in prepared.found.uniques:
            detail = f"its blind index shows {shown}; a role that may insert can guess values, one row a guess"
            yield LEAK, unique.name, detail, None
        for copy in derived_plaintext(self._database, base, prepared.table, name, prepared.objects):
            yield LEAK, copy.object, copy.detail, copy.hint
        if prepared.found.indexes or prepared.found.uniques or self._count(base):
            detail = "what was stored before stays in files, WAL and backups until they are rewritten"
            yield LEAK, str(base), detail, None

    def _times(self, prepared: Preparation, rows: int) -> Iterator[Row]:
        base = prepared.base
        relation, name = quote_literal(str(base)), quote_literal(prepared.source.name)
        yield TIME, str(base), f"about {rows:,} rows", None
        if prepared.found.uniques:
            seconds = _seconds(rows * _BLIND_SECONDS)
            yield TIME, str(base), f"encrypt_column() computes blind indexes under a lock: {seconds}", None
        for one in prepared.objects:
            if one.kind == MATERIALIZED_VIEW and one.obstacle is None and one.create[0].endswith(" WITH DATA"):
                yield TIME, one.name, "encrypt_column() fills it again under a lock", None
        if rows:
            seconds = _seconds(rows * _MIGRATE_SECONDS)
            yield (
                TIME,
                str(base),
                f"migrate_column(), in batches: {seconds}",
                f"CALL migrate_column({relation}, {name})",
            )

    def _count(self, base: Table) -> int:
        """Return how many rows PostgreSQL expects in a table."""
        if has_foreign_partition(self._database, base):
            return 0  # it is refused anyway
        (row,) = self._relations.run(base, f"EXPLAIN (FORMAT JSON) SELECT FROM {base.only}")
        (value,) = row.values()
        plan = json.loads(value) if isinstance(value, str) else value
        rows = int(plan[0]["Plan"]["Plan Rows"])
        if rows > _FEW:
            return rows
        # For a table that was never analyzed, PostgreSQL expects some rows in any case.
        (row,) = self._relations.run(
            base, f"SELECT count(*) AS count FROM (SELECT FROM {base.only} LIMIT {_FEW}) AS few"
        )
        return int(row["count"]) if row["count"] < _FEW else rows


def _seconds(seconds: float) -> str:
    for unit, length in (("hours", 3600), ("minutes", 60), ("seconds", 1)):
        if seconds >= 2 * length:
            return f"about {seconds / length:.0f} {unit}"
    return "about a second"
