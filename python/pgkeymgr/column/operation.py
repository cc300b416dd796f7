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
from .catalog import Table
from .decrypt_column import DecryptColumn
from .definition import DECRYPTING, ENCRYPTED, MIGRATING, ROTATING, Definition
from .encrypt_column import EncryptColumn
from .quoting import quote_name
from .registry import EncryptedColumn, EncryptedTable
from .relations import Relations

BATCH_SIZE_MAX = 1_000_000
_LOCK_TIMEOUT = "100ms"
_PAUSE_SECONDS = 0.2
_LOCK_NOT_AVAILABLE = "55P03"
_SETTINGS = {
    "search_path": "pg_catalog, pg_temp",
    "row_security": "off",
    "quote_all_identifiers": "off",
    "standard_conforming_strings": "on",
    # Our own queries on the catalog: planned once, not in each batch.
    "plan_cache_mode": "force_generic_plan",
}


class _Walk:
    """What an operation does to one row, as SQL about ``b``.

    Attributes:
        needs: the condition for rows that need it.
        assignments: what it sets.
    """

    def __init__(self, needs: str, assignments: str) -> None:
        self.needs = needs
        self.assignments = assignments


class Operations:
    """The procedures on encrypted columns, for one session."""

    def __init__(
        self,
        relations: Relations,
        encrypt_column: EncryptColumn,
        decrypt_column: DecryptColumn,
        keys: KeyTable,
        data_keys: DataKeys,
    ) -> None:
        self._relations = relations
        self._encrypt_column = encrypt_column
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
        if self._start(relation, column_name, MIGRATING, None):
            self._walk(relation, column_name, MIGRATING, batch_size)

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
        if self._start(relation, column_name, ROTATING, self._supersede):
            self._wait_for_writers(relation, column_name)
            self._walk(relation, column_name, ROTATING, batch_size)

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
        if self._start(relation, column_name, DECRYPTING, self._decrypt_column.start):
            self._walk(relation, column_name, DECRYPTING, batch_size)

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
        # The base table: the view may be made anew while this runs.
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
        self, relation: str, column_name: str, operation: str
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
            or column.state != operation
            or state["operation"] != operation
        ):
            self._database.commit()
            return None
        return table, column, state

    def _start(
        self,
        relation: str,
        column_name: str,
        operation: str,
        prepare: Callable[[EncryptedTable, EncryptedColumn], None] | None,
    ) -> bool:
        """Begin an operation, or find it begun; tell whether there is something to do."""
        found = self._load_locked(relation, column_name)
        if found is None:
            return False
        table, column = found
        if operation == MIGRATING and column.state == ENCRYPTED:
            return False
        if operation == MIGRATING and column.state != MIGRATING:
            raise KeyStateError(f'column "{column_name}" of {table.name} is {column.state}')
        if operation == ROTATING and column.state not in (ENCRYPTED, ROTATING):
            raise KeyStateError(
                f'column "{column_name}" of {table.name} is {column.state}',
                hint="Call migrate_column() first." if column.state == MIGRATING else None,
            )
        base = self._relations.described(table.base)
        with self._relations.without_triggers(base):
            # Whether it may, and whether it sees all rows: with row_security = off, it is refused otherwise.
            self._relations.run(base, f"SELECT FROM {base.only} LIMIT 1")
        if prepare and column.state != operation:
            if operation == DECRYPTING:
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
            walk = self._walk_of(table, column, base, operation)
            (row,) = self._relations.run(
                base, f"SELECT count(*) AS count FROM {base.only} AS b WHERE {walk.needs}"
            )
            self._registry.start_operation(column, operation, row["count"])
        self._database.commit()
        return True

    def _supersede(self, table: EncryptedTable, column: EncryptedColumn) -> None:
        record = self._keys.find(column.key)
        oldest = self._data_keys.supersede_data_key(record.id)
        for child in self._keys.children(record) if column.key_by else []:
            self._data_keys.supersede_data_key(child)
        column.state, column.oldest_key = ROTATING, oldest
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

    def _walk(self, relation: str, column_name: str, operation: str, batch_size: int) -> None:
        self._densest = 1
        while True:
            passed = self._batch(relation, column_name, operation, batch_size)
            if passed is None or (passed and self._finish(relation, column_name, operation)):
                return
            if passed:
                # What this pass has skipped, others had locked: wait for one of it, and pass again.
                self._wait_for_one(relation, column_name, operation)

    def _batch(self, relation: str, column_name: str, operation: str, batch_size: int) -> bool | None:
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
        walk = self._walk_of(table, column, base, operation)
        self._forbid_large_plans()
        block: int = state["position_block"]
        blocks = batch_size // self._rows_per_block(base, state["rows_total"])
        with self._relations.without_triggers(base):
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
            written = self._database.write(
                f"WITH batch AS MATERIALIZED (SELECT b.ctid AS tid FROM {base.qualified} AS b WHERE {within}"
                " FOR NO KEY UPDATE OF b SKIP LOCKED)"
                f" UPDATE {base.qualified} AS b SET {walk.assignments}"
                f" WHERE b.ctid = ANY (ARRAY(SELECT tid FROM batch)) AND {walk.needs}"
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

    def _wait_for_one(self, relation: str, column_name: str, operation: str) -> None:
        """Write one of the rows that others had locked, as soon as they let it go."""
        started = time.monotonic()
        try:
            table, column = self._load(relation, column_name)
        except UndefinedError:
            self._database.commit()
            return
        if column.state != operation:
            self._database.commit()
            return
        base = self._relations.described(table.base)
        walk = self._walk_of(table, column, base, operation)
        with self._relations.without_triggers(base):
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

    def _finish(self, relation: str, column_name: str, operation: str) -> bool:
        """End an operation if no row needs it any more; tell whether it is ended."""
        found = self._load_running(relation, column_name, operation)
        if found is None:
            return True
        table, column, _ = found
        base = self._relations.described(table.base)
        walk = self._walk_of(table, column, base, operation)
        (row,) = self._relations.run(
            base, f"SELECT EXISTS (SELECT FROM {base.only} AS b WHERE {walk.needs}) AS is_left"
        )
        if row["is_left"]:
            self._database.commit()
            return False
        # No row can come to need it after this: new values are written as they are to be.
        if operation == ROTATING:
            column.state, column.oldest_key = ENCRYPTED, None
            self._registry.save_column(column)
            self._registry.end_operation(column)
            self._database.commit()
            return True
        self._database.commit()
        if operation == MIGRATING:
            self._validate(relation, column_name)
        self._wait_for_snapshots()
        found = self._load_running(relation, column_name, operation)
        if found is None:
            return True
        table, column, _ = found
        self._lock_both(table)
        if operation == MIGRATING:
            with self._relations.busy():
                self._encrypt_column.drop_plain(table, column)
            if column.not_null:
                name = self._present(column)
                self._alter(self._relations.described(table.base), f"DROP CONSTRAINT {name}")
            self._registry.end_operation(column)
        else:
            self._decrypt_column.end(table, column)
        self._database.commit()
        return True

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
                    " AND age(backend_xmin) > age($1::xid8::xid) LIMIT 1",
                    ("text", row["next"]),
                )
            )
            if not rows:
                return
            self._database.pause(_PAUSE_SECONDS)

    def _validate(self, relation: str, column_name: str) -> None:
        """Have what holds for all rows verified without a lock that anybody notices."""
        if (found := self._load_running(relation, column_name, MIGRATING)) is None:
            return
        table, column, _ = found
        base = self._relations.described(table.base)
        cipher = quote_name(column.cipher)
        if column.not_null:
            # With such a CHECK verified, SET NOT NULL does not read the table under its lock.
            name = self._present(column)
            rows = self._database.query(
                "SELECT FROM pg_constraint WHERE conrelid = $1 AND quote_ident(conname) = $2",
                ("oid", table.base),
                ("text", name),
            )
            if not rows:
                self._lock_both(table)
                self._alter(base, f"ADD CONSTRAINT {name} CHECK ({cipher} IS NOT NULL) NOT VALID")
                self._database.commit()
                if (found := self._load_running(relation, column_name, MIGRATING)) is None:
                    return
                table, column, _ = found
        rows = self._database.query(
            "SELECT quote_ident(c.conname) AS name FROM pg_constraint AS c WHERE c.conrelid = $1 AND "
            "c.contype = 'c'"
            " AND NOT c.convalidated AND c.conkey = ARRAY[(SELECT a.attnum FROM pg_attribute AS a"
            "  WHERE a.attrelid = $1 AND a.attname = $2)]",
            ("oid", table.base),
            ("text", column.cipher),
        )
        for row in rows:
            self._alter(base, f"VALIDATE CONSTRAINT {row['name']}")
        self._database.commit()

    def _alter(self, base: Table, change: str) -> None:
        with self._relations.busy():
            self._relations.run(base, f"ALTER TABLE {base.qualified} {change}")

    @staticmethod
    def _present(column: EncryptedColumn) -> str:
        return f"pgkeymgr_{column.id}_present"

    def _walk_of(self, table: EncryptedTable, column: EncryptedColumn, base: Table, operation: str) -> _Walk:
        definition = Definition(table, base, self._database.schema)
        cipher = quote_name(column.cipher)
        if operation == ROTATING:
            # Ids grow, and are written with the highest byte first.
            is_old = f"substr(b.{cipher}, 2, 4) < int4send({column.oldest_key})"
            resealed = (
                f"{self._database.schema}._reseal({definition.key(column, 'b')}, b.{cipher},"
                f" {definition.place(column, 'b')}, {column.family})"
            )
            return _Walk(is_old, f"{cipher} = {resealed}")
        plain = quote_name(column.plain or column.name)
        if operation == DECRYPTING:
            return _Walk(f"b.{cipher} IS NOT NULL", f"{plain} = {definition.opened(column, 'b')}, {cipher} = NULL")
        sealed = definition.sealed(column, f"b.{plain}", "b")
        return _Walk(f"b.{plain} IS NOT NULL", f"{cipher} = {sealed}, {plain} = NULL")
