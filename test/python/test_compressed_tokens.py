"""Tokens whose plaintext was compressed before it was encrypted, without a server."""

import json
import os
import tracemalloc
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pgkeymgr.crypto.xaes import Xaes
from pgkeymgr.errors import DataError, LimitError
from pgkeymgr.key import cipher as token
from pgkeymgr.key.cipher import TokenCipher, read_header

SECRET = bytes(range(32))
CIPHER = TokenCipher(7, SECRET)
KNOWN = json.loads((Path(__file__).parents[1] / "data" / "compressed_tokens.json").read_text())
COMPRESSIBLE = st.builds(lambda part, count: part * count, st.binary(min_size=1, max_size=40), st.integers(0, 300))


def suite(made: bytes) -> int:
    """Return the suite of a token."""
    return read_header(made)[0]


def sealed(compressed: bytes) -> bytes:
    """Return an authentic token of suite 4 or 5 with any bytes in the place of a compressed plaintext."""
    if len(compressed) >= token.LARGE_BYTES_MIN:
        header, nonce = b"\5\0\0\0\7", os.urandom(24)
        large = Xaes(CIPHER._subkey(token.COMPRESSED_LARGE))
        return header + nonce + large.encrypt(nonce, compressed, header + b"row 1")
    header, nonce = b"\4\0\0\0\7", os.urandom(12)
    made: bytes = header + nonce + CIPHER._of_compressed().encrypt(nonce, compressed, header + b"row 1")
    return made


@given(plaintext=st.one_of(st.binary(max_size=300), COMPRESSIBLE), associated_data=st.binary(max_size=60))
@settings(deadline=None)
def test_round_trip(plaintext: bytes, associated_data: bytes) -> None:
    made = CIPHER.encrypt_compressed(plaintext, associated_data)
    assert CIPHER.decrypt(made, associated_data) == plaintext
    plain = CIPHER.encrypt(plaintext, associated_data)
    assert len(made) <= len(plain)
    assert (len(made) < len(plain)) == (suite(made) in (token.COMPRESSED, token.COMPRESSED_LARGE))
    again = CIPHER.encrypt_compressed(plaintext, associated_data)
    assert (suite(again), len(again)) == (suite(made), len(made))
    assert again != made
    with pytest.raises(DataError, match="key 7 is not authentic"):
        CIPHER.decrypt(made, associated_data + b"\0")


def test_the_suite_is_chosen_by_the_length_of_the_compressed_plaintext() -> None:
    assert token.COMPRESSED_BYTES_MIN == 64
    assert suite(CIPHER.encrypt_compressed(b"", b"")) == token.RANDOMIZED
    assert suite(CIPHER.encrypt_compressed(b"x" * 63, b"")) == token.RANDOMIZED
    assert suite(CIPHER.encrypt_compressed(b"x" * 64, b"")) == token.COMPRESSED
    assert suite(CIPHER.encrypt_compressed(os.urandom(1000), b"")) == token.RANDOMIZED
    assert suite(CIPHER.encrypt_compressed(os.urandom(5000), b"")) == token.LARGE
    for incompressible in (900, 1100):
        plaintext = os.urandom(incompressible) + bytes(5000)
        size = len(zlib.compress(plaintext, 6, -15))
        made = CIPHER.encrypt_compressed(plaintext, b"")
        if incompressible == 900:
            assert (suite(made), len(made)) == (token.COMPRESSED, size + 33)
        else:
            assert (suite(made), len(made)) == (token.COMPRESSED_LARGE, size + 45)


@pytest.mark.parametrize("known", KNOWN, ids=[known["suite"] for known in KNOWN])
def test_known_answers(known: dict[str, str]) -> None:
    """Tokens that lie in people's databases: each later version must open these."""
    made, plaintext = bytes.fromhex(known["token"]), known["plaintext"].encode() * int(known["times"])
    assert token.SUITES[suite(made)] == known["suite"]
    assert CIPHER.decrypt(made, b"row 1") == plaintext


def test_the_known_answers_have_both_suites() -> None:
    assert {known["suite"] for known in KNOWN} == {
        token.SUITES[token.COMPRESSED],
        token.SUITES[token.COMPRESSED_LARGE],
    }


@pytest.mark.parametrize("plaintext", [b"attack at dawn, " * 8, os.urandom(1100) + bytes(200)])
def test_every_flipped_bit_and_every_truncation_fails(plaintext: bytes) -> None:
    made = CIPHER.encrypt_compressed(plaintext, b"ad")
    assert suite(made) in (token.COMPRESSED, token.COMPRESSED_LARGE)
    bits = range(8 * len(made))
    for bit in {*bits[: 8 * 60], *bits[::37], *bits[-8 * 16 :]}:
        touched = bytearray(made)
        touched[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DataError):
            CIPHER.decrypt(bytes(touched), b"ad")
    sizes = range(len(made))
    for size in {*sizes[:80], *sizes[::37], *sizes[-16:]}:
        with pytest.raises(DataError):
            CIPHER.decrypt(made[:size], b"ad")


def test_a_token_is_not_taken_for_one_of_the_suite_without_compression() -> None:
    for plaintext in (b"x" * 100, os.urandom(1100) + bytes(500)):
        for made in (CIPHER.encrypt(plaintext, b""), CIPHER.encrypt_compressed(plaintext, b"")):
            for other in token.SUITES.keys() - {suite(made)}:
                with pytest.raises(DataError):
                    CIPHER.decrypt(bytes([other]) + made[1:], b"")


WHOLE = zlib.compress(b"attack at dawn, " * 8, 6, -15)
DAMAGED = {
    "empty": b"",
    "truncated": WHOLE[:-1],
    "more after the end": WHOLE + b"\0",
    "two in a row": WHOLE + WHOLE,
    "no compressed data": b"\xff" * 40,
    "with the head of zlib": zlib.compress(b"attack at dawn, " * 8),
    "large and no compressed data": b"\xff" * 4000,
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_an_authentic_token_of_damaged_data_is_an_error_of_the_data(damage: str) -> None:
    with pytest.raises(DataError, match="compressed plaintext of this token of key 7 is damaged") as caught:
        CIPHER.decrypt(sealed(DAMAGED[damage]), b"row 1")
    assert caught.value.sqlstate == "22000"
    assert CIPHER.decrypt(sealed(WHOLE), b"row 1") == b"attack at dawn, " * 8


def test_a_bomb_takes_no_more_memory_than_the_longest_plaintext(monkeypatch: pytest.MonkeyPatch) -> None:
    most = 100_000
    bomb = sealed(zlib.compress(bytes(100_000_000), 9, -15))
    monkeypatch.setattr(token, "PLAINTEXT_BYTES_MAX", most)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="damaged or too long"):
            CIPHER.decrypt(bomb, b"row 1")
        assert tracemalloc.get_traced_memory()[1] < 10 * most
    finally:
        tracemalloc.stop()
    assert CIPHER.decrypt(sealed(zlib.compress(bytes(most), 6, -15)), b"row 1") == bytes(most)
    with pytest.raises(DataError, match="damaged or too long"):
        CIPHER.decrypt(sealed(zlib.compress(bytes(most + 1), 6, -15)), b"row 1")


def test_a_plaintext_that_is_too_long_is_refused_however_short_it_becomes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token, "PLAINTEXT_BYTES_MAX", 5000)
    assert CIPHER.decrypt(CIPHER.encrypt_compressed(bytes(5000), b""), b"") == bytes(5000)
    with pytest.raises(LimitError, match="at most 5000 bytes"):
        CIPHER.encrypt_compressed(bytes(5001), b"")


def test_memory_of_100_mb() -> None:
    plaintext = bytes(100_000_000)
    tracemalloc.start()
    try:
        made = CIPHER.encrypt_compressed(plaintext, b"")
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
        opened = CIPHER.decrypt(made, b"")
        assert tracemalloc.get_traced_memory()[1] < 220_000_000
    finally:
        tracemalloc.stop()
    assert opened == plaintext
    assert len(made) < 200_000


def test_a_large_plaintext_that_is_compressed_already_is_not_compressed(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    compress = token._compress

    def noting(plaintext: bytes) -> bytes:
        tried.append(len(plaintext))
        return compress(plaintext)

    monkeypatch.setattr(token, "_compress", noting)
    image = os.urandom(300_000)
    assert suite(CIPHER.encrypt_compressed(image, b"")) == token.LARGE
    assert max(tried) < 100_000
    text = b"x" * 300_000
    assert suite(CIPHER.encrypt_compressed(text, b"")) == token.COMPRESSED
    assert max(tried) == 300_000


def test_encrypt_like_keeps_the_compression() -> None:
    plaintext = b"x" * 1000
    for make in (CIPHER.encrypt, CIPHER.encrypt_compressed, CIPHER.encrypt_deterministic):
        made = make(plaintext, b"")
        assert suite(CIPHER.encrypt_like(made, plaintext, b"")) == suite(made)
