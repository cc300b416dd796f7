"""Encrypted tables in every state, with known values, for tests that move a cluster or a copy of it elsewhere."""

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import psycopg
from waiting import wait_until

Connection = psycopg.Connection[tuple[Any, ...]]
Connect = Callable[[], Connection]
"""Opens a session of a superuser in a database that has the extension, in autocommit mode."""

ROWS = 1000
PASSPHRASE = "correct horse battery staple"
"""The passphrase of the key pair under which the table ``note`` is encrypted."""

_TABLES = {
    "person": "SELECT encrypt_column('person', 'secret')",
    "half": "SELECT encrypt_column('half', 'secret')",
    "turning": "SELECT encrypt_column('turning', 'secret')",
    "going": "SELECT encrypt_column('going', 'secret')",
    "tenant": "SELECT encrypt_column('tenant', 'secret', key_by => 'number')",
    "equal": "SELECT encrypt_column('equal', 'secret', deterministic => true)",
    "large": "SELECT encrypt_column('large', 'secret')",
    "parted": "SELECT encrypt_column('parted', 'secret')",
}


def make_tables(connect: Connect) -> None:
    """Make the tables. The operations on ``half``, ``turning`` and ``going`` are stopped at their last row.

    Args:
        connect: opens sessions whose search_path has the extension's schema.
    """
    with connect() as admin:
        for table, encrypt in _TABLES.items():
            size = 100 if table == "large" else 1
            create = f"CREATE TABLE {table} (id integer PRIMARY KEY, number integer, secret text)"
            if table == "parted":
                create += " PARTITION BY RANGE (id); CREATE TABLE parted_low PARTITION OF parted DEFAULT;"
                create += f"CREATE TABLE parted_high PARTITION OF parted FOR VALUES FROM (100) TO ({2 * ROWS})"
            admin.execute(create.encode())
            admin.execute(
                f"INSERT INTO {table} SELECT i, i % 7, repeat('{table} ' || i, {size})"
                f" FROM generate_series(1, {ROWS}) AS i".encode()
            )
            admin.execute(encrypt.encode())
            if table != "half":
                admin.execute(f"CALL migrate_column('{table}', 'secret')".encode())
        admin.execute("SELECT add_blind_index('person', 'secret', is_unique => true)")
    stop_partway(connect, "migrate", "half")
    stop_partway(connect, "rotate", "turning")
    stop_partway(connect, "decrypt", "going")


def make_users_table(connect: Connect) -> None:
    """Make the table ``note``, whose key only the user can unlock."""
    with connect() as user:
        unlock(user, create=True)
        user.execute("CREATE TABLE note (id integer PRIMARY KEY, number integer, secret text)")
        user.execute("SELECT create_data_key('personal', wrap => 'user')")
        user.execute("SELECT encrypt_column('note', 'secret', key => 'personal')")
        user.execute("INSERT INTO note VALUES (1, 1, 'note 1')")


def unlock(user: Connection, *, create: bool = False) -> None:
    """Unlock the key pair of the current user in a session, and make it first if it is to be created."""
    from pgkeymgr.client import Client, fetch_fingerprint

    client = Client(user, fetch_fingerprint(user))
    if create:
        client.create_user_key(PASSPHRASE)
    client.unlock_user_key(PASSPHRASE)


def expected(table: str) -> list[tuple[int, int, str]]:
    """Return the rows that ``make_tables`` put into a table."""
    size = 100 if table == "large" else 1
    return [(i, i % 7, f"{table} {i}" * size) for i in range(1, ROWS + 1)]


def check_tables(admin: Connection) -> None:
    """Check that every value of the tables is there, and that the blind index finds one."""
    for table in _TABLES:
        found = admin.execute(f"SELECT id, number, secret FROM {table} ORDER BY id".encode()).fetchall()
        assert found == expected(table), f"the values of {table} differ"
    search = "SELECT id FROM person WHERE secret_bidx = blind_index('person', 'secret', 'person 77')"
    assert admin.execute(search.encode()).fetchall() == [(77,)], "the blind index does not find its row"
    assert admin.execute("SELECT count(*) FROM verify_column('person', 'secret')").fetchall() == [(0,)]


def states(admin: Connection) -> dict[str, str]:
    """Return the states of the encrypted columns by the names of their tables."""
    found = admin.execute("SELECT relation::text, state::text FROM encrypted_columns").fetchall()
    return dict(found)


UNFINISHED = {"half": "migrating", "turning": "rotating", "going": "decrypting"}


def finish_operations(admin: Connection) -> None:
    """Let the stopped operations end, and write to the tables."""
    there = states(admin)
    assert {table: there[table] for table in UNFINISHED} == UNFINISHED, there
    for table, operation in (("half", "migrate"), ("turning", "rotate"), ("going", "decrypt")):
        admin.execute(f"CALL {operation}_column('{table}', 'secret')".encode())
    assert set(states(admin).values()) == {"encrypted"}
    check_tables(admin)
    for table in _TABLES:
        admin.execute(f"INSERT INTO {table} VALUES (0, 1, 'new')".encode())
        admin.execute(f"UPDATE {table} SET secret = 'newer' WHERE id = 0 AND secret = 'new'".encode())
        admin.execute(f"DELETE FROM {table} WHERE id = 0 AND secret = 'newer'".encode())
    check_tables(admin)


def stop_partway(connect: Connect, operation: str, table: str) -> None:
    """Cancel an operation when all but the last row of its table is done, since that row is locked.

    Args:
        connect: opens the sessions.
        operation: ``migrate``, ``rotate`` or ``decrypt``.
        table: one of the tables.
    """
    with connect() as holder, connect() as caller, connect() as watcher:

        def call() -> None:
            with contextlib.suppress(psycopg.errors.QueryCanceled):
                caller.execute(f"CALL {operation}_column('{table}', 'secret', 5)".encode())

        thread = threading.Thread(target=call)
        thread.start()
        progress = f"SELECT FROM column_progress WHERE relation = '{table}'::regclass AND rows_done >= "
        # The procedure takes a lock on the table before its first batch.
        wait_until(lambda: watcher.execute(f"{progress} 1".encode()).rowcount, f"the procedure on {table}")
        holder.execute("BEGIN")
        holder.execute(f"SELECT FROM {table}_encrypted WHERE id = {ROWS} FOR UPDATE".encode())
        wait_until(
            lambda: watcher.execute(f"{progress} {ROWS - 1}".encode()).rowcount, f"the last row but one of {table}"
        )
        watcher.execute("SELECT pg_cancel_backend(%s)", (caller.info.backend_pid,))
        thread.join()
        holder.execute("ROLLBACK")
