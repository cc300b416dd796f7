"""Unlocked keys in connection pools."""

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sealed_session
from conftest import Connection, rows, value
from database_session import Database
from psycopg import errors
from sealed_session import LOCKED, STALE, call, decrypt, passphrase_key, sealed, token_of, user_pair
from waiting import wait_until

server = sealed_session.server
database = sealed_session.database
admin = sealed_session.admin


@contextlib.contextmanager
def pooled(database: Database, mode: str, reset: str) -> Iterator[Callable[[], Connection]]:
    """Run PgBouncer with one connection to the server for alice, over its Unix socket; give what connects."""
    cluster = database.server
    directory = cluster.directory / f"pool-{database.name}"
    directory.mkdir()
    cluster.give_to_server(directory)
    (directory / "users").write_text('"alice" ""\n')
    port = 6432
    (directory / "pgbouncer.ini").write_text(
        "[databases]\n"
        f"{database.name} = host={cluster.directory} port={cluster.port}\n"
        "[pgbouncer]\n"
        "listen_addr =\n"
        f"listen_port = {port}\n"
        f"unix_socket_dir = {directory}\n"
        "auth_type = trust\n"
        f"auth_file = {directory / 'users'}\n"
        f"pool_mode = {mode}\n"
        "default_pool_size = 1\n"
        f"server_reset_query = {reset}\n"
        "ignore_startup_parameters = extra_float_digits\n"
    )
    for file in directory.iterdir():
        cluster.give_to_server(file)

    def connect() -> Connection:
        return psycopg.connect(
            f"host={directory} port={port} dbname={database.name} user=alice",
            autocommit=True,
            prepare_threshold=None,
        )

    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program is not None
    who: dict[str, Any] = {}
    if os.geteuid() == 0:
        who = {"user": cluster.user, "group": cluster.user, "extra_groups": []}
    with (directory / "log").open("w") as log:
        pooler = subprocess.Popen(
            [program, directory / "pgbouncer.ini"], cwd=directory, stdout=log, stderr=log, **who
        )
        try:
            wait_until(lambda: listens(directory / f".s.PGSQL.{port}", pooler), "PgBouncer listens", 30)
            yield connect
        finally:
            pooler.terminate()
            pooler.wait()


def listens(path: Path, pooler: subprocess.Popen[bytes]) -> bool:
    """Return whether PgBouncer accepts connections; its socket is there a moment before."""
    assert pooler.poll() is None, (path.parent / "log").read_text()
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def pool_keys(database: Database, admin: Connection) -> dict[str, str]:
    """Make a key under a passphrase, and one that is shared to alice's key pair; return a token of each."""
    passphrase_key(admin)
    user_pair(admin, "mine")
    rows(admin, "SELECT create_data_key('u', wrap => 'user')")
    with database.session("alice") as alice:
        user_pair(alice, "alice's", unlock=False)
    rows(admin, "SELECT share_data_key('u', 'alice')")
    call(admin, "SELECT unlock_data_key('k', %s)", "first")
    return {key: decrypt(token_of(admin, key)).replace("token_", "pgkeymgr.token_") for key in ("k", "u")}


def pool_unlock(connection: Connection, more: str = "") -> None:
    """Unlock both."""
    call(connection, f"SELECT pgkeymgr.unlock_data_key('k', %s{more})", "first")
    call(connection, f"SELECT pgkeymgr.unlock_user_key(%s{more})", "alice's")


@pytest.mark.parametrize("reset", ["DISCARD ALL", "SELECT pgkeymgr.lock()", ""])
def test_a_pool_in_session_mode(database: Database, admin: Connection, reset: str) -> None:
    """The reset query locks the keys of one client before the next one comes; without it, they stay unlocked."""
    reads = pool_keys(database, admin)
    with pooled(database, "session", reset) as connect:
        with contextlib.closing(connect()) as first:
            pid = value(first, "SELECT pg_backend_pid()")
            pool_unlock(first)
            message = sealed(first, "first")
            assert [value(first, read) for read in reads.values()] == ["x", "x"]
            assert len(rows(first, "SELECT * FROM pgkeymgr.session_keyring")) == 2
        with contextlib.closing(connect()) as second:
            assert value(second, "SELECT pg_backend_pid()") == pid
            if reset:
                for read in reads.values():
                    with LOCKED:
                        rows(second, read)
                assert rows(second, "SELECT * FROM pgkeymgr.session_keyring") == []
            else:
                assert [value(second, read) for read in reads.values()] == ["x", "x"]
            if reset:
                # The first client's open offer, and the message that it did not send, are of no use any more.
                with STALE:
                    second.execute("SELECT pgkeymgr.unlock_data_key('k', %s)", (message,))
            pool_unlock(second)
            assert [value(second, read) for read in reads.values()] == ["x", "x"]


def test_an_ended_unlock_cannot_be_brought_back(database: Database, admin: Connection) -> None:
    """By a client that knows the marks of the one before it, on the same connection and as the same role."""
    passphrase_key(admin)
    call(admin, "SELECT unlock_data_key('k', %s)", "first")
    token = token_of(admin, "k")
    with database.session("alice") as alice:

        def brought_back(setting: str, mark: str) -> None:
            with pytest.raises(errors.InsufficientPrivilege, match="permission denied to set parameter"):
                rows(alice, f"SET {setting} = '{mark}'")
            with LOCKED:
                rows(alice, decrypt(token))

        # A setting from before pgkeymgr was loaded is no mark.
        rows(alice, "SET pgkeymgr.unlocked = 'known'")
        with alice.transaction():
            call(alice, "SELECT unlock_data_key('k', %s, true)", "first")
            assert value(alice, decrypt(token)) == "x"
            mark = value(alice, "SHOW pgkeymgr.unlocked_in_transaction")
        brought_back("pgkeymgr.unlocked_in_transaction", mark)
        call(alice, "SELECT unlock_data_key('k', %s)", "first")
        assert value(alice, decrypt(token)) == "x"
        mark = value(alice, "SHOW pgkeymgr.unlocked")
        assert "known" not in mark
        rows(alice, "DISCARD ALL")
        rows(alice, "SET search_path = public, pgkeymgr")
        brought_back("pgkeymgr.unlocked", mark)


def test_a_pool_in_transaction_mode(database: Database, admin: Connection) -> None:
    """An unlock for the transaction ends with it, though nothing resets the connection."""
    reads = pool_keys(database, admin)
    with (
        pooled(database, "transaction", "DISCARD ALL") as connect,
        contextlib.closing(connect()) as first,
        contextlib.closing(connect()) as second,
    ):
        for end in ("COMMIT", "ROLLBACK"):
            first.execute("BEGIN")
            pid = value(first, "SELECT pg_backend_pid()")
            pool_unlock(first, ", true")
            assert [value(first, read) for read in reads.values()] == ["x", "x"]
            assert rows(first, "SELECT kind, until FROM pgkeymgr.session_keyring ORDER BY 1") == [
                ("data key", "transaction"),
                ("user key", "transaction"),
            ]
            rows(first, end)
            for other in (second, first):
                assert value(other, "SELECT pg_backend_pid()") == pid
                for read in reads.values():
                    with LOCKED:
                        rows(other, read)
                assert rows(other, "SELECT * FROM pgkeymgr.session_keyring") == []
