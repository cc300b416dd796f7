"""The wire format between the agent and its clients, as functions of bytes. docs/agent.md describes it.

The layout of a frame; numbers are big-endian:

- the length of the rest of the frame, 4 bytes;
- the version, 1 byte;
- the code, 1 byte: an operation in a request, a status in a response;
- the fields, each with its length before it in 4 bytes.

A client sends a request and waits for the response. Responses have the order of the requests.
"""

from collections.abc import Sequence
from enum import IntEnum
from struct import Struct

from ..errors import (
    AgentError,
    DataError,
    Error,
    GetkeyError,
    LimitError,
    ParameterError,
    PassphraseError,
    PrivilegeError,
    ProviderError,
    RootKeyError,
)
from ..root_key.wrap import OVERHEAD_BYTES

VERSION = 1
VERSIONS = (1,)
"""The versions that this agent answers. A client uses the newest."""

LENGTH_BYTES = 4
SECRET_BYTES_MAX = 1 << 20
"""The length of the largest secret that the agent wraps, in bytes."""
FRAME_BYTES_MAX = SECRET_BYTES_MAX + (1 << 16)
"""The length of the longest frame, without the length field: the largest secret, and 64 KiB for the other
fields."""
FIELDS_MAX = 4

_LENGTH = Struct(">I")
_HEAD = Struct(">IBB")
_HEAD_BYTES = 2
_DERIVE = Struct(">qi")
_ID = Struct(">Q")
_LINK = Struct(">q")


class Operation(IntEnum):
    """The operations that a client can request."""

    IDENTIFY = 1
    DERIVE = 2
    WRAP = 3
    UNWRAP = 4
    REWRAP = 5
    CHECKPOINT = 6
    STATUS = 16
    LOCK = 17
    UNLOCK = 18
    RELOAD = 19
    ANSWER = 20
    AUDIT_KEYS = 21


FIELDS = {
    Operation.IDENTIFY: 0,
    Operation.DERIVE: 3,
    Operation.WRAP: 3,
    Operation.UNWRAP: 3,
    Operation.REWRAP: 4,
    Operation.CHECKPOINT: 4,
    Operation.STATUS: 0,
    Operation.LOCK: 0,
    Operation.UNLOCK: 0,
    Operation.RELOAD: 0,
    Operation.ANSWER: 1,
    Operation.AUDIT_KEYS: 0,
}
"""The number of fields of each operation."""


class Status(IntEnum):
    """The kinds of responses."""

    OK = 0
    ERROR = 1
    ASK = 2


_ERRORS: dict[str, type[Error]] = {
    kind.__name__: kind
    for kind in (
        AgentError,
        DataError,
        GetkeyError,
        LimitError,
        ParameterError,
        PassphraseError,
        PrivilegeError,
        ProviderError,
        RootKeyError,
    )
}


class FormatError(Exception):
    """The received bytes are not a frame of this format. The message describes the fault without the content."""


class VersionError(FormatError):
    """The frame has an unknown version."""

    def __init__(self, version: int) -> None:
        super().__init__(f"version {version}")
        self.version = version


def encode(code: int, fields: Sequence[bytes] = ()) -> bytes:
    """Return a frame.

    Args:
        code: an operation or a status.
        fields: at most FIELDS_MAX fields.

    Returns:
        The frame, with its length field.

    Raises:
        LimitError: the frame would be longer than FRAME_BYTES_MAX.
    """
    body = b"".join([part for field in fields for part in (_LENGTH.pack(len(field)), field)])
    length = _HEAD_BYTES + len(body)
    if length > FRAME_BYTES_MAX:
        raise too_large(length)
    return _HEAD.pack(length, VERSION, code) + body


def too_large(size: int) -> LimitError:
    """Return the error for a request that is too large for the agent.

    Args:
        size: the length of the secret, the wrap or the frame in bytes.

    Returns:
        The error, which the caller raises.
    """
    return LimitError(
        f"secret is too large for the agent: {size} bytes, but at most {SECRET_BYTES_MAX} are allowed",
        hint="Encrypt it under a data key with token_encrypt(), which has no such limit.",
    )


def check_secret(secret: bytes) -> None:
    """Refuse a secret whose wrap would not fit into a response.

    Args:
        secret: the secret to wrap.

    Raises:
        LimitError: the secret is larger than SECRET_BYTES_MAX.
    """
    if len(secret) > SECRET_BYTES_MAX:
        raise too_large(len(secret))


def check_wrapped(wrapped: bytes) -> None:
    """Refuse a wrap that the agent cannot have made.

    Args:
        wrapped: the wrap to open.

    Raises:
        LimitError: the secret in the wrap is larger than SECRET_BYTES_MAX.
    """
    if len(wrapped) > SECRET_BYTES_MAX + OVERHEAD_BYTES:
        raise too_large(len(wrapped))


def frame_length(start: bytes | bytearray) -> int:
    """Return the length of a frame.

    Args:
        start: the first LENGTH_BYTES bytes of the frame, or more.

    Returns:
        The number of bytes after the length field.

    Raises:
        FormatError: the length is out of range.
    """
    length: int = _LENGTH.unpack_from(start)[0]
    if not _HEAD_BYTES <= length <= FRAME_BYTES_MAX:
        raise FormatError(f"a frame must be {_HEAD_BYTES} to {FRAME_BYTES_MAX} bytes long, not {length}")
    return length


def decode(body: bytes) -> tuple[int, list[bytes]]:
    """Return the code and the fields of a frame.

    Args:
        body: the frame without its length field.

    Returns:
        The code and the fields.

    Raises:
        VersionError: the frame has another version.
        FormatError: the fields do not fill the frame.
    """
    size = len(body)
    if size < _HEAD_BYTES:
        raise FormatError("the frame has no code")
    if body[0] not in VERSIONS:
        raise VersionError(body[0])
    fields: list[bytes] = []
    at = _HEAD_BYTES
    while at < size:
        start = at + LENGTH_BYTES
        if start > size:
            raise FormatError("a field has no length")
        at = start + _LENGTH.unpack_from(body, start - LENGTH_BYTES)[0]
        if at > size:
            raise FormatError("a field is longer than its frame")
        if len(fields) == FIELDS_MAX:
            raise FormatError(f"the frame has more than {FIELDS_MAX} fields")
        fields.append(body[start:at])
    return body[1], fields


def decode_request(body: bytes) -> tuple[int, list[bytes]]:
    """Return the operation and the fields of a request.

    Args:
        body: the frame without its length field.

    Returns:
        A known operation, and the number of fields that it has.

    Raises:
        VersionError: the frame has another version.
        FormatError: the frame is not a request.
    """
    operation, fields = decode(body)
    wanted = FIELDS.get(operation)  # type: ignore[call-overload]  # an IntEnum is its number
    if wanted is None:
        raise FormatError(f"operation {operation} does not exist")
    if len(fields) != wanted:
        raise FormatError(f"operation {operation} must have {wanted} fields, not {len(fields)}")
    return operation, fields


def encode_derive(key_id: int, length: int, context: bytes, under: str | None) -> bytes:
    """Return the request for a derived key; see ``RootKey.derive``."""
    return encode(Operation.DERIVE, (_DERIVE.pack(key_id, length), context, (under or "").encode()))


def decode_derive(fields: Sequence[bytes]) -> tuple[int, int, bytes, str | None]:
    """Return the arguments in a request for a derived key.

    Args:
        fields: the three fields of the request.

    Returns:
        The arguments of ``RootKey.derive``.

    Raises:
        FormatError: the first field is not 12 bytes long, or the last field is not text.
    """
    if len(fields[0]) != _DERIVE.size:
        raise FormatError(f"the number and the length must be {_DERIVE.size} bytes long, not {len(fields[0])}")
    key_id, length = _DERIVE.unpack(fields[0])
    return key_id, length, fields[1], text(fields[2]) or None


def encode_checkpoint(system: int, database: str, link: int, hash: bytes) -> bytes:
    """Return the request for a checkpoint; see ``RootKey.checkpoint``."""
    return encode(Operation.CHECKPOINT, (_ID.pack(system), database.encode(), _LINK.pack(link), hash))


def decode_checkpoint(fields: Sequence[bytes]) -> tuple[int, str, int, bytes]:
    """Return the arguments in a request for a checkpoint.

    Args:
        fields: the four fields of the request.

    Returns:
        The arguments of ``RootKey.checkpoint``.

    Raises:
        FormatError: a number is not 8 bytes long, or the name of the database is not text.
    """
    if len(fields[0]) != _ID.size or len(fields[2]) != _LINK.size:
        raise FormatError(f"the system identifier and the number of the event must be {_ID.size} bytes long")
    return _ID.unpack(fields[0])[0], text(fields[1]), _LINK.unpack(fields[2])[0], fields[3]


def text(field: bytes) -> str:
    """Return the text in a field.

    Args:
        field: the text as UTF-8.

    Returns:
        The text.

    Raises:
        FormatError: the field is not UTF-8.
    """
    try:
        return field.decode()
    except UnicodeDecodeError:
        pass  # The error is raised below, because this exception has the field in it.
    raise FormatError("a field that must be text is not UTF-8")


def encode_error(error: Error) -> bytes:
    """Return the response for an error.

    Args:
        error: the error. If its class is not in the protocol, the client gets an AgentError.

    Returns:
        The frame, with the name of the class, the message and the hint.
    """
    return encode(
        Status.ERROR, (type(error).__name__.encode(), error.message.encode(), (error.hint or "").encode())
    )


def decode_error(fields: Sequence[bytes]) -> Error:
    """Return the error in a response.

    Args:
        fields: the fields of the response.

    Returns:
        The error, which the caller raises.

    Raises:
        FormatError: the fields are not three texts.
    """
    if len(fields) != 3:  # noqa: PLR2004  # These are the class, the message and the hint.
        raise FormatError(f"an error must have 3 fields, not {len(fields)}")
    kind, message, hint = map(text, fields)
    return _ERRORS.get(kind, AgentError)(message, hint or None)


def unknown_version(version: int) -> AgentError:
    """Return the agent's answer to a request of an unknown version.

    Args:
        version: the version of the request.

    Returns:
        The error, which the agent sends.
    """
    known = ", ".join(map(str, VERSIONS))
    return AgentError(
        f"the agent does not support version {version} of the protocol, only {known}",
        hint="Install the same version of pgkeymgr for the agent and for the server, and restart the agent.",
    )


def stale_root_key(named: str, newest: str) -> RootKeyError:
    """Return the agent's answer to a request to wrap under a root key that is no longer the newest.

    Args:
        named: the fingerprint in the request.
        newest: the fingerprint of the newest root key.

    Returns:
        The error, which the agent sends.
    """
    return RootKeyError(
        f"the agent's root key is now {newest}, no longer {named}",
        hint="The agent has got a new root key in the meantime. Try again.",
    )
