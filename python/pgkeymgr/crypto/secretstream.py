"""The key generator of libsodium's encrypted streams (XChaCha20-Poly1305); pgsodium has no more of them.

Source: https://doc.libsodium.org/secret-key_cryptography/secretstream
"""

from .randombytes import randombytes_buf

KEY_BYTES = 32


def crypto_secretstream_keygen() -> bytes:
    """Return a new random key, 32 bytes."""
    return randombytes_buf(KEY_BYTES)
