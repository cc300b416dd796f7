"""Objects on the base table of encrypted columns that are made later, and comments that are changed."""

from collections.abc import Iterator

import pytest
from conftest import Connection, rows, value
from psycopg import errors


@pytest.fixture
def session(connection: Connection) -> Iterator[Connection]:
    """A session with a table whose column ``s`` is encrypted."""
    connection.execute("""
        CREATE SCHEMA readers;
        SET search_path = readers, pgkeymgr, public;
        CREATE TABLE log (v text);
        CREATE TABLE t (id integer PRIMARY KEY, s text, n integer);
        CREATE POLICY kept ON t USING (true);
        INSERT INTO t VALUES (1, 'a', 1);
        SELECT encrypt_column('t', 's');
    """)
    try:
        yield connection
    finally:
        connection.execute("DROP PUBLICATION IF EXISTS readers, readers_whole; DROP SCHEMA readers CASCADE")


REFUSED = {
    "a policy": "CREATE POLICY reads ON t_encrypted USING (s = 'a')",
    "a policy that changes": "ALTER POLICY kept ON t_encrypted USING (s = 'a')",
    "a policy of another table": "CREATE POLICY reads ON log USING (v IN (SELECT s FROM t_encrypted))",
    "a rule": "CREATE RULE reads AS ON INSERT TO t_encrypted DO ALSO INSERT INTO log VALUES (NEW.s)",
    "a rule of another table": "CREATE RULE reads AS ON INSERT TO log DO ALSO UPDATE t_encrypted SET s = NEW.v",
    "a view": "CREATE VIEW reads AS SELECT id, upper(s) FROM t_encrypted",
    "a new view": "CREATE OR REPLACE VIEW old AS SELECT id, s FROM t_encrypted",
    "a materialized view": "CREATE MATERIALIZED VIEW reads AS SELECT s FROM t_encrypted",
    "a function": "CREATE FUNCTION reads() RETURNS text BEGIN ATOMIC SELECT s FROM t_encrypted; END",
    "a procedure": "CREATE PROCEDURE reads() BEGIN ATOMIC UPDATE t_encrypted SET n = 1 WHERE s = 'a'; END",
    "statistics": "CREATE STATISTICS reads ON s, n FROM t_encrypted",
    "a publication": "CREATE PUBLICATION readers FOR TABLE t_encrypted WHERE (s IS NOT NULL)",
    "a publication that changes": "ALTER PUBLICATION readers_whole SET TABLE t_encrypted (id, s)",
}


@pytest.mark.parametrize("is_migrated", [False, True])
def test_they_would_find_null(session: Connection, is_migrated: bool) -> None:
    """To accept them would mislead, and would refuse all later DDL on the table."""
    rows(session, "CREATE VIEW old AS SELECT id FROM t_encrypted")
    rows(session, "CREATE PUBLICATION readers_whole FOR TABLE t_encrypted")
    if is_migrated:
        rows(session, "CALL migrate_column('t', 's')")
    for name, statement in REFUSED.items():
        with pytest.raises(errors.FeatureNotSupported, match='is about column "s", whose values') as refused:
            rows(session, statement)
        hint = "The base table has NULL in the column. The view has the values."
        assert refused.value.diag.message_hint == hint, name
    rows(session, "ALTER TABLE t_encrypted ADD COLUMN m integer")
    rows(session, "UPDATE t SET s = 'b', m = 2")
    assert rows(session, "SELECT * FROM t") == [(1, "b", 1, 2)]


def test_what_reads_the_view_or_other_columns(session: Connection) -> None:
    for statement in (
        "CREATE POLICY others ON t_encrypted USING (n < 9 AND s_encrypted IS NOT NULL)",
        "ALTER POLICY kept ON t_encrypted USING (n > -1)",
        "CREATE RULE notes AS ON INSERT TO t DO ALSO INSERT INTO log VALUES (NEW.s)",
        "CREATE VIEW through AS SELECT id, s FROM t",
        "CREATE VIEW beside AS SELECT id, s_encrypted FROM t_encrypted",
        "CREATE MATERIALIZED VIEW filled AS SELECT s FROM t",
        "CREATE FUNCTION found() RETURNS text BEGIN ATOMIC SELECT s FROM t; END",
        "CREATE STATISTICS other ON id, n FROM t_encrypted",
        "CREATE PUBLICATION readers FOR TABLE t_encrypted WHERE (id > 0)",
        "ALTER TABLE t_encrypted ADD COLUMN m integer",
    ):
        rows(session, statement)
    rows(session, "INSERT INTO t VALUES (2, 'b')")
    assert rows(session, "SELECT * FROM log") == [("b",)]


def test_a_rule_for_some_deletions(session: Connection) -> None:
    """PostgreSQL would refuse each DELETE on the view."""
    rows(session, "CREATE TABLE u (id integer PRIMARY KEY, s text)")
    rows(session, "CREATE RULE keeps AS ON DELETE TO u WHERE OLD.id = 1 DO INSTEAD NOTHING")
    rows(session, "CREATE RULE keeps_too AS ON UPDATE TO u WHERE OLD.id = 1 DO INSTEAD NOTHING")
    with pytest.raises(errors.FeatureNotSupported, match=r"rule keeps on table readers\.u does something else"):
        rows(session, "SELECT encrypt_column('u', 's')")
    rows(session, "DROP RULE keeps ON u")
    rows(session, "SELECT encrypt_column('u', 's')")
    rows(session, "INSERT INTO u VALUES (1, 'a'), (2, 'b')")
    rows(session, "UPDATE u SET s = 'c'")
    assert rows(session, "DELETE FROM u RETURNING s") == [("a",), ("c",)]


def test_a_check_of_the_table(session: Connection) -> None:
    rows(session, "CREATE TABLE u (id integer PRIMARY KEY, s text, CHECK (s <> '' AND tableoid <> 0))")
    with pytest.raises(errors.FeatureNotSupported, match="mentions tableoid"):
        rows(session, "SELECT encrypt_column('u', 's')")


def test_the_name_of_a_check(session: Connection) -> None:
    """The table gets the constraint back at the end of decrypt_column()."""
    rows(session, "CREATE TABLE u (id integer PRIMARY KEY, s text, CONSTRAINT known CHECK (s <> ''))")
    rows(session, "SELECT encrypt_column('u', 's')")
    with pytest.raises(errors.FeatureNotSupported, match='constraint "known" has the name of a CHECK constraint'):
        rows(session, "ALTER TABLE u_encrypted ADD CONSTRAINT known CHECK (id > 0)")
    rows(session, "CALL decrypt_column('u', 's')")
    assert value(session, "SELECT count(*) FROM pg_constraint WHERE conname = 'known'") == 1


def test_a_label_of_a_tenant(session: Connection) -> None:
    """Its rows would be under two keys, and stay readable after one of them was destroyed."""
    session.execute("""
        CREATE TYPE region AS ENUM ('eu', 'us');
        CREATE DOMAIN home AS region;
        CREATE TABLE u (id integer PRIMARY KEY, r home, s text);
    """)
    rows(session, "SELECT encrypt_column('u', 's', key_by => 'r')")
    rows(session, "INSERT INTO u VALUES (1, 'eu', 'x')")
    rows(session, "ALTER TYPE region ADD VALUE 'uk' BEFORE 'us'")
    with pytest.raises(errors.FeatureNotSupported, match="would get other keys: its label 'eu' was renamed"):
        rows(session, "ALTER TYPE region RENAME VALUE 'eu' TO 'europe'")
    rows(session, "ALTER TABLE u RENAME COLUMN r TO place")
    with pytest.raises(errors.FeatureNotSupported, match="would get other keys: its label 'uk' was renamed"):
        rows(session, "ALTER TYPE region RENAME VALUE 'uk' TO 'gb'")
    rows(session, "CALL decrypt_column('u', 's')")
    rows(session, "ALTER TYPE region RENAME VALUE 'eu' TO 'europe'")


def test_a_default_of_a_partition(session: Connection) -> None:
    """It would be lost."""
    session.execute("""
        CREATE TABLE u (id integer, s text DEFAULT 'all') PARTITION BY LIST (id);
        CREATE TABLE one PARTITION OF u (s DEFAULT 'one') FOR VALUES IN (1);
        CREATE TABLE two PARTITION OF u FOR VALUES IN (2);
    """)
    with pytest.raises(errors.FeatureNotSupported, match=r"partition readers\.one has another default") as refused:
        rows(session, "SELECT encrypt_column('u', 's')")
    assert "ALTER TABLE readers.one ALTER COLUMN s DROP DEFAULT" in (refused.value.diag.message_hint or "")
    rows(session, "ALTER TABLE one ALTER s DROP DEFAULT")
    rows(session, "SELECT encrypt_column('u', 's')")


def test_comments_that_are_changed(session: Connection) -> None:
    """A comment on a column of the view is one of the table, and stays when the view is made again."""
    read = (
        "SELECT a.attname::text, col_description(a.attrelid, a.attnum) FROM pg_attribute AS a"
        " WHERE a.attrelid = 't'::regclass AND a.attname IN ('id', 's', 'n') ORDER BY a.attname"
    )
    session.execute("""
        COMMENT ON VIEW t IS 'the table';
        COMMENT ON COLUMN t.s IS 'a secret';
        COMMENT ON COLUMN t_encrypted.n IS 'a number';
        COMMENT ON COLUMN t.id IS 'gone';
        COMMENT ON COLUMN t.id IS NULL;
    """)
    expected = [("id", None), ("n", "a number"), ("s", "a secret")]
    assert rows(session, read) == expected
    rows(session, "SELECT alter_encrypted_table('t', 'ALTER COLUMN n TYPE bigint')")
    assert rows(session, read) == expected
    rows(session, "DROP VIEW t")
    rows(session, "SELECT refresh_encrypted_view('t_encrypted')")
    assert rows(session, read) == expected
    rows(session, "CALL migrate_column('t', 's')")
    rows(session, "CALL decrypt_column('t', 's')")
    assert rows(session, read) == expected
    assert value(session, "SELECT obj_description('t'::regclass)") == "the table"


def test_another_type_in_an_open_session(session: Connection) -> None:
    """A session has plans for the former type, which PL/pgSQL does not make again by itself."""
    change = "UPDATE t SET id = id + 1, n = n + 1, s = s || 'x' RETURNING id, s, n"
    assert rows(session, change) == [(2, "ax", 2)]
    rows(session, "SELECT alter_encrypted_table('t', 'ALTER COLUMN id TYPE bigint, ALTER COLUMN n TYPE numeric')")
    assert rows(session, change) == [(3, "axx", 3)]
    rows(session, "INSERT INTO t VALUES (5000000000, 'b', 1.5)")
    rows(session, "DROP VIEW t")
    rows(session, "ALTER TABLE t_encrypted ALTER COLUMN n TYPE text")
    rows(session, "SELECT refresh_encrypted_view('t_encrypted')")
    rows(session, "UPDATE t SET n = n || '!'")
    assert rows(session, "SELECT * FROM t ORDER BY id") == [(3, "axx", "3!"), (5000000000, "b", "1.5!")]
