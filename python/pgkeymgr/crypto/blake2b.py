"""Derives keys from keys: BLAKE2b of an empty message, under a key, with a salt and a personalization.

libsodium computes it and not hashlib, because libsodium clears its copies of the key. From Python 3.14 on, hashlib
leaves copies of the key in freed memory.

Sources: RFC 7693 and https://doc.libsodium.org/hashing/generic_hashing; for the salt and the personalization,
which that page does not describe, libsodium's header crypto_generichash_blake2b.h
"""

from ..errors import DataError
from . import sodium

KEY_BYTES_MAX = 64
SALT_BYTES = 16
PERSON_BYTES = 16

# The names are looked up once, because a query may derive a key for each of its rows.
_MEMORY = sodium.ffi.typeof("unsigned char[]")
_NULL = sodium.ffi.NULL
_new = sodium.ffi.new
_buffer = sodium.ffi.buffer
_hash = sodium.lib.crypto_generichash_blake2b_salt_personal
_clear = sodium.lib.sodium_memzero


def blake2b_of_key(size: int, key: bytes, person: bytes, salt: bytes = b"") -> bytes:
    """Derive a key.

    Args:
        size: the length of the derived key in bytes, 1 to 64.
        key: the key to derive from, 1 to 64 bytes.
        person: the purpose of the derived key, at most 16 bytes; it is padded with zeros.
        salt: at most 16 bytes; it is padded with zeros.

    Returns:
        ``size`` bytes.

    Raises:
        DataError: the key is too long.
    """
    memory = _new(_MEMORY, size)
    padded_salt, padded_person = salt.ljust(SALT_BYTES, b"\0"), person.ljust(PERSON_BYTES, b"\0")
    if _hash(memory, size, _NULL, 0, key, len(key), padded_salt, padded_person):
        raise DataError(f"key must be at most {KEY_BYTES_MAX} bytes long, not {len(key)}")
    derived: bytes = _buffer(memory)[:]
    _clear(memory, size)
    return derived
