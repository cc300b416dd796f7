"""Serves the agent's metrics to Prometheus, over HTTP on a loopback address.

The server is off by default. Any user of the machine can connect to a loopback address, so the metrics have no
fingerprint, no path and no user in them, and a client can do nothing but read them. Each connection has one
request. There are limits for the length of a request, for the time of a connection, and for the number of
connections.

Sources: RFC 9110, RFC 9112
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Any

from ..errors import AgentError
from .exposition import OPENMETRICS, TEXT, Family, write

PATH = "/metrics"
REQUEST_BYTES_MAX = 8192
PATIENCE_SECONDS = 5
"""The time of a connection, from its start until the client has read the answer."""
CONNECTIONS_MAX = 16

_PORT_MAX = 65535
_NAME = re.compile(r"[!#$%&'*+.^_`|~\w-]+", re.ASCII)
_NOT_IN_A_VALUE = re.compile(r"[\r\n\0]")
_HINT = "Set metrics_address to 127.0.0.1 or ::1."


def listen(address: str, port: int) -> socket.socket:
    """Create the socket that listens for requests.

    Args:
        address: a loopback address in digits.
        port: the number of the port.

    Returns:
        The socket.

    Raises:
        AgentError: the address is not a loopback address, or the port is not a port.
        OSError: another process uses the port, or the agent may not use the network.
    """
    try:
        checked = ipaddress.ip_address(address)
    except ValueError:
        raise AgentError(f'the address for metrics "{address}" is not an IP address', hint=_HINT) from None
    # ::1 is the only loopback address of IPv6, and a zone or a mapped IPv4 address could lead elsewhere.
    if not checked.is_loopback or (checked.version == 6 and str(checked) != "::1"):  # noqa: PLR2004
        raise AgentError(
            f'the address for metrics "{address}" is not a loopback address',
            hint=f"{_HINT} Metrics are not encrypted and need no password, so they stay on this machine.",
        )
    if not 1 <= port <= _PORT_MAX:
        raise AgentError(f"the port for metrics, {port}, is not in the range from 1 to {_PORT_MAX}")
    family = socket.AF_INET if checked.version == 4 else socket.AF_INET6  # noqa: PLR2004
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(CONNECTIONS_MAX)
    except OSError:
        listener.close()
        raise
    return listener


async def serve(listener: socket.socket, status: Callable[[], dict[str, Any]]) -> asyncio.Server:
    """Answer requests on a socket, in the running event loop.

    Args:
        listener: the socket, from ``listen``.
        status: returns the state of the agent, as ``pgkeymgr agent status`` shows it.

    Returns:
        The server.
    """
    connections: dict[Request, None] = {}
    return await asyncio.get_running_loop().create_server(
        lambda: Request(status, connections), sock=listener, backlog=CONNECTIONS_MAX
    )


class Request(asyncio.Protocol):
    """A connection with one request."""

    def __init__(self, status: Callable[[], dict[str, Any]], connections: dict["Request", None]) -> None:
        self._status = status
        self._connections = connections
        self._transport: asyncio.Transport
        self._received = bytearray()
        self._is_answered = False
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the request, and close the oldest connection if there are too many."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if len(self._connections) >= CONNECTIONS_MAX:
            # Prometheus sends its request at once, so the oldest connection is one that only waits.
            next(iter(self._connections)).cut()
        self._connections[self] = None
        self._late = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self.cut)

    def connection_lost(self, exc: Exception | None) -> None:
        """Release everything that belongs to the connection."""
        self._connections.pop(self, None)
        if self._late is not None:
            self._late.cancel()

    def cut(self) -> None:
        """Close the connection at once."""
        self._is_answered = True
        self._connections.pop(self, None)
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Answer the request when its header is complete."""
        if self._is_answered:
            return
        self._received += data
        header, end, _ = self._received.partition(b"\r\n\r\n")
        if len(header) > REQUEST_BYTES_MAX:
            self._answer(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif end:
            self._respond(bytes(header))

    def _respond(self, header: bytes) -> None:
        first, *lines = header.decode("latin-1").split("\r\n")
        request = re.fullmatch(r"([A-Z]+) (\S+) HTTP/1\.[01]", first)
        fields = [line.partition(":") for line in lines]
        # The loop serves the root key, too. A pattern for the whole line could take it hours for a line of spaces.
        if request is None or not all(colon and _is_field(name, value) for name, colon, value in fields):
            self._answer(HTTPStatus.BAD_REQUEST)
            return
        named = [(name.lower(), value.strip(" \t")) for name, _, value in fields]
        hosts = [value for name, value in named if name == "host"]
        method, target = request.groups()
        if len(hosts) > 1:
            self._answer(HTTPStatus.BAD_REQUEST)
        elif not all(map(_is_local, hosts)):
            # A page in a browser of this machine reaches the port under a name of its own: DNS rebinding.
            self._answer(HTTPStatus.MISDIRECTED_REQUEST)
        elif target.partition("?")[0] != PATH:
            self._answer(HTTPStatus.NOT_FOUND)
        elif method != "GET":
            self._answer(HTTPStatus.METHOD_NOT_ALLOWED)
        else:
            wanted = ",".join(value for name, value in named if name == "accept")
            is_openmetrics = "application/openmetrics-text" in wanted
            body = write(families(self._status()), is_openmetrics)
            self._answer(HTTPStatus.OK, body, OPENMETRICS if is_openmetrics else TEXT)

    def _answer(self, status: HTTPStatus, body: str = "", kind: str = "text/plain; charset=utf-8") -> None:
        self._is_answered = True
        content = (body or f"{status.phrase}\n").encode()
        lines = [
            f"HTTP/1.1 {status.value} {status.phrase}",
            f"Content-Type: {kind}",
            f"Content-Length: {len(content)}",
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            "Connection: close",
            *(["Allow: GET"] if status == HTTPStatus.METHOD_NOT_ALLOWED else []),
        ]
        self._transport.write("".join(f"{line}\r\n" for line in [*lines, ""]).encode() + content)
        self._transport.close()


def _is_field(name: str, value: str) -> bool:
    return bool(_NAME.fullmatch(name)) and not _NOT_IN_A_VALUE.search(value)


def _is_local(host: str) -> bool:
    name = re.sub(r":\d*\Z", "", host).strip("[]")
    try:
        return name.lower() == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def families(state: dict[str, Any]) -> list[Family]:
    """Return the metrics of an agent.

    Args:
        state: the state, as ``pgkeymgr agent status`` shows it.

    Returns:
        The metrics, without the fingerprint of the root key and the users.
    """
    gauges = {
        "unlocked": ("Whether the agent has the root key.", state["state"] == "unlocked"),
        "memory_locked": ("Whether the memory of the agent is kept out of swap.", state["memory_locked"]),
        "previous_root_keys": ("The number of previous root keys that the agent has.", len(state["previous"])),
        "clients": ("The number of connections.", state["clients"]),
        "clients_max": ("The largest number of connections.", state["max_clients"]),
        "started_timestamp_seconds": ("The time at which the agent started.", _seconds(state["started"])),
        "loaded_timestamp_seconds": (
            "The time at which the agent last fetched the root key; 0 if it never did.",
            _seconds(state["loaded"]),
        ),
    }
    info = Family("pgkeymgr_agent_info", "The version of the agent, as a label; the value is 1.")
    info.add(1, version=state["version"])
    found = [info]
    for name, (text, value) in gauges.items():
        family = Family(f"pgkeymgr_agent_{name}", text)
        family.add(value)
        found.append(family)
    refused = Family("pgkeymgr_agent_refused_total", "Connections of users that may not use the agent.", "counter")
    refused.add(state["refused"])
    operations = Family("pgkeymgr_agent_operations_total", "Operations that used the root key.", "counter")
    for name in OPERATIONS:
        operations.add(state["operations"].get(name, 0), operation=name)
    return [*found, refused, operations]


OPERATIONS = ("identify", "derive", "wrap", "unwrap", "rewrap")
"""The operations that use the root key. Each has a sample from the start."""


def _seconds(time: str | None) -> float:
    return datetime.fromisoformat(time).timestamp() if time else 0
