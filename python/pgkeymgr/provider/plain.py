"""What a provider protects: the text that a getkey script prints, 64 hexadecimal digits a line, newest first."""

from collections.abc import Sequence

from ..crypto.kdf import KEY_BYTES
from ..errors import DataError, ProviderError
from ..root_key.getkey import OUTPUT_BYTES_MAX, read_keys

LINE_BYTES = 2 * KEY_BYTES + 1
KEYS_MAX = OUTPUT_BYTES_MAX // LINE_BYTES


def to_text(keys: Sequence[bytes], source: str, keys_max: int = KEYS_MAX) -> bytes:
    """Write root keys as text.

    Args:
        keys: 32 bytes each, newest first.
        source: where they are to be kept, in words.
        keys_max: how many fit there.

    Returns:
        The text.

    Raises:
        DataError: there is none, or one of them is not a root key.
        ProviderError: there are too many.
    """
    if not keys:
        raise DataError("there is no root key to store")
    if not all(isinstance(key, bytes) and len(key) == KEY_BYTES and any(key) for key in keys):
        raise DataError(f"a root key must be {KEY_BYTES} bytes, not all of them zeros")
    if len(keys) > keys_max:
        raise ProviderError(
            f"{source} has room for {keys_max} root keys, and there are {len(keys)}",
            hint="Leave out the oldest ones, once no database needs them: see root_key_status().",
        )
    return b"".join(key.hex().encode() + b"\n" for key in keys)


def to_keys(text: bytes, source: str) -> list[bytes]:
    """Read root keys from text.

    Args:
        text: what a provider has opened.
        source: where it was, in words.

    Returns:
        The root keys, 32 bytes each, newest first; at least one.

    Raises:
        ProviderError: that is not root keys; the message tells the number of a line and its length only.
    """
    return read_keys(text, lambda what, hint: ProviderError(f"{source} holds {what}", hint=hint))
