"""Public-key signatures: Ed25519, and Ed25519ph for messages in parts.

Sources: RFC 8032, FIPS 186-5 and https://doc.libsodium.org/public-key_cryptography/public-key_signatures
"""

from nacl import bindings
from nacl._sodium import ffi
from nacl.exceptions import BadSignatureError

from ..errors import DataError, not_authentic
from .key_pair import key_pair_of_seed, new_seed
from .sizes import check_growth, check_length

PUBLIC_KEY_BYTES = 32
SECRET_KEY_BYTES = 64
SIGNATURE_BYTES = 64
STATE_BYTES = 208


def crypto_sign_new_seed() -> bytes:
    """Return a new random seed for ``crypto_sign_seed_new_keypair``, 32 bytes."""
    return new_seed()


def crypto_sign_new_keypair() -> tuple[bytes, bytes]:
    """Return a new random key pair: the public key, 32 bytes, and the secret key, 64 bytes."""
    return bindings.crypto_sign_keypair()


def crypto_sign_seed_new_keypair(seed: bytes) -> tuple[bytes, bytes]:
    """Return the key pair that a seed gives.

    Args:
        seed: 32 bytes.

    Returns:
        The public key, 32 bytes, and the secret key, 64 bytes.

    Raises:
        DataError: the seed has the wrong length.
    """
    return key_pair_of_seed(bindings.crypto_sign_seed_keypair, seed)


def crypto_sign(message: bytes, key: bytes) -> bytes:
    """Sign a message, and put the signature before it.

    Args:
        message: the message, of any length.
        key: the signer's secret key, 64 bytes.

    Returns:
        The signature and the message, 64 bytes longer than the message.

    Raises:
        DataError: the key has the wrong length.
        LimitError: the result would not fit into a bytea.
    """
    check_length("key", key, SECRET_KEY_BYTES)
    check_growth(message, SIGNATURE_BYTES)
    return bindings.crypto_sign(message, key)


def crypto_sign_open(signed_message: bytes, key: bytes) -> bytes:
    """Verify a result of ``crypto_sign``, and return the message without its signature.

    Args:
        signed_message: the signature and the message, at least 64 bytes.
        key: the signer's public key, 32 bytes.

    Returns:
        The message.

    Raises:
        DataError: the signature does not verify, or the key has the wrong length.
    """
    check_length("key", key, PUBLIC_KEY_BYTES)
    if len(signed_message) < SIGNATURE_BYTES:
        raise not_authentic("signed_message")
    try:
        return bindings.crypto_sign_open(signed_message, key)
    except BadSignatureError:
        raise not_authentic("signed_message") from None


def crypto_sign_detached(message: bytes, key: bytes) -> bytes:
    """Return the signature of a message, without the message.

    Args:
        message: the message, of any length.
        key: the signer's secret key, 64 bytes.

    Returns:
        64 bytes.

    Raises:
        DataError: the key has the wrong length.
    """
    check_length("key", key, SECRET_KEY_BYTES)
    return bindings.crypto_sign(message, key)[:SIGNATURE_BYTES]


def crypto_sign_verify_detached(sig: bytes, message: bytes, key: bytes) -> bool:
    """Return whether a signature belongs to a message.

    Args:
        sig: the signature, 64 bytes.
        message: the message, of any length.
        key: the signer's public key, 32 bytes.

    Returns:
        True if the owner of the key has signed this message.

    Raises:
        DataError: the signature or the key has the wrong length.
    """
    check_length("sig", sig, SIGNATURE_BYTES)
    check_length("key", key, PUBLIC_KEY_BYTES)
    try:
        bindings.crypto_sign_open(sig + message, key)
    except BadSignatureError:
        return False
    return True


def _load(state: bytes) -> bindings.crypto_sign_ed25519ph_state:
    check_length("state", state, STATE_BYTES)
    loaded = bindings.crypto_sign_ed25519ph_state()
    ffi.memmove(loaded.state, state, STATE_BYTES)
    return loaded


def _store(state: bindings.crypto_sign_ed25519ph_state) -> bytes:
    return bytes(ffi.buffer(state.state, STATE_BYTES))


def crypto_sign_init() -> bytes:
    """Return the state of a message in parts before its first part, 208 bytes.

    The state is libsodium's SHA-512 state: eight words of 8 bytes, a bit count of 16 bytes, a block of 128 bytes.
    """
    return _store(bindings.crypto_sign_ed25519ph_state())


def crypto_sign_update(state: bytes, message: bytes) -> bytes:
    """Add a part to a message.

    Args:
        state: a result of ``crypto_sign_init`` or of this function, 208 bytes.
        message: the part, of any length.

    Returns:
        The new state, 208 bytes.

    Raises:
        DataError: the state has the wrong length.
    """
    loaded = _load(state)
    bindings.crypto_sign_ed25519ph_update(loaded, message)
    return _store(loaded)


def crypto_sign_update_agg1(state: bytes | None, message: bytes) -> bytes:
    """Add a row's part to a message, for the aggregate that begins with an empty message.

    Args:
        state: 208 bytes, or None at the first row.
        message: the part, of any length.

    Returns:
        The new state, 208 bytes.

    Raises:
        DataError: the state has the wrong length.
    """
    return crypto_sign_update(crypto_sign_init() if state is None else state, message)


def crypto_sign_update_agg2(cur_state: bytes | None, initial_state: bytes | None, message: bytes) -> bytes:
    """Add a row's part to a message, for the aggregate that starts from a given state.

    Args:
        cur_state: 208 bytes, or None at the first row.
        initial_state: the state to start from, 208 bytes; it is used at the first row only.
        message: the part, of any length.

    Returns:
        The new state, 208 bytes.

    Raises:
        DataError: the state has the wrong length, or both states are None.
    """
    state = initial_state if cur_state is None else cur_state
    if state is None:
        raise DataError("initial_state must not be NULL")
    return crypto_sign_update(state, message)


def crypto_sign_final_create(state: bytes, key: bytes) -> bytes:
    """Return the Ed25519ph signature of a message in parts.

    Args:
        state: the state after the last part, 208 bytes.
        key: the signer's secret key, 64 bytes.

    Returns:
        64 bytes.

    Raises:
        DataError: the state or the key has the wrong length.
    """
    check_length("key", key, SECRET_KEY_BYTES)
    return bindings.crypto_sign_ed25519ph_final_create(_load(state), key)


def crypto_sign_final_verify(state: bytes, signature: bytes, key: bytes) -> bool:
    """Return whether an Ed25519ph signature belongs to a message in parts.

    Args:
        state: the state after the last part, 208 bytes.
        signature: 64 bytes.
        key: the signer's public key, 32 bytes.

    Returns:
        True if the owner of the key has signed this message.

    Raises:
        DataError: an argument has the wrong length.
    """
    check_length("signature", signature, SIGNATURE_BYTES)
    check_length("key", key, PUBLIC_KEY_BYTES)
    try:
        return bindings.crypto_sign_ed25519ph_final_verify(_load(state), signature, key)
    except BadSignatureError:
        return False
