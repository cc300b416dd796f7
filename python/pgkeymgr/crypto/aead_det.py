"""Deterministic authenticated encryption: XChaCha20-SIV with BLAKE2b, as libsodium's aead-det.

The construction is pgsodium's (libsodium-xchacha20-siv): the synthetic-IV mode of RFC 5297, with BLAKE2b-256 over
32-byte blocks as S2V, and XChaCha20 as the cipher. Without a nonce, equal messages with equal additional data give
equal ciphertexts. This is the purpose of the construction, and it is the fact that the ciphertexts leak.

Sources: RFC 5297 and https://github.com/jedisct1/libsodium-xchacha20-siv
"""

import hmac
from hashlib import blake2b

from ..errors import not_authentic, wrong_length
from .randombytes import randombytes_buf
from .sizes import check_growth
from .stream_xchacha20 import crypto_stream_xchacha20_xor

KEY_BYTES = 32
NONCE_BYTES = 16
TAG_BYTES = 32

_BLOCK = 32
_BLOCK_MASK = (1 << 8 * _BLOCK) - 1
# x^256 + x^10 + x^5 + x^2 + 1 is the polynomial of the field in which dbl() doubles.
_REDUCTION = 0x0425


def crypto_aead_det_keygen() -> bytes:
    """Return a new random key, 32 bytes."""
    return randombytes_buf(KEY_BYTES)


def crypto_aead_det_noncegen() -> bytes:
    """Return a new random nonce, 16 bytes."""
    return randombytes_buf(NONCE_BYTES)


def _hash(data: bytes, key: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=_BLOCK, key=key).digest(), "big")


def _double(block: int) -> int:
    doubled = block << 1
    return (doubled & _BLOCK_MASK) ^ _REDUCTION if doubled >> 8 * _BLOCK else doubled


def _synthetic_iv(message: bytes, additional: bytes | None, nonce: bytes | None, key: bytes) -> bytes:
    block = _hash(bytes(_BLOCK), key)
    if additional:
        block = _double(block) ^ _hash(additional, key)
    if nonce is not None:
        block = _double(block) ^ _hash(nonce, key)
    if len(message) >= _BLOCK:
        end = int.from_bytes(message[-_BLOCK:], "big") ^ block
        last = message[:-_BLOCK] + end.to_bytes(_BLOCK, "big")
    else:
        padded = message + b"\x80" + bytes(_BLOCK - 1 - len(message))
        last = (_double(block) ^ int.from_bytes(padded, "big")).to_bytes(_BLOCK, "big")
    return _hash(last, key).to_bytes(_BLOCK, "big")


def _split_key(key: bytes, nonce: bytes | None) -> tuple[bytes, bytes]:
    if len(key) != KEY_BYTES:
        raise wrong_length("key", key, KEY_BYTES)
    if nonce is not None and len(nonce) != NONCE_BYTES:
        raise wrong_length("nonce", nonce, NONCE_BYTES)
    both = blake2b(b"", digest_size=2 * _BLOCK, key=key).digest()
    return both[:_BLOCK], both[_BLOCK:]


def crypto_aead_det_encrypt(
    message: bytes, additional: bytes | None, key: bytes, nonce: bytes | None = None
) -> bytes:
    """Encrypt a message so that equal inputs give equal outputs.

    Args:
        message: the plaintext, of any length.
        additional: additional data of any length, authenticated but neither encrypted nor stored; None is the
            same as empty.
        key: 32 bytes.
        nonce: 16 bytes, which make the ciphertexts of equal messages differ; None is no nonce, which is not the
            same as 16 zeros.

    Returns:
        The ciphertext and the synthetic IV, 32 bytes longer than the message.

    Raises:
        DataError: key or nonce has the wrong length.
        LimitError: the result would not fit into a bytea.
    """
    mac_key, cipher_key = _split_key(key, nonce)
    check_growth(message, TAG_BYTES)
    iv = _synthetic_iv(message, additional, nonce, mac_key)
    return crypto_stream_xchacha20_xor(message, iv[:24], cipher_key) + iv


def crypto_aead_det_decrypt(
    ciphertext: bytes, additional: bytes | None, key: bytes, nonce: bytes | None = None
) -> bytes:
    """Verify and decrypt a result of ``crypto_aead_det_encrypt``.

    Args:
        ciphertext: the ciphertext and the synthetic IV, at least 32 bytes.
        additional: the additional data of the encryption; None is the same as empty.
        key: the key of the encryption, 32 bytes.
        nonce: the nonce of the encryption, 16 bytes, or None.

    Returns:
        The message.

    Raises:
        DataError: the ciphertext does not verify, or an argument has the wrong length.
    """
    mac_key, cipher_key = _split_key(key, nonce)
    if len(ciphertext) < TAG_BYTES:
        raise not_authentic("ciphertext")
    iv = ciphertext[-TAG_BYTES:]
    message = crypto_stream_xchacha20_xor(ciphertext[:-TAG_BYTES], iv[:24], cipher_key)
    if not hmac.compare_digest(iv, _synthetic_iv(message, additional, nonce, mac_key)):
        raise not_authentic("ciphertext")
    return message
