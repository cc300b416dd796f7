"""The XChaCha20 stream, without authentication.

It is composed from the ChaCha20 of ``cryptography``, because PyNaCl does not bind libsodium's XChaCha20. HChaCha20
derives a key from the first 16 bytes of the nonce. ChaCha20 with an 8-byte counter encrypts under that key.

Sources: https://doc.libsodium.org/advanced/stream_ciphers/xchacha20 and
https://datatracker.ietf.org/doc/html/draft-irtf-cfrg-xchacha-03#section-2.2
"""

import struct
from functools import cache
from typing import Any

from ..errors import wrong_length
from .libraries import import_library
from .randombytes import randombytes_buf
from .sizes import check_size

KEY_BYTES = 32
NONCE_BYTES = 24

_BLOCK_BYTES = 64
_COUNTER_BLOCKS = 2**32
_CONSTANTS = struct.unpack("<4I", b"expand 32-byte k")


@cache
def _ciphers() -> Any:
    # An import of cryptography takes 10 ms, and most sessions never need it.
    return import_library("cryptography.hazmat.primitives.ciphers")


def _chacha20(data: bytes, counter_and_nonce: bytes, key: bytes) -> bytes:
    ciphers = _ciphers()
    algorithm = ciphers.algorithms.ChaCha20(key, counter_and_nonce)
    result: bytes = ciphers.Cipher(algorithm, mode=None).encryptor().update(data)
    return result


def _hchacha20(nonce: bytes, key: bytes) -> bytes:
    """Return HChaCha20 of a 16-byte nonce: the state after the rounds, without the final addition.

    ChaCha20's block is the sum of the states before and after the rounds. HChaCha20 gives out the words 0-3 and
    12-15. Before the rounds these are public constants and the nonce, so a subtraction undoes the addition.
    """
    block = struct.unpack("<16I", _chacha20(bytes(64), nonce, key))
    before = _CONSTANTS + struct.unpack("<4I", nonce)
    after = block[:4] + block[12:]
    return struct.pack("<8I", *((x - y) & 0xFFFFFFFF for x, y in zip(after, before, strict=True)))


def crypto_stream_xchacha20_keygen() -> bytes:
    """Return a new random key, 32 bytes."""
    return randombytes_buf(KEY_BYTES)


def crypto_stream_xchacha20_noncegen() -> bytes:
    """Return a new random nonce, 24 bytes."""
    return randombytes_buf(NONCE_BYTES)


def crypto_stream_xchacha20(size: int, nonce: bytes, key: bytes) -> bytes:
    """Return the start of the keystream.

    Args:
        size: the number of bytes, 0 to BYTEA_MAX.
        nonce: 24 bytes, used once with this key.
        key: 32 bytes.

    Returns:
        ``size`` bytes of keystream.

    Raises:
        DataError: the nonce or the key has the wrong length, or the size is negative.
        LimitError: the size is more than a bytea can hold.
    """
    check_size(size)
    return crypto_stream_xchacha20_xor_ic(bytes(size), nonce, 0, key)


def crypto_stream_xchacha20_xor(message: bytes, nonce: bytes, key: bytes) -> bytes:
    """XOR a message with the keystream, which encrypts a plaintext and decrypts a ciphertext.

    Nothing is authenticated.

    Args:
        message: plaintext or ciphertext, of any length.
        nonce: 24 bytes, used once with this key.
        key: 32 bytes.

    Returns:
        The result, as long as the message.

    Raises:
        DataError: the nonce or the key has the wrong length.
    """
    return crypto_stream_xchacha20_xor_ic(message, nonce, 0, key)


def crypto_stream_xchacha20_xor_ic(message: bytes, nonce: bytes, ic: int, key: bytes) -> bytes:
    """XOR a message with the keystream from a given block of 64 bytes on.

    Args:
        message: plaintext or ciphertext, of any length.
        nonce: 24 bytes, used once with this key.
        ic: the number of the first block. 2^64 is added to a negative number, as in C.
        key: 32 bytes.

    Returns:
        The result, as long as the message.

    Raises:
        DataError: the nonce or the key has the wrong length.
    """
    if len(nonce) != NONCE_BYTES:
        raise wrong_length("nonce", nonce, NONCE_BYTES)
    if len(key) != KEY_BYTES:
        raise wrong_length("key", key, KEY_BYTES)
    subkey = _hchacha20(nonce[:16], key)
    # cryptography counts blocks in 32 bits and refuses to go on after them, where libsodium counts in 64. A
    # message that fits into a bytea crosses a multiple of 2^32 once at most, so two parts are enough.
    first = (_COUNTER_BLOCKS - ic % _COUNTER_BLOCKS) * _BLOCK_BYTES
    parts = [(ic, message[:first]), (ic + first // _BLOCK_BYTES, message[first:])]
    return b"".join(
        _chacha20(part, (counter % 2**64).to_bytes(8, "little") + nonce[16:], subkey)
        for counter, part in parts
        if part
    )
