"""Authenticated encryption with additional data: ChaCha20-Poly1305 with a nonce of 12 bytes.

The checks of lengths stand in each function, because a call that shared them would slow down every row.

Sources: RFC 8439 and https://doc.libsodium.org/secret-key_cryptography/aead/chacha20-poly1305
"""

from nacl import bindings
from nacl.exceptions import CryptoError

from ..errors import not_authentic, wrong_length
from .randombytes import randombytes_buf
from .sizes import BYTEA_MAX, check_growth

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
MESSAGE_BYTES_MAX = BYTEA_MAX - TAG_BYTES


def crypto_aead_ietf_keygen() -> bytes:
    """Return a new random key, 32 bytes."""
    return randombytes_buf(KEY_BYTES)


def crypto_aead_ietf_noncegen() -> bytes:
    """Return a new random nonce, 12 bytes.

    Random nonces of this length may repeat by chance. So use a key with at most 2^32 of them, as NIST SP 800-38D,
    8.3 has it for GCM, whose nonces are as long.
    """
    return randombytes_buf(NONCE_BYTES)


def crypto_aead_ietf_encrypt(message: bytes, additional: bytes | None, nonce: bytes, key: bytes) -> bytes:
    """Encrypt a message, and authenticate it together with additional data.

    Args:
        message: the plaintext, of any length.
        additional: additional data of any length, authenticated but neither encrypted nor stored; None is the
            same as empty.
        nonce: 12 bytes, used once with this key.
        key: 32 bytes.

    Returns:
        The ciphertext and the tag, 16 bytes longer than the message.

    Raises:
        DataError: the nonce or the key has the wrong length.
        LimitError: the result would not fit into a bytea.
    """
    if len(nonce) != NONCE_BYTES:
        raise wrong_length("nonce", nonce, NONCE_BYTES)
    if len(key) != KEY_BYTES:
        raise wrong_length("key", key, KEY_BYTES)
    if len(message) > MESSAGE_BYTES_MAX:
        check_growth(message, TAG_BYTES)
    return bindings.crypto_aead_chacha20poly1305_ietf_encrypt(message, additional, nonce, key)


def crypto_aead_ietf_decrypt(message: bytes, additional: bytes | None, nonce: bytes, key: bytes) -> bytes:
    """Verify and decrypt a result of ``crypto_aead_ietf_encrypt``.

    Args:
        message: the ciphertext and the tag, at least 16 bytes.
        additional: the additional data of the encryption; None is the same as empty.
        nonce: the nonce of the encryption, 12 bytes.
        key: the key of the encryption, 32 bytes.

    Returns:
        The plaintext.

    Raises:
        DataError: the message does not verify, or an argument has the wrong length.
    """
    if len(nonce) != NONCE_BYTES:
        raise wrong_length("nonce", nonce, NONCE_BYTES)
    if len(key) != KEY_BYTES:
        raise wrong_length("key", key, KEY_BYTES)
    if len(message) < TAG_BYTES:
        raise not_authentic("message")
    try:
        return bindings.crypto_aead_chacha20poly1305_ietf_decrypt(message, additional, nonce, key)
    except CryptoError:
        raise not_authentic("message") from None
