"""XAES-256-GCM: AES-256-GCM with a nonce of 24 bytes, so that random nonces do not repeat.

Half of the nonce and the key give a key for AES-256-GCM, and the other half is the nonce of that. No SQL function
has this cipher; tokens of large values use it.

Source: https://c2sp.org/XAES-256-GCM
"""

from __future__ import annotations

from functools import cache

from ..errors import LibraryError
from .libraries import import_library

TYPE_CHECKING = False  # see key/named_tuple.py
if TYPE_CHECKING:
    from typing import Any

KEY_BYTES = 32
NONCE_BYTES = 24
TAG_BYTES = 16

_BLOCK_BYTES = 16
_HALF_BYTES = 12
_CARRY = 1 << 128
_REDUCTION = _CARRY | 0x87
_BOTH_BLOCKS = _CARRY | 1


class Xaes:
    """XAES-256-GCM under one key."""

    __slots__ = ("_encrypt_blocks", "_mask")

    def __init__(self, key: bytes) -> None:
        """Initialize the cipher.

        Args:
            key: 32 bytes.
        """
        ciphers, algorithms, modes, _ = _library()
        # ECB has no state, so that one encryptor serves all messages. It encrypts single blocks of fixed formats.
        encryptor = ciphers.Cipher(algorithms.AES(key), modes.ECB()).encryptor()
        self._encrypt_blocks = encryptor.update
        # The subkey K1 of CMAC (NIST SP 800-38B, section 6.1), once for each of two blocks.
        subkey = int.from_bytes(self._encrypt_blocks(bytes(_BLOCK_BYTES)), "big") << 1
        if subkey & _CARRY:
            subkey ^= _REDUCTION
        self._mask = subkey * _BOTH_BLOCKS

    def __reduce__(self) -> str:
        raise TypeError("a key must not be copied or written anywhere")

    def _gcm(self, nonce: bytes) -> Any:
        half = nonce[:_HALF_BYTES]
        # NIST SP 800-108r1, section 4.1, with CMAC: counter, label "X", a zero byte, context.
        blocks = int.from_bytes(b"\0\1X\0" + half + b"\0\2X\0" + half, "big") ^ self._mask
        return _library()[3].AESGCM(self._encrypt_blocks(blocks.to_bytes(2 * _BLOCK_BYTES, "big")))

    def encrypt(self, nonce: bytes, plaintext: bytes, associated_data: bytes) -> bytes:
        """Encrypt a message.

        Args:
            nonce: 24 bytes that were not used with this key before; random bytes are.
            plaintext: the message, of any length.
            associated_data: data that is authenticated with the message.

        Returns:
            The ciphertext, as long as the plaintext, and a tag of 16 bytes.
        """
        encrypted: bytes = self._gcm(nonce).encrypt(nonce[_HALF_BYTES:], plaintext, associated_data)
        return encrypted

    def decrypt(self, nonce: bytes, ciphertext: bytes | memoryview, associated_data: bytes) -> bytes:
        """Verify and decrypt a message.

        Args:
            nonce: the nonce that the message was encrypted with, 24 bytes.
            ciphertext: the ciphertext and its tag.
            associated_data: the associated data that the message was encrypted with.

        Returns:
            The plaintext.

        Raises:
            cryptography.exceptions.InvalidTag: the message does not verify, or is shorter than a tag.
        """
        plaintext: bytes = self._gcm(nonce).decrypt(nonce[_HALF_BYTES:], ciphertext, associated_data)
        return plaintext


@cache
def _library() -> tuple[Any, Any, Any, Any]:
    return (
        import_library("cryptography.hazmat.primitives.ciphers"),
        import_library("cryptography.hazmat.primitives.ciphers.algorithms"),
        import_library("cryptography.hazmat.primitives.ciphers.modes"),
        import_library("cryptography.hazmat.bindings._rust").openssl.aead,
    )


@cache
def check_known_answer() -> None:
    """Encrypt the second example of the source, whose key schedule has both branches.

    Raises:
        LibraryError: the ciphertext is another one.
    """
    made = Xaes(b"\3" * KEY_BYTES).encrypt(b"ABCDEFGHIJKLMNOPQRSTUVWX", b"XAES-256-GCM", b"c2sp.org/XAES-256-GCM")
    if made.hex() != "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d":
        raise LibraryError("cryptography's AES-256 and AES-256-GCM do not give the known answer of XAES-256-GCM")
