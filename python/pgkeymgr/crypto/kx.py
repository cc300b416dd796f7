"""Key exchange: two parties agree on a pair of session keys, by X25519 and BLAKE2b-512.

Sources: https://doc.libsodium.org/key_exchange and RFC 7748
"""

from nacl import bindings
from nacl.exceptions import CryptoError

from ..errors import DataError
from .key_pair import key_pair_of_seed, new_seed
from .sizes import check_length

PUBLIC_KEY_BYTES = 32
SECRET_KEY_BYTES = 32


def crypto_kx_new_seed() -> bytes:
    """Return a new random seed for ``crypto_kx_seed_new_keypair``, 32 bytes."""
    return new_seed()


def crypto_kx_new_keypair() -> tuple[bytes, bytes]:
    """Return a new random key pair: the public and the secret key, 32 bytes each."""
    return bindings.crypto_kx_keypair()


def crypto_kx_seed_new_keypair(seed: bytes) -> tuple[bytes, bytes]:
    """Return the key pair that a seed gives.

    Args:
        seed: 32 bytes.

    Returns:
        The public and the secret key, 32 bytes each.

    Raises:
        DataError: the seed has the wrong length.
    """
    return key_pair_of_seed(bindings.crypto_kx_seed_keypair, seed)


def _check_keys(own: str, own_pk: bytes, own_sk: bytes, other: str, other_pk: bytes) -> None:
    check_length(f"{own}_pk", own_pk, PUBLIC_KEY_BYTES)
    check_length(f"{own}_sk", own_sk, SECRET_KEY_BYTES)
    check_length(f"{other}_pk", other_pk, PUBLIC_KEY_BYTES)


def crypto_kx_client_session_keys(client_pk: bytes, client_sk: bytes, server_pk: bytes) -> tuple[bytes, bytes]:
    """Return the client's session keys.

    Args:
        client_pk: the client's public key, 32 bytes.
        client_sk: the client's secret key, 32 bytes.
        server_pk: the server's public key, 32 bytes.

    Returns:
        The key to receive with and the key to transmit with, 32 bytes each.

    Raises:
        DataError: a key has the wrong length, or the server's public key is not acceptable.
    """
    _check_keys("client", client_pk, client_sk, "server", server_pk)
    try:
        return bindings.crypto_kx_client_session_keys(client_pk, client_sk, server_pk)
    except CryptoError:
        raise DataError("server_pk is not an acceptable public key") from None


def crypto_kx_server_session_keys(server_pk: bytes, server_sk: bytes, client_pk: bytes) -> tuple[bytes, bytes]:
    """Return the server's session keys.

    Args:
        server_pk: the server's public key, 32 bytes.
        server_sk: the server's secret key, 32 bytes.
        client_pk: the client's public key, 32 bytes.

    Returns:
        The key to receive with and the key to transmit with, 32 bytes each.

    Raises:
        DataError: a key has the wrong length, or the client's public key is not acceptable.
    """
    _check_keys("server", server_pk, server_sk, "client", client_pk)
    try:
        return bindings.crypto_kx_server_session_keys(server_pk, server_sk, client_pk)
    except CryptoError:
        raise DataError("client_pk is not an acceptable public key") from None
