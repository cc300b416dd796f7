"""The turns of procedures on a column: no other role can take one, as it can an advisory lock."""

import pytest
import walls_database
from conftest import Connection, rows, value
from psycopg import errors
from walls_database import Database, make_encrypted, run

server = walls_database.server
database = walls_database.database
superuser = walls_database.superuser
owner = walls_database.owner


def test_an_advisory_lock_keeps_no_procedure_waiting(
    database: Database, owner: Connection, superuser: Connection
) -> None:
    make_encrypted(owner, superuser)
    with database.session("wall_user") as other:
        # The lock that the procedures took once; its number has never been a secret.
        rows(
            other, "SELECT pg_advisory_lock(hashtext('pgkeymgr encrypted_column'), i) FROM generate_series(1, 9) i"
        )
        rows(superuser, "SET statement_timeout = '60s'")
        rows(superuser, "CALL rotate_column('own.t', 's')")
        for taking in (
            "INSERT INTO pgkeymgr.column_turn VALUES (1)",
            "SELECT FROM pgkeymgr.column_turn FOR UPDATE",
        ):
            with pytest.raises(errors.InsufficientPrivilege):
                run(other, taking)
    assert rows(superuser, "SELECT s FROM own.t") == [("x",)]


def test_the_row_of_a_column_is_its_turn(database: Database, owner: Connection, superuser: Connection) -> None:
    make_encrypted(owner, superuser)
    number = value(superuser, "SELECT id FROM encrypted_column")
    with database.session() as other:
        run(other, "BEGIN", f"SELECT FROM column_turn WHERE column_id = {number} FOR UPDATE")
        rows(superuser, "SET lock_timeout = '50ms'")
        with pytest.raises(errors.LockNotAvailable):
            rows(superuser, "CALL rotate_column('own.t', 's')")
        # It is unlogged: a crash or a promotion empties it.
        run(other, "COMMIT", "TRUNCATE column_turn")
    rows(superuser, "RESET lock_timeout")
    rows(superuser, "CALL rotate_column('own.t', 's')")
    assert rows(superuser, "SELECT column_id FROM column_turn") == [(number,)]
