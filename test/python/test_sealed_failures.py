"""Failures with sealed secrets in the audit trail: they outlive the transaction that they end."""

import re

import pytest
import sealed_session
from cluster import Cluster
from conftest import Connection, rows
from database_session import Database
from psycopg import errors
from sealed_session import call, check_chain, events, offer_to, passphrase_key, user_pair

server = sealed_session.server
database = sealed_session.database
admin = sealed_session.admin


def test_a_failure_outlives_a_rollback(server: Cluster, database: Database, admin: Connection) -> None:
    passphrase_key(admin)
    log_before = len(server.log)

    def fail(connection: Connection) -> None:
        with pytest.raises(errors.InvalidPassword):
            call(connection, "SELECT unlock_data_key('k', %s)", "wrong")

    with database.session("alice") as alice:
        alice.execute("BEGIN")
        fail(alice)
        alice.execute("ROLLBACK")
        first = ("alice", "attempt 1 of this session")
        assert events(admin, "failed_unlock") == []
        for _ in range(2):  # two that are rolled back, too
            alice.execute("BEGIN")
            offer_to(alice)
            alice.execute("ROLLBACK")
            assert events(admin, "failed_unlock") == []
        # And one that is rolled back to a savepoint, in a transaction that is not.
        alice.execute("BEGIN")
        alice.execute("SAVEPOINT s")
        offer_to(alice)
        alice.execute("ROLLBACK TO s")
        offer_to(alice)
        offer_to(alice)
        assert events(admin, "failed_unlock") == []
        alice.execute("COMMIT")
        assert events(admin, "failed_unlock") == [first]
        offer_to(alice)
        offer_to(alice)
        assert events(admin, "failed_unlock") == [first]
        # A transaction that cannot write leaves it for the next.
        fail(alice)
        alice.execute("BEGIN READ ONLY")
        offer_to(alice)
        alice.execute("COMMIT")
        assert events(admin, "failed_unlock") == [first]
        # Any event writes those before it, as a right passphrase does.
        call(alice, "SELECT unlock_data_key('k', %s)", "first")
        second = ("alice", "attempt 2 of this session")
        assert events(admin, "failed_unlock") == [first, second]
        alice.execute("BEGIN")
        fail(alice)
    # The session of the last failure has ended: only the log has it.
    assert events(admin, "failed_unlock") == [first, second]
    log = server.log[log_before:]
    assert re.findall(r"failed_unlock .*\((attempt \d) of this session\)", log) == [
        "attempt 1",
        "attempt 2",
        "attempt 3",
    ]
    check_chain(admin)


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_failure_is_written_once_at_any_isolation_level(
    database: Database, admin: Connection, isolation: str
) -> None:
    passphrase_key(admin)
    with database.session("alice") as alice:
        rows(alice, f"SET default_transaction_isolation = '{isolation}'")
        for _ in range(2):
            with pytest.raises(errors.InvalidPassword):
                call(alice, "SELECT unlock_data_key('k', %s)", "wrong")
        call(alice, "SELECT unlock_data_key('k', %s)", "first")
        offer_to(alice)
    details = [("alice", f"attempt {count} of this session") for count in (1, 2)]
    assert events(admin, "failed_unlock") == details
    check_chain(admin)


def test_every_kind_of_failure_is_in_the_trail(database: Database, admin: Connection) -> None:
    passphrase_key(admin)
    user_pair(admin, "mine")
    failing = {
        "failed_unlock": ("unlock_data_key('k', %s)", ["wrong"]),
        "failed_change_passphrase": ("change_passphrase('k', %s)", ["wrong", "new"]),
        "failed_supersede": ("supersede_data_key('k', %s)", ["wrong"]),
        "failed_unlock_user_key": ("unlock_user_key(%s)", ["wrong"]),
        "failed_change_user_passphrase": ("change_user_passphrase(%s)", ["wrong", "new"]),
        "failed_rotate_user_key": ("rotate_user_key(%s)", ["wrong", "new"]),
    }
    for query, parts in failing.values():
        with pytest.raises(errors.InvalidPassword):
            call(admin, f"SELECT {query}", *parts)
    offer_to(admin)
    assert rows(admin, "SELECT event FROM key_events WHERE event LIKE 'failed%' ORDER BY link") == [
        (event,) for event in failing
    ]
    # Nothing changed: the passphrases are the old ones.
    call(admin, "SELECT unlock_data_key('k', %s)", "first")
    call(admin, "SELECT unlock_user_key(%s)", "mine")
