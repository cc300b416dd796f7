"""The shop's tables: customers, what they may use the shop's interface with, what they bought."""

import enum
import os
import uuid
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    Date,
    DateTime,
    Enum,
    ForeignKey,
    Identity,
    Integer,
    Interval,
    LargeBinary,
    Numeric,
    String,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    create_engine,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, DOMAIN, JSON, JSONB
from sqlalchemy.engine import URL, Engine
from sqlalchemy.ext.mutable import MutableDict, MutableList
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Tier(enum.Enum):
    """How good a customer is; not in the order of the alphabet."""

    BASIC = "basic"
    SILVER = "silver"
    GOLD = "gold"
    BANNED = "banned"


class Status(enum.Enum):
    """How far a purchase is."""

    OPEN = "open"
    PAID = "paid"
    SENT = "sent"


def values(members: type[enum.Enum]) -> list[str]:
    """Return what of an enum is stored."""
    return [member.value for member in members]


PhoneNumber = DOMAIN("phone_number", Text(), check=r"VALUE ~ '^\+[0-9 ]+$'", constraint_name="phone_number_check")


class Base(DeclarativeBase):
    """The types of annotations."""

    type_annotation_map = {
        str: Text(),
        date: Date(),
        datetime: DateTime(timezone=True),
        timedelta: Interval(),
        bytes: LargeBinary(),
        uuid.UUID: Uuid(),
        Tier: Enum(Tier, name="tier", values_callable=values),
        Status: Enum(Status, name="status", values_callable=values),
    }


class Customer(Base):
    """A customer, with a column of every kind that is secret, and some that are not."""

    __tablename__ = "customer"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    name: Mapped[str]
    email: Mapped[str | None] = mapped_column(String(200))
    phone: Mapped[str | None] = mapped_column(PhoneNumber)
    tier: Mapped[Tier] = mapped_column(server_default="basic")
    tags: Mapped[list[str]] = mapped_column(MutableList.as_mutable(ARRAY(Text)), server_default="{}")
    scores: Mapped[list[int | None] | None] = mapped_column(ARRAY(Integer))
    preferences: Mapped[dict[str, Any]] = mapped_column(MutableDict.as_mutable(JSONB), server_default="{}")
    consent: Mapped[Any] = mapped_column(JSON(none_as_null=True), nullable=True)
    credit: Mapped[Decimal] = mapped_column(Numeric(12, 2), server_default="0")
    birth_date: Mapped[date | None]
    last_seen: Mapped[datetime | None]
    avatar: Mapped[bytes | None]
    referral: Mapped[uuid.UUID | None]
    newsletter: Mapped[bool] = mapped_column(server_default="false")
    points: Mapped[int] = mapped_column(BigInteger, server_default="0")
    logins: Mapped[int] = mapped_column(default=0)
    # These stay as they are.
    country: Mapped[str] = mapped_column(String(2), server_default="DE")
    region: Mapped[str] = mapped_column(Computed("lower(country) || '-1'", persisted=True))
    patience: Mapped[timedelta | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    sponsor_id: Mapped[int | None] = mapped_column(ForeignKey("customer.id", ondelete="SET NULL"))
    version: Mapped[int] = mapped_column()

    sponsor: Mapped["Customer | None"] = relationship(remote_side=[id], back_populates="sponsored")
    sponsored: Mapped[list["Customer"]] = relationship(back_populates="sponsor", passive_deletes=True)
    purchases: Mapped[list["Purchase"]] = relationship(
        back_populates="customer", cascade="all, delete-orphan", order_by="Purchase.id"
    )
    api_keys: Mapped[list["ApiKey"]] = relationship(
        back_populates="customer", cascade="all, delete-orphan", passive_deletes=True
    )

    __mapper_args__ = {"version_id_col": version}
    __table_args__ = (
        UniqueConstraint("email", name="customer_email_key"),
        CheckConstraint("credit >= 0", name="customer_credit_check"),
        CheckConstraint("tier <> 'banned' OR points = 0", name="customer_banned_check"),
        CheckConstraint("birth_date < created_at", name="customer_birth_date_check"),
    )


purchase_product = Table(
    "purchase_product",
    Base.metadata,
    Column("purchase_id", ForeignKey("purchase.id", ondelete="CASCADE"), primary_key=True),
    Column("sku", ForeignKey("product.sku"), primary_key=True),
)


class Purchase(Base):
    """A purchase, with a serial key and a number of its own."""

    __tablename__ = "purchase"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True, start=1000, increment=10))
    customer_id: Mapped[int] = mapped_column(ForeignKey("customer.id"))
    status: Mapped[Status] = mapped_column(server_default="open")
    note: Mapped[str | None]
    placed_at: Mapped[datetime] = mapped_column(server_default=func.now())
    shipping: Mapped[Decimal] = mapped_column(Numeric(8, 2), server_default="4.90")
    gift: Mapped[bool] = mapped_column(default=False)
    quantity: Mapped[int] = mapped_column(default=1)
    price: Mapped[Decimal] = mapped_column(Numeric(8, 2), default=Decimal(0))
    total: Mapped[Decimal] = mapped_column(Numeric(10, 2), Computed("quantity * price", persisted=True))

    customer: Mapped[Customer] = relationship(back_populates="purchases")
    products: Mapped[list["Product"]] = relationship(
        secondary=purchase_product, back_populates="purchases", passive_deletes=True
    )


class Product(Base):
    """A product, with a key that people made."""

    __tablename__ = "product"

    sku: Mapped[str] = mapped_column(String(20), primary_key=True)
    title: Mapped[str] = mapped_column(String(80))
    attributes: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    weight: Mapped[Decimal | None] = mapped_column(Numeric)

    purchases: Mapped[list[Purchase]] = relationship(secondary=purchase_product, back_populates="products")


class ApiKey(Base):
    """A secret of a customer, with a key that the database makes; its label is unique for the customer."""

    __tablename__ = "api_key"

    id: Mapped[uuid.UUID] = mapped_column(server_default=text("gen_random_uuid()"), primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customer.id", ondelete="CASCADE"))
    label: Mapped[str] = mapped_column(String(40))
    secret: Mapped[bytes]
    expires_on: Mapped[date | None]

    customer: Mapped[Customer] = relationship(back_populates="api_keys")

    __table_args__ = (UniqueConstraint("customer_id", "label", name="api_key_label_key"),)


def engine() -> Engine:
    """Return an engine for the database that the environment names, as libpq does."""
    url = URL.create(
        "postgresql+psycopg",
        username=os.environ["PGUSER"],
        database=os.environ["PGDATABASE"],
        query={"host": os.environ["PGHOST"], "port": os.environ["PGPORT"]},
    )
    return create_engine(url)
