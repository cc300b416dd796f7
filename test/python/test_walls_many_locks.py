"""A role that keeps many encrypted tables locked, and the statements of others."""

import walls_database
from conftest import Connection, rows
from walls_database import run

server = walls_database.server
database = walls_database.database
superuser = walls_database.superuser
owner = walls_database.owner

TABLES = 8


def test_many_tables_of_another_role_are_locked(owner: Connection, superuser: Connection) -> None:
    """A statement waits a second for all of them together, and not a second for each."""
    for number in range(TABLES):
        run(owner, f"CREATE TABLE w{number} (id integer PRIMARY KEY, s text CHECK (pg_catalog.length(s) > 0))")
        run(superuser, f"SELECT encrypt_column('w{number}', 's')")
        run(owner, f"CREATE VIEW v{number} AS SELECT * FROM w{number}")
    run(superuser, "CREATE TABLE public.other (a integer, b integer)")
    owner.execute("BEGIN")
    for number in range(TABLES):
        rows(owner, f"LOCK TABLE w{number}_encrypted, w{number}, v{number} IN ACCESS EXCLUSIVE MODE")
    superuser.execute("SET statement_timeout = '5s'")
    run(superuser, "ALTER TABLE public.other DROP COLUMN b")
    assert rows(superuser, "SHOW lock_timeout") == [("0",)]
    owner.execute("ROLLBACK")
