"""The base of the payroll's tests: connections, short ways to query, expected refusals."""

import unittest
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from application.recording import Recording

Connection = psycopg.Connection[tuple[Any, ...]]
Rows = list[tuple[Any, ...]]


class PayrollTestCase(Recording, unittest.TestCase):
    """A connection as the application, in a transaction that is rolled back; a company with three employees."""

    connection: Connection

    @classmethod
    def setUpClass(cls) -> None:
        """Connect, once for all tests of the class."""
        cls.connection = psycopg.connect()
        cls.addClassCleanup(cls.connection.close)

    def setUp(self) -> None:
        """Make them."""
        self.addCleanup(self.reset)
        self.company = self.value("INSERT INTO company (name) VALUES ('Acme') RETURNING id")
        self.ann, self.ben, self.cal = (
            self.value(
                "INSERT INTO employee (company_id, name, tax_number, salary, level, born, points) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING id",
                [self.company, *values],
            )
            for values in (
                ("Ann", "A-1", "5000", "chief", "1970-01-01", 1),
                ("Ben", "B-2", "3000.50", "senior", None, 2),
                ("Cal", None, "2000", "trainee", "2000-12-31", 3),
            )
        )
        self.run_sql("UPDATE employee SET manager_id = %s WHERE id IN (%s, %s)", self.ann, self.ben, self.cal)

    def reset(self) -> None:
        """Undo what was not committed, and go back to how a connection begins."""
        self.connection.rollback()
        self.connection.autocommit = False
        self.connection.isolation_level = None

    def connect(self, user: str | None = None) -> Connection:
        """Connect once more, as the application or another role, until the end of the test."""
        connection = psycopg.connect(user=user) if user else psycopg.connect()
        self.addCleanup(connection.close)
        return connection

    def run_sql(self, query: str, *parameters: Any) -> int:
        """Run a statement, and return how many rows it affected."""
        return self.connection.execute(query.encode(), parameters or None).rowcount

    def rows(self, query: str, parameters: Sequence[Any] | None = None) -> Rows:
        """Return the rows of a statement."""
        return self.connection.execute(query.encode(), parameters).fetchall()

    def value(self, query: str, parameters: Sequence[Any] | None = None) -> Any:
        """Return the one value of a statement."""
        ((value,),) = self.rows(query, parameters)
        return value

    def recorded_rows(self, query: str, parameters: Sequence[Any] | None = None) -> Rows:
        """Return the rows of a statement, and record them; in an order of ours if they are in none."""
        rows = self.rows(query, parameters)
        self.record(rows if "ORDER BY" in query else sorted(rows, key=repr))
        return rows

    @contextmanager
    def refused(
        self, sqlstate: str, constraint: str | None = None, on: Connection | None = None
    ) -> Iterator[None]:
        """Expect an error, and record it; the transaction goes on as it was before."""
        with self.assertRaises(psycopg.Error) as raised, (on or self.connection).transaction():
            yield
        # RESTRICT has an SQLSTATE of its own since PostgreSQL 18.
        code = "23503" if raised.exception.sqlstate == "23001" else raised.exception.sqlstate
        found = (code, raised.exception.diag.constraint_name)
        self.assertEqual(found, (sqlstate, constraint), raised.exception)
        self.record(found)
