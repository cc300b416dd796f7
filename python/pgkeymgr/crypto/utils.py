"""Comparison in constant time, and base64 in libsodium's URL-safe variant without padding.

Sources: https://doc.libsodium.org/helpers and RFC 4648, section 5
"""

import base64
import hmac
import re

from ..errors import DataError
from .sizes import check_size

_ALPHABET = re.compile(r"[A-Za-z0-9_-]*\Z", re.ASCII)


def crypto_cmp(one: str, other: str) -> bool:
    """Return whether two texts are equal; the time of the comparison depends on their lengths only."""
    return hmac.compare_digest(one.encode(), other.encode())


def sodium_bin2base64(bin: bytes) -> str:
    """Return bytes as base64 in the URL-safe alphabet, without padding.

    Raises:
        LimitError: the text would be longer than PostgreSQL can hold.
    """
    check_size(-(-len(bin) * 4 // 3), "the base64 text")
    return base64.urlsafe_b64encode(bin).rstrip(b"=").decode("ascii")


def sodium_base642bin(base64_text: str) -> bytes:
    """Return the bytes of a base64 text.

    Args:
        base64_text: base64 in the URL-safe alphabet, without padding and white space.

    Returns:
        The bytes.

    Raises:
        DataError: the text is not such base64, or these bytes would be encoded as another text.
    """
    if _ALPHABET.match(base64_text) and len(base64_text) % 4 != 1:
        decoded = base64.urlsafe_b64decode(base64_text + "=" * (-len(base64_text) % 4))
        # If the unused bits of the last character could differ, two texts would stand for the same bytes.
        if sodium_bin2base64(decoded) == base64_text:
            return decoded
    raise DataError("base64 must be in the URL-safe alphabet, without padding")
