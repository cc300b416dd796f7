"""The walls between users with key pairs: none keeps others from sharing keys, or from their own pairs."""

from collections.abc import Iterator

import pytest
import walls_database
from conftest import Connection, rows, value
from psycopg import errors
from walls_database import Database, run

server = walls_database.server
database = walls_database.database
superuser = walls_database.superuser

MESSAGE = """
    CREATE FUNCTION public.message(secret text) RETURNS bytea LANGUAGE sql VOLATILE AS $$
        SELECT pgkeymgr.crypto_box_seal(challenge || int4send(octet_length(secret)) || secret::bytea, public)
        FROM (SELECT * FROM pgkeymgr.exchange_offer() OFFSET 0) AS offer
    $$
"""
CREATE = "SELECT create_user_key(public.message('a passphrase'))"
ROTATE = "SELECT rotate_user_key(public.message('a passphrase'))"


@pytest.fixture
def user(database: Database, superuser: Connection) -> Iterator[Connection]:
    """A session of wall_user's, who has no pair."""
    run(superuser, MESSAGE, "GRANT pgkeymgr_user TO wall_user, wall_victim")
    with database.session("wall_user") as connection:
        yield connection


@pytest.fixture
def victim(database: Database, user: Connection) -> Iterator[Connection]:
    """A session of wall_victim's, who has a pair."""
    with database.session("wall_victim") as connection:
        run(connection, CREATE, "SET statement_timeout = '30s'")
        yield connection


def test_a_transaction_that_stays_open(superuser: Connection, user: Connection, victim: Connection) -> None:
    run(superuser, "SELECT create_data_key('k')", "SET lock_timeout = '1s'")
    run(user, "BEGIN", CREATE)
    run(superuser, "SELECT share_data_key('k', 'wall_victim')", "SELECT supersede_data_key('k')")
    run(victim, "SET lock_timeout = '1s'", ROTATE)
    run(user, "COMMIT", "BEGIN", ROTATE)
    run(victim, ROTATE)
    run(superuser, "SELECT unshare_data_key('k', 'wall_victim')", "SELECT share_data_key('k', 'wall_victim')")
    # This pair is not to be missed.
    with pytest.raises(errors.LockNotAvailable):
        rows(superuser, "SELECT share_data_key('k', 'wall_user')")
    run(user, "COMMIT")
    run(superuser, "SELECT share_data_key('k', 'wall_user')", "SELECT supersede_data_key('k')")
    run(superuser, "SELECT drop_root_wrap(id) FROM key WHERE name = 'k' ORDER BY id")
    for connection in (user, victim):
        run(connection, "BEGIN", "SELECT unlock_user_key(public.message('a passphrase'))")
        assert value(connection, "SELECT token_decrypt_text(token_encrypt_text('k', 'x'))") == "x"
        run(connection, "COMMIT")
