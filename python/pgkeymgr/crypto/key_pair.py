"""Seeds of key pairs: the steps that are the same for key exchange, encryption and signatures.

Sources: https://doc.libsodium.org/public-key_cryptography/authenticated_encryption,
https://doc.libsodium.org/public-key_cryptography/public-key_signatures and https://doc.libsodium.org/key_exchange
"""

from collections.abc import Callable

from .randombytes import randombytes_buf
from .sizes import check_length

SEED_BYTES = 32


def new_seed() -> bytes:
    """Return a new random seed, 32 bytes."""
    return randombytes_buf(SEED_BYTES)


def key_pair_of_seed(generate: Callable[[bytes], tuple[bytes, bytes]], seed: bytes) -> tuple[bytes, bytes]:
    """Return the key pair that a seed gives.

    Args:
        generate: libsodium's function that makes the key pair.
        seed: 32 bytes.

    Returns:
        The public and the secret key, with the lengths of the primitive.

    Raises:
        DataError: the seed has the wrong length.
    """
    check_length("seed", seed, SEED_BYTES)
    return generate(seed)
