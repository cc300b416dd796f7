"""Secret-key authenticated encryption: XSalsa20-Poly1305.

Decrypting views call these two functions for each row. So the functions call libsodium through PyNaCl's inner
module: PyNaCl's public wrappers check each argument again and allocate new memory, which takes three times as long
as the cipher itself for a short message. The checks of lengths stand in each function for the same reason.

Source: https://doc.libsodium.org/secret-key_cryptography/secretbox
"""

from __future__ import annotations

from nacl._sodium import ffi, lib

from ..errors import not_authentic, wrong_length
from .randombytes import randombytes_buf
from .sizes import BYTEA_MAX, check_growth

TYPE_CHECKING = False  # see key/named_tuple.py
if TYPE_CHECKING:
    from typing import Any

KEY_BYTES = 32
NONCE_BYTES = 24
MAC_BYTES = 16
MESSAGE_BYTES_MAX = BYTEA_MAX - MAC_BYTES

_encrypt = lib.crypto_secretbox_easy
_decrypt = lib.crypto_secretbox_open_easy

# Output buffers for results up to this size are kept. A call takes a buffer out of the list while it uses it, so
# that two threads never share a buffer.
_BUFFER_BYTES = 4096
_buffers: list[tuple[Any, Any]] = []


def _new_buffer(size: int) -> tuple[Any, Any]:
    memory = ffi.new("unsigned char[]", max(size, _BUFFER_BYTES))
    return memory, ffi.buffer(memory)


def crypto_secretbox_keygen() -> bytes:
    """Return a new random key, 32 bytes."""
    return randombytes_buf(KEY_BYTES)


def crypto_secretbox_noncegen() -> bytes:
    """Return a new random nonce, 24 bytes, which is long enough never to repeat by chance."""
    return randombytes_buf(NONCE_BYTES)


def crypto_secretbox(message: bytes, nonce: bytes, key: bytes) -> bytes:
    """Encrypt and authenticate a message.

    Args:
        message: the plaintext, of any length.
        nonce: 24 bytes, used once with this key.
        key: 32 bytes.

    Returns:
        The tag and the ciphertext, 16 bytes longer than the message.

    Raises:
        DataError: the nonce or the key has the wrong length.
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
    """Verify and decrypt a result of ``crypto_secretbox``.

    Args:
        ciphertext: the tag and the ciphertext, at least 16 bytes.
        nonce: the nonce of the encryption, 24 bytes.
        key: the key of the encryption, 32 bytes.

    Returns:
        The message.

    Raises:
        DataError: the ciphertext does not verify, or an argument has the wrong length.
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
