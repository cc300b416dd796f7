"""Clients for psycopg 3 that send secrets sealed. A method calls the SQL function of the same name.

    client = Client(connection, fingerprint)
    client.unlock_data_key("customers", getpass("Passphrase: "))

Each method asks the server for an offer, checks that the pinned server has signed the offer, seals the secrets to
it, and sends only the sealed message: see ``sealed/message.py``. A copy of that message, from the network or from
the server's log, opens nothing.

The clients commit nothing. Unless the connection is in autocommit mode, the first call begins a transaction, as
every statement of psycopg does. A rollback of that transaction undoes the calls, and locks again the keys that
they unlocked.

Install ``pgkeymgr[client]``, which includes psycopg.
"""

import asyncio
import re
import threading
from collections.abc import Generator, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import psycopg
from nacl import bindings
from nacl.exceptions import CryptoError
from psycopg import sql
from psycopg.rows import tuple_row

from .errors import ChallengeError, DataError, ParameterError, UndefinedError, not_authentic
from .sealed.message import Offer, seal
from .sealed.typed import secret_bytes

Key = str | int
"""The name or the id of a data key."""

Secret = str | bytes
"""A passphrase, as text or as UTF-8. Text is normalized to NFC (``sealed/typed.py`` says why), UTF-8 is not."""

_T = TypeVar("_T")
_Row = tuple[Any, ...]


class _Statement(NamedTuple):
    query: sql.SQL | sql.Composed
    parameters: Sequence[Any] = ()


_Steps = Generator[_Statement, _Row, _T]
"""A generator that yields statements, receives the row of each, and returns the result of the call.

The same generator serves both clients: one of them runs the statements, the other awaits them.
"""


class _Argument(NamedTuple):
    name: str
    type: str
    value: Any


class _Calls:
    """The methods that both clients have, each as a generator of statements that it does not run itself.

    Args:
        connection: a connection to a database that has the extension.
        fingerprint: see ``Client``.
        allow_plain: see ``Client``.
    """

    def __init__(
        self, connection: psycopg.BaseConnection[Any], fingerprint: str, allow_plain: bool = False
    ) -> None:
        # Reject malformed pins here; otherwise they would be reported as a possible attack.
        if not isinstance(fingerprint, str) or not re.fullmatch(
            r"[0-9A-Fa-f]{64}", re.sub("[: ]", "", fingerprint)
        ):
            raise ParameterError(
                "a fingerprint must be 64 hexadecimal digits",
                hint="The server's administrator gets it from exchange_fingerprint().",
            )
        self._connection = connection
        self._fingerprint = fingerprint
        self._allow_plain = allow_plain
        self._schema: sql.Identifier | None = None

    def _require_confidential(self) -> None:
        info = self._connection.info
        # With an address the connection is TCP, even if the host is a path: libpq then uses the path only as a
        # name.
        is_socket = not info.hostaddr and info.host.startswith(("/", "@"))
        if not (self._allow_plain or is_socket or self._connection.pgconn.ssl_in_use):
            raise ChallengeError(
                "the connection is neither TLS nor a Unix socket: nothing was sent",
                hint="Connect with sslmode=verify-full. If the network is confidential, pass allow_plain=True.",
            )

    def _call(self, function: str, *arguments: _Argument) -> _Steps[Any]:
        if self._schema is None:
            self._schema = yield from _find_schema()
        placeholders = [
            sql.SQL("{} => {}::{}").format(
                sql.Identifier(argument.name), sql.Placeholder(), sql.Identifier("pg_catalog", argument.type)
            )
            for argument in arguments
        ]
        row = yield _Statement(
            sql.SQL("SELECT {}.{}({})").format(
                self._schema, sql.Identifier(function), sql.SQL(", ").join(placeholders)
            ),
            [argument.value for argument in arguments],
        )
        return row[0]

    def _sealed(self, function: str, secrets: Sequence[Secret], *arguments: _Argument) -> _Steps[Any]:
        packed = [secret_bytes(secret) for secret in secrets]
        self._require_confidential()
        if self._schema is None:
            self._schema = yield from _find_schema()
        row = yield _Statement(
            sql.SQL("SELECT public, challenge, server_key, signature FROM {}.exchange_offer()").format(
                self._schema
            )
        )
        if not all(isinstance(part, bytes) for part in row):
            raise DataError("exchange_offer() did not return an offer")
        message = seal(Offer(*row), self._fingerprint, packed)
        return (yield from self._call(function, *arguments, _Argument("sealed", "bytea", message)))

    def add_passphrase(self, key: Key, passphrase: Secret) -> _Steps[None]:
        yield from self._sealed("add_passphrase", [passphrase], _key(key))

    def unlock_data_key(self, key: Key, passphrase: Secret, *, for_transaction: bool) -> _Steps[None]:
        yield from self._sealed("unlock_data_key", [passphrase], _key(key), _for_transaction(for_transaction))

    def change_passphrase(self, key: Key, old: Secret, new: Secret) -> _Steps[None]:
        yield from self._sealed("change_passphrase", [old, new], _key(key))

    def supersede_data_key(self, key: Key, passphrase: Secret) -> _Steps[int]:
        return int((yield from self._sealed("supersede_data_key", [passphrase], _key(key))))

    def import_data_key(
        self,
        name: str,
        secret: bytes,
        expires: datetime | None,
        comment: str | None,
        wrap: str,
        passphrase: Secret | None,
        key_id: int | None,
        key_uuid: UUID | None,
    ) -> _Steps[int]:
        # A text would be normalized, which would change the key.
        if not isinstance(secret, bytes):
            raise DataError(f"the secret must be bytes, not {type(secret).__name__}")
        if (passphrase is not None) != (wrap == "passphrase"):
            raise ParameterError("a passphrase must be given if wrap is 'passphrase', and only then")
        return int(
            (
                yield from self._sealed(
                    "import_data_key",
                    [secret] if passphrase is None else [secret, passphrase],
                    _Argument("name", "text", name),
                    _Argument("expires", "timestamptz", expires),
                    _Argument("comment", "text", comment),
                    _Argument("wrap", "text", wrap),
                    _Argument("key_id", "int4", key_id),
                    _Argument("key_uuid", "uuid", key_uuid),
                )
            )
        )

    def export_data_key(self, key: Key) -> _Steps[bytes]:
        self._require_confidential()
        public, secret_key = bindings.crypto_box_keypair()
        exported = yield from self._call(
            "export_data_key", _key(key), _Argument("recipient_public", "bytea", public)
        )
        try:
            return bindings.crypto_box_seal_open(exported, public, secret_key)
        except (CryptoError, ValueError, TypeError):
            raise not_authentic("the exported key") from None

    def create_user_key(self, passphrase: Secret) -> _Steps[None]:
        yield from self._sealed("create_user_key", [passphrase])

    def unlock_user_key(self, passphrase: Secret, *, for_transaction: bool) -> _Steps[None]:
        yield from self._sealed("unlock_user_key", [passphrase], _for_transaction(for_transaction))

    def change_user_passphrase(self, old: Secret, new: Secret) -> _Steps[None]:
        yield from self._sealed("change_user_passphrase", [old, new])

    def rotate_user_key(self, passphrase: Secret, new_passphrase: Secret | None) -> _Steps[None]:
        secrets = [passphrase] if new_passphrase is None else [passphrase, new_passphrase]
        yield from self._sealed("rotate_user_key", secrets)

    def lock(self) -> _Steps[None]:
        yield from self._call("lock")


def _key(key: Key) -> _Argument:
    return _Argument("key", "int4" if isinstance(key, int) else "text", key)


def _for_transaction(value: bool) -> _Argument:
    return _Argument("for_transaction", "bool", value)


def _find_schema() -> _Steps[sql.Identifier]:
    # Through the search path, another user's function of the same name could be found.
    (schema,) = yield _Statement(
        sql.SQL(
            "SELECT (SELECT nspname::pg_catalog.text FROM pg_catalog.pg_extension"
            " JOIN pg_catalog.pg_namespace ON pg_namespace.oid OPERATOR(pg_catalog.=) extnamespace"
            " WHERE extname OPERATOR(pg_catalog.=) 'pgkeymgr')"
        )
    )
    if schema is None:
        raise UndefinedError(
            'extension "pgkeymgr" does not exist in this database', hint="Run CREATE EXTENSION pgkeymgr CASCADE."
        )
    # psycopg also looks for placeholders in names.
    return sql.Identifier(_text(schema).replace("%", "%%"))


def _text(value: str | bytes) -> str:
    # psycopg returns bytes if the client's encoding is SQL_ASCII.
    return value.decode() if isinstance(value, bytes) else value


def _fingerprint() -> _Steps[str]:
    schema = yield from _find_schema()
    (found,) = yield _Statement(sql.SQL("SELECT {}.exchange_fingerprint()").format(schema))
    return _text(found)


def _run(connection: psycopg.Connection[Any], steps: _Steps[_T]) -> _T:
    # The application may have set another class, placeholders and rows for connection.cursor().
    with psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        try:
            statement = next(steps)
            while True:
                cursor.execute(statement.query, statement.parameters)
                statement = steps.send(cursor.fetchone() or ())
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


async def _run_async(connection: psycopg.AsyncConnection[Any], steps: _Steps[_T]) -> _T:
    async with psycopg.AsyncCursor(connection, row_factory=tuple_row) as cursor:
        try:
            statement = next(steps)
            while True:
                await cursor.execute(statement.query, statement.parameters)
                statement = steps.send(await cursor.fetchone() or ())
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def fetch_fingerprint(connection: psycopg.Connection[Any]) -> str:
    """Return the fingerprint of the server's exchange key. Pin it from then on (trust on first use).

    An attacker between client and server could answer in the server's place. So call this once, over a connection
    that you trust: a Unix socket on the server's machine, or TLS with ``sslmode=verify-full``. Then keep the
    fingerprint with the application's settings. A client that fetches it for each connection pins nothing.

    The first call in a database creates the exchange key: commit its transaction.

    Args:
        connection: a connection to a database that has the extension.

    Returns:
        64 hexadecimal digits.

    Raises:
        UndefinedError: the database does not have the extension.
        psycopg.Error: the server refuses.
    """
    return _run(connection, _fingerprint())


async def fetch_fingerprint_async(connection: psycopg.AsyncConnection[Any]) -> str:
    """Return the fingerprint of the server's exchange key; call this only when ``fetch_fingerprint`` says so."""
    return await _run_async(connection, _fingerprint())


class Client:
    """Calls pgkeymgr's functions that have secrets as arguments, over a ``psycopg.Connection``.

    Each method raises the server's errors as psycopg's classes: ``InvalidPassword`` (28P01) for a wrong
    passphrase, ``InsufficientPrivilege``, ``UndefinedObject`` and so on. Before it seals or sends a secret, it
    raises

    - FingerprintError: the server does not have the pinned exchange key;
    - ChallengeError: the connection is neither TLS nor a Unix socket;
    - DataError: a secret is not text or bytes, or is too long;
    - UndefinedError: the database does not have the extension.

    No exception has a secret in it. Threads may share a client. Two clients of one connection may disturb each
    other, since each offer of a session replaces the previous offer.

    Args:
        connection: a connection to a database that has the extension. Its row and cursor factories do not matter.
        fingerprint: the fingerprint of the server's exchange key, 64 hexadecimal digits, from the server's
            administrator or from ``fetch_fingerprint``. It may contain colons and spaces.
        allow_plain: whether to use a connection that is neither TLS nor a Unix socket. By default, the server
            refuses such a connection as well.

    Raises:
        ParameterError: the fingerprint is not 64 hexadecimal digits.
    """

    def __init__(
        self, connection: psycopg.Connection[Any], fingerprint: str, *, allow_plain: bool = False
    ) -> None:
        self._connection = connection
        self._calls = _Calls(connection, fingerprint, allow_plain)
        # No other offer may be requested between an offer and its message.
        self._lock = threading.Lock()

    def _run(self, steps: _Steps[_T]) -> _T:
        with self._lock:
            return _run(self._connection, steps)

    def add_passphrase(self, key: Key, passphrase: Secret) -> None:
        """Wrap a data key under an additional passphrase.

        Args:
            key: the name or the id of the key.
            passphrase: the additional passphrase, at least one character.
        """
        self._run(self._calls.add_passphrase(key, passphrase))

    def unlock_data_key(self, key: Key, passphrase: Secret, *, for_transaction: bool = False) -> None:
        """Unlock a data key in this session with one of its passphrases.

        Args:
            key: the name or the id of the key.
            passphrase: a passphrase of the key.
            for_transaction: whether the key is locked again at the end of the transaction; by default, it stays
                unlocked until the session ends.
        """
        self._run(self._calls.unlock_data_key(key, passphrase, for_transaction=for_transaction))

    def change_passphrase(self, key: Key, old: Secret, new: Secret) -> None:
        """Change a data key's passphrase.

        Args:
            key: the name or the id of the key.
            old: the present passphrase.
            new: the new passphrase, at least one character.
        """
        self._run(self._calls.change_passphrase(key, old, new))

    def supersede_data_key(self, key: Key, passphrase: Secret) -> int:
        """Create a new version of a data key that has a passphrase.

        For a key without a passphrase this needs no secret: call the SQL function.

        Args:
            key: the name or the id of the key.
            passphrase: the passphrase of the key, under which the new version is wrapped as well.

        Returns:
            The id of the new version.
        """
        return self._run(self._calls.supersede_data_key(key, passphrase))

    def import_data_key(
        self,
        name: str,
        secret: bytes,
        expires: datetime | None = None,
        comment: str | None = None,
        wrap: str = "root",
        passphrase: Secret | None = None,
        key_id: int | None = None,
        key_uuid: UUID | None = None,
    ) -> int:
        """Create a data key from an existing secret.

        Args:
            name: the name of the new key.
            secret: the secret of the key, 16 to 64 bytes.
            expires: the time at which the key expires, or None. A time without a zone is in the session's zone.
            comment: a description of the key, or None.
            wrap: ``"root"`` for the root key, ``"user"`` for the key pair of the current role, or
                ``"passphrase"``.
            passphrase: the passphrase, which is required with ``wrap="passphrase"`` and refused without it.
            key_id: the id that the key has on another node, or None. Tokens have this id in them: they can be read
                wherever the key has the same one. The view ``data_keys`` shows it.
            key_uuid: the uuid of the key on the other node, or None.

        Returns:
            The id of the new key.

        Raises:
            ParameterError: the passphrase is missing, or was given without ``wrap="passphrase"``.
        """
        return self._run(
            self._calls.import_data_key(name, secret, expires, comment, wrap, passphrase, key_id, key_uuid)
        )

    def export_data_key(self, key: Key) -> bytes:
        """Return the secret of a data key. The server seals it to a key pair that is made for this call.

        So no log has the secret. An attacker between client and server could replace the key pair; only
        ``sslmode=verify-full`` or a Unix socket prevents this.

        Args:
            key: the name or the id of the key.

        Returns:
            The secret of the key, 16 to 64 bytes.
        """
        return self._run(self._calls.export_data_key(key))

    def create_user_key(self, passphrase: Secret) -> None:
        """Create the key pair of the current role.

        Args:
            passphrase: the passphrase that wraps the secret key, at least one character.
        """
        self._run(self._calls.create_user_key(passphrase))

    def unlock_user_key(self, passphrase: Secret, *, for_transaction: bool = False) -> None:
        """Unlock the key pair of the current role in this session, and with it the data keys shared with the role.

        Args:
            passphrase: the passphrase of the key pair.
            for_transaction: whether the pair is locked again at the end of the transaction; by default, it stays
                unlocked until the session ends.
        """
        self._run(self._calls.unlock_user_key(passphrase, for_transaction=for_transaction))

    def change_user_passphrase(self, old: Secret, new: Secret) -> None:
        """Change the passphrase of the current role's key pair.

        Args:
            old: the present passphrase.
            new: the new passphrase, at least one character.
        """
        self._run(self._calls.change_user_passphrase(old, new))

    def rotate_user_key(self, passphrase: Secret, new_passphrase: Secret | None = None) -> None:
        """Replace the key pair of the current role, and seal the shared data keys to the new pair.

        Args:
            passphrase: the present passphrase.
            new_passphrase: the passphrase of the new pair; None keeps the present passphrase.
        """
        self._run(self._calls.rotate_user_key(passphrase, new_passphrase))

    def lock(self) -> None:
        """Lock everything that is unlocked in this session."""
        self._run(self._calls.lock())


class AsyncClient:
    """The asynchronous twin of ``Client``, over a ``psycopg.AsyncConnection``.

    Tasks may share a client.

    Args:
        connection: a connection to a database that has the extension.
        fingerprint: as for ``Client``; or from ``fetch_fingerprint_async``.
        allow_plain: as for ``Client``.

    Raises:
        ParameterError: the fingerprint is not 64 hexadecimal digits.
    """

    def __init__(
        self, connection: psycopg.AsyncConnection[Any], fingerprint: str, *, allow_plain: bool = False
    ) -> None:
        self._connection = connection
        self._calls = _Calls(connection, fingerprint, allow_plain)
        self._lock = asyncio.Lock()

    async def _run(self, steps: _Steps[_T]) -> _T:
        async with self._lock:
            return await _run_async(self._connection, steps)

    async def add_passphrase(self, key: Key, passphrase: Secret) -> None:
        """Wrap a data key under an additional passphrase; see ``Client.add_passphrase``."""
        await self._run(self._calls.add_passphrase(key, passphrase))

    async def unlock_data_key(self, key: Key, passphrase: Secret, *, for_transaction: bool = False) -> None:
        """Unlock a data key in this session; see ``Client.unlock_data_key``."""
        await self._run(self._calls.unlock_data_key(key, passphrase, for_transaction=for_transaction))

    async def change_passphrase(self, key: Key, old: Secret, new: Secret) -> None:
        """Change a data key's passphrase; see ``Client.change_passphrase``."""
        await self._run(self._calls.change_passphrase(key, old, new))

    async def supersede_data_key(self, key: Key, passphrase: Secret) -> int:
        """Create a new version of a data key that has a passphrase; see ``Client.supersede_data_key``."""
        return await self._run(self._calls.supersede_data_key(key, passphrase))

    async def import_data_key(
        self,
        name: str,
        secret: bytes,
        expires: datetime | None = None,
        comment: str | None = None,
        wrap: str = "root",
        passphrase: Secret | None = None,
        key_id: int | None = None,
        key_uuid: UUID | None = None,
    ) -> int:
        """Create a data key from an existing secret; see ``Client.import_data_key``."""
        return await self._run(
            self._calls.import_data_key(name, secret, expires, comment, wrap, passphrase, key_id, key_uuid)
        )

    async def export_data_key(self, key: Key) -> bytes:
        """Return the secret of a data key; see ``Client.export_data_key``."""
        return await self._run(self._calls.export_data_key(key))

    async def create_user_key(self, passphrase: Secret) -> None:
        """Create the key pair of the current role; see ``Client.create_user_key``."""
        await self._run(self._calls.create_user_key(passphrase))

    async def unlock_user_key(self, passphrase: Secret, *, for_transaction: bool = False) -> None:
        """Unlock the key pair of the current role in this session; see ``Client.unlock_user_key``."""
        await self._run(self._calls.unlock_user_key(passphrase, for_transaction=for_transaction))

    async def change_user_passphrase(self, old: Secret, new: Secret) -> None:
        """Change the passphrase of the current role's key pair; see ``Client.change_user_passphrase``."""
        await self._run(self._calls.change_user_passphrase(old, new))

    async def rotate_user_key(self, passphrase: Secret, new_passphrase: Secret | None = None) -> None:
        """Replace the key pair of the current role; see ``Client.rotate_user_key``."""
        await self._run(self._calls.rotate_user_key(passphrase, new_passphrase))

    async def lock(self) -> None:
        """Lock everything that is unlocked in this session."""
        await self._run(self._calls.lock())
