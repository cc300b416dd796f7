"""The format of tokens and of wraps, without a server."""

import copy
import hashlib
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl import bindings
from pgkeymgr.compat import pg_kmgr
from pgkeymgr.crypto.xaes import Xaes
from pgkeymgr.errors import DataError, LibraryError, LimitError, RootKeyError
from pgkeymgr.key import cipher as token
from pgkeymgr.key import passphrase
from pgkeymgr.key.cipher import TokenCipher, read_header
from pgkeymgr.root_key import LocalRootKey, wrap

SECRET = bytes(range(32))
PLAINTEXTS = st.binary(max_size=300)
ASSOCIATED = st.binary(max_size=60)


@given(
    key_id=st.integers(0, 2**31 - 1),
    secret=st.binary(min_size=16, max_size=64),
    plaintext=PLAINTEXTS,
    associated_data=ASSOCIATED,
)
@settings(deadline=None)
def test_round_trip(key_id: int, secret: bytes, plaintext: bytes, associated_data: bytes) -> None:
    cipher = TokenCipher(key_id, secret)
    randomized = cipher.encrypt(plaintext, associated_data)
    assert len(randomized) == len(plaintext) + 33
    assert read_header(randomized) == (token.RANDOMIZED, key_id)
    assert cipher.decrypt(randomized, associated_data) == plaintext
    assert cipher.encrypt(plaintext, associated_data) != randomized
    deterministic = cipher.encrypt_deterministic(plaintext, associated_data)
    assert len(deterministic) == len(plaintext) + 21
    assert read_header(deterministic) == (token.DETERMINISTIC, key_id)
    assert cipher.decrypt(deterministic, associated_data) == plaintext
    assert cipher.encrypt_deterministic(plaintext, associated_data) == deterministic


# Made by version 0.1.0 under key 7, bytes 0 to 31, with the associated data "row 1". Tokens lie in people's
# databases: each later version must open these.
KNOWN = [
    (
        b"attack at dawn",
        "01000000070604fdba1eaa5458b370dece9a94c87ce9bce692c463c56afcf65a05e15612a4f9978a46dd44523af227",
        "0200000007cbc859d54d2a8d5d5b1c7ed38bdef03ed9c33b986c825f3eda88f5ff08c1",
    ),
    (
        b"",
        "01000000076d94a8869cd9e696edafa999833359ca4ea44f4ba5e450b22fb736f8",
        "020000000767cef99c5ff96b72bbd1d837b6b5eb30",
    ),
]


@pytest.mark.parametrize(("plaintext", "randomized", "deterministic"), KNOWN)
def test_known_answers(plaintext: bytes, randomized: str, deterministic: str) -> None:
    cipher = TokenCipher(7, SECRET)
    assert cipher.decrypt(bytes.fromhex(randomized), b"row 1") == plaintext
    assert cipher.decrypt(bytes.fromhex(deterministic), b"row 1") == plaintext
    assert cipher.encrypt_deterministic(plaintext, b"row 1").hex() == deterministic


LARGE_PLAINTEXT = bytes(token.LARGE_BYTES_MIN)


def test_the_known_large_token() -> None:
    """As KNOWN, for suite 3: a token with the nonce 0 to 23, of which the digest and the tag are known."""
    nonce, header = bytes(range(24)), b"\3\0\0\0\7"
    cipher = TokenCipher(7, SECRET)
    made = header + nonce + Xaes(cipher._subkey(token.LARGE)).encrypt(nonce, LARGE_PLAINTEXT, header + b"row 1")
    assert made[-16:].hex() == "3992e2c746b96f74f92ef2e93dcaa68d"
    assert hashlib.sha256(made).hexdigest() == "4d1721c602f16b2269a30838f3b6a2db93daa1dc72bc72a964216ab310ed8373"
    assert cipher.decrypt(made, b"row 1") == LARGE_PLAINTEXT


def test_the_suite_is_chosen_by_the_length() -> None:
    cipher = TokenCipher(7, SECRET)
    for size in (0, 1, 1023):
        made = cipher.encrypt(bytes(size), b"row 1")
        assert (read_header(made)[0], len(made)) == (token.RANDOMIZED, size + 33)
    for size in (1024, 1025, 100_000):
        made = cipher.encrypt(bytes(size), b"row 1")
        assert (read_header(made)[0], len(made)) == (token.LARGE, size + 45)
        assert cipher.decrypt(made, b"row 1") == bytes(size)
        assert cipher.encrypt(bytes(size), b"row 1") != made
    assert read_header(cipher.encrypt_deterministic(LARGE_PLAINTEXT, b""))[0] == token.DETERMINISTIC


def test_a_large_token_of_suite_1_is_read_and_becomes_one_of_suite_3(monkeypatch: pytest.MonkeyPatch) -> None:
    cipher = TokenCipher(7, SECRET)
    monkeypatch.setattr(token, "LARGE_BYTES_MIN", 10_000)
    old = cipher.encrypt(LARGE_PLAINTEXT, b"row 1")
    monkeypatch.undo()
    assert read_header(old)[0] == token.RANDOMIZED
    assert cipher.decrypt(old, b"row 1") == LARGE_PLAINTEXT
    assert read_header(cipher.encrypt_like(old, LARGE_PLAINTEXT, b"row 1"))[0] == token.LARGE


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("plaintext", [b"", b"a", b"\0" * 40])
def test_every_flipped_bit_and_every_truncation_fails(plaintext: bytes, deterministic: bool) -> None:
    cipher = TokenCipher(7, SECRET)
    made = (cipher.encrypt_deterministic if deterministic else cipher.encrypt)(plaintext, b"ad")
    for bit in range(8 * len(made)):
        touched = bytearray(made)
        touched[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DataError):
            cipher.decrypt(bytes(touched), b"ad")
    for size in range(len(made)):
        with pytest.raises(DataError):
            cipher.decrypt(made[:size], b"ad")
    for associated_data in (b"", b"a", b"ad\0", b"da"):
        with pytest.raises(DataError, match="key 7 is not authentic"):
            cipher.decrypt(made, associated_data)
    with pytest.raises(DataError):
        TokenCipher(7, SECRET[::-1]).decrypt(made, b"ad")


def test_every_flipped_bit_and_every_truncation_of_a_large_token_fails() -> None:
    cipher = TokenCipher(7, SECRET)
    made = cipher.encrypt(LARGE_PLAINTEXT, b"ad")
    for bit in [*range(8 * 60), *range(8 * 60, 8 * len(made), 37), *range(8 * (len(made) - 16), 8 * len(made))]:
        touched = bytearray(made)
        touched[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DataError):
            cipher.decrypt(bytes(touched), b"ad")
    for size in [*range(60), len(made) - 1]:
        with pytest.raises(DataError):
            cipher.decrypt(made[:size], b"ad")
    for associated_data in (b"", b"a", b"ad\0", b"da"):
        with pytest.raises(DataError, match="key 7 is not authentic"):
            cipher.decrypt(made, associated_data)
    for other in (TokenCipher(7, SECRET[::-1]), TokenCipher(8, SECRET)):
        with pytest.raises(DataError):
            other.decrypt(made, b"ad")


@pytest.mark.parametrize("first", [0, *range(6, 256)])
def test_unknown_formats_are_refused(first: int) -> None:
    with pytest.raises(DataError, match=f"its first byte is {first}"):
        read_header(bytes([first]) + bytes(60))


@given(garbage=st.binary(max_size=80))
def test_read_header_survives_anything(garbage: bytes) -> None:
    try:
        suite, key_id = read_header(garbage)
    except DataError:
        return
    assert suite in token.SUITES
    assert 0 <= key_id < 2**32


@pytest.mark.parametrize("size", [0, 15, 65, 1000])
def test_a_secret_of_the_wrong_length(size: int) -> None:
    with pytest.raises(DataError, match="tokens need a key of 16 to 64"):
        TokenCipher(1, bytes(size))


def test_the_header_and_the_associated_data_cannot_be_confused() -> None:
    """A token of key 7 with some associated data is none of another key with more of it."""
    cipher = TokenCipher(7, SECRET)
    made = cipher.encrypt_deterministic(b"x", b"data")
    other = TokenCipher(8, SECRET)
    moved = made[:4] + b"\x08" + made[5:]
    with pytest.raises(DataError):
        other.decrypt(moved, b"data")


def test_no_key_serves_two_algorithms() -> None:
    """The suites' keys are neither each other nor the data key."""
    cipher = TokenCipher(7, SECRET)
    subkeys = [cipher._subkey(suite) for suite in token.SUITES]
    assert len({SECRET, *subkeys, *(key[:32] for key in subkeys)}) == 7


@pytest.mark.parametrize("leak", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_cipher_does_not_leave(leak: object) -> None:
    with pytest.raises(TypeError):
        leak(TokenCipher(7, SECRET))  # type: ignore[operator]


@given(secret=PLAINTEXTS, associated_data=ASSOCIATED, key=st.binary(min_size=32, max_size=32))
def test_wraps(secret: bytes, associated_data: bytes, key: bytes) -> None:
    wrapped = wrap.wrap(secret, associated_data, key)
    assert len(wrapped) == len(secret) + wrap.OVERHEAD_BYTES
    assert wrap.unwrap(wrapped, associated_data, key) == secret
    assert wrap.wrap(secret, associated_data, key) != wrapped
    with pytest.raises(DataError):
        wrap.unwrap(wrapped, associated_data + b"\0", key)
    with pytest.raises(DataError):
        wrap.unwrap(wrapped[:-1], associated_data, key)


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_wrapping_key_length(size: int) -> None:
    """Libsodium would read 32 bytes of whatever memory is there."""
    with pytest.raises(DataError, match="wrapping_key must be 32 bytes long"):
        wrap.wrap(b"secret", b"", bytes(size))
    with pytest.raises(DataError, match="wrapping_key must be 32 bytes long"):
        wrap.unwrap(wrap.wrap(b"secret", b"", bytes(32)), b"", bytes(size))


def test_wrap_is_what_the_bindings_make() -> None:
    wrapped = wrap.wrap(b"secret", b"place", bytes(range(32)))
    opened = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
        wrapped[25:], b"\x01place", wrapped[1:25], bytes(range(32))
    )
    assert opened == b"secret"


def test_wrap_every_flipped_bit_fails() -> None:
    wrapped = wrap.wrap(SECRET, b"ad", SECRET)
    for bit in range(8 * len(wrapped)):
        touched = bytearray(wrapped)
        touched[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DataError):
            wrap.unwrap(bytes(touched), b"ad", SECRET)


def test_root_wraps() -> None:
    old, new, other = (bytes([i]) * 32 for i in (1, 2, 3))
    before = LocalRootKey([old], "before")
    wrapped = before.wrap(b"secret", b"ad")
    after = LocalRootKey([new, old], "after")
    assert after.unwrap(wrapped, b"ad", before.fingerprint) == b"secret"
    # Its own wraps are under the newest.
    with pytest.raises(RootKeyError):
        before.unwrap(after.wrap(b"secret", b"ad"), b"ad", after.fingerprint)
    foreign = LocalRootKey([other], "elsewhere")
    with pytest.raises(RootKeyError) as wrong:
        foreign.unwrap(wrapped, b"ad", before.fingerprint)
    assert before.fingerprint in wrong.value.message
    assert foreign.fingerprint in wrong.value.message
    # A wrap says nothing by itself: under a forged fingerprint it does not open.
    with pytest.raises(DataError):
        after.unwrap(wrapped, b"ad", after.fingerprint)


def test_a_wrapping_key_is_no_derived_key() -> None:
    """SQL can derive by every number and context, and gets none of the keys that pgkeymgr uses itself."""
    key = bytes([1]) * 32
    root_key = LocalRootKey([key], "test")
    wrapped = root_key.wrap(b"secret", b"ad")
    for context in (b"pgkeymgr", b"wrapping", b"pgsodium"):
        for number in (0, 1, int.from_bytes(b"wrapping", "little")):
            with pytest.raises(DataError):
                wrap.unwrap(wrapped, b"ad", root_key.derive(number, 32, context))


def test_stretching() -> None:
    stretching = passphrase.Stretching.new()
    assert stretching.wrapping_key(b"horse") == stretching.wrapping_key(b"horse")
    assert stretching.wrapping_key(b"horse") != stretching.wrapping_key(b"Horse")
    with pytest.raises(DataError, match="empty"):
        stretching.wrapping_key(b"")


@pytest.mark.parametrize(
    ("salt", "opslimit", "memlimit"),
    [(15, 3, 2**28), (16, 2, 2**28), (16, 3, 2**28 - 1), (16, 1001, 2**28), (16, 3, 2**33)],
)
def test_weakened_stretching_is_refused(salt: int, opslimit: int, memlimit: int) -> None:
    with pytest.raises(DataError, match="was altered"):
        passphrase.Stretching(bytes(salt), opslimit, memlimit).wrapping_key(b"horse")


@given(data=PLAINTEXTS, key=st.binary(min_size=64, max_size=64))
def test_pg_kmgr(data: bytes, key: bytes) -> None:
    encrypted = pg_kmgr.pg_encrypt(data, key)
    assert len(encrypted) == 48 + 16 * (len(data) // 16 + 1)
    assert pg_kmgr.pg_decrypt(encrypted, key) == data
    assert pg_kmgr.pg_encrypt(data, key) != encrypted
    for broken in (encrypted[:-1], encrypted[:-16], encrypted + bytes(16), b"", encrypted[:48]):
        with pytest.raises(DataError):
            pg_kmgr.pg_decrypt(broken, key)
    for position in (0, 31, 32, 48, -1):
        touched = bytearray(encrypted)
        touched[position] ^= 1
        with pytest.raises(DataError):
            pg_kmgr.pg_decrypt(bytes(touched), key)


def test_pg_kmgr_uses_two_keys() -> None:
    """The halves are AES-256's and HMAC-SHA-256's: changing either changes the result's verdict."""
    key = bytes(range(64))
    encrypted = pg_kmgr.pg_encrypt(b"data", key)
    with pytest.raises(DataError):
        pg_kmgr.pg_decrypt(encrypted, key[:32] + bytes(32))
    other = pg_kmgr.pg_decrypt(encrypted, key)
    assert other == b"data"
    with pytest.raises(DataError, match="64 bytes long, not 32"):
        pg_kmgr.pg_encrypt(b"", key[:32])


def test_a_cipher_that_does_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from cryptography.hazmat.bindings._rust import openssl

    class Nothing:
        def __init__(self, key: bytes) -> None:
            pass

        def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
            return data

    monkeypatch.setattr(openssl.aead, "AESGCMSIV", Nothing)
    token._library.cache_clear()
    with pytest.raises(LibraryError, match="known answer"):
        TokenCipher(7, SECRET)
    monkeypatch.undo()
    assert TokenCipher(7, SECRET).encrypt(b"x", b"")


def test_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token, "PLAINTEXT_BYTES_MAX", 10)
    monkeypatch.setattr(token, "LARGE_BYTES_MIN", 5)
    cipher = TokenCipher(7, SECRET)
    for encrypt in (cipher.encrypt, cipher.encrypt_deterministic):
        assert encrypt(bytes(10), b"")
        with pytest.raises(LimitError):
            encrypt(bytes(11), b"")
