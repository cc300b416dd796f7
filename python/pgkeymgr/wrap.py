"""Wraps: secrets encrypted under a wrapping key, to be stored.

A wrap is one byte for its format (1), a nonce of 24 random bytes, and what XChaCha20-Poly1305 makes: ciphertext
and a tag of 16 bytes. The format byte is authenticated before the caller's associated data. The nonce is long
enough to be drawn at random for any number of wraps.

Sources: https://doc.libsodium.org/secret-key_cryptography/aead/chacha20-poly1305/xchacha20-poly1305_construction
"""

import os

from nacl import bindings
from nacl.exceptions import CryptoError

from .errors import not_authentic
from .sizes import check_growth

KEY_BYTES = 32
NONCE_BYTES = 24
TAG_BYTES = 16
OVERHEAD_BYTES = 1 + NONCE_BYTES + TAG_BYTES

_FORMAT = b"\x01"


def wrap(secret: bytes, associated_data: bytes, wrapping_key: bytes) -> bytes:
    """Encrypt a secret.

    Args:
        secret: of any length.
        associated_data: what the wrap belongs to; authenticated, not stored.
        wrapping_key: 32 bytes.

    Returns:
        The wrap, 41 bytes longer than the secret.

    Raises:
        LimitError: the wrap would not fit into a bytea.
    """
    check_growth(secret, OVERHEAD_BYTES)
    nonce = os.urandom(NONCE_BYTES)
    sealed = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
        secret, _FORMAT + associated_data, nonce, wrapping_key
    )
    return _FORMAT + nonce + sealed


def unwrap(wrapped: bytes, associated_data: bytes, wrapping_key: bytes) -> bytes:
    """Verify and decrypt a wrap.

    Args:
        wrapped: what ``wrap`` returned.
        associated_data: what it was made with.
        wrapping_key: the 32 bytes it was made with.

    Returns:
        The secret.

    Raises:
        DataError: it is not a wrap, or does not verify.
    """
    if len(wrapped) < OVERHEAD_BYTES or wrapped[:1] != _FORMAT:
        raise not_authentic("wrapped")
    try:
        return bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            wrapped[1 + NONCE_BYTES :], _FORMAT + associated_data, wrapped[1 : 1 + NONCE_BYTES], wrapping_key
        )
    except CryptoError:
        raise not_authentic("wrapped") from None
