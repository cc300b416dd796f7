"""A partitioned table with two columns to encrypt, and sessions that write it, for the tests of the procedures."""

import itertools
import os
import random
import signal
import threading
from collections import Counter

import psycopg
from column_workload import Target, is_lost
from conftest import Connection, rows, value
from psycopg import errors
from waiting import wait_until

Row = tuple[str, str | None, str | None]
"""The values of ``region``, ``ssn`` and ``email``."""

PARTITIONS = """
    CREATE TABLE customer (
        id bigint NOT NULL, region text NOT NULL, ssn text, email text, n integer NOT NULL DEFAULT 0,
        PRIMARY KEY (id, region)
    ) PARTITION BY LIST (region);
    CREATE TABLE customer_eu PARTITION OF customer FOR VALUES IN ('eu');
    CREATE TABLE customer_us PARTITION OF customer FOR VALUES IN ('us') PARTITION BY HASH (id);
    CREATE TABLE customer_us_0 PARTITION OF customer_us FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE customer_us_1 PARTITION OF customer_us FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    CREATE TABLE customer_rest PARTITION OF customer DEFAULT;
"""
LEAVES = ["customer_eu", "customer_rest", "customer_us_0", "customer_us_1"]
REGIONS = ("eu", "us", "ch", "jp")


def initial(count: int) -> dict[int, Row]:
    """Return rows of all partitions; every tenth has no ssn, every third no email."""
    return {
        number: (
            REGIONS[number % 4],
            None if number % 10 == 0 else f"ssn {number}",
            None if number % 3 == 0 else f"email {number}",
        )
        for number in range(1, count + 1)
    }


def make_table(connection: Connection, count: int, ddl: str = PARTITIONS) -> dict[int, Row]:
    """Make the table ``customer``; return its rows."""
    rows(connection, ddl)
    expected = initial(count)
    with connection.cursor().copy("COPY customer (id, region, ssn, email) FROM STDIN") as copy:
        for number, row in expected.items():
            copy.write_row((number, *row))
    return expected


def contents(connection: Connection) -> dict[int, Row]:
    """Return the rows that the table shows."""
    found = rows(connection, "SELECT id, region, ssn, email FROM customer")
    seen = {number: (region, ssn, email) for number, region, ssn, email in found}
    assert len(seen) == len(found)
    return seen


def encrypt(connection: Connection, *columns: str) -> None:
    """Begin to encrypt columns of the table."""
    for column in columns:
        connection.execute("SELECT pgkeymgr.encrypt_column('customer', %s)", [column])


def count_updates(connection: Connection) -> None:
    """Give the table a BEFORE trigger that counts its updates in column ``n``."""
    connection.execute(
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.n := NEW.n + 1; RETURN NEW; END $$"
    )
    connection.execute("CREATE TRIGGER touch BEFORE UPDATE ON customer FOR EACH ROW EXECUTE FUNCTION touch()")


class Statement(threading.Thread):
    """A statement that runs in a session of its own."""

    def __init__(self, target: Target, statement: str, user: str = "postgres") -> None:
        super().__init__(daemon=True)
        self._connection = target.connect(user)
        self._statement = statement
        self._found: list[tuple[object, ...]] = []
        self.notices: list[str] = []
        self._connection.add_notice_handler(lambda notice: self.notices.append(notice.message_primary or ""))
        self.pid = self._connection.info.backend_pid
        self.error: psycopg.Error | None = None
        self.start()

    def run(self) -> None:
        """Run it, and keep its rows or its error."""
        try:
            self._found = rows(self._connection, self._statement)
        except psycopg.Error as error:
            self.error = error
        self._connection.close()

    def finish(self) -> list[tuple[object, ...]]:
        """Wait until it has ended without an error, and return its rows."""
        self.join(120)
        assert not self.is_alive(), "the statement does not end"
        if self.error is not None:
            raise self.error
        return self._found

    def waits_for(self, connection: Connection, *events: str) -> bool:
        """Return whether it waits for one of some kinds of locks."""
        query = f"SELECT wait_event FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pid = {self.pid}"
        return any(event in events for (event,) in rows(connection, query))


class Procedure(Statement):
    """A procedure that runs in a session of its own."""

    def __init__(self, target: Target, call: str, user: str = "postgres") -> None:
        super().__init__(target, f"CALL pgkeymgr.{call}", user)

    def kill(self) -> None:
        """Kill its backend, and with it all sessions of the server."""
        os.kill(self.pid, signal.SIGKILL)

    def stop(self, connection: Connection) -> None:
        """End its session, and with it the procedure, in the middle of its work."""
        connection.execute("SELECT pg_terminate_backend(%s)", [self.pid])
        self.join(60)
        assert not self.is_alive()
        assert self.error is not None, "it has ended before"

    def waits_for_row(self, connection: Connection) -> bool:
        """Return whether it waits for a row that another session has locked."""
        return self.waits_for(connection, "transactionid", "tuple")

    def waits_for_last_row(self, connection: Connection) -> bool:
        """Return whether it waits for a row when all other rows are done: only then does it report for whom."""
        return bool(self.notices) and self.waits_for_row(connection)


def begin(target: Target, connection: Connection, call: str) -> None:
    """Call a procedure, and stop it in its first batches: while it begins, it waits for others."""
    done = "SELECT coalesce(sum(rows_done), 0) FROM pgkeymgr.column_progress"
    before = value(connection, done)
    procedure = Procedure(target, call)
    wait_until(lambda: not procedure.is_alive() or value(connection, done) > before, "the first batch")
    procedure.stop(connection)


class Writer(threading.Thread):
    """A session that inserts, updates, moves and deletes rows of its own, and knows what they are."""

    _numbers = itertools.count(1_000_000)

    def __init__(self, target: Target, own: dict[int, Row], number: int) -> None:
        super().__init__(daemon=True)
        self._target = target
        self._random = random.Random(number)  # noqa: S311  # it chooses rows
        self.rows = dict(own)
        self.figures: Counter[str] = Counter()
        self.error: BaseException | None = None
        self._is_over = threading.Event()
        self.start()

    def run(self) -> None:
        """Work until it is enough."""
        try:
            while not self._is_over.is_set():
                self._work()
        except BaseException as error:
            self.error = error

    def stop(self) -> dict[int, Row]:
        """End, and return the rows."""
        self._is_over.set()
        self.join(60)
        assert not self.is_alive()
        if self.error is not None:
            raise self.error
        return self.rows

    def _work(self) -> None:
        try:
            with self._target.session() as connection:
                while not self._is_over.is_set():
                    self._step(connection)
        except psycopg.OperationalError as error:
            if not is_lost(error):
                raise
            self._target.server.wait_until_ready()

    def _step(self, connection: Connection) -> None:
        number = self._random.choice(list(self.rows))
        before = after = self.rows[number]
        region = self._random.choice(REGIONS)
        fresh = f"value {next(self._numbers)}"
        kind = self._random.choice(["ssn", "email", "region", "delete", "insert", "n"])
        if kind == "insert":
            number, after = next(self._numbers), (region, fresh, None)
            statement = "INSERT INTO customer (region, ssn, email, id) VALUES (%s, %s, %s, %s)"
            parameters: list[object] = [*after, number]
        elif kind == "delete":
            statement, parameters = "DELETE FROM customer WHERE id = %s", [number]
        elif kind == "n":
            statement, parameters = "UPDATE customer SET n = n + 1 WHERE id = %s", [number]
        else:
            changed = region if kind == "region" else fresh
            old_region, ssn, email = before
            after = (
                region if kind == "region" else old_region,
                fresh if kind == "ssn" else ssn,
                fresh if kind == "email" else email,
            )
            statement, parameters = f"UPDATE customer SET {kind} = %s WHERE id = %s", [changed, number]
        self._write(connection, kind, number, after, statement, parameters)

    def _write(
        self, connection: Connection, kind: str, number: int, after: Row, statement: str, parameters: list[object]
    ) -> None:
        try:
            connection.execute(statement.encode(), parameters)
        except errors.SerializationFailure:
            self.figures["retries"] += 1
            return
        except psycopg.OperationalError:
            self._look_up(kind, number, after)
            raise
        self.figures[kind] += 1
        if kind == "delete":
            del self.rows[number]
        else:
            self.rows[number] = after

    def _look_up(self, kind: str, number: int, after: Row) -> None:
        """Find out whether a transaction whose end was not seen has committed."""
        self._target.server.wait_until_ready()
        with self._target.session() as connection:
            found = rows(connection, f"SELECT region, ssn, email FROM customer WHERE id = {number}")
        now = found[0] if found else None
        allowed = [self.rows.get(number), None if kind == "delete" else after]
        assert now in allowed, f"row {number} is {now}, and should be one of {allowed}"
        if now is None:
            self.rows.pop(number, None)
        else:
            self.rows[number] = now


def start_writers(target: Target, expected: dict[int, Row], count: int) -> list[Writer]:
    """Start writers, each of which has its share of the table's rows."""
    shares = [{n: row for n, row in expected.items() if n % count == number} for number in range(count)]
    return [Writer(target, share, number) for number, share in enumerate(shares)]


def stop_writers(writers: list[Writer]) -> dict[int, Row]:
    """End writers, and return the rows of the table."""
    return {number: row for writer in writers for number, row in writer.stop().items()}
