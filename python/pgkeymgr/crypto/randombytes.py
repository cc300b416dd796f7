"""Random data from the operating system, and a deterministic stream from a seed.

Sources: https://doc.libsodium.org/generating_random_data and getrandom(2)
"""

import os

from ..errors import wrong_length
from .sizes import check_size

SEED_BYTES = 32

_INTEGERS = 2**32


def randombytes_random() -> int:
    """Return a random 32-bit integer, signed as SQL's ``integer`` is."""
    return int.from_bytes(os.urandom(4), "little", signed=True)


def randombytes_uniform(upper_bound: int) -> int:
    """Return a random integer below a bound; all are equally likely.

    Args:
        upper_bound: the smallest integer that is not returned. As in libsodium, it is 32 bits without a sign, so
            2^32 is added to a negative number. With 0 and 1, the result is 0.

    Returns:
        An integer from 0 to ``upper_bound - 1``, signed as SQL's ``integer`` is.
    """
    from secrets import randbelow  # This module is slow to import.

    bound = upper_bound % _INTEGERS
    number = randbelow(bound) if bound else 0
    return number - _INTEGERS if number >= _INTEGERS // 2 else number


def randombytes_buf(size: int) -> bytes:
    """Return random bytes.

    Args:
        size: the number of bytes, 0 to BYTEA_MAX.

    Returns:
        ``size`` bytes from the operating system.

    Raises:
        DataError: the size is negative.
        LimitError: the size is more than a bytea can hold.
    """
    check_size(size)
    return os.urandom(size)


def randombytes_new_seed() -> bytes:
    """Return a new random seed for ``randombytes_buf_deterministic``, 32 bytes."""
    return os.urandom(SEED_BYTES)


def randombytes_buf_deterministic(size: int, seed: bytes) -> bytes:
    """Return the first bytes of the stream that a seed gives.

    The stream is the keystream of ChaCha20 (RFC 8439) under the seed, with the nonce ``LibsodiumDRG``.

    Args:
        size: the number of bytes, 0 to BYTEA_MAX.
        seed: 32 bytes.

    Returns:
        ``size`` bytes, always the same for a seed.

    Raises:
        DataError: the seed has the wrong length, or the size is negative.
        LimitError: the size is more than a bytea can hold.
    """
    check_size(size)
    if len(seed) != SEED_BYTES:
        raise wrong_length("seed", seed, SEED_BYTES)
    from nacl import bindings

    return bindings.randombytes_buf_deterministic(size, seed)
