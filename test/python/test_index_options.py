"""The options of indexes and the comments of constraints, which a column has again after its decryption."""

from collections.abc import Iterator

import pytest
from cluster import Cluster
from conftest import Connection, own_schema, rows, value

TABLE = """
    CREATE TABLE t (
        id integer PRIMARY KEY, org integer NOT NULL, email text CONSTRAINT has_at CHECK (email ~ '@'), code text,
        CONSTRAINT one_email UNIQUE (email) WITH (fillfactor = 70), CONSTRAINT one_code UNIQUE (org, code)
    );
    COMMENT ON CONSTRAINT has_at ON t IS 'it''s \\ checked';
    COMMENT ON CONSTRAINT one_email ON t IS 'it''s \\ unique';
    COMMENT ON INDEX one_code IS 'of the index';
    CREATE UNIQUE INDEX an_index ON t (code COLLATE "C" text_pattern_ops DESC NULLS LAST, email)
        WITH (deduplicate_items = off, fillfactor = 50);
    COMMENT ON INDEX an_index IS 'another';
    ALTER TABLE t CLUSTER ON one_code;
    INSERT INTO t SELECT i, i % 2, 'u@' || i, 'c' || i FROM generate_series(1, 5) AS i;
"""
INDEXES = (
    "SELECT c.relname::text, replace(pg_get_indexdef(c.oid), 't_encrypted', 't'), i.indisclustered,"
    " coalesce(obj_description(c.oid, 'pg_class'), ''), coalesce(pg_get_constraintdef(o.oid), ''),"
    " coalesce(obj_description(o.oid, 'pg_constraint'), '')"
    " FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid"
    " LEFT JOIN pg_constraint AS o ON o.conindid = c.oid WHERE i.indrelid = 't'::regclass ORDER BY 1"
)
CHECKS = (
    "SELECT conname::text, obj_description(oid, 'pg_constraint') FROM pg_constraint WHERE contype = 'c'"
    " AND conrelid = 't'::regclass"
)


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> Iterator[Cluster]:
    with cluster.temporary_database("index_options"):
        yield cluster


@pytest.fixture
def admin(database: Cluster) -> Iterator[Connection]:
    """A superuser's session with a schema of its own."""
    with own_schema(database, "index_options") as connection:
        yield connection


def encrypt(admin: Connection, *columns: str) -> None:
    for column in columns:
        rows(admin, f"SELECT encrypt_column('t', '{column}')")
    rows(admin, "CALL migrate_columns('t')")


def with_comment_of_constraint(found: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Return indexes of which the constraint has the comment that an index had."""
    return [(*row[:3], "", row[4], row[5] or row[3]) if row[4] else row for row in found]


@pytest.mark.parametrize("order", [("email", "code"), ("code", "email")])
def test_indexes_come_back_as_they_were(admin: Connection, order: tuple[str, str]) -> None:
    """The options survive an encryption and a decryption of the columns of one index after each other, too."""
    admin.execute(TABLE)
    indexes, checks = with_comment_of_constraint(rows(admin, INDEXES)), rows(admin, CHECKS)
    encrypt(admin, *order)
    for column in order:
        rows(admin, f"CALL decrypt_column('t', '{column}')")
    assert rows(admin, INDEXES) == indexes
    assert rows(admin, CHECKS) == checks
    assert rows(admin, "SELECT email, code FROM t ORDER BY id") == [(f"u@{i}", f"c{i}") for i in range(1, 6)]


def test_options_of_the_index_in_the_meantime(admin: Connection) -> None:
    """They can be changed there, and a rotation of the blind index keeps them."""
    admin.execute(TABLE)
    encrypt(admin, "email", "code")
    options = "SELECT reloptions::text, obj_description(oid) FROM pg_class WHERE relname = 'one_email'"
    assert rows(admin, options) == [("{fillfactor=70}", "it's \\ unique")]
    admin.execute("ALTER INDEX one_email SET (fillfactor = 60)")
    admin.execute("COMMENT ON INDEX one_email IS 'changed'")
    rows(admin, "CALL rotate_blind_index('t', 'email')")
    assert rows(admin, options) == [("{fillfactor=60}", "changed")]
    clustered = "SELECT indexrelid::regclass::text FROM pg_index WHERE indisclustered"
    rows(admin, "CALL rotate_blind_index('t', 'code')")
    assert rows(admin, clustered) == [("one_code",)]
    rows(admin, "CALL decrypt_columns('t')")
    assert value(admin, "SELECT reloptions::text FROM pg_class WHERE relname = 'one_email'") == "{fillfactor=60}"
    assert (
        value(admin, "SELECT obj_description(oid, 'pg_constraint') FROM pg_constraint WHERE conname = 'one_email'")
        == "changed"
    )
    assert rows(admin, clustered) == [("one_code",)]


def test_an_index_whose_collation_has_gone(admin: Connection) -> None:
    """The decryption ends all the same."""
    admin.execute('CREATE COLLATION one FROM "C"; CREATE TABLE t (id integer PRIMARY KEY, s text)')
    admin.execute("CREATE UNIQUE INDEX an_index ON t (s COLLATE one)")
    encrypt(admin, "s")
    rows(admin, "INSERT INTO t VALUES (1, 'x')")
    admin.execute("DROP COLLATION one")
    warnings: list[str] = []
    admin.add_notice_handler(lambda notice: warnings.append(notice.message_primary or ""))
    rows(admin, "CALL decrypt_column('t', 's')")
    assert [each for each in warnings if "do not exist any more" in each]
    assert value(admin, "SELECT pg_get_indexdef('an_index'::regclass)").endswith("USING btree (s)")
    assert rows(admin, "SELECT * FROM t") == [(1, "x")]


def test_a_partitioned_table(admin: Connection) -> None:
    """The partitions get the storage parameters from the index of the partitioned table."""
    admin.execute("""
        CREATE TABLE t (id integer, s text, CONSTRAINT one UNIQUE (id, s) WITH (fillfactor = 70))
            PARTITION BY HASH (id);
        CREATE TABLE t_0 PARTITION OF t FOR VALUES WITH (MODULUS 1, REMAINDER 0);
        COMMENT ON CONSTRAINT one ON t IS 'unique';
        INSERT INTO t VALUES (1, 'x')""")
    encrypt(admin, "s")
    rows(admin, "CALL decrypt_column('t', 's')")
    found = rows(
        admin,
        "SELECT c.reloptions::text, obj_description(o.oid, 'pg_constraint') FROM pg_constraint AS o"
        " JOIN pg_class AS c ON c.oid = o.conindid WHERE o.contype = 'u' AND o.conrelid IN"
        " ('t'::regclass, 't_0'::regclass) ORDER BY o.conrelid = 't_0'::regclass",
    )
    assert found == [("{fillfactor=70}", "unique"), ("{fillfactor=70}", None)]
