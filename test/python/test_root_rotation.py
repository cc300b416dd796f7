"""The rotation of the root key, on real servers: whole or not at all, and nothing is lost by it."""

import os
import random
import signal
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from agent_process import Agent
from cluster import ROOT_KEY, Cluster
from conftest import Connection, rows, value
from psycopg import errors

NEW = "c0ffee00" * 8
OTHER = "0badcafe" * 8
OLD_FINGERPRINT = "bcfeb5264e5a18c35f29399ef36dacb2"
KEYS = 3000


def getkey(cluster: Cluster, *keys: str) -> None:
    """Give the server these root keys, the newest first."""
    cluster.install_getkey("#!/bin/sh\n" + "".join(f"echo {key}\n" for key in keys))


def session(cluster: Cluster) -> Connection:
    """Begin a session."""
    connection = cluster.connect("test", options="-c search_path=pgkeymgr,public")
    connection.execute("SET client_min_messages = error")
    return connection


@pytest.fixture
def server() -> Iterator[Cluster]:
    """A cluster of its own, under the old root key."""
    with Cluster() as cluster:
        cluster.create_database("test")
        yield cluster


def status(connection: Connection) -> tuple[str, list[str], list[str]]:
    """Return the fingerprint, the previous ones, and those that are still needed."""
    ((fingerprint, previous, needed),) = rows(
        connection, "SELECT fingerprint, previous, still_needed FROM root_key_status()"
    )
    return fingerprint, previous, needed


def fingerprints(connection: Connection) -> dict[str, int]:
    """Count the wraps by the root key that they are under."""
    query = """
        SELECT fingerprint, count(*) FROM (
            SELECT fingerprint FROM key_wrap WHERE kind = 'root' UNION ALL SELECT fingerprint FROM server_key
        ) AS wraps GROUP BY 1
    """
    return dict(rows(connection, query))


def fill(connection: Connection) -> None:
    """Make keys of every kind, and something under each of them."""
    connection.execute("SELECT create_data_key('one'), create_data_key('two', 64)")
    connection.execute("CREATE TABLE kept (name text, token bytea)")
    connection.execute(
        "INSERT INTO kept SELECT n, token_encrypt(n, 'secret') FROM unnest('{one,two}'::text[]) AS n"
    )
    connection.execute("SELECT supersede_data_key('one')")
    connection.execute("INSERT INTO kept VALUES ('one', token_encrypt('one', 'secret'))")
    connection.execute("SELECT disable_data_key(2)")
    connection.execute("CREATE TABLE derived AS SELECT gen_random_uuid() AS uuid")
    connection.execute(
        "SELECT import_pgsodium_key(uuid, 'valid', 'hmacsha256', 'derived', key_id => 1,"
        " key_context => 'pgsodium') FROM derived"
    )
    connection.execute("ALTER TABLE derived ADD COLUMN mac bytea")
    connection.execute("UPDATE derived SET mac = crypto_auth_hmacsha256('message', uuid)")
    connection.execute("CREATE TABLE pinned AS SELECT exchange_fingerprint() AS fingerprint")
    connection.execute("CREATE TABLE customer (id integer PRIMARY KEY, ssn text)")
    connection.execute("SELECT encrypt_column('customer', 'ssn')")
    connection.execute("CALL migrate_column('customer', 'ssn')")
    connection.execute("INSERT INTO customer VALUES (1, '123'), (2, '456')")


def check(connection: Connection) -> None:
    """Check that all that ``fill`` made still opens, and is the same."""
    connection.execute("SELECT enable_data_key(2)")
    found = rows(connection, "SELECT DISTINCT token_decrypt_text(token) FROM kept")
    connection.execute("SELECT disable_data_key(2)")
    assert found == [("secret",)]
    assert value(connection, "SELECT crypto_auth_hmacsha256('message', uuid) = mac FROM derived")
    assert value(connection, "SELECT exchange_fingerprint() = fingerprint FROM pinned")
    assert rows(connection, "SELECT * FROM exchange_offer()")
    assert rows(connection, "SELECT ssn FROM customer ORDER BY id") == [("123",), ("456",)]
    assert rows(connection, "SELECT * FROM verify_column('customer', 'ssn')") == []


def test_rotation(server: Cluster) -> None:
    with session(server) as connection:
        fill(connection)
        check(connection)
        count = sum(fingerprints(connection).values())
        assert count == 6
        by_number = value(connection, "SELECT derive_key(7)")
        own = value(connection, "SELECT wrap_key('my own')")
        before = rows(connection, "SELECT id, token FROM kept, key WHERE key.name = kept.name ORDER BY 1, 2")
    with session(server) as stale:
        assert status(stale) == (OLD_FINGERPRINT, [], [])
        getkey(server, NEW, ROOT_KEY)
        with session(server) as connection:
            new_fingerprint, previous, needed = status(connection)
            assert (previous, needed) == ([OLD_FINGERPRINT], [OLD_FINGERPRINT])
            check(connection)
            # A managed key is what it was; a key by number is of the newest root key, or of one that is named.
            assert value(connection, "SELECT derive_key(7)") != by_number
            assert (
                value(connection, f"SELECT derive_key_under(7, 32, 'pgsodium', '{OLD_FINGERPRINT}')") == by_number
            )
            with pytest.raises(errors.ObjectNotInPrerequisiteState, match="f" * 32):
                connection.execute(f"SELECT derive_key_under(7, 32, 'pgsodium', '{'f' * 32}')")
            connection.execute("SELECT create_data_key('meanwhile')")
            assert fingerprints(connection) == {OLD_FINGERPRINT: count, new_fingerprint: 1}
            assert value(connection, "SELECT rotate_root_key()") == count
            assert fingerprints(connection) == {new_fingerprint: count + 1}
            assert value(connection, "SELECT rotate_root_key()") == 0
            assert status(connection) == (new_fingerprint, [OLD_FINGERPRINT], [])
            check(connection)
            assert value(connection, f"SELECT convert_from(unwrap_key('\\x{own.hex()}'), 'utf8')") == "my own"
            after = rows(connection, "SELECT id, token FROM kept, key WHERE key.name = kept.name ORDER BY 1, 2")
            assert after == before
            assert rows(
                connection, "SELECT detail FROM key_events WHERE event = 'rotate_root_key' ORDER BY link"
            ) == [
                (f"to {new_fingerprint}, {count} wraps replaced",),
                (f"to {new_fingerprint}, 0 wraps replaced",),
            ]
        # A session from before learns of it when it meets a wrap that it cannot open, or makes one.
        check(stale)
        assert status(stale)[0] == new_fingerprint
    getkey(server, NEW)
    with session(server) as connection:
        assert status(connection) == (new_fingerprint, [], [])
        check(connection)
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match=OLD_FINGERPRINT):
            connection.execute("SELECT unwrap_key(%s)", [own])


def test_a_session_from_before_makes_no_wrap_under_the_old_root_key(server: Cluster) -> None:
    with session(server) as stale, session(server) as connection:
        stale.execute("SELECT create_data_key('before')")
        getkey(server, NEW, ROOT_KEY)
        assert value(connection, "SELECT rotate_root_key()") == 1
        stale.execute("SELECT create_data_key('after')")
        assert len(fingerprints(connection)) == 1
        assert status(connection)[2] == []


def test_a_wrap_that_is_being_made_is_waited_for(server: Cluster) -> None:
    with session(server) as stale, session(server) as connection, session(server) as watcher:
        stale.execute("SELECT create_data_key('before')")
        getkey(server, NEW, ROOT_KEY)
        counts = []
        with stale.transaction():
            stale.execute("SELECT create_data_key('uncommitted')")
            rotating = threading.Thread(
                target=lambda: counts.append(value(connection, "SELECT rotate_root_key()"))
            )
            rotating.start()
            pid = connection.info.backend_pid
            while not rows(watcher, f"SELECT 1 FROM pg_locks WHERE pid = {pid} AND NOT granted"):
                assert rotating.is_alive()
        rotating.join()
        assert counts == [2]
        assert len(fingerprints(connection)) == 1


def test_the_wrong_root_key_makes_nothing(server: Cluster) -> None:
    with session(server) as connection:
        connection.execute("SELECT create_data_key('one')")
        connection.execute("CREATE TABLE kept AS SELECT token_encrypt('one', 'secret') AS token")
    getkey(server, OTHER)
    with session(server) as connection:
        wrong = status(connection)[0]
        for call in ("create_data_key('two')", "rotate_root_key()", "token_decrypt(token) FROM kept"):
            with pytest.raises(errors.ObjectNotInPrerequisiteState) as refused:
                rows(connection, f"SELECT {call}")
            assert OLD_FINGERPRINT in str(refused.value)
            assert wrong in str(refused.value)
            assert OTHER not in str(refused.value)
        assert status(connection)[2] == [OLD_FINGERPRINT]
        assert rows(connection, "SELECT name FROM key") == [("one",)]
        assert rows(connection, "SELECT fingerprint FROM root_key_fingerprint") == [(OLD_FINGERPRINT,)]
        # Where only the keys were restored, their wraps say the same.
        connection.execute("DELETE FROM root_key_fingerprint")
        with pytest.raises(errors.ObjectNotInPrerequisiteState):
            connection.execute("SELECT create_data_key('two')")


def test_an_altered_wrap_stops_it(server: Cluster) -> None:
    with session(server) as connection:
        connection.execute("SELECT create_data_key('one'), create_data_key('two')")
        connection.execute("UPDATE key_wrap SET wrapped = set_byte(wrapped, 50, 1) WHERE key_id = 2")
        before = rows(connection, "SELECT * FROM key_wrap ORDER BY key_id")
        getkey(server, NEW, ROOT_KEY)
        with pytest.raises(errors.DataException, match='key 2 "two"'):
            connection.execute("SELECT rotate_root_key()")
        assert rows(connection, "SELECT * FROM key_wrap ORDER BY key_id") == before


def test_a_rotation_needs_to_see_committed_rows(server: Cluster) -> None:
    with session(server) as connection, connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        with pytest.raises(errors.FeatureNotSupported, match="committed"), connection.transaction():
            connection.execute("SELECT rotate_root_key()")


def _holds_the_lock(watcher: Connection, pid: int) -> bool:
    return bool(
        rows(watcher, f"SELECT 1 FROM pg_locks WHERE pid = {pid} AND mode = 'ShareRowExclusiveLock' AND granted")
    )


@pytest.mark.parametrize("turn", range(2))
@pytest.mark.parametrize("victim", ["backend", "server"])
def test_killed_it_is_done_or_not(server: Cluster, victim: str, turn: int) -> None:
    with session(server) as connection:
        connection.execute(f"SELECT count(create_data_key('key ' || i)) FROM generate_series(1, {KEYS}) AS i")
        connection.execute("CREATE TABLE kept AS SELECT token_encrypt('key 7', 'secret') AS token")
    getkey(server, NEW, ROOT_KEY)
    connection, watcher = session(server), session(server)
    pid = connection.info.backend_pid
    new_fingerprint = status(connection)[0]

    def rotate() -> None:
        with connection, pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT rotate_root_key(), pg_sleep(60)")

    rotating = threading.Thread(target=rotate)
    rotating.start()
    while not _holds_the_lock(watcher, pid):
        assert rotating.is_alive()
    # At any moment of it: not a wait for something, but a choice of when.
    threading.Event().wait(random.uniform(0, 0.2))  # noqa: S311
    if victim == "backend":
        os.kill(pid, signal.SIGKILL)
    else:
        server.kill()
    rotating.join()
    if victim == "server":
        server.start()
    server.wait_until_recovered(watcher)
    with session(server) as connection:
        assert fingerprints(connection) == {OLD_FINGERPRINT: KEYS}
        assert value(connection, "SELECT token_decrypt_text(token) FROM kept") == "secret"
        assert value(connection, "SELECT rotate_root_key()") == KEYS
        assert fingerprints(connection) == {new_fingerprint: KEYS}
        assert value(connection, "SELECT token_decrypt_text(token) FROM kept") == "secret"


def test_standbys_follow(server: Cluster) -> None:
    with session(server) as connection:
        fill(connection)
        standby = Cluster(initialize=False)
        backup = ["--write-recovery-conf", "--checkpoint=fast", f"--pgdata={standby.data}"]
        standby.run_as_server([server.bin / "pg_basebackup", *backup, f"--dbname={server.dsn()}"])
        with standby:
            with session(standby) as reader:
                assert rows(reader, "SELECT ssn FROM customer ORDER BY id") == [("123",), ("456",)]
                for cluster in (server, standby):
                    getkey(cluster, NEW, ROOT_KEY)
                with pytest.raises(errors.ReadOnlySqlTransaction):
                    reader.execute("SELECT rotate_root_key()")
                count: Any = value(connection, "SELECT rotate_root_key()")
                assert count == 6
                position = value(connection, "SELECT pg_current_wal_lsn()")
                while not value(reader, f"SELECT pg_last_wal_replay_lsn() >= '{position}'"):
                    pass
                assert rows(reader, "SELECT ssn FROM customer ORDER BY id") == [("123",), ("456",)]
            getkey(standby, NEW)
            with session(standby) as reader:
                assert status(reader)[1:] == ([], [])
                assert rows(reader, "SELECT ssn FROM customer ORDER BY id") == [("123",), ("456",)]
                assert value(reader, "SELECT crypto_auth_hmacsha256('message', uuid) = mac FROM derived")


def test_with_the_agent() -> None:
    """The same, where no backend has the root keys; and the doctor asks the agent, too."""
    with (
        Agent([ROOT_KEY], users=["postgres"]) as agent,
        Cluster(root_keys=None, environment={"PGKEYMGR_AGENT": str(agent.socket)}) as cluster,
    ):
        cluster.create_database("test")
        findings = "SELECT message FROM doctor() WHERE check_name LIKE 'root_key%' AND status = 'error'"
        with session(cluster) as connection:
            fill(connection)
            assert rows(connection, findings) == []
            agent.set_keys([NEW, ROOT_KEY])
            assert agent.command("reload").returncode == 0
            check(connection)
            assert status(connection)[1:] == ([OLD_FINGERPRINT], [OLD_FINGERPRINT])
            assert value(connection, "SELECT rotate_root_key()") == 6
            agent.set_keys([NEW])
            assert agent.command("reload").returncode == 0
            assert status(connection)[1:] == ([], [])
            check(connection)
            assert rows(connection, findings) == []
            assert agent.command("lock").returncode == 0
            ((message,),) = rows(connection, findings)
            assert "is locked" in message
            with pytest.raises(errors.SystemError, match="is locked"):
                connection.execute("SELECT rotate_root_key()")


def test_verify_column_names_what_does_not_open(server: Cluster) -> None:
    with session(server) as connection:
        fill(connection)
        # As where the row comes from another database: the table's triggers refuse it otherwise.
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "UPDATE customer_encrypted SET ssn_encrypted = set_byte(ssn_encrypted, 20,"
            " get_byte(ssn_encrypted, 20) # 1) WHERE id = 2"
        )
        ((row, problem),) = rows(connection, "SELECT * FROM verify_column('customer', 'ssn')")
        assert row == "2"
        assert "not authentic" in problem
        key_id = value(connection, "SELECT id FROM data_keys WHERE name LIKE '%customer.ssn'")
        connection.execute("SELECT disable_data_key(%s)", [key_id])
        found = rows(
            connection, "SELECT row_key, problem FROM verify_column('customer_encrypted', 'ssn') ORDER BY 1"
        )
        assert [row for row, _ in found] == ["1", "2"]
        assert "is disabled" in found[0][1]
        with pytest.raises(errors.UndefinedObject):
            connection.execute("SELECT verify_column('customer', 'id')")
