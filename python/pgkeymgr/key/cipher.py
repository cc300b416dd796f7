"""Tokens: ciphertexts that name their key.

A token is one byte for format and suite, four bytes for the key's id (big-endian), and the output of the suite:

    1  randomized      a nonce of 12 random bytes, the ciphertext, a tag of 16 bytes
    2  deterministic   a tag of 16 bytes, the ciphertext

Suite 1 is AES-256-GCM-SIV (RFC 8452): a nonce that repeats leaks only whether two plaintexts are equal. Suite 2
is AES-SIV with AES-256 (RFC 5297). It always leaks whether two plaintexts are equal, and so serves lookups. Both
suites authenticate the five bytes of the header, followed by the caller's associated data. The header's length is
fixed, so the header and the data cannot be confused.

A data key encrypts nothing itself. Each suite has its own key: the output of BLAKE2b, keyed with the data key,
with the suite's name as personalization. So no key serves two algorithms.
"""

import os
from collections.abc import Iterator
from functools import cache
from typing import Any

from ..crypto.blake2b import blake2b_of_key
from ..crypto.libraries import import_library
from ..crypto.sizes import BYTEA_MAX
from ..errors import DataError, LibraryError, LimitError

RANDOMIZED = 1
DETERMINISTIC = 2
SUITES = {RANDOMIZED: "aes-256-gcm-siv", DETERMINISTIC: "aes-256-siv"}

HEADER_BYTES = 5
KEY_ID_MAX = 2**31 - 1
NONCE_BYTES = 12
TAG_BYTES = 16
OVERHEAD_BYTES = {
    RANDOMIZED: HEADER_BYTES + NONCE_BYTES + TAG_BYTES,
    DETERMINISTIC: HEADER_BYTES + TAG_BYTES,
}
PLAINTEXT_BYTES_MAX = BYTEA_MAX - max(OVERHEAD_BYTES.values())

SECRET_BYTES_MIN = 16
SECRET_BYTES_MAX = 64

_PERSONS = {RANDOMIZED: b"pgkeymgrtokengcm", DETERMINISTIC: b"pgkeymgrtokensiv"}
_SUBKEY_BYTES = {RANDOMIZED: 32, DETERMINISTIC: 64}

_RANDOMIZED_BYTE = bytes([RANDOMIZED])
CIPHERTEXT_START = HEADER_BYTES + NONCE_BYTES

_NONCES_DRAWN = 256


def _draw_nonces() -> Iterator[bytes]:
    # A system call for each nonce would cost a third as much as the encryption.
    while True:
        drawn = os.urandom(NONCE_BYTES * _NONCES_DRAWN)
        for start in range(0, len(drawn), NONCE_BYTES):
            yield drawn[start : start + NONCE_BYTES]


fresh_nonce = _draw_nonces().__next__
"""Return 12 random bytes that were not returned before."""


@cache
def _library() -> tuple[Any, Any, Any]:
    # cryptography's own module ciphers.aead takes them from here; its other imports would take half as long again.
    aead = import_library("cryptography.hazmat.bindings._rust").openssl.aead
    exceptions = import_library("cryptography.exceptions")
    # A broken or another cipher must not encrypt anyone's data. The known answer is from RFC 8452, appendix C.2.
    made = aead.AESGCMSIV(b"\x01" + bytes(31)).encrypt(b"\x03" + bytes(11), b"", b"")
    if made.hex() != "07f5f4169bbf55a8400cd47ea6fd400f":
        raise LibraryError("cryptography's AES-256-GCM-SIV does not give the known answer")
    return aead.AESGCMSIV, aead.AESSIV, exceptions.InvalidTag


def read_header(token: bytes) -> tuple[int, int]:
    """Read the header of a token, unverified.

    Args:
        token: at least a header and a tag.

    Returns:
        The format byte and the key's id.

    Raises:
        DataError: the token is truncated, or this version does not know its format.
    """
    if not token:
        raise DataError("this is not a token: it is empty")
    overhead = OVERHEAD_BYTES.get(token[0])
    if overhead is None:
        raise DataError(f"this is not a token of a known format: its first byte is {token[0]}")
    if len(token) < overhead:
        raise DataError(
            f"this token is truncated: it has {len(token)} bytes, and the shortest of its format has {overhead}"
        )
    key_id = int.from_bytes(token[1:HEADER_BYTES], "big")
    if key_id > KEY_ID_MAX:
        raise DataError(f"this is not a token: no key has the id {key_id}")
    return token[0], key_id


class TokenCipher:
    """The cipher that encrypts to tokens, and decrypts them, under one data key.

    Attributes:
        header: the first five bytes of the tokens of suite 1.
        encrypt_raw: the AEAD of suite 1, from nonce, plaintext and associated data to ciphertext and tag.
        decrypt_raw: the inverse of ``encrypt_raw``; any exception means that the ciphertext does not verify.
    """

    __slots__ = ("_invalid_tag", "_key_id", "_secret", "_siv", "decrypt_raw", "encrypt_raw", "header")

    def __init__(self, key_id: int, secret: bytes) -> None:
        """Initialize the cipher of a data key.

        Args:
            key_id: the id of the key, 0 to 2^31 - 1.
            secret: the 16 to 64 bytes of the key.

        Raises:
            DataError: the secret is too short or too long for tokens.
        """
        if not SECRET_BYTES_MIN <= len(secret) <= SECRET_BYTES_MAX:
            raise DataError(
                f"key {key_id} has {len(secret)} bytes; tokens need a key of {SECRET_BYTES_MIN} to "
                f"{SECRET_BYTES_MAX}"
            )
        gcm_siv, _, self._invalid_tag = _library()
        self._key_id = key_id.to_bytes(4, "big")
        self.header = _RANDOMIZED_BYTE + self._key_id
        self._secret = secret
        # The cipher is made once, since that costs as much as its use.
        cipher = gcm_siv(self._subkey(RANDOMIZED))
        self.encrypt_raw = cipher.encrypt
        self.decrypt_raw = cipher.decrypt
        self._siv: Any = None

    def __reduce__(self) -> str:
        raise TypeError("a key is not to be copied or written anywhere")

    def _subkey(self, suite: int) -> bytes:
        return blake2b_of_key(_SUBKEY_BYTES[suite], self._secret, _PERSONS[suite])

    def _deterministic(self) -> Any:
        if self._siv is None:
            self._siv = _library()[1](self._subkey(DETERMINISTIC))
        return self._siv

    def encrypt(self, plaintext: bytes, associated_data: bytes) -> bytes:
        """Encrypt under a fresh nonce.

        Args:
            plaintext: the plaintext, of any length; it may be empty.
            associated_data: data that is authenticated, but neither encrypted nor part of the token.

        Returns:
            A token, 33 bytes longer than the plaintext.

        Raises:
            LimitError: the token would not fit into a bytea.
        """
        if len(plaintext) > PLAINTEXT_BYTES_MAX:
            raise _too_long(plaintext)
        nonce = fresh_nonce()
        header = self.header
        token: bytes = header + nonce + self.encrypt_raw(nonce, plaintext, header + associated_data)
        return token

    def encrypt_deterministic(self, plaintext: bytes, associated_data: bytes) -> bytes:
        """Encrypt so that the same plaintext with the same associated data gives the same token.

        Args:
            plaintext: the plaintext, of any length; it may be empty.
            associated_data: data that is authenticated, but neither encrypted nor part of the token.

        Returns:
            A token, 21 bytes longer than the plaintext.

        Raises:
            LimitError: the token would not fit into a bytea.
        """
        if len(plaintext) > PLAINTEXT_BYTES_MAX:
            raise _too_long(plaintext)
        header = bytes([DETERMINISTIC]) + self._key_id
        token: bytes = header + self._deterministic().encrypt(plaintext, [header + associated_data])
        return token

    def encrypt_like(self, token: bytes, plaintext: bytes, associated_data: bytes) -> bytes:
        """Encrypt in the suite of another token; see ``encrypt``."""
        if token[0] == DETERMINISTIC:
            return self.encrypt_deterministic(plaintext, associated_data)
        return self.encrypt(plaintext, associated_data)

    def decrypt(self, token: bytes, associated_data: bytes) -> bytes:
        """Verify and decrypt a token of this key.

        Args:
            token: the result of one of the functions above.
            associated_data: the associated data that the token was made with.

        Returns:
            The plaintext.

        Raises:
            DataError: the token does not verify.
        """
        try:
            plaintext: bytes
            if token[:HEADER_BYTES] == self.header:
                plaintext = self.decrypt_raw(
                    token[HEADER_BYTES:CIPHERTEXT_START],
                    token[CIPHERTEXT_START:],
                    self.header + associated_data,
                )
            else:
                read_header(token)
                header = token[:HEADER_BYTES]
                plaintext = self._deterministic().decrypt(token[HEADER_BYTES:], [header + associated_data])
            return plaintext
        except self._invalid_tag:
            raise self._not_authentic() from None
        except ValueError:  # cryptography raises this for a truncated nonce
            read_header(token)
            raise self._not_authentic() from None

    def _not_authentic(self) -> DataError:
        key_id = int.from_bytes(self._key_id, "big")
        return DataError(
            f"this token of key {key_id} is not authentic: it was altered, or the associated data is not what "
            "it was made with"
        )


def _too_long(plaintext: bytes) -> LimitError:
    return LimitError(f"a plaintext must be at most {PLAINTEXT_BYTES_MAX} bytes long, not {len(plaintext)}")
