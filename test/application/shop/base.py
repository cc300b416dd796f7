"""The base of the shop's tests: a session whose commits are undone."""

import unittest
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from application.recording import Recording
from application.shop.models import Customer, engine


class ShopTestCase(Recording, unittest.TestCase):
    """A session in a transaction that is rolled back at the end of the test; its own commits are savepoints."""

    database: Engine

    @classmethod
    def setUpClass(cls) -> None:
        """Make the engine."""
        cls.database = engine()
        cls.addClassCleanup(cls.database.dispose)

    def setUp(self) -> None:
        """Begin, and make three customers."""
        self.connection: Connection = self.database.connect()
        self.addCleanup(self.connection.close)
        outer = self.connection.begin()
        self.addCleanup(outer.rollback)
        self.session = Session(self.connection, join_transaction_mode="create_savepoint")
        self.addCleanup(self.session.close)
        self.anna = Customer(name="Anna Ast", email="anna@example.org", country="AT")
        self.bert = Customer(name="Bert Bach", email="bert@example.org", points=10, sponsor=self.anna)
        self.cleo = Customer(name="Cleo Chen", points=20)
        for each in (self.anna, self.bert, self.cleo):
            # One by one: a flush of all would take those without a sponsor first.
            self.session.add(each)
            self.session.flush()
        self.first = self.anna.id
        self.session.commit()

    @contextmanager
    def statements(self) -> Iterator[list[str]]:
        """Collect the statements that are sent, savepoints aside."""
        sent: list[str] = []

        def keep(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
            if not statement.startswith("SAVEPOINT"):
                sent.append(statement)

        event.listen(self.connection, "before_cursor_execute", keep)
        try:
            yield sent
        finally:
            event.remove(self.connection, "before_cursor_execute", keep)

    @contextmanager
    def refused(self, kind: type[DBAPIError], constraint: str | None = None) -> Iterator[None]:
        """Expect an error of a class, and record its SQLSTATE and its constraint; the session goes on."""
        with self.assertRaises(kind) as raised, self.session.begin_nested():
            yield
        original = raised.exception.orig
        self.assertIsNotNone(original)
        found = original.diag.constraint_name if original else None  # type: ignore[attr-defined]
        self.assertEqual(found, constraint)
        self.record(type(original).__name__, getattr(original, "sqlstate", None), found)
