"""Queries that only read."""

import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    Integer,
    Select,
    Text,
    and_,
    any_,
    case,
    cast,
    distinct,
    func,
    literal,
    not_,
    or_,
    select,
    text,
    true,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import aliased, contains_eager, joinedload, selectinload, subqueryload

from application.shop.base import ShopTestCase
from application.shop.models import ApiKey, Customer, Purchase, Status, Tier


class QueryTests(ShopTestCase):
    def setUp(self) -> None:
        """Give the customers values to be found by, and purchases."""
        super().setUp()
        self.anna.tier, self.bert.tier, self.cleo.tier = Tier.SILVER, Tier.GOLD, Tier.BASIC
        self.anna.tags, self.bert.tags = ["a", "b"], ["b", "c"]
        self.anna.scores, self.cleo.scores = [5, 6], [7]
        self.anna.preferences = {"colour": "blue", "size": {"shoe": 38}, "list": [1, 2]}
        self.cleo.preferences = {"colour": "green"}
        self.anna.consent = {"mail": True}
        self.anna.credit, self.bert.credit, self.cleo.credit = Decimal("10.5"), Decimal(2), Decimal("30.25")
        self.anna.birth_date, self.bert.birth_date = date(1990, 1, 31), date(1985, 12, 1)
        self.anna.last_seen = datetime(2021, 1, 1, 12, tzinfo=UTC)
        self.cleo.last_seen = datetime(2022, 1, 1, 12, tzinfo=UTC)
        self.anna.avatar = b"\x00\xff"
        self.bert.referral = uuid.UUID(int=5)
        self.bert.newsletter = True
        self.anna.phone = "+43 1"
        self.cleo.sponsor = self.bert
        self.anna.purchases = [
            Purchase(note="First", status=Status.PAID, quantity=2, price=Decimal(10)),
            Purchase(note=None, status=Status.OPEN, gift=True, price=Decimal(3), shipping=Decimal(0)),
        ]
        self.bert.purchases = [Purchase(note="Third", status=Status.PAID, price=Decimal(100))]
        self.session.commit()

    def mine(self, *columns: Any) -> Select[Any]:
        """Select of the customers of this test only, in order."""
        return select(*columns).where(Customer.id >= self.first).order_by(Customer.id)

    def rows(self, statement: Select[*tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Return the rows, and record them."""
        rows = [tuple(row) for row in self.session.execute(statement)]
        self.record(rows)
        return rows

    def test_comparison_of_every_type(self) -> None:
        for condition in (
            Customer.name == "Anna Ast",
            Customer.email == "anna@example.org",
            type_coerce(Customer.phone, Text) == "+43 1",
            Customer.tier == Tier.SILVER,
            Customer.tags == ["a", "b"],
            Customer.scores == [5, 6],
            Customer.preferences == {"size": {"shoe": 38}, "list": [1, 2], "colour": "blue"},
            Customer.credit.between(10, 11),
            Customer.birth_date > date(1985, 12, 1),
            Customer.last_seen < datetime(2022, 1, 1, tzinfo=UTC),
            Customer.avatar == b"\x00\xff",
            and_(not_(Customer.newsletter), Customer.points < 20),
            Customer.consent["mail"].as_boolean(),
        ):
            with self.subTest(str(condition)):
                self.assertEqual(
                    self.session.scalars(self.mine(Customer.name).where(condition)).all(), ["Anna Ast"]
                )
        self.assertEqual(
            self.rows(self.mine(Customer.name).where(Customer.referral == uuid.UUID(int=5))), [("Bert Bach",)]
        )

    def test_text_operators(self) -> None:
        self.assertEqual(
            self.rows(self.mine(Customer.name).where(Customer.name.ilike("%c%"))), [("Bert Bach",), ("Cleo Chen",)]
        )
        self.assertEqual(
            self.rows(self.mine(Customer.name).where(Customer.name.regexp_match("^[AB]"))),
            [("Anna Ast",), ("Bert Bach",)],
        )
        self.assertEqual(
            self.rows(
                self.mine(Customer.name).where(Customer.email.contains("@example"), Customer.name.startswith("B"))
            ),
            [("Bert Bach",)],
        )
        self.assertEqual(
            self.rows(self.mine(func.substr(Customer.name, 1, 4) + "!", func.length(Customer.email)))[0],
            ("Anna!", 16),
        )
        self.assertEqual(
            self.rows(
                self.mine(Customer.name).where(or_(Customer.email.is_(None), Customer.name.in_(["Anna Ast", "x"])))
            ),
            [("Anna Ast",), ("Cleo Chen",)],
        )

    def test_json_operators(self) -> None:
        preferences = Customer.preferences
        self.assertEqual(
            self.rows(self.mine(Customer.name).where(preferences["colour"].astext == "blue")), [("Anna Ast",)]
        )
        self.assertEqual(
            self.rows(self.mine(Customer.name).where(preferences.contains({"list": [2]}))), [("Anna Ast",)]
        )
        self.assertEqual(
            self.rows(self.mine(Customer.name).where(preferences.has_key("colour"))),
            [("Anna Ast",), ("Cleo Chen",)],
        )
        self.assertEqual(self.rows(self.mine(preferences[("size", "shoe")].as_integer()))[0], (38,))
        self.assertEqual(self.rows(self.mine(func.jsonb_array_length(preferences["list"])))[0], (2,))
        self.assertEqual(self.rows(self.mine(Customer.consent["mail"].astext))[0], ("true",))

    def test_array_operators(self) -> None:
        self.assertEqual(
            self.rows(self.mine(Customer.name).where(literal("b") == any_(Customer.tags))),
            [("Anna Ast",), ("Bert Bach",)],
        )
        self.assertEqual(
            self.rows(self.mine(Customer.name).where(Customer.tags.contains(["c"]))), [("Bert Bach",)]
        )
        self.assertEqual(
            self.rows(self.mine(Customer.scores[1], func.cardinality(Customer.tags))), [(5, 2), (None, 2), (7, 0)]
        )
        unnested = (
            select(func.unnest(Customer.tags).label("tag"), Customer.id)
            .where(Customer.id >= self.first)
            .subquery()
        )
        counted = select(unnested.c.tag, func.count()).group_by(unnested.c.tag).order_by(unnested.c.tag)
        self.assertEqual(self.rows(counted), [("a", 1), ("b", 2), ("c", 1)])

    def test_order_of_an_enum_and_of_nulls(self) -> None:
        mine = self.mine(Customer.name).order_by(None)
        self.assertEqual(self.rows(mine.order_by(Customer.tier.desc()))[0], ("Bert Bach",))
        self.assertEqual(
            self.rows(mine.order_by(Customer.last_seen.desc().nulls_last(), Customer.name))[0], ("Cleo Chen",)
        )
        self.assertEqual(
            self.rows(mine.order_by(Customer.birth_date)), [("Bert Bach",), ("Anna Ast",), ("Cleo Chen",)]
        )
        self.assertEqual(self.rows(mine.order_by(Customer.credit.desc()).limit(1).offset(1)), [("Anna Ast",)])
        self.assertEqual(
            self.rows(mine.where(Customer.tier > Tier.BASIC).order_by(Customer.name)),
            [("Anna Ast",), ("Bert Bach",)],
        )

    def test_grouping(self) -> None:
        grouped = (
            select(Purchase.status, func.count(), func.sum(Purchase.total), func.max(Purchase.shipping))
            .join(Customer)
            .where(Customer.id >= self.first)
            .group_by(Purchase.status)
            .having(func.count(distinct(Customer.name)) > 1)
        )
        self.assertEqual(self.rows(grouped), [(Status.PAID, 2, Decimal(120), Decimal("4.90"))])
        totals = select(func.avg(Customer.points), func.min(Customer.birth_date), func.count(Customer.email))
        self.assertEqual(self.rows(totals.where(Customer.id >= self.first)), [(Decimal(10), date(1985, 12, 1), 2)])
        lists = select(
            func.array_agg(Customer.name),
            func.string_agg(Customer.email, text("';'")),
            func.bool_or(Customer.newsletter),
        )
        ordered = self.mine(Customer.id, Customer.name, Customer.email, Customer.newsletter).subquery()
        self.assertEqual(
            self.rows(select(func.array_agg(ordered.c.name), func.bool_or(ordered.c.newsletter))),
            [(["Anna Ast", "Bert Bach", "Cleo Chen"], True)],
        )
        self.assertIsNotNone(self.session.execute(lists).one()[0])

    def test_joins_and_aliases(self) -> None:
        sponsor = aliased(Customer)
        self.assertEqual(
            self.rows(self.mine(Customer.name, sponsor.name).outerjoin(sponsor, Customer.sponsor)),
            [("Anna Ast", None), ("Bert Bach", "Anna Ast"), ("Cleo Chen", "Bert Bach")],
        )
        by_value = select(Customer.name, sponsor.name).join(sponsor, Customer.points < sponsor.points)
        by_value = by_value.where(Customer.id >= self.first, sponsor.id >= self.first)
        self.assertEqual(len(self.rows(by_value.order_by(Customer.name, sponsor.name))), 3)

    def test_loading_strategies(self) -> None:
        self.session.expunge_all()
        for strategy in (
            joinedload(Customer.purchases),
            selectinload(Customer.purchases),
            subqueryload(Customer.purchases),
        ):
            with self.subTest(str(strategy)):
                self.session.expunge_all()
                found = self.session.scalars(self.mine(Customer).options(strategy)).unique().all()
                self.assertEqual(
                    [[each.note for each in one.purchases] for one in found], [["First", None], ["Third"], []]
                )
        self.session.expunge_all()
        eager = self.session.scalars(
            select(Purchase)
            .join(Purchase.customer)
            .options(contains_eager(Purchase.customer))
            .where(Customer.name == "Bert Bach")
        ).one()
        with self.statements() as sent:
            self.assertEqual((eager.customer.name, eager.customer.tier), ("Bert Bach", Tier.GOLD))
        self.assertEqual(sent, [])

    def test_lazy_loading(self) -> None:
        self.session.expunge_all()
        cleo = self.session.scalars(select(Customer).where(Customer.name == "Cleo Chen")).one()
        assert cleo.sponsor is not None
        assert cleo.sponsor.sponsor is not None
        self.assertEqual(cleo.sponsor.sponsor.name, "Anna Ast")
        self.assertEqual([each.note for each in cleo.sponsor.purchases], ["Third"])

    def test_subqueries(self) -> None:
        paid = select(Purchase.customer_id).where(Purchase.status == Status.PAID, Purchase.gift.is_(False))
        self.assertEqual(
            self.rows(self.mine(Customer.name).where(Customer.id.in_(paid))), [("Anna Ast",), ("Bert Bach",)]
        )
        gift = select(Purchase.id).where(Purchase.customer_id == Customer.id, Purchase.gift).exists()
        self.assertEqual(self.rows(self.mine(Customer.name).where(gift)), [("Anna Ast",)])
        spent = (
            select(func.coalesce(func.sum(Purchase.total), 0))
            .where(Purchase.customer_id == Customer.id)
            .scalar_subquery()
        )
        self.assertEqual(self.rows(self.mine(spent)), [(23,), (100,), (0,)])

    def test_common_table_expressions(self) -> None:
        chain = (
            select(Customer.id, Customer.name, literal(0).label("depth"))
            .where(Customer.name == "Anna Ast")
            .cte(recursive=True)
        )
        chain = chain.union_all(
            select(Customer.id, Customer.name, chain.c.depth + 1).where(Customer.sponsor_id == chain.c.id)
        )
        self.assertEqual(
            self.rows(select(chain.c.name, chain.c.depth).order_by(chain.c.depth)),
            [("Anna Ast", 0), ("Bert Bach", 1), ("Cleo Chen", 2)],
        )

    def test_windows(self) -> None:
        ranked = self.mine(
            Customer.name,
            func.rank().over(order_by=Customer.credit.desc()),
            func.lag(Customer.name).over(order_by=Customer.name),
            func.sum(Customer.points).over(partition_by=Customer.country, order_by=Customer.name),
        )
        self.assertEqual(self.rows(ranked)[2], ("Cleo Chen", 1, "Bert Bach", 30))

    def test_lateral(self) -> None:
        latest = (
            select(Purchase.note, Purchase.total)
            .where(Purchase.customer_id == Customer.id)
            .order_by(Purchase.price.desc())
            .limit(1)
            .lateral()
        )
        self.assertEqual(
            self.rows(self.mine(Customer.name, latest.c.note, latest.c.total).outerjoin(latest, true())),
            [("Anna Ast", "First", Decimal(20)), ("Bert Bach", "Third", Decimal(100)), ("Cleo Chen", None, None)],
        )

    def test_unions_and_distinct(self) -> None:
        names = self.mine(Customer.name).order_by(None)
        notes = select(Purchase.note).where(Purchase.customer_id >= self.first, Purchase.note.is_not(None))
        both = names.union_all(notes).subquery()
        self.assertEqual(len(self.rows(select(both.c.name).order_by(both.c.name))), 5)
        self.assertEqual(
            self.rows(
                select(Purchase.status)
                .distinct()
                .where(Purchase.customer_id >= self.first)
                .order_by(Purchase.status)
            ),
            [(Status.OPEN,), (Status.PAID,)],
        )
        first = (
            select(Purchase.status, Purchase.note)
            .ext(distinct_on(Purchase.status))
            .where(Purchase.customer_id >= self.first)
        )
        self.assertEqual(
            self.rows(first.order_by(Purchase.status, Purchase.note.desc())),
            [(Status.OPEN, None), (Status.PAID, "Third")],
        )

    def test_case_and_cast(self) -> None:
        size = case((Customer.credit > 20, "big"), (Customer.credit > 5, "middle"), else_="small")
        self.assertEqual(self.rows(self.mine(size)), [("middle",), ("small",), ("big",)])
        casts = self.mine(
            cast(Customer.credit, Integer),
            cast(Customer.birth_date, Text),
            cast(Customer.newsletter, Text),
            cast(Customer.tier, Text),
        )
        self.assertEqual(self.rows(casts)[1], (2, "1985-12-01", "true", "gold"))

    def test_rows_by_portions(self) -> None:
        found = self.session.scalars(self.mine(Customer).execution_options(yield_per=2))
        self.assertEqual(
            [[each.name for each in part] for part in found.partitions()],
            [["Anna Ast", "Bert Bach"], ["Cleo Chen"]],
        )
        streamed = self.connection.execute(
            self.mine(Customer.name), execution_options={"stream_results": True, "max_row_buffer": 1}
        )
        self.assertEqual(streamed.scalars().all(), ["Anna Ast", "Bert Bach", "Cleo Chen"])

    def test_rows_from_before(self) -> None:
        olga, null = self.session.scalars(select(Customer).where(Customer.id <= 2).order_by(Customer.id))
        self.assertEqual((olga.name, olga.email, olga.phone), ("Olga Öst", "olga@example.org", "+43 1 234"))
        self.assertEqual((olga.tier, olga.tags, olga.scores), (Tier.GOLD, ["first", "ever"], [3, None, 1]))
        self.assertEqual(
            (olga.preferences, olga.consent), ({"colour": "red", "size": {"shoe": 39}}, {"b": 1, "a": 2})
        )
        self.assertEqual((olga.credit, olga.birth_date), (Decimal("12.50"), date(1970, 2, 3)))
        self.assertEqual(olga.last_seen, datetime(2020, 1, 2, 3, 4, 5, 678901, tzinfo=UTC))
        self.assertEqual((olga.avatar, olga.referral, olga.newsletter), (b"\x89PNG\x00", uuid.UUID(int=7), True))
        self.assertEqual((olga.points, olga.logins, olga.region), (2**40, 17, "at-1"))
        self.assertEqual((null.email, null.tags, null.avatar, null.sponsor), (None, [], None, olga))
        (purchase,) = olga.purchases
        self.assertEqual(
            (purchase.status, purchase.note, purchase.gift), (Status.SENT, "Leave it at the door", True)
        )
        self.assertEqual(
            (purchase.total, [each.title for each in purchase.products]), (Decimal("19.90"), ["Lamp"])
        )
        self.assertEqual(purchase.products[0].weight, Decimal("0.350"))
        key = self.session.scalars(select(ApiKey).where(ApiKey.label == "old")).one()
        self.assertEqual((key.secret, key.expires_on, key.customer), (b"\x00secret", date(2030, 1, 1), olga))
        self.assertEqual(
            self.session.scalar(select(cast(Customer.consent, Text)).where(Customer.id == 1)), '{"b": 1, "a": 2}'
        )
