"""Sealed secrets in parallel queries, on standbys, in dumps, and in many sessions at once."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sealed_session
from cluster import Cluster
from conftest import Connection, rows, value
from database_session import Database
from pgkeymgr.sealed.message import seal
from psycopg import errors
from sealed_session import (
    LOCKED,
    call,
    check_chain,
    decrypt,
    fingerprint_of,
    offer_to,
    passphrase_key,
    sealed,
    token_of,
    user_pair,
)

server = sealed_session.server
database = sealed_session.database
admin = sealed_session.admin


def test_parallel_queries(admin: Connection) -> None:
    """No worker has what the session has unlocked: so none is started, for a plan that was made before either."""
    passphrase_key(admin)
    call(admin, "SELECT unlock_data_key('k', %s)", "first")
    rows(
        admin,
        "CREATE TABLE many AS"
        " SELECT token_encrypt('k', i::text::bytea) AS token FROM generate_series(1, 5000) AS i",
    )
    rows(admin, "ANALYZE many")
    rows(admin, "SELECT lock()")
    rows(admin, "RESET ALL")
    rows(admin, "SET search_path = public, pgkeymgr")
    debug = "debug_parallel_query" if admin.info.server_version >= 160000 else "force_parallel_mode"
    zero = ("parallel_setup_cost", "parallel_tuple_cost", "min_parallel_table_scan_size")
    for setting in (*(f"{name} = 0" for name in zero), f"{debug} = on", "plan_cache_mode = force_generic_plan"):
        rows(admin, f"SET {setting}")
    scan = "SELECT sum(length(token_decrypt(token))) FROM many"
    expected = sum(len(str(number)) for number in range(1, 5001))
    rows(admin, f"PREPARE scan AS {scan}")

    def plan(query: str) -> str:
        return "\n".join(row[0] for row in rows(admin, query))

    workers = value(admin, "SHOW max_parallel_workers")
    assert int(workers) > 0
    assert re.search("Workers Planned: [12]", plan("EXPLAIN EXECUTE scan"))
    with LOCKED:
        rows(admin, "EXECUTE scan")

    def check_open() -> None:
        for query in ("EXECUTE scan", scan, "SELECT token_decrypt(token) IS NULL FROM many LIMIT 1"):
            assert value(admin, query) in (expected, False)
        analyzed = plan("EXPLAIN (ANALYZE) EXECUTE scan")
        assert re.search("Workers Planned: [12]", analyzed)  # it is the plan from before
        assert "Workers Launched: 0" in analyzed
        assert not re.search("Workers Launched: [1-9]", plan(f"EXPLAIN (ANALYZE) {scan}"))

    with admin.transaction():
        call(admin, "SELECT unlock_data_key('k', %s, true)", "first")
        check_open()
    # Workers are for this session again.
    assert value(admin, "SHOW max_parallel_workers") == workers
    with LOCKED:
        rows(admin, "EXECUTE scan")
    call(admin, "SELECT unlock_data_key('k', %s)", "first")
    check_open()


# Standbys and dumps


def test_on_a_standby(server: Cluster, database: Database, admin: Connection) -> None:
    """Keys can be unlocked there, too. Its log reports it, since no trail can be written there."""
    passphrase_key(admin)
    user_pair(admin, "mine")
    with database.session("alice") as alice:
        user_pair(alice, "alice's", unlock=False)
    rows(admin, "SELECT create_data_key('u', wrap => 'user')")
    rows(admin, "SELECT share_data_key('u', 'alice')")
    call(admin, "SELECT unlock_data_key('k', %s)", "first")
    tokens = {key: token_of(admin, key) for key in ("k", "u")}
    pinned = fingerprint_of(admin)
    trail = check_chain(admin)
    standby = Cluster(initialize=False)
    backup = ["--write-recovery-conf", "--checkpoint=fast", f"--pgdata={standby.data}"]
    standby.run_as_server([server.bin / "pg_basebackup", *backup, f"--dbname={server.dsn()}"])
    with standby, Database(standby, database.name).session("alice") as reader:
        assert value(reader, "SELECT pg_is_in_recovery()") is True
        assert fingerprint_of(reader) == pinned
        for token in tokens.values():
            with LOCKED:
                rows(reader, decrypt(token))
        with pytest.raises(errors.InvalidPassword):
            call(reader, "SELECT unlock_data_key('k', %s)", "wrong")
        call(reader, "SELECT unlock_data_key('k', %s)", "first")
        call(reader, "SELECT unlock_user_key(%s)", "alice's")
        assert [value(reader, decrypt(token)) for token in tokens.values()] == ["x", "x"]
        with reader.transaction():
            call(reader, "SELECT unlock_data_key('k', %s, true)", "first")
        told = re.findall(r"LOG:  pgkeymgr: (.*)", standby.log)
        number = value(admin, "SELECT id FROM data_keys WHERE name = 'k'")
        assert told == [
            f'failed_unlock key {number} "k" by alice from [local] (attempt 1 of this session)',
            f'unlock key {number} "k" by alice from [local] (for the session)',
            "unlock_user_key by alice from [local] (for the session)",
            f'unlock key {number} "k" by alice from [local] (for the transaction)',
        ]
        with pytest.raises(errors.ReadOnlySqlTransaction):
            call(reader, "SELECT change_passphrase('k', %s)", "first", "second")
        with Database(standby, database.name).session() as there:
            assert check_chain(there) == trail


@pytest.mark.parametrize("mode", ["plain", "directory"])
def test_dump_and_restore(
    server: Cluster, database: Database, admin: Connection, tmp_path: Path, mode: str
) -> None:
    passphrase_key(admin)
    user_pair(admin, "mine")
    rows(admin, "SELECT create_data_key('u', wrap => 'user')")
    with database.session("alice") as alice:
        user_pair(alice, "alice's", unlock=False)
        rows(admin, "SELECT share_data_key('u', 'alice')")
        with pytest.raises(errors.InvalidPassword):
            call(alice, "SELECT unlock_data_key('k', %s)", "wrong")
        call(alice, "SELECT unlock_data_key('k', %s)", "first")
        tokens = [token_of(alice, "k"), token_of(admin, "u")]
    pinned = fingerprint_of(admin)
    trail = rows(admin, "SELECT * FROM key_events ORDER BY link")
    verified = rows(admin, "SELECT * FROM verify_key_events()")
    assert len(trail) >= 8
    with server.connect() as connection:
        rows(connection, "CREATE DATABASE restored")
    try:
        dump = tmp_path / "dump"
        if mode == "plain":
            server.client(["pg_dump", f"--file={dump}", database.name])
            server.client(["psql", "--set=ON_ERROR_STOP=1", f"--file={dump}"], dbname="restored")
        else:
            server.client(["pg_dump", "--format=directory", "--jobs=4", f"--file={dump}", database.name])
            server.client(["pg_restore", "--exit-on-error", "--jobs=4", "--dbname=restored", dump])
        restored = Database(server, "restored")
        with restored.session() as connection, restored.session("alice") as alice:
            assert rows(connection, "SELECT * FROM key_events ORDER BY link") == trail
            assert rows(connection, "SELECT * FROM verify_key_events()") == verified
            assert fingerprint_of(alice) == pinned
            for token in tokens:
                with LOCKED:
                    rows(alice, decrypt(token))
            alice.execute("SELECT unlock_data_key('k', %s)", (seal(offer_to(alice), pinned, [b"first"]),))
            call(alice, "SELECT unlock_user_key(%s)", "alice's")
            assert [value(alice, decrypt(token)) for token in tokens] == ["x", "x"]
            # The chain goes on where it was.
            assert check_chain(connection) == len(trail) + 2
    finally:
        with server.connect() as connection:
            rows(connection, "DROP DATABASE restored WITH (FORCE)")


# Several sessions at once


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ"])
def test_events_of_many_sessions(database: Database, admin: Connection, isolation: str) -> None:
    sessions, each = 8, 50
    barrier = threading.Barrier(sessions)

    def work(number: int) -> int:
        """Make keys, two in each transaction, every fifth of which is rolled back."""
        made = 0
        with database.session("boss") as boss:
            barrier.wait()
            for first in range(0, each, 2):
                rows(boss, f"BEGIN ISOLATION LEVEL {isolation}")
                for name in (first, first + 1):
                    rows(boss, f"SELECT create_data_key('{number} {name}')")
                if first % 10 == 8:
                    rows(boss, "ROLLBACK")
                    for name in (first, first + 1):
                        rows(boss, f"SELECT create_data_key('{number} {name}')")
                else:
                    rows(boss, "COMMIT")
                made += 2
        return made

    with ThreadPoolExecutor(sessions) as threads:
        assert list(threads.map(work, range(sessions))) == [each] * sessions
    assert check_chain(admin) == sessions * each
    assert rows(admin, "SELECT count(*), count(DISTINCT key_name) FROM key_events WHERE event = 'create'") == [
        (sessions * each, sessions * each)
    ]
    # In the chain, the events of a session are in the order of the session.
    chained = rows(admin, "SELECT key_name FROM key_events ORDER BY link")
    for number in range(sessions):
        mine = [int(name.split()[1]) for (name,) in chained if name.startswith(f"{number} ")]
        assert mine == list(range(each))


def test_sharing_while_the_holder_rotates(database: Database, admin: Connection) -> None:
    """The last key pair opens every key that was shared while the pair changed."""
    rotations = 8
    done = threading.Event()
    with database.session("boss") as boss, database.session("alice") as alice:
        user_pair(boss, "boss's")
        user_pair(alice, "alice's", unlock=False)
        rows(boss, "SELECT create_data_key('old', wrap => 'user')")
        rows(boss, "SELECT share_data_key('old', 'alice')")
        tokens = {"old": token_of(boss, "old")}

        def share() -> int:
            number = 0
            while not done.is_set():
                number += 1
                name = f"shared {number}"
                rows(boss, f"SELECT create_data_key('{name}', wrap => 'user')")
                rows(boss, f"SELECT share_data_key('{name}', 'alice')")
                tokens[name] = token_of(boss, name)
                if number % 10 == 0:
                    rows(boss, "SELECT supersede_data_key('old')")
                    tokens[f"old {number}"] = token_of(boss, "old")
                if number % 10 == 5:
                    rows(boss, f"SELECT unshare_data_key('{name}', 'alice')")
                    rows(boss, f"SELECT share_data_key('{name}', 'alice')")
            return number

        with ThreadPoolExecutor(1) as threads:
            sharing = threads.submit(share)
            try:
                for number in range(rotations):
                    call(alice, "SELECT rotate_user_key(%s)", *(["alice's"] * (1 + number % 2)))
            finally:
                done.set()
            shared = sharing.result()
    assert shared > 2 * rotations
    with database.session("alice") as alice:
        call(alice, "SELECT unlock_user_key(%s)", "alice's")
        for name, token in tokens.items():
            assert value(alice, decrypt(token)) == "x", name
    # No wrap is left of the pairs before.
    assert rows(
        admin,
        "SELECT count(DISTINCT holder), count(*) FILTER (WHERE holder NOT IN (SELECT encode(public, 'hex')"
        " FROM user_key)) FROM key_wrap WHERE kind = 'user'",
    ) == [(2, 0)]
    check_chain(admin)


def test_two_rotations_at_once(database: Database, admin: Connection) -> None:
    """One may be refused; whatever comes of it, the pair opens with the passphrase, and it opens the keys."""
    user_pair(admin, "mine")
    rows(admin, "SELECT create_data_key('u', wrap => 'user')")
    token = token_of(admin, "u")
    with database.session("alice") as one, database.session("alice") as two:
        user_pair(one, "alice's", unlock=False)
        rows(admin, "SELECT share_data_key('u', 'alice')")
        for _ in range(3):
            barrier = threading.Barrier(2)

            def rotate(connection: Connection, barrier: threading.Barrier = barrier) -> bool:
                message = sealed(connection, "alice's")
                barrier.wait()
                try:
                    connection.execute("SELECT rotate_user_key(%s)", (message,))
                except errors.ObjectNotInPrerequisiteState as error:
                    assert "was concurrently made" in str(error)  # noqa: PT017  # one of two may raise it
                    return False
                return True

            with ThreadPoolExecutor(2) as threads:
                assert any(threads.map(rotate, (one, two)))
            with database.session("alice") as alice:
                call(alice, "SELECT unlock_user_key(%s)", "alice's")
                assert value(alice, decrypt(token)) == "x"
    check_chain(admin)
