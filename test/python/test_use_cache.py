"""A session sends no query for a key while nothing has changed, and notices each change at once."""

import contextlib
from collections.abc import Iterator

import psycopg
import pytest
from cluster import Cluster
from conftest import Connection, rows, value
from psycopg import errors

REFUSED = (errors.InsufficientPrivilege, errors.ObjectNotInPrerequisiteState, errors.DataException)


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """A server that counts the calls of functions, with a key for a role, for a group, and for nobody else."""
    with Cluster(settings={"track_functions": "all", "wal_level": "replica"}) as running:
        running.create_database("test")
        with running.connect("test") as admin:
            admin.execute("SET search_path = pgkeymgr")
            admin.execute("CREATE ROLE members")
            for role in ("direct", "member"):
                admin.execute(f"CREATE ROLE {role} LOGIN IN ROLE pgkeymgr_user")
        yield running


@pytest.fixture
def admin(server: Cluster) -> Iterator[Connection]:
    """A superuser's session, with one key k that direct, and member through members, may use."""
    with session(server, "postgres") as connection:
        rows(connection, "DELETE FROM key; DELETE FROM key_grant")
        rows(connection, "SELECT create_data_key('k')")
        rows(connection, "SELECT grant_data_key('k', 'direct'), grant_data_key('k', 'members')")
        rows(connection, "GRANT members TO member")
        yield connection


@contextlib.contextmanager
def session(server: Cluster, user: str) -> Iterator[Connection]:
    """Open a session with the extension's schema in its path."""
    with server.connect("test", user=user) as connection:
        connection.execute("SET search_path = pgkeymgr, public")
        yield connection


def loads(connection: Connection) -> int:
    """Return how often this server has read the record of a key, by the session's own count too."""
    rows(connection, "SELECT pg_stat_force_next_flush()")
    calls = value(
        connection, "SELECT coalesce(max(calls), 0) FROM pg_stat_user_functions WHERE funcname = '_load_key'"
    )
    assert isinstance(calls, int)
    return calls


@pytest.mark.parametrize("user", ["direct", "member", "postgres"])
@pytest.mark.parametrize("in_transaction", [False, True])
def test_no_record_is_read_while_nothing_has_changed(
    server: Cluster, admin: Connection, user: str, in_transaction: bool
) -> None:
    with session(server, user) as connection:
        token = value(connection, "SELECT token_encrypt('k', 'x')")
        connection.execute("SELECT token_decrypt(%s)", (token,))
        before = loads(connection)
        assert before > 0
        if in_transaction:
            connection.execute("BEGIN")
        for number in range(10):
            assert connection.execute("SELECT token_decrypt(%s)", (token,), prepare=number > 5).fetchone() == (
                b"x",
            )
            connection.execute("SELECT token_encrypt('k', 'y')")
        if in_transaction:
            connection.execute("COMMIT")
        assert loads(connection) == before
        rows(admin, "SELECT grant_data_key('k', 'pg_monitor')")
        connection.execute("SELECT token_decrypt(%s)", (token,))
        assert loads(connection) > before, "a change is noticed"


CHANGES = {
    "a revoke by hand": "DELETE FROM key_grant",
    "a grant cut by hand": "UPDATE key_grant SET usage = '{encrypt}'",
    "a state set by hand": "UPDATE key SET state = 'disabled'",
    "a wrap removed by hand": "DELETE FROM key_wrap",
    "TRUNCATE": "TRUNCATE key_grant",
    "as a logical replica": "SET session_replication_role = replica; DELETE FROM key_grant;"
    " SET session_replication_role = origin",
    "a member expelled": "REVOKE members FROM member",
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("level", [None, "READ COMMITTED", "REPEATABLE READ"])
def test_each_change_is_noticed_at_the_next_statement(
    server: Cluster, admin: Connection, change: str, level: str | None
) -> None:
    if change == "TRUNCATE" and level:
        return  # it waits until the transaction has ended
    with session(server, "member") as connection:
        token = value(connection, "SELECT token_encrypt('k', 'x')")
        if level:
            connection.execute(f"BEGIN ISOLATION LEVEL {level}".encode())
        for _ in range(3):
            assert connection.execute("SELECT token_decrypt(%s)", (token,)).fetchone() == (b"x",)
        connection.execute("SAVEPOINT a") if level else None
        rows(admin, CHANGES[change])
        with pytest.raises(REFUSED):
            connection.execute("SELECT token_decrypt(%s)", (token,))


@pytest.mark.parametrize("table", ["key", "key_wrap", "key_grant"])
def test_a_change_without_triggers_is_noticed(server: Cluster, admin: Connection, table: str) -> None:
    """A data-only restore disables all triggers of a table, and enables them afterwards."""
    always = rows(admin, f"SELECT tgname FROM pg_trigger WHERE tgrelid = '{table}'::regclass AND tgenabled = 'A'")
    assert ("report_change",) in always
    with session(server, "direct") as reader:
        token = value(reader, "SELECT token_encrypt_text('k', 'x')")
        assert reader.execute("SELECT token_decrypt_text(%s)", [token]).fetchall() == [("x",)]
        with admin.transaction():
            rows(admin, f"ALTER TABLE {table} DISABLE TRIGGER ALL")
            rows(admin, f"DELETE FROM {table}")
            rows(admin, f"ALTER TABLE {table} ENABLE TRIGGER ALL")
            for (name,) in always:
                rows(admin, f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}")
        with pytest.raises(REFUSED):
            reader.execute("SELECT token_decrypt_text(%s)", [token])


def test_a_change_that_is_rolled_back_has_no_effect(server: Cluster, admin: Connection) -> None:
    """In another session, in this one, and to a savepoint within one statement."""
    token = value(admin, "SELECT token_encrypt('k', 'x')").hex()
    with session(server, "direct") as connection:
        assert value(connection, f"SELECT token_decrypt('\\x{token}')") == b"x"
        rows(admin, "BEGIN")
        rows(admin, "SELECT revoke_data_key('k', 'direct')")
        assert value(connection, f"SELECT token_decrypt('\\x{token}')") == b"x"
        rows(admin, "ROLLBACK")
        assert value(connection, f"SELECT token_decrypt('\\x{token}')") == b"x"
    new = value(admin, "SELECT max(id) FROM key")
    rows(
        admin,
        f"""
        CREATE TEMP TABLE seen (at text, id integer);
        DO $$BEGIN
            INSERT INTO seen SELECT 'before', (token_info(token_encrypt('k', 'x'))).key_id;
            BEGIN
                PERFORM supersede_data_key('k');
                INSERT INTO seen SELECT 'within', (token_info(token_encrypt('k', 'x'))).key_id;
                RAISE EXCEPTION 'back' USING ERRCODE = 'PK001';
            EXCEPTION WHEN SQLSTATE 'PK001' THEN NULL;
            END;
            INSERT INTO seen SELECT 'after', (token_info(token_encrypt('k', 'x'))).key_id;
            BEGIN
                UPDATE key SET state = 'disabled' WHERE id = {new};
                PERFORM token_encrypt({new}, 'x');
                INSERT INTO seen VALUES ('disabled', {new});
            EXCEPTION WHEN object_not_in_prerequisite_state THEN NULL;
            END;
            INSERT INTO seen SELECT 'last', (token_info(token_encrypt('k', 'x'))).key_id;
        END$$
        """,
    )
    assert rows(admin, "SELECT * FROM seen") == [("before", new), ("after", new), ("last", new)]


def test_an_expiry_is_noticed_when_it_comes(server: Cluster, admin: Connection) -> None:
    """No change is reported then: the time stamp of each statement is compared."""
    with session(server, "direct") as connection:
        token = value(connection, "SELECT token_encrypt('k', 'x')")
        rows(admin, "UPDATE key SET expires = clock_timestamp() + interval '1 second'")
        end = value(admin, "SELECT expires FROM key")
        opened = 0
        while True:
            with contextlib.suppress(errors.ObjectNotInPrerequisiteState):
                found = connection.execute("SELECT token_decrypt(%s), statement_timestamp()", (token,)).fetchone()
                assert found is not None
                assert found[1] < end
                opened += 1
                continue
            break
        assert opened > 2
        assert value(admin, "SELECT clock_timestamp()") >= end


def test_an_open_cursor_notices_a_change(server: Cluster, admin: Connection) -> None:
    with session(server, "direct") as connection:
        token = value(connection, "SELECT token_encrypt('k', 'x')")
        connection.execute("BEGIN")
        connection.execute(
            b"DECLARE c CURSOR FOR SELECT token_decrypt(%b) FROM generate_series(1, 9)"
            % psycopg.sql.Literal(token).as_bytes(connection)
        )
        assert len(rows(connection, "FETCH 2 FROM c")) == 2
        rows(admin, "SELECT revoke_data_key('k', 'direct')")
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute("FETCH 2 FROM c")


def test_a_standby_notices_what_it_replays(server: Cluster, admin: Connection) -> None:
    standby = Cluster(initialize=False)
    backup = ["--write-recovery-conf", "--checkpoint=fast", f"--pgdata={standby.data}"]
    standby.run_as_server([server.bin / "pg_basebackup", *backup, f"--dbname={server.dsn()}"])
    with standby, session(standby, "direct") as reader:
        token = value(admin, "SELECT token_encrypt('k', 'x')")
        assert reader.execute("SELECT token_decrypt(%s)", (token,)).fetchone() == (b"x",)
        rows(admin, "SELECT revoke_data_key('k', 'direct')")
        position = value(admin, "SELECT pg_current_wal_lsn()")
        with session(standby, "postgres") as witness:
            while not value(witness, f"SELECT pg_last_wal_replay_lsn() >= '{position}'"):
                pass
        with pytest.raises(errors.InsufficientPrivilege):
            reader.execute("SELECT token_decrypt(%s)", (token,))


def test_a_role_that_was_dropped_and_made_again(server: Cluster, admin: Connection) -> None:
    """A session of a superuser that becomes none has no more rights than it has now."""
    rows(admin, "CREATE ROLE boss LOGIN SUPERUSER")
    try:
        with session(server, "boss") as connection:
            token = value(connection, "SELECT token_encrypt('k', 'x')")
            rows(admin, "ALTER ROLE boss NOSUPERUSER")
            rows(admin, "GRANT pgkeymgr_user TO boss")
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute("SELECT token_decrypt(%s)", (token,))
    finally:
        rows(admin, "DROP ROLE boss")
