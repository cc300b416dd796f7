"""BLAKE2b, with or without a key.

Sources: RFC 7693 and https://doc.libsodium.org/hashing/generic_hashing
"""

from hashlib import blake2b

from ..errors import DataError
from .randombytes import randombytes_buf

HASH_BYTES = 32
KEY_BYTES = 32
KEY_BYTES_MIN = 16
KEY_BYTES_MAX = 64


def crypto_generichash_keygen() -> bytes:
    """Return a new random key, 32 bytes."""
    return randombytes_buf(KEY_BYTES)


def crypto_generichash(message: bytes, key: bytes | None = None) -> bytes:
    """Return the BLAKE2b-256 of a message.

    Args:
        message: the message, of any length.
        key: 16 to 64 bytes, or None for a hash without a key.

    Returns:
        32 bytes.

    Raises:
        DataError: the key has the wrong length.
    """
    if key is None:
        return blake2b(message, digest_size=HASH_BYTES).digest()
    if not KEY_BYTES_MIN <= len(key) <= KEY_BYTES_MAX:
        raise DataError(f"key must be {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes long, not {len(key)}")
    return blake2b(message, digest_size=HASH_BYTES, key=key).digest()
