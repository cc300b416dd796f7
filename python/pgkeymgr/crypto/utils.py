"""Helpers: constant-time comparison, and base64 as libsodium's URL-safe variant without padding.

Sources: https://doc.libsodium.org/helpers and RFC 4648, section 5
"""

import base64
import hmac
import re

from ..errors import DataError
from .sizes import check_size

_ALPHABET = re.compile(r"[A-Za-z0-9_-]*\Z", re.ASCII)


def crypto_cmp(one: str, other: str) -> bool:
    """Tell whether two texts are equal, in a time that depends on their lengths only."""
    return hmac.compare_digest(one.encode(), other.encode())


def sodium_bin2base64(bin: bytes) -> str:
    """Return bytes as base64: URL-safe alphabet, no padding.

    Raises:
        LimitError: the text would be longer than PostgreSQL can hold.
    """
    check_size(-(-len(bin) * 4 // 3), "the base64 text")
    return base64.urlsafe_b64encode(bin).rstrip(b"=").decode("ascii")


def sodium_base642bin(base64_text: str) -> bytes:
    """Return the bytes of a base64 text.

    Args:
        base64_text: URL-safe alphabet, no padding, no white space.

    Returns:
        The bytes.

    Raises:
        DataError: it is not such a text, or not the one that the bytes encode to.
    """
    if _ALPHABET.match(base64_text) and len(base64_text) % 4 != 1:
        decoded = base64.urlsafe_b64decode(base64_text + "=" * (-len(base64_text) % 4))
        # Left-over bits that are not zero would give two texts for the same bytes.
        if sodium_bin2base64(decoded) == base64_text:
            return decoded
    raise DataError("base64 is not base64 of the URL-safe alphabet without padding")
