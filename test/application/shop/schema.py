"""Make the shop's tables, with a few rows."""

import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from sqlalchemy.orm import Session

from application.shop.models import ApiKey, Base, Customer, Product, Purchase, Status, Tier, engine


def main() -> None:
    """Make all of it, as the owner."""
    database = engine()
    Base.metadata.create_all(database)
    with Session(database) as session:
        olga = Customer(
            name="Olga Öst",
            email="olga@example.org",
            phone="+43 1 234",
            tier=Tier.GOLD,
            tags=["first", "ever"],
            scores=[3, None, 1],
            preferences={"colour": "red", "size": {"shoe": 39}},
            consent={"b": 1, "a": 2},
            credit=Decimal("12.50"),
            birth_date=date(1970, 2, 3),
            last_seen=datetime(2020, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
            avatar=b"\x89PNG\x00",
            referral=uuid.UUID(int=7),
            newsletter=True,
            points=2**40,
            logins=17,
            country="AT",
            patience=timedelta(days=1, hours=2),
        )
        lamp = Product(sku="L-1", title="Lamp", attributes={"watts": 7}, weight=Decimal("0.350"))
        olga.purchases.append(
            Purchase(
                status=Status.SENT,
                note="Leave it at the door",
                placed_at=datetime(2020, 1, 1, tzinfo=UTC),
                gift=True,
                quantity=2,
                price=Decimal("9.95"),
                products=[lamp],
            )
        )
        olga.api_keys.append(ApiKey(label="old", secret=b"\x00secret", expires_on=date(2030, 1, 1)))
        session.add_all([olga, Customer(name="Null", sponsor=olga)])
        session.commit()
    database.dispose()


if __name__ == "__main__":
    main()
