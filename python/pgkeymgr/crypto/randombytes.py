"""Random data from the operating system, and a deterministic stream from a seed.

Source: https://doc.libsodium.org/generating_random_data
"""

import os

from ..errors import wrong_length
from .sizes import check_size

SEED_BYTES = 32

_INTEGERS = 2**32


def randombytes_random() -> int:
    """Return a random integer of 32 bits, signed, as SQL's ``integer`` is."""
    return int.from_bytes(os.urandom(4), "little", signed=True)


def randombytes_uniform(upper_bound: int) -> int:
    """Return a random integer, each as likely as any other.

    Args:
        upper_bound: the first integer that is not returned. It is read as libsodium reads it, as 32
            bits without a sign: a negative one is that much below 2^32. Below 2, the result is 0.

    Returns:
        An integer from 0 to ``upper_bound - 1``, signed, as SQL's ``integer`` is.
    """
    from secrets import randbelow  # slow to import

    bound = upper_bound % _INTEGERS
    number = randbelow(bound) if bound else 0
    return number - _INTEGERS if number >= _INTEGERS // 2 else number


def randombytes_buf(size: int) -> bytes:
    """Return random bytes.

    Args:
        size: how many bytes; from 0 to BYTEA_MAX.

    Returns:
        ``size`` bytes from the operating system.

    Raises:
        DataError: the size is negative.
        LimitError: the size is over what a bytea holds.
    """
    check_size(size)
    return os.urandom(size)


def randombytes_new_seed() -> bytes:
    """Return a new random seed for ``randombytes_buf_deterministic``, 32 bytes."""
    return os.urandom(SEED_BYTES)


def randombytes_buf_deterministic(size: int, seed: bytes) -> bytes:
    """Return the first bytes of the stream that a seed gives.

    It is the keystream of ChaCha20 (RFC 8439) under the seed, with the nonce ``LibsodiumDRG``.

    Args:
        size: how many bytes; from 0 to BYTEA_MAX.
        seed: 32 bytes.

    Returns:
        ``size`` bytes, always the same for one seed.

    Raises:
        DataError: the seed has the wrong length, or the size is negative.
        LimitError: the size is over what a bytea holds.
    """
    check_size(size)
    if len(seed) != SEED_BYTES:
        raise wrong_length("seed", seed, SEED_BYTES)
    from nacl import bindings

    return bindings.randombytes_buf_deterministic(size, seed)
