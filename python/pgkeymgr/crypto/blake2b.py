"""BLAKE2b of nothing, with a key: how keys are derived from keys.

libsodium clears what it had of the key; from Python 3.14 on, hashlib leaves copies of it in freed memory.

Sources: RFC 7693; https://doc.libsodium.org/hashing/generic_hashing, and its source for salt and personalization
"""

from ..errors import DataError
from . import sodium

KEY_BYTES_MAX = 64
SALT_BYTES = 16
PERSON_BYTES = 16

# Called for each row that has a key by number of its own.
_MEMORY = sodium.ffi.typeof("unsigned char[]")
_NULL = sodium.ffi.NULL
_new = sodium.ffi.new
_buffer = sodium.ffi.buffer
_hash = sodium.lib.crypto_generichash_blake2b_salt_personal
_clear = sodium.lib.sodium_memzero


def blake2b_of_key(size: int, key: bytes, person: bytes, salt: bytes = b"") -> bytes:
    """Derive a key.

    Args:
        size: how many bytes; 1 to 64.
        key: 1 to 64 bytes.
        person: what it is for, at most 16 bytes; zeros are put after it.
        salt: at most 16 bytes; zeros are put after it.

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
