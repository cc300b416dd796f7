"""Goes through all rows of a table in committed batches, for one or several of its encrypted columns.

The walk goes through a partitioned table partition by partition. A *leaf* is a table that has rows itself; a table
without partitions is its only leaf. The walk goes through a leaf in the order of its blocks. A batch locks the
rows that need work, skips those that others have locked, and rewrites its rows in one statement. Another pass
visits the skipped rows, and finally waits for them one row at a time, so that a batch never waits while it holds
locks. The row itself shows whether it needs work. So a procedure that was killed has lost at most its last batch,
and the next call continues at the leaf and the block that were stored with the last commit.

Partitions can be added and removed during the walk. Each batch reads the list of them again, and locks its leaf,
so that nobody can detach the leaf from the table and its triggers until the commit. At the end, all leaves are
checked.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

from ..errors import DataError, ParameterError, UndefinedError, UnsupportedError
from ..key.arguments import refuse_null
from ..key.database import Database, Rows
from ..key.table import TOKEN_KEY_TYPE, KeyTable
from .catalog import Table, describe
from .encrypted_table import EncryptedColumn, EncryptedTable
from .partitions import tree_of
from .quoting import quote_name
from .relations import Relations
from .server_errors import is_lock_timeout, is_serialization_failure

BATCH_SIZE_MAX = 1_000_000
_LOCK_TIMEOUT = "100ms"
_REPORT_TIMEOUT = "1s"
_PAUSE_SECONDS = 0.2
_TRIES = 100
_UNDEFINED_TABLE = "42P01"
SETTINGS = {
    "search_path": "pg_catalog, pg_temp",
    "row_security": "off",
    "quote_all_identifiers": "off",
    "standard_conforming_strings": "on",
    # The registry keeps expressions as text, whose constants must mean the same in every session.
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "array_nulls": "on",
    "xmloption": "content",
    # Queries on the catalog are planned once instead of in each batch.
    "plan_cache_mode": "force_generic_plan",
}
"""The settings of each transaction of a procedure; those of functions are in sql/catalog_settings.sql.in."""


def commit_first(database: Database) -> None:
    """Do the first of a procedure's commits.

    Raises:
        UnsupportedError: the procedure was called in a transaction block or in a function.
    """
    try:
        database.commit()
    except Exception:
        raise UnsupportedError(
            "the procedure commits after each batch, and cannot run inside a transaction block or a function",
            hint="Use CALL outside of BEGIN and COMMIT.",
        ) from None


class Task(NamedTuple):
    """The SQL about a row ``b`` by which a procedure finds the rows of a column, and writes them.

    Attributes:
        column: the column.
        needs: the condition for rows that need it.
        target: the column of the base table that is written.
        value: the expression for the value that is written there.
    """

    column: EncryptedColumn
    needs: str
    target: str
    value: str


class Loaded(NamedTuple):
    """The description of a table that a transaction finds registered.

    Attributes:
        table: the table.
        base: its base table.
        columns: those of the procedure's columns that are encrypted.
    """

    table: EncryptedTable
    base: Table
    columns: list[EncryptedColumn]


class Walk(ABC):
    """One call of a procedure. It is made for the call, and used for one."""

    verb: str
    """The name of the operation in an error."""
    usages: tuple[str, ...] = ("encrypt", "decrypt")
    """The usages of the key that the caller and the owner need."""
    changes_are_undone = True
    """Whether the table's own trigger undoes what BEFORE triggers have done to a row."""
    prepares_alone = True
    """Whether ``prepare`` needs the table for itself."""

    def __init__(self, relations: Relations, keys: KeyTable, batch_size: int) -> None:
        self._relations = relations
        self._keys = keys
        self._database = relations.database
        self._registry = relations.registry
        self._progress = relations.registry.progress
        self._batch_size = batch_size
        self._base = 0
        self._ids: list[int] = []
        self._densest = 1
        self._waits_for: list[str] = []
        self.path: str | None = None
        """The search_path of the session, for the code of users."""

    def call(self, relation: str, names: Sequence[str] | None) -> None:
        """Do all of it.

        Args:
            relation: the view, or the base table.
            names: encrypted columns, or None for all encrypted columns of the table.

        Raises:
            UndefinedError: a column is not encrypted.
            KeyStateError: a column is in a state in which it cannot be done.
            PrivilegeError: the current user does not own the table, or may not use the key.
            UnsupportedError: it is called in a transaction.
        """
        self._begin(relation, names)
        if not self._start():
            return
        while True:
            passed = self._batch()
            if passed is None or (passed and self._finish()):
                return
            if passed:
                # Other sessions had locked the rows that this pass skipped. Wait for one row, and pass again.
                self._wait_for_one()

    # The steps in which the procedures differ.

    @property
    @abstractmethod
    def operation(self) -> str:
        """The name of the operation in the registry."""

    @abstractmethod
    def is_running(self, column: EncryptedColumn) -> bool:
        """Return whether a column is in the state of this operation."""

    @abstractmethod
    def has_work(self, table: EncryptedTable, column: EncryptedColumn) -> bool:
        """Return whether there is something to do for a column.

        Raises:
            KeyStateError: the column is in a state in which it cannot be done.
        """

    @abstractmethod
    def task(self, loaded: Loaded, column: EncryptedColumn) -> Task:
        """Return the task that finds and writes the rows of a column."""

    @abstractmethod
    def finish(self, loaded: Loaded, column: EncryptedColumn) -> bool:
        """End the operation on a column of which no row needs it.

        Args:
            loaded: of the transaction in which all rows were looked at; it may be committed in between.
            column: the column.

        Returns:
            Whether it is ended. If not, rows need it again.
        """

    @abstractmethod
    def prepare(self, loaded: Loaded, columns: list[EncryptedColumn]) -> None:
        """Bring columns into the state of this operation, in a transaction of its own.

        Args:
            loaded: of this transaction, which has locked the table if ``prepares_alone``.
            columns: the columns that are not in this state.
        """

    def begun(self) -> None:  # noqa: B027  # most do nothing
        """Do the work between the beginning of the operation and the first batch."""

    # The steps, each of one or more transactions.

    def _begin(self, relation: str, names: Sequence[str] | None) -> None:
        refuse_null(batch_size=self._batch_size)
        if not 1 <= self._batch_size <= BATCH_SIZE_MAX:
            raise ParameterError(f"batch_size must be 1 to {BATCH_SIZE_MAX}, not {self._batch_size}")
        if names is not None and not names:
            raise ParameterError("column_names must not be empty")
        if names is not None and None in names:
            raise DataError("a column name must not be NULL")
        # The procedure goes by the base table, since the view may be created again while it runs.
        oid = self._relations.resolve(relation)
        commit_first(self._database)
        self.path = self._database.setting("search_path")
        self._relations.set_local(SETTINGS)
        table = self._relations.encrypted_table(str(oid))
        for name in names or ():
            if name not in table.encrypted:
                raise UndefinedError(f'column "{name}" of {table.name} is not encrypted')
        self._base = table.base
        # A column keeps its id if it is renamed during the walk.
        self._ids = sorted(c.id for c in table.encrypted.values() if names is None or c.name in names)
        self._load()

    def _load(self) -> Loaded:
        """Begin a transaction: set its settings, load the registered table, and check the rights of the user.

        Raises:
            UndefinedError: the table has no encrypted columns any more.
        """
        self._relations.set_local(SETTINGS)
        self._keys.forget_checks()
        table = self._relations.encrypted_table(str(self._base))
        self._relations.check_owner(table.base)
        base = self._relations.described(table.base)
        self._relations.check_base(table, base)
        columns = [column for column in table.encrypted.values() if column.id in self._ids]
        for column in columns:
            record = self._keys.usable_current(column.family, TOKEN_KEY_TYPE, encrypt="encrypt" in self.usages)
            record.check_usage(encrypt=False)
            self._relations.check_owners_key(self._keys, base, column, self.usages)
        return Loaded(table, base, columns)

    def _load_locked(
        self, is_wanted: Callable[[EncryptedTable, EncryptedColumn], bool] = lambda table, column: True
    ) -> Loaded | None:
        """Begin a transaction in which no other session begins or ends an operation on the columns.

        Args:
            is_wanted: whether a column is to be in the description.

        Returns:
            The description of the table with these columns, or None if there are none.
        """
        for column_id in self._ids:
            self._progress.lock(column_id)
        try:
            loaded = self._load()
        except UndefinedError:
            columns = []
        else:
            columns = [column for column in loaded.columns if is_wanted(loaded.table, column)]
        if not columns:
            self._database.commit()
            return None
        return loaded._replace(columns=columns)

    def load_running(self) -> Loaded | None:
        """Do ``_load_locked`` for the columns on which the operation is running."""
        return self._load_locked(
            lambda _, column: self.is_running(column) and self._progress.operation(column) == self.operation
        )

    def _load_new(self) -> Loaded | None:
        """Do ``_load_locked`` for the columns that are not in the state of this operation yet."""
        return self._load_locked(
            lambda table, column: self.has_work(table, column) and not self.is_running(column)
        )

    def load_one(self, column: EncryptedColumn) -> tuple[Loaded, EncryptedColumn] | None:
        """Do ``load_running``, and also return the present description of one of the columns, if it is running."""
        loaded = self.load_running()
        if loaded is None:
            return None
        for each in loaded.columns:
            if each.id == column.id:
                return loaded, each
        self._database.commit()
        return None

    def lock_one(self, column: EncryptedColumn) -> tuple[Loaded, EncryptedColumn] | None:
        """Do ``load_one``, and lock the view and the base table with its partitions against all others."""

        def load() -> Loaded | None:
            found = self.load_one(column)
            return None if found is None else found[0]

        loaded = self._lock_both(load)
        if loaded is None:
            return None
        return loaded, next(each for each in loaded.columns if each.id == column.id)

    def _start(self) -> bool:
        """Begin an operation, or find it begun; return whether there is something to do."""
        loaded = self._load_locked()
        if loaded is None:
            return False
        columns = [column for column in loaded.columns if self.has_work(loaded.table, column)]
        if not columns:
            return False
        self._ids = sorted(column.id for column in columns)
        self._relations.refuse_distributed(loaded.base, f'{self.verb} column "{columns[0].name}"')
        for leaf in self._leaves(loaded):
            with self._relations.without_triggers(leaf, changes_are_undone=self.changes_are_undone):
                # This fails if the owner may not read the table, or does not see all rows (row_security is off).
                self._relations.run(leaf, f"SELECT FROM {leaf.only} LIMIT 1")
        # Two procedures that want the table for themselves would wait for each other's locks on the leaves.
        self._database.commit()
        loaded = self._lock_both(self._load_new) if self.prepares_alone else self._load_new()
        if loaded is not None:
            self.prepare(loaded, loaded.columns)
            # The next step reads the whole table, so this lock must end first.
            self._database.commit()
        loaded = self._load_locked()
        if loaded is None:
            return False
        running = [column for column in loaded.columns if self.is_running(column)]
        new = [column for column in running if self._progress.operation(column) != self.operation]
        if new:
            self._count(loaded, new)
        self._database.commit()
        if not running:
            return False
        self.begun()
        return True

    def _count(self, loaded: Loaded, columns: list[EncryptedColumn]) -> None:
        """Note that the operation has begun on some columns, and for how many rows."""
        tasks = [self.task(loaded, column) for column in columns]
        totals: list[dict[int, int]] = [{} for _ in tasks]
        for leaf in self._leaves(loaded):
            for total, count in zip(totals, self._counts(leaf, tasks, "true"), strict=True):
                total[leaf.oid] = count
        for column, total in zip(columns, totals, strict=True):
            self._progress.start(column, self.operation, total)

    def _counts(self, leaf: Table, tasks: list[Task], within: str) -> list[int]:
        """Return how many rows of a leaf need each of some tasks."""
        counts = ", ".join(
            f"pg_catalog.count(*) FILTER (WHERE {task.needs}) AS n{number}" for number, task in enumerate(tasks)
        )
        (row,) = self._relations.run(leaf, f"SELECT {counts} FROM {leaf.only} AS b WHERE {within}")
        return [int(row[f"n{number}"]) for number in range(len(tasks))]

    def _batch(self) -> bool | None:
        """Do one batch and commit.

        Returns:
            Whether the pass has come to the end of the last leaf, or None if other sessions have ended the
            operation.
        """
        started = time.monotonic()
        loaded = self.load_running()
        if loaded is None:
            return None
        try:
            found = self._lock_next_leaf(loaded, option=" NOWAIT")
        except Exception as error:
            if not is_lock_timeout(error):
                raise
            self._database.commit()
            self._wait_for_leaf()
            return False
        if found is None:
            self._database.commit()
            return True
        leaf, block = found
        tasks = [self.task(loaded, column) for column in loaded.columns]
        self._forbid_large_plans()
        blocks = self._batch_size // self._rows_per_block(leaf)
        following: int | None
        with self._writing(leaf):
            if blocks < 1:
                written, following = self._write_some(leaf, tasks, block)
            else:
                written, following = self._write_blocks(leaf, tasks, block, block + blocks)
        if not any(written) and following is not None:
            following = self._next_block(leaf, tasks, following)
        seconds = time.monotonic() - started
        for task, count in zip(tasks, written, strict=True):
            self._progress.advance(task.column.id, leaf.oid, following, count, seconds)
        self._database.commit()
        return False

    @contextmanager
    def _writing(self, leaf: Table) -> Iterator[None]:
        """Run the block's statements as the table's own triggers and constraints need them."""
        with (
            self._relations.without_triggers(leaf, changes_are_undone=self.changes_are_undone),
            self._relations.users_path(leaf, self.path),
        ):
            yield

    def _wait_for_leaf(self) -> None:
        """Wait until other sessions let the leaf where the operation goes on be written.

        In the meantime, the transaction keeps nothing else: they may be waiting for a row of the registry.
        """
        with suppress(UndefinedError):
            self._lock_next_leaf(self._load())
        self._database.commit()

    def _lock_next_leaf(
        self, loaded: Loaded, *, parents: bool = True, option: str = ""
    ) -> tuple[Table, int] | None:
        """Find the leaf where the operation goes on, and keep it in its table.

        Args:
            loaded: of this transaction.
            parents: whether to lock the tables that it is a partition of before. Without them, a table without
                partitions is not locked, either: it is in no table, and CREATE INDEX must not wait for a row.
            option: what follows the mode in LOCK TABLE.

        Returns:
            The leaf, and the block that is next in it; None if all leaves are done.
        """
        leaves = self._relations.leaves(loaded.base)
        while True:
            found = self._progress.next_leaf([column.id for column in loaded.columns], leaves)
            if found is None:
                return None
            oid, block = found
            if oid == self._base and not parents:
                return loaded.base, block
            if (leaf := self._lock_leaf(loaded, oid, parents=parents, option=option)) is not None:
                return leaf, block
            leaves.remove(oid)

    def _lock_leaf(self, loaded: Loaded, oid: int, *, parents: bool = True, option: str = "") -> Table | None:
        """Lock a leaf so that nobody drops or detaches it; return None if somebody has."""
        leaf = describe(self._database, oid)
        if leaf is None:
            return None
        self._check_leaf(loaded, leaf)
        try:
            if parents:
                self._lock_parents(leaf, option)
            self._relations.run(leaf, f"LOCK TABLE ONLY {leaf.qualified} IN ROW EXCLUSIVE MODE{option}")
        except Exception as error:
            if getattr(error, "sqlstate", None) != _UNDEFINED_TABLE:
                raise
            return None
        # It may have become another partition of that name during the wait.
        now = describe(self._database, oid)
        if now is None or now.qualified != leaf.qualified or oid not in self._relations.leaves(loaded.base):
            return None
        return now

    def _lock_parents(self, leaf: Table, option: str = "") -> None:
        """Lock the tables that a leaf is a partition of.

        A statement that writes a leaf reads the bounds of the partition, and locks these tables for that. DDL on
        partitions locks them first, and then the partition. If both lock them first, no deadlock can follow.
        """
        rows = self._database.query(
            # No function here locks a table, as pg_get_expr() does.
            "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name"
            " FROM pg_partition_ancestors($1) WITH ORDINALITY AS a (oid, distance)"
            " JOIN pg_class AS c ON c.oid = a.oid::oid AND c.relkind = 'p'"
            " JOIN pg_namespace AS n ON n.oid = c.relnamespace ORDER BY a.distance DESC",
            ("oid", leaf.oid),
        )
        if names := ", ".join(f"ONLY {row['name']}" for row in rows):
            self._database.run(f"LOCK TABLE {names} IN ACCESS SHARE MODE{option}")

    def _try_lock_parents(self, leaf: Table) -> bool:
        """Do ``_lock_parents`` if no other session has locked them, or waits for that."""
        try:
            self._lock_parents(leaf, " NOWAIT")
        except Exception as error:
            if not is_lock_timeout(error):
                raise
            return False
        return True

    def _check_leaf(self, loaded: Loaded, leaf: Table) -> None:
        """Refuse a leaf whose rows cannot be written, or on which the code of another owner would run.

        Raises:
            UnsupportedError: it is a foreign table.
            PrivilegeError: its owner is another role, and the caller has not the rights of that role, or the role
                may not use the key. The code in a table runs with the rights of the table's owner.
        """
        if leaf.kind != "r":
            raise UnsupportedError(f"{leaf} is not an ordinary table, and its rows cannot be rewritten here")
        if leaf.owner_oid != loaded.base.owner_oid:
            self._relations.check_owner(leaf.oid)
            for column in loaded.columns:
                self._relations.check_owners_key(self._keys, leaf, column, self.usages)

    def _forbid_large_plans(self) -> None:
        # A range of blocks or row numbers never takes a scan of the whole table. These settings make a small
        # table look expensive, and JIT would compile each query that reads such a table.
        off = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "jit")
        self._relations.set_local(dict.fromkeys(off, "off"))

    def _rows_per_block(self, leaf: Table) -> int:
        (row,) = self._database.query(
            "SELECT CASE WHEN c.relpages > 0 THEN c.reltuples / c.relpages ELSE 0 END AS known,"
            " pg_relation_size(c.oid) / current_setting('block_size')::int8 AS blocks FROM pg_class AS c"
            " WHERE c.oid = $1",
            ("oid", leaf.oid),
        )
        rows = self._progress.rows_total(self._ids, leaf.oid)
        return int(max(self._densest, round(row["known"]), rows // max(1, row["blocks"])))

    def _write_blocks(self, leaf: Table, tasks: list[Task], block: int, end: int) -> tuple[list[int], int | None]:
        """Write the rows of some blocks; return how many for each task, and the block after them."""
        needs, assignments = _needs(tasks), _assignments(tasks)
        blocks = f"b.ctid >= '({block},0)'::tid AND b.ctid < '({end},0)'::tid"
        # The number that an UPDATE returns does not say how many rows each column has.
        counts = self._counts(leaf, tasks, blocks) if len(tasks) > 1 else []
        # Usually no other session has locked a row, and all rows are written without being locked first.
        self._relations.set_local({"lock_timeout": _LOCK_TIMEOUT})
        try:
            written = self._relations.write(
                leaf, f"UPDATE {leaf.only} AS b SET {assignments} WHERE {blocks} AND {needs}"
            )
            counts = counts or [written]
        except Exception as error:
            # A row that is moved to another partition at this moment is a serialization failure.
            if not (is_lock_timeout(error) or is_serialization_failure(error)):
                raise
            self._relations.set_local({"lock_timeout": "0"})
            written, counts, _ = self._write_unlocked(leaf, tasks, blocks, "")
        self._relations.set_local({"lock_timeout": "0"})
        # Dense blocks make the next batch smaller, so that it does not exceed the batch size.
        self._densest = max(self._densest, -(-written // (end - block)))
        return counts, end

    def _write_some(self, leaf: Table, tasks: list[Task], block: int) -> tuple[list[int], int | None]:
        """Write fewer rows than a block has.

        Returns:
            The number of rows for each task, and the block of the last row, or None for the end.
        """
        found, counts, last = self._write_unlocked(
            leaf, tasks, f"b.ctid >= '({block},0)'::tid", f" LIMIT {self._batch_size}"
        )
        return counts, last if found == self._batch_size else None

    def _write_unlocked(
        self, leaf: Table, tasks: list[Task], within: str, limit: str
    ) -> tuple[int, list[int], int | None]:
        """Write the rows that no other session has locked.

        Returns:
            The number of rows, the number for each task, and the block of the last row.
        """
        needs, each = _needs(tasks), _each(tasks)
        counts = ", ".join(
            f"(SELECT count(*) FROM batch WHERE n{number}) AS n{number}" for number in range(len(tasks))
        )
        statement = (
            f"WITH batch AS MATERIALIZED (SELECT b.ctid AS tid, {each} FROM {leaf.only} AS b"
            f" WHERE {within} AND {needs}{limit} FOR NO KEY UPDATE OF b SKIP LOCKED),"
            f" written AS (UPDATE {leaf.only} AS b SET {_assignments(tasks)}"
            f" WHERE b.ctid = ANY (ARRAY(SELECT tid FROM batch)) AND {needs} RETURNING 1)"
            " SELECT (SELECT count(*) FROM written) AS written, (SELECT count(*) FROM batch) AS found,"
            f" (SELECT (max(tid)::text::point)[0]::bigint FROM batch) AS block, {counts}"
        )
        tries = _TRIES
        while True:
            try:
                (row,) = self._relations.run(leaf, statement)
                break
            except Exception as error:
                # The next snapshot does not show the row that was moved to another partition.
                tries -= 1
                if not is_serialization_failure(error) or not tries:
                    raise
        return row["found"], [int(row[f"n{number}"]) for number in range(len(tasks))], row["block"]

    def _next_block(self, leaf: Table, tasks: list[Task], block: int) -> int | None:
        rows = self._relations.run(
            leaf,
            f"SELECT (b.ctid::text::point)[0]::bigint AS block FROM {leaf.only} AS b"
            f" WHERE b.ctid >= '({block},0)'::tid AND {_needs(tasks)} LIMIT 1",
        )
        return int(rows[0]["block"]) if rows else None

    def _wait_for_one(self) -> None:
        """Write one of the rows that others had locked, as soon as they let it go."""
        started = time.monotonic()
        try:
            loaded = self._load()
        except UndefinedError:
            self._database.commit()
            return
        loaded = loaded._replace(columns=[column for column in loaded.columns if self.is_running(column)])
        tasks = [self.task(loaded, column) for column in loaded.columns]
        # DDL on other partitions needs the tables whose partition this is, and does not wait for the row.
        found = self._lock_next_leaf(loaded, parents=False) if loaded.columns else None
        if found is None:
            self._database.commit()
            return
        leaf = found[0]
        needs, each = _needs(tasks), _each(tasks)
        with self._writing(leaf):
            find = (
                f"SELECT b.ctid::text AS tid, {each} FROM {leaf.only} AS b WHERE {needs} LIMIT 1"
                " FOR NO KEY UPDATE OF b"
            )
            self._relations.set_local({"lock_timeout": _REPORT_TIMEOUT})
            rows = self._find_one(leaf, find)
            if rows is None:
                self._report_users(loaded)
                self._relations.set_local({"lock_timeout": "0"})
                rows = self._find_one(leaf, find) or []
            self._relations.set_local({"lock_timeout": "0"})
            if rows and not self._try_lock_parents(leaf):
                # The next batch waits for them while it holds no lock.
                rows = []
            for row in rows:
                self._relations.write(
                    leaf,
                    f"UPDATE {leaf.only} AS b SET {_assignments(tasks)}"
                    f" WHERE b.ctid = '{row['tid']}'::tid AND {needs}",
                )
        # The row lock must end first: the session that holds the operation may be waiting for the table.
        self._database.commit()
        if not rows or (running := self.load_running()) is None:
            return
        seconds = time.monotonic() - started
        ids = {column.id for column in running.columns}
        for number, task in enumerate(tasks):
            if task.column.id in ids:
                self._progress.advance(task.column.id, leaf.oid, 0, int(rows[0][f"n{number}"]), seconds)
        self._database.commit()

    def _find_one(self, leaf: Table, find: str) -> Rows | None:
        """Run a query that locks a row; return None if that takes too long, and no row if it was moved."""
        try:
            return self._relations.run(leaf, find)
        except Exception as error:
            if is_lock_timeout(error):
                return None
            if is_serialization_failure(error):
                return []
            raise

    def _finish(self) -> bool:
        """End the operation on the columns of which no row needs it any more; return whether none is left."""
        loaded = self.load_running()
        if loaded is None:
            return True
        tasks = [self.task(loaded, column) for column in loaded.columns]
        unfinished: set[int] = set()
        # No partition can be attached or detached until the transaction ends; their rows are not locked. This lock
        # conflicts with VACUUM and ANALYZE of the partitioned tables, which have no rows, and with DDL.
        for leaf in self._leaves(loaded, "SHARE UPDATE EXCLUSIVE"):
            exist = ", ".join(
                f"EXISTS (SELECT FROM {leaf.only} AS b WHERE {task.needs}) AS n{number}"
                for number, task in enumerate(tasks)
            )
            (row,) = self._relations.run(leaf, f"SELECT {exist}")
            for number, task in enumerate(tasks):
                if row[f"n{number}"]:
                    unfinished.add(task.column.id)
                    self._progress.restart_leaf(task.column.id, leaf.oid)
        for column in loaded.columns:
            # No further row can need the operation: new values are written in their final form.
            if column.id not in unfinished and not self.finish(loaded, column):
                unfinished.add(column.id)
        self._database.commit()
        return not unfinished

    def _leaves(self, loaded: Loaded, mode: str = "ACCESS SHARE") -> Iterator[Table]:
        """Return all leaves. Lock the partitioned tables before, so that a statement on a leaf waits for none."""
        for table in self._relations.partitioned_tables(loaded.base):
            self._relations.run(table, f"LOCK TABLE ONLY {table.qualified} IN {mode} MODE")
        for oid in self._relations.leaves(loaded.base):
            leaf = self._relations.described(oid)
            self._check_leaf(loaded, leaf)
            yield leaf

    # For the procedures.

    def is_left(self, loaded: Loaded, column: EncryptedColumn) -> bool:
        """Return whether a row needs the operation, and begin again with the leaves that have one."""
        task = self.task(loaded, column)
        found = False
        for leaf in self._leaves(loaded):
            if self._relations.run(leaf, f"SELECT FROM {leaf.only} AS b WHERE {task.needs} LIMIT 1"):
                self._progress.restart_leaf(column.id, leaf.oid)
                found = True
        return found

    def pause(self) -> None:
        """Wait a moment."""
        self._database.pause(_PAUSE_SECONDS)

    def _lock_both(self, load: Callable[[], Loaded | None]) -> Loaded | None:
        """Lock the view and the base table with its partitions against all others.

        Between two attempts, the transaction ends. The sessions that use the table may themselves wait for the end
        of all transactions, as REINDEX CONCURRENTLY does, or for a row of the registry.

        Args:
            load: begins a transaction, and describes the table; or ends it, and returns None.

        Returns:
            The description of the locked table, or None as soon as there is none.
        """
        while (loaded := load()) is not None:
            if self._try_lock(loaded.table):
                # Another session may have changed the table before it was locked.
                return load()
            self._report_users(loaded)
            self._database.commit()
            self.pause()
        return None

    def _try_lock(self, table: EncryptedTable) -> bool:
        """Lock the view and the base table if they are free soon. A longer wait would make later sessions wait."""
        # Lock the view first, as all statements on the view do.
        names = [self._relations.described(oid).qualified for oid in (table.relation, table.base)]
        self._relations.set_local({"lock_timeout": _LOCK_TIMEOUT})
        try:
            self._database.run(f"LOCK TABLE {', '.join(names)} IN ACCESS EXCLUSIVE MODE")
            is_locked = True
        except Exception as error:
            # Its name can change during the wait.
            if not is_lock_timeout(error) and getattr(error, "sqlstate", None) != _UNDEFINED_TABLE:
                raise
            is_locked = False
        self._relations.set_local({"lock_timeout": "0"})
        return is_locked

    def _report_users(self, loaded: Loaded) -> None:
        """Name the sessions that use a table, and keep the procedure waiting, in a notice."""
        users = self._database.query(
            # A prepared transaction has no pid.
            "SELECT DISTINCT l.pid FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database"
            " WHERE l.granted AND l.pid IS DISTINCT FROM pg_backend_pid() AND d.datname = current_database()"
            " AND l.relation = ANY ($1) ORDER BY 1",
            ("oid[]", self.relation_oids(loaded)),
        )
        names = [f"session {row['pid']}" if row["pid"] else "a prepared transaction" for row in users]
        verb = "uses" if len(names) == 1 else "use"
        self.report_waiting(names, f"which {verb} {loaded.table.name}")

    def relation_oids(self, loaded: Loaded) -> list[int]:
        """Return the OIDs of the view, the base table and its partitions."""
        return [loaded.table.relation, *tree_of(self._database, loaded.base)]

    def report_waiting(self, others: list[str], reason: str) -> None:
        """Name the sessions or slots that the procedure waits for in a notice, unless the last notice did."""
        if others and others != self._waits_for:
            self._database.notice(f"waiting for {', '.join(others[:10])}, {reason}")
            self._waits_for = others


def _needs(tasks: list[Task]) -> str:
    """Return the condition for rows that need one of some tasks."""
    return "(" + " OR ".join(f"({task.needs})" for task in tasks) + ")"


def _each(tasks: list[Task]) -> str:
    """Return the columns ``n0``, ``n1``, …: whether a row needs each of some tasks. None of them is NULL."""
    return ", ".join(f"({task.needs}) IS TRUE AS n{number}" for number, task in enumerate(tasks))


def _assignments(tasks: list[Task]) -> str:
    """Return the SET clause that does each task for the rows that need it."""
    if len(tasks) == 1:
        return f"{quote_name(tasks[0].target)} = {tasks[0].value}"
    return ", ".join(
        f"{quote_name(task.target)} = CASE WHEN {task.needs} THEN {task.value}"
        f" ELSE b.{quote_name(task.target)} END"
        for task in tasks
    )
