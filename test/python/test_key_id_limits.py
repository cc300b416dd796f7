"""The limits of the ids of keys, and of the subscriptions that bring keys."""

import pytest
import sealed_session
from conftest import Connection, rows, value
from pgkeymgr.client import Client
from psycopg import errors
from sealed_session import fingerprint_of

server = sealed_session.server
database = sealed_session.database
admin = sealed_session.admin


def test_no_call_uses_up_the_ids(admin: Connection) -> None:
    """The sequence of ids ends at 2,147,483,647, and no key is removed: one call must not take them all."""
    client = Client(admin, fingerprint_of(admin))
    for first_id in (1_000_000_001, 2_147_483_647):
        with pytest.raises(errors.InvalidParameterValue, match="first_id must be 1 to 1000000000"):
            rows(admin, f"SELECT set_key_node(1, 1, {first_id})")
    for key_id in (2_000_000_001, 2_147_483_647):
        with pytest.raises(errors.InvalidParameterValue, match="key_id must be 1 to 2000000000"):
            client.import_data_key("far", b"s" * 32, key_id=key_id)
    rows(admin, "SELECT set_key_node(1, 1024, 1000000000)")
    client.import_data_key("far", b"s" * 32, key_id=2_000_000_000)
    assert value(admin, "SELECT create_data_key('next')") < 2_147_000_000
    assert value(admin, "SELECT supersede_data_key('next')") < 2_147_000_000


def test_subscription_of_a_role_that_may_not_write_keys(admin: Connection) -> None:
    """It brings no key, so the database still makes and destroys its own."""
    key_id = value(admin, "SELECT create_data_key('before')")
    rows(admin, "CREATE ROLE limits_subscriber SUPERUSER")
    try:
        rows(
            admin,
            "CREATE SUBSCRIPTION forged CONNECTION 'host=/nowhere' PUBLICATION p"
            " WITH (connect = false, slot_name = NONE)",
        )
        rows(admin, "ALTER SUBSCRIPTION forged OWNER TO limits_subscriber")
        # CREATE SUBSCRIPTION writes this row after a look at the publisher.
        admin.execute("BEGIN; SET LOCAL allow_system_table_mods = on")
        rows(
            admin,
            "INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate)"
            " SELECT oid, 'pgkeymgr.key'::regclass, 'i' FROM pg_subscription WHERE subname = 'forged'",
        )
        admin.execute("COMMIT")
        assert rows(admin, "SELECT makes_keys, subscriptions FROM key_node_status()") == [(False, ["forged"])]
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match="publisher of subscription forged"):
            rows(admin, f"SELECT disable_data_key({key_id})")
        rows(admin, "ALTER ROLE limits_subscriber NOSUPERUSER")
        assert rows(admin, "SELECT makes_keys, subscriptions FROM key_node_status()") == [(True, [])]
        rows(admin, f"SELECT disable_data_key({key_id})")
        rows(admin, "SELECT create_data_key('after')")
    finally:
        admin.execute("ROLLBACK")
        # From PostgreSQL 17 on, a subscription of a role that is no superuser can only be dropped with a password.
        rows(admin, "ALTER ROLE limits_subscriber SUPERUSER")
        rows(admin, "DROP SUBSCRIPTION IF EXISTS forged")
        rows(admin, "DROP ROLE limits_subscriber")
