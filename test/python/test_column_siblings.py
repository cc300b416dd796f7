"""Small cases of encrypted columns beside those that other files have at length."""

from collections.abc import Iterator

import pytest
from conftest import Connection, rows
from psycopg import errors


@pytest.fixture
def session(connection: Connection) -> Iterator[Connection]:
    """A session with a schema of its own."""
    connection.execute("CREATE SCHEMA siblings")
    connection.execute("SET search_path = siblings, pgkeymgr, public")
    try:
        yield connection
    finally:
        connection.execute("DROP SCHEMA siblings CASCADE")


def test_a_view_is_created_again_with_its_rule_on_the_table(session: Connection) -> None:
    rows(session, "CREATE TABLE t (id integer PRIMARY KEY, v text)")
    rows(session, "CREATE VIEW upper_t AS SELECT id, upper(v) AS u FROM t")
    rows(session, "CREATE RULE write AS ON INSERT TO upper_t DO INSTEAD INSERT INTO t VALUES (NEW.id, NEW.u)")
    rows(session, "SELECT encrypt_column('t', 'v')")
    rows(session, "INSERT INTO upper_t VALUES (1, 'a')")
    rows(session, "CALL migrate_column('t', 'v')")
    assert rows(session, "SELECT * FROM t") == [(1, "a")]
    rows(session, "CALL decrypt_column('t', 'v')")
    rows(session, "INSERT INTO upper_t VALUES (2, 'b')")
    assert rows(session, "SELECT * FROM upper_t ORDER BY id") == [(1, "A"), (2, "B")]


def test_an_aggregate_of_rows_is_named(session: Connection) -> None:
    rows(session, "CREATE TABLE t (id integer PRIMARY KEY, v text)")
    rows(session, "CREATE FUNCTION add(text, t) RETURNS text LANGUAGE sql AS $$ SELECT concat($1, $2.v) $$")
    rows(session, "CREATE AGGREGATE joined(t) (sfunc = add, stype = text)")
    with pytest.raises(errors.FeatureNotSupported, match=r"function siblings\.joined\(siblings\.t\) depends"):
        rows(session, "SELECT encrypt_column('t', 'v')")


def test_an_identity_is_not_updated_to_default(session: Connection) -> None:
    rows(session, "CREATE TABLE t (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text)")
    rows(session, "INSERT INTO t (v) VALUES ('a')")
    rows(session, "SELECT encrypt_column('t', 'v')")
    with pytest.raises(errors.FeatureNotSupported) as refused:
        rows(session, "UPDATE t SET id = DEFAULT")
    assert refused.value.diag.message_hint == 'Update the table "siblings"."t_encrypted" instead.'
    rows(session, "UPDATE t_encrypted SET id = DEFAULT")
    rows(session, "UPDATE t SET v = 'b', id = id")
    assert rows(session, "SELECT * FROM t") == [(2, "b")]


def test_a_privilege_that_was_granted_further_is_revoked(session: Connection) -> None:
    rows(session, "CREATE TABLE t (id integer PRIMARY KEY, v text)")
    session.execute("CREATE ROLE siblings_one; CREATE ROLE siblings_other")
    try:
        session.execute("""
            GRANT SELECT ON t TO siblings_one WITH GRANT OPTION;
            GRANT USAGE ON SCHEMA siblings TO siblings_one;
            SET ROLE siblings_one;
            GRANT SELECT ON t TO siblings_other;
            RESET ROLE;
            """)
        rows(session, "SELECT encrypt_column('t', 'v')")
        rows(session, "REVOKE SELECT ON t FROM siblings_one CASCADE")
        for relation in ("t", "t_encrypted"):
            may = f"SELECT has_table_privilege($1, '{relation}', 'SELECT')"
            roles = ("siblings_one", "siblings_other")
            assert [rows(session, may.replace("$1", f"'{role}'")) for role in roles] == [[(False,)], [(True,)]]
        rows(session, "REVOKE SELECT ON t FROM siblings_other")
        assert rows(session, "SELECT has_table_privilege('siblings_other', 't_encrypted', 'SELECT')") == [(False,)]
    finally:
        session.execute("RESET ROLE")
        session.execute("DROP OWNED BY siblings_one, siblings_other")
        session.execute("DROP ROLE siblings_one, siblings_other")


def test_a_constraint_that_is_not_valid_does_not_stop_the_decryption(session: Connection) -> None:
    rows(session, "CREATE TABLE t (id integer PRIMARY KEY, v text)")
    rows(session, "INSERT INTO t VALUES (1, 'old')")
    rows(session, "ALTER TABLE t ADD CONSTRAINT is_new CHECK (v <> 'old') NOT VALID")
    rows(session, "SELECT encrypt_column('t', 'v')")
    rows(session, "CALL migrate_column('t', 'v')")
    with pytest.raises(errors.CheckViolation):
        rows(session, "INSERT INTO t VALUES (2, 'old')")
    rows(session, "CALL decrypt_column('t', 'v')")
    assert rows(session, "SELECT * FROM t") == [(1, "old")]
    assert rows(session, "SELECT convalidated FROM pg_constraint WHERE conname = 'is_new'") == [(False,)]
    with pytest.raises(errors.CheckViolation):
        rows(session, "INSERT INTO t VALUES (2, 'old')")


def test_an_index_that_is_the_replica_identity_is_named(session: Connection) -> None:
    rows(session, "CREATE TABLE t (id integer PRIMARY KEY, v text NOT NULL CONSTRAINT one UNIQUE)")
    rows(session, "ALTER TABLE t REPLICA IDENTITY USING INDEX one")
    with pytest.raises(errors.FeatureNotSupported, match="is the replica identity") as refused:
        rows(session, "SELECT encrypt_column('t', 'v')")
    remedy = 'ALTER TABLE "siblings"."t" REPLICA IDENTITY DEFAULT'
    assert remedy in (refused.value.diag.message_hint or "")
    rows(session, remedy)
    rows(session, "SELECT encrypt_column('t', 'v')")


@pytest.mark.parametrize(
    ("table", "key_columns"),
    [
        ("(v text NOT NULL UNIQUE, n integer)", []),
        ("(v text NOT NULL, n integer NOT NULL, UNIQUE (n, v))", []),
        ("(v text NOT NULL UNIQUE, n integer NOT NULL UNIQUE)", ["n"]),
    ],
)
def test_rows_are_found_without_a_unique_index_of_the_column(
    session: Connection, table: str, key_columns: list[str]
) -> None:
    rows(session, f"CREATE TABLE t {table}")
    rows(session, "INSERT INTO t VALUES ('a', 1), ('b', 2)")
    rows(session, "SELECT encrypt_column('t', 'v')")
    found = rows(session, "SELECT key_columns::text[] FROM encrypted_relation WHERE relation = 't'::regclass")
    assert found == [(key_columns,)]
    rows(session, "UPDATE t SET n = 3 WHERE v = 'a'")
    rows(session, "CALL migrate_column('t', 'v')")
    with pytest.raises(errors.UniqueViolation):
        rows(session, "UPDATE t SET v = 'b', n = 2 WHERE v = 'a'")
    rows(session, "UPDATE t SET v = 'c' WHERE v = 'b'")
    assert rows(session, "SELECT v, n FROM t ORDER BY v") == [("a", 3), ("c", 2)]
    rows(session, "CALL decrypt_column('t', 'v')")
    with pytest.raises(errors.UniqueViolation):
        rows(session, "INSERT INTO t VALUES ('a', 3)")
    rows(session, "DELETE FROM t WHERE v = 'c'")
    assert rows(session, "SELECT v, n FROM t") == [("a", 3)]


def test_a_primary_key_keeps_its_columns(session: Connection) -> None:
    rows(session, "CREATE TABLE t (v text PRIMARY KEY, n integer NOT NULL UNIQUE)")
    with pytest.raises(errors.FeatureNotSupported, match="rows are found by it"):
        rows(session, "SELECT encrypt_column('t', 'v')")
