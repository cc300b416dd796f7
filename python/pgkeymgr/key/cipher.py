"""Tokens: ciphertexts that name their key.

A token is one byte for format and suite, four bytes for the key's id (big-endian), and the output of the suite:

    1  randomized      a nonce of 12 random bytes, the ciphertext, a tag of 16 bytes
    2  deterministic   a tag of 16 bytes, the ciphertext
    3  large           a nonce of 24 random bytes, the ciphertext, a tag of 16 bytes
    4  compressed      as 1, of the compressed plaintext
    5  compressed      as 3, of the compressed plaintext

Suite 1 is AES-256-GCM-SIV (RFC 8452): a nonce that repeats leaks only whether two plaintexts are equal. Suite 2
is AES-SIV with AES-256 (RFC 5297). It always leaks whether two plaintexts are equal, and so serves lookups.
Suite 3 is XAES-256-GCM (C2SP), for randomized tokens of 1,024 bytes or more. It is several times as fast as
suite 1 for those, and its random nonces are too long to repeat.

Suites 4 and 5 are the ciphers of suites 1 and 3. The plaintext is compressed before (raw DEFLATE, RFC 1951), and
the length of the compressed plaintext chooses between the two. A plaintext that does not become shorter gets a
token of suite 1 or 3. A token therefore says by itself how it is read.

All suites authenticate the five bytes of the header, followed by the caller's associated data. The header's length
is fixed, so the header and the data cannot be confused.

A data key encrypts nothing itself. Each suite has its own key: the output of BLAKE2b, keyed with the data key,
with the suite's name as personalization. So no key serves two algorithms.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache

from ..crypto.blake2b import blake2b_of_key
from ..crypto.libraries import import_library
from ..crypto.sizes import BYTEA_MAX
from ..crypto.xaes import NONCE_BYTES as LARGE_NONCE_BYTES
from ..crypto.xaes import Xaes, check_known_answer
from ..errors import DataError, LibraryError, LimitError

TYPE_CHECKING = False  # see key/named_tuple.py
if TYPE_CHECKING:
    from typing import Any

RANDOMIZED = 1
DETERMINISTIC = 2
LARGE = 3
COMPRESSED = 4
COMPRESSED_LARGE = 5
SUITES = {
    RANDOMIZED: "aes-256-gcm-siv",
    DETERMINISTIC: "aes-256-siv",
    LARGE: "xaes-256-gcm",
    COMPRESSED: "deflate+aes-256-gcm-siv",
    COMPRESSED_LARGE: "deflate+xaes-256-gcm",
}

HEADER_BYTES = 5
KEY_ID_MAX = 2**31 - 1
NONCE_BYTES = 12
TAG_BYTES = 16
OVERHEAD_BYTES = {
    RANDOMIZED: HEADER_BYTES + NONCE_BYTES + TAG_BYTES,
    DETERMINISTIC: HEADER_BYTES + TAG_BYTES,
    LARGE: HEADER_BYTES + LARGE_NONCE_BYTES + TAG_BYTES,
    COMPRESSED: HEADER_BYTES + NONCE_BYTES + TAG_BYTES,
    COMPRESSED_LARGE: HEADER_BYTES + LARGE_NONCE_BYTES + TAG_BYTES,
}
LARGE_BYTES_MIN = 1024
COMPRESSED_BYTES_MIN = 64
"""The length from which on a plaintext is compressed: shorter ones rarely become shorter still."""
PLAINTEXT_BYTES_MAX = BYTEA_MAX - max(OVERHEAD_BYTES.values())

SECRET_BYTES_MIN = 16
SECRET_BYTES_MAX = 64

_PERSONS = {
    RANDOMIZED: b"pgkeymgrtokengcm",
    DETERMINISTIC: b"pgkeymgrtokensiv",
    LARGE: b"pgkeymgrtokenxgc",
    COMPRESSED: b"pgkeymgrtokendgc",
    COMPRESSED_LARGE: b"pgkeymgrtokendxg",
}
_SUBKEY_BYTES = {RANDOMIZED: 32, DETERMINISTIC: 64, LARGE: 32, COMPRESSED: 32, COMPRESSED_LARGE: 32}

_RANDOMIZED_BYTE = bytes([RANDOMIZED])
CIPHERTEXT_START = HEADER_BYTES + NONCE_BYTES
_LARGE_START = HEADER_BYTES + LARGE_NONCE_BYTES

_NONCES_DRAWN = 256

_CIPHER_BYTES = 3_500
_SUITE_BYTES = {DETERMINISTIC: 4_000, LARGE: 1_500, COMPRESSED: 3_000, COMPRESSED_LARGE: 1_500}
"""The memory of a cipher, and of each further suite that it has used, measured with OpenSSL 3 on x86-64."""

_RAW_DEFLATE = -15
"""zlib's number for DEFLATE without a head and a checksum, with a window of 32 kB; the tag is the checksum."""
_COMPRESSION_LEVEL = 6
_SAMPLE_BYTES = 65_536


def _draw_nonces() -> Iterator[bytes]:
    # A system call for each nonce would cost a third as much as the encryption.
    while True:
        drawn = os.urandom(NONCE_BYTES * _NONCES_DRAWN)
        for start in range(0, len(drawn), NONCE_BYTES):
            yield drawn[start : start + NONCE_BYTES]


fresh_nonce = _draw_nonces().__next__
"""Return 12 random bytes that were not returned before."""


@cache
def _library() -> tuple[Any, Any]:
    # cryptography's own module ciphers.aead takes them from here; its other imports would take half as long again.
    aead = import_library("cryptography.hazmat.bindings._rust").openssl.aead
    # A broken or another cipher must not encrypt anyone's data. The known answer is from RFC 8452, appendix C.2.
    made = aead.AESGCMSIV(b"\x01" + bytes(31)).encrypt(b"\x03" + bytes(11), b"", b"")
    if made.hex() != "07f5f4169bbf55a8400cd47ea6fd400f":
        raise LibraryError("cryptography's AES-256-GCM-SIV does not give the known answer")
    return aead.AESGCMSIV, aead.AESSIV


@cache
def _invalid_tag() -> Any:
    # The module imports typing, for which each session would wait.
    return import_library("cryptography.exceptions").InvalidTag


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
        bytes: an estimate of its present memory: each further suite adds to it when it is used first.
    """

    __slots__ = (
        "_compressed", "_compressed_xaes", "_key_id", "_secret", "_siv", "_xaes", "bytes", "decrypt_raw",
        "encrypt_raw", "header",
    )  # fmt: skip

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
        gcm_siv, _ = _library()
        self.bytes = _CIPHER_BYTES
        self._key_id = key_id.to_bytes(4, "big")
        self.header = _RANDOMIZED_BYTE + self._key_id
        self._secret = secret
        # The cipher is made once, since that costs as much as its use.
        cipher = gcm_siv(self._subkey(RANDOMIZED))
        self.encrypt_raw = cipher.encrypt
        self.decrypt_raw = cipher.decrypt
        self._siv: Any = None
        self._xaes: Xaes | None = None
        self._compressed: Any = None
        self._compressed_xaes: Xaes | None = None

    def __reduce__(self) -> str:
        raise TypeError("a key must not be copied or written anywhere")

    def _subkey(self, suite: int) -> bytes:
        self.bytes += _SUITE_BYTES.get(suite, 0)
        return blake2b_of_key(_SUBKEY_BYTES[suite], self._secret, _PERSONS[suite])

    def _deterministic(self) -> Any:
        if self._siv is None:
            self._siv = _library()[1](self._subkey(DETERMINISTIC))
        return self._siv

    def _large(self) -> Xaes:
        if self._xaes is None:
            check_known_answer()
            self._xaes = Xaes(self._subkey(LARGE))
        return self._xaes

    def _of_compressed(self) -> Any:
        if self._compressed is None:
            self._compressed = _library()[0](self._subkey(COMPRESSED))
        return self._compressed

    def _of_compressed_large(self) -> Xaes:
        if self._compressed_xaes is None:
            check_known_answer()
            self._compressed_xaes = Xaes(self._subkey(COMPRESSED_LARGE))
        return self._compressed_xaes

    def encrypt(self, plaintext: bytes, associated_data: bytes) -> bytes:
        """Encrypt under a fresh nonce.

        Args:
            plaintext: the plaintext, of any length; it may be empty.
            associated_data: data that is authenticated, but neither encrypted nor part of the token.

        Returns:
            A token, 33 bytes longer than a plaintext of less than 1,024 bytes, and 45 bytes longer than others.

        Raises:
            LimitError: the token would not fit into a bytea.
        """
        if len(plaintext) >= LARGE_BYTES_MIN:
            return self._encrypt_large(plaintext, associated_data)
        nonce = fresh_nonce()
        header = self.header
        token: bytes = header + nonce + self.encrypt_raw(nonce, plaintext, header + associated_data)
        return token

    def _encrypt_large(self, plaintext: bytes, associated_data: bytes) -> bytes:
        if len(plaintext) > PLAINTEXT_BYTES_MAX:
            raise _too_long(plaintext)
        header = bytes([LARGE]) + self._key_id
        nonce = os.urandom(LARGE_NONCE_BYTES)
        return header + nonce + self._large().encrypt(nonce, plaintext, header + associated_data)

    def encrypt_compressed(self, plaintext: bytes, associated_data: bytes) -> bytes:
        """Encrypt under a fresh nonce, and compress the plaintext before, if that makes it shorter.

        A plaintext whose first 64 kB do not become shorter is not compressed either. The length of the token then
        depends on the content of the plaintext, and not on its length alone.

        Args:
            plaintext: the plaintext, of any length; it may be empty.
            associated_data: data that is authenticated, but neither encrypted nor part of the token.

        Returns:
            A token, never longer than that of ``encrypt``.

        Raises:
            LimitError: the token of ``encrypt`` would not fit into a bytea.
        """
        size = len(plaintext)
        if size < COMPRESSED_BYTES_MIN:
            return self.encrypt(plaintext, associated_data)
        if size > PLAINTEXT_BYTES_MAX:
            raise _too_long(plaintext)
        if size > _SAMPLE_BYTES and len(_compress(plaintext[:_SAMPLE_BYTES])) >= _SAMPLE_BYTES:
            # A large value that is compressed already, such as an image, would take seconds for nothing.
            return self.encrypt(plaintext, associated_data)
        compressed = _compress(plaintext)
        if len(compressed) >= size:
            return self.encrypt(plaintext, associated_data)
        if len(compressed) >= LARGE_BYTES_MIN:
            header = bytes([COMPRESSED_LARGE]) + self._key_id
            nonce = os.urandom(LARGE_NONCE_BYTES)
            encrypt = self._of_compressed_large().encrypt
        else:
            header = bytes([COMPRESSED]) + self._key_id
            nonce = fresh_nonce()
            encrypt = self._of_compressed().encrypt
        token: bytes = header + nonce + encrypt(nonce, compressed, header + associated_data)
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
        """Encrypt as another token was, which is deterministic, compressed or neither; see ``encrypt``."""
        if token[0] == DETERMINISTIC:
            return self.encrypt_deterministic(plaintext, associated_data)
        if token[0] in (COMPRESSED, COMPRESSED_LARGE):
            return self.encrypt_compressed(plaintext, associated_data)
        return self.encrypt(plaintext, associated_data)

    def decrypt(self, token: bytes, associated_data: bytes) -> bytes:
        """Verify and decrypt a token of this key.

        Args:
            token: the result of one of the functions above.
            associated_data: the associated data that the token was made with.

        Returns:
            The plaintext.

        Raises:
            DataError: the token does not verify, or its plaintext cannot be decompressed.
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
                suite, _ = read_header(token)
                header = token[:HEADER_BYTES]
                if header[1:] != self._key_id:
                    raise self._not_authentic()
                if suite in (LARGE, COMPRESSED_LARGE):
                    nonce = token[HEADER_BYTES:_LARGE_START]
                    # A slice would copy a value that may be large.
                    ciphertext = memoryview(token)[_LARGE_START:]
                    cipher = self._large() if suite == LARGE else self._of_compressed_large()
                    plaintext = cipher.decrypt(nonce, ciphertext, header + associated_data)
                elif suite == COMPRESSED:
                    nonce = token[HEADER_BYTES:CIPHERTEXT_START]
                    plaintext = self._of_compressed().decrypt(
                        nonce, token[CIPHERTEXT_START:], header + associated_data
                    )
                else:
                    plaintext = self._deterministic().decrypt(token[HEADER_BYTES:], [header + associated_data])
                if suite in (COMPRESSED, COMPRESSED_LARGE):
                    return self._decompress(plaintext)
            return plaintext
        except _invalid_tag():
            raise self._not_authentic() from None
        except ValueError:  # cryptography raises this for a truncated nonce
            read_header(token)
            raise self._not_authentic() from None

    def _decompress(self, compressed: bytes) -> bytes:
        """Return the plaintext of a verified token of a compressed suite.

        Raises:
            DataError: the bytes are no compressed plaintext, or only a part, or the plaintext would be too long.
        """
        import zlib  # few sessions need it

        decompressor = zlib.decompressobj(_RAW_DEFLATE)
        try:
            plaintext = decompressor.decompress(compressed, PLAINTEXT_BYTES_MAX)
        except zlib.error:
            plaintext = b""
        if not decompressor.eof or decompressor.unused_data:  # a plaintext that is too long has no end yet
            key_id = int.from_bytes(self._key_id, "big")
            raise DataError(f"the compressed plaintext of this token of key {key_id} is damaged or too long")
        return plaintext

    def _not_authentic(self) -> DataError:
        key_id = int.from_bytes(self._key_id, "big")
        return DataError(
            f"this token of key {key_id} is not authentic: it was altered, or the associated data is wrong"
        )


def _compress(plaintext: bytes) -> bytes:
    import zlib  # few sessions need it

    return zlib.compress(plaintext, _COMPRESSION_LEVEL, _RAW_DEFLATE)


def _too_long(plaintext: bytes) -> LimitError:
    return LimitError(f"a plaintext must be at most {PLAINTEXT_BYTES_MAX} bytes long, not {len(plaintext)}")
