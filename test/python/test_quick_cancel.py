"""Cancels and timeouts while a session looks for changes of the keys."""

import column_database
import pytest
from column_database import make_customer
from conftest import Connection, rows
from database_session import Database
from psycopg import errors

server = column_database.server
database = column_database.database
admin = column_database.admin


@pytest.mark.parametrize("read", ["SELECT ssn FROM customer WHERE id = 1", "SELECT token_decrypt_text({token})"])
def test_a_timeout_is_not_lost(database: Database, admin: Connection, read: str) -> None:
    """PostgreSQL reports it once: the statement must not begin again without it."""
    make_customer(admin)
    (token,) = rows(admin, "SELECT quote_literal(token_encrypt_text('public.customer.ssn', 'x')) || '::bytea'")[0]
    read = read.format(token=token)
    rows(admin, read)
    with database.session() as other:
        admin.execute("BEGIN")
        rows(admin, read)
        other.execute("BEGIN; LOCK TABLE pgkeymgr.key_event_turn IN ACCESS EXCLUSIVE MODE")
        # The other session lets the lock go after ten seconds, so that a lost timeout is a result, and no hang.
        other.execute("SET idle_in_transaction_session_timeout = '10s'")
        rows(admin, "SET LOCAL statement_timeout = '1s'")
        with pytest.raises(errors.QueryCanceled):
            rows(admin, read)
        admin.execute("ROLLBACK")
