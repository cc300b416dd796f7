"""The wire format between the agent and its clients, as functions of bytes; docs/agent.md describes it.

A frame is its length (4 bytes, big-endian, without these 4), a version, a code, and fields, each with its length
(4 bytes) before it. The code of a request is an operation, that of a response a status. A client sends a request
and waits for the response; responses come in the order of the requests.
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
"""The versions that this agent answers; a client speaks the newest."""

LENGTH_BYTES = 4
SECRET_BYTES_MAX = 1 << 20
"""The largest secret that goes through the agent, in bytes."""
FRAME_BYTES_MAX = SECRET_BYTES_MAX + (1 << 16)
"""The longest frame, in bytes without its length: the largest secret, and room for what goes with it."""
FIELDS_MAX = 4

_LENGTH = Struct(">I")
_HEAD = Struct(">IBB")
_HEAD_BYTES = 2
_DERIVE = Struct(">qi")


class Operation(IntEnum):
    """What a request asks for."""

    IDENTIFY = 1
    DERIVE = 2
    WRAP = 3
    UNWRAP = 4
    REWRAP = 5
    STATUS = 16
    LOCK = 17
    UNLOCK = 18
    RELOAD = 19
    ANSWER = 20


FIELDS = {
    Operation.IDENTIFY: 0,
    Operation.DERIVE: 3,
    Operation.WRAP: 3,
    Operation.UNWRAP: 3,
    Operation.REWRAP: 4,
    Operation.STATUS: 0,
    Operation.LOCK: 0,
    Operation.UNLOCK: 0,
    Operation.RELOAD: 0,
    Operation.ANSWER: 1,
}
"""How many fields each operation has."""


class Status(IntEnum):
    """What a response is."""

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
    """What came is not a frame of this format; the message says how, without the content."""


class VersionError(FormatError):
    """It is a frame of a version that is not known here."""

    def __init__(self, version: int) -> None:
        super().__init__(f"version {version}")
        self.version = version


def encode(code: int, fields: Sequence[bytes] = ()) -> bytes:
    """Make a frame.

    Args:
        code: an operation or a status.
        fields: at most FIELDS_MAX.

    Returns:
        The frame, its length included.

    Raises:
        LimitError: it would be longer than FRAME_BYTES_MAX.
    """
    body = b"".join([part for field in fields for part in (_LENGTH.pack(len(field)), field)])
    length = _HEAD_BYTES + len(body)
    if length > FRAME_BYTES_MAX:
        raise too_large(length)
    return _HEAD.pack(length, VERSION, code) + body


def too_large(size: int) -> LimitError:
    """Make the error for what the agent does not take.

    Args:
        size: in bytes.

    Returns:
        The error, to be raised.
    """
    return LimitError(
        f"this is too large for the agent: {size} bytes, where a secret may have {SECRET_BYTES_MAX}",
        hint="Encrypt it under a data key: token_encrypt() has no such limit.",
    )


def check_secret(secret: bytes) -> None:
    """Refuse a secret whose wrap could not be sent back.

    Args:
        secret: what is to be wrapped.

    Raises:
        LimitError: it is larger than SECRET_BYTES_MAX.
    """
    if len(secret) > SECRET_BYTES_MAX:
        raise too_large(len(secret))


def check_wrapped(wrapped: bytes) -> None:
    """Refuse a wrap that the agent cannot have made.

    Args:
        wrapped: what is to be opened.

    Raises:
        LimitError: its secret is larger than SECRET_BYTES_MAX.
    """
    if len(wrapped) > SECRET_BYTES_MAX + OVERHEAD_BYTES:
        raise too_large(len(wrapped))


def frame_length(start: bytes | bytearray) -> int:
    """Read the length of a frame.

    Args:
        start: its first LENGTH_BYTES bytes, or more.

    Returns:
        How many bytes follow these four.

    Raises:
        FormatError: no frame has that length.
    """
    length: int = _LENGTH.unpack_from(start)[0]
    if not _HEAD_BYTES <= length <= FRAME_BYTES_MAX:
        raise FormatError(f"a frame of {length} bytes; it must have {_HEAD_BYTES} to {FRAME_BYTES_MAX}")
    return length


def decode(body: bytes) -> tuple[int, list[bytes]]:
    """Take a frame apart.

    Args:
        body: the frame without its length.

    Returns:
        Its code and its fields.

    Raises:
        VersionError: it is of another version.
        FormatError: the fields do not fill it.
    """
    size = len(body)
    if size < _HEAD_BYTES:
        raise FormatError("a frame without a code")
    if body[0] not in VERSIONS:
        raise VersionError(body[0])
    fields: list[bytes] = []
    at = _HEAD_BYTES
    while at < size:
        start = at + LENGTH_BYTES
        if start > size:
            raise FormatError("a field without its length")
        at = start + _LENGTH.unpack_from(body, start - LENGTH_BYTES)[0]
        if at > size:
            raise FormatError("a field longer than its frame")
        if len(fields) == FIELDS_MAX:
            raise FormatError(f"more than {FIELDS_MAX} fields")
        fields.append(body[start:at])
    return body[1], fields


def decode_request(body: bytes) -> tuple[int, list[bytes]]:
    """Take a request apart.

    Args:
        body: the frame without its length.

    Returns:
        Its operation, a known one, and as many fields as that has.

    Raises:
        VersionError: it is of another version.
        FormatError: it is not a request.
    """
    operation, fields = decode(body)
    wanted = FIELDS.get(operation)  # type: ignore[call-overload]  # an IntEnum is its number
    if wanted is None:
        raise FormatError(f"there is no operation {operation}")
    if len(fields) != wanted:
        raise FormatError(f"operation {operation} has {wanted} fields, not {len(fields)}")
    return operation, fields


def encode_derive(key_id: int, length: int, context: bytes, under: str | None) -> bytes:
    """Make the request for a derived key; see ``RootKey.derive``."""
    return encode(Operation.DERIVE, (_DERIVE.pack(key_id, length), context, (under or "").encode()))


def decode_derive(fields: Sequence[bytes]) -> tuple[int, int, bytes, str | None]:
    """Read the fields of that request.

    Args:
        fields: three.

    Returns:
        The arguments of ``RootKey.derive``.

    Raises:
        FormatError: the first field does not have 12 bytes, or the last is not text.
    """
    if len(fields[0]) != _DERIVE.size:
        raise FormatError(f"number and length have {_DERIVE.size} bytes, not {len(fields[0])}")
    key_id, length = _DERIVE.unpack(fields[0])
    return key_id, length, fields[1], text(fields[2]) or None


def text(field: bytes) -> str:
    """Read a field that is text.

    Args:
        field: UTF-8.

    Returns:
        The text.

    Raises:
        FormatError: it is not UTF-8.
    """
    try:
        return field.decode()
    except UnicodeDecodeError:
        pass  # raised below: this exception has the field in it
    raise FormatError("a field that must be text, and is not UTF-8")


def encode_error(error: Error) -> bytes:
    """Make the response that is an error.

    Args:
        error: of one of the classes that go over the wire; another arrives as AgentError.

    Returns:
        The frame: the name of the class, the message, the hint.
    """
    return encode(
        Status.ERROR, (type(error).__name__.encode(), error.message.encode(), (error.hint or "").encode())
    )


def decode_error(fields: Sequence[bytes]) -> Error:
    """Make that error again.

    Args:
        fields: of the response.

    Returns:
        The error, to be raised.

    Raises:
        FormatError: these are not three texts.
    """
    if len(fields) != 3:  # noqa: PLR2004  # class, message, hint
        raise FormatError(f"an error has 3 fields, not {len(fields)}")
    kind, message, hint = map(text, fields)
    return _ERRORS.get(kind, AgentError)(message, hint or None)


def unknown_version(version: int) -> AgentError:
    """Make the agent's answer to a version that it does not know.

    Args:
        version: what the client speaks.

    Returns:
        The error, to be sent.
    """
    known = ", ".join(map(str, VERSIONS))
    return AgentError(
        f"the agent does not speak version {version} of the protocol, but {known}",
        hint="Install the same version of pgkeymgr for the agent and for the server, and restart the agent.",
    )


def replaced(meant: str, newest: str) -> RootKeyError:
    """Make the agent's answer to a wrap under a root key that is not its newest any more.

    Args:
        meant: the fingerprint that the client named.
        newest: the one of the newest root key.

    Returns:
        The error, to be sent.
    """
    return RootKeyError(
        f"the agent's root key is {newest} by now, and no longer {meant}",
        hint="Try again: the agent was given a new root key while this was going on.",
    )
