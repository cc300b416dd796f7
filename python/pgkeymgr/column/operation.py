"""The procedures that go through all rows of a table in committed batches: migrate, rotate, decrypt.

Each walks the base table in the order of its blocks. A batch locks the rows that need work, skipping those that
others have locked, and rewrites them in one statement; what it skipped is left to another pass, and the last of it
is waited for one row at a time, so that a batch never waits while it holds locks. Whether a row needs work is seen
from the row itself: a procedure that was killed has lost its last batch at most, and its successor goes on at the
block that was noted with the last commit.
"""

import time
from collections.abc import Callable
from typing import Any

from ..errors import DataError, KeyStateError, ParameterError, UndefinedError, UnsupportedError
from ..key.data_key import DataKeys
from ..key.table import TOKEN_KEY_TYPE, KeyTable
from .base_table import sealed_check
from .catalog import Table
from .decrypt_column import DecryptColumn
from .expressions import is_there
from .quoting import bytes_literal, quote_name
from .registry import ColumnState, EncryptedColumn, EncryptedTable
from .relations import Relations
from .transit import REWRITE
from .view import Views

BATCH_SIZE_MAX = 1_000_000
_LOCK_TIMEOUT = "100ms"
_PAUSE_SECONDS = 0.2
_LOCK_NOT_AVAILABLE = "55P03"
_SETTINGS = {
    "search_path": "pg_catalog, pg_temp",
    "row_security": "off",
    "quote_all_identifiers": "off",
    "standard_conforming_strings": "on",
    # Expressions are kept as text: of constants that mean the same in every session.
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    # Our own queries on the catalog: planned once, not in each batch.
    "plan_cache_mode": "force_generic_plan",
}


class _Walk:
    """How an operation finds the rows that need it, and has the table's trigger write them, as SQL about ``b``.

    Attributes:
        needs: the condition for rows that need it.
        assignments: what it sets.
    """

    def __init__(self, column: EncryptedColumn, needs: str) -> None:
        self.needs = needs
        self.assignments = f"{quote_name(column.cipher)} = {bytes_literal(REWRITE)}"


class Operations:
    """The procedures on encrypted columns, for one session."""

    def __init__(
        self,
        relations: Relations,
        views: Views,
        decrypt_column: DecryptColumn,
        keys: KeyTable,
        data_keys: DataKeys,
    ) -> None:
        self._relations = relations
        self._views = views
        self._decrypt_column = decrypt_column
        self._keys = keys
        self._data_keys = data_keys
        self._database = relations.database
        self._registry = relations.registry
        self._densest = 1
        self._column_id = 0

    def migrate_column(self, relation: str, column_name: str, batch_size: int) -> None:
        """Encrypt the rows that were there before ``encrypt_column``, and drop the plaintext column.

        Args:
            relation: the view, or the base table.
            column_name: an encrypted column.
            batch_size: how many rows are encrypted, and locked, at a time.

        Raises:
            UndefinedError: the column is not encrypted.
            PrivilegeError: the current user does not own the table, or may not use the key.
            UnsupportedError: it is called in a transaction.
        """
        relation = self._begin(relation, column_name, batch_size)
        if self._start(relation, column_name, ColumnState.MIGRATING, None):
            self._walk(relation, column_name, ColumnState.MIGRATING, batch_size)

    def rotate_column(self, relation: str, column_name: str, batch_size: int) -> None:
        """Supersede the key of a column, and encrypt all of its rows under the new version.

        Args:
            relation: the view, or the base table.
            column_name: an encrypted column.
            batch_size: how many rows are encrypted, and locked, at a time.

        Raises:
            UndefinedError: the column is not encrypted.
            KeyStateError: it is not fully encrypted yet.
            PrivilegeError: the current user does not own the table, or may not use the key.
            UnsupportedError: it is called in a transaction.
        """
        relation = self._begin(relation, column_name, batch_size)
        if self._start(relation, column_name, ColumnState.ROTATING, self._supersede):
            self._wait_for_writers(relation, column_name)
            self._walk(relation, column_name, ColumnState.ROTATING, batch_size)

    def decrypt_column(self, relation: str, column_name: str, batch_size: int) -> None:
        """Make an encrypted column a plain one again.

        Args:
            relation: the view, or the base table.
            column_name: an encrypted column.
            batch_size: how many rows are decrypted, and locked, at a time.

        Raises:
            UndefinedError: the column is not encrypted.
            PrivilegeError: the current user does not own the table, or may not use the key.
            UnsupportedError: it is called in a transaction.
        """
        relation = self._begin(relation, column_name, batch_size)
        if self._start(relation, column_name, ColumnState.DECRYPTING, self._decrypt_column.start):
            self._walk(relation, column_name, ColumnState.DECRYPTING, batch_size)

    # The steps.

    def _begin(self, relation: str, column_name: str, batch_size: int) -> str:
        for name, value in (("column_name", column_name), ("batch_size", batch_size)):
            if value is None:
                raise DataError(f"{name} must not be NULL")
        if not 1 <= batch_size <= BATCH_SIZE_MAX:
            raise ParameterError(f"batch_size must be 1 to {BATCH_SIZE_MAX}, not {batch_size}")
        oid = str(self._relations.resolve(relation))
        try:
            self._database.commit()
        except Exception:
            raise UnsupportedError(
                "it commits batch by batch, and cannot be called within a transaction or a function",
                hint="CALL it by itself, outside of BEGIN and COMMIT.",
            ) from None
        # The base table: the view may be created again while this runs.
        table, _ = self._load(oid, column_name)
        return str(table.base)

    def _load(self, relation: str, column_name: str) -> tuple[EncryptedTable, EncryptedColumn]:
        """Begin a transaction: what its statements run under, what is registered, and who may."""
        self._relations.set_local(_SETTINGS)
        self._keys.forget_checks()
        table, column = self._relations.encrypted_column(relation, column_name)
        self._relations.check_owner(table.base)
        base = self._relations.described(table.base)
        self._relations.check_base(table, base)
        record = self._keys.usable(column.key, TOKEN_KEY_TYPE, encrypt=True)
        record.check_usage(encrypt=False)
        self._relations.check_owners_key(self._keys, base, column, ("encrypt", "decrypt"))
        return table, column

    def _load_locked(self, relation: str, column_name: str) -> tuple[EncryptedTable, EncryptedColumn] | None:
        """Begin a transaction in which no other session begins or ends an operation; None for a plain column."""
        try:
            _, column = self._load(relation, column_name)
            self._column_id = column.id
            self._registry.lock_column(column.id)
            # As it is after the wait.
            return self._load(relation, column_name)
        except UndefinedError:
            self._database.commit()
            return None

    def _load_running(
        self, relation: str, column_name: str, operation: ColumnState
    ) -> tuple[EncryptedTable, EncryptedColumn, dict[str, Any]] | None:
        """Do ``_load_locked`` for an operation that has begun; None if another session has ended it."""
        self._registry.lock_column(self._column_id)
        try:
            table, column = self._load(relation, column_name)
            state = self._registry.operation(column)
        except UndefinedError:
            state = None
        if (
            state is None
            or column.id != self._column_id
            or column.state is not operation
            or state["operation"] != operation
        ):
            self._database.commit()
            return None
        return table, column, state

    def _start(
        self,
        relation: str,
        column_name: str,
        operation: ColumnState,
        prepare: Callable[[EncryptedTable, EncryptedColumn], None] | None,
    ) -> bool:
        """Begin an operation, or find it begun; tell whether there is something to do."""
        found = self._load_locked(relation, column_name)
        if found is None:
            return False
        table, column = found
        if operation is ColumnState.MIGRATING and column.state is ColumnState.ENCRYPTED:
            return False
        if operation is ColumnState.MIGRATING and column.state is not ColumnState.MIGRATING:
            raise KeyStateError(f'column "{column_name}" of {table.name} is {column.state}')
        if operation is ColumnState.ROTATING and column.state not in (ColumnState.ENCRYPTED, ColumnState.ROTATING):
            raise KeyStateError(
                f'column "{column_name}" of {table.name} is {column.state}',
                hint="Call migrate_column() first." if column.state is ColumnState.MIGRATING else None,
            )
        base = self._relations.described(table.base)
        with self._relations.without_triggers(base, are_undone=True):
            # Whether it may, and whether it sees all rows: with row_security = off, it is refused otherwise.
            self._relations.run(base, f"SELECT FROM {base.only} LIMIT 1")
        if prepare and column.state is not operation:
            if operation is ColumnState.DECRYPTING:
                self._lock_both(table)
            prepare(table, column)
            # What follows reads the whole table: not under this lock.
            self._database.commit()
            found = self._load_locked(relation, column_name)
            if found is None:
                return False
            table, column = found
        state = self._registry.operation(column)
        if state is None or state["operation"] != operation:
            base = self._relations.described(table.base)
            walk = self._walk_of(column)
            (row,) = self._relations.run(
                base, f"SELECT count(*) AS count FROM {base.only} AS b WHERE {walk.needs}"
            )
            if operation is ColumnState.MIGRATING and column.key_by:
                self._make_keys(base, column, walk)
            self._registry.start_operation(column, operation, row["count"])
        self._database.commit()
        return True

    def _make_keys(self, base: Table, column: EncryptedColumn, walk: _Walk) -> None:
        """Make the keys that rows will be sealed under, as the caller: with the owner's rights, none is made."""
        key_by = f"(b.{quote_name(column.key_by or '')})::text"
        values = self._relations.run(
            base,
            f"SELECT DISTINCT {key_by} AS value FROM {base.only} AS b WHERE {walk.needs} AND {key_by} IS NOT NULL",
        )
        self._database.query(
            "SELECT {s}._key_by($1, v.value) FROM unnest($2) AS v (value)",
            ("integer", column.family),
            ("text[]", [str(row["value"]) for row in values]),
        )

    def _supersede(self, table: EncryptedTable, column: EncryptedColumn) -> None:
        record = self._keys.find(column.key)
        self._data_keys.supersede_data_key(record.id)
        for child in self._keys.children(record) if column.key_by else []:
            self._data_keys.supersede_data_key(child)
        column.state = ColumnState.ROTATING
        self._registry.save_column(column)

    def _wait_for_writers(self, relation: str, column_name: str) -> None:
        """Let all statements end that may have begun to write under the old key."""
        while True:
            table, _ = self._load(relation, column_name)
            done = self._try_lock(table, "SHARE")
            self._database.commit()
            if done:
                return
            self._database.pause(_PAUSE_SECONDS)

    def _try_lock(self, table: EncryptedTable, mode: str) -> bool:
        """Take a lock, unless it is not to be had in a moment: whoever comes after us would have to wait, too."""
        # The view first, as those who use it do.
        names = [self._relations.described(oid).qualified for oid in (table.relation, table.base)]
        self._relations.set_local({"lock_timeout": _LOCK_TIMEOUT})
        try:
            self._database.run(f"LOCK TABLE {', '.join(names)} IN {mode} MODE")
        except Exception as error:
            if getattr(error, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
                raise
            return False
        self._relations.set_local({"lock_timeout": "0"})
        return True

    def _lock_both(self, table: EncryptedTable) -> None:
        while not self._try_lock(table, "ACCESS EXCLUSIVE"):
            self._database.pause(_PAUSE_SECONDS)

    def _walk(self, relation: str, column_name: str, operation: ColumnState, batch_size: int) -> None:
        self._densest = 1
        while True:
            passed = self._batch(relation, column_name, operation, batch_size)
            if passed is None or (passed and self._finish(relation, column_name, operation)):
                return
            if passed:
                # What this pass has skipped, others had locked: wait for one of it, and pass again.
                self._wait_for_one(relation, column_name, operation)

    def _batch(self, relation: str, column_name: str, operation: ColumnState, batch_size: int) -> bool | None:
        """Do one batch and commit.

        Returns:
            Whether the pass has come to the table's end, or None if another session has ended the operation.
        """
        started = time.monotonic()
        found = self._load_running(relation, column_name, operation)
        if found is None:
            return None
        table, column, state = found
        base = self._relations.described(table.base)
        walk = self._walk_of(column)
        self._forbid_large_plans()
        block: int = state["position_block"]
        blocks = batch_size // self._rows_per_block(base, state["rows_total"])
        with self._relations.without_triggers(base, are_undone=True):
            if blocks < 1:
                written, following = self._write_some(base, walk, block, batch_size)
            else:
                written, following = self._write_blocks(base, walk, block, block + blocks)
        if not written and following is not None:
            following = self._next_block(base, walk, following)
        self._registry.advance_operation(
            column, block if following is None else following, written, time.monotonic() - started
        )
        self._database.commit()
        return following is None

    def _forbid_large_plans(self) -> None:
        # By block and by row number there is always a way without reading the whole table.
        self._relations.set_local(dict.fromkeys(("enable_seqscan", "enable_hashjoin", "enable_mergejoin"), "off"))

    def _rows_per_block(self, base: Table, rows: int) -> int:
        (row,) = self._database.query(
            "SELECT CASE WHEN relpages > 0 THEN reltuples / relpages ELSE 0 END AS known,"
            " pg_relation_size(oid) / current_setting('block_size')::int8 AS blocks FROM pg_class WHERE oid = $1",
            ("oid", base.oid),
        )
        return int(max(self._densest, round(row["known"]), rows // max(1, row["blocks"])))

    def _write_blocks(self, base: Table, walk: _Walk, block: int, end: int) -> tuple[int, int | None]:
        """Write the rows of some blocks; return how many, and the block after them."""
        within = f"b.ctid >= '({block},0)'::tid AND b.ctid < '({end},0)'::tid AND {walk.needs}"
        # Usually nobody has locked any, and each is written without being locked before.
        self._relations.set_local({"lock_timeout": _LOCK_TIMEOUT})
        try:
            written = self._relations.write(base, f"UPDATE {base.only} AS b SET {walk.assignments} WHERE {within}")
        except Exception as error:
            if getattr(error, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
                raise
            written = self._relations.write(
                base,
                f"WITH batch AS MATERIALIZED (SELECT b.ctid AS tid FROM {base.only} AS b WHERE {within}"
                " FOR NO KEY UPDATE OF b SKIP LOCKED)"
                f" UPDATE {base.only} AS b SET {walk.assignments}"
                f" WHERE b.ctid = ANY (ARRAY(SELECT tid FROM batch)) AND {walk.needs}",
            )
        self._relations.set_local({"lock_timeout": "0"})
        # So that the next batch is not larger than it may be.
        self._densest = max(self._densest, -(-written // (end - block)))
        return written, end

    def _write_some(self, base: Table, walk: _Walk, block: int, batch_size: int) -> tuple[int, int | None]:
        """Write fewer rows than a block has; return how many, and the block of the last, or None for the end."""
        (row,) = self._relations.run(
            base,
            f"WITH batch AS MATERIALIZED (SELECT b.ctid AS tid FROM {base.only} AS b"
            f" WHERE b.ctid >= '({block},0)'::tid AND {walk.needs} LIMIT {batch_size}"
            " FOR NO KEY UPDATE OF b SKIP LOCKED),"
            f" written AS (UPDATE {base.only} AS b SET {walk.assignments}"
            f" WHERE b.ctid = ANY (ARRAY(SELECT tid FROM batch)) AND {walk.needs} RETURNING 1)"
            " SELECT (SELECT count(*) FROM written) AS written, (SELECT count(*) FROM batch) AS found,"
            " (SELECT (max(tid)::text::point)[0]::bigint FROM batch) AS block",
        )
        return row["written"], row["block"] if row["found"] == batch_size else None

    def _next_block(self, base: Table, walk: _Walk, block: int) -> int | None:
        rows = self._relations.run(
            base,
            f"SELECT (b.ctid::text::point)[0]::bigint AS block FROM {base.only} AS b"
            f" WHERE b.ctid >= '({block},0)'::tid AND {walk.needs} LIMIT 1",
        )
        return int(rows[0]["block"]) if rows else None

    def _wait_for_one(self, relation: str, column_name: str, operation: ColumnState) -> None:
        """Write one of the rows that others had locked, as soon as they let it go."""
        started = time.monotonic()
        try:
            table, column = self._load(relation, column_name)
        except UndefinedError:
            self._database.commit()
            return
        if column.state is not operation:
            self._database.commit()
            return
        base = self._relations.described(table.base)
        walk = self._walk_of(column)
        with self._relations.without_triggers(base, are_undone=True):
            rows = self._relations.run(
                base,
                f"SELECT b.ctid::text AS tid FROM {base.only} AS b WHERE {walk.needs} LIMIT 1"
                " FOR NO KEY UPDATE OF b",
            )
            written = 0
            if rows:
                written = self._relations.write(
                    base,
                    f"UPDATE {base.only} AS b SET {walk.assignments}"
                    f" WHERE b.ctid = '{rows[0]['tid']}'::tid AND {walk.needs}",
                )
        # Not while the row is locked: who has the operation may wait for the table.
        self._database.commit()
        if (found := self._load_running(relation, column_name, operation)) is None:
            return
        self._registry.advance_operation(found[1], 0, written, time.monotonic() - started)
        self._database.commit()

    def _finish(self, relation: str, column_name: str, operation: ColumnState) -> bool:
        """End an operation if no row needs it any more; tell whether it is ended."""
        found = self._load_running(relation, column_name, operation)
        if found is None:
            return True
        table, column, _ = found
        base = self._relations.described(table.base)
        walk = self._walk_of(column)
        (row,) = self._relations.run(
            base, f"SELECT EXISTS (SELECT FROM {base.only} AS b WHERE {walk.needs}) AS is_left"
        )
        if row["is_left"]:
            self._database.commit()
            return False
        # No row can come to need it after this: new values are written as they are to be.
        if operation is ColumnState.ROTATING:
            column.state = ColumnState.ENCRYPTED
            self._registry.save_column(column)
            self._registry.end_operation(column)
            self._database.commit()
            return True
        self._database.commit()
        if operation is ColumnState.MIGRATING:
            if not self._forbid_plaintext(relation, column_name):
                return False
        else:
            self._wait_for_snapshots()
        found = self._load_running(relation, column_name, operation)
        if found is None:
            return True
        table, column, _ = found
        self._lock_both(table)
        if operation is ColumnState.MIGRATING:
            self._end_migration(table, column)
        else:
            self._decrypt_column.end(table, column)
        self._database.commit()
        return True

    def _end_migration(self, table: EncryptedTable, column: EncryptedColumn) -> None:
        """Register a column as encrypted whose values all are, and of which no plaintext is let in."""
        base = self._relations.described(table.base)
        if column.not_null:
            # The CHECK that was verified saves it from reading the table under its lock.
            self._alter(
                base,
                f"ALTER COLUMN {quote_name(column.cipher)} SET NOT NULL,"
                f" DROP CONSTRAINT {quote_name(column.present_constraint)}",
            )
        column.state = ColumnState.ENCRYPTED
        self._registry.save_column(column)
        with self._relations.busy():
            self._views.write(table)
        self._registry.end_operation(column)
        # The planner's statistics are values of the column; a column that is dropped loses them, too.
        self._database.as_owner(
            lambda: self._database.execute(
                "DELETE FROM pg_catalog.pg_statistic WHERE starelid OPERATOR(pg_catalog.=) $1"
                " AND staattnum OPERATOR(pg_catalog.=) $2",
                ("oid", base.oid),
                ("integer", base.column(column.name).number),
            )
        )

    def _wait_for_snapshots(self) -> None:
        """Let all transactions end that see rows as they were before their batch.

        Dropping a column takes its values from all versions of a row at once: who still sees an old version would
        find a NULL in it.
        """
        (row,) = self._database.query(
            "SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::pg_catalog.text AS next"
        )
        while True:
            self._database.commit()
            rows = self._database.as_owner(
                lambda: self._database.execute(
                    "SELECT FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                    " AND (datname = current_database() AND backend_type <> 'autovacuum worker' OR "
                    "backend_type = 'walsender')"
                    " AND age(backend_xmin) > age($1::xid8::xid)"
                    # What a standby that uses a slot reports, the slot has.
                    " UNION ALL SELECT FROM pg_replication_slots WHERE age(xmin) > age($1::xid8::xid) LIMIT 1",
                    ("text", row["next"]),
                )
            )
            if not rows:
                return
            self._database.pause(_PAUSE_SECONDS)

    def _forbid_plaintext(self, relation: str, column_name: str) -> bool:
        """Have verified, without a lock that anybody notices, that all values are encrypted, and will be.

        Returns:
            Whether they are: where session_replication_role is replica, plaintext comes in until it is forbidden.
        """
        if (found := self._load_running(relation, column_name, ColumnState.MIGRATING)) is None:
            return True
        table, column, _ = found
        base = self._relations.described(table.base)
        there = self._relations.names_of_constraints(base)
        changes = []
        if column.sealed_constraint not in there:
            changes.append(f"{sealed_check(column)} NOT VALID")
        if column.not_null and column.present_constraint not in there:
            check = f"CHECK ({quote_name(column.cipher)} IS NOT NULL)"
            changes.append(f"ADD CONSTRAINT {quote_name(column.present_constraint)} {check} NOT VALID")
        if changes:
            self._lock_both(table)
            self._alter(base, ", ".join(changes))
            self._database.commit()
            if (found := self._load_running(relation, column_name, ColumnState.MIGRATING)) is None:
                return True
            table, column, _ = found
            walk = self._walk_of(column)
            if self._relations.run(base, f"SELECT FROM {base.only} AS b WHERE {walk.needs} LIMIT 1"):
                self._database.commit()
                return False
        rows = self._database.query(
            "SELECT c.conname::text AS name FROM pg_constraint AS c WHERE c.conrelid = $1 AND c.contype = 'c'"
            " AND NOT c.convalidated AND c.conkey <@ (SELECT array_agg(a.attnum) FROM pg_attribute AS a"
            "  WHERE a.attrelid = $1 AND a.attname = ANY ($2::text[]::name[]))",
            ("oid", table.base),
            ("text[]", [column.cipher, column.name]),
        )
        for row in rows:
            self._alter(base, f"VALIDATE CONSTRAINT {quote_name(row['name'])}")
        self._database.commit()
        return True

    def _alter(self, base: Table, change: str) -> None:
        with self._relations.busy():
            self._relations.run(base, f"ALTER TABLE {base.qualified} {change}")

    def _walk_of(self, column: EncryptedColumn) -> _Walk:
        if column.state is ColumnState.MIGRATING:
            return _Walk(column, is_there("b", column.name))
        if column.state is ColumnState.DECRYPTING:
            return _Walk(column, f"b.{quote_name(column.cipher)} IS NOT NULL")
        # Ids are not in the order of versions, and rows under a key that was destroyed cannot be encrypted again.
        old = ", ".join(bytes_literal(key_id.to_bytes(4, "big")) for key_id in self._old_keys(column))
        key = f"pg_catalog.substr(b.{quote_name(column.cipher)}, 2, 4)"
        return _Walk(column, f"{key} = ANY (ARRAY[{old}]::pg_catalog.bytea[])")

    def _old_keys(self, column: EncryptedColumn) -> list[int]:
        """Return the ids of the keys whose values rotate_column is to encrypt under the current version."""
        rows = self._database.as_owner(
            lambda: self._database.execute(
                "SELECT k.id FROM {s}.key AS k WHERE (k.family OPERATOR(pg_catalog.=) $1"
                " OR k.parent_family OPERATOR(pg_catalog.=) $1) AND k.superseded_by IS NOT NULL"
                " AND k.state::pg_catalog.text OPERATOR(pg_catalog.<>) 'destroyed'"
                " AND EXISTS (SELECT FROM {s}.key AS c WHERE c.family OPERATOR(pg_catalog.=) k.family"
                "  AND c.superseded_by IS NULL AND c.state::pg_catalog.text OPERATOR(pg_catalog.=) 'enabled')"
                " ORDER BY k.id",
                ("integer", column.family),
            )
        )
        return [row["id"] for row in rows]
