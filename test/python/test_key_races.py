"""Two sessions at one key: one destroys it, the other adds a wrap to it or makes a key for it. No wrap is left.

Each pair is run in both orders and at both isolation levels. By pg_blocking_pids, the second session is known to
wait before the first one commits.
"""

import contextlib
import threading
import time
from collections.abc import Iterator

import psycopg
import pytest
from cluster import ROOT_KEY, Cluster
from conftest import Connection, rows, value

SECONDS = 60
NEW_ROOT_KEY = "20" * 32
DESTROY = "SELECT destroy_data_key({id}, '{name}', force => true)"
MESSAGE = """
    CREATE FUNCTION public.message(VARIADIC secrets text[]) RETURNS bytea LANGUAGE sql VOLATILE AS $$
        SELECT pgkeymgr.crypto_box_seal(challenge || (
            SELECT string_agg(int4send(octet_length(s)) || s::bytea, '' ORDER BY i)
            FROM unnest(secrets) WITH ORDINALITY AS t (s, i)
        ), public) FROM (SELECT * FROM pgkeymgr.exchange_offer() OFFSET 0) AS offer
    $$
"""

# Who, and what adds a wrap to the key, replaces one, makes a key for it or brings it back.
ADDERS = {
    "add_root_wrap": ("postgres", "SELECT add_root_wrap({id})"),
    "add_passphrase": ("postgres", "SELECT add_passphrase({id}, message('secret'))"),
    "share": ("postgres", "SELECT share_data_key({id}, 'alice')"),
    "rotate_user_key": ("bob", "SELECT rotate_user_key(message('secret'))"),
    "rotate_root_key": ("postgres", "SELECT rotate_root_key()"),
    "supersede": ("postgres", "SELECT supersede_data_key({id})"),
    "a key for a tenant": ("postgres", "INSERT INTO invoice VALUES (default, 'ACME', 'text')"),
    "enable": ("postgres", "SELECT enable_data_key({id})"),
}
# Calls that go on after the key was destroyed: they have nothing to do with it any more.
GO_ON = ("rotate_user_key", "rotate_root_key")


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    with Cluster() as running:
        running.create_database("races")
        with session(running) as connection:
            rows(connection, MESSAGE)
            for role in ("alice", "bob"):
                rows(connection, f"CREATE ROLE {role} LOGIN IN ROLE pgkeymgr_admin")
                with session(running, role) as its:
                    rows(its, "SELECT create_user_key(message('secret'))")
            rows(connection, "CREATE TABLE invoice (id serial PRIMARY KEY, tenant text, body text)")
        yield running


@contextlib.contextmanager
def session(server: Cluster, user: str = "postgres") -> Iterator[Connection]:
    """Open a session with the extension's schema in its path."""
    connection = server.connect("races", user=user, options="-c search_path=public,pgkeymgr")
    try:
        yield connection
    finally:
        connection.close()


class Second(threading.Thread):
    """A statement in a thread of its own, which waits for another session."""

    def __init__(self, connection: Connection, statement: str) -> None:
        super().__init__(daemon=True)
        self.connection = connection
        self.statement = statement
        self.error: psycopg.Error | None = None

    def run(self) -> None:
        """Run the statement, and commit."""
        try:
            rows(self.connection, self.statement)
            self.connection.execute("COMMIT")
        except psycopg.Error as error:
            self.error = error

    def start_and_wait_until_blocked(self, witness: Connection) -> None:
        """Start, and return when another session is in its way."""
        self.start()
        blocked = f"SELECT pg_blocking_pids({self.connection.info.backend_pid}) <> '{{}}'"
        deadline = time.monotonic() + SECONDS
        while not value(witness, blocked):
            assert self.is_alive(), f"it did not wait: {self.error}"
            assert time.monotonic() < deadline, "it does not wait"

    def finish(self) -> str | None:
        """Wait for its end, and return the SQLSTATE of its error."""
        self.join(SECONDS)
        assert not self.is_alive()
        return self.error.sqlstate if self.error else None


@pytest.fixture
def key(server: Cluster, request: pytest.FixtureRequest) -> Iterator[tuple[int, str]]:
    """Id and name of a key as the adder of the test needs it."""
    adder = request.getfixturevalue("adder")
    with session(server) as connection:
        name = f"key {value(connection, 'SELECT count(*) FROM key')}"
        if adder == "a key for a tenant":
            rows(connection, f"SELECT create_data_key('{name}')")
            rows(connection, f"SELECT encrypt_column('invoice', 'body', '{name}', key_by => 'tenant')")
        else:
            rows(connection, f"SELECT create_data_key('{name}')")
        key_id = value(connection, f"SELECT id FROM key WHERE name = '{name}'")
        if adder == "rotate_user_key":
            rows(connection, f"SELECT share_data_key({key_id}, 'bob')")
        if adder == "enable":
            rows(connection, f"SELECT disable_data_key({key_id})")
    if adder == "rotate_root_key":
        server.install_getkey(f"#!/bin/sh\necho {NEW_ROOT_KEY}\necho {ROOT_KEY}\n")
    yield key_id, name
    server.install_getkey(f"#!/bin/sh\necho {ROOT_KEY}\necho {NEW_ROOT_KEY}\n")
    with session(server) as connection:
        rows(connection, "SELECT rotate_root_key()")
        if adder == "a key for a tenant":
            rows(connection, "DROP TABLE IF EXISTS invoice_encrypted CASCADE")
            rows(connection, "DROP VIEW IF EXISTS invoice")
            rows(connection, "CREATE TABLE invoice (id serial PRIMARY KEY, tenant text, body text)")


def is_erased(server: Cluster, key_id: int) -> bool:
    """Return whether the key is destroyed, and nothing is left that opens it."""
    with session(server) as connection:
        state = value(connection, f"SELECT state::text FROM key WHERE id = {key_id}")
        wraps = value(connection, f"SELECT count(*) FROM key_wrap WHERE key_id = {key_id}")
    assert state == "destroyed" or wraps > 0
    return bool(state == "destroyed" and wraps == 0)


LEVELS = ["READ COMMITTED", "REPEATABLE READ"]


@pytest.mark.parametrize("isolation", LEVELS)
@pytest.mark.parametrize("adder", ADDERS)
def test_destroyed_while_a_wrap_is_added(
    server: Cluster, key: tuple[int, str], adder: str, isolation: str
) -> None:
    key_id, name = key
    user, add = ADDERS[adder]
    destroy = DESTROY.format(id=key_id, name=name)
    with session(server, user) as one, session(server) as two, session(server) as witness:
        rows(two, f"BEGIN ISOLATION LEVEL {isolation}")
        rows(two, "SELECT count(*) FROM key")  # it has its snapshot
        one.execute("BEGIN")
        rows(one, add.format(id=key_id))
        second = Second(two, destroy)
        second.start_and_wait_until_blocked(witness)
        one.execute("COMMIT")
        sqlstate = second.finish()
    if isolation == "READ COMMITTED":
        assert sqlstate is None
    elif sqlstate is not None:
        assert sqlstate == "40001"
        with session(server) as again:
            rows(again, destroy)
    assert is_erased(server, key_id)


@pytest.mark.parametrize("isolation", LEVELS)
@pytest.mark.parametrize("adder", ADDERS)
def test_a_wrap_is_added_while_it_is_destroyed(
    server: Cluster, key: tuple[int, str], adder: str, isolation: str
) -> None:
    if adder == "rotate_root_key" and isolation != "READ COMMITTED":
        pytest.skip("it is refused")
    key_id, name = key
    user, add = ADDERS[adder]
    with session(server) as one, session(server, user) as two, session(server) as witness:
        rows(two, f"BEGIN ISOLATION LEVEL {isolation}")
        rows(two, "SELECT count(*) FROM pgkeymgr.data_keys")
        one.execute("BEGIN")
        rows(one, DESTROY.format(id=key_id, name=name))
        second = Second(two, add.format(id=key_id))
        second.start_and_wait_until_blocked(witness)
        one.execute("COMMIT")
        sqlstate = second.finish()
    expected = [None] if adder in GO_ON else ["55000"]
    assert sqlstate in (expected if isolation == "READ COMMITTED" else ["40001", *expected])
    assert is_erased(server, key_id)


@pytest.mark.parametrize("adder", ["add_root_wrap", "add_passphrase", "share"])
def test_destroyed_with_a_snapshot_from_before(server: Cluster, key: tuple[int, str], adder: str) -> None:
    """A wrap that the transaction's snapshot does not show is not left behind."""
    key_id, name = key
    with session(server) as one, session(server) as two:
        rows(two, "BEGIN ISOLATION LEVEL REPEATABLE READ")
        rows(two, "SELECT count(*) FROM key")
        rows(one, ADDERS[adder][1].format(id=key_id))
        with pytest.raises(psycopg.errors.SerializationFailure):
            rows(two, DESTROY.format(id=key_id, name=name))
        two.execute("ROLLBACK")
        rows(two, DESTROY.format(id=key_id, name=name))
    assert is_erased(server, key_id)


@pytest.mark.parametrize("adder", ["add_root_wrap"])
def test_dropped_while_a_wrap_is_added(server: Cluster, key: tuple[int, str], adder: str) -> None:
    """No wrap without a key is left."""
    key_id, _ = key
    with session(server) as one, session(server) as two, session(server) as witness:
        one.execute("BEGIN")
        rows(one, f"DELETE FROM key WHERE id = {key_id}")
        second = Second(two, ADDERS[adder][1].format(id=key_id))
        second.start_and_wait_until_blocked(witness)
        one.execute("COMMIT")
        assert second.finish() == "42704"
        assert value(witness, f"SELECT count(*) FROM key_wrap WHERE key_id = {key_id}") == 0


@pytest.mark.parametrize("adder", ["a key for a tenant"])
def test_two_sessions_make_the_key_of_a_tenant(server: Cluster, key: tuple[int, str], adder: str) -> None:
    """They get one key, and sessions that make keys of several tenants do not wait for each other."""
    key_id, name = key
    insert = "INSERT INTO invoice VALUES (default, '{}', 'text')"
    with session(server) as one, session(server) as two, session(server) as witness:
        one.execute("BEGIN")
        rows(one, insert.format("ACME"))
        rows(two, insert.format("Other"))
        second = Second(two, insert.format("ACME"))
        second.start_and_wait_until_blocked(witness)
        one.execute("COMMIT")
        assert second.finish() is None
        found = rows(witness, f"SELECT key_value, name FROM key WHERE parent_family = {key_id} ORDER BY 1")
        assert found == [("ACME", f"{name}:ACME"), ("Other", f"{name}:Other")]
        assert value(witness, "SELECT count(body) FROM invoice") == 3
