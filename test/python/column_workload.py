"""A workload for migrate_column, rotate_column and decrypt_column: sessions that read and write all the time.

Writers and readers go through the view in many sessions while a procedure rewrites the table beneath it. A model
keeps the rows that the writers committed. The readers compare every row with it all the time, and the test does
after each kill and at the end.
"""

import contextlib
import itertools
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import psycopg
import pytest
from cluster import Cluster
from conftest import Connection, rows, value
from psycopg import errors
from waiting import wait_until

OPERATIONS = ("migrate", "rotate", "decrypt")
STATES = {"migrate": "migrating", "rotate": "rotating", "decrypt": "decrypting"}
LIMITS = "-c statement_timeout=2s -c lock_timeout=2s"
"""For sessions that must never wait for a procedure for longer than a batch takes; generous, for slow machines."""
SEED = int(os.environ.get("PGKEYMGR_TEST_SEED", "0")) or time.time_ns()
Row = tuple[str | None, int]
"""The values of ``ssn`` and ``n`` in a row."""


class Lost:
    """In the place of a row that was never committed."""


LOST = Lost()
_DATABASES = itertools.count(1)


def seeded(name: str) -> random.Random:
    """Return a generator that gives the same again if ``$PGKEYMGR_TEST_SEED`` is set."""
    return random.Random(f"{SEED} {name}")  # noqa: S311  # it chooses rows and moments


# The model


class Model:
    """The contents of the table: the states of each row that were committed, and those that may be by now.

    A state is noted right before its COMMIT is sent, and confirmed when that has returned. So what a SELECT gives
    is one of the states from the one that was confirmed before it to the last one noted after it. A row that is
    deleted, or not there yet, is None.
    """

    def __init__(self, initial: dict[int, Row]) -> None:
        self._lock = threading.Lock()
        self._history: dict[int, list[Row | Lost | None]] = {number: [row] for number, row in initial.items()}
        self._confirmed = dict.fromkeys(initial, 0)
        # Of the number of rows: how much is certain, and how much more or less it may be.
        self._count = len(initial)
        self._births = self._deaths = 0

    def note(self, number: int, row: Row | None) -> int:
        """Note that a transaction is about to commit this; return which state of the row that is."""
        with self._lock:
            history = self._history.setdefault(number, [None])
            self._births += history[-1] is None
            self._deaths += row is None
            history.append(row)
            return len(history) - 1

    def confirm(self, number: int, state: int) -> None:
        """Note that it has committed."""
        with self._lock:
            self._confirmed[number] = max(self._confirmed.get(number, 0), state)
            self._settle(number, state, committed=True)

    def retract(self, number: int, state: int) -> None:
        """Note that it has not committed, nor will."""
        with self._lock:
            self._settle(number, state, committed=False)
            self._history[number][state] = LOST

    def _settle(self, number: int, state: int, *, committed: bool) -> None:
        history = self._history[number]
        is_birth, is_death = history[state - 1] is None, history[state] is None
        self._births -= is_birth
        self._deaths -= is_death
        self._count += (is_birth - is_death) * committed

    def rows(self) -> dict[int, Row]:
        """Return what the table has when no transaction is in flight."""
        with self._lock:
            return {number: row for number in self._history if (row := self._last(number)) is not None}

    def row(self, number: int) -> Row:
        """Return a row that nobody else changes."""
        with self._lock:
            row = self._last(number)
        assert row is not None
        return row

    def _last(self, number: int) -> Row | None:
        return next(state for state in reversed(self._history[number]) if not isinstance(state, Lost))

    def now(self) -> dict[int, int]:
        """Return, before a SELECT, the confirmed state of each row."""
        with self._lock:
            return dict(self._confirmed)

    def bounds(self) -> tuple[int, int]:
        """Return how many rows there are at least and at most."""
        with self._lock:
            return self._count - self._deaths, self._count + self._births

    def explain(self, before: dict[int, int], numbers: range, found: Sequence[tuple[int, str | None, int]]) -> str:
        """Return what is wrong with the rows that a SELECT of these numbers gave, or None."""
        seen: dict[int, Row] = {}
        for number, ssn, n in found:
            if number in seen:
                return f"row {number} twice"
            seen[number] = (ssn, n)
        for number in numbers:
            history = self._history.get(number, [None])
            if seen.get(number) not in history[before.get(number, 0) :]:
                allowed = history[before.get(number, 0) :]
                return f"row {number} is {seen.get(number)!r}, and should be one of {allowed!r}"
        return ""


# Sessions


@dataclass
class Target:
    """A database of a server, in which the test works."""

    server: Cluster
    name: str

    @contextlib.contextmanager
    def session(self, user: str = "postgres", options: str = "") -> Iterator[Connection]:
        """Open a session that ends with the block, whatever the server did to it."""
        connection = self.connect(user, options)
        try:
            yield connection
        finally:
            connection.close()

    def connect(self, user: str = "postgres", options: str = "") -> Connection:
        """Open a session."""
        return self.server.connect(self.name, user=user, options=options)


def is_lost(error: psycopg.Error) -> bool:
    """Return whether an error says that the connection or the server is gone."""
    return isinstance(error, psycopg.OperationalError) and error.sqlstate in (None, "57P01", "57P02", "57P03")


class Worker(threading.Thread):
    """A session that does one thing after another, as long as its workload wants."""

    def __init__(self, workload: "Workload", number: int) -> None:
        super().__init__(daemon=True)
        self.workload = workload
        self.number = number
        self.random = seeded(f"{type(self).__name__} {number}")
        self.is_lost = False
        self.figures: Counter[str] = Counter()
        self.longest = 0.0
        self._connection: Connection | None = None

    def run(self) -> None:
        """Work until it is enough; an error is noted, and ends it."""
        try:
            while self.workload.pass_gate(self):
                try:
                    self._work()
                except psycopg.Error as error:
                    if not (is_lost(error) and self.workload.expects_crash):
                        raise
                    self.is_lost = True
                    self.forget_connection()
        except BaseException as error:
            self.workload.fail(self, error)
        finally:
            self.forget_connection()

    def _work(self) -> None:
        if self._connection is None:
            self._connection = self.workload.target.connect(options=self.workload.options)
        started = time.monotonic()
        self.step(self._connection)
        self.longest = max(self.longest, time.monotonic() - started)

    def forget_connection(self) -> None:
        """Make the next step connect again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def step(self, connection: Connection) -> None:
        """Do one thing."""
        raise NotImplementedError


class Writer(Worker):
    """Changes rows through the view, in transactions that also leave their number in a ledger.

    A few rows are everybody's; of the others, each writer has its own, so that whatever an update of those says of
    a concurrent change is wrong.
    """

    def __init__(self, workload: "Workload", number: int, own: list[int]) -> None:
        super().__init__(workload, number)
        self._own = own
        # The transaction whose COMMIT was sent: its number in the ledger, and the states of rows.
        self.in_flight: tuple[int, list[tuple[int, int]]] | None = None

    def step(self, connection: Connection) -> None:
        """Do one transaction."""
        kind = self.random.choices(
            [
                self._insert_row,
                self._update_value,
                self._update_number,
                self._update_many,
                self._delete_row,
                self._update_shared,
            ],
            weights=[10, 35, 20, 5, 6, 24],
        )[0]
        kind(connection)
        self.figures["writes"] += 1

    def _value(self) -> str | None:
        number = next(self.workload.numbers)
        return self.random.choice([f"value {number}", f"value {number}", "", None, "ä€🙂" * 300 + str(number)])

    def _insert_row(self, connection: Connection) -> None:
        row = (self._value(), self.random.randrange(10))
        (number,) = self._transact(
            connection, "INSERT INTO customer (ssn, n) VALUES (%s, %s) RETURNING id, ssn, n", row, lambda _: row
        )
        self._own.append(number)

    def _update_value(self, connection: Connection) -> None:
        ssn = self._value()
        self._update(
            connection, "UPDATE customer SET ssn = %s WHERE id = ANY (%s)", [ssn], lambda row: (ssn, row[1])
        )

    def _update_number(self, connection: Connection) -> None:
        self._update(
            connection, "UPDATE customer SET n = n + 1 WHERE id = ANY (%s)", [], lambda row: (row[0], row[1] + 1)
        )

    def _update_many(self, connection: Connection) -> None:
        change = "UPDATE customer SET n = n + 1, ssn = ssn || '!' WHERE id = ANY (%s)"
        self._update(
            connection, change, [], lambda row: (None if row[0] is None else row[0] + "!", row[1] + 1), count=5
        )

    def _update(
        self,
        connection: Connection,
        change: str,
        parameters: list[Any],
        changed: Callable[[Row], Row],
        count: int = 1,
    ) -> None:
        chosen = sorted(self.random.sample(self._own, count))
        if self.random.random() < 0.1:
            change += " AND pg_backend_pid() IS NOT NULL"  # a statement that is not prepared yet
        done = self._transact(
            connection,
            change + " RETURNING id, ssn, n",
            [*parameters, chosen],
            lambda number: changed(self.workload.model.row(number)),
        )
        assert sorted(done) == chosen, f"of {chosen}, {done} were updated"

    def _delete_row(self, connection: Connection) -> None:
        place = self.random.randrange(len(self._own))
        self._own[place], self._own[-1] = self._own[-1], self._own[place]
        number = self._own[-1]
        done = self._transact(
            connection, "DELETE FROM customer WHERE id = %s RETURNING id", [number], lambda _: None
        )
        assert done == [number]
        self._own.pop()

    def _update_shared(self, connection: Connection) -> None:
        # Each state of a shared row has another n: their order is the order of the commits.
        number = self.random.choice(self.workload.shared)
        parameters: list[Any] = [number]
        change = "n = n + 1"
        if self.random.random() < 0.5:
            change += ", ssn = %s"
            parameters.insert(0, self._value())
        lock = f"SELECT FROM customer WHERE id = {number} FOR UPDATE" if self.random.random() < 0.3 else None
        statement = f"UPDATE customer SET {change} WHERE id = %s RETURNING id, ssn, n"
        while True:
            try:
                self._transact(connection, statement, parameters, None, lock)
                return
            except errors.SerializationFailure:
                # Not for a row that was locked before: nobody can have changed it since.
                assert lock is None
                self.figures["retries"] += 1
                if self.workload.is_stopping:
                    return

    def _transact(
        self,
        connection: Connection,
        statement: str,
        parameters: Sequence[Any],
        expected: Callable[[int], Row | None] | None,
        lock: str | None = None,
    ) -> list[int]:
        """Run a statement and commit; return the numbers of the rows that it gave back."""
        model, sequence = self.workload.model, next(self.workload.numbers)
        connection.execute("BEGIN")
        try:
            if lock:
                connection.execute(lock.encode())
            found = connection.execute(statement.encode(), parameters).fetchall()
        except psycopg.Error as error:
            if not is_lost(error):
                connection.execute("ROLLBACK")
            raise
        connection.execute("INSERT INTO ledger VALUES (%s)", [sequence])
        states = []
        for number, *shown in found:
            row = expected(number) if expected else (shown[0], shown[1])
            assert not shown or row == tuple(shown), f"{statement} gave {shown}, not {row}"
            states.append((number, model.note(number, row)))
        self.in_flight = (sequence, states)
        connection.execute("COMMIT")
        self.resolve(committed=True)
        return [number for number, _ in states]

    def resolve(self, *, committed: bool) -> None:
        """Note what became of the transaction in flight."""
        assert self.in_flight is not None
        for number, state in self.in_flight[1]:
            (self.workload.model.confirm if committed else self.workload.model.retract)(number, state)
        self.in_flight = None

    def recall(self) -> None:
        """After a crash: make the rows its own that are there."""
        # A row that was inserted by a transaction whose end was not seen is nobody's, and stays as it is.
        there = self.workload.model.rows()
        self._own = [number for number in self._own if number in there]


class Reader(Worker):
    """Reads through the view, and compares what it gets with the model."""

    def step(self, connection: Connection) -> None:
        """Do one query."""
        kind = self.random.choices(
            [self._read_one, self._read_some, self._count, self._read_all, self._read_repeatably],
            weights=[60, 25, 10, 2, 3],
        )[0]
        kind(connection)
        self.figures["reads"] += 1

    def _check(self, connection: Connection, numbers: range, before: dict[int, int]) -> None:
        found = connection.execute(
            "SELECT id, ssn, n FROM customer WHERE id >= %s AND id < %s", [numbers.start, numbers.stop]
        ).fetchall()
        wrong = self.workload.model.explain(before, numbers, [(number, ssn, n) for number, ssn, n in found])
        assert not wrong, wrong
        self.figures["rows"] += len(found)

    def _read_one(self, connection: Connection) -> None:
        before = self.workload.model.now()
        number = self.random.randrange(1, len(before) + 1)
        self._check(connection, range(number, number + 1), before)

    def _read_some(self, connection: Connection) -> None:
        before = self.workload.model.now()
        number = self.random.randrange(1, len(before) + 1)
        self._check(connection, range(number, number + 100), before)

    def _read_all(self, connection: Connection) -> None:
        before = self.workload.model.now()
        self._check(connection, range(1, max(before) + 1000), before)

    def _count(self, connection: Connection) -> None:
        least, _ = self.workload.model.bounds()
        before = self.workload.figure("writes")
        counted = value(connection, "SELECT count(*) FROM customer")
        _, most = self.workload.model.bounds()
        # In between, rows may have come and gone again, at most one with each transaction.
        slack = self.workload.figure("writes") - before + len(self.workload.writers)
        assert least - slack <= counted <= most + slack

    def _read_repeatably(self, connection: Connection) -> None:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        number = self.random.randrange(1, len(self.workload.model.now()) + 1)
        query = f"SELECT id, ssn, n FROM customer WHERE id BETWEEN {number} AND {number + 50} ORDER BY id"
        first = rows(connection, query)
        for _ in range(5):
            assert rows(connection, query) == first
        connection.execute("COMMIT")


class Workload:
    """Writers and readers, from the beginning of a block to its end."""

    def __init__(
        self,
        target: Target,
        initial: dict[int, Row],
        writers: int = 4,
        readers: int = 3,
        options: str = "-c statement_timeout=30s",
        reserved: Sequence[int] = (),
    ) -> None:
        """Make one, not started yet.

        Args:
            target: where.
            initial: what the table has.
            writers: how many sessions write.
            readers: how many sessions read.
            options: for all of these sessions.
            reserved: rows that none of the writers touches.
        """
        self.target = target
        self.options = options
        self.model = Model(initial)
        self.numbers = itertools.count(1)
        self.expects_crash = False
        self.is_stopping = False
        self.reserved = list(reserved)
        self.shared = sorted(initial.keys() - set(reserved))[:5]
        own = sorted(initial.keys() - {*reserved, *self.shared})
        self.writers = [Writer(self, number, own[number::writers]) for number in range(writers)]
        self.readers = [Reader(self, number) for number in range(readers)]
        self._workers: list[Worker] = [*self.writers, *self.readers]
        self._gate = threading.Condition()
        self._is_closed = False
        self._parked: set[Worker] = set()
        self._failures: list[str] = []

    def __enter__(self) -> Self:
        for worker in self._workers:
            worker.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        with self._gate:
            self.is_stopping = True
            self._gate.notify_all()
        for worker in self._workers:
            worker.join(60)
        if error is None:
            self.check()

    def check(self) -> None:
        """Raise what went wrong in a session so far."""
        assert not self._failures, "\n".join(self._failures)

    def fail(self, worker: Worker, error: BaseException) -> None:
        """Note what went wrong in a session."""
        with self._gate:
            code = getattr(error, "sqlstate", None)
            self._failures.append(
                f"{type(worker).__name__} {worker.number}: {type(error).__name__} {code}: {error}"
            )
            self._parked.add(worker)
            self._gate.notify_all()

    def pass_gate(self, worker: Worker) -> bool:
        """Wait while the workload is paused, or the connection lost. Return whether to go on."""
        with self._gate:
            if self._is_closed or worker.is_lost:
                self._parked.add(worker)
                self._gate.notify_all()
                self._gate.wait_for(lambda: self.is_stopping or not (self._is_closed or worker.is_lost))
                self._parked.discard(worker)
            return not self.is_stopping

    def figure(self, name: str) -> int:
        """Add up what the sessions counted."""
        return sum(worker.figures[name] for worker in self._workers)

    def work(self, count: int) -> None:
        """Wait until the writers have done so many more transactions."""

        def is_done() -> bool:
            self.check()
            return self.figure("writes") >= enough

        enough = self.figure("writes") + count
        wait_until(is_done, "writers at work")

    @property
    def longest(self) -> float:
        """The longest transaction of a writer, or query of a reader, in seconds."""
        return max(worker.longest for worker in self._workers)

    def pause(self) -> None:
        """Wait until no session does anything."""
        with self._gate:
            self._is_closed = True
            done = self._gate.wait_for(lambda: self._parked == set(self._workers), 60)
            assert done, "a session hangs"
        self.check()

    def settle(self, connection: Connection) -> int:
        """Pause, find out what became of the transactions in flight, and compare all rows with the model."""
        self.pause()
        for writer in self.writers:
            if writer.in_flight is not None:
                committed = value(
                    connection, f"SELECT EXISTS (SELECT FROM ledger WHERE number = {writer.in_flight[0]})"
                )
                writer.figures["ambiguous"] += 1
                writer.resolve(committed=committed)
            if writer.is_lost:
                writer.recall()
        return self.verify(connection)

    def verify(self, connection: Connection) -> int:
        """Compare all rows with the model; return how many there are."""
        found = rows(connection, "SELECT id, ssn, n FROM customer")
        as_rows = {number: (ssn, n) for number, ssn, n in found}
        expected = self.model.rows()
        assert len(found) == len(as_rows), "a row is there twice"
        assert as_rows.keys() == expected.keys()
        wrong = {number: (row, expected[number]) for number, row in as_rows.items() if row != expected[number]}
        assert not wrong
        return len(found)

    def resume(self) -> None:
        """Go on after ``settle``; who had lost the connection makes a new one."""
        for worker in self._workers:
            if self.expects_crash:
                worker.forget_connection()
            worker.is_lost = False
        self.expects_crash = False
        with self._gate:
            self._is_closed = False
            self._gate.notify_all()


class Call(threading.Thread):
    """A procedure, running in a session of its own."""

    def __init__(
        self,
        target: Target,
        operation: str,
        batch_size: int = 100,
        user: str = "postgres",
        relation: str = "customer",
    ) -> None:
        super().__init__(daemon=True)
        self._connection = target.connect(user)
        self._statement = f"CALL pgkeymgr.{operation}_column('{relation}', 'ssn', {batch_size})"
        self.pid = self._connection.info.backend_pid
        self.error: psycopg.Error | None = None
        self.seconds = 0.0
        self.start()

    def run(self) -> None:
        """Call it, and keep its error."""
        started = time.monotonic()
        try:
            self._connection.execute(self._statement.encode())
        except psycopg.Error as error:
            self.error = error
        self.seconds = time.monotonic() - started
        self._connection.close()

    def wait_for(self, connection: Connection, done: float) -> None:
        """Wait until it has done so many rows, or ended."""
        wait_until(lambda: not self.is_alive() or (progress(connection) or (-1, 0))[0] >= done, "progress")

    def finish(self) -> None:
        """Wait until it has ended, without an error."""
        self.join(60)
        assert not self.is_alive(), "the procedure does not end"
        if self.error is not None:
            raise self.error


# What is there


def initial_rows(count: int) -> dict[int, Row]:
    """Return rows with values of all kinds."""
    return {
        number: (None if number % 10 == 0 else "" if number % 10 == 1 else f"value of {number}", number % 7)
        for number in range(1, count + 1)
    }


def make_table(connection: Connection, count: int, more: str = "") -> dict[int, Row]:
    """Make the tables of a test, the column not encrypted yet; return the rows."""
    initial = initial_rows(count)
    connection.execute(
        "CREATE TABLE customer (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, ssn text,"
        f" n integer NOT NULL{more})".encode()
    )
    with connection.cursor().copy("COPY customer (id, ssn, n) FROM STDIN") as copy:
        for number, row in initial.items():
            copy.write_row((number, *row))
    connection.execute(f"SELECT setval('customer_id_seq', {count})".encode())
    connection.execute("CREATE TABLE ledger (number bigint PRIMARY KEY)")
    return initial


def make_ready(connection: Connection, operation: str) -> None:
    """Bring the table to where an operation can begin."""
    state = state_of(connection)
    if state is None:
        connection.execute("SELECT pgkeymgr.encrypt_column('customer', 'ssn')")
        state = "migrating"
    if operation == "migrate":
        if state == "encrypted":
            connection.execute("CALL pgkeymgr.decrypt_column('customer', 'ssn')")
            connection.execute("SELECT pgkeymgr.encrypt_column('customer', 'ssn')")
    elif state == "migrating":
        connection.execute("CALL pgkeymgr.migrate_column('customer', 'ssn')")


def state_of(connection: Connection) -> str | None:
    """Return the state of the column, or None if it is not encrypted."""
    found = rows(connection, "SELECT state::text FROM pgkeymgr.encrypted_columns")
    return found[0][0] if found else None


def progress(connection: Connection) -> tuple[int, int] | None:
    """Return how many rows the operation has done, and of how many, or None if there is none."""
    found = rows(connection, "SELECT rows_done, rows_total FROM pgkeymgr.column_progress")
    return found[0] if found else None


def needs(operation: str) -> str:
    """Return the condition for rows of the base table that an operation has yet to do."""
    current = (
        "(SELECT max(k.id) FROM pgkeymgr.key AS k JOIN pgkeymgr.encrypted_column AS c ON c.key_family = k.family)"
    )
    return {
        "migrate": "ssn IS NOT NULL",
        "rotate": f"substr(ssn_encrypted, 2, 4) <> int4send({current})",
        "decrypt": "ssn_encrypted IS NOT NULL",
    }[operation]


def left(connection: Connection, operation: str) -> int:
    """Count the rows that an operation has yet to do; none if it has not begun, or has ended."""
    if state_of(connection) != STATES[operation]:
        return 0
    try:
        counted = value(connection, f"SELECT count(*) FROM customer_encrypted WHERE {needs(operation)}")
    except (errors.UndefinedColumn, errors.UndefinedTable):
        # It ended in between.
        return 0
    assert isinstance(counted, int)
    return counted


def check_result(connection: Connection, operation: str, expected: dict[int, Row]) -> None:
    """Check what an operation that has ended has made of the table."""
    assert rows(connection, "TABLE pgkeymgr.column_progress") == []
    kinds = dict(
        rows(connection, "SELECT relname::text, relkind::text FROM pg_class WHERE relname LIKE 'customer%'")
    )
    columns = (
        "SELECT array_agg(attname::text ORDER BY attname) FROM pg_attribute"
        " WHERE attrelid = '{}'::regclass AND attnum > 0 AND NOT attisdropped"
    )
    if operation == "decrypt":
        assert state_of(connection) is None
        assert kinds["customer"] == "r"
        assert "customer_encrypted" not in kinds
        assert value(connection, columns.format("customer")) == ["id", "n", "ssn"]
        return
    assert state_of(connection) == "encrypted"
    assert kinds["customer"] == "v"
    assert value(connection, columns.format("customer_encrypted")) == ["id", "n", "ssn", "ssn_encrypted"]
    tokens, ids = rows(
        connection,
        "SELECT count(*),"
        " array_agg(DISTINCT ('x' || encode(substr(ssn_encrypted, 2, 4), 'hex'))::bit(32)::integer)"
        " FROM customer_encrypted WHERE ssn_encrypted IS NOT NULL",
    )[0]
    assert tokens == sum(ssn is not None for ssn, _ in expected.values())
    name = value(connection, "SELECT key_name FROM pgkeymgr.encrypted_columns")
    assert ids == [value(connection, f"SELECT max(id) FROM pgkeymgr.key WHERE name = '{name}'")]


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """A server of this module's own: it will be killed. Its vacuum is eager, so that rows move backwards."""
    settings = {"autovacuum_naptime": "1s", "autovacuum_vacuum_scale_factor": "0.05", "max_connections": "60"}
    with Cluster(settings=settings) as running:
        with running.connect() as connection:
            connection.execute("CREATE ROLE keeper LOGIN")
            connection.execute("CREATE ROLE stranger LOGIN")
        yield running
        # No session was sacrificed, whichever tests ran.
        assert "deadlock detected" not in running.log
        assert "PANIC" not in running.log


@pytest.fixture
def target(server: Cluster) -> Target:
    """A new database with the extension."""
    name = f"operations_{next(_DATABASES)}"
    server.create_database(name)
    with server.connect(name) as connection:
        connection.execute("GRANT pgkeymgr_admin TO keeper, stranger")
        connection.execute("GRANT CREATE, USAGE ON SCHEMA public TO keeper")
    return Target(server, name)


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Print a line of figures, whether output is captured or not."""

    def print_line(line: str) -> None:
        with capsys.disabled():
            print(f"\n{line}")

    return print_line
