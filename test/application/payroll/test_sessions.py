"""Transactions, and sessions that meet."""

import threading
import time
from decimal import Decimal

import psycopg
from psycopg import IsolationLevel

from application.payroll.base import Connection, PayrollTestCase


class TransactionTests(PayrollTestCase):
    def test_savepoints(self) -> None:
        with self.connection.transaction():
            self.run_sql("UPDATE employee SET name = 'Outer' WHERE id = %s", self.ann)
            with self.connection.transaction() as inner:
                self.run_sql("UPDATE employee SET name = 'Inner', points = 50 WHERE id = %s", self.ann)
                raise psycopg.Rollback(inner)
        self.assertEqual(self.rows("SELECT name, points FROM employee WHERE id = %s", [self.ann]), [("Outer", 1)])

    def test_savepoints_in_sql(self) -> None:
        self.run_sql("SAVEPOINT a")
        self.run_sql("DELETE FROM employee WHERE id = %s", self.ann)
        self.run_sql("SAVEPOINT b")
        made = self.value(
            "INSERT INTO employee (company_id, name) VALUES (%s, 'Dee') RETURNING id", [self.company]
        )
        self.run_sql("ROLLBACK TO b")
        self.assertEqual(self.value("SELECT count(*) FROM employee WHERE id = %s", [made]), 0)
        self.run_sql("ROLLBACK TO a")
        self.run_sql("RELEASE a")
        self.assertEqual(self.value("SELECT name FROM employee WHERE id = %s", [self.ann]), "Ann")

    def test_an_error_aborts_the_transaction(self) -> None:
        with self.assertRaises(psycopg.errors.UniqueViolation):
            self.run_sql("UPDATE employee SET tax_number = 'A-1' WHERE id = %s", self.ben)
        with self.assertRaises(psycopg.errors.InFailedSqlTransaction):
            self.rows("SELECT name FROM employee")
        self.connection.rollback()
        self.assertEqual(self.rows("SELECT name FROM employee WHERE id = %s", [self.ben]), [])

    def test_read_only(self) -> None:
        other = self.connect()
        other.read_only = True
        self.assertEqual(other.execute("SELECT name FROM employee WHERE id = 1").fetchone(), ("Nora Nye",))
        with self.refused("25006", on=other):
            other.execute("UPDATE employee SET points = 0 WHERE id = 1")

    def test_a_row_written_twice_in_a_transaction(self) -> None:
        for number in range(5):
            self.run_sql(
                "UPDATE employee SET points = points * 2, name = name || %s WHERE id = %s", str(number), self.ann
            )
        self.assertEqual(
            self.rows("SELECT name, points, changes FROM employee WHERE id = %s", [self.ann]),
            [("Ann01234", 32, 5)],
        )


class MeetingTestCase(PayrollTestCase):
    """Two sessions, which see what the other commits; it is deleted at the end."""

    def setUp(self) -> None:
        """Commit the three employees."""
        super().setUp()
        self.connection.commit()
        self.addCleanup(self.remove)
        self.other = self.connect()

    def remove(self) -> None:
        """Delete what was committed."""
        self.connection.rollback()
        self.run_sql("DELETE FROM company WHERE name = 'Acme'")
        self.run_sql("DELETE FROM audit")
        self.connection.commit()

    def seen(self, connection: Connection, column: str = "name") -> object:
        """Return what a session sees of Ann."""
        ((value,),) = connection.execute(
            f"SELECT {column} FROM employee WHERE id = {self.ann}".encode()
        ).fetchall()
        return value

    def meanwhile(self, statement: str) -> "Waiting":
        """Start a statement in the other session, and return when it waits for a lock."""
        return Waiting(self.other, statement, self.connect())


class Waiting:
    """A statement in a thread, which waits for a lock of another session."""

    def __init__(self, connection: Connection, statement: str, observer: Connection) -> None:
        self.connection = connection
        self.statement = statement
        self.outcome = ""
        self.rowcount = -1
        self.thread = threading.Thread(target=self.execute)
        self.thread.start()
        observer.autocommit = True
        deadline = time.monotonic() + 30
        blocked = "SELECT cardinality(pg_blocking_pids(%s)) > 0"
        while observer.execute(blocked, [connection.info.backend_pid]).fetchone() != (True,):
            if time.monotonic() > deadline or not self.thread.is_alive():
                raise AssertionError(f"does not wait: {statement}: {self.outcome}")

    def execute(self) -> None:
        """Run the statement."""
        try:
            self.rowcount = self.connection.execute(self.statement.encode()).rowcount
            self.outcome = "ok"
        except psycopg.Error as error:
            self.outcome = f"{error.sqlstate} {error.diag.constraint_name}"

    def finish(self) -> tuple[str, int]:
        """Wait for its end, and return how it was, and how many rows it affected."""
        self.thread.join(60)
        return self.outcome, self.rowcount

    def finish_with_retry(self) -> int:
        """Wait for its end, run it again if it says that it could not serialize, commit; how many rows."""
        outcome, rowcount = self.finish()
        if outcome.startswith("40001"):
            self.connection.rollback()
            rowcount = self.connection.execute(self.statement.encode()).rowcount
        self.connection.commit()
        return rowcount


class IsolationTests(MeetingTestCase):
    def test_read_committed(self) -> None:
        self.run_sql("UPDATE employee SET name = 'Anne' WHERE id = %s", self.ann)
        self.assertEqual((self.seen(self.connection), self.seen(self.other)), ("Anne", "Ann"))
        self.connection.commit()
        self.assertEqual(self.seen(self.other), "Anne")

    def test_rollback(self) -> None:
        self.run_sql("UPDATE employee SET name = 'Anne' WHERE id = %s", self.ann)
        self.run_sql("DELETE FROM employee WHERE id = %s", self.ben)
        self.connection.rollback()
        self.assertEqual((self.seen(self.connection), self.seen(self.other)), ("Ann", "Ann"))
        self.assertEqual(self.value("SELECT count(*) FROM employee WHERE company_id = %s", [self.company]), 3)

    def test_repeatable_read(self) -> None:
        self.other.isolation_level = IsolationLevel.REPEATABLE_READ
        self.assertEqual(self.seen(self.other), "Ann")
        self.run_sql("UPDATE employee SET name = 'Anne' WHERE id = %s", self.ann)
        self.connection.commit()
        self.assertEqual(self.seen(self.other), "Ann")
        for statement in ("UPDATE employee SET points = 9 WHERE id = %s", "DELETE FROM employee WHERE id = %s"):
            with self.refused("40001", on=self.other):
                self.other.execute(statement.encode(), [self.ann])
        self.assertEqual(
            self.other.execute("UPDATE employee SET points = 9 WHERE id = %s", [self.ben]).rowcount, 1
        )
        self.other.commit()
        self.assertEqual(self.seen(self.other), "Anne")

    def test_serializable(self) -> None:
        # Each reads what the other writes: one of them cannot have been first.
        for connection in (self.connection, self.other):
            connection.isolation_level = IsolationLevel.SERIALIZABLE
        total = f"SELECT sum(points) FROM employee WHERE company_id = {self.company}".encode()
        outcomes = []
        self.assertEqual(self.connection.execute(total).fetchone(), (6,))
        self.assertEqual(self.other.execute(total).fetchone(), (6,))
        for connection, key in ((self.connection, self.ann), (self.other, self.ben)):
            try:
                connection.execute("UPDATE employee SET points = points + 6 WHERE id = %s", [key])
                connection.commit()
                outcomes.append("ok")
            except psycopg.errors.SerializationFailure:
                connection.rollback()
                outcomes.append("40001")
        self.assertEqual(sorted(outcomes), ["40001", "ok"])
        self.assertEqual(self.connection.execute(total).fetchone(), (12,))


class LockTests(MeetingTestCase):
    def test_for_update(self) -> None:
        self.rows("SELECT name FROM employee WHERE id = %s FOR UPDATE", [self.ann])
        with self.refused("55P03", on=self.other):
            self.other.execute("SELECT name FROM employee WHERE id = %s FOR SHARE NOWAIT", [self.ann])
        skipped = self.other.execute(
            "SELECT name FROM employee WHERE company_id = %s ORDER BY name FOR UPDATE SKIP LOCKED", [self.company]
        )
        self.assertEqual(skipped.fetchall(), [("Ben",), ("Cal",)])
        self.assertEqual(self.seen(self.other), "Ann")

    def test_for_share(self) -> None:
        self.rows("SELECT name FROM employee WHERE id = %s FOR SHARE", [self.ann])
        self.other.execute("SELECT name FROM employee WHERE id = %s FOR SHARE NOWAIT", [self.ann])
        self.other.rollback()
        self.other.execute("SET lock_timeout = 1")
        with self.refused("55P03", on=self.other):
            self.other.execute("UPDATE employee SET name = 'Anne' WHERE id = %s", [self.ann])
        with self.refused("55P03", on=self.other):
            self.other.execute("DELETE FROM employee WHERE id = %s", [self.ann])

    def test_a_queue(self) -> None:
        take = (
            "UPDATE employee SET active = false WHERE id = (SELECT id "
            "FROM employee WHERE company_id = %s AND active "
            "ORDER BY name LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING name"
        )
        taken = [
            connection.execute(take.encode(), [self.company]).fetchall()
            for connection in (self.connection, self.other, self.connection, self.other)
        ]
        self.assertEqual(taken, [[("Ann",)], [("Ben",)], [("Cal",)], []])

    def test_a_child_locks_only_the_key_of_its_parent(self) -> None:
        self.run_sql("INSERT INTO payslip (employee_id, period) VALUES (%s, '2024-01-01')", self.ann)
        self.other.execute("SET lock_timeout = 1")
        self.assertEqual(
            self.other.execute("UPDATE employee SET name = 'Anne' WHERE id = %s", [self.ann]).rowcount, 1
        )
        with self.refused("55P03", on=self.other):
            self.other.execute("DELETE FROM employee WHERE id = %s", [self.ann])

    def test_lock_table(self) -> None:
        self.run_sql("LOCK TABLE employee IN SHARE ROW EXCLUSIVE MODE")
        self.assertEqual(self.seen(self.other), "Ann")
        self.other.execute("SET lock_timeout = 1")
        with self.refused("55P03", on=self.other):
            self.other.execute("UPDATE employee SET name = 'Anne' WHERE id = %s", [self.ann])
        with self.refused("55P03", on=self.other):
            self.other.execute("LOCK TABLE employee IN ROW EXCLUSIVE MODE NOWAIT")

    def test_the_same_value_at_the_same_time(self) -> None:
        insert = f"INSERT INTO employee (company_id, name, tax_number) VALUES ({self.company}, 'Twin', 'TWIN')"
        self.run_sql(insert)
        waiting = self.meanwhile(insert)
        self.connection.commit()
        outcome = waiting.finish()
        self.record(outcome)
        self.assertEqual(outcome, ("23505 employee_tax_number_key", -1))
        self.other.rollback()
        self.run_sql(insert.replace("TWIN", "TRIPLET"))
        waiting = self.meanwhile(insert.replace("TWIN", "TRIPLET"))
        self.connection.rollback()
        self.assertEqual(waiting.finish(), ("ok", 1))
        self.other.commit()

    def test_select_for_update_waits_and_sees(self) -> None:
        self.run_sql("UPDATE employee SET points = points + 10 WHERE id = %s", self.ann)
        waiting = self.meanwhile(f"SELECT points FROM employee WHERE id = {self.ann} FOR UPDATE")
        self.connection.commit()
        self.assertEqual(waiting.finish(), ("ok", 1))
        self.other.execute("UPDATE employee SET points = points + 10 WHERE id = %s", [self.ann])
        self.other.commit()
        self.assertEqual(self.value("SELECT points FROM employee WHERE id = %s", [self.ann]), 21)

    def test_update_of_a_row_that_another_session_deleted(self) -> None:
        self.run_sql("DELETE FROM employee WHERE id = %s", self.ann)
        waiting = self.meanwhile(f"UPDATE employee SET name = 'Late' WHERE id = {self.ann}")
        self.connection.commit()
        self.assertEqual(waiting.finish(), ("ok", 0))
        self.other.commit()

    def test_changes_of_different_columns_at_the_same_time(self) -> None:
        self.run_sql("UPDATE employee SET name = 'Anne' WHERE id = %s", self.ann)
        waiting = self.meanwhile(f"UPDATE employee SET salary = 6000, code = 'z' WHERE id = {self.ann}")
        self.connection.commit()
        self.assertEqual(waiting.finish_with_retry(), 1)
        rows = self.recorded_rows("SELECT name, salary, code, changes FROM employee WHERE id = %s", [self.ann])
        self.assertEqual(rows, [("Anne", Decimal(6000), "z", 2)])

    def test_increments_at_the_same_time(self) -> None:
        self.run_sql("UPDATE employee SET points = points + 10 WHERE id = %s", self.ann)
        waiting = self.meanwhile(f"UPDATE employee SET points = points + 10 WHERE id = {self.ann}")
        self.connection.commit()
        self.assertEqual(waiting.finish_with_retry(), 1)
        self.assertEqual(self.value("SELECT points FROM employee WHERE id = %s", [self.ann]), 21)

    def test_a_condition_that_no_longer_holds_after_waiting(self) -> None:
        self.run_sql("UPDATE employee SET active = false WHERE id = %s", self.ann)
        waiting = self.meanwhile(f"UPDATE employee SET name = 'Taken' WHERE id = {self.ann} AND active")
        self.connection.commit()
        self.assertEqual(waiting.finish_with_retry(), 0)
        self.assertEqual(self.value("SELECT name FROM employee WHERE id = %s", [self.ann]), "Ann")


class CommittedTests(PayrollTestCase):
    def test_autocommit(self) -> None:
        self.connection.rollback()
        self.connection.autocommit = True
        self.run_sql("INSERT INTO equipment (label, price) VALUES ('Left-Behind', 5)")
        self.run_sql("UPDATE equipment SET price = price * 2 WHERE label = 'Left-Behind'")
        other = self.connect()
        self.assertEqual(
            other.execute("SELECT price FROM equipment WHERE label = 'Left-Behind'").fetchone(), (10,)
        )

    def test_a_row_stays(self) -> None:
        self.connection.rollback()
        made = self.value(
            "INSERT INTO employee (company_id, name, mail, salary) "
            "VALUES (1, 'Left-Behind', 'Left-Behind@here', 5) RETURNING id"
        )
        self.run_sql(
            "INSERT INTO payslip (employee_id, period, note) VALUES (%s, '2024-01-01', 'Left-Behind')", made
        )
        self.connection.commit()
        other = self.connect()
        self.assertEqual(other.execute("SELECT salary FROM employee WHERE id = %s", [made]).fetchone(), (5,))
