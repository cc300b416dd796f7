"""SQLAlchemy's conditions on encrypted columns with search terms."""

import datetime
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from cluster import Cluster
from pgkeymgr.sqlalchemy import search, search_within
from sqlalchemy.dialects.postgresql import INET, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

DATABASE = "people"


class Base(DeclarativeBase):
    """The tables."""


class Person(Base):
    """A person: all columns but the key become encrypted."""

    __tablename__ = "person"
    id: Mapped[int] = mapped_column(sa.Identity(), primary_key=True)
    name: Mapped[str | None] = mapped_column(sa.Text)
    age: Mapped[int | None] = mapped_column(sa.SmallInteger)
    born: Mapped[datetime.date | None] = mapped_column(sa.Date)
    seen: Mapped[datetime.datetime | None] = mapped_column(sa.DateTime(timezone=True))
    address: Mapped[str | None] = mapped_column(INET)
    profile: Mapped[Any] = mapped_column(JSONB, nullable=True)


KINDS = {"name": "text", "age": "range", "born": "range", "seen": "range", "address": "range", "profile": "json"}


@pytest.fixture(scope="module")
def engine(cluster: Cluster) -> Iterator[sa.Engine]:
    cluster.create_database(DATABASE)
    query = {"host": str(cluster.directory), "port": str(cluster.port)}
    made = sa.create_engine(
        sa.URL.create("postgresql+pgkeymgr", username="postgres", database=DATABASE, query=query)
    )
    Base.metadata.create_all(made)
    seen = datetime.datetime(2026, 11, 29, 12, tzinfo=datetime.UTC)
    with Session(made) as session:
        session.add_all(
            Person(
                name=name,
                age=age,
                born=datetime.date(1990, age, 1),
                seen=seen + datetime.timedelta(hours=age),
                address=f"10.1.{age}.1",
                profile={"name": name, "tags": [age]},
            )
            for age, name in enumerate(["Anna Hofmann", "ANNA Hoffmann", "Zo\u00eb 100%_"], 1)
        )
        session.add(Person())
        session.commit()
    with made.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for column, kind in KINDS.items():
            options = {"c": column, "k": kind, "n": "casefold" if kind == "text" else "none"}
            for statement in (
                "SELECT pgkeymgr.encrypt_column('person', :c)",
                "CALL pgkeymgr.migrate_column('person', :c)",
                "SELECT pgkeymgr.add_blind_index('person', :c, :n, kind => :k, force => true)",
            ):
                used = {name: value for name, value in options.items() if f":{name}" in statement}
                connection.execute(sa.text(statement), used)
    yield made
    made.dispose()


NOON = datetime.datetime(2026, 11, 29, 12, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (search(Person.name, "contains", "mann"), [1, 2]),
        (search(Person.name, "like", "Anna%"), [1]),
        (search(Person.name, "ilike", "%HOFF%"), [2]),
        (search(Person.name, "prefix", "Zo\u00eb"), [3]),
        (search(Person.name, "suffix", "0%_"), [3]),
        (search_within(Person.age, 1, 2), [1, 2]),
        (search_within(Person.age, 1, 2, bounds="()"), []),
        (search_within(Person.age, None, 2, bounds="[)"), [1]),
        (search_within(Person.born, datetime.date(1990, 2, 1), None), [2, 3]),
        (search_within(Person.seen, NOON, NOON + datetime.timedelta(hours=1)), [1]),
        (search(Person.address, "network", "10.1.2.0/23"), [2, 3]),
        (search(Person.profile, "json", {"tags": [2]}), [2]),
        (search(Person.profile, "json_key", "tags"), [1, 2, 3]),
        (search(Person.__table__.c.name, "contains", "mann", companion="name_terms"), [1, 2]),
    ],
)
def test_search(engine: sa.Engine, condition: sa.ColumnElement[bool], expected: list[int]) -> None:
    with Session(engine) as session:
        session.execute(sa.text("SET enable_seqscan = off"))
        assert session.scalars(sa.select(Person.id).where(condition).order_by(Person.id)).all() == expected


def test_the_index_is_used(engine: sa.Engine) -> None:
    statement = sa.select(Person.id).where(search(Person.name, "contains", "mann"))
    with Session(engine) as session:
        session.execute(sa.text("SET enable_seqscan = off"))
        literal = statement.compile(engine, compile_kwargs={"literal_binds": True})
        plan = session.scalars(sa.text(f"EXPLAIN {str(literal).replace(':', chr(92) + ':')}")).all()
    assert "person_name_terms_idx" in " ".join(plan)


def test_models_need_not_have_the_terms(engine: sa.Engine) -> None:
    columns = {each["name"]: each for each in sa.inspect(engine).get_columns("person")}
    marked = {name for name, each in columns.items() if each.get("info")}
    assert marked == {f"{name}_terms" for name in KINDS}


def test_refused_searches() -> None:
    with pytest.raises(ValueError, match="operator"):
        search(Person.name, "regexp", "a")
    with pytest.raises(TypeError, match="no range"):
        search_within(Person.name, "a", "b")
