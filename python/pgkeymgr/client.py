"""Clients that send secrets sealed, for psycopg 3: a call each, as pgkeymgr's SQL functions have it.

    client = Client(connection, fingerprint)
    client.unlock_data_key("customers", getpass("Passphrase: "))

Each call asks the server for an offer, checks that the pinned server has signed it, seals the secrets to it, and
sends only that: see ``sealed/message.py``. What is in a log of the server, or on its way, opens nothing.

Nothing is committed here: unless the connection is in autocommit mode, the first call begins a transaction, as any
statement of psycopg does, and what was done in it, unlocking included, is undone if it is rolled back.

Install ``pgkeymgr[client]``, which brings psycopg.
"""

import asyncio
import re
import threading
from collections.abc import Generator, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

import psycopg
from nacl import bindings
from nacl.exceptions import CryptoError
from psycopg import sql
from psycopg.rows import tuple_row

from .errors import ChallengeError, DataError, ParameterError, UndefinedError, not_authentic
from .sealed.message import Offer, seal
from .sealed.typed import secret_bytes

Key = str | int
"""A data key: by its name, or by its id."""

Secret = str | bytes
"""A passphrase: text, which is normalised to NFC (``sealed/typed.py`` says why), or its UTF-8, taken as it is."""

_T = TypeVar("_T")
_Row = tuple[Any, ...]


class _Statement(NamedTuple):
    query: sql.SQL | sql.Composed
    parameters: Sequence[Any] = ()


_Steps = Generator[_Statement, _Row, _T]
"""A call: it yields statements, gets the row of each, and returns the result. It does not know who runs them."""


class _Argument(NamedTuple):
    name: str
    type: str
    value: Any


class _Calls:
    """What both clients do, without doing it: each function as a generator of statements.

    Args:
        connection: to a database that has the extension.
        fingerprint: see ``Client``.
        allow_plain: see ``Client``.
    """

    def __init__(
        self, connection: psycopg.BaseConnection[Any], fingerprint: str, allow_plain: bool = False
    ) -> None:
        # A pin that no key can have would else be told like an attack.
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
        # Where there is an address, it is TCP, even if the host is a path: libpq then only looks it up.
        is_socket = not info.hostaddr and info.host.startswith(("/", "@"))
        if not (self._allow_plain or is_socket or self._connection.pgconn.ssl_in_use):
            raise ChallengeError(
                "the connection is neither TLS nor a Unix socket: nothing was sent",
                hint="Connect with sslmode=verify-full, or give allow_plain=True, if the network is as good.",
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
    ) -> _Steps[int]:
        # As text it would be normalised, which makes another key of it.
        if not isinstance(secret, bytes):
            raise DataError(f"the secret must be bytes, not {type(secret).__name__}")
        if (passphrase is not None) != (wrap == "passphrase"):
            raise ParameterError("a passphrase is needed with wrap => 'passphrase', and only then")
        return int(
            (
                yield from self._sealed(
                    "import_data_key",
                    [secret] if passphrase is None else [secret, passphrase],
                    _Argument("name", "text", name),
                    _Argument("expires", "timestamptz", expires),
                    _Argument("comment", "text", comment),
                    _Argument("wrap", "text", wrap),
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
    # The search path may lead to a namesake that somebody else made.
    (schema,) = yield _Statement(
        sql.SQL(
            "SELECT (SELECT nspname::pg_catalog.text FROM pg_catalog.pg_extension"
            " JOIN pg_catalog.pg_namespace ON pg_namespace.oid OPERATOR(pg_catalog.=) extnamespace"
            " WHERE extname OPERATOR(pg_catalog.=) 'pgkeymgr')"
        )
    )
    if schema is None:
        raise UndefinedError("this database has no extension pgkeymgr", hint="CREATE EXTENSION pgkeymgr CASCADE")
    # psycopg looks for placeholders in names, too.
    return sql.Identifier(_text(schema).replace("%", "%%"))


def _text(value: str | bytes) -> str:
    # psycopg gives bytes where the client's encoding is SQL_ASCII.
    return value.decode() if isinstance(value, bytes) else value


def _fingerprint() -> _Steps[str]:
    schema = yield from _find_schema()
    (found,) = yield _Statement(sql.SQL("SELECT {}.exchange_fingerprint()").format(schema))
    return _text(found)


def _run(connection: psycopg.Connection[Any], steps: _Steps[_T]) -> _T:
    # Not connection.cursor(), whose class, placeholders and rows are the application's choice.
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
    """Ask the server for the fingerprint of its exchange key, to be pinned from then on: trust on first use.

    It is whoever answers that tells it, so do this once, over a connection that you trust: a Unix socket on the
    server's machine, or TLS with ``sslmode=verify-full``. Then keep it with the application's settings. A client
    that fetches it anew for each connection pins nothing.

    The first call of all makes the exchange key: commit it.

    Args:
        connection: to a database that has the extension.

    Returns:
        64 hexadecimal digits.

    Raises:
        UndefinedError: the database does not have the extension.
        psycopg.Error: the server refuses.
    """
    return _run(connection, _fingerprint())


async def fetch_fingerprint_async(connection: psycopg.AsyncConnection[Any]) -> str:
    """Ask the server for the fingerprint of its exchange key: ``fetch_fingerprint``, which says when to."""
    return await _run_async(connection, _fingerprint())


class Client:
    """pgkeymgr's functions that take secrets, for a ``psycopg.Connection``.

    Each method raises what the server raises, as psycopg has it: ``InvalidPassword`` (28P01) for a wrong
    passphrase, ``InsufficientPrivilege``, ``UndefinedObject`` and so on. Before anything is sealed or sent, it
    raises

    - FingerprintError: the server is not the pinned one;
    - ChallengeError: the connection is neither TLS nor a Unix socket;
    - DataError: a secret is not text or bytes, or is too long;
    - UndefinedError: the database does not have the extension.

    No exception has a secret in it. Threads may share a client; two clients of one connection may disturb each
    other, since each offer of a session replaces the one before.

    Args:
        connection: to a database that has the extension. Its row and cursor factories do not matter.
        fingerprint: of the server's exchange key, from its administrator or from ``fetch_fingerprint``; in either
            case, with colons or spaces if you like.
        allow_plain: go on where the connection is neither TLS nor a Unix socket. The server, too, refuses that by
            default.

    Raises:
        ParameterError: the fingerprint is not 64 hexadecimal digits.
    """

    def __init__(
        self, connection: psycopg.Connection[Any], fingerprint: str, *, allow_plain: bool = False
    ) -> None:
        self._connection = connection
        self._calls = _Calls(connection, fingerprint, allow_plain)
        # An offer and its message must not have another offer between them.
        self._lock = threading.Lock()

    def _run(self, steps: _Steps[_T]) -> _T:
        with self._lock:
            return _run(self._connection, steps)

    def add_passphrase(self, key: Key, passphrase: Secret) -> None:
        """Wrap a data key under a passphrase too.

        Args:
            key: its name or id.
            passphrase: of any length but 0.
        """
        self._run(self._calls.add_passphrase(key, passphrase))

    def unlock_data_key(self, key: Key, passphrase: Secret, *, for_transaction: bool = False) -> None:
        """Unlock a data key in this session, with a passphrase of it.

        Args:
            key: its name or id.
            passphrase: what ``add_passphrase`` or ``change_passphrase`` got.
            for_transaction: until the end of the transaction, rather than of the session.
        """
        self._run(self._calls.unlock_data_key(key, passphrase, for_transaction=for_transaction))

    def change_passphrase(self, key: Key, old: Secret, new: Secret) -> None:
        """Change a data key's passphrase.

        Args:
            key: its name or id.
            old: the present one.
            new: the new one, of any length but 0.
        """
        self._run(self._calls.change_passphrase(key, old, new))

    def supersede_data_key(self, key: Key, passphrase: Secret) -> int:
        """Make a new version of a data key that has a passphrase. One without needs no secret: call it in SQL.

        Args:
            key: its name or id.
            passphrase: the key's; the new version is wrapped under it too.

        Returns:
            The new version's id.
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
    ) -> int:
        """Make a data key of a secret from elsewhere.

        Args:
            name: of the new key.
            secret: the key itself, 16 to 64 bytes.
            expires: when it expires, if it does. Without a time zone, it is of the session's.
            comment: what it is for.
            wrap: ``"root"``; ``"user"``, for the current role's own pair; or ``"passphrase"``, which needs one.
            passphrase: for ``wrap="passphrase"`` only.

        Returns:
            Its id.

        Raises:
            ParameterError: a passphrase without ``wrap="passphrase"``, or the other way round.
        """
        return self._run(self._calls.import_data_key(name, secret, expires, comment, wrap, passphrase))

    def export_data_key(self, key: Key) -> bytes:
        """Get a data key itself, sealed to a key pair made for this call.

        So it is in no log. Against somebody who stands between you and the server, and could put in a key pair of
        their own, only ``sslmode=verify-full`` or a Unix socket protects it.

        Args:
            key: its name or id.

        Returns:
            The key itself.
        """
        return self._run(self._calls.export_data_key(key))

    def create_user_key(self, passphrase: Secret) -> None:
        """Make the current role's own key pair.

        Args:
            passphrase: its secret half is wrapped under this; of any length but 0.
        """
        self._run(self._calls.create_user_key(passphrase))

    def unlock_user_key(self, passphrase: Secret, *, for_transaction: bool = False) -> None:
        """Unlock the current role's own key pair in this session, and with it what was shared with that role.

        Args:
            passphrase: the user's.
            for_transaction: until the end of the transaction, rather than of the session.
        """
        self._run(self._calls.unlock_user_key(passphrase, for_transaction=for_transaction))

    def change_user_passphrase(self, old: Secret, new: Secret) -> None:
        """Change the passphrase of the current role's own key pair.

        Args:
            old: the present one.
            new: the new one, of any length but 0.
        """
        self._run(self._calls.change_user_passphrase(old, new))

    def rotate_user_key(self, passphrase: Secret, new_passphrase: Secret | None = None) -> None:
        """Make a new key pair of the current role, and seal to it what was shared with that role.

        Args:
            passphrase: the present one.
            new_passphrase: for the new pair; by default the present one stays.
        """
        self._run(self._calls.rotate_user_key(passphrase, new_passphrase))

    def lock(self) -> None:
        """Forget everything that is unlocked in this session."""
        self._run(self._calls.lock())


class AsyncClient:
    """pgkeymgr's functions that take secrets, for a ``psycopg.AsyncConnection``: ``Client``, with awaiting.

    Tasks may share a client.

    Args:
        connection: to a database that has the extension.
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
        """Wrap a data key under a passphrase too: ``Client.add_passphrase``."""
        await self._run(self._calls.add_passphrase(key, passphrase))

    async def unlock_data_key(self, key: Key, passphrase: Secret, *, for_transaction: bool = False) -> None:
        """Unlock a data key in this session: ``Client.unlock_data_key``."""
        await self._run(self._calls.unlock_data_key(key, passphrase, for_transaction=for_transaction))

    async def change_passphrase(self, key: Key, old: Secret, new: Secret) -> None:
        """Change a data key's passphrase: ``Client.change_passphrase``."""
        await self._run(self._calls.change_passphrase(key, old, new))

    async def supersede_data_key(self, key: Key, passphrase: Secret) -> int:
        """Make a new version of a data key that has a passphrase: ``Client.supersede_data_key``."""
        return await self._run(self._calls.supersede_data_key(key, passphrase))

    async def import_data_key(
        self,
        name: str,
        secret: bytes,
        expires: datetime | None = None,
        comment: str | None = None,
        wrap: str = "root",
        passphrase: Secret | None = None,
    ) -> int:
        """Make a data key of a secret from elsewhere: ``Client.import_data_key``."""
        return await self._run(self._calls.import_data_key(name, secret, expires, comment, wrap, passphrase))

    async def export_data_key(self, key: Key) -> bytes:
        """Get a data key itself: ``Client.export_data_key``."""
        return await self._run(self._calls.export_data_key(key))

    async def create_user_key(self, passphrase: Secret) -> None:
        """Make the current role's own key pair: ``Client.create_user_key``."""
        await self._run(self._calls.create_user_key(passphrase))

    async def unlock_user_key(self, passphrase: Secret, *, for_transaction: bool = False) -> None:
        """Unlock the current role's own key pair in this session: ``Client.unlock_user_key``."""
        await self._run(self._calls.unlock_user_key(passphrase, for_transaction=for_transaction))

    async def change_user_passphrase(self, old: Secret, new: Secret) -> None:
        """Change the passphrase of the current role's own key pair: ``Client.change_user_passphrase``."""
        await self._run(self._calls.change_user_passphrase(old, new))

    async def rotate_user_key(self, passphrase: Secret, new_passphrase: Secret | None = None) -> None:
        """Make a new key pair of the current role: ``Client.rotate_user_key``."""
        await self._run(self._calls.rotate_user_key(passphrase, new_passphrase))

    async def lock(self) -> None:
        """Forget everything that is unlocked in this session."""
        await self._run(self._calls.lock())
