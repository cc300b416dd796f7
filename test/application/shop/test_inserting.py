"""Rows made: keys, defaults and types."""

import uuid
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

from sqlalchemy import func, insert, inspect, literal, select, text
from sqlalchemy.exc import DataError, IntegrityError

from application.shop.base import ShopTestCase
from application.shop.models import ApiKey, Customer, Product, Purchase, Status, Tier


class KeyTests(ShopTestCase):
    def test_identity(self) -> None:
        self.assertEqual([self.bert.id - self.anna.id, self.cleo.id - self.anna.id], [1, 2])
        self.assertIs(self.session.get(Customer, self.bert.id), self.bert)
        self.assertEqual(self.bert.sponsor_id, self.anna.id)

    def test_serial_and_identity_always(self) -> None:
        first, second = (Purchase(customer=self.anna), Purchase(customer=self.bert))
        self.session.add_all([first, second])
        self.session.flush()
        self.assertEqual((second.id - first.id, second.number - first.number), (1, 10))
        self.assertGreater(first.number, 1000)

    def test_key_made_by_the_database(self) -> None:
        self.anna.api_keys = [ApiKey(label=label, secret=label.encode()) for label in ("one", "two")]
        self.session.flush()
        keys = [each.id for each in self.anna.api_keys]
        self.assertEqual([type(each) for each in keys], [uuid.UUID] * 2)
        self.session.expire_all()
        found = self.session.get(ApiKey, keys[1])
        assert found is not None
        self.assertEqual((found.label, found.secret), ("two", b"two"))

    def test_key_of_our_own(self) -> None:
        self.session.add(Customer(id=10**12, name="Far"))
        self.session.add(Product(sku="Z-9", title="Zither"))
        self.session.commit()
        self.assertEqual(self.session.scalars(select(Customer.name).where(Customer.id == 10**12)).all(), ["Far"])
        self.assertEqual(self.session.get_one(Product, "Z-9").title, "Zither")


class DefaultTests(ShopTestCase):
    def test_defaults_come_with_the_insert(self) -> None:
        made = Customer(name="Dora")
        self.session.add(made)
        with self.statements() as sent:
            self.session.flush()
            self.assertEqual((made.tier, made.tags, made.preferences), (Tier.BASIC, [], {}))
            self.assertEqual((made.credit, made.newsletter, made.points), (Decimal("0.00"), False, 0))
            self.assertEqual((made.logins, made.country, made.region, made.version), (0, "DE", "de-1", 1))
            self.assertAlmostEqual(made.created_at, datetime.now(UTC), delta=timedelta(minutes=5))
        self.assertEqual(len(sent), 1)

    def test_defaults_give_way(self) -> None:
        made = Customer(name="Dora", tier=Tier.GOLD, tags=["x"], newsletter=True, country="FR", logins=3)
        self.session.add(made)
        self.session.commit()
        self.assertEqual((made.tier, made.tags, made.newsletter), (Tier.GOLD, ["x"], True))
        self.assertEqual((made.country, made.region, made.logins), ("FR", "fr-1", 3))

    def test_computed(self) -> None:
        purchase = Purchase(customer=self.anna, quantity=3, price=Decimal("1.50"), note="Three")
        self.session.add(purchase)
        self.session.flush()
        self.assertEqual((purchase.total, purchase.shipping), (Decimal("4.50"), Decimal("4.90")))
        purchase.quantity = 4
        purchase.note = "Four"
        self.session.flush()
        self.assertEqual((purchase.total, purchase.note), (Decimal("6.00"), "Four"))

    def test_server_side_expressions(self) -> None:
        made = Customer(name=func.upper("dora"), credit=literal(10) / 4, last_seen=text("'2020-01-01 12:00+02'"))
        self.session.add(made)
        self.session.flush()
        self.assertEqual((made.name, made.last_seen), ("DORA", datetime(2020, 1, 1, 10, tzinfo=UTC)))
        self.record(made.credit)


class ManyTests(ShopTestCase):
    def test_many_objects_in_few_statements(self) -> None:
        made = [Customer(name=f"Number {number}", points=number, tags=[str(number)]) for number in range(300)]
        self.session.add_all(made)
        with self.statements() as sent:
            self.session.flush()
        self.assertLess(len(sent), 10)
        self.assertEqual([each.id for each in made], list(range(made[0].id, made[0].id + 300)))
        self.session.expire_all()
        self.assertEqual([each.points for each in made], list(range(300)))

    def test_many_rows_returning_in_order(self) -> None:
        rows = [{"name": name, "points": points} for name, points in (("X", 3), ("Y", 1), ("Z", 2))]
        returned = self.session.execute(
            insert(Customer).returning(
                Customer.name, Customer.points, Customer.tier, sort_by_parameter_order=True
            ),
            rows,
        ).all()
        self.assertEqual(
            [tuple(row) for row in returned], [("X", 3, Tier.BASIC), ("Y", 1, Tier.BASIC), ("Z", 2, Tier.BASIC)]
        )

    def test_many_rows_of_a_core_statement(self) -> None:
        table = Purchase.__table__
        result = self.connection.execute(
            insert(Purchase),
            [{"customer_id": self.anna.id, "note": f"Note {number}", "quantity": number} for number in range(50)],
            execution_options={"preserve_rowcount": True},
        )
        self.assertEqual(result.rowcount, 50)
        notes = self.connection.execute(
            select(table.c.note).where(table.c.customer_id == self.anna.id).order_by(table.c.id)
        ).scalars()
        self.assertEqual(notes.all(), [f"Note {number}" for number in range(50)])

    def test_many_values_in_one_statement(self) -> None:
        ids = self.session.scalars(
            insert(Customer)
            .values([{"name": "P", "version": 1, "credit": 1}, {"name": "Q", "version": 1, "credit": 2}])
            .returning(Customer)
        ).all()
        self.assertEqual(
            [(each.name, each.credit, each.region) for each in ids], [("P", 1, "de-1"), ("Q", 2, "de-1")]
        )

    def test_insert_from_select(self) -> None:
        copied = select(Customer.name + " again", Customer.points * 2, literal(1), literal(0)).where(
            Customer.points > 0
        )
        copied = copied.where(Customer.id >= self.first).order_by(Customer.id)
        names = self.session.scalars(
            insert(Customer).from_select(["name", "points", "version", "logins"], copied).returning(Customer.name)
        ).all()
        self.assertEqual(names, ["Bert Bach again", "Cleo Chen again"])
        total = select(func.sum(Customer.points)).where(Customer.name.endswith(" again"))
        self.assertEqual(self.session.scalar(total), 60)


class TypeTests(ShopTestCase):
    def test_every_type_comes_back(self) -> None:
        self.session.add(
            Customer(
                name="Ünï ☃ \U0001f600 '\" \\ \n",
                email="e" * 200,
                phone="+49 30",
                tier=Tier.SILVER,
                tags=["a,b", 'c"d', "", "NULL", "{e}", "\\"],
                scores=[1, None, -(2**31)],
                preferences={"z": [1, 2.5, None, {"y": "é"}], "a": True},
                consent=[1, {"b": "\\u0041"}],
                credit=Decimal("9999999999.99"),
                birth_date=date(1, 1, 1),
                last_seen=datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=timezone(timedelta(hours=-11))),
                avatar=bytes(range(256)) * 16,
                referral=uuid.UUID(int=2**128 - 1),
                newsletter=True,
                points=-(2**63),
                logins=2**31 - 1,
                patience=timedelta(days=3, microseconds=5),
            )
        )
        self.session.commit()
        made = self.session.scalars(select(Customer).where(Customer.tier == Tier.SILVER)).one()
        self.assertEqual(made.name, "Ünï ☃ \U0001f600 '\" \\ \n")
        self.assertEqual((made.email, made.phone), ("e" * 200, "+49 30"))
        self.assertEqual(made.tags, ["a,b", 'c"d', "", "NULL", "{e}", "\\"])
        self.assertEqual(made.scores, [1, None, -(2**31)])
        self.assertEqual(made.preferences, {"z": [1, 2.5, None, {"y": "é"}], "a": True})
        self.assertEqual(made.consent, [1, {"b": "\\u0041"}])
        self.assertEqual((made.credit, made.birth_date), (Decimal("9999999999.99"), date(1, 1, 1)))
        self.assertEqual(made.last_seen, datetime(2024, 3, 1, 10, 59, 59, 999999, tzinfo=UTC))
        self.assertEqual(made.avatar, bytes(range(256)) * 16)
        self.assertEqual((made.referral, made.newsletter), (uuid.UUID(int=2**128 - 1), True))
        self.assertEqual((made.points, made.logins), (-(2**63), 2**31 - 1))
        self.assertEqual(made.patience, timedelta(days=3, microseconds=5))

    def test_null_and_empty(self) -> None:
        self.session.add(Customer(name="", email="", tags=[], scores=[], avatar=b"", consent=None))
        self.session.commit()
        made = self.session.scalars(select(Customer).where(Customer.name == "")).one()
        self.assertEqual((made.email, made.tags, made.scores, made.avatar), ("", [], [], b""))
        self.assertEqual((made.phone, made.birth_date, made.referral, made.consent), (None, None, None, None))
        self.assertEqual(
            self.session.scalar(select(func.count()).where(Customer.consent.is_(None), Customer.id >= self.first)),
            4,
        )

    def test_values_that_do_not_fit(self) -> None:
        with self.refused(DataError):
            self.session.add(Customer(name="Long", email="e" * 201))
        with self.refused(DataError):
            self.session.add(Customer(name="Rich", credit=Decimal("10000000000")))
        with self.refused(DataError):
            self.session.execute(text("UPDATE customer SET tier = 'platinum'"))
        with self.refused(IntegrityError, "phone_number_check"):
            self.session.add(Customer(name="Phone", phone="030 1"))
        with self.refused(IntegrityError, "phone_number_check"):
            self.session.execute(text("UPDATE customer SET phone = 'none' WHERE name = 'Anna Ast'"))
        self.assertEqual(self.session.scalar(select(func.count()).where(Customer.id > self.cleo.id)), 0)

    def test_reflected_columns(self) -> None:
        for name in ("customer", "purchase", "product", "api_key"):
            columns = inspect(self.connection).get_columns(name)
            self.record([(column["name"], repr(column["type"])) for column in columns])
            self.assertEqual(
                [column["name"] for column in columns], [*Customer.metadata.tables[name].columns.keys()]
            )

    def test_status_of_a_purchase(self) -> None:
        self.anna.purchases = [Purchase(status=status) for status in (Status.SENT, Status.OPEN, Status.PAID)]
        self.session.commit()
        ordered = select(Purchase.status).where(Purchase.customer == self.anna).order_by(Purchase.status.desc())
        self.assertEqual(self.session.scalars(ordered).all(), [Status.SENT, Status.PAID, Status.OPEN])
