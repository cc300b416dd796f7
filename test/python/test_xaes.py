"""XAES-256-GCM, by the vectors of its specification: https://c2sp.org/XAES-256-GCM."""

import copy
import hashlib
import pickle

import pytest
from cryptography.exceptions import InvalidTag
from pgkeymgr.crypto import xaes
from pgkeymgr.crypto.xaes import Xaes
from pgkeymgr.errors import LibraryError

NONCE = b"ABCDEFGHIJKLMNOPQRSTUVWX"
EXAMPLES = [
    (b"\1" * 32, b"", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
    (b"\3" * 32, b"c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"),
]
ITERATIONS = 10_000
ACCUMULATED = "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"


@pytest.mark.parametrize(("key", "associated_data", "ciphertext"), EXAMPLES)
def test_examples(key: bytes, associated_data: bytes, ciphertext: str) -> None:
    cipher = Xaes(key)
    made = cipher.encrypt(NONCE, b"XAES-256-GCM", associated_data)
    assert made.hex() == ciphertext
    assert cipher.decrypt(NONCE, made, associated_data) == b"XAES-256-GCM"


class Stream:
    """The bytes that SHAKE-128 gives for the empty message."""

    def __init__(self, size: int) -> None:
        self._bytes = hashlib.shake_128().digest(size)
        self._read = 0

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        self._read += size
        assert self._read <= len(self._bytes)
        return self._bytes[self._read - size : self._read]


def test_the_hash_of_many_ciphertexts_is_the_known_one() -> None:
    stream = Stream(ITERATIONS * (32 + 24 + 2 * 256))
    digest = hashlib.shake_128()
    for _ in range(ITERATIONS):
        key, nonce = stream.read(32), stream.read(24)
        plaintext = stream.read(stream.read(1)[0])
        associated_data = stream.read(stream.read(1)[0])
        cipher = Xaes(key)
        made = cipher.encrypt(nonce, plaintext, associated_data)
        assert cipher.decrypt(nonce, made, associated_data) == plaintext
        digest.update(made)
    assert digest.hexdigest(32) == ACCUMULATED


def test_one_cipher_for_many_messages() -> None:
    """No message changes the state that the next one is encrypted with."""
    cipher = Xaes(b"\1" * 32)
    first = cipher.encrypt(NONCE, b"first", b"")
    cipher.encrypt(NONCE[::-1], b"second", b"")
    assert cipher.encrypt(NONCE, b"first", b"") == first


def test_a_changed_message_does_not_verify() -> None:
    cipher = Xaes(b"\1" * 32)
    made = cipher.encrypt(NONCE, b"message", b"data")
    for wrong in (
        (NONCE[::-1], made, b"data"),
        (NONCE, made[:-1], b"data"),
        (NONCE, made, b""),
        (NONCE, b"", b""),
    ):
        with pytest.raises(InvalidTag):
            cipher.decrypt(*wrong)


@pytest.mark.parametrize("leak", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_cipher_does_not_leave(leak: object) -> None:
    with pytest.raises(TypeError):
        leak(Xaes(bytes(32)))  # type: ignore[operator]


def test_a_broken_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Xaes, "encrypt", lambda *_: b"")
    xaes.check_known_answer.cache_clear()
    with pytest.raises(LibraryError, match="known answer"):
        xaes.check_known_answer()
    monkeypatch.undo()
    xaes.check_known_answer()
