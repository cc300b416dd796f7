"""Public-key authenticated encryption, and sealed boxes: X25519 and XSalsa20-Poly1305.

Sources: RFC 7748, https://doc.libsodium.org/public-key_cryptography/authenticated_encryption and
https://doc.libsodium.org/public-key_cryptography/sealed_boxes
"""

from nacl import bindings
from nacl import exceptions as nacl_exceptions

from ..errors import DataError, not_authentic
from .key_pair import key_pair_of_seed, new_seed
from .randombytes import randombytes_buf
from .sizes import check_growth, check_length

PUBLIC_KEY_BYTES = 32
SECRET_KEY_BYTES = 32
NONCE_BYTES = 24
MAC_BYTES = 16
SEAL_BYTES = PUBLIC_KEY_BYTES + MAC_BYTES


def crypto_box_new_seed() -> bytes:
    """Return a new random seed for ``crypto_box_seed_new_keypair``, 32 bytes."""
    return new_seed()


def crypto_box_noncegen() -> bytes:
    """Return a new random nonce, 24 bytes, which is long enough never to repeat by chance."""
    return randombytes_buf(NONCE_BYTES)


def crypto_box_new_keypair() -> tuple[bytes, bytes]:
    """Return a new random key pair: the public and the secret key, 32 bytes each."""
    return bindings.crypto_box_keypair()


def crypto_box_seed_new_keypair(seed: bytes) -> tuple[bytes, bytes]:
    """Return the key pair that a seed gives.

    Args:
        seed: 32 bytes.

    Returns:
        The public and the secret key, 32 bytes each.

    Raises:
        DataError: the seed has the wrong length.
    """
    return key_pair_of_seed(bindings.crypto_box_seed_keypair, seed)


def _check(nonce: bytes, public: bytes, secret: bytes) -> None:
    check_length("nonce", nonce, NONCE_BYTES)
    check_length("public", public, PUBLIC_KEY_BYTES)
    check_length("secret", secret, SECRET_KEY_BYTES)


def crypto_box(message: bytes, nonce: bytes, public: bytes, secret: bytes) -> bytes:
    """Encrypt a message to a recipient, and authenticate it as coming from the sender.

    Args:
        message: the plaintext, of any length.
        nonce: 24 bytes, used once between these two key pairs.
        public: the recipient's public key, 32 bytes.
        secret: the sender's secret key, 32 bytes.

    Returns:
        The tag and the ciphertext, 16 bytes longer than the message.

    Raises:
        DataError: an argument has the wrong length, or the public key is a weak point.
        LimitError: the result would not fit into a bytea.
    """
    _check(nonce, public, secret)
    check_growth(message, MAC_BYTES)
    try:
        return bindings.crypto_box_easy(message, nonce, public, secret)
    except nacl_exceptions.RuntimeError:
        raise DataError("public is not an acceptable public key") from None


def crypto_box_open(ciphertext: bytes, nonce: bytes, public: bytes, secret: bytes) -> bytes:
    """Verify and decrypt a result of ``crypto_box``.

    Args:
        ciphertext: the tag and the ciphertext, at least 16 bytes.
        nonce: the nonce of the encryption, 24 bytes.
        public: the sender's public key, 32 bytes.
        secret: the recipient's secret key, 32 bytes.

    Returns:
        The message.

    Raises:
        DataError: the ciphertext does not verify, or an argument has the wrong length.
    """
    _check(nonce, public, secret)
    if len(ciphertext) < MAC_BYTES:
        raise not_authentic("ciphertext")
    try:
        return bindings.crypto_box_open_easy(ciphertext, nonce, public, secret)
    except nacl_exceptions.CryptoError:
        raise not_authentic("ciphertext") from None


def crypto_box_seal(message: bytes, public_key: bytes) -> bytes:
    """Encrypt a message to a recipient without naming a sender; only the recipient can open it.

    Args:
        message: the plaintext, of any length.
        public_key: the recipient's public key, 32 bytes.

    Returns:
        An ephemeral public key, the tag and the ciphertext, 48 bytes longer than the message.

    Raises:
        DataError: the public key has the wrong length or is a weak point.
        LimitError: the result would not fit into a bytea.
    """
    check_length("public_key", public_key, PUBLIC_KEY_BYTES)
    check_growth(message, SEAL_BYTES)
    try:
        return bindings.crypto_box_seal(message, public_key)
    except nacl_exceptions.RuntimeError:
        raise DataError("public_key is not an acceptable public key") from None


def crypto_box_seal_open(ciphertext: bytes, public_key: bytes, secret_key: bytes) -> bytes:
    """Verify and decrypt a result of ``crypto_box_seal``.

    Args:
        ciphertext: the sealed box, at least 48 bytes.
        public_key: the recipient's public key, 32 bytes.
        secret_key: the recipient's secret key, 32 bytes.

    Returns:
        The message.

    Raises:
        DataError: the ciphertext does not verify, or an argument has the wrong length.
    """
    check_length("public_key", public_key, PUBLIC_KEY_BYTES)
    check_length("secret_key", secret_key, SECRET_KEY_BYTES)
    if len(ciphertext) < SEAL_BYTES:
        raise not_authentic("ciphertext")
    try:
        return bindings.crypto_box_seal_open(ciphertext, public_key, secret_key)
    except nacl_exceptions.CryptoError:
        raise not_authentic("ciphertext") from None
