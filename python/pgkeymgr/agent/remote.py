"""The client of the agent: a root key that another process holds, and the administrator's requests.

Every backend that uses the agent imports this module. So it imports slow modules only when it needs them.
"""

import os
import time
from collections.abc import Callable, Sequence
from struct import Struct
from typing import TYPE_CHECKING, Any

from ..errors import AgentError, CanceledError, Error
from ..root_key import trusted_path
from . import protocol
from .protocol import Operation, Status

if TYPE_CHECKING:
    import socket

TIMEOUT_SECONDS = 10
CONTROL_TIMEOUT_SECONDS = 300
"""The time that an unlock or a reload may take, since a person types a passphrase, or a provider is slow."""

_POLL_SECONDS = 0.05
_RETRY_SECONDS = 0.005
_RECEIVE_BYTES = 65536
_CREDENTIALS = Struct("iII")


def peer(connection: "socket.socket") -> tuple[int, int]:
    """Return the process and the user at the other end of a Unix socket; see SO_PEERCRED in unix(7).

    Args:
        connection: a connected socket.

    Returns:
        The process id and the user id, which the kernel has recorded at connect(2) or listen(2).
    """
    import socket

    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(credentials)
    return pid, uid


class UnreachableError(AgentError):
    """No agent listens at the socket, or the agent does not answer."""


class _ClosedError(Exception):
    """The agent has closed the connection. It does so when it ends, and with the longest idle connections."""


class _Connection:
    """A connection to the agent, made on the first request, and made again if the agent has closed it."""

    def __init__(self, path: str, is_canceled: Callable[[], bool], timeout: float) -> None:
        self.path = path
        self._is_canceled = is_canceled
        self._timeout = timeout
        self._deadline = 0.0
        self._socket: socket.socket | None = None

    def close(self) -> None:
        """Close the connection. The next request connects again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __del__(self) -> None:
        self.close()

    def request(self, frame: bytes) -> tuple[int, list[bytes]]:
        """Send a request, and return the status and the fields of the response.

        Raises:
            Error: the error in the agent's response.
            AgentError: the agent could not be reached, did not answer, or is not trusted.
            CanceledError: ``is_canceled`` returned true.
        """
        self._deadline = time.monotonic() + self._timeout
        was_connected = self._socket is not None
        try:
            try:
                status, fields = self._exchange(frame)
            except _ClosedError:
                self.close()
                if not was_connected:
                    raise self._unreachable("has closed the connection") from None
                # Every request may be repeated, because no operation changes the meaning of a key.
                try:
                    status, fields = self._exchange(frame)
                except _ClosedError:
                    raise self._unreachable("has closed the connection") from None
            if status == Status.ERROR:
                raise protocol.decode_error(fields)
        except protocol.FormatError as error:
            self.close()
            raise AgentError(
                f"unexpected response from the agent at {self.path}: {error}",
                hint="Install the same version of pgkeymgr for the agent and for the server.",
            ) from None
        except Error as error:
            if isinstance(error, CanceledError | AgentError):
                # A late response on this connection would be read as the response to the next request.
                self.close()
            raise
        except BaseException:
            self.close()
            raise
        return status, fields

    def _exchange(self, frame: bytes) -> tuple[int, list[bytes]]:
        connection = self._socket or self._connect()
        try:
            self._send(connection, frame)
        except _ClosedError:
            # The agent may have sent the reason before it closed the connection.
            return protocol.decode(self._receive(connection))
        return protocol.decode(self._receive(connection))

    def _send(self, connection: "socket.socket", frame: bytes) -> None:
        rest = memoryview(frame)
        while rest:
            try:
                rest = rest[connection.send(rest) :]
            except TimeoutError:
                self._wait()
            except (BrokenPipeError, ConnectionResetError):
                raise _ClosedError from None
            except OSError as error:
                raise self._unreachable(f"could not be reached: {error.strerror}") from None

    def _receive(self, connection: "socket.socket") -> bytes:
        wanted = missing = protocol.LENGTH_BYTES
        chunks: list[bytes] = []
        length = None
        while missing > 0:
            try:
                chunk = connection.recv(max(missing, _RECEIVE_BYTES))
            except TimeoutError:
                self._wait()
                continue
            except ConnectionResetError:
                raise _ClosedError from None
            except OSError as error:
                raise self._unreachable(f"could not be reached: {error.strerror}") from None
            if not chunk:
                raise _ClosedError
            chunks.append(chunk)
            missing -= len(chunk)
            if missing > 0:
                self._wait()
            if length is None and missing <= 0:
                received = b"".join(chunks)
                length = protocol.frame_length(received)
                wanted += length
                missing = wanted - len(received)
                chunks = [received]
        received = b"".join(chunks)
        if len(received) != wanted:
            raise protocol.FormatError("bytes follow the response")
        return received[protocol.LENGTH_BYTES :]

    def _wait(self) -> None:
        if self._is_canceled():
            raise CanceledError(f"canceled while waiting for the agent at {self.path}")
        if time.monotonic() > self._deadline:
            raise self._unreachable(f"did not answer in {self._timeout:g} seconds")

    def _connect(self) -> "socket.socket":
        import socket

        owner = self._check_directory()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            connection.settimeout(_POLL_SECONDS)
            while True:
                try:
                    connection.connect(self.path)
                    break
                except (BlockingIOError, TimeoutError):
                    # The kernel's queue is full, because many clients connect at this moment.
                    self._wait()
                    time.sleep(_RETRY_SECONDS)
                except OSError as error:
                    raise self._unreachable(f"could not be reached: {error.strerror or error}") from None
            _, uid = peer(connection)
            if uid not in (0, os.geteuid(), owner):
                raise AgentError(
                    f"the process at {self.path} belongs to user id {uid}, which is not trusted",
                    hint="The agent must run as root, as the server's user, or as the owner of the socket's "
                    "directory.",
                )
        except BaseException:
            connection.close()
            raise
        self._socket = connection
        return connection

    def _check_directory(self) -> int:
        path = os.path.dirname(self.path)
        try:
            directory = trusted_path.open_directory(
                path,
                lambda reason, hint: AgentError(f"the agent's socket {self.path} {reason}", hint=hint),
                "the server",
                any_owner=True,
            )
        except OSError as error:
            raise self._unreachable(f"could not be reached: {path}: {error.strerror}") from None
        try:
            return os.fstat(directory).st_uid
        finally:
            os.close(directory)

    def _unreachable(self, reason: str) -> UnreachableError:
        return UnreachableError(
            f"the agent at {self.path} {reason}",
            hint="Start it with systemctl start pgkeymgr-agent or pgkeymgr agent. This session can then go on.",
        )


class RemoteRootKey:
    """The agent's root key, with the methods of ``RootKey``.

    The caller stores the ``fingerprint`` beside the result of ``wrap``. The agent may get a newer root key in
    between. So an object asks for the fingerprint once, and then stands for this root key. The agent refuses to
    wrap under a root key that is not its newest. ``renew`` returns an object that asks again.
    """

    __slots__ = ("_connection", "_identity", "path")

    def __init__(self, path: str, is_canceled: Callable[[], bool] = lambda: False) -> None:
        """Initialize the object without connecting.

        Args:
            path: the path of the socket.
            is_canceled: returns whether to give up. It is called twenty times a second while the client waits.
        """
        self.path = path
        self._connection = _Connection(path, is_canceled, TIMEOUT_SECONDS)
        self._identity: tuple[str, str, tuple[str, ...]] | None = None

    def renew(self) -> "RemoteRootKey":
        """Return an object with the same connection for the agent's present root key."""
        other = object.__new__(RemoteRootKey)
        other.path = self.path
        other._connection = self._connection
        other._identity = None
        return other

    def close(self) -> None:
        """Close the connection. The next call connects again."""
        self._connection.close()

    @property
    def fingerprint(self) -> str:
        """See ``RootKey.fingerprint``."""
        return self._identify()[0]

    @property
    def source(self) -> str:
        """See ``RootKey.source``."""
        return self._identify()[1]

    @property
    def previous(self) -> tuple[str, ...]:
        """See ``RootKey.previous``."""
        return self._identify()[2]

    def _identify(self) -> tuple[str, str, tuple[str, ...]]:
        if self._identity is None:
            fingerprint, source, previous = self._ask(protocol.encode(Operation.IDENTIFY), 3)
            self._identity = fingerprint.decode(), source.decode(), tuple(previous.decode().split())
        return self._identity

    def _ask(self, frame: bytes, fields_wanted: int = 1) -> Sequence[bytes]:
        status, fields = self._connection.request(frame)
        if status != Status.OK or len(fields) != fields_wanted:
            self._connection.close()
            raise AgentError(
                f"unexpected response from the agent at {self.path}",
                hint="Install the same version of pgkeymgr for the agent and for the server.",
            )
        return fields

    def derive(self, key_id: int, length: int, context: bytes, under: str | None = None) -> bytes:
        """Derive a key; see ``RootKey.derive``."""
        if under is None and self._identity is not None:
            under = self._identity[0]
        return self._ask(protocol.encode_derive(key_id, length, context, under))[0]

    def wrap(self, secret: bytes, associated_data: bytes) -> bytes:
        """Encrypt a secret of at most SECRET_BYTES_MAX bytes; see ``RootKey.wrap``.

        Raises:
            LimitError: the secret is larger.
            RootKeyError: the agent has a newer root key than this object.
        """
        protocol.check_secret(secret)
        newest = self.fingerprint.encode()
        return self._ask(protocol.encode(Operation.WRAP, (newest, secret, associated_data)))[0]

    def unwrap(self, wrapped: bytes, associated_data: bytes, made_under: str) -> bytes:
        """Decrypt a wrap; see ``RootKey.unwrap``."""
        protocol.check_wrapped(wrapped)
        request = protocol.encode(Operation.UNWRAP, (wrapped, associated_data, made_under.encode()))
        return self._ask(request)[0]

    def rewrap(self, wrapped: bytes, associated_data: bytes, made_under: str) -> bytes:
        """Wrap a wrapped secret again; see ``RootKey.rewrap``.

        Raises:
            RootKeyError: the wrap was made under another root key, or the agent has a newer one than this object.
        """
        protocol.check_wrapped(wrapped)
        newest = self.fingerprint.encode()
        fields = (newest, wrapped, associated_data, made_under.encode())
        return self._ask(protocol.encode(Operation.REWRAP, fields))[0]

    def checkpoint(self, system: int, database: str, link: int, hash: bytes) -> str:
        """Have the agent sign a checkpoint of an audit trail; see ``RootKey.checkpoint``.

        Raises:
            AgentError: the agent has no file for checkpoints, could not write it, or is older than this function.
        """
        return self._ask(protocol.encode_checkpoint(system, database, link, hash))[0].decode()


class Control:
    """The requests of the agent's administrator: status, lock, unlock and reload."""

    def __init__(self, path: str) -> None:
        """Initialize the object without connecting.

        Args:
            path: the path of the socket.
        """
        self._connection = _Connection(path, lambda: False, CONTROL_TIMEOUT_SECONDS)

    def status(self) -> dict[str, Any]:
        """Return the agent's state as ``Service.status`` of the agent describes it.

        Raises:
            AgentError: the agent could not be reached.
        """
        import json

        _, fields = self._connection.request(protocol.encode(Operation.STATUS))
        state: dict[str, Any] = json.loads(fields[0])
        return state

    def audit_keys(self) -> str:
        """Return the text of the file of public keys for the auditor; see ``agent.checkpoint``.

        Raises:
            AgentError: the agent is locked, or could not be reached.
        """
        _, fields = self._connection.request(protocol.encode(Operation.AUDIT_KEYS))
        return fields[0].decode()

    def lock(self) -> None:
        """Make the agent forget its keys.

        Raises:
            PrivilegeError: this user may not lock the agent.
            AgentError: the agent could not be reached.
        """
        self._connection.request(protocol.encode(Operation.LOCK))

    def unlock(self, ask: Callable[[str], bytes]) -> None:
        """Make a locked agent get its keys.

        Args:
            ask: shows a prompt of the provider, and returns the input of a person.

        Raises:
            PrivilegeError: this user may not unlock the agent.
            AgentError: the agent could not be reached.
            Error: the provider or the getkey script failed.
        """
        self._load(Operation.UNLOCK, ask)

    def reload(self, ask: Callable[[str], bytes]) -> None:
        """Make the agent get its keys again. If this fails, the agent keeps its present keys; see ``unlock``."""
        self._load(Operation.RELOAD, ask)

    def _load(self, operation: Operation, ask: Callable[[str], bytes]) -> None:
        status, fields = self._connection.request(protocol.encode(operation))
        while status == Status.ASK:
            answer = ask(fields[0].decode())
            status, fields = self._connection.request(protocol.encode(Operation.ANSWER, (answer,)))
