"""Encrypts secrets under a wrapping key for storage; the result is a wrap.

The layout of a wrap:

- a byte with the format, 1;
- a nonce of 24 random bytes;
- the ciphertext of XChaCha20-Poly1305, as long as the secret;
- the tag, 16 bytes.

The cipher authenticates the format byte and then the caller's associated data. The nonce is long enough to be
drawn at random for any number of wraps.

The first call of every session waits for this cipher. So it is called through PyNaCl's inner module, whose import
takes a tenth of the time of PyNaCl's bindings.

Sources: https://doc.libsodium.org/secret-key_cryptography/aead/chacha20-poly1305/xchacha20-poly1305_construction
and draft-irtf-cfrg-xchacha-03
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
        secret: the secret, of any length.
        associated_data: the identity of the wrap's owner, which is authenticated and not stored.
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
        wrapped: a result of ``wrap``, at least 41 bytes.
        associated_data: the associated data of the wrap.
        wrapping_key: the wrapping key of the wrap, 32 bytes.

    Returns:
        The secret.

    Raises:
        DataError: the wrap is malformed or does not verify, or the wrapping key has the wrong length.
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
    # libsodium does not know the length, and would read beyond the end of a shorter key.
    if len(wrapping_key) != KEY_BYTES:
        raise wrong_length("wrapping_key", wrapping_key, KEY_BYTES)
