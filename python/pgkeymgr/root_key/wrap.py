"""Wraps: secrets encrypted under a wrapping key, to be stored.

A wrap is one byte for its format (1), a nonce of 24 random bytes, and what XChaCha20-Poly1305 makes: ciphertext
and a tag of 16 bytes. The format byte is authenticated before the caller's associated data. The nonce is long
enough to be drawn at random for any number of wraps.

The one cipher that a session's first call waits for, so it is called through PyNaCl's inner module, which takes a
tenth of the time to import that its bindings do.

Source: https://doc.libsodium.org/secret-key_cryptography/aead/chacha20-poly1305/xchacha20-poly1305_construction
"""

import os

from ..crypto import sodium
from ..crypto.sizes import check_growth
from ..errors import not_authentic, wrong_length

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
        DataError: the wrapping key has the wrong length.
    """
    check_growth(secret, OVERHEAD_BYTES)
    _check_key(wrapping_key)
    nonce = os.urandom(NONCE_BYTES)
    bound = _FORMAT + associated_data
    sealed = sodium.ffi.new("unsigned char[]", len(secret) + TAG_BYTES)
    sodium.lib.crypto_aead_xchacha20poly1305_ietf_encrypt(
        sealed, sodium.ffi.NULL, secret, len(secret), bound, len(bound), sodium.ffi.NULL, nonce, wrapping_key
    )
    return _FORMAT + nonce + bytes(sodium.ffi.buffer(sealed))


def unwrap(wrapped: bytes, associated_data: bytes, wrapping_key: bytes) -> bytes:
    """Verify and decrypt a wrap.

    Args:
        wrapped: what ``wrap`` returned.
        associated_data: what it was made with.
        wrapping_key: the 32 bytes it was made with.

    Returns:
        The secret.

    Raises:
        DataError: it is not a wrap, or does not verify, or the wrapping key has the wrong length.
    """
    if len(wrapped) < OVERHEAD_BYTES or wrapped[:1] != _FORMAT:
        raise not_authentic("wrapped")
    _check_key(wrapping_key)
    nonce, sealed = wrapped[1 : 1 + NONCE_BYTES], wrapped[1 + NONCE_BYTES :]
    bound = _FORMAT + associated_data
    size = len(sealed) - TAG_BYTES
    secret = sodium.ffi.new("unsigned char[]", max(size, 1))
    failed = sodium.lib.crypto_aead_xchacha20poly1305_ietf_decrypt(
        secret, sodium.ffi.NULL, sodium.ffi.NULL, sealed, len(sealed), bound, len(bound), nonce, wrapping_key
    )
    if failed:
        raise not_authentic("wrapped")
    return bytes(sodium.ffi.buffer(secret, size))


def _check_key(wrapping_key: bytes) -> None:
    # libsodium reads 32 bytes, whatever is there.
    if len(wrapping_key) != KEY_BYTES:
        raise wrong_length("wrapping_key", wrapping_key, KEY_BYTES)
