"""Functions of users whose bodies name others without their schemas: they find these, as they do on a table."""

from collections.abc import Iterator

import pytest
from conftest import Connection, rows, value
from psycopg import errors

FUNCTIONS = """
    CREATE FUNCTION is_bad(text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN $1 = 'bad'; END $$;
    CREATE FUNCTION is_good(text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN NOT is_bad($1); END $$;
    """


@pytest.fixture
def session(connection: Connection) -> Iterator[Connection]:
    """A session with a schema of its own, which is first in the search_path."""
    connection.execute("CREATE SCHEMA of_users")
    connection.execute("SET search_path = of_users, pgkeymgr, public")
    try:
        connection.execute(FUNCTIONS)
        yield connection
    finally:
        connection.execute("RESET SESSION AUTHORIZATION")
        connection.execute("DROP SCHEMA of_users CASCADE")


def all_steps(session: Connection) -> None:
    """Encrypt ``t.v``, do each procedure, write in between, and decrypt it."""
    rows(session, "SELECT encrypt_column('t', 'v')")
    rows(session, "INSERT INTO t (id, v) VALUES (2, 'b')")
    rows(session, "CALL migrate_column('t', 'v')")
    rows(session, "CALL rotate_column('t', 'v')")
    rows(session, "SELECT add_blind_index('t', 'v')")
    rows(session, "SELECT separate_column('t', 'v')")
    rows(session, "UPDATE t SET v = 'c' WHERE id = 1")
    with pytest.raises(errors.CheckViolation):
        rows(session, "INSERT INTO t (id, v) VALUES (3, 'bad')")
    with pytest.raises(errors.CheckViolation):
        rows(session, "UPDATE t SET v = 'bad'")
    assert value(session, "SHOW search_path") == "of_users, pgkeymgr, public"
    rows(session, "CALL decrypt_column('t', 'v')")
    assert rows(session, "SELECT id, v FROM t ORDER BY id") == [(1, "c"), (2, "b")]


def test_in_a_check_constraint(session: Connection) -> None:
    rows(session, "CREATE TABLE t (id integer PRIMARY KEY, v text CHECK (is_good(v)))")
    rows(session, "INSERT INTO t VALUES (1, 'a')")
    all_steps(session)
    with pytest.raises(errors.CheckViolation):
        rows(session, "INSERT INTO t VALUES (3, 'bad')")


def test_in_a_check_constraint_with_a_generated_column(session: Connection) -> None:
    made = "g text GENERATED ALWAYS AS (coalesce(n, '')) STORED"
    check = "CHECK (g <> '' OR is_good(v))"
    rows(session, f"CREATE TABLE t (id integer PRIMARY KEY, n text, {made}, v text, {check})")
    rows(session, "INSERT INTO t VALUES (1, NULL, DEFAULT, 'a')")
    all_steps(session)


def test_in_the_check_of_a_domain(session: Connection) -> None:
    rows(session, "CREATE DOMAIN good AS text CHECK (is_good(VALUE))")
    rows(session, "CREATE TABLE t (id integer PRIMARY KEY, v good)")
    rows(session, "INSERT INTO t VALUES (1, 'a')")
    all_steps(session)


def test_in_a_materialized_view(session: Connection) -> None:
    rows(session, "CREATE TABLE t (id integer PRIMARY KEY, v text)")
    rows(session, "INSERT INTO t VALUES (1, 'a')")
    if session.info.server_version >= 170000:
        # PostgreSQL itself fills materialized views under a search_path of its own.
        with pytest.raises(errors.UndefinedFunction):
            rows(session, "CREATE MATERIALIZED VIEW seen AS SELECT is_good(v) AS good FROM t")
        return
    rows(session, "CREATE MATERIALIZED VIEW seen AS SELECT is_good(v) AS good FROM t")
    rows(session, "SELECT encrypt_column('t', 'v')")
    rows(session, "CALL migrate_column('t', 'v')")
    rows(session, "CALL decrypt_column('t', 'v')")
    assert rows(session, "SELECT * FROM seen") == [(True,)]


def test_in_a_trigger_of_an_owner_who_can_not_keep_it_from_firing(session: Connection) -> None:
    rows(session, "CREATE TABLE t (id integer PRIMARY KEY, v text, seen boolean)")
    rows(session, "INSERT INTO t VALUES (1, 'a', true)")
    session.execute("""
        CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN NEW.seen := is_good('x'); RETURN NEW; END $$;
        CREATE TRIGGER touch BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION touch();
        CREATE ROLE of_users_owner IN ROLE pgkeymgr_admin;
        GRANT CREATE, USAGE ON SCHEMA of_users TO of_users_owner;
        GRANT USAGE ON SCHEMA pgkeymgr TO of_users_owner;
        ALTER TABLE t OWNER TO of_users_owner;
        """)
    try:
        rows(session, "SET SESSION AUTHORIZATION of_users_owner")
        rows(session, "SELECT create_data_key('of users')")
        rows(session, "SELECT encrypt_column('t', 'v', 'of users')")
        rows(session, "CALL migrate_column('t', 'v')")
        rows(session, "CALL rotate_column('t', 'v')")
        rows(session, "CALL decrypt_column('t', 'v')")
        assert rows(session, "SELECT * FROM t") == [(1, "a", True)]
    finally:
        session.execute("RESET SESSION AUTHORIZATION")
        session.execute("DROP OWNED BY of_users_owner")
        session.execute("DROP ROLE of_users_owner")


def test_statement_triggers_do_not_fire_for_a_superusers_procedures(session: Connection) -> None:
    session.execute("""
        CREATE TABLE t (id integer PRIMARY KEY, v text);
        CREATE TABLE seen (what text);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN INSERT INTO seen SELECT TG_OP FROM changed; RETURN NULL; END $$;
        CREATE TRIGGER note AFTER UPDATE ON t REFERENCING NEW TABLE AS changed
            FOR EACH STATEMENT EXECUTE FUNCTION note();
        INSERT INTO t VALUES (1, 'a');
        """)
    rows(session, "SELECT encrypt_column('t', 'v')")
    rows(session, "CALL migrate_column('t', 'v')")
    rows(session, "CALL rotate_column('t', 'v')")
    assert rows(session, "SELECT * FROM seen") == []
    rows(session, "UPDATE t SET v = 'b'")
    assert rows(session, "SELECT * FROM seen") == [("UPDATE",)]
    rows(session, "CALL decrypt_column('t', 'v')")
    assert rows(session, "SELECT * FROM seen") == [("UPDATE",)]


def test_no_plan_of_a_check_constraint_has_values(session: Connection) -> None:
    rows(session, "CREATE TABLE t (id integer PRIMARY KEY, v text CHECK (is_good(v) OR n = 'x'), n text)")
    rows(session, "INSERT INTO t VALUES (1, 'secret word', 'n')")
    rows(session, "SELECT encrypt_column('t', 'v')")
    rows(session, "CALL migrate_column('t', 'v')")
    plans: list[str] = []
    session.add_notice_handler(lambda notice: plans.append(notice.message_primary or ""))
    session.execute("LOAD 'auto_explain'")
    settings = {"log_min_duration": "0", "log_nested_statements": "on", "log_level": "notice", "log_verbose": "on"}
    for name, setting in settings.items():
        session.execute(f"SET auto_explain.{name} = '{setting}'")
    session.execute("SET client_min_messages = notice")
    rows(session, "UPDATE t SET n = 'named' WHERE id = 1")
    session.execute("SET auto_explain.log_min_duration = -1")
    assert any("named" in plan for plan in plans)
    assert any("is_good(" in plan for plan in plans)
    assert not any("secret" in plan for plan in plans)


def test_a_constraint_or_an_index_of_whole_rows_is_refused(session: Connection) -> None:
    rows(session, "CREATE TABLE t (id integer PRIMARY KEY, v text, CONSTRAINT whole CHECK (t IS NOT NULL))")
    rows(session, "CREATE INDEX whole_idx ON t (id) WHERE t IS NOT NULL")
    with pytest.raises(errors.FeatureNotSupported, match=r"constraint whole .* index of_users\.whole_") as refused:
        rows(session, "SELECT encrypt_column('t', 'v')")
    assert "ALTER TABLE of_users.t DROP CONSTRAINT whole;" in (refused.value.diag.message_hint or "")
