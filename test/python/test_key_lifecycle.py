"""The end of encryption, destructions that wait, old versions, and the policies of keys."""

import threading

import column_database
import pytest
from column_database import ANN, check_works, make_customer
from conftest import Connection, rows, value
from database_session import Database
from psycopg import errors

server = column_database.server
database = column_database.database
admin = column_database.admin

NAME = "public.customer.ssn"
READ = "SELECT id, name, ssn FROM customer ORDER BY id"


def passes(connection: Connection, column: str, key: int) -> None:
    """Let the time come that a key has in a column of its row."""
    connection.execute(
        f"UPDATE key SET {column} = clock_timestamp() - interval '1 second' WHERE id = {key}".encode()
    )


def current(connection: Connection, name: str = NAME) -> int:
    """Return the id of the current version of a key."""
    found: int = value(connection, f"SELECT id FROM key WHERE name = '{name}' AND superseded_by IS NULL")
    return found


def states(connection: Connection, name: str = NAME) -> list[str]:
    """Return the states of the versions of a key, the oldest first; with a plus if a destruction is scheduled."""
    query = (
        "SELECT state::text || CASE WHEN destroy_after IS NULL THEN '' ELSE '+' END FROM key"
        f" WHERE name = '{name}' ORDER BY id"
    )
    return [state for (state,) in rows(connection, query)]


def test_a_key_that_has_stopped_encrypting_still_decrypts(admin: Connection, database: Database) -> None:
    make_customer(admin)
    rows(admin, "SELECT create_data_key('k')")
    token = value(admin, "SELECT token_encrypt_text('k', 'x')")
    writes = {
        "SELECT token_encrypt_text('k', 'y')": '"k" has stopped encrypting',
        "INSERT INTO customer (name, ssn) VALUES ('Di', '4')": f'"{NAME}" has stopped encrypting',
        "UPDATE customer SET ssn = '5' WHERE id = 1": "has stopped encrypting",
    }
    with database.session() as other:
        for statement in writes:
            rows(other, f"BEGIN; {statement}; ROLLBACK")
        for key in ("k", NAME):
            # A time in the past stops the key at once, in every session.
            rows(admin, f"SELECT limit_encryption('{key}', now() - interval '1 hour')")
        for statement, message in writes.items():
            for connection in (admin, other):
                with pytest.raises(errors.ObjectNotInPrerequisiteState, match=message):
                    rows(connection, statement)
        for connection in (admin, other):
            assert connection.execute("SELECT token_decrypt_text(%s)", [token]).fetchone() == ("x",)
            assert rows(connection, READ) == ANN
            rows(connection, "UPDATE customer SET name = name || '' WHERE id = 1")
        assert value(admin, "SELECT encrypts_until < now() FROM data_keys WHERE name = 'k'") is True
        warned = "SELECT object, message FROM doctor() WHERE check_name = 'key_expiry' AND status = 'warning'"
        ((found, message),) = rows(admin, warned)
        assert found.endswith(f"({NAME})")
        assert message.startswith("the key has encrypted only until")
        # A new version encrypts.
        rows(admin, f"SELECT supersede_data_key('{NAME}')")
        rows(admin, "SELECT limit_encryption('k', NULL)")
        for statement in writes:
            rows(other, f"BEGIN; {statement}; ROLLBACK")
        rows(admin, "CALL rotate_column('customer', 'ssn', supersede => false)")
        check_works(admin)


def test_the_end_of_encryption_comes_by_itself(admin: Connection, database: Database) -> None:
    """Sessions that know the key compare the time, and send no query."""
    key = value(admin, "SELECT create_data_key('k')")
    encrypt = "SELECT token_encrypt_text('k', 'x')"
    token = value(admin, encrypt)
    # Within one session, which reads the key once: the transaction is long enough for both sides of the time.
    rows(admin, "SELECT limit_encryption('k', clock_timestamp() + interval '2 seconds')")
    rows(admin, "SELECT token_decrypt(token_encrypt('k', 'x'))")
    end = value(admin, f"SELECT encrypts_until FROM data_keys WHERE id = {key}")
    while value(admin, "SELECT clock_timestamp()") <= end:
        pass
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="has stopped encrypting"):
        rows(admin, encrypt)
    assert admin.execute("SELECT token_decrypt_text(%s)", [token]).fetchone() == ("x",)


def test_deterministic_lookups_with_a_key_that_has_stopped(admin: Connection) -> None:
    rows(admin, "CREATE TABLE t (id int PRIMARY KEY, v text)")
    rows(admin, "SELECT encrypt_column('t', 'v', deterministic => true)")
    rows(admin, "CALL migrate_column('t', 'v')")
    rows(admin, "INSERT INTO t VALUES (1, 'x')")
    rows(admin, "SELECT limit_encryption('public.t.v', now())")
    found = "SELECT id FROM t_encrypted WHERE v_encrypted = ANY (deterministic_tokens('t', 'v', 'x'))"
    assert rows(admin, found) == [(1,)]


def test_a_destruction_that_waits(admin: Connection, database: Database) -> None:
    key = value(admin, "SELECT create_data_key('k')")
    token = value(admin, "SELECT token_encrypt_text('k', 'x')")
    rows(admin, f"SELECT destroy_data_key({key}, 'k', after => interval '1 day')")
    assert value(
        admin, "SELECT destroy_after - now() BETWEEN '23 hours' AND '25 hours' FROM data_keys WHERE name = 'k'"
    )
    refused = errors.ObjectNotInPrerequisiteState
    with database.session() as other:
        for call, hint in (
            ("token_encrypt_text('k', 'x')", "cancel_destroy"),
            (f"token_decrypt(decode('{token.hex()}', 'hex'))", "cancel_destroy"),
            (f"enable_data_key({key})", "cancel_destroy"),
            (f"destroy_data_key({key}, 'k')", "cancel_destroy"),
            (f"destroy_data_key({key}, 'k', true)", "cancel_destroy"),
            (f"destroy_data_key({key}, 'k', interval '2 days')", "cancel_destroy"),
            ("supersede_data_key('k')", "cancel_destroy"),
        ):
            with pytest.raises(refused) as failed:
                rows(other, f"SELECT {call}")
            assert hint in (failed.value.diag.message_hint or ""), call
        rows(other, "CALL run_key_policies()")
        assert states(admin, "k") == ["disabled+"]
        rows(other, f"SELECT cancel_destroy({key})")
        assert states(admin, "k") == ["disabled"]
        with pytest.raises(refused, match="is not scheduled"):
            rows(other, f"SELECT cancel_destroy({key})")
        rows(other, f"SELECT enable_data_key({key})")
        assert admin.execute("SELECT token_decrypt_text(%s)", [token]).fetchone() == ("x",)
        rows(other, f"SELECT destroy_data_key({key}, 'k', after => '1 day')")
        passes(admin, "destroy_after", key)
        # A reader erases nothing.
        with pytest.raises(refused):
            rows(other, "SELECT token_encrypt_text('k', 'x')")
        assert value(admin, f"SELECT count(*) FROM key_wrap WHERE key_id = {key}") == 1
        rows(other, "CALL run_key_policies()")
        assert states(admin, "k") == ["destroyed"]
        assert value(admin, f"SELECT count(*) FROM key_wrap WHERE key_id = {key}") == 0
    found = rows(admin, f"SELECT event FROM key_events WHERE key_id = {key} ORDER BY link")
    events = ["create", "schedule_destroy", "cancel_destroy", "enable", "schedule_destroy", "destroy"]
    assert [event for (event,) in found] == events
    assert value(admin, "SELECT reason FROM verify_key_events()") is None


def test_a_due_destruction_by_an_explicit_call(admin: Connection) -> None:
    key = value(admin, "SELECT create_data_key('k')")
    rows(admin, f"SELECT destroy_data_key({key}, 'k', after => '1 day')")
    passes(admin, "destroy_after", key)
    rows(admin, f"SELECT destroy_data_key({key}, 'k')")
    assert states(admin, "k") == ["destroyed"]
    for interval in ("0", "-1 day"):
        other = value(admin, f"SELECT create_data_key('other {interval}')")
        with pytest.raises(errors.InvalidParameterValue, match="must be a positive interval"):
            rows(admin, f"SELECT destroy_data_key({other}, 'other {interval}', after => '{interval}')")


def test_a_destruction_of_a_key_that_is_needed_again(admin: Connection) -> None:
    make_customer(admin)
    old = current(admin)
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="is still needed"):
        rows(admin, f"SELECT destroy_data_key({old}, '{NAME}', after => '1 day')")
    rows(admin, f"SELECT destroy_data_key({old}, '{NAME}', after => '1 day', force => true)")
    rows(admin, f"SELECT cancel_destroy({old})")
    rows(admin, f"SELECT enable_data_key({old})")
    # It was not forced, and a restored row needs it when the time has come.
    rows(admin, f"SELECT supersede_data_key('{NAME}')")
    rows(admin, "CREATE TABLE kept AS SELECT * FROM customer_encrypted")
    rows(admin, "CALL rotate_column('customer', 'ssn', supersede => false)")
    rows(admin, "DROP TABLE kept")
    rows(admin, f"SELECT destroy_data_key({old}, '{NAME}', after => '1 day')")
    passes(admin, "destroy_after", old)
    rows(admin, f"SELECT cancel_destroy({old})")
    rows(admin, "CALL run_key_policies()")
    assert states(admin)[0] == "disabled"


def test_superseded_versions_and_what_needs_them(admin: Connection) -> None:
    make_customer(admin)
    first = current(admin)
    rows(admin, f"SELECT supersede_data_key('{NAME}')")
    second = current(admin)
    made = f"(SELECT created FROM key WHERE id = {second})"
    assert rows(admin, f"SELECT superseded_at = {made} FROM superseded_data_keys()") == [(True,)]
    listed = f"SELECT key_id, superseded_by, wraps, needed_by FROM superseded_data_keys('{NAME}')"
    needed = ['column "ssn" of customer has values under it']
    assert rows(admin, listed) == [(first, second, ["root"], needed)]
    assert rows(admin, f"SELECT prune_data_keys('{NAME}')") == []
    rows(admin, "CALL rotate_column('customer', 'ssn')")
    assert rows(admin, f"{listed} ORDER BY key_id") == [
        (first, second, ["root"], []),
        (second, current(admin), ["root"], []),
    ]
    for key in (f"'{NAME}'", current(admin), first):
        assert rows(admin, f"SELECT prune_data_keys({key}, keep_versions => 3)") == []
        assert len(rows(admin, f"SELECT superseded_data_keys({key})")) == 2
    assert rows(admin, f"SELECT prune_data_keys('{NAME}', keep_versions => 2)") == [(first,)]
    assert states(admin) == ["disabled+", "enabled", "enabled"]
    assert rows(admin, f"SELECT prune_data_keys('{NAME}', after => NULL)") == [(second,)]
    assert states(admin) == ["disabled+", "destroyed", "enabled"]
    for arguments in ("keep_versions => 0", "keep_versions => NULL"):
        with pytest.raises(errors.DataError):
            rows(admin, f"SELECT prune_data_keys('{NAME}', {arguments})")
    check_works(admin)


def age(connection: Connection, name: str = NAME) -> None:
    """Let the current version of a key be older than every policy says."""
    rows(connection, f"UPDATE key SET created = created - interval '1 year' WHERE name = '{name}'")


def test_a_policy_rotates_and_prunes(admin: Connection) -> None:
    make_customer(admin)
    first = current(admin)
    rows(admin, f"SELECT set_key_policy('{NAME}', rotate_every => '90 days', keep_versions => 2)")
    rows(admin, "CALL run_key_policies()")
    assert states(admin) == ["enabled"]
    for round_ in range(2, 5):
        age(admin)
        rows(admin, "CALL run_key_policies()")
        rows(admin, "CALL run_key_policies()")
        assert len(states(admin)) == round_
        key_ids = "SELECT DISTINCT substr(ssn_encrypted, 2, 4) FROM customer_encrypted WHERE ssn IS NOT NULL"
        assert rows(admin, f"SELECT * FROM ({key_ids}) AS used") == []
        used = "SELECT DISTINCT ('x' || encode(substr(ssn_encrypted, 2, 4), 'hex'))::bit(32)::integer"
        assert rows(admin, f"{used} FROM customer_encrypted WHERE ssn_encrypted IS NOT NULL") == [
            (current(admin),)
        ]
    assert states(admin) == ["disabled+", "disabled+", "enabled", "enabled"]
    assert rows(admin, "SELECT name, keep_versions, last_error, is_rotating FROM key_policies") == [
        (NAME, 2, None, False)
    ]
    passes(admin, "destroy_after", first)
    rows(admin, "CALL run_key_policies()")
    assert states(admin) == ["destroyed", "disabled+", "enabled", "enabled"]
    check_works(admin)
    rows(admin, f"SELECT set_key_policy({first})")
    age(admin)
    rows(admin, "CALL run_key_policies()")
    assert len(states(admin)) == 4
    assert rows(admin, "SELECT * FROM key_policies") == []


def test_policies_with_a_key_for_each_value(admin: Connection) -> None:
    rows(admin, "CREATE TABLE t (id int PRIMARY KEY, tenant text, v text)")
    rows(admin, "SELECT encrypt_column('t', 'v', key_by => 'tenant')")
    rows(admin, "CALL migrate_column('t', 'v')")
    rows(admin, "INSERT INTO t VALUES (1, 'a', 'x'), (2, 'b', 'y'), (3, NULL, 'z')")
    rows(admin, "SELECT set_key_policy('public.t.v', '90 days', 1, '1 day')")
    age(admin, "public.t.v")
    rows(admin, "CALL run_key_policies()")
    for name in ("public.t.v", "public.t.v:a", "public.t.v:b"):
        assert states(admin, name) == ["disabled+", "enabled"], name
    assert rows(admin, "SELECT v FROM t ORDER BY id") == [("x",), ("y",), ("z",)]


@pytest.fixture
def failing(admin: Connection) -> Connection:
    """Two keys with policies that are due: the first cannot be superseded."""
    make_customer(admin)
    rows(admin, "SELECT create_data_key('a failing one')")
    rows(admin, "SELECT set_key_policy('a failing one', '90 days')")
    rows(admin, f"SELECT set_key_policy('{NAME}', '90 days', 1)")
    rows(admin, "UPDATE key SET created = created - interval '1 year'")
    rows(admin, "SELECT disable_data_key(id) FROM data_keys WHERE name = 'a failing one'")
    return admin


def test_an_error_with_one_key_does_not_stop_the_others(failing: Connection) -> None:
    warnings: list[str] = []
    failing.add_notice_handler(lambda notice: warnings.append(notice.message_primary or ""))
    # A destruction that is due, and whose key is needed.
    rows(failing, "CREATE TABLE u (id int PRIMARY KEY, v text)")
    rows(failing, "SELECT encrypt_column('u', 'v')")
    key = current(failing, "public.u.v")
    rows(failing, f"UPDATE key SET state = 'disabled', destroy_after = now() WHERE id = {key}")
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="2 steps of the key policies failed") as failed:
        rows(failing, "CALL run_key_policies()")
    assert 'key "a failing one": key' in str(failed.value)
    assert "is still needed" in str(failed.value)
    assert len(warnings) == 2
    assert states(failing) == ["disabled+", "enabled"]
    assert states(failing, "public.u.v") == ["disabled+"]
    assert rows(failing, "SELECT last_error IS NULL FROM key_policies ORDER BY name = 'a failing one'") == [
        (True,),
        (False,),
    ]
    rows(failing, f"SELECT cancel_destroy({key})")
    rows(failing, "SELECT enable_data_key(id) FROM data_keys WHERE name = 'a failing one'")
    rows(failing, "CALL run_key_policies()")
    assert states(failing, "a failing one") == ["enabled", "enabled"]
    assert rows(failing, "SELECT DISTINCT last_error FROM key_policies") == [(None,)]


def test_a_rotation_that_was_stopped_goes_on(admin: Connection, database: Database) -> None:
    make_customer(admin)
    rows(admin, f"SELECT set_key_policy('{NAME}', '90 days', 1)")
    age(admin)
    # A column that cannot be rotated now: the key is superseded, and its old version stays.
    rows(admin, "UPDATE encrypted_column SET state = 'migrating'")
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="is migrating"):
        rows(admin, "CALL run_key_policies()")
    assert states(admin) == ["enabled", "enabled"]
    assert value(admin, "SELECT is_rotating FROM key_policies") is True
    rows(admin, "UPDATE encrypted_column SET state = 'encrypted'")
    rows(admin, "CALL run_key_policies()")
    assert states(admin) == ["disabled+", "enabled"]
    assert value(admin, "SELECT is_rotating FROM key_policies") is False
    check_works(admin)


def test_two_runs_at_the_same_time_supersede_once(admin: Connection, database: Database) -> None:
    make_customer(admin)
    rows(admin, f"SELECT set_key_policy('{NAME}', '90 days', 1)")
    age(admin)
    found: list[BaseException] = []
    start = threading.Barrier(3)

    def run() -> None:
        with database.session() as other:
            start.wait()
            try:
                rows(other, "CALL run_key_policies()")
            except BaseException as error:
                found.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not found
    assert states(admin) == ["disabled+", "enabled"]
    check_works(admin)


def test_a_run_needs_its_own_transactions(admin: Connection) -> None:
    with pytest.raises(errors.FeatureNotSupported, match="commits"):
        rows(admin, "BEGIN; CALL run_key_policies()")
