"""Properties of the primitives: what goes in comes out, and nothing that was touched does."""

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pgkeymgr.crypto import (
    aead_det,
    aead_ietf,
    auth,
    blake2b,
    box,
    generichash,
    kdf,
    kx,
    randombytes,
    secretbox,
    shorthash,
    sign,
    signcrypt,
    sizes,
    stream_xchacha20,
    utils,
)
from pgkeymgr.errors import DataError, LimitError

MESSAGES = st.binary(max_size=300) | st.binary(min_size=4070, max_size=4110)


def fixed(size: int) -> st.SearchStrategy[bytes]:
    """Make bytes of one length."""
    return st.binary(min_size=size, max_size=size)


@dataclasses.dataclass(frozen=True)
class Scheme:
    """An authenticated encryption: how to make its arguments, to encrypt and to decrypt."""

    name: str
    arguments: st.SearchStrategy[tuple[Any, ...]]
    encrypt: Callable[..., bytes]
    decrypt: Callable[..., bytes]
    growth: int

    def __str__(self) -> str:
        return self.name


def _boxed(message: bytes, nonce: bytes, one: bytes, other: bytes) -> bytes:
    public, _ = box.crypto_box_seed_new_keypair(other)
    _, secret = box.crypto_box_seed_new_keypair(one)
    return box.crypto_box(message, nonce, public, secret)


def _unboxed(ciphertext: bytes, nonce: bytes, one: bytes, other: bytes) -> bytes:
    public, _ = box.crypto_box_seed_new_keypair(one)
    _, secret = box.crypto_box_seed_new_keypair(other)
    return box.crypto_box_open(ciphertext, nonce, public, secret)


def _sealed(message: bytes, seed: bytes) -> bytes:
    return box.crypto_box_seal(message, box.crypto_box_seed_new_keypair(seed)[0])


def _unsealed(ciphertext: bytes, seed: bytes) -> bytes:
    return box.crypto_box_seal_open(ciphertext, *box.crypto_box_seed_new_keypair(seed))


def _signed(message: bytes, seed: bytes) -> bytes:
    return sign.crypto_sign(message, sign.crypto_sign_seed_new_keypair(seed)[1])


def _verified(signed: bytes, seed: bytes) -> bytes:
    return sign.crypto_sign_open(signed, sign.crypto_sign_seed_new_keypair(seed)[0])


def _det_decrypt(ciphertext: bytes, additional: bytes, key: bytes, nonce: bytes) -> bytes:
    return aead_det.crypto_aead_det_decrypt(ciphertext, additional, key, nonce)


SCHEMES = [
    Scheme(
        "secretbox",
        st.tuples(fixed(24), fixed(32)),
        secretbox.crypto_secretbox,
        secretbox.crypto_secretbox_open,
        16,
    ),
    Scheme(
        "aead_ietf",
        st.tuples(st.binary(min_size=1, max_size=40), fixed(12), fixed(32)),
        aead_ietf.crypto_aead_ietf_encrypt,
        aead_ietf.crypto_aead_ietf_decrypt,
        16,
    ),
    Scheme(
        "aead_det",
        st.tuples(st.binary(min_size=1, max_size=40), fixed(32), fixed(16)),
        aead_det.crypto_aead_det_encrypt,
        _det_decrypt,
        32,
    ),
    Scheme("box", st.tuples(fixed(24), fixed(32), fixed(32)), _boxed, _unboxed, 16),
    Scheme("seal", st.tuples(fixed(32)), _sealed, _unsealed, 48),
    Scheme("sign", st.tuples(fixed(32)), _signed, _verified, 64),
]


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@given(data=st.data(), message=MESSAGES)
@settings(deadline=None)
def test_round_trip(scheme: Scheme, data: st.DataObject, message: bytes) -> None:
    arguments = data.draw(scheme.arguments)
    ciphertext = scheme.encrypt(message, *arguments)
    assert len(ciphertext) == len(message) + scheme.growth
    assert scheme.decrypt(ciphertext, *arguments) == message


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@pytest.mark.parametrize("message", [b"", b"a", b"\0" * 31, "Grüße, 世界, and 33 bytes".encode()])
def test_every_flipped_bit_fails(scheme: Scheme, message: bytes) -> None:
    """Flip each bit of the ciphertext, its tag included, and each bit of each argument."""
    arguments = tuple(bytes((17 * i + j) % 256 for j in range(size)) for i, size in enumerate(_sizes(scheme), 1))
    ciphertext = scheme.encrypt(message, *arguments)
    assert scheme.decrypt(ciphertext, *arguments) == message
    values = [ciphertext, *arguments]
    for position, value in enumerate(values):
        for bit in range(8 * len(value)):
            touched = bytearray(value)
            touched[bit // 8] ^= 1 << bit % 8
            changed: list[bytes] = [*values]
            changed[position] = bytes(touched)
            with pytest.raises(DataError):
                scheme.decrypt(*changed)


def _sizes(scheme: Scheme) -> tuple[int, ...]:
    return {
        "secretbox": (24, 32),
        "aead_ietf": (5, 12, 32),
        "aead_det": (5, 32, 16),
        # One seed: the other party's bits change the key that it is sent from, which box authenticates.
        "box": (24, 32, 32),
        "seal": (32,),
        "sign": (32,),
    }[scheme.name]


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@given(data=st.data(), message=st.binary(max_size=80))
@settings(deadline=None, max_examples=50)
def test_truncated_or_longer_fails(scheme: Scheme, data: st.DataObject, message: bytes) -> None:
    arguments = data.draw(scheme.arguments)
    ciphertext = scheme.encrypt(message, *arguments)
    for size in range(len(ciphertext)):
        with pytest.raises(DataError):
            scheme.decrypt(ciphertext[:size], *arguments)
    with pytest.raises(DataError):
        scheme.decrypt(ciphertext + b"\0", *arguments)


@given(message=MESSAGES, nonce=fixed(24), key=fixed(32))
def test_buffers_do_not_mix(message: bytes, nonce: bytes, key: bytes) -> None:
    """A short result after a long one, in the same buffer, has nothing of it."""
    long = secretbox.crypto_secretbox(b"\xff" * 4000, nonce, key)
    short = secretbox.crypto_secretbox(message, nonce, key)
    assert secretbox.crypto_secretbox_open(long, nonce, key) == b"\xff" * 4000
    assert secretbox.crypto_secretbox_open(short, nonce, key) == message


@given(message=MESSAGES, nonce=fixed(24), key=fixed(32), ic=st.integers(-(2**63), 2**63 - 1))
def test_stream_is_its_own_inverse(message: bytes, nonce: bytes, key: bytes, ic: int) -> None:
    xor_ic = stream_xchacha20.crypto_stream_xchacha20_xor_ic
    assert xor_ic(xor_ic(message, nonce, ic, key), nonce, ic, key) == message


@given(nonce=fixed(24), key=fixed(32), ic=st.sampled_from([0, 1, 2**32 - 2, 2**63 - 2, -2, -1]))
def test_stream_counter_has_64_bits(nonce: bytes, key: bytes, ic: int) -> None:
    """Three blocks at once are the same as three blocks one by one, across 2^32 and 2^64 too."""
    xor_ic = stream_xchacha20.crypto_stream_xchacha20_xor_ic
    one_by_one = b"".join(xor_ic(bytes(64), nonce, (ic + i + 2**63) % 2**64 - 2**63, key) for i in range(3))
    assert xor_ic(bytes(192), nonce, ic, key) == one_by_one


@given(message=MESSAGES, key=fixed(32), additional=st.binary(max_size=40))
def test_aead_det_is_deterministic_and_nonces_differ(message: bytes, key: bytes, additional: bytes) -> None:
    encrypt = aead_det.crypto_aead_det_encrypt
    assert encrypt(message, additional, key) == encrypt(message, additional, key)
    # No nonce is not the same as a nonce of zeros.
    assert encrypt(message, additional, key) != encrypt(message, additional, key, bytes(16))


@pytest.mark.parametrize(
    ("make", "verify"),
    [
        (auth.crypto_auth, auth.crypto_auth_verify),
        (auth.crypto_auth_hmacsha256, auth.crypto_auth_hmacsha256_verify),
        (auth.crypto_auth_hmacsha512, auth.crypto_auth_hmacsha512_verify),
    ],
)
def test_auth_flipped_bits(make: Callable[..., bytes], verify: Callable[..., bool]) -> None:
    message, key = b"message", bytes(range(32))
    tag = make(message, key)
    assert verify(tag, message, key) is True
    for position, value in enumerate((tag, message, key)):
        for bit in range(8 * len(value)):
            touched = bytearray(value)
            touched[bit // 8] ^= 1 << bit % 8
            changed = [tag, message, key]
            changed[position] = bytes(touched)
            assert verify(*changed) is False


@given(parts=st.lists(st.binary(max_size=300), max_size=6), seed=fixed(32))
def test_signing_in_parts_is_signing_the_whole(parts: list[bytes], seed: bytes) -> None:
    public, secret = sign.crypto_sign_seed_new_keypair(seed)
    state = sign.crypto_sign_init()
    for part in parts:
        state = sign.crypto_sign_update(state, part)
    whole = sign.crypto_sign_update(sign.crypto_sign_init(), b"".join(parts))
    signature = sign.crypto_sign_final_create(state, secret)
    assert sign.crypto_sign_final_create(whole, secret) == signature
    assert sign.crypto_sign_final_verify(whole, signature, public) is True
    assert sign.crypto_sign_final_verify(whole, signature[:-1] + b"\xff", public) is False
    # Ed25519ph is not Ed25519 of the same bytes.
    assert sign.crypto_sign_detached(b"".join(parts), secret) != signature


@given(state=fixed(208), message=st.binary(max_size=600))
def test_a_made_up_state_is_harmless(state: bytes, message: bytes) -> None:
    """A state of the right length that nobody computed gives some state, and touches nothing else."""
    assert len(sign.crypto_sign_update(state, message)) == 208


@given(seeds=st.tuples(fixed(32), fixed(32)))
def test_key_exchange_agrees(seeds: tuple[bytes, bytes]) -> None:
    client, server = (kx.crypto_kx_seed_new_keypair(seed) for seed in seeds)
    client_rx, client_tx = kx.crypto_kx_client_session_keys(*client, server[0])
    server_rx, server_tx = kx.crypto_kx_server_session_keys(*server, client[0])
    assert (client_rx, client_tx) == (server_tx, server_rx)


def test_weak_public_keys_are_refused() -> None:
    zero = bytes(32)
    public, secret = kx.crypto_kx_seed_new_keypair(bytes(range(32)))
    with pytest.raises(DataError, match="server_pk"):
        kx.crypto_kx_client_session_keys(public, secret, zero)
    with pytest.raises(DataError, match="client_pk"):
        kx.crypto_kx_server_session_keys(public, secret, zero)
    with pytest.raises(DataError, match="public is not"):
        box.crypto_box(b"", bytes(24), zero, secret)
    with pytest.raises(DataError, match="public_key"):
        box.crypto_box_seal(b"", zero)


@given(
    message=st.binary(max_size=100),
    identities=st.tuples(*[st.binary(max_size=255)] * 3),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_signcrypt_round_trip(message: bytes, identities: tuple[bytes, bytes, bytes]) -> None:
    sender, recipient, additional = identities
    sender_pk, sender_sk = signcrypt.crypto_signcrypt_new_keypair()
    recipient_pk, recipient_sk = signcrypt.crypto_signcrypt_new_keypair()
    state, sent_key = signcrypt.crypto_signcrypt_sign_before(
        sender, recipient, sender_sk, recipient_pk, additional
    )
    signature = signcrypt.crypto_signcrypt_sign_after(state, sender_sk, message)
    state, received_key = signcrypt.crypto_signcrypt_verify_before(
        signature, sender, recipient, additional, sender_pk, recipient_sk
    )
    assert sent_key == received_key
    assert signcrypt.crypto_signcrypt_verify_after(state, signature, sender_pk, message)
    assert signcrypt.crypto_signcrypt_verify_public(signature, sender, recipient, additional, sender_pk, message)


def test_signcrypt_every_flipped_bit_fails() -> None:
    sender_pk, sender_sk = signcrypt.crypto_signcrypt_new_keypair()
    recipient_pk, _ = signcrypt.crypto_signcrypt_new_keypair()
    state, _ = signcrypt.crypto_signcrypt_sign_before(b"alice", b"bob", sender_sk, recipient_pk, b"info")
    signature = signcrypt.crypto_signcrypt_sign_after(state, sender_sk, b"ciphertext")
    values = [signature, b"alice", b"bob", b"info", sender_pk, b"ciphertext"]
    assert signcrypt.crypto_signcrypt_verify_public(*values)
    for position, value in enumerate(values):
        for bit in range(8 * len(value)):
            touched = bytearray(value)
            touched[bit // 8] ^= 1 << bit % 8
            changed = [*values]
            changed[position] = bytes(touched)
            with pytest.raises(DataError):
                signcrypt.crypto_signcrypt_verify_public(*changed)


def test_signcrypt_refuses_a_second_encoding_of_s() -> None:
    sender_pk, sender_sk = signcrypt.crypto_signcrypt_new_keypair()
    recipient_pk, _ = signcrypt.crypto_signcrypt_new_keypair()
    state, _ = signcrypt.crypto_signcrypt_sign_before(b"", b"", sender_sk, recipient_pk, b"")
    signature = signcrypt.crypto_signcrypt_sign_after(state, sender_sk, b"")
    order = 2**252 + 27742317777372353535851937790883648493
    s = int.from_bytes(signature[32:], "little") + order
    with pytest.raises(DataError, match="not authentic"):
        signcrypt.crypto_signcrypt_verify_public(
            signature[:32] + s.to_bytes(32, "little"), b"", b"", b"", sender_pk, b""
        )


@given(data=st.binary(max_size=100))
def test_base64_round_trip(data: bytes) -> None:
    assert utils.sodium_base642bin(utils.sodium_bin2base64(data)) == data


@given(text=st.text(alphabet="ABab01-_+/= \n", max_size=8))
def test_base64_is_strict(text: str) -> None:
    """A text is refused, or is the one encoding of what it decodes to."""
    try:
        decoded = utils.sodium_base642bin(text)
    except DataError:
        return
    assert utils.sodium_bin2base64(decoded) == text


@given(one=st.text(max_size=20), other=st.text(max_size=20))
def test_cmp(one: str, other: str) -> None:
    assert utils.crypto_cmp(one, other) is (one == other)
    assert utils.crypto_cmp(one, one) is True


@given(bound=st.integers(-(2**31), 2**31 - 1))
def test_uniform_stays_below_its_bound(bound: int) -> None:
    number = randombytes.randombytes_uniform(bound)
    assert 0 <= number % 2**32 < max(bound % 2**32, 1)
    assert -(2**31) <= number < 2**31


@given(size=st.integers(0, 500), seed=fixed(32))
def test_deterministic_stream_starts_the_same(size: int, seed: bytes) -> None:
    longest = randombytes.randombytes_buf_deterministic(500, seed)
    assert randombytes.randombytes_buf_deterministic(size, seed) == longest[:size]


@given(key=st.binary(min_size=1, max_size=64), person=st.binary(max_size=16), salt=st.binary(max_size=16))
def test_derived_keys_are_those_of_hashlib(key: bytes, person: bytes, salt: bytes) -> None:
    expected = hashlib.blake2b(digest_size=32, key=key, person=person, salt=salt).digest()
    assert blake2b.blake2b_of_key(32, key, person, salt) == expected


def test_a_key_that_is_too_long_derives_nothing() -> None:
    with pytest.raises(DataError, match="at most 64 bytes"):
        blake2b.blake2b_of_key(32, bytes(65), b"")


@given(key_id=st.integers(-(2**63), 2**63 - 1), size=st.integers(-10, 200), context=st.binary(max_size=12))
def test_kdf_refuses_what_libsodium_cannot(key_id: int, size: int, context: bytes) -> None:
    derive = kdf.crypto_kdf_derive_from_key
    if 16 <= size <= 64 and len(context) == 8:
        assert len(derive(size, key_id, context, bytes(32))) == size
        assert derive(size, key_id, context, bytes(32)) != derive(size, key_id ^ 1, context, bytes(32))
    else:
        with pytest.raises(DataError):
            derive(size, key_id, context, bytes(32))


@given(size=st.integers(0, 100).filter(lambda n: not 16 <= n <= 64))
def test_generichash_key_length(size: int) -> None:
    with pytest.raises(DataError):
        generichash.crypto_generichash(b"", bytes(size))


@given(size=st.integers(0, 100).filter(lambda n: n != 16))
def test_shorthash_key_length(size: int) -> None:
    with pytest.raises(DataError):
        shorthash.crypto_shorthash(b"", bytes(size))


@pytest.mark.parametrize(
    ("size", "error"), [(-1, DataError), (sizes.BYTEA_MAX + 1, LimitError), (2**31, LimitError)]
)
def test_sizes_out_of_range(size: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        randombytes.randombytes_buf(size)
    with pytest.raises(error):
        randombytes.randombytes_buf_deterministic(size, bytes(32))
    with pytest.raises(error):
        stream_xchacha20.crypto_stream_xchacha20(size, bytes(24), bytes(32))
