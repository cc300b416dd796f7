"""The pruning of old versions while other transactions hold some of them: these stay, and the others go."""

import json

import column_database
from conftest import Connection, rows, value
from database_session import Database
from in_process import invoke

server = column_database.server
database = column_database.database
admin = column_database.admin

TOKENS = "tokens"
SSN = "public.customer.ssn"


def notices_of(connection: Connection) -> list[str]:
    """Return a list that receives the notices of a session."""
    notices: list[str] = []
    connection.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    return notices


def make_versions(admin: Connection) -> list[int]:
    """Make three versions of a key, and return the ids of the superseded ones."""
    rows(admin, f"SELECT create_data_key('{TOKENS}')")
    for _ in range(2):
        rows(admin, f"SELECT supersede_data_key('{TOKENS}')")
    return [number for (number,) in rows(admin, "SELECT key_id FROM superseded_data_keys() ORDER BY key_id")]


def test_a_version_that_another_transaction_has_locked_stays(admin: Connection, database: Database) -> None:
    locked, free = make_versions(admin)
    notices = notices_of(admin)
    prune = f"SELECT prune_data_keys('{TOKENS}', 1, '1 day')"
    with database.session() as other:
        rows(other, "BEGIN")
        rows(other, f"SELECT disable_data_key({locked})")
        assert rows(admin, prune) == [(free,)]
        assert notices == [
            f'pgkeymgr: key {locked} "{TOKENS}" stays for now: another transaction has changed or locked it'
        ]
        rows(other, "ROLLBACK")
    assert rows(admin, prune) == [(locked,)]
    assert rows(admin, prune) == []
    assert len(notices) == 1


def test_a_version_that_a_transaction_writes_with_stays(admin: Connection, database: Database) -> None:
    """In the function, in the command, which goes on with other keys, and in the policies."""
    column_database.make_customer(admin)
    rows(admin, "UPDATE customer SET ssn = NULL")
    key = value(admin, f"SELECT id FROM data_keys WHERE name = '{SSN}'")
    notices = notices_of(admin)
    reason = (
        f'key {key} "{SSN}" stays for now: column "ssn" of customer is being written by a transaction that has not'
        " ended"
    )
    with database.session() as writer:
        rows(writer, "BEGIN")
        rows(writer, "INSERT INTO customer (ssn) VALUES ('kept')")
        rows(admin, f"SELECT supersede_data_key('{SSN}')")
        for after in ("NULL", "'1 day'"):
            notices.clear()
            assert rows(admin, f"SELECT prune_data_keys('{SSN}', 1, {after})") == []
            assert notices == [f"pgkeymgr: {reason}"]
        rows(admin, f"SELECT set_key_policy('{SSN}', keep_versions => 1)")
        notices.clear()
        rows(admin, "CALL run_key_policies()")
        assert notices == [f"pgkeymgr: {reason}"]
        assert value(admin, "SELECT last_error FROM key_policies") is None
        free = make_versions(admin)[-2:]
        environment = {
            "PGHOST": str(database.server.directory),
            "PGPORT": str(database.server.port),
            "PGUSER": "postgres",
        }
        done = invoke("prune", "-d", database.name, "--yes", "--json", environment=environment)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["pruned"] == free
        assert f"NOTICE: {reason}" in done.stderr
        rows(writer, "COMMIT")
    # Now it has a value, so nothing is to be said about it.
    notices.clear()
    assert rows(admin, f"SELECT prune_data_keys('{SSN}', 1, NULL)") == []
    assert notices == []
