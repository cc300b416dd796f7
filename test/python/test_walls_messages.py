"""The settings for messages that any role can set: the server may raise an error after each message."""

import contextlib

import pytest
import walls_database
from conftest import Connection, rows, value
from psycopg import errors
from walls_database import Database, run

server = walls_database.server
database = walls_database.database
superuser = walls_database.superuser

CANCELED = "CASE WHEN pg_cancel_backend(pg_backend_pid()) THEN '{}' END"
"""A value whose computation cancels the statement, which the server notices when it next looks."""


@pytest.mark.parametrize("level", ["debug4", "debug5"])
def test_a_cancel_during_a_message_does_not_end_the_server(
    database: Database, superuser: Connection, level: str
) -> None:
    run(
        superuser,
        "SELECT create_data_key('k')",
        "SELECT grant_data_key('k', 'wall_user')",
        "GRANT pgkeymgr_user TO wall_user",
    )
    name = CANCELED.format("k")
    calls = (
        f"token_encrypt_text({name}, 'x')",
        f"token_decrypt_text(token_encrypt_text('k', 'x' || {name}))",
        f"blind_index('pg_class', 'a', {name})",
        f"_key_by(1, {name})",
        f"upsert('pg_class', jsonb_build_object('oid', {name}))",
    )
    with database.session("wall_user") as user:
        rows(user, f"SET client_min_messages = {level}")
        for call in calls:
            # The next query of the call may be the first that notices it, or the end of the statement.
            with contextlib.suppress(errors.QueryCanceled, errors.InsufficientPrivilege, errors.UndefinedObject):
                rows(user, f"SELECT pgkeymgr.{call}")
            assert value(user, "SELECT pgkeymgr.token_decrypt_text(pgkeymgr.token_encrypt_text('k', 'x'))") == "x"
        assert value(user, "SHOW client_min_messages") == "debug4"
    assert value(superuser, "SELECT 1") == 1


def test_a_cancel_while_a_message_is_sent_keeps_its_sqlstate(superuser: Connection) -> None:
    """PL/Python raises an error of its own class then."""
    rows(superuser, "SELECT create_data_key('k')")
    with pytest.raises(errors.DatabaseError, match="canceling statement due to user request: 57014"):
        run(
            superuser,
            """DO $$
            import os, signal, sys
            module = sys.modules['pgkeymgr.backend.session']
            os.kill(os.getpid(), signal.SIGINT)
            try:
                module.Session('pgkeymgr').notice('x')
            except module.CanceledError as error:
                plpy.error(f"{error.message}: {error.sqlstate}")
            $$ LANGUAGE plpython3u""",
        )
