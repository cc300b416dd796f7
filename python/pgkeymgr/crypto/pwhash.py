"""Keys and verifiers from passwords: Argon2id at libsodium's MODERATE limits (256 MiB, 3 passes).

Sources: RFC 9106 and https://doc.libsodium.org/password_hashing/default_phf
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
    """Return the key that a password gives.

    The computation takes about a second and 256 MiB on purpose, since a guess of the password costs the same.

    Args:
        password: the password, of any length.
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
    """Return a verifier of a password, which can be stored.

    Args:
        password: the password, of any length.

    Returns:
        The salt, the limits and the hash in ASCII, padded with zeros to 128 bytes.
    """
    hashed = bindings.crypto_pwhash_str_alg(password, _OPSLIMIT, _MEMLIMIT, _ALGORITHM)
    return hashed.ljust(STR_BYTES, b"\0")


def crypto_pwhash_str_verify(hashed_password: bytes, password: bytes) -> bool:
    """Return whether a verifier was made from a password.

    Args:
        hashed_password: a result of ``crypto_pwhash_str``, 128 bytes.
        password: the password, of any length.

    Returns:
        True if the password is right. A malformed verifier fits no password.

    Raises:
        DataError: the verifier has the wrong length, or asks for more work than libsodium's SENSITIVE limits.
    """
    if len(hashed_password) != STR_BYTES:
        raise wrong_length("hashed_password", hashed_password, STR_BYTES)
    # The verifier sets the memory and the time of the check, and a cancel cannot end it. So both are bounded.
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
