"""SipHash-2-4, a short keyed hash for hash tables. It is too short to authenticate a message.

Sources: Aumasson and Bernstein, SipHash: a fast short-input PRF (2012), and
https://doc.libsodium.org/hashing/short-input_hashing
"""

from nacl import bindings

from ..errors import wrong_length
from .randombytes import randombytes_buf

KEY_BYTES = 16


def crypto_shorthash_keygen() -> bytes:
    """Return a new random key, 16 bytes."""
    return randombytes_buf(KEY_BYTES)


def crypto_shorthash(message: bytes, key: bytes) -> bytes:
    """Return the SipHash-2-4 of a message.

    Args:
        message: the message, of any length.
        key: 16 bytes.

    Returns:
        8 bytes.

    Raises:
        DataError: the key has the wrong length.
    """
    if len(key) != KEY_BYTES:
        raise wrong_length("key", key, KEY_BYTES)
    return bindings.crypto_shorthash_siphash24(message, key)
