"""Settings that any user can set change neither the times of keys nor what the audit trail has."""

import pytest
from conftest import Connection, rows, value
from psycopg import errors

ZONES = [("Asia/Kolkata", "SQL, DMY"), ("Asia/Shanghai", "German"), ("Asia/Manila", "Postgres, MDY")]
"""Zones with an abbreviation that PostgreSQL reads as that of another zone, and styles that write it."""
LATER = "'2040-01-01 00:00+00'"


@pytest.mark.parametrize(("zone", "style"), ZONES)
def test_times_do_not_depend_on_the_zone(connection: Connection, zone: str, style: str) -> None:
    calls = {
        "expires": (
            f"create_data_key('times', expires => {LATER})",
            f"move_expiry('times', {LATER})",
            f"move_expiry(id, {LATER}) FROM key WHERE name = 'times'",
            f"(create_key(expires => {LATER}, name => 'times of sodium')).id",
            "import_pgsodium_key('01234567-89ab-4cde-8f01-23456789abce', 'valid', 'secretbox', 'times imported',"
            f" 77, 'pgsodium', expires => {LATER})",
        ),
        "encrypts_until": (
            f"limit_encryption('times', {LATER})",
            f"limit_encryption(id, {LATER}) FROM key WHERE name = 'times'",
        ),
    }
    with connection.transaction(force_rollback=True):
        rows(connection, f"SET LOCAL TimeZone = '{zone}'")
        rows(connection, f"SET LOCAL DateStyle = '{style}'")
        for column, each in calls.items():
            for call in each:
                rows(connection, f"UPDATE key SET {column} = NULL WHERE name LIKE 'times%'")
                rows(connection, f"SELECT {call}")
                found = rows(connection, f"SELECT {column} = {LATER} FROM key WHERE {column} IS NOT NULL")
                assert found == [(True,)], call
        rows(connection, "UPDATE key SET expires = created + '9 days' WHERE name = 'times'")
        rows(connection, "SELECT supersede_data_key('times')")
        lives = "abs(extract(epoch FROM expires - created) / 3600 - 9 * 24) < 1"
        assert rows(connection, f"SELECT {lives} FROM key WHERE name = 'times'") == [(True,), (True,)]
        rows(connection, f"UPDATE key SET created = {LATER} WHERE name = 'times'")
        for argument in ("'times'", "(SELECT max(id) FROM key WHERE name = 'times')"):
            assert rows(
                connection,
                f"SELECT created = {LATER}, superseded_at = {LATER} FROM superseded_data_keys({argument})",
            ) == [(True, True)]
        assert value(connection, "SHOW DateStyle").startswith(style.partition(",")[0])


def test_what_a_read_only_transaction_reveals(connection: Connection) -> None:
    """The trail has it once the session writes an event, as after a rollback."""
    events = "SELECT count(*) FROM key_events WHERE event = 'derive' AND detail LIKE 'number 424242,%'"
    rows(connection, "BEGIN READ ONLY")
    rows(connection, "SELECT derive_key(424242), derive_key(424242)")
    with pytest.raises(errors.ReadOnlySqlTransaction):
        rows(connection, "SELECT create_data_key('not here')")
    rows(connection, "ROLLBACK")
    assert value(connection, events) == 0
    rows(connection, "SELECT exchange_offer()")
    assert value(connection, events) == 1
    rows(connection, "SELECT exchange_offer()")
    assert value(connection, events) == 1
    assert value(connection, "SELECT broken_link IS NULL FROM verify_key_events()")
