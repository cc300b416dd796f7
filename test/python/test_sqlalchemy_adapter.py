"""The dialect ``postgresql+pgkeymgr``: statements and reflection are as for plain tables."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from cluster import Cluster
from conftest import value
from pgkeymgr.sqlalchemy import alembic as pgkeymgr_alembic
from pgkeymgr.sqlalchemy import blind_index
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import CompileError, DBAPIError, IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from waiting import wait_until_blocked

DATABASE = "gallery"
COLUMNS = ("name", "email", "price", "sold", "level")


class Base(DeclarativeBase):
    """The tables."""


class Painter(Base):
    """A painter."""

    __tablename__ = "painter"
    id: Mapped[int] = mapped_column(sa.Identity(), primary_key=True)
    town: Mapped[str | None] = mapped_column(sa.Text)


class Picture(Base):
    """A picture: all columns but the keys and ``note`` become encrypted."""

    __tablename__ = "picture"
    __table_args__ = (
        sa.UniqueConstraint("email", name="picture_email_key"),
        sa.UniqueConstraint("painter_id", "note", name="picture_note_key"),
        sa.CheckConstraint("price >= 0", name="picture_price"),
        sa.Index("picture_note", "note"),
        {"comment": "all pictures"},
    )
    id: Mapped[int] = mapped_column(sa.Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(sa.Text, comment="the title")
    email: Mapped[str | None] = mapped_column(sa.String(80))
    price: Mapped[int | None] = mapped_column(sa.Integer)
    sold: Mapped[bool | None] = mapped_column(sa.Boolean)
    level: Mapped[str] = mapped_column(sa.String(10), server_default="50%")
    note: Mapped[str | None] = mapped_column(sa.String(20))
    painter_id: Mapped[int | None] = mapped_column(sa.ForeignKey("painter.id"))


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    with Cluster() as cluster:
        cluster.create_database("empty")
        with cluster.connect("empty") as connection:
            connection.execute("CREATE SCHEMA other")
        yield cluster


def url(cluster: Cluster, driver: str = "pgkeymgr") -> sa.URL:
    query = {"host": str(cluster.directory), "port": str(cluster.port)}
    return sa.URL.create(f"postgresql+{driver}", username="postgres", database=DATABASE, query=query)


@pytest.fixture
def plain(server: Cluster) -> Iterator[sa.Engine]:
    """An engine for a database with plain tables and rows."""
    with server.database_copy("empty", DATABASE):
        engine = sa.create_engine(url(server))
        Base.metadata.create_all(engine)
        with Session(engine) as session:
            session.add_all(Picture(name=f"P{n}", email=f"{n}@example.org", price=n) for n in range(3))
            session.commit()
        yield engine
        engine.dispose()


@contextmanager
def operations(engine: sa.Engine) -> Iterator[Operations]:
    """Operations as in a migration."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"transaction_per_migration": True})
        with context.begin_transaction(_per_migration=True):
            yield Operations(context)


def encrypt(engine: sa.Engine) -> None:
    with operations(engine) as op:
        for column in COLUMNS:
            op.encrypt_column("picture", column)  # type: ignore[attr-defined]
    with operations(engine) as op:
        for column in COLUMNS:
            op.migrate_column("picture", column, batch_size=2)  # type: ignore[attr-defined]


@pytest.fixture
def engine(plain: sa.Engine) -> sa.Engine:
    """The same, with encrypted columns."""
    encrypt(plain)
    return plain


def pictures(engine: sa.Engine) -> list[tuple[Any, ...]]:
    columns = (Picture.name, Picture.email, Picture.price, Picture.sold, Picture.level, Picture.note)
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.select(*columns).order_by(Picture.id))]


OLD = [(f"P{n}", f"{n}@example.org", n, None, "50%", None) for n in range(3)]


def test_operations_encrypt_and_decrypt(plain: sa.Engine) -> None:
    with plain.begin() as connection:
        connection.execute(sa.text("CREATE INDEX ON picture (name)"))
    encrypt(plain)
    with plain.connect() as connection:
        states = connection.scalars(sa.text("SELECT state::text FROM pgkeymgr.encrypted_columns")).all()
    assert states == ["encrypted"] * len(COLUMNS)
    assert pictures(plain) == OLD
    with operations(plain) as op:
        op.add_blind_index("picture", "name", normalize="casefold")  # type: ignore[attr-defined]
        op.drop_blind_index("picture", "name")  # type: ignore[attr-defined]
        for column in COLUMNS:
            op.decrypt_column("picture", column)  # type: ignore[attr-defined]
    with plain.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM pgkeymgr.encrypted_columns")) == 0
    assert pictures(plain) == OLD


def test_do_nothing(engine: sa.Engine) -> None:
    new = [{"name": "again", "email": "1@example.org"}, {"name": "new", "email": "7@example.org"}]
    with engine.begin() as connection:
        connection.execute(insert(Picture).on_conflict_do_nothing(), new)
        connection.execute(insert(Picture).on_conflict_do_nothing(index_elements=["email"]), new)
        connection.execute(insert(Picture).on_conflict_do_nothing(constraint="picture_email_key"), new)
    assert pictures(engine) == [*OLD, ("new", "7@example.org", None, None, "50%", None)]


def test_do_update(engine: sa.Engine) -> None:
    new = insert(Picture)
    statement = new.on_conflict_do_update(
        index_elements=[Picture.email],
        set_={
            "name": new.excluded.name + " was " + Picture.name,
            "price": new.excluded.price,
            Picture.sold: True,
            "note": sa.func.coalesce(Picture.note, "n%"),
        },
        where=Picture.price > 0,
    ).returning(Picture.name, Picture.price, Picture.id)
    rows: list[dict[str, Any]] = [
        {"name": "zero", "email": "0@example.org", "price": 10, "level": "a"},
        {"name": "two", "email": "2@example.org", "price": None, "level": "b"},
        {"name": "nine", "email": "9@example.org", "price": 9, "level": "c"},
    ]
    with engine.begin() as connection:
        returned = connection.execute(statement, rows).all()
    assert [row._mapping[Picture.__table__.c.name] for row in returned] == ["two was P2", "nine"]
    assert [tuple(row)[:2] for row in returned] == [("two was P2", None), ("nine", 9)]
    assert pictures(engine) == [
        *OLD[:2],
        ("two was P2", "2@example.org", None, True, "50%", "n%"),
        ("nine", "9@example.org", 9, None, "c", None),
    ]
    with engine.connect() as connection:
        for column in COLUMNS:
            found = sa.text(f"SELECT count(*) FROM pgkeymgr.verify_column('picture', '{column}')")
            assert connection.scalar(found) == 0


def test_do_update_of_the_key_and_by_a_constraint(engine: sa.Engine) -> None:
    statement = insert(Picture).values(id=1, name="new", email="0@example.org", level="x%")
    targets: tuple[dict[str, Any], ...] = (
        {"index_elements": ["id"]},
        {"constraint": "picture_pkey"},
        {"constraint": "picture_email_key"},
    )
    for number, target in enumerate(targets):
        price = None if number else 5
        changes = {"level": statement.excluded.level, "price": price, "name": f"n{number}"}
        with engine.begin() as connection:
            connection.execute(statement.on_conflict_do_update(set_=changes, **target))
        assert pictures(engine)[0] == (f"n{number}", "0@example.org", price, None, "x%", None)


def test_do_update_of_mapped_objects(engine: sa.Engine) -> None:
    statement = insert(Picture).values([{"name": "m", "email": "1@example.org", "level": "m"}])
    statement = statement.on_conflict_do_update(index_elements=["email"], set_={"name": statement.excluded.name})
    with Session(engine) as session:
        (picture,) = session.scalars(statement.returning(Picture), execution_options={"populate_existing": True})
        assert (picture.name, picture.email, picture.price) == ("m", "1@example.org", 1)


def test_defaults_that_cannot_be_had(engine: sa.Engine) -> None:
    """Several rows in VALUES do not take the default of an encrypted column: it is refused, not forgotten."""
    statement = insert(Picture).values([{"name": "a"}, {"name": "b"}]).on_conflict_do_nothing()
    with engine.connect() as connection, pytest.raises(CompileError, match='"level" of "picture" has a default'):
        connection.execute(statement)


def test_conflicts_without_a_target_fail(engine: sa.Engine) -> None:
    statement = insert(Picture).values(name="a").on_conflict_do_nothing(index_elements=["name"])
    with (
        engine.connect() as connection,
        pytest.raises(ProgrammingError, match="no unique or exclusion constraint"),
    ):
        connection.execute(statement)


def test_tables_that_become_encrypted_or_plain_later(plain: sa.Engine, server: Cluster) -> None:
    statement = (
        insert(Picture).values(name="a", email="0@example.org").on_conflict_do_nothing(index_elements=["email"])
    )

    def tried() -> None:
        with plain.begin() as connection:
            connection.execute(statement)

    tried()
    with server.connect(DATABASE) as other:
        value(other, "SELECT pgkeymgr.encrypt_column('picture', 'email')")
    with pytest.raises(ProgrammingError):
        tried()
    tried()
    with server.connect(DATABASE) as other:
        other.execute("CALL pgkeymgr.migrate_column('picture', 'email')")
        other.execute("CALL pgkeymgr.decrypt_column('picture', 'email')")
    with pytest.raises(ProgrammingError):
        tried()
    tried()
    assert pictures(plain) == OLD


def reflected(engine: sa.Engine) -> dict[str, Any]:
    """Return all that SQLAlchemy finds out about tables."""
    read = sa.inspect(engine)
    return {
        "tables": sorted(read.get_table_names()),
        "views": read.get_view_names(),
        **{
            name: {
                "columns": [{**column, "type": repr(column["type"])} for column in read.get_columns(name)],
                "key": read.get_pk_constraint(name),
                "indexes": read.get_indexes(name),
                "uniques": sorted(read.get_unique_constraints(name), key=lambda each: str(each["name"])),
                "checks": read.get_check_constraints(name),
                "foreign keys": read.get_foreign_keys(name),
                "comment": read.get_table_comment(name),
                "options": read.get_table_options(name),
            }
            for name in ("picture", "painter")
        },
    }


def test_reflection_is_that_of_the_plain_tables(plain: sa.Engine) -> None:
    before = reflected(plain)
    encrypt(plain)
    with plain.begin() as connection:
        connection.execute(sa.text("SELECT pgkeymgr.encrypt_column('painter', 'town')"))
    plain.dialect.encrypted_tables = None  # type: ignore[attr-defined]
    after = reflected(plain)
    for name in before:
        assert after[name] == before[name]


def test_reflection_of_metadata(engine: sa.Engine) -> None:
    metadata = sa.MetaData()
    metadata.reflect(engine, views=True)
    assert set(metadata.tables) == {"picture", "painter"}
    assert [column.name for column in metadata.tables["picture"].primary_key] == ["id"]
    # By its name, the base table is there.
    base = sa.Table("picture_encrypted", sa.MetaData(), autoload_with=engine, resolve_fks=False)
    assert isinstance(base.c.name_encrypted.type, sa.LargeBinary)


def test_autogenerate_finds_nothing_to_do(engine: sa.Engine) -> None:
    with operations(engine) as op:
        op.add_blind_index("picture", "price")  # type: ignore[attr-defined]
    with engine.connect() as connection:
        options = {"include_object": pgkeymgr_alembic.include_object, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []


def test_operations_alter_the_base_table(engine: sa.Engine) -> None:
    with operations(engine) as op:
        op.add_column("picture", sa.Column("size", sa.Integer(), server_default="3", nullable=False))
        op.alter_column("picture", "size", type_=sa.BigInteger(), server_default=None)
        op.alter_column("picture", "email", nullable=False)
        op.alter_column("picture", "level", server_default="new")
        op.create_index("picture_size", "picture", ["size"])
        op.create_check_constraint("picture_size_check", "picture", "size > 0")
        op.create_table_comment("picture", "it's 100% pictures", existing_comment="all pictures")
        op.create_table("frame", sa.Column("picture", sa.Integer(), sa.ForeignKey("picture.id")))
        op.drop_column("picture", "note")
        op.rename_table("picture", "image")
    read = sa.inspect(engine)
    columns = {column["name"]: column for column in read.get_columns("image")}
    assert list(columns) == ["id", *COLUMNS, "painter_id", "size"]
    assert isinstance(columns["size"]["type"], sa.BigInteger)
    assert not columns["email"]["nullable"]
    assert columns["name"]["comment"] == "the title"
    assert read.get_table_comment("image") == {"text": "it's 100% pictures"}
    assert "picture_size" in [index["name"] for index in read.get_indexes("image")]
    assert [each["referred_table"] for each in read.get_foreign_keys("frame")] == ["image"]
    with engine.begin() as connection:
        added = connection.execute(
            sa.text("INSERT INTO image (name, email, size) VALUES ('a', 'b', 1) RETURNING level, size")
        )
        assert tuple(added.one()) == ("new", 1)


def test_drop_all(engine: sa.Engine) -> None:
    Base.metadata.drop_all(engine)
    assert sa.inspect(engine).get_table_names() == []


def test_search_by_blind_index(engine: sa.Engine) -> None:
    with operations(engine) as op:
        op.add_blind_index("picture", "name", normalize="casefold")  # type: ignore[attr-defined]
        op.add_blind_index("picture", "price")  # type: ignore[attr-defined]
    with Session(engine) as session:
        session.execute(sa.text("SET enable_seqscan = off"))
        statement = sa.select(Picture).where(blind_index(Picture.name, "p1"))
        assert [picture.email for picture in session.scalars(statement)] == ["1@example.org"]
        by_price = sa.select(Picture.name).where(blind_index(Picture.__table__.c.price, 2))
        assert session.scalars(by_price).all() == ["P2"]
        literal = statement.compile(engine, compile_kwargs={"literal_binds": True})
        plan = session.scalars(sa.text(f"EXPLAIN {str(literal).replace(':', chr(92) + ':')}")).all()
        assert "Index Scan" in " ".join(plan)


@pytest.mark.parametrize("kind", ["autocommit", "transaction", "async"])
def test_a_single_statement_is_tried_again(engine: sa.Engine, server: Cluster, kind: str) -> None:
    """An UPDATE in autocommit that met a concurrent change is run again, but not within a transaction."""
    outcome: list[Any] = []
    statement = sa.update(Picture).where(Picture.id == 1).values(price=Picture.price + 1)

    async def asynchronously() -> None:
        other = create_async_engine(url(server), isolation_level="AUTOCOMMIT")
        async with other.connect() as connection:
            outcome.append((await connection.execute(statement)).rowcount)
        await other.dispose()

    def work() -> None:
        try:
            if kind == "async":
                asyncio.run(asynchronously())
                return
            options = {"isolation_level": "AUTOCOMMIT"} if kind == "autocommit" else {}
            with engine.connect().execution_options(**options) as connection:
                outcome.append(connection.execute(statement).rowcount)
        except DBAPIError as error:
            outcome.append(error.orig)

    with server.connect(DATABASE) as other, server.connect(DATABASE) as watcher:
        with other.transaction():
            other.execute("UPDATE picture SET price = 40 WHERE id = 1")
            thread = threading.Thread(target=work)
            thread.start()
            wait_until_blocked(watcher, thread, outcome)
        thread.join(60)
        price = value(watcher, "SELECT price FROM picture WHERE id = 1")
    if kind == "transaction":
        assert isinstance(outcome[0], psycopg.errors.SerializationFailure)
        assert price == 40
    else:
        assert outcome == [1]
        assert price == 41


def test_another_schema(plain: sa.Engine) -> None:
    metadata = sa.MetaData()
    table = sa.Table(
        "shelf", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("a%b", sa.Text), schema="other"
    )
    metadata.create_all(plain)
    with operations(plain) as op:
        op.encrypt_column("shelf", "a%b", schema="other")  # type: ignore[attr-defined]
    with plain.begin() as connection:
        statement = insert(table)
        statement = statement.on_conflict_do_update(index_elements=["id"], set_={"a%b": statement.excluded["a%b"]})
        connection.execute(statement, [{"id": 1, "a%b": "x"}])
        connection.execute(statement, [{"id": 1, "a%b": "y%"}])
        assert [tuple(row) for row in connection.execute(sa.select(table))] == [(1, "y%")]
    assert sa.inspect(plain).get_table_names("other") == ["shelf"]
    assert sa.inspect(plain).get_pk_constraint("shelf", "other")["constrained_columns"] == ["id"]


def test_integrity_errors_remain(engine: sa.Engine) -> None:
    with engine.connect() as connection, pytest.raises(IntegrityError):
        connection.execute(insert(Picture).values(id=1, name="a").on_conflict_do_nothing(index_elements=["email"]))
    with engine.connect() as connection, pytest.raises((OperationalError, IntegrityError)):
        connection.execute(insert(Picture).values(name="a", price=-1).on_conflict_do_nothing())
