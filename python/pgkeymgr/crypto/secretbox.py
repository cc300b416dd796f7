"""Secret-key authenticated encryption: XSalsa20-Poly1305.

These two functions are what decrypting views call for each row, so they call libsodium through PyNaCl's
inner module: its public wrappers check each argument again and allocate anew, which takes three times as
long as the cipher itself for a short message.

Source: https://doc.libsodium.org/secret-key_cryptography/secretbox
"""

from typing import Any

from nacl._sodium import ffi, lib

from ..errors import not_authentic, wrong_length
from .randombytes import randombytes_buf
from .sizes import BYTEA_MAX, check_growth

KEY_BYTES = 32
NONCE_BYTES = 24
MAC_BYTES = 16
MESSAGE_BYTES_MAX = BYTEA_MAX - MAC_BYTES

_encrypt = lib.crypto_secretbox_easy
_decrypt = lib.crypto_secretbox_open_easy

# Output buffers that are kept, for results up to this size. A call takes one out of the list while it uses
# it, so that threads never share one.
_BUFFER_BYTES = 4096
_buffers: list[tuple[Any, Any]] = []


def _new_buffer(size: int) -> tuple[Any, Any]:
    memory = ffi.new("unsigned char[]", max(size, _BUFFER_BYTES))
    return memory, ffi.buffer(memory)


def crypto_secretbox_keygen() -> bytes:
    """Return a new random key, 32 bytes."""
    return randombytes_buf(KEY_BYTES)


def crypto_secretbox_noncegen() -> bytes:
    """Return a new random nonce, 24 bytes; long enough never to repeat by chance."""
    return randombytes_buf(NONCE_BYTES)


def crypto_secretbox(message: bytes, nonce: bytes, key: bytes) -> bytes:
    """Encrypt and authenticate a message.

    Args:
        message: the plaintext, of any length.
        nonce: 24 bytes, used once with this key.
        key: 32 bytes.

    Returns:
        Tag and ciphertext, 16 bytes longer than the message.

    Raises:
        DataError: nonce or key has the wrong length.
        LimitError: the result would not fit into a bytea.
    """
    if len(nonce) != NONCE_BYTES:
        raise wrong_length("nonce", nonce, NONCE_BYTES)
    if len(key) != KEY_BYTES:
        raise wrong_length("key", key, KEY_BYTES)
    length = len(message)
    size = length + MAC_BYTES
    if length > MESSAGE_BYTES_MAX:
        check_growth(message, MAC_BYTES)
    buffer = _buffers.pop() if size <= _BUFFER_BYTES and _buffers else _new_buffer(size)
    memory, view = buffer
    _encrypt(memory, message, length, nonce, key)
    result: bytes = view[:size]
    if size <= _BUFFER_BYTES:
        _buffers.append(buffer)
    return result


def crypto_secretbox_open(ciphertext: bytes, nonce: bytes, key: bytes) -> bytes:
    """Verify and decrypt what ``crypto_secretbox`` made.

    Args:
        ciphertext: tag and ciphertext, at least 16 bytes.
        nonce: the 24 bytes it was made with.
        key: the 32 bytes it was made with.

    Returns:
        The message.

    Raises:
        DataError: it does not verify, or an argument has the wrong length.
    """
    if len(nonce) != NONCE_BYTES:
        raise wrong_length("nonce", nonce, NONCE_BYTES)
    if len(key) != KEY_BYTES:
        raise wrong_length("key", key, KEY_BYTES)
    length = len(ciphertext)
    size = length - MAC_BYTES
    if size < 0:
        raise not_authentic("ciphertext")
    buffer = _buffers.pop() if size <= _BUFFER_BYTES and _buffers else _new_buffer(size)
    memory, view = buffer
    failed = _decrypt(memory, ciphertext, length, nonce, key)
    result: bytes = view[:size]
    if size <= _BUFFER_BYTES:
        _buffers.append(buffer)
    if failed:
        raise not_authentic("ciphertext")
    return result
