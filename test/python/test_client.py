"""pgkeymgr.client against a server: every call of both clients, in every mode of a connection."""

import asyncio
import contextlib
import socket
import threading
import unicodedata
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from cluster import PORT, Cluster
from conftest import value
from pgkeymgr.client import AsyncClient, Client, Key, fetch_fingerprint, fetch_fingerprint_async
from pgkeymgr.errors import ChallengeError, DataError, FingerprintError, ParameterError, UndefinedError
from psycopg import errors
from psycopg.rows import dict_row

PASSPHRASE = "correct horse battery staple"
Connection = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def pin(cluster: Cluster) -> str:
    """The fingerprint of the cluster's exchange key."""
    with cluster.connect("test") as connection:
        return fetch_fingerprint(connection)


@pytest.fixture
def session(cluster: Cluster) -> Iterator[Connection]:
    """A session whose search path does not have the extension's schema."""
    with cluster.connect("test") as connection:
        yield connection


@pytest.fixture
def client(session: Connection, pin: str) -> Client:
    """A client of that session."""
    return Client(session, pin)


@pytest.fixture
def key(session: Connection, request: pytest.FixtureRequest) -> str:
    """The name of a new data key, wrapped under the root key."""
    name: str = request.node.name
    value(session, f"SELECT pgkeymgr.create_data_key('{name}')")
    return name


def _token(session: Connection, key: Key, text: str = "kept") -> str:
    row = session.execute("SELECT pgkeymgr.token_encrypt_text(%s, %s)", [key, text]).fetchone()
    assert row
    token: bytes = row[0]
    return f"'\\x{token.hex()}'::bytea"


def _open(session: Connection, token: str) -> Any:
    return value(session, f"SELECT pgkeymgr.token_decrypt_text({token})")


def _require_passphrase(session: Connection, client: Client, key: Key) -> str:
    """Give a key a passphrase and take its root wrap; return a token of it."""
    token = _token(session, key)
    client.add_passphrase(key, PASSPHRASE)
    session.execute("SELECT pgkeymgr.drop_root_wrap(%s)", [key])
    client.lock()
    with pytest.raises(errors.ObjectNotInPrerequisiteState):
        _open(session, token)
    return token


def test_data_key(client: Client, session: Connection, key: str) -> None:
    token = _require_passphrase(session, client, key)
    with pytest.raises(errors.InvalidPassword):
        client.unlock_data_key(key, "incorrect")
    client.unlock_data_key(key, PASSPHRASE)
    assert _open(session, token) == "kept"

    client.change_passphrase(key, PASSPHRASE, b"another")
    client.lock()
    with pytest.raises(errors.InvalidPassword):
        client.unlock_data_key(key, PASSPHRASE)
    client.unlock_data_key(key, "another")

    new = client.supersede_data_key(key, "another")
    assert isinstance(new, int)
    client.lock()
    client.unlock_data_key(new, "another")
    later = _token(session, key, "later")
    assert value(session, f"SELECT key_id FROM pgkeymgr.token_info({later})") == new
    assert _open(session, later) == "later"


def test_by_id_and_for_a_transaction(client: Client, session: Connection, key: str) -> None:
    key_id = value(session, f"SELECT id FROM pgkeymgr.data_keys WHERE name = '{key}'")
    token = _require_passphrase(session, client, key_id)
    with session.transaction():
        client.unlock_data_key(key_id, PASSPHRASE, for_transaction=True)
        assert _open(session, token) == "kept"
    with pytest.raises(errors.ObjectNotInPrerequisiteState):
        _open(session, token)


def test_user_key(cluster: Cluster, session: Connection, pin: str) -> None:
    session.execute("CREATE ROLE ann LOGIN IN ROLE pgkeymgr_admin")
    session.execute("GRANT USAGE ON SCHEMA pgkeymgr TO ann")
    try:
        with cluster.connect("test", user="ann") as hers:
            client = Client(hers, pin)
            client.create_user_key(PASSPHRASE)
            client.unlock_user_key(PASSPHRASE)
            value(hers, "SELECT pgkeymgr.create_data_key('hers', wrap => 'user')")
            token = _token(hers, "hers")
            client.lock()
            with pytest.raises(errors.ObjectNotInPrerequisiteState):
                _open(hers, token)
            client.change_user_passphrase(PASSPHRASE, "another")
            with pytest.raises(errors.InvalidPassword):
                client.unlock_user_key(PASSPHRASE)
            with hers.transaction():
                client.unlock_user_key("another", for_transaction=True)
                assert _open(hers, token) == "kept"
            client.rotate_user_key("another")
            client.unlock_user_key("another")
            assert _open(hers, token) == "kept"
            client.rotate_user_key("another", "third")
            client.lock()
            client.unlock_user_key("third")
            assert _open(hers, token) == "kept"
            hers.execute("SELECT pgkeymgr.destroy_data_key(id, name) FROM pgkeymgr.data_keys WHERE name = 'hers'")
    finally:
        session.execute("REASSIGN OWNED BY ann TO postgres")
        session.execute("DROP OWNED BY ann")
        session.execute("DROP ROLE ann")


def test_import_and_export(client: Client, session: Connection) -> None:
    secret = bytes(range(246, 256)) * 3 + b"\n\n"
    expires = datetime.now(UTC) + timedelta(days=1)
    key_id = client.import_data_key("brought", secret, expires, "from elsewhere")
    row = session.execute(
        "SELECT name, expires, comment FROM pgkeymgr.data_keys WHERE id = %s", [key_id]
    ).fetchone()
    assert row == ("brought", expires, "from elsewhere")
    assert client.export_data_key("brought") == client.export_data_key(key_id) == secret

    locked = client.import_data_key("brought too", secret, wrap="passphrase", passphrase=PASSPHRASE)
    client.lock()
    with pytest.raises(errors.ObjectNotInPrerequisiteState):
        client.export_data_key(locked)
    client.unlock_data_key("brought too", PASSPHRASE)
    assert client.export_data_key(locked) == secret


def test_the_same_passphrase_typed_on_another_system(client: Client, key: str) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Cafébär") for form in ("NFC", "NFD"))
    assert composed != decomposed
    client.add_passphrase(key, decomposed)
    client.unlock_data_key(key, composed)
    client.unlock_data_key(key, composed.encode())


def test_nothing_secret_in_the_log(cluster: Cluster, client: Client, session: Connection, key: str) -> None:
    for setting in ("log_statement = 'all'", "log_min_duration_statement = 0", "log_error_verbosity = 'verbose'"):
        session.execute(f"SET {setting}")
    client.add_passphrase(key, "hunter2hunter2")
    with pytest.raises(errors.InvalidPassword) as refused:
        client.unlock_data_key(key, "hunter3hunter3")
    with pytest.raises(errors.Error):
        client.unlock_data_key("no such key", "hunter2hunter2")
    secret = b"hunter4hunter4hunter4"
    client.import_data_key(f"{key} too", secret)
    assert client.export_data_key(f"{key} too") == secret
    log = cluster.log
    assert "unlock_data_key" in log
    for text in (log, repr(refused.value), repr(client), repr(vars(client))):
        assert "hunter" not in text
        assert b"hunter".hex() not in text


def _last_query(cluster: Cluster, session: Connection) -> str:
    with cluster.connect("test") as other:
        return str(value(other, f"SELECT query FROM pg_stat_activity WHERE pid = {session.info.backend_pid}"))


def test_another_server(cluster: Cluster, session: Connection, key: str) -> None:
    """Nothing is sent to it."""
    client = Client(session, "0" * 64)
    with pytest.raises(FingerprintError, match="and the pinned one is 0000") as refused:
        client.add_passphrase(key, "hunter2")
    assert "hunter2" not in repr(refused.value) + str(refused.value)
    assert "exchange_offer" in _last_query(cluster, session)


@pytest.mark.parametrize("pinned", ["", "0" * 63, "x" * 64, None])
def test_a_pin_is_needed(session: Connection, pinned: Any) -> None:
    with pytest.raises(ParameterError, match="64 hexadecimal digits"):
        Client(session, pinned)


def test_a_value_that_is_no_secret_is_refused(cluster: Cluster, client: Client, session: Connection) -> None:
    session.execute("SELECT 'before'")
    wrong: Any
    for wrong in (None, 7, "hunter2\udc80"):
        with pytest.raises(DataError) as refused:
            client.unlock_data_key("any", wrong)
        assert "hunter2" not in str(refused.value)
    wrong = "text" * 8
    with pytest.raises(DataError, match="must be bytes"):
        client.import_data_key("any", wrong)
    with pytest.raises(ParameterError, match="passphrase must be given"):
        client.import_data_key("any", b"k" * 32, wrap="passphrase")
    with pytest.raises(ParameterError, match="passphrase must be given"):
        client.import_data_key("any", b"k" * 32, passphrase=PASSPHRASE)
    assert _last_query(cluster, session) == "SELECT 'before'"


def test_without_the_extension(cluster: Cluster) -> None:
    with cluster.connect() as connection:
        with pytest.raises(UndefinedError, match="does not exist in this database"):
            fetch_fingerprint(connection)
        with pytest.raises(UndefinedError, match="does not exist in this database"):
            Client(connection, "0" * 64).lock()


@pytest.mark.parametrize("autocommit", [True, False])
@pytest.mark.parametrize("prepare_threshold", [0, 5, None])
@pytest.mark.parametrize("cursor_factory", [psycopg.Cursor, psycopg.ClientCursor, psycopg.RawCursor])
def test_any_connection(
    cluster: Cluster, pin: str, autocommit: bool, prepare_threshold: int | None, cursor_factory: Any
) -> None:
    """Its factories do not matter, nor whether it is in a transaction."""
    with psycopg.connect(
        cluster.dsn("test"),
        autocommit=autocommit,
        prepare_threshold=prepare_threshold,
        cursor_factory=cursor_factory,
        row_factory=dict_row,
    ) as connection:
        client = Client(connection, pin)
        assert fetch_fingerprint(connection) == pin
        secret = b"k" * 32
        for _ in range(3):
            key_id = client.import_data_key("temporary", secret)
            assert client.export_data_key(key_id) == secret
            assert connection.info.transaction_status == (
                psycopg.pq.TransactionStatus.IDLE if autocommit else psycopg.pq.TransactionStatus.INTRANS
            )
            if autocommit:
                connection.execute(f"SELECT pgkeymgr.destroy_data_key({key_id}, 'temporary')".encode())
            else:
                connection.rollback()
        # An error leaves both of them usable.
        with pytest.raises(errors.UndefinedObject):
            client.export_data_key("no such key")
        connection.rollback()
        with connection.pipeline():
            key_id = client.import_data_key("temporary", secret)
            assert client.export_data_key(key_id) == secret
            connection.execute(f"SELECT pgkeymgr.destroy_data_key({key_id}, 'temporary')".encode())


def test_any_schema(cluster: Cluster) -> None:
    schema = "Mein Schlüssel %s"
    with cluster.connect() as connection:
        connection.execute("CREATE DATABASE elsewhere")
    try:
        with cluster.connect("elsewhere") as connection:
            quoted = psycopg.sql.Identifier(schema).as_string(connection)
            connection.execute(f"CREATE SCHEMA {quoted}".encode())
            connection.execute(f"CREATE EXTENSION pgkeymgr SCHEMA {quoted} CASCADE".encode())
            # Somebody's namesakes, first in the search path.
            connection.execute("CREATE FUNCTION public.exchange_offer() RETURNS text LANGUAGE sql AS 'SELECT 1/0'")
            for encoding in ("UTF8", "LATIN1"):
                connection.execute(f"SET client_encoding = {encoding}")
                client = Client(connection, fetch_fingerprint(connection))
                assert client.export_data_key(client.import_data_key(encoding, b"k" * 32)) == b"k" * 32
    finally:
        with cluster.connect() as connection:
            connection.execute("DROP DATABASE elsewhere")


def test_without_an_encoding(session: Connection, pin: str) -> None:
    """There psycopg gives bytes for text."""
    session.execute("SET client_encoding = SQL_ASCII")
    assert fetch_fingerprint(session) == pin
    Client(session, pin).lock()


@contextlib.contextmanager
def _forwarded(cluster: Cluster) -> Iterator[int]:
    """Forward a TCP port of this machine, in the clear, to the cluster's socket; yield the port."""

    def copy(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor() as pool:

        def serve() -> None:
            near, _ = listener.accept()
            far = socket.socket(socket.AF_UNIX)
            far.connect(f"{cluster.directory}/.s.PGSQL.{PORT}")
            with near, far, ThreadPoolExecutor() as copying:
                copying.submit(copy, near, far)
                copying.submit(copy, far, near)

        pool.submit(serve)
        yield listener.getsockname()[1]


@pytest.mark.parametrize("more", ["", " hostaddr=127.0.0.1"])
def test_in_the_clear(cluster: Cluster, pin: str, more: str) -> None:
    """The client refuses by itself: here the server sees a Unix socket, as behind a proxy."""
    host = cluster.directory if more else "127.0.0.1"
    with (
        _forwarded(cluster) as port,
        psycopg.connect(
            f"host={host} port={port} dbname=test user=postgres sslmode=disable{more}", autocommit=True
        ) as connection,
    ):
        connection.execute("SELECT 'before'")
        client = Client(connection, pin)
        for call in (
            lambda: client.unlock_data_key("any", PASSPHRASE),
            lambda: client.create_user_key(PASSPHRASE),
            lambda: client.export_data_key("any"),
        ):
            with pytest.raises(ChallengeError, match="neither TLS nor a Unix socket") as refused:
                call()
            assert PASSPHRASE not in str(refused.value)
        assert _last_query(cluster, connection) == "SELECT 'before'"
        client.lock()
        allowed = Client(connection, pin, allow_plain=True)
        assert allowed.export_data_key(allowed.import_data_key(f"plain{more}", b"k" * 32)) == b"k" * 32


def test_threads_share_a_client(client: Client) -> None:
    """No offer gets between another thread's offer and its message."""
    with ThreadPoolExecutor(8) as pool:
        barrier = threading.Barrier(8)

        def work(number: int) -> bytes:
            barrier.wait()
            return client.export_data_key(client.import_data_key(f"thread {number}", bytes([number]) * 32))

        assert list(pool.map(work, range(8))) == [bytes([number]) * 32 for number in range(8)]


def test_async(cluster: Cluster, session: Connection, pin: str, key: str) -> None:
    """The same calls, awaited; two tasks at a time."""
    token = _token(session, key)

    @contextlib.asynccontextmanager
    async def connected(user: str = "postgres") -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        connection = await psycopg.AsyncConnection.connect(
            cluster.dsn("test", user), autocommit=True, row_factory=dict_row
        )
        async with connection:
            yield connection

    async def work() -> None:
        async with connected() as connection:
            assert await fetch_fingerprint_async(connection) == pin
            with pytest.raises(FingerprintError):
                await AsyncClient(connection, "0" * 64).add_passphrase(key, PASSPHRASE)
            client = AsyncClient(connection, pin)
            await client.add_passphrase(key, PASSPHRASE)
            await connection.execute("SELECT pgkeymgr.drop_root_wrap(%s)", [key])
            await client.change_passphrase(key, PASSPHRASE, "another")
            await client.lock()
            with pytest.raises(errors.InvalidPassword):
                await client.unlock_data_key(key, PASSPHRASE)
            async with connection.transaction():
                await client.unlock_data_key(key, "another", for_transaction=True)
                cursor = await connection.execute(f"SELECT pgkeymgr.token_decrypt_text({token}) AS text")
                assert await cursor.fetchone() == {"text": "kept"}
            await client.supersede_data_key(key, "another")
            ids = await asyncio.gather(
                *(client.import_data_key(f"task {number}", bytes([number]) * 32) for number in range(4))
            )
            exported = await asyncio.gather(*(client.export_data_key(key_id) for key_id in ids))
            assert exported == [bytes([number]) * 32 for number in range(4)]
        async with connected("bea") as hers:
            client = AsyncClient(hers, pin)
            await client.create_user_key(PASSPHRASE)
            await client.change_user_passphrase(PASSPHRASE, "another")
            await client.rotate_user_key("another")
            await client.unlock_user_key("another")
            await client.lock()

    session.execute("CREATE ROLE bea LOGIN IN ROLE pgkeymgr_user")
    session.execute("GRANT USAGE ON SCHEMA pgkeymgr TO bea")
    try:
        asyncio.run(work())
    finally:
        session.execute("DROP OWNED BY bea")
        session.execute("DROP ROLE bea")
