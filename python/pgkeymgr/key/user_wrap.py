"""User wraps: data keys sealed to a user's public key, which only that user can open.

A user wrap is one byte for its format (1) and a libsodium sealed box (X25519, XSalsa20-Poly1305) of the
BLAKE2b-256 of the associated data and the secret. A sealed box authenticates no associated data. So the box holds
the hash, which is authenticated with the secret and compared after opening: a wrap that is copied to another key
does not open. Anybody can seal to a public key: a user wrap identifies its reader, not its maker.

Source: https://doc.libsodium.org/public-key_cryptography/sealed_boxes
"""

import hmac
from hashlib import blake2b

from nacl import bindings
from nacl.exceptions import CryptoError

PUBLIC_KEY_BYTES = 32
SECRET_KEY_BYTES = 32
OVERHEAD_BYTES = 1 + 48 + 32

_FORMAT = b"\x01"
_HASH_BYTES = 32
_PERSON = b"pgkeymgruserwrap"


def user_wrap(secret: bytes, associated_data: bytes, public: bytes) -> bytes:
    """Seal a data key to a user.

    Args:
        secret: the data key, of any length.
        associated_data: the data that the wrap is bound to.
        public: the user's public key, 32 bytes.

    Returns:
        The wrap, 81 bytes longer than the secret.
    """
    return _FORMAT + bindings.crypto_box_seal(_bind(associated_data) + secret, public)


def open_user_wrap(wrapped: bytes, associated_data: bytes, public: bytes, secret_key: bytes) -> bytes | None:
    """Open a wrap that ``user_wrap`` made.

    Args:
        wrapped: the wrap.
        associated_data: the associated data that the wrap was made with.
        public: the user's public key, 32 bytes.
        secret_key: the secret half, 32 bytes.

    Returns:
        The data key, or None if the wrap does not open: it was altered, belongs to another key, or is sealed to
        another user.
    """
    if wrapped[:1] != _FORMAT or len(wrapped) < OVERHEAD_BYTES:
        return None
    try:
        opened = bindings.crypto_box_seal_open(wrapped[1:], public, secret_key)
    except CryptoError:
        return None
    if not hmac.compare_digest(opened[:_HASH_BYTES], _bind(associated_data)):
        return None
    return opened[_HASH_BYTES:]


def _bind(associated_data: bytes) -> bytes:
    return blake2b(associated_data, digest_size=_HASH_BYTES, person=_PERSON).digest()
