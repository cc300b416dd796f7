"""The agent process, which answers requests on a Unix socket in one event loop.

The agent limits the memory that clients can make it use. There is a limit for the length of a frame, for the time
in which a frame must arrive and an answer must be read, for the bytes of all unfinished frames and unread answers,
and for the number of connections.

Sources: unix(7), systemd.exec(5)
"""

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import sys
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from .. import __version__
from ..errors import AgentError, Error, PrivilegeError, ProviderError
from ..root_key import LocalRootKey, memory, signing
from . import metrics, protocol, systemd
from .checkpoint import CheckpointFile, Head, write_public_keys
from .keeper import Ask, Keeper, NobodyToAskError, fetch, refuse_to_ask
from .listener import BACKLOG, claim, listen
from .protocol import LENGTH_BYTES, Operation, Status
from .remote import peer
from .settings import Settings, user_ids

PATIENCE_SECONDS = 10
"""The time in which a client must complete a frame, and in which it must read an answer."""
ASK_SECONDS = 240
UNFINISHED_BYTES_MAX = 64 << 20
"""The limit for the bytes in unfinished frames of all clients, and also for the bytes in their unread answers."""

CHECKPOINTS_PER_HOUR_MAX = 1000
"""The limit for the lines that clients can make the agent write."""

SAME_CHECKPOINT_SECONDS = 60
"""The time in which a trail without a new event gets no other checkpoint."""

_HOUR_SECONDS = 3600
_DESCRIPTORS_RESERVED = 64
_LOG_REFUSED_SECONDS = 60
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_NAMES = {operation.value: operation.name.lower() for operation in Operation}


def log(message: str) -> None:
    """Write a line to the log, which is standard error."""
    print(f"pgkeymgr agent: {message}", file=sys.stderr, flush=True)


class Service:
    """The state that the connections share: the keys, the list of clients, and the limits."""

    def __init__(self, settings: Settings, keeper: Keeper, users: frozenset[int], max_clients: int) -> None:
        self.settings = settings
        self.keeper = keeper
        self.users = users
        self.max_clients = max_clients
        self.connections: OrderedDict[Connection, None] = OrderedDict()
        self.incoming_bytes = 0
        self.outgoing_bytes = 0
        self._outgoing: OrderedDict[Connection, int] = OrderedDict()
        self.counts: Counter[int] = Counter()
        self.refused = 0
        self.started = datetime.now(UTC)
        self.loaded: datetime | None = None
        self._refusals_logged: dict[int, float] = {}
        self._operations: dict[int, Callable[[LocalRootKey, list[bytes]], tuple[bytes, ...]]] = {
            Operation.IDENTIFY: self._identify,
            Operation.DERIVE: self._derive,
            Operation.WRAP: self._wrap,
            Operation.UNWRAP: self._unwrap,
            Operation.REWRAP: self._rewrap,
            Operation.CHECKPOINT: self._checkpoint,
        }
        self._checkpoints = CheckpointFile(settings.checkpoints) if settings.checkpoints else None
        self._checkpoint_times: deque[float] = deque(maxlen=CHECKPOINTS_PER_HOUR_MAX)
        self._recent_checkpoints: dict[Head, tuple[float, bytes]] = {}

    def root_key(self) -> LocalRootKey:
        """Return the root key.

        Raises:
            AgentError: the agent is locked.
        """
        if self.keeper.root_key is None:
            raise AgentError(
                f"the agent at {self.settings.socket} is locked",
                hint="Run pgkeymgr agent unlock as root or as the agent's user.",
            )
        return self.keeper.root_key

    def use(self, operation: int, fields: list[bytes]) -> bytes:
        """Return the answer to an operation that uses the root key.

        Raises:
            Error: the agent is locked, or the operation failed.
            FormatError: a field is malformed.
        """
        root_key = self.root_key()
        answer = self._operations[operation](root_key, fields)
        self.counts[operation] += 1
        return protocol.encode(Status.OK, answer)

    @staticmethod
    def _identify(root_key: LocalRootKey, _fields: list[bytes]) -> tuple[bytes, ...]:
        return root_key.fingerprint.encode(), root_key.source.encode(), " ".join(root_key.previous).encode()

    @staticmethod
    def _derive(root_key: LocalRootKey, fields: list[bytes]) -> tuple[bytes, ...]:
        return (root_key.derive(*protocol.decode_derive(fields)),)

    @staticmethod
    def _wrap(root_key: LocalRootKey, fields: list[bytes]) -> tuple[bytes, ...]:
        newest, secret, associated_data = fields
        _check_newest(root_key, newest)
        protocol.check_secret(secret)
        return (root_key.wrap(secret, associated_data),)

    @staticmethod
    def _unwrap(root_key: LocalRootKey, fields: list[bytes]) -> tuple[bytes, ...]:
        wrapped, associated_data, made_under = fields
        return (root_key.unwrap(wrapped, associated_data, protocol.text(made_under)),)

    @staticmethod
    def _rewrap(root_key: LocalRootKey, fields: list[bytes]) -> tuple[bytes, ...]:
        newest, wrapped, associated_data, made_under = fields
        _check_newest(root_key, newest)
        protocol.check_wrapped(wrapped)
        return (root_key.rewrap(wrapped, associated_data, protocol.text(made_under)),)

    def _checkpoint(self, root_key: LocalRootKey, fields: list[bytes]) -> tuple[bytes, ...]:
        head = Head(*protocol.decode_checkpoint(fields))
        if self._checkpoints is None:
            raise AgentError(
                f"the agent at {self.settings.socket} has no file for checkpoints",
                hint="Set checkpoints in agent.toml, or give --checkpoints, and restart the agent.",
            )
        now = time.monotonic()
        recent = self._recent_checkpoints
        for each in [each for each, (at, _) in recent.items() if now - at >= SAME_CHECKPOINT_SECONDS]:
            del recent[each]
        if head in recent:
            # Otherwise, a role that may only look at the trail could use up the checkpoints of an hour.
            return (recent[head][1],)
        times = self._checkpoint_times
        if len(times) == times.maxlen and now - times[0] < _HOUR_SECONDS:
            raise AgentError(
                f"the agent has written {times.maxlen} checkpoints within an hour",
                hint="This limit protects the disk from a client that asks again and again. Ask less often.",
            )
        times.append(now)
        line = self._checkpoints.append(head, root_key.fingerprint, partial(signing.sign, root_key))
        log(f"checkpoint {line}")
        recent[head] = now, line.encode()
        return (line.encode(),)

    def audit_keys(self) -> bytes:
        """Return the text of the file of public keys for the auditor.

        Raises:
            AgentError: the agent is locked.
        """
        return write_public_keys(signing.public_keys(self.root_key())).encode()

    def status(self) -> dict[str, Any]:
        """Return the agent's state for ``pgkeymgr agent status``. It has no key in it."""
        root_key = self.keeper.root_key
        return {
            "state": "locked" if root_key is None else "unlocked",
            "fingerprint": root_key and root_key.fingerprint,
            "source": root_key and root_key.source,
            "previous": list(root_key.previous) if root_key else [],
            "socket": self.settings.socket,
            "pid": os.getpid(),
            "uid": os.geteuid(),
            "version": __version__,
            "protocol_versions": list(protocol.VERSIONS),
            "started": self.started.isoformat(timespec="seconds"),
            "loaded": self.loaded and self.loaded.isoformat(timespec="seconds"),
            "memory_locked": self.settings.lock_memory,
            "allowed_user_ids": sorted(self.users),
            "clients": len(self.connections),
            "max_clients": self.max_clients,
            "refused": self.refused,
            "operations": {_NAMES[operation]: count for operation, count in sorted(self.counts.items())},
        }

    async def load(self, operation: int, ask: Ask, who: str) -> None:
        """Unlock or reload the agent, and log the result.

        Raises:
            Error: the keeper could not get the keys.
        """
        name = _NAMES[operation]
        try:
            if operation == Operation.UNLOCK:
                await self.keeper.unlock(ask)
            else:
                await self.keeper.reload(ask)
        except Error as error:
            log(f"{name} by {who} failed: {error.message}")
            raise
        self.loaded = datetime.now(UTC)
        log(f"{name} by {who}: root key {self.root_key().fingerprint}")
        systemd.notify("STATUS=Unlocked.")

    def lock(self, who: str) -> None:
        """Forget the keys."""
        self.keeper.lock()
        log(f"locked by {who}")
        systemd.notify("STATUS=Locked: pgkeymgr agent unlock")

    def refuse(self, uid: int, pid: int) -> None:
        """Count a client that may not use the agent, and log it at most once a minute for each user."""
        self.refused += 1
        now = time.monotonic()
        if now - self._refusals_logged.get(uid, -_LOG_REFUSED_SECONDS) >= _LOG_REFUSED_SECONDS:
            self._refusals_logged[uid] = now
            log(f"refused process {pid} of user id {uid}")

    def make_room(self) -> None:
        """Close the longest idle connection if there are too many connections."""
        if len(self.connections) > self.max_clients:
            next(iter(self.connections)).cut()

    def note_outgoing(self, connection: "Connection", size: int) -> None:
        """Record the number of bytes that a client has not read, and close the slowest clients above the limit."""
        self.outgoing_bytes += size - self._outgoing.pop(connection, 0)
        if size:
            self._outgoing[connection] = size
            while self.outgoing_bytes > UNFINISHED_BYTES_MAX:
                next(iter(self._outgoing)).cut()


def _check_newest(root_key: LocalRootKey, named: bytes) -> None:
    # The client stores the fingerprint that it has named beside the wrap, so the wrap must be made under that root
    # key.
    if named != root_key.fingerprint.encode():
        raise protocol.stale_root_key(protocol.text(named), root_key.fingerprint)


class Connection(asyncio.Protocol):
    """The connection of one client."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._transport: asyncio.Transport
        self._unfinished = bytearray()
        self._wanted = LENGTH_BYTES
        self._is_paused = False
        self._is_closed = False
        self._late_frame: asyncio.TimerHandle | None = None
        self._late_answer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._asked: asyncio.Future[bytes] | None = None
        self._may_use = self._may_control = False
        self._who = ""

    # The event loop calls these methods.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Identify the client, and refuse it if it may do nothing."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        # Every byte that the kernel does not accept at once counts as unread.
        transport.set_write_buffer_limits(high=0)
        pid, uid = peer(transport.get_extra_info("socket"))
        self._who = f"process {pid} of user id {uid}"
        self._may_use = uid in self._service.users
        self._may_control = uid in (0, os.geteuid())
        if not self._may_use and not self._may_control:
            self._service.refuse(uid, pid)
            self._is_closed = True
            transport.write(protocol.encode_error(_not_allowed(uid)))
            transport.close()
            return
        self._service.connections[self] = None
        self._service.make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Release everything that belongs to the connection."""
        self._is_closed = True
        self._service.connections.pop(self, None)
        self._service.note_outgoing(self, 0)
        self._set_late_answer(False)
        self._keep(b"", is_new=True)
        if self._asked is not None and not self._asked.done():
            self._asked.set_exception(ProviderError("the client that was asked for a passphrase has disconnected"))

    def data_received(self, data: bytes) -> None:
        """Answer the complete frames."""
        if self._is_closed:
            return
        self._service.connections.move_to_end(self)
        if not self._unfinished:
            self._answer_all(data)
            return
        self._unfinished += data
        self._service.incoming_bytes += len(data)
        if len(self._unfinished) >= self._wanted:
            self._answer_all(bytes(self._unfinished))
        else:
            self._bound_incoming()

    def eof_received(self) -> None:
        """Close the connection when the answers are sent, since the client will send no more requests."""

    def pause_writing(self) -> None:
        """Stop reading until the client has read its answers, for a limited time."""
        self._is_paused = True
        self._transport.pause_reading()
        self._set_late_answer(True)
        self._service.note_outgoing(self, self._transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Continue with the frames that have arrived in the meantime."""
        self._is_paused = False
        self._service.note_outgoing(self, 0)
        self._set_late_answer(False)
        if not self._is_closed:
            self._transport.resume_reading()
            if self._unfinished:
                self._answer_all(bytes(self._unfinished))

    # These methods close the connection.

    def end(self) -> None:
        """Close the connection when the answers are sent."""
        self._is_closed = True
        self._service.connections.pop(self, None)
        self._transport.close()

    def cut(self) -> None:
        """Close the connection at once."""
        self._is_closed = True
        self._service.connections.pop(self, None)
        self._service.note_outgoing(self, 0)
        self._transport.abort()

    # These methods process frames.

    def _answer_all(self, data: bytes) -> None:
        at = 0
        size = len(data)
        # While the client does not read its answers, its requests wait here.
        while size - at >= LENGTH_BYTES and not self._is_paused and not self._is_closed:
            start = at + LENGTH_BYTES
            try:
                end = start + protocol.frame_length(data[at:start])
            except protocol.FormatError as error:
                self._refuse_frame(error)
                break
            if end > size:
                self._wanted = end - at
                break
            at = end
            answer = self._answer(data[start:end])
            if answer is not None:
                self._transport.write(answer)
        else:
            self._wanted = LENGTH_BYTES
        if at < size or self._unfinished:
            self._keep(data[at:] if not self._is_closed else b"", is_new=at > 0)

    def _keep(self, data: bytes, is_new: bool) -> None:
        self._service.incoming_bytes += len(data) - len(self._unfinished)
        self._unfinished = bytearray(data)
        # The time of a frame begins with its first byte. While the client does not read its answers, the time of
        # the answers counts instead.
        if self._late_frame is not None and (is_new or self._is_paused or not data):
            self._late_frame.cancel()
            self._late_frame = None
        if data and not self._is_paused and self._late_frame is None:
            self._late_frame = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self.cut)
        self._bound_incoming()

    def _bound_incoming(self) -> None:
        if self._service.incoming_bytes > UNFINISHED_BYTES_MAX and not self._is_closed:
            self.cut()

    def _set_late_answer(self, wanted: bool) -> None:
        if self._late_answer is not None:
            self._late_answer.cancel()
            self._late_answer = None
        if wanted:
            self._late_answer = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self.cut)

    def _refuse_frame(self, error: protocol.FormatError) -> None:
        # The connection ends, because the beginning of the next frame is unknown.
        refused = AgentError(f"the agent has received a malformed request: {error}")
        self._transport.write(protocol.encode_error(refused))
        self.end()

    def _answer(self, body: bytes) -> bytes | None:
        try:
            operation, fields = protocol.decode_request(body)
            if self._task is not None and operation != Operation.ANSWER:
                raise protocol.FormatError("an operation was requested before the previous one was answered")
            if operation >= Operation.STATUS:
                return self._control(operation, fields)
            if not self._may_use:
                raise _not_allowed(peer(self._transport.get_extra_info("socket"))[1])
            return self._service.use(operation, fields)
        except protocol.VersionError as error:
            return protocol.encode_error(protocol.unknown_version(error.version))
        except protocol.FormatError as error:
            self._refuse_frame(error)
            return None
        except Exception as error:
            return protocol.encode_error(_to_send(error))

    def _control(self, operation: int, fields: list[bytes]) -> bytes | None:
        if operation == Operation.STATUS:
            return protocol.encode(Status.OK, (json.dumps(self._service.status()).encode(),))
        if operation == Operation.AUDIT_KEYS:
            return protocol.encode(Status.OK, (self._service.audit_keys(),))
        if not self._may_control:
            raise PrivilegeError(
                f"permission denied: only root and the agent's own user may {_NAMES[operation]} the agent",
                hint="Run the command with sudo.",
            )
        if operation == Operation.LOCK:
            self._service.lock(self._who)
            return protocol.encode(Status.OK)
        if operation == Operation.ANSWER:
            if self._asked is None or self._asked.done():
                raise protocol.FormatError("an answer was sent without a question")
            self._asked.set_result(fields[0])
            return None
        self._task = asyncio.get_running_loop().create_task(self._load(operation))
        return None

    async def _load(self, operation: int) -> None:
        loop = asyncio.get_running_loop()

        def ask(prompt: str) -> bytes:
            return asyncio.run_coroutine_threadsafe(self._ask(prompt), loop).result()

        try:
            await self._service.load(operation, ask, self._who)
            answer = protocol.encode(Status.OK)
        except Exception as error:
            answer = protocol.encode_error(_to_send(error))
        self._task = None
        if not self._is_closed:
            self._transport.write(answer)

    async def _ask(self, prompt: str) -> bytes:
        if self._is_closed:
            raise ProviderError("the client that was asked for a passphrase has disconnected")
        self._asked = asyncio.get_running_loop().create_future()
        self._transport.write(protocol.encode(Status.ASK, (prompt.encode(),)))
        try:
            return await asyncio.wait_for(self._asked, ASK_SECONDS)
        except TimeoutError:
            raise ProviderError(f"nobody answered in {ASK_SECONDS} seconds") from None
        finally:
            self._asked = None


def _not_allowed(uid: int) -> AgentError:
    return AgentError(
        f"the agent does not serve user id {uid}",
        hint="Name the user of the server in allow_users of the agent's configuration, or with --allow-user.",
    )


def _to_send(error: Exception) -> Error:
    if isinstance(error, Error):
        return error
    # The text of an unexpected error could hold a secret, so only its type is shown.
    log(f"unexpected error: {type(error).__name__}")
    return AgentError(f"the agent failed: {type(error).__name__}")


def _raise_descriptor_limit(wanted: int) -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    possible = hard - _DESCRIPTORS_RESERVED
    if wanted > possible:
        log(f"max_clients is {possible} instead of {wanted}: at most {hard} files may be open (LimitNOFILE)")
    return max(1, min(wanted, possible))


def run(settings: Settings, ask: Ask | None = None) -> None:
    """Run the agent until SIGTERM or SIGINT.

    Args:
        settings: the settings of the agent.
        ask: shows a prompt at the start, and returns the input of a person. With None, an agent whose provider
            asks starts locked.

    Raises:
        Error: the agent could not start.
    """
    asyncio.run(_run(settings, ask or refuse_to_ask))


async def _run(settings: Settings, ask: Ask) -> None:
    memory.forbid_core_dumps()
    if settings.lock_memory:
        memory.lock_memory()
    users = user_ids(settings.allow_users)
    metrics_listener = _listen_for_metrics(settings)
    max_clients = _raise_descriptor_limit(settings.max_clients)
    descriptor = claim(settings.socket)
    loop = asyncio.get_running_loop()
    # The text of an unexpected exception could hold a secret, so only its type is logged.
    loop.set_exception_handler(lambda _, context: log(f"error: {type(context.get('exception')).__name__}"))
    stop = asyncio.Event()
    keeper = Keeper(lambda ask: fetch(settings, ask, stop.is_set))
    service = Service(settings, keeper, users, max_clients)
    metrics_server: asyncio.Server | None = None
    reloads: set[asyncio.Task[None]] = set()

    async def reload() -> None:
        with contextlib.suppress(Error):  # The service has logged the error.
            await service.load(Operation.RELOAD, refuse_to_ask, "SIGHUP")

    def start_reload() -> None:
        task = loop.create_task(reload())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    for number, handler in zip(_SIGNALS, (stop.set, stop.set, start_reload), strict=True):
        loop.add_signal_handler(number, handler)
    try:
        await _unlock_first(service, ask, stop)
        if stop.is_set():
            return
        server = await loop.create_unix_server(
            lambda: Connection(service), sock=listen(settings.socket), backlog=BACKLOG
        )
        log(f"serving {settings.socket} to user ids {', '.join(map(str, sorted(users)))}")
        if metrics_listener is not None:
            metrics_server = await metrics.serve(metrics_listener, service.status)
        systemd.notify("READY=1")
        await stop.wait()
        systemd.notify("STOPPING=1")
        server.close()
        if metrics_server is not None:
            metrics_server.close()
        for connection in list(service.connections):
            connection.cut()
        log("ended")
    finally:
        if stop.is_set():
            _ignore_signals(loop)
        keeper.lock()
        os.close(descriptor)
        if metrics_listener is not None:
            metrics_listener.close()


def _listen_for_metrics(settings: Settings) -> socket.socket | None:
    if settings.metrics_port is None:
        return None
    try:
        return metrics.listen(settings.metrics_address, settings.metrics_port)
    except OSError as error:
        # Any user can take a port before the agent does, and must not be able to keep the agent from serving keys.
        log(
            f"no metrics: could not listen on {settings.metrics_address} port {settings.metrics_port}: "
            f"{error.strerror or error}"
        )
        return None


def _ignore_signals(loop: asyncio.AbstractEventLoop) -> None:
    # When asyncio closes the loop, it restores the default actions: a second SIGTERM would then kill the agent,
    # and its exit status would report a failure, although it had almost ended. The signals are blocked first, so
    # that none arrives between the two calls.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    for number in _SIGNALS:
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)


async def _unlock_first(service: Service, ask: Ask, stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    unlock = loop.create_task(service.load(Operation.UNLOCK, ask, "start"))
    stopped = loop.create_task(stop.wait())
    await asyncio.wait((unlock, stopped), return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if stop.is_set():
        unlock.cancel()
        return
    try:
        await unlock
    except NobodyToAskError:
        log("locked: the provider needs a passphrase or a PIN; run pgkeymgr agent unlock")
        systemd.notify("STATUS=Locked: pgkeymgr agent unlock")
