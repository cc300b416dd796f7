"""Rows changed and deleted."""

from datetime import date
from decimal import Decimal

from sqlalchemy import bindparam, delete, func, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm.exc import StaleDataError

from application.shop.base import ShopTestCase
from application.shop.models import ApiKey, Customer, Product, Purchase, Status, Tier


class UpdateTests(ShopTestCase):
    def test_unit_of_work(self) -> None:
        self.anna.name = "Anna Berg"
        self.anna.birth_date = date(1999, 9, 9)
        with self.statements() as sent:
            self.session.flush()
        (statement,) = (each for each in sent if each.startswith("UPDATE"))
        self.assertNotIn("points", statement)
        self.session.expire_all()
        self.assertEqual((self.anna.name, self.anna.birth_date), ("Anna Berg", date(1999, 9, 9)))
        self.assertEqual((self.anna.email, self.bert.name), ("anna@example.org", "Bert Bach"))

    def test_version_counts(self) -> None:
        self.assertEqual(self.anna.version, 1)
        for points in (1, 2, 3):
            self.anna.points = points
            self.session.commit()
        self.assertEqual(self.anna.version, 4)

    def test_optimistic_lock_on_delete(self) -> None:
        self.session.execute(text("UPDATE customer SET version = 9 WHERE id = :id"), {"id": self.cleo.id})
        self.session.delete(self.cleo)
        with self.assertRaises(StaleDataError):
            self.session.flush()

    def test_update_returning(self) -> None:
        rows = self.session.execute(
            update(Customer)
            .where(Customer.points >= 10, Customer.id >= self.first)
            .values(points=Customer.points * 3, name=func.upper(Customer.name))
            .returning(Customer.name, Customer.points, Customer.region)
        ).all()
        self.assertEqual(sorted(map(tuple, rows)), [("BERT BACH", 30, "de-1"), ("CLEO CHEN", 60, "de-1")])

    def test_update_synchronizes_the_session(self) -> None:
        self.session.execute(
            update(Customer).where(Customer.name == "Anna Ast").values(tier=Tier.GOLD),
            execution_options={"synchronize_session": "evaluate"},
        )
        self.session.execute(
            update(Customer).where(Customer.name == "Bert Bach").values(credit=Customer.credit + Decimal("0.5")),
            execution_options={"synchronize_session": "fetch"},
        )
        self.assertEqual((self.anna.tier, self.bert.credit), (Tier.GOLD, Decimal("0.50")))

    def test_bulk_update_by_key(self) -> None:
        self.session.execute(
            update(Customer),
            [
                {"id": self.anna.id, "version": 1, "name": "One", "tags": ["one"]},
                {"id": self.bert.id, "version": 1, "name": "Two", "tags": []},
            ],
        )
        self.session.expire_all()
        self.assertEqual((self.anna.name, self.anna.tags, self.bert.name), ("One", ["one"], "Two"))

    def test_executemany_update(self) -> None:
        result = self.connection.execute(
            update(Customer.__table__).where(Customer.__table__.c.id == bindparam("key")),  # type: ignore[arg-type]
            [{"key": self.anna.id, "points": 7}, {"key": self.cleo.id, "points": 8}, {"key": -1, "points": 9}],
        )
        self.assertEqual(result.rowcount, 2)
        self.session.expire_all()
        self.assertEqual((self.anna.points, self.cleo.points), (7, 8))

    def test_update_from_another_table(self) -> None:
        self.session.add(Purchase(customer=self.anna, quantity=2, price=Decimal(50), note="Big"))
        self.session.flush()
        result = self.session.connection().execute(
            update(Customer)
            .where(Purchase.customer_id == Customer.id, Purchase.note == "Big")
            .values(credit=Purchase.total - Purchase.shipping)
        )
        self.assertEqual(result.rowcount, 1)
        self.session.expire_all()
        self.assertEqual(self.anna.credit, Decimal("95.10"))
        result = self.session.connection().execute(
            update(Purchase)
            .where(Purchase.customer_id == Customer.id, Customer.name == "Anna Ast")
            .values(status=Status.PAID)
        )
        self.assertEqual((result.rowcount, self.anna.purchases[0].status), (1, Status.PAID))

    def test_mutable_json_and_array(self) -> None:
        self.anna.preferences["theme"] = "dark"
        self.anna.tags.extend(["new", "newer"])
        self.session.commit()
        self.anna.tags.remove("new")
        self.anna.preferences["theme"] = None
        self.session.commit()
        row = self.session.execute(
            select(Customer.tags, Customer.preferences).where(Customer.id == self.anna.id)
        ).one()
        self.assertEqual(tuple(row), (["newer"], {"theme": None}))

    def test_update_of_nothing(self) -> None:
        result = self.session.connection().execute(
            update(Customer).where(Customer.name == "Nobody").values(points=1)
        )
        self.assertEqual(result.rowcount, 0)

    def test_violations(self) -> None:
        with self.refused(IntegrityError, "customer_email_key"):
            self.session.add(Customer(name="Twin", email="anna@example.org"))
        with self.refused(IntegrityError, "customer_email_key"):
            self.session.execute(
                update(Customer).where(Customer.name == "Cleo Chen").values(email="bert@example.org")
            )
        with self.refused(IntegrityError, "customer_credit_check"):
            self.session.execute(
                update(Customer).where(Customer.name == "Anna Ast").values(credit=Decimal("-0.01"))
            )
        with self.refused(IntegrityError, "customer_banned_check"):
            self.session.execute(update(Customer).where(Customer.name == "Cleo Chen").values(tier=Tier.BANNED))
        with self.refused(IntegrityError, "customer_birth_date_check"):
            self.session.execute(
                update(Customer).where(Customer.name == "Cleo Chen").values(birth_date=date(2999, 1, 1))
            )
        with self.refused(IntegrityError):
            self.session.execute(update(Customer).where(Customer.name == "Anna Ast").values(tags=None))
        with self.refused(IntegrityError, "customer_sponsor_id_fkey"):
            self.session.execute(update(Customer).where(Customer.name == "Anna Ast").values(sponsor_id=-1))
        self.session.execute(
            update(Customer).where(Customer.name == "Cleo Chen").values(tier=Tier.BANNED, points=0)
        )

    def test_unique_with_a_plain_column(self) -> None:
        self.anna.api_keys.append(ApiKey(label="same", secret=b"1"))
        self.bert.api_keys.append(ApiKey(label="same", secret=b"2"))
        self.session.commit()
        with self.refused(IntegrityError, "api_key_label_key"):
            self.session.add(ApiKey(customer_id=self.anna.id, label="same", secret=b"3"))
        with self.refused(IntegrityError, "api_key_label_key"):
            self.session.execute(update(ApiKey).where(ApiKey.secret == b"2").values(customer_id=self.anna.id))


class DeleteTests(ShopTestCase):
    def test_cascade_of_the_session(self) -> None:
        self.anna.purchases = [Purchase(note="One"), Purchase(note="Two")]
        self.session.commit()
        self.anna.purchases.pop(0)
        self.session.commit()
        mine = select(func.count()).where(Purchase.note.in_(["One", "Two"]))
        self.assertEqual(self.session.scalar(mine), 1)
        self.session.delete(self.anna)
        self.session.commit()
        self.assertEqual(self.session.scalar(mine), 0)

    def test_cascade_and_set_null_of_the_database(self) -> None:
        self.anna.api_keys.append(ApiKey(label="gone", secret=b"gone"))
        self.session.commit()
        self.session.expunge_all()
        self.session.execute(delete(Customer).where(Customer.name == "Anna Ast"))
        self.assertEqual(self.session.scalar(select(func.count()).where(ApiKey.label == "gone")), 0)
        self.assertIsNone(
            self.session.scalars(select(Customer).where(Customer.name == "Bert Bach")).one().sponsor_id
        )

    def test_foreign_key_forbids(self) -> None:
        self.session.add(Purchase(customer=self.bert, note="Holds"))
        self.session.commit()
        with self.refused(IntegrityError, "purchase_customer_id_fkey"):
            self.session.execute(delete(Customer).where(Customer.name == "Bert Bach"))
        with self.refused(IntegrityError, "purchase_customer_id_fkey"):
            self.session.execute(text("UPDATE purchase SET customer_id = 0 WHERE note = 'Holds'"))

    def test_delete_returning(self) -> None:
        gone = self.session.execute(
            delete(Customer)
            .where(Customer.points > 5, Customer.id >= self.first)
            .returning(Customer.name, Customer.points)
        ).all()
        self.assertEqual(sorted(map(tuple, gone)), [("Bert Bach", 10), ("Cleo Chen", 20)])

    def test_delete_using_another_table(self) -> None:
        self.session.add_all([Purchase(customer=each, note="Temporary") for each in (self.anna, self.bert)])
        self.session.flush()
        result = self.session.connection().execute(
            delete(Purchase).where(Purchase.customer_id == Customer.id, Customer.email == "bert@example.org")
        )
        self.assertEqual(result.rowcount, 1)
        self.assertEqual(self.session.scalar(select(func.count()).where(Purchase.note == "Temporary")), 1)

    def test_many_to_many(self) -> None:
        tea, cup = Product(sku="T-1", title="Tea"), Product(sku="C-1", title="Cup", attributes={"ml": 250})
        first, second = (
            Purchase(customer=self.anna, products=[tea, cup]),
            Purchase(customer=self.bert, products=[tea]),
        )
        self.session.add_all([first, second])
        self.session.commit()
        self.assertEqual(sorted(each.customer.name for each in tea.purchases), ["Anna Ast", "Bert Bach"])
        first.products.remove(tea)
        self.session.commit()
        self.assertEqual([each.title for each in first.products], ["Cup"])
        buyers = (
            select(Customer.name).join(Customer.purchases).join(Purchase.products).where(Product.title == "Tea")
        )
        self.assertEqual(self.session.scalars(buyers).all(), ["Bert Bach"])
        self.session.delete(first)
        self.session.commit()
        self.assertEqual(cup.purchases, [])
