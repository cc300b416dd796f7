"""The root key of this session, and the keys that are derived from it by number."""

from __future__ import annotations

from ..errors import DataError
from ..root_key import LocalRootKey, RootKey, getkey
from . import server

TYPE_CHECKING = False  # see key/named_tuple.py
if TYPE_CHECKING:
    from ..agent.remote import RemoteRootKey
    from ..key.audit import Audit

_root_key: RootKey | None = None
_agent: RemoteRootKey | None = None
_Asked = tuple[tuple[int, int, bytes], int, bytes]
_NOTHING: _Asked = ((0, 0, b""), -1, b"")
_asked = _NOTHING
"""The last key that the agent has derived: its number, length and context, the statement, and the key."""


def get() -> RootKey:
    """Return the root key of this session, and ``load`` it if there is none yet."""
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
        AgentError: the agent could not be reached, is locked, or did not answer.
    """
    return (_root_key or load()).derive(key_id, key_len, context)


def key_for_row(key_id: int, key_len: int, context: bytes) -> bytes:
    """Derive a key as ``derive_key`` does, but ask the agent only once for equal keys in a statement's rows."""
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
    """The functions that return derived keys to SQL, for one session."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    def derive_key(self, key_id: int, key_len: int, context: bytes) -> bytes:
        """Derive a key, and record in the audit trail that it was revealed; see the function ``derive_key``."""
        key = derive_key(key_id, key_len, context)
        self._reveal(key_id, key_len, context)
        return key

    def derive_key_under(self, key_id: int, key_len: int, context: bytes, root_key: str) -> bytes:
        """Derive a key from the root key with a fingerprint, the newest or a previous one; see ``derive_key``.

        Raises:
            DataError: the fingerprint is NULL or empty.
            RootKeyError: no root key has that fingerprint.
        """
        if not root_key:
            raise DataError(f"root_key must not be {'NULL' if root_key is None else 'empty'}")
        key = get().derive(key_id, key_len, context, root_key)
        self._reveal(key_id, key_len, context, f" from the root key {root_key}")
        return key

    def _reveal(self, key_id: int, key_len: int, context: bytes, under: str = "") -> None:
        called = context.decode("ascii") if context.isalnum() else context.hex()
        self._audit.reveal("derive", None, None, f"number {key_id}, context {called}, {key_len} bytes{under}")


def load() -> RootKey:
    """Get the root key from the agent or, without an agent, from the getkey script, even if it is known already.

    Returns:
        The root key.

    Raises:
        RootKeyError: there is no root key.
        AgentError: the agent could not be reached, is locked, or did not answer.
        GetkeyError: the getkey script was refused, or failed.
        CanceledError: the statement was canceled in the meantime.
    """
    global _root_key, _agent, _asked  # noqa: PLW0603  # A backend has one session, and so one root key.
    _asked = _NOTHING
    if _agent is not None:
        return _agent.renew()
    import os

    from ..agent.socket_path import find_socket
    from ..root_key import memory

    agent_socket = find_socket(os.environ)
    if agent_socket is not None:
        from ..agent.remote import RemoteRootKey

        memory.forbid_core_dumps()  # This process has no root key, but it has data keys.
        _agent = RemoteRootKey(agent_socket, server.is_canceled)
        return _agent.renew()
    path = getkey.find(os.environ, server.config_file(), server.share_directory())
    memory.forbid_core_dumps()
    output = getkey.run(path, server.is_canceled)
    _root_key = LocalRootKey(getkey.parse(output, path), f"getkey {path}")
    return _root_key
