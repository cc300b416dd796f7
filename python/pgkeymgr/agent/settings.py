"""The agent's settings: the file agent.toml, and what the command line has instead."""

import os
import pwd
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import AgentError
from ..root_key import trusted_path
from .socket_path import SOCKET

CONFIG = "/etc/pgkeymgr/agent.toml"
MAX_CLIENTS = 10_000
ALLOW_USERS = ("postgres",)

_OVERFLOW_UID = 65534
_TYPES: dict[str, type] = {
    "socket": str,
    "allow_users": list,
    "max_clients": int,
    "getkey": str,
    "provider": dict,
}


@dataclass(frozen=True)
class Settings:
    """How an agent runs.

    Attributes:
        socket: the path of its socket, absolute.
        allow_users: the users, by name or number, whose processes may use the root key.
        max_clients: how many connections it keeps.
        getkey: the path of the getkey script that has the root key, or None.
        provider: the settings of the provider that has it instead, or None.
        lock_memory: refuse to run with memory that can be swapped out.
    """

    socket: str = SOCKET
    allow_users: tuple[str | int, ...] = ALLOW_USERS
    max_clients: int = MAX_CLIENTS
    getkey: str | None = None
    provider: Mapping[str, Any] | None = field(default=None, repr=False)
    lock_memory: bool = True

    def changed(self, **given: Any) -> "Settings":
        """Return these settings, with those that were given, not None, in their place."""
        changes = {name: value for name, value in given.items() if value is not None}
        if "getkey" in changes:
            changes["provider"] = None
        return replace(self, **changes)


def _wrong(path: str, reason: str, hint: str) -> AgentError:
    return AgentError(f'the configuration "{path}" {reason}', hint=hint)


def read(path: str | None) -> Settings:
    """Read agent.toml.

    Args:
        path: the file's; None for CONFIG, if that is there.

    Returns:
        What it says; the defaults, if there is no file.

    Raises:
        AgentError: it is missing, somebody else could have written it, or it is wrong.
    """
    if path is None:
        if not os.path.lexists(CONFIG):
            return Settings()
        path = CONFIG
    descriptor = trusted_path.open_to_read(path, lambda reason, hint: _wrong(path, reason, hint), "the agent")
    hint = "See docs/agent.md for what can stand there."
    try:
        with os.fdopen(descriptor, "rb") as file:
            values = tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        values = None  # and raised below: the exception may have a line with a secret in it
    if values is None:
        raise _wrong(path, "is not TOML", hint)
    for name, value in values.items():
        if name not in _TYPES:
            raise _wrong(path, f'has an unknown setting "{name}"', hint)
        if type(value) is not _TYPES[name]:
            raise _wrong(path, f'has the wrong type of value for "{name}"', hint)
    if "getkey" in values and "provider" in values:
        raise _wrong(path, "names a getkey script and a provider", "Keep the one that has the root key.")
    if any(type(user) not in (str, int) for user in values.get("allow_users", ())):
        raise _wrong(path, 'has something else than names and numbers in "allow_users"', hint)
    if values.get("max_clients", 1) < 1:
        raise _wrong(path, "allows no clients", "Set max_clients to 1 or more, or leave it out.")
    if "allow_users" in values:
        values["allow_users"] = tuple(values["allow_users"])
    return Settings(**values)


def user_ids(users: Iterable[str | int]) -> frozenset[int]:
    """Look users up.

    Args:
        users: names, or numbers, also as text.

    Returns:
        Their numbers.

    Raises:
        AgentError: one does not exist, or stands for more than one user.
    """
    found = set()
    for user in users:
        try:
            uid = int(user) if str(user).isdecimal() else pwd.getpwnam(str(user)).pw_uid
        except KeyError:
            raise AgentError(
                f'the user "{user}" does not exist',
                hint="Name the users that the PostgreSQL servers run as in allow_users, or with --allow-user; "
                "a number will do where they have no name.",
            ) from None
        if uid == _OVERFLOW_UID:
            raise AgentError(
                f"the user id {uid} cannot be allowed",
                hint="Every user of another user namespace without a number in this one has it.",
            )
        found.add(uid)
    return frozenset(found)
