"""The root key as this session has it, and the keys that are derived from it by number."""

from typing import TYPE_CHECKING

from ..errors import DataError
from ..root_key import LocalRootKey, RootKey, getkey
from . import server

if TYPE_CHECKING:
    from ..agent.remote import RemoteRootKey
    from ..key.audit import Audit

_root_key: RootKey | None = None
_agent: "RemoteRootKey | None" = None
_Asked = tuple[tuple[int, int, bytes], int, bytes]
_NOTHING: _Asked = ((0, 0, b""), -1, b"")
_asked = _NOTHING
"""What the agent was asked for last: number, length and context, the statement, and the key."""


def get() -> RootKey:
    """Return the root key; ``load`` it if this session has none."""
    return _root_key or load()


def derive_key(key_id: int, key_len: int, context: bytes) -> bytes:
    """Derive a key from the root key.

    Args:
        key_id: any 64-bit integer, signed.
        key_len: 16 to 64 bytes.
        context: 8 bytes.

    Returns:
        ``key_len`` bytes.

    Raises:
        DataError: an argument is out of range.
        RootKeyError: there is no root key.
        GetkeyError: the getkey script was refused, or failed.
    """
    return (_root_key or load()).derive(key_id, key_len, context)


def key_for_row(key_id: int, key_len: int, context: bytes) -> bytes:
    """Return what ``derive_key`` does; the agent is not asked for it again for each row of a statement."""
    if _root_key is not None:
        return _root_key.derive(key_id, key_len, context)
    global _asked  # noqa: PLW0603
    which = key_id, key_len, context
    known, stamp, key = _asked
    if known != which or stamp != server.statement_stamp():
        key = derive_key(key_id, key_len, context)
        _asked = which, server.statement_stamp(), key
    return key


class DerivedKeys:
    """The functions that give derived keys away, for one session."""

    def __init__(self, audit: "Audit") -> None:
        self._audit = audit

    def derive_key(self, key_id: int, key_len: int, context: bytes) -> bytes:
        """Return the key that ``derive_key`` gives, once the log has a line of it."""
        key = derive_key(key_id, key_len, context)
        self._reveal(key_id, key_len, context)
        return key

    def derive_key_under(self, key_id: int, key_len: int, context: bytes, root_key: str) -> bytes:
        """Derive a key from the root key of a fingerprint, the newest or a previous one; see ``derive_key``.

        Raises:
            DataError: the fingerprint is NULL or empty.
            RootKeyError: there is no root key of that fingerprint.
        """
        if not root_key:
            raise DataError(f"root_key must be a fingerprint, and is {'NULL' if root_key is None else 'empty'}")
        key = get().derive(key_id, key_len, context, root_key)
        self._reveal(key_id, key_len, context, f" from the root key {root_key}")
        return key

    def _reveal(self, key_id: int, key_len: int, context: bytes, under: str = "") -> None:
        called = context.decode("ascii") if context.isalnum() else context.hex()
        self._audit.reveal("derive", None, None, f"number {key_id}, context {called}, {key_len} bytes{under}")


def load() -> RootKey:
    """Get the root key, anew: from the agent, or else from the getkey script.

    Returns:
        It.

    Raises:
        RootKeyError: there is none.
        AgentError: the agent cannot be reached, or does not answer.
        GetkeyError: the getkey script was refused, or failed.
        CanceledError: the statement was cancelled in the meantime.
    """
    global _root_key, _agent, _asked  # noqa: PLW0603  # a backend has one session, and so one root key
    _asked = _NOTHING
    if _agent is not None:
        return _agent.anew()
    import os

    from ..agent.socket_path import find_socket
    from ..root_key import memory

    agent_socket = find_socket(os.environ)
    if agent_socket is not None:
        from ..agent.remote import RemoteRootKey

        memory.forbid_core_dumps()  # for the data keys
        _agent = RemoteRootKey(agent_socket, server.is_canceled)
        return _agent.anew()
    path = getkey.find(os.environ, server.config_file(), server.share_directory())
    memory.forbid_core_dumps()
    output = getkey.run(path, server.is_canceled)
    _root_key = LocalRootKey(getkey.parse(output, path), f"getkey {path}")
    return _root_key
