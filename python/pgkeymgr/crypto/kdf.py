"""Derives keys from a key by their numbers: libsodium's crypto_kdf.

Sources: https://doc.libsodium.org/key_derivation and, for BLAKE2b, RFC 7693
"""

from ..errors import DataError, wrong_length
from .blake2b import blake2b_of_key
from .randombytes import randombytes_buf

KEY_BYTES = 32
CONTEXT_BYTES = 8
SUBKEY_BYTES_MIN = 16
SUBKEY_BYTES_MAX = 64


def crypto_kdf_keygen() -> bytes:
    """Return a new random key to derive from, 32 bytes."""
    return randombytes_buf(KEY_BYTES)


def crypto_kdf_derive_from_key(subkey_size: int, subkey_id: int, context: bytes, primary_key: bytes) -> bytes:
    """Derive a key: BLAKE2b of an empty message, with the number as the salt and the context as personalization.

    Args:
        subkey_size: the length of the derived key in bytes, 16 to 64.
        subkey_id: the number of the derived key, any 64-bit integer, signed as SQL's ``bigint`` is.
        context: the purpose of the derived key, 8 bytes.
        primary_key: the key to derive from, 32 bytes.

    Returns:
        ``subkey_size`` bytes.

    Raises:
        DataError: the size is out of range, or the context or the primary key has the wrong length.
    """
    if not SUBKEY_BYTES_MIN <= subkey_size <= SUBKEY_BYTES_MAX:
        raise DataError(
            f"the length of a derived key must be {SUBKEY_BYTES_MIN} to {SUBKEY_BYTES_MAX} bytes, "
            f"not {subkey_size}"
        )
    if len(context) != CONTEXT_BYTES:
        raise wrong_length("context", context, CONTEXT_BYTES)
    if len(primary_key) != KEY_BYTES:
        raise wrong_length("primary_key", primary_key, KEY_BYTES)
    return blake2b_of_key(subkey_size, primary_key, context, subkey_id.to_bytes(8, "little", signed=True))
