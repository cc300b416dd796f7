"""Keys that only users can open, and changes of them that another session makes."""

import re
from collections.abc import Callable

import pytest
import sealed_session
from conftest import Connection, rows, value
from database_session import Database
from psycopg import errors
from sealed_session import LOCKED, call, check_chain, decrypt, events, passphrase_key, token_of, user_pair

server = sealed_session.server
database = sealed_session.database
admin = sealed_session.admin


def test_escrow(database: Database, admin: Connection) -> None:
    """When the only other holder's key pair is gone, the escrow role, set up before, opens the key for others."""
    with database.session("boss") as boss, database.session("escrow") as escrow:
        user_pair(boss, "boss's")
        user_pair(escrow, "escrow's", unlock=False)
        rows(boss, "CREATE SCHEMA vault")
        rows(boss, "CREATE TABLE vault.note (id integer PRIMARY KEY, body text)")
        rows(boss, "SELECT create_data_key('case', wrap => 'user'), create_data_key('lost', wrap => 'user')")
        rows(boss, "SELECT encrypt_column('vault.note', 'body', key => 'case')")
        rows(boss, "INSERT INTO vault.note VALUES (1, 'the will')")
        rows(boss, "GRANT USAGE ON SCHEMA vault TO escrow, bob; GRANT SELECT ON vault.note TO escrow, bob")
        lost = token_of(boss, "lost")
        drop = "SELECT drop_user_key('boss')"
        with pytest.raises(
            errors.ObjectNotInPrerequisiteState, match=r'the user wrap of key \d "case", .* is its last'
        ):
            rows(admin, drop)
        rows(boss, "SELECT share_data_key('case', 'escrow')")
        # The other key has no holder but boss: that would be lost, and takes force.
        with pytest.raises(
            errors.ObjectNotInPrerequisiteState, match=r'the user wrap of key \d "lost" is its last'
        ):
            rows(admin, drop)
        rows(admin, "SELECT drop_user_key('boss', force => true)")
        ((dropper, detail),) = events(admin, "drop_user_key")
        assert dropper == "postgres"
        assert re.fullmatch(r"role boss; [0-9a-f]{64}; key \d is lost", detail)
        read = "SELECT body FROM vault.note WHERE id = 1"
        for connection in (boss, admin, escrow):
            with LOCKED:
                rows(connection, read)
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match="has no wrap: it cannot be opened"):
            rows(boss, decrypt(lost))
        call(escrow, "SELECT unlock_user_key(%s)", "escrow's")
        assert value(escrow, read) == "the will"
        with database.session("bob") as bob:
            user_pair(bob, "bob's")
            with pytest.raises(errors.InsufficientPrivilege):
                rows(bob, read)
            rows(escrow, "SELECT share_data_key('case', 'bob')")
            assert value(bob, read) == "the will"
        # The owner comes back with a new pair.
        user_pair(boss, "boss's second")
        with LOCKED:
            rows(boss, read)
        rows(escrow, "SELECT share_data_key('case', 'boss')")
        assert value(boss, read) == "the will"
        assert events(admin, "share")[-1] == ("escrow", "to role boss")
    check_chain(admin)


READ = "SELECT id, body FROM vault.note ORDER BY id"
NOTES = [*((number, f"old {number}") for number in range(1, 21)), (21, "new")]


def make_notes(boss: Connection) -> int:
    """Encrypt a column under a key of boss's own, migrate it, and return the key's id."""
    user_pair(boss, "boss's")
    rows(boss, "CREATE SCHEMA vault")
    rows(boss, "CREATE TABLE vault.note (id integer PRIMARY KEY, body text)")
    rows(boss, "INSERT INTO vault.note SELECT i, 'old ' || i FROM generate_series(1, 20) AS i")
    key_id = value(boss, "SELECT create_data_key('case', wrap => 'user')")
    rows(boss, "SELECT encrypt_column('vault.note', 'body', key => 'case')")
    rows(boss, "INSERT INTO vault.note VALUES (21, 'new')")
    rows(boss, "CALL migrate_column('vault.note', 'body', 7)")
    rows(boss, "GRANT USAGE ON SCHEMA vault TO alice, bob; GRANT SELECT ON vault.note TO alice, bob")
    assert rows(boss, READ) == NOTES
    return int(key_id)


def check_closed_to_superuser(admin: Connection, *queries: str) -> None:
    """Check that queries fail in a superuser's session, as the column's owner, too."""
    for role in ("RESET ROLE", "SET ROLE boss"):
        rows(admin, role)
        for query in queries:
            with LOCKED:
                rows(admin, query)
        assert value(admin, "SELECT count(id) >= 21 FROM vault.note")
    rows(admin, "RESET ROLE")


def test_a_column_under_a_key_of_users(database: Database, admin: Connection) -> None:
    """It is closed to the superuser's own SQL; its holders migrate and rotate it."""
    closed = (
        READ,
        "INSERT INTO vault.note VALUES (99, 'no')",
        "UPDATE vault.note SET body = 'no' WHERE id = 1",
        "CALL rotate_column('vault.note', 'body')",
        "SELECT share_data_key('case', 'alice')",
        "SELECT export_data_key('case', decode(repeat('09', 32), 'hex'))",
        "SELECT add_root_wrap('case')",
        "SELECT supersede_data_key('case')",
    )
    with database.session("boss") as boss, database.session("alice") as alice:
        old_id = make_notes(boss)
        user_pair(alice, "alice's", unlock=False)
        check_closed_to_superuser(admin, *closed)
        # Shared, and then rotated: the new version is sealed to the same holders.
        rows(boss, "SELECT share_data_key('case', 'alice')")
        with LOCKED:
            rows(alice, READ)
        call(alice, "SELECT unlock_user_key(%s)", "alice's")
        assert rows(alice, READ) == NOTES
        rows(boss, "SELECT supersede_data_key('case')")
        assert rows(alice, READ) == NOTES
        check_closed_to_superuser(admin, *closed)
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match="is still needed"):
            rows(boss, f"SELECT destroy_data_key({old_id}, 'case')")
        rows(boss, "CALL rotate_column('vault.note', 'body', 7)")
        assert rows(alice, READ) == NOTES
        # Nothing depends on the old version any more.
        rows(boss, f"SELECT destroy_data_key({old_id}, 'case')")
        assert rows(alice, READ) == NOTES
        check_closed_to_superuser(admin, *closed)
        rows(boss, "SELECT lock()")
        with LOCKED:
            rows(boss, READ)
    check_chain(admin)


def test_a_blind_index_under_a_key_of_users(database: Database, admin: Connection) -> None:
    """It has a key of its own, which opens for the same holders, and for later ones."""
    search = "SELECT id FROM vault.note WHERE body_bidx = blind_index('vault.note', 'body', 'OLD 7')"
    with database.session("boss") as boss, database.session("alice") as alice, database.session("bob") as bob:
        make_notes(boss)
        user_pair(alice, "alice's")
        user_pair(bob, "bob's")
        rows(boss, "SELECT share_data_key('case', 'alice')")
        check_closed_to_superuser(admin, "SELECT add_blind_index('vault.note', 'body')")
        rows(boss, "SELECT add_blind_index('vault.note', 'body', 'casefold')")
        for connection in (boss, alice):
            assert rows(connection, search) == [(7,)]
        check_closed_to_superuser(admin, search)
        for query in (READ, search):
            with pytest.raises(errors.InsufficientPrivilege):
                rows(bob, query)
        rows(boss, "SELECT share_data_key('case', 'bob')")
        assert rows(bob, READ) == NOTES
        assert rows(bob, search) == [(7,)]
        rows(boss, "SELECT unshare_data_key('case', 'bob')")
        for query in (READ, search):
            with pytest.raises(errors.InsufficientPrivilege):
                rows(bob, query)
        rows(boss, "INSERT INTO vault.note VALUES (22, 'Old 7')")
        assert rows(alice, f"{search} ORDER BY id") == [(7,), (22,)]
        for left in ("key_wrap", "key_grant"):
            assert value(admin, f"SELECT count(*) FROM {left}") > 0
        # Nothing is left of bob's copies.
        assert rows(
            admin,
            "SELECT count(*) FROM key_wrap JOIN user_key ON holder = encode(public, 'hex')"
            " WHERE role = 'bob'::regrole",
        ) == [(0,)]
    check_chain(admin)


# A change of another session takes effect here at the next statement.


def open_keys(admin: Connection, alice: Connection) -> dict[str, str]:
    """Make a key of each kind, unlock both as alice, and return a token of each."""
    passphrase_key(admin)
    user_pair(admin, "mine")
    user_pair(alice, "alice's")
    rows(admin, "SELECT create_data_key('u', wrap => 'user')")
    rows(admin, "SELECT share_data_key('u', 'alice')")
    call(alice, "SELECT unlock_data_key('k', %s)", "first")
    return {key: token_of(alice, key) for key in ("k", "u")}


def change_passphrase(admin: Connection, _: Connection) -> None:
    call(admin, "SELECT change_passphrase('k', %s)", "first", "second")


def drop_passphrase(admin: Connection, _: Connection) -> None:
    call(admin, "SELECT unlock_data_key('k', %s)", "first")
    rows(admin, "SELECT share_data_key('k', 'postgres')")
    rows(admin, "SELECT drop_passphrase('k')")


def revoke(admin: Connection, _: Connection) -> None:
    rows(admin, "SELECT revoke_data_key('k', 'alice')")


def disable(admin: Connection, _: Connection) -> None:
    rows(admin, "SELECT disable_data_key(id) FROM data_keys WHERE name = 'k'")


def unshare(admin: Connection, _: Connection) -> None:
    rows(admin, "SELECT unshare_data_key('u', 'alice')")


def rotate_user_key(_: Connection, other: Connection) -> None:
    call(other, "SELECT rotate_user_key(%s)", "alice's")


def drop_user_key(admin: Connection, _: Connection) -> None:
    rows(admin, "SELECT drop_user_key('alice')")


TWO = {
    change_passphrase: ("k", errors.ObjectNotInPrerequisiteState, "is locked"),
    drop_passphrase: ("k", errors.ObjectNotInPrerequisiteState, "is locked"),
    revoke: ("k", errors.InsufficientPrivilege, "permission denied"),
    disable: ("k", errors.ObjectNotInPrerequisiteState, "is disabled"),
    unshare: ("u", errors.InsufficientPrivilege, "permission denied"),
    rotate_user_key: ("u", errors.ObjectNotInPrerequisiteState, "is locked"),
    drop_user_key: ("u", errors.ObjectNotInPrerequisiteState, "is locked"),
}


@pytest.mark.parametrize("change", TWO, ids=lambda change: change.__name__)
@pytest.mark.parametrize("isolation", [None, "REPEATABLE READ"])
def test_a_change_elsewhere_takes_effect_at_once(
    database: Database,
    admin: Connection,
    change: Callable[[Connection, Connection], None],
    isolation: str | None,
) -> None:
    """In a session that has the key unlocked, in prepared statements and in a transaction of any level."""
    key, error, message = TWO[change]
    with database.session("alice") as alice, database.session("alice") as other:
        alice.prepare_threshold = None  # else psycopg deallocates all at a ROLLBACK TO
        tokens = open_keys(admin, alice)
        if isolation:
            rows(alice, f"BEGIN ISOLATION LEVEL {isolation}")
        for each in ("k", "u"):
            rows(alice, f"PREPARE read_{each} AS SELECT token_decrypt_text({tokens[each]})")
            rows(alice, f"PREPARE write_{each} AS SELECT token_encrypt_text('{each}', 'y')")
            for _ in range(7):  # more than the five after which a plan is kept
                assert value(alice, f"EXECUTE read_{each}") == "x"
                rows(alice, f"EXECUTE write_{each}")
        change(admin, other)
        for use in (f"EXECUTE read_{key}", f"EXECUTE write_{key}", decrypt(tokens[key])):
            if isolation:
                rows(alice, "SAVEPOINT before")
            with pytest.raises(error, match=message):
                rows(alice, use)
            if isolation:
                rows(alice, "ROLLBACK TO before")
        # The other one is still open.
        assert value(alice, f"EXECUTE read_{'u' if key == 'k' else 'k'}") == "x"


def test_a_changed_key_is_unlocked_again(database: Database, admin: Connection) -> None:
    with database.session("alice") as alice, database.session("alice") as other:
        tokens = open_keys(admin, alice)
        change_passphrase(admin, other)
        with pytest.raises(errors.InvalidPassword):
            call(alice, "SELECT unlock_data_key('k', %s)", "first")
        with LOCKED:
            rows(alice, decrypt(tokens["k"]))
        call(alice, "SELECT unlock_data_key('k', %s)", "second")
        assert value(alice, decrypt(tokens["k"])) == "x"
        rotate_user_key(admin, other)
        with LOCKED:
            rows(alice, decrypt(tokens["u"]))
        call(alice, "SELECT unlock_user_key(%s)", "alice's")
        assert value(alice, decrypt(tokens["u"])) == "x"
        # A rotation in this session keeps it open, and one that is rolled back, too.
        call(alice, "SELECT rotate_user_key(%s)", "alice's", "alice's second")
        assert value(alice, decrypt(tokens["u"])) == "x"
        alice.execute("BEGIN")
        call(alice, "SELECT rotate_user_key(%s)", "alice's second", "never")
        assert value(alice, decrypt(tokens["u"])) == "x"
        alice.execute("ROLLBACK")
        assert value(alice, decrypt(tokens["u"])) == "x"
        with pytest.raises(errors.InvalidPassword):
            call(alice, "SELECT unlock_user_key(%s)", "never")
        call(alice, "SELECT unlock_user_key(%s)", "alice's second")
