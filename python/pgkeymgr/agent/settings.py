"""The agent's settings, from the file agent.toml and from the command line, which has precedence."""

import os
import pwd
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..documents import page
from ..errors import AgentError
from ..root_key import trusted_path
from .socket_path import SOCKET

CONFIG = "/etc/pgkeymgr/agent.toml"
MAX_CLIENTS = 10_000
METRICS_ADDRESS = "127.0.0.1"
ALLOW_USERS = ("postgres",)

_OVERFLOW_UID = 65534
_TYPES: dict[str, type] = {
    "socket": str,
    "allow_users": list,
    "max_clients": int,
    "metrics_port": int,
    "metrics_address": str,
    "getkey": str,
    "provider": dict,
    "checkpoints": str,
}


@dataclass(frozen=True)
class Settings:
    """The settings of an agent.

    Attributes:
        socket: the absolute path of the socket.
        allow_users: the names or numbers of the users whose processes may use the root key.
        max_clients: the largest number of connections.
        getkey: the path of the getkey script that prints the root key, or None.
        provider: the settings of the provider that has the root key, or None.
        checkpoints: the path of the file of checkpoints of the audit trail, or None.
        lock_memory: whether to keep the memory out of swap, and to refuse to run otherwise.
        metrics_port: the port on which to serve metrics, or None to serve none.
        metrics_address: the loopback address on which to serve metrics.
    """

    socket: str = SOCKET
    allow_users: tuple[str | int, ...] = ALLOW_USERS
    max_clients: int = MAX_CLIENTS
    getkey: str | None = None
    provider: Mapping[str, Any] | None = field(default=None, repr=False)
    checkpoints: str | None = None
    lock_memory: bool = True
    metrics_port: int | None = None
    metrics_address: str = METRICS_ADDRESS

    def changed(self, **given: Any) -> "Settings":
        """Return these settings with some of them replaced; an argument of None replaces nothing."""
        changes = {name: value for name, value in given.items() if value is not None}
        if "getkey" in changes:
            changes["provider"] = None
        return replace(self, **changes)


def _configuration_error(path: str, reason: str, hint: str) -> AgentError:
    return AgentError(f'the configuration "{path}" {reason}', hint=hint)


def read(path: str | None) -> Settings:
    """Return the settings in agent.toml.

    Args:
        path: the path of the file. None is CONFIG, and allows that this file does not exist.

    Returns:
        The settings of the file, with defaults for the others.

    Raises:
        AgentError: the file is missing or malformed, or another user could have written it.
    """
    if path is None:
        if not os.path.lexists(CONFIG):
            return Settings()
        path = CONFIG
    descriptor = trusted_path.open_to_read(
        path, lambda reason, hint: _configuration_error(path, reason, hint), "the agent"
    )
    hint = f"See {page('agent.md')} for the settings."
    try:
        with os.fdopen(descriptor, "rb") as file:
            values = tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        values = None  # The error is raised below, because this exception may have a line with a secret in it.
    if values is None:
        raise _configuration_error(path, "is not TOML", hint)
    for name, value in values.items():
        if name not in _TYPES:
            raise _configuration_error(path, f'has an unknown setting "{name}"', hint)
        if type(value) is not _TYPES[name]:
            raise _configuration_error(path, f'has the wrong type of value for "{name}"', hint)
    if "getkey" in values and "provider" in values:
        raise _configuration_error(
            path, "names a getkey script and a provider", "Remove the setting that does not have the root key."
        )
    if any(type(user) not in (str, int) for user in values.get("allow_users", ())):
        raise _configuration_error(path, 'must have only names and numbers in "allow_users"', hint)
    if values.get("max_clients", 1) < 1:
        raise _configuration_error(path, "allows no clients", "Set max_clients to 1 or more, or remove it.")
    if not os.path.isabs(values.get("checkpoints", "/")):
        raise _configuration_error(path, 'must have an absolute path in "checkpoints"', hint)
    if "allow_users" in values:
        values["allow_users"] = tuple(values["allow_users"])
    return Settings(**values)


def user_ids(users: Iterable[str | int]) -> frozenset[int]:
    """Return the numbers of users.

    Args:
        users: names, and numbers as integers or as text.

    Returns:
        The numbers.

    Raises:
        AgentError: a user does not exist, or its number stands for many users.
    """
    found = set()
    for user in users:
        try:
            uid = int(user) if str(user).isdecimal() else pwd.getpwnam(str(user)).pw_uid
        except KeyError:
            raise AgentError(
                f'user "{user}" does not exist',
                hint="Name the users of the PostgreSQL servers in allow_users or with --allow-user. A number can "
                "stand for a user that has no name.",
            ) from None
        if uid == _OVERFLOW_UID:
            raise AgentError(
                f"user id {uid} cannot be allowed",
                hint=f"{uid} is the overflow uid: every unmapped user of another user namespace appears as it.",
            )
        found.add(uid)
    return frozenset(found)
