"""Keys and verifiers from passwords: Argon2id at libsodium's MODERATE limits (256 MiB, 3 passes).

Sources: RFC 9106, https://doc.libsodium.org/password_hashing/default_phf
"""

import re

from nacl import bindings
from nacl.exceptions import InvalidkeyError

from ..errors import DataError, wrong_length
from .randombytes import randombytes_buf

HASH_BYTES = 32
SALT_BYTES = 16
STR_BYTES = 128

_OPSLIMIT = 3
_MEMLIMIT = 256 * 1024 * 1024
_LIMITS = re.compile(rb"\$argon2id?\$v=\d+\$m=(\d+),t=(\d+),")
_KIBIBYTES_MAX = 1024 * 1024
_PASSES_MAX = 8
_ALGORITHM = bindings.crypto_pwhash_ALG_ARGON2ID13


def crypto_pwhash_saltgen() -> bytes:
    """Return a new random salt, 16 bytes."""
    return randombytes_buf(SALT_BYTES)


def crypto_pwhash(password: bytes, salt: bytes) -> bytes:
    """Return the key that a password gives. It takes about a second and 256 MiB, on purpose.

    Args:
        password: of any length.
        salt: 16 bytes.

    Returns:
        32 bytes.

    Raises:
        DataError: the salt has the wrong length.
    """
    if len(salt) != SALT_BYTES:
        raise wrong_length("salt", salt, SALT_BYTES)
    return bindings.crypto_pwhash_alg(HASH_BYTES, password, salt, _OPSLIMIT, _MEMLIMIT, _ALGORITHM)


def crypto_pwhash_str(password: bytes) -> bytes:
    """Return a verifier of a password, to be stored: salt, limits and hash in ASCII.

    Args:
        password: of any length.

    Returns:
        128 bytes, zeros at the end.
    """
    hashed = bindings.crypto_pwhash_str_alg(password, _OPSLIMIT, _MEMLIMIT, _ALGORITHM)
    return hashed.ljust(STR_BYTES, b"\0")


def crypto_pwhash_str_verify(hashed_password: bytes, password: bytes) -> bool:
    """Tell whether a verifier is that of a password.

    Args:
        hashed_password: what ``crypto_pwhash_str`` returned: 128 bytes.
        password: of any length.

    Returns:
        Whether it is. A verifier that is not one is that of no password.

    Raises:
        DataError: the verifier has the wrong length, or asks for more work than libsodium's SENSITIVE limits.
    """
    if len(hashed_password) != STR_BYTES:
        raise wrong_length("hashed_password", hashed_password, STR_BYTES)
    # The verifier says how much memory and time it takes, and no cancel can end it: only so much is done.
    limits = _LIMITS.match(hashed_password)
    if limits and (int(limits[1]) > _KIBIBYTES_MAX or int(limits[2]) > _PASSES_MAX):
        raise DataError(
            f"hashed_password asks for {int(limits[1])} KiB and {int(limits[2])} passes; at most "
            f"{_KIBIBYTES_MAX} and {_PASSES_MAX} are allowed"
        )
    try:
        return bindings.crypto_pwhash_str_verify(hashed_password[:-1].rstrip(b"\0"), password)
    except InvalidkeyError:
        return False
