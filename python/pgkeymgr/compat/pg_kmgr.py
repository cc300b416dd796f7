"""The cipher of the key manager that was proposed on PostgreSQL's hackers' list in 2020.

The cipher is encrypt-then-MAC with two independent keys. It encrypts by AES-256 in CBC mode with PKCS #7 padding,
under the first 32 bytes of a key. It authenticates IV and ciphertext by HMAC-SHA-256, under the last 32 bytes. The
result is the tag (32 bytes), the IV (16 random bytes) and the ciphertext.

Sources: NIST SP 800-38A, RFC 2104, RFC 5652 section 6.3, and
https://www.postgresql.org/message-id/CAN-RpxD747TDj=CVTeuZBn=tLgg4xkdUVm0r0N3-gQvQj38V0Q@mail.gmail.com
"""

import hmac
import os
from typing import Any

from ..crypto.libraries import import_library
from ..crypto.sizes import check_growth
from ..errors import not_authentic, wrong_length
from ..key.token import to_text

KEY_BYTES = 64
MAC_BYTES = 32
IV_BYTES = 16
BLOCK_BYTES = 16

_HALF = KEY_BYTES // 2


def _cbc(key: bytes, iv: bytes) -> Any:
    ciphers = import_library("cryptography.hazmat.primitives.ciphers")
    return ciphers.Cipher(ciphers.algorithms.AES(key), ciphers.modes.CBC(iv))


def _mac(data: bytes, key: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def pg_encrypt(data: bytes, key: bytes) -> bytes:
    """Encrypt data under a fresh IV.

    Args:
        data: the data, of any length.
        key: 64 bytes: 32 for AES-256, 32 for HMAC-SHA-256.

    Returns:
        Tag, IV and ciphertext; 49 to 64 bytes longer than the data.

    Raises:
        DataError: the key has the wrong length.
        LimitError: the result would not fit into a bytea.
    """
    if len(key) != KEY_BYTES:
        raise wrong_length("key", key, KEY_BYTES)
    check_growth(data, MAC_BYTES + IV_BYTES + BLOCK_BYTES)
    padding = BLOCK_BYTES - len(data) % BLOCK_BYTES
    iv = os.urandom(IV_BYTES)
    encryptor = _cbc(key[:_HALF], iv).encryptor()
    sealed: bytes = iv + encryptor.update(data + bytes([padding]) * padding) + encryptor.finalize()
    return _mac(sealed, key[_HALF:]) + sealed


def pg_decrypt(data: bytes, key: bytes) -> bytes:
    """Verify and decrypt the result of ``pg_encrypt``.

    Args:
        data: at least 64 bytes.
        key: the 64 bytes that encrypted the data.

    Returns:
        The data.

    Raises:
        DataError: it does not verify, or the key has the wrong length.
    """
    if len(key) != KEY_BYTES:
        raise wrong_length("key", key, KEY_BYTES)
    tag, sealed = data[:MAC_BYTES], data[MAC_BYTES:]
    if len(sealed) < IV_BYTES + BLOCK_BYTES or len(sealed) % BLOCK_BYTES:
        raise not_authentic("data")
    if not hmac.compare_digest(tag, _mac(sealed, key[_HALF:])):
        raise not_authentic("data")
    decryptor = _cbc(key[:_HALF], sealed[:IV_BYTES]).decryptor()
    padded: bytes = decryptor.update(sealed[IV_BYTES:]) + decryptor.finalize()
    padding = padded[-1]
    # The tag was right, so only a wrong AES half of the key leads here.
    if not 1 <= padding <= BLOCK_BYTES or padded[-padding:] != bytes([padding]) * padding:
        raise not_authentic("data")
    return padded[:-padding]


def pg_encrypt_text(data: str | None, key: bytes) -> bytes | None:
    """Return ``pg_encrypt`` of a text as UTF-8; None gives None."""
    return None if data is None else pg_encrypt(data.encode(), key)


def pg_decrypt_text(data: bytes | None, key: bytes) -> str | None:
    """Return ``pg_decrypt`` as text; None gives None."""
    return None if data is None else to_text(pg_decrypt(data, key))
