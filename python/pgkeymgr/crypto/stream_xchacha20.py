"""The XChaCha20 stream, without authentication.

Composed from the ChaCha20 of ``cryptography``, because PyNaCl does not bind libsodium's own: HChaCha20
makes a key from the first 16 bytes of the nonce, ChaCha20 with an 8-byte counter does the rest.

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
    # cryptography takes 10 ms to import, and most sessions never need it.
    return import_library("cryptography.hazmat.primitives.ciphers")


def _chacha20(data: bytes, counter_and_nonce: bytes, key: bytes) -> bytes:
    ciphers = _ciphers()
    algorithm = ciphers.algorithms.ChaCha20(key, counter_and_nonce)
    result: bytes = ciphers.Cipher(algorithm, mode=None).encryptor().update(data)
    return result


def _hchacha20(nonce: bytes, key: bytes) -> bytes:
    """Return HChaCha20 of a 16-byte nonce: the state after the rounds, without the final addition.

    ChaCha20's block adds the state from before the rounds to the one after them. Its words 0-3 and
    12-15, those that HChaCha20 gives out, start as public constants and as the nonce, so the addition
    can be undone.
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
        size: how many bytes; from 0 to BYTEA_MAX.
        nonce: 24 bytes, used once with this key.
        key: 32 bytes.

    Returns:
        ``size`` bytes of keystream.

    Raises:
        DataError: nonce or key has the wrong length, or the size is negative.
        LimitError: the size is over what a bytea holds.
    """
    check_size(size)
    return crypto_stream_xchacha20_xor_ic(bytes(size), nonce, 0, key)


def crypto_stream_xchacha20_xor(message: bytes, nonce: bytes, key: bytes) -> bytes:
    """Encrypt, or decrypt, by XOR with the keystream. Nothing is authenticated.

    Args:
        message: plaintext or ciphertext, of any length.
        nonce: 24 bytes, used once with this key.
        key: 32 bytes.

    Returns:
        As many bytes as the message has.

    Raises:
        DataError: nonce or key has the wrong length.
    """
    return crypto_stream_xchacha20_xor_ic(message, nonce, 0, key)


def crypto_stream_xchacha20_xor_ic(message: bytes, nonce: bytes, ic: int, key: bytes) -> bytes:
    """Encrypt, or decrypt, by XOR with the keystream from one of its 64-byte blocks on.

    Args:
        message: plaintext or ciphertext, of any length.
        nonce: 24 bytes, used once with this key.
        ic: the number of the first block; a negative one counts from 2^64 down, as in C.
        key: 32 bytes.

    Returns:
        As many bytes as the message has.

    Raises:
        DataError: nonce or key has the wrong length.
    """
    if len(nonce) != NONCE_BYTES:
        raise wrong_length("nonce", nonce, NONCE_BYTES)
    if len(key) != KEY_BYTES:
        raise wrong_length("key", key, KEY_BYTES)
    subkey = _hchacha20(nonce[:16], key)
    # cryptography counts blocks in 32 bits and refuses to go on; libsodium's counter has 64. What fits into
    # a bytea crosses that line once at most.
    first = (_COUNTER_BLOCKS - ic % _COUNTER_BLOCKS) * _BLOCK_BYTES
    parts = [(ic, message[:first]), (ic + first // _BLOCK_BYTES, message[first:])]
    return b"".join(
        _chacha20(part, (counter % 2**64).to_bytes(8, "little") + nonce[16:], subkey)
        for counter, part in parts
        if part
    )
