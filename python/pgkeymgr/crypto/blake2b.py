"""BLAKE2b of nothing, with a key: how keys are derived from keys.

libsodium clears what it had of the key; from Python 3.14 on, hashlib leaves copies of it in freed memory.

Sources: RFC 7693; https://doc.libsodium.org/hashing/generic_hashing, and its source for salt and personalization
"""

from . import sodium

KEY_BYTES_MAX = 64
SALT_BYTES = 16
PERSON_BYTES = 16

_ffi, _lib = sodium.ffi, sodium.lib


def blake2b_of_key(size: int, key: bytes, person: bytes, salt: bytes = b"") -> bytes:
    """Derive a key.

    Args:
        size: how many bytes; 1 to 64.
        key: 1 to 64 bytes.
        person: what it is for, at most 16 bytes; zeros are put after it.
        salt: at most 16 bytes; zeros are put after it.

    Returns:
        ``size`` bytes.
    """
    assert 0 < len(key) <= KEY_BYTES_MAX
    assert len(person) <= PERSON_BYTES
    assert len(salt) <= SALT_BYTES
    memory = _ffi.new("unsigned char[]", size)
    _lib.crypto_generichash_blake2b_salt_personal(
        memory,
        size,
        _ffi.NULL,
        0,
        key,
        len(key),
        salt.ljust(SALT_BYTES, b"\0"),
        person.ljust(PERSON_BYTES, b"\0"),
    )
    derived: bytes = _ffi.buffer(memory, size)[:]
    _lib.sodium_memzero(memory, size)
    return derived
