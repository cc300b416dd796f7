"""Root keys as text, in the form that a getkey script prints: 64 hexadecimal digits on each line, newest first."""

from collections.abc import Sequence

from ..crypto.kdf import KEY_BYTES
from ..errors import DataError, ProviderError
from ..root_key.getkey import OUTPUT_BYTES_MAX, read_keys

LINE_BYTES = 2 * KEY_BYTES + 1
KEYS_MAX = OUTPUT_BYTES_MAX // LINE_BYTES


def to_text(keys: Sequence[bytes], source: str, keys_max: int = KEYS_MAX) -> bytes:
    """Return root keys as text.

    Args:
        keys: the root keys, 32 bytes each, newest first.
        source: the place that will have them, in words.
        keys_max: the number of root keys that this place has room for.

    Returns:
        The text, 65 bytes for each root key.

    Raises:
        DataError: there is no root key, or a root key is malformed.
        ProviderError: there are too many root keys.
    """
    if not keys:
        raise DataError("there is no root key to store")
    if not all(isinstance(key, bytes) and len(key) == KEY_BYTES and any(key) for key in keys):
        raise DataError(f"a root key must be {KEY_BYTES} bytes long, and not all of them zeros")
    if len(keys) > keys_max:
        raise ProviderError(
            f"{source} has room for {keys_max} root keys, not {len(keys)}",
            hint="Remove the oldest root keys when root_key_status() shows that no database needs them.",
        )
    return b"".join(key.hex().encode() + b"\n" for key in keys)


def to_keys(text: bytes, source: str) -> list[bytes]:
    """Return the root keys in a text.

    Args:
        text: the text that a provider has opened.
        source: the place of the text, in words.

    Returns:
        At least one root key, 32 bytes each, newest first.

    Raises:
        ProviderError: a line is not a root key. The message has only the number and the length of the line.
    """
    return read_keys(text, lambda what, hint: ProviderError(f"{source} holds {what}", hint=hint))
