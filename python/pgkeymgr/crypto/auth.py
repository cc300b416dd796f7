"""Secret-key message authentication: HMAC with SHA-256 and SHA-512.

Sources: RFC 2104, FIPS 198-1, https://doc.libsodium.org/secret-key_cryptography/secret-key_authentication and
https://doc.libsodium.org/advanced/hmac-sha2
"""

import hmac

from ..errors import wrong_length
from .randombytes import randombytes_buf

KEY_BYTES = 32
MAC_BYTES = 32
SHA256_BYTES = 32
SHA512_BYTES = 64


def crypto_auth_keygen() -> bytes:
    """Return a new random key, 32 bytes."""
    return randombytes_buf(KEY_BYTES)


def crypto_auth_hmacsha256_keygen() -> bytes:
    """Return a new random key, 32 bytes."""
    return randombytes_buf(KEY_BYTES)


def crypto_auth_hmacsha512_keygen() -> bytes:
    """Return a new random key, 32 bytes."""
    return randombytes_buf(KEY_BYTES)


def crypto_auth(message: bytes, key: bytes) -> bytes:
    """Return the tag of a message: the first half of its HMAC-SHA-512.

    Args:
        message: the message, of any length.
        key: 32 bytes.

    Returns:
        32 bytes.

    Raises:
        DataError: the key has the wrong length.
    """
    if len(key) != KEY_BYTES:
        raise wrong_length("key", key, KEY_BYTES)
    return hmac.digest(key, message, "sha512")[:MAC_BYTES]


def crypto_auth_verify(mac: bytes, message: bytes, key: bytes) -> bool:
    """Return whether a tag belongs to a message; the comparison takes constant time.

    Args:
        mac: the tag, 32 bytes.
        message: the message, of any length.
        key: 32 bytes.

    Returns:
        True if ``crypto_auth`` of the message gives this tag.

    Raises:
        DataError: the tag or the key has the wrong length.
    """
    if len(mac) != MAC_BYTES:
        raise wrong_length("mac", mac, MAC_BYTES)
    return hmac.compare_digest(mac, crypto_auth(message, key))


def _hmac(message: bytes, secret: bytes, algorithm: str) -> bytes:
    if len(secret) != KEY_BYTES:
        raise wrong_length("secret", secret, KEY_BYTES)
    return hmac.digest(secret, message, algorithm)


def crypto_auth_hmacsha256(message: bytes, secret: bytes) -> bytes:
    """Return the HMAC-SHA-256 of a message.

    Args:
        message: the message, of any length.
        secret: 32 bytes.

    Returns:
        32 bytes.

    Raises:
        DataError: the secret has the wrong length.
    """
    return _hmac(message, secret, "sha256")


def crypto_auth_hmacsha256_verify(hash: bytes, message: bytes, secret: bytes) -> bool:
    """Return whether an HMAC-SHA-256 belongs to a message; the comparison takes constant time.

    Args:
        hash: 32 bytes.
        message: the message, of any length.
        secret: 32 bytes.

    Returns:
        True if ``crypto_auth_hmacsha256`` of the message gives this hash.

    Raises:
        DataError: the hash or the secret has the wrong length.
    """
    if len(hash) != SHA256_BYTES:
        raise wrong_length("hash", hash, SHA256_BYTES)
    return hmac.compare_digest(hash, _hmac(message, secret, "sha256"))


def crypto_auth_hmacsha512(message: bytes, secret: bytes) -> bytes:
    """Return the HMAC-SHA-512 of a message.

    Args:
        message: the message, of any length.
        secret: 32 bytes.

    Returns:
        64 bytes.

    Raises:
        DataError: the secret has the wrong length.
    """
    return _hmac(message, secret, "sha512")


def crypto_auth_hmacsha512_verify(hash: bytes, message: bytes, secret: bytes) -> bool:
    """Return whether an HMAC-SHA-512 belongs to a message; the comparison takes constant time.

    Args:
        hash: 64 bytes.
        message: the message, of any length.
        secret: 32 bytes.

    Returns:
        True if ``crypto_auth_hmacsha512`` of the message gives this hash.

    Raises:
        DataError: the hash or the secret has the wrong length.
    """
    if len(hash) != SHA512_BYTES:
        raise wrong_length("hash", hash, SHA512_BYTES)
    return hmac.compare_digest(hash, _hmac(message, secret, "sha512"))
