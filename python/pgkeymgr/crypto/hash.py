"""SHA-256 and SHA-512.

Sources: FIPS 180-4 and https://doc.libsodium.org/advanced/sha-2_hash_function
"""

import hashlib


def crypto_hash_sha256(message: bytes) -> bytes:
    """Return the SHA-256 of a message, 32 bytes."""
    return hashlib.sha256(message).digest()


def crypto_hash_sha512(message: bytes) -> bytes:
    """Return the SHA-512 of a message, 64 bytes."""
    return hashlib.sha512(message).digest()
