"""Sessions that commit, roll back and meet."""

import unittest
from decimal import Decimal

from sqlalchemy import delete, func, select, text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError

from application.recording import Recording
from application.shop.base import ShopTestCase
from application.shop.models import Customer, Purchase, engine


class SessionTests(ShopTestCase):
    def test_rollback(self) -> None:
        self.anna.name = "Lost"
        self.session.add(Customer(name="Also lost"))
        self.session.flush()
        self.session.rollback()
        self.assertEqual(self.anna.name, "Anna Ast")
        self.assertEqual(self.session.scalar(select(func.count()).where(Customer.name == "Also lost")), 0)

    def test_savepoints(self) -> None:
        with self.session.begin_nested():
            self.anna.points = 1
        with self.assertRaises(IntegrityError), self.session.begin_nested():
            self.anna.points = 2
            self.session.add(Customer(name="Twin", email="bert@example.org"))
        with self.session.begin_nested() as savepoint:
            self.bert.points = 3
            self.session.flush()
            savepoint.rollback()
        self.session.commit()
        self.assertEqual((self.anna.points, self.bert.points), (1, 10))

    def test_commit_expires(self) -> None:
        self.session.execute(text("UPDATE customer SET name = 'Changed' WHERE id = :id"), {"id": self.anna.id})
        self.assertEqual(self.anna.name, "Anna Ast")
        self.session.commit()
        self.assertEqual(self.anna.name, "Changed")

    def test_refresh_and_merge(self) -> None:
        self.session.execute(text("UPDATE customer SET credit = 5 WHERE id = :id"), {"id": self.anna.id})
        self.session.refresh(self.anna, ["credit"])
        self.assertEqual(self.anna.credit, Decimal(5))
        merged = self.session.merge(Customer(id=self.bert.id, name="Merged", version=1))
        self.session.commit()
        self.assertIs(merged, self.bert)
        self.assertEqual((self.bert.name, self.bert.email, self.bert.version), ("Merged", "bert@example.org", 2))

    def test_autoflush(self) -> None:
        self.anna.purchases.append(Purchase(note="Unsaved"))
        self.assertEqual(
            self.session.scalars(select(Purchase.note).where(Purchase.note == "Unsaved")).all(), ["Unsaved"]
        )


class CommittedTests(Recording, unittest.TestCase):
    """Sessions of their own, which commit."""

    def setUp(self) -> None:
        """Make the engine and one customer."""
        self.database = engine()
        self.addCleanup(self.database.dispose)
        with Session(self.database, expire_on_commit=False) as session:
            self.fred = Customer(name="Fred", email="fred@example.org")
            session.add(self.fred)
            session.commit()
        self.addCleanup(self.remove)

    def remove(self) -> None:
        """Delete what was committed."""
        with Session(self.database) as session:
            session.execute(delete(Customer).where(Customer.email == "fred@example.org"))
            session.commit()

    def test_what_others_see(self) -> None:
        with Session(self.database) as mine, Session(self.database) as theirs:
            mine.get_one(Customer, self.fred.id).name = "Frida"
            mine.flush()
            self.assertEqual(theirs.get_one(Customer, self.fred.id).name, "Fred")
            mine.commit()
            theirs.expire_all()
            self.assertEqual(theirs.get_one(Customer, self.fred.id).name, "Frida")

    def test_optimistic_lock(self) -> None:
        with Session(self.database) as mine, Session(self.database) as theirs:
            fred = mine.get_one(Customer, self.fred.id)
            self.assertEqual((fred.name, fred.version), ("Fred", 1))
            theirs.get_one(Customer, self.fred.id).name = "Theirs"
            theirs.commit()
            fred.points = 5
            with self.assertRaises(StaleDataError):
                mine.flush()
            mine.rollback()
            self.assertEqual((fred.name, fred.points, fred.version), ("Theirs", 0, 2))

    def test_repeatable_read(self) -> None:
        snapshot = self.database.execution_options(isolation_level="REPEATABLE READ")
        with Session(snapshot) as mine, Session(self.database) as theirs:
            self.assertEqual(mine.get_one(Customer, self.fred.id).points, 0)
            theirs.get_one(Customer, self.fred.id).points = 1
            theirs.commit()
            mine.expire_all()
            self.assertEqual(mine.get_one(Customer, self.fred.id).points, 0)
            mine.get_one(Customer, self.fred.id).name = "Too late"
            with self.assertRaises(OperationalError) as raised:
                mine.flush()
            self.record(getattr(raised.exception.orig, "sqlstate", None))

    def test_locked_rows(self) -> None:
        one = select(Customer).where(Customer.email == "fred@example.org")
        with Session(self.database) as mine, Session(self.database) as theirs:
            mine.scalars(one.with_for_update()).one()
            with self.assertRaises(OperationalError) as raised:
                theirs.scalars(one.with_for_update(nowait=True)).one()
            self.record(getattr(raised.exception.orig, "sqlstate", None))
            theirs.rollback()
            self.assertEqual(theirs.scalars(one.with_for_update(skip_locked=True)).all(), [])
            self.assertEqual(theirs.scalars(one).one().name, "Fred")

    def test_autocommit(self) -> None:
        with self.database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("UPDATE customer SET points = 4 WHERE email = 'fred@example.org'"))
        with Session(self.database) as session:
            self.assertEqual(session.get_one(Customer, self.fred.id).points, 4)

    def test_a_row_stays(self) -> None:
        with Session(self.database) as session:
            session.add(Customer(name="Left-Behind", email="left-behind@example.org", tags=["Left-Behind"]))
            session.commit()
            self.assertEqual(session.scalar(select(func.count()).where(Customer.name == "Left-Behind")), 1)
