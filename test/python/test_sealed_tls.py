"""Sealed secrets over TLS, and over connections that are neither TLS nor a Unix socket."""

import contextlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from certificates import make_ca, make_certificate
from cluster import Cluster
from conftest import Connection, rows, value
from pgkeymgr.sealed.message import check_offer
from psycopg import errors
from sealed_session import call, fingerprint_of, offer_to, passphrase_key


def free_port() -> int:
    """Return a TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Path]]:
    """A server that speaks TLS on 127.0.0.1, and the directory with two authorities: its own, and another one."""
    directory = tmp_path_factory.mktemp("tls")
    for name in ("ca", "wrong"):
        make_ca(directory, name)
    make_certificate(directory, "server", "subjectAltName = DNS:localhost")
    with Cluster(settings={"listen_addresses": "127.0.0.1"}, port=free_port()) as running:
        for name in ("server.key", "server.crt"):
            copy = running.data / name
            copy.write_bytes((directory / name).read_bytes())
            copy.chmod(0o600)
            running.give_to_server(copy)
        running.configure({"ssl": "on"})
        (running.data / "pg_hba.conf").write_text(
            "local all all trust\nhostssl all all 127.0.0.1/32 trust\nhostnossl all all 127.0.0.1/32 trust\n"
        )
        running.stop()
        running.start()
        running.create_database("test")
        with running.connect("test") as connection:
            connection.execute("CREATE ROLE alice LOGIN IN ROLE pgkeymgr_user")
            connection.execute("SET search_path = pgkeymgr")
            passphrase_key(connection)
        yield running, directory


@contextlib.contextmanager
def over_tcp(tls: tuple[Cluster, Path], ca: str = "ca", **more: str) -> Iterator[Connection]:
    """Connect as alice over TCP; by default with TLS and everything verified."""
    cluster, directory = tls
    options = {
        "host": "localhost",
        "hostaddr": "127.0.0.1",
        "port": str(cluster.port),
        "dbname": "test",
        "user": "alice",
        "sslmode": "verify-full",
        "sslrootcert": str(directory / f"{ca}.crt"),
        "options": "-c search_path=public,pgkeymgr",
    }
    connection: Connection = psycopg.connect(**{**options, **more}, autocommit=True)  # type: ignore[arg-type]
    try:
        yield connection
    finally:
        connection.close()


PLAIN = pytest.raises(errors.InvalidAuthorizationSpecification, match="neither TLS nor a Unix socket")
SEALED_CALLS = (
    "unlock_data_key('k', '\\x00')",
    "unlock_user_key('\\x00')",
    "change_passphrase('k', '\\x00')",
    "create_user_key('\\x00')",
    "change_user_passphrase('\\x00')",
    "rotate_user_key('\\x00')",
)


def test_over_tls(tls: tuple[Cluster, Path]) -> None:
    with over_tcp(tls) as connection:
        assert connection.info.host == "localhost"
        assert rows(connection, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == [(True,)]
        check_offer(offer_to(connection), fingerprint_of(connection))
        call(connection, "SELECT unlock_data_key('k', %s)", "first")
        assert value(connection, "SELECT token_decrypt_text(token_encrypt_text('k', 'x'))") == "x"
    # The trail says from where.
    with tls[0].connect("test") as connection:
        (client,) = rows(
            connection, "SELECT client FROM pgkeymgr.key_events WHERE event = 'unlock' AND role = 'alice'"
        )
        assert re.fullmatch(r"127\.0\.0\.1:\d+", client[0])


def test_over_plain_tcp(tls: tuple[Cluster, Path]) -> None:
    """Refused, whatever the session sets; only who owns the database may allow it."""
    with over_tcp(tls, sslmode="disable") as connection:
        assert rows(connection, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == [(False,)]
        for setting in ("on", "off"):
            rows(connection, f"SET pgkeymgr.allow_plain_connections = {setting}")
            for refused in ("exchange_offer()", *SEALED_CALLS):
                with PLAIN as error:
                    rows(connection, f"SELECT {refused}")
                assert error.value.diag.message_hint == "Connect with sslmode=verify-full."
    options = "-c search_path=public,pgkeymgr -c pgkeymgr.allow_plain_connections=on"
    with over_tcp(tls, sslmode="disable", options=options) as connection, PLAIN:
        offer_to(connection)
    with tls[0].connect("test") as owner:
        owner.execute("ALTER ROLE alice SET pgkeymgr.allow_plain_connections = on")
        try:
            with over_tcp(tls, sslmode="disable") as connection, PLAIN:
                offer_to(connection)
        finally:
            owner.execute("ALTER ROLE alice RESET pgkeymgr.allow_plain_connections")
        owner.execute("ALTER DATABASE test SET pgkeymgr.allow_plain_connections = on")
        try:
            with over_tcp(tls, sslmode="disable") as connection:
                call(connection, "SELECT unlock_data_key('k', %s)", "first")
                assert value(connection, "SELECT token_decrypt_text(token_encrypt_text('k', 'x'))") == "x"
        finally:
            owner.execute("ALTER DATABASE test RESET pgkeymgr.allow_plain_connections")
    with over_tcp(tls, sslmode="disable") as connection, PLAIN:
        offer_to(connection)


def test_a_server_with_another_certificate(tls: tuple[Cluster, Path]) -> None:
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"), over_tcp(tls, ca="wrong"):
        pass
    with pytest.raises(psycopg.OperationalError, match="does not match host name"), over_tcp(tls, host="other"):
        pass
