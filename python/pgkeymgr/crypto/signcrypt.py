"""Signcryption over ristretto255: encryption to a recipient and a signature, at the cost of one of the two.

The construction is Toorani and Beheshti's, in the form of libsodium-signcryption, which pgsodium uses. The sender
has the secret scalar a and the public key A = aB, the recipient has b and B' = bB:

    r = H("nonce", a, B', 32 random bytes, the ciphertext so far: none) mod L,  R = rB
    shared key = H256("shared_key", K, sender, recipient, additional),  K = (r + R a) B' = b (R + R A)
    c = H("sign_key", R, sender, recipient, additional, ciphertext) mod L
    signature = R, s with s = c a - r;  it holds if sB + R = cA

H is BLAKE2b-512 and H256 is BLAKE2b-256. R as a factor is its encoding read as a scalar. A byte with the length
stands before each identity and before the additional data.

Neither PyNaCl nor cryptography has ristretto255, so this module calls the libsodium of the system.

Sources: https://github.com/jedisct1/libsodium-signcryption and RFC 9496
"""

import ctypes
import sys
from functools import cache
from hashlib import blake2b

from ..errors import DataError, UnsupportedError, not_authentic, wrong_length
from .randombytes import randombytes_buf

SCALAR_BYTES = 32
POINT_BYTES = 32
SIGNATURE_BYTES = POINT_BYTES + SCALAR_BYTES
SHARED_KEY_BYTES = 32
STATE_BYTES = 512
ID_BYTES_MAX = 255

_HASH_STATE_BYTES = 384
# Eight words of hash, two counters and two flags stand first in that state. Two blocks follow, and then the number
# of bytes in them that are full.
_BUFFER_BYTES = 2 * 128
_BUFFERED_OFFSET = 8 * 8 + 4 * 8 + _BUFFER_BYTES
_ALIGNMENT = 64
_ORDER = 2**252 + 27742317777372353535851937790883648493
_FIELD = 2**255 - 19
# libsodium 1.0.18, the first release with ristretto255, has the first of these names.
_SONAMES = ("libsodium.so.23", "libsodium.so.26", "libsodium.so")


@cache
def _sodium() -> ctypes.CDLL:
    for soname in _SONAMES:
        try:
            library = ctypes.CDLL(soname)
            library.crypto_scalarmult_ristretto255  # noqa: B018  # Older releases do not have it.
        except (OSError, AttributeError):
            continue
        if library.sodium_init() >= 0:
            return library
    raise UnsupportedError(
        "signcryption requires libsodium 1.0.18 or newer on the server's machine",
        hint="On Debian and Ubuntu, install the libsodium runtime package (libsodium23 on Debian 12 and 13).",
    )


def has_libsodium() -> bool:
    """Return whether this machine has a libsodium with ristretto255, which signcryption needs."""
    try:
        _sodium()
    except UnsupportedError:
        return False
    return True


def _not_a_state() -> DataError:
    return DataError("state is not a result of crypto_signcrypt_sign_before or crypto_signcrypt_verify_before")


def _check_state(state: bytes) -> bytes:
    if len(state) != STATE_BYTES:
        raise wrong_length("state", state, STATE_BYTES)
    # libsodium trusts this number, and would write the message beyond the end of the state.
    buffered = state[_BUFFERED_OFFSET : _BUFFERED_OFFSET + 8]
    if int.from_bytes(buffered, sys.byteorder) > _BUFFER_BYTES:
        raise _not_a_state()
    return state


class _State:
    """The state of 512 bytes that SQL passes on: BLAKE2b's state, then r, then R, then zeros."""

    def __init__(self, state: bytes | None = None) -> None:
        # libsodium needs an alignment of 64 bytes, and ctypes guarantees less.
        self._memory = ctypes.create_string_buffer(STATE_BYTES + _ALIGNMENT)
        start = ctypes.addressof(self._memory)
        self._pointer = ctypes.c_void_p(start + -start % _ALIGNMENT)
        if state is None:
            _sodium().crypto_generichash_init(self._pointer, None, ctypes.c_size_t(0), ctypes.c_size_t(64))
        else:
            ctypes.memmove(self._pointer, state, STATE_BYTES)

    def update(self, data: bytes) -> None:
        _sodium().crypto_generichash_update(self._pointer, data, ctypes.c_ulonglong(len(data)))

    def final(self) -> bytes:
        digest = ctypes.create_string_buffer(64)
        if _sodium().crypto_generichash_final(self._pointer, digest, ctypes.c_size_t(64)) != 0:
            raise _not_a_state()
        return digest.raw

    def put(self, offset: int, data: bytes) -> None:
        ctypes.memmove(self._address() + offset, data, len(data))

    def get(self, offset: int, size: int) -> bytes:
        return ctypes.string_at(self._address() + offset, size)

    def _address(self) -> int:
        address = self._pointer.value
        assert address is not None
        return address


def _scalar(number: int) -> bytes:
    return (number % _ORDER).to_bytes(SCALAR_BYTES, "little")


def _number(scalar: bytes) -> int:
    return int.from_bytes(scalar, "little")


def _multiply(scalar: bytes, point: bytes, name: str) -> bytes:
    result = ctypes.create_string_buffer(POINT_BYTES)
    if _sodium().crypto_scalarmult_ristretto255(result, scalar, point) != 0:
        raise DataError(f"{name} is not an acceptable public key")
    return result.raw


def _multiply_base(scalar: bytes) -> bytes | None:
    result = ctypes.create_string_buffer(POINT_BYTES)
    if _sodium().crypto_scalarmult_ristretto255_base(result, scalar) != 0:
        return None
    return result.raw


def _add(one: bytes, other: bytes) -> bytes | None:
    result = ctypes.create_string_buffer(POINT_BYTES)
    if _sodium().crypto_core_ristretto255_add(result, one, other) != 0:
        return None
    return result.raw


def _check_point(name: str, point: bytes) -> None:
    if len(point) != POINT_BYTES:
        raise wrong_length(name, point, POINT_BYTES)
    # In RFC 9496 a point has a single encoding. libsodium 1.0.18 ignores the highest bit and would accept a
    # second.
    if _number(point) >= _FIELD:
        raise DataError(f"{name} is not an acceptable public key")


def _identities(sender: bytes, recipient: bytes, additional: bytes) -> bytes:
    parts = []
    for name, value in (("sender", sender), ("recipient", recipient), ("additional", additional)):
        if len(value) > ID_BYTES_MAX:
            raise DataError(f"{name} must be at most {ID_BYTES_MAX} bytes long, not {len(value)}")
        parts.append(bytes([len(value)]) + value)
    return b"".join(parts)


def _shared_key(point: bytes, identities: bytes) -> bytes:
    return blake2b(b"shared_key" + point + identities, digest_size=SHARED_KEY_BYTES).digest()


def _begin(r_point: bytes, identities: bytes) -> _State:
    state = _State()
    state.update(b"sign_key" + r_point + identities)
    return state


def _split(signature: bytes) -> tuple[bytes, bytes]:
    if len(signature) != SIGNATURE_BYTES:
        raise wrong_length("signature", signature, SIGNATURE_BYTES)
    r_point, s = signature[:POINT_BYTES], signature[POINT_BYTES:]
    # With a second encoding of R or s, a message would have a second valid signature.
    if _number(r_point) >= _FIELD or _number(s) >= _ORDER:
        raise not_authentic("signature")
    return r_point, s


def crypto_signcrypt_new_keypair() -> tuple[bytes, bytes]:
    """Return a new random key pair: the public and the secret key, 32 bytes each.

    Raises:
        UnsupportedError: there is no libsodium with ristretto255 on this machine.
    """
    while True:
        secret = _scalar(_number(randombytes_buf(64)))
        public = _multiply_base(secret)
        if public is not None:
            return public, secret


def crypto_signcrypt_sign_before(
    sender: bytes, recipient: bytes, sender_sk: bytes, recipient_pk: bytes, additional: bytes
) -> tuple[bytes, bytes]:
    """Return the key that encrypts a message, the first step of the sender.

    Args:
        sender: the sender's identity, at most 255 bytes.
        recipient: the recipient's identity, at most 255 bytes.
        sender_sk: the sender's secret key, 32 bytes.
        recipient_pk: the recipient's public key, 32 bytes.
        additional: additional authenticated data, at most 255 bytes.

    Returns:
        A secret state for ``crypto_signcrypt_sign_after``, 512 bytes, and the shared key, 32 bytes.

    Raises:
        DataError: an argument has the wrong length, or the public key is not acceptable.
        UnsupportedError: there is no libsodium with ristretto255 on this machine.
    """
    identities = _identities(sender, recipient, additional)
    if len(sender_sk) != SCALAR_BYTES:
        raise wrong_length("sender_sk", sender_sk, SCALAR_BYTES)
    _check_point("recipient_pk", recipient_pk)
    noise = randombytes_buf(32)
    r = _scalar(_number(blake2b(b"nonce" + sender_sk + recipient_pk + noise).digest()))
    r_point = _multiply_base(r)
    if r_point is None:  # This is the case r = 0, which happens once in 2^252.
        raise DataError("sender_sk is not an acceptable secret key")
    factor = _scalar(_number(r) + _number(r_point) * _number(sender_sk))
    shared_key = _shared_key(_multiply(factor, recipient_pk, "recipient_pk"), identities)
    state = _begin(r_point, identities)
    state.put(_HASH_STATE_BYTES, r + r_point)
    return state.get(0, STATE_BYTES), shared_key


def crypto_signcrypt_sign_after(state: bytes, sender_sk: bytes, ciphertext: bytes) -> bytes:
    """Sign the ciphertext, the last step of the sender.

    Args:
        state: the state from ``crypto_signcrypt_sign_before``, 512 bytes. Use it once.
        sender_sk: the sender's secret key, 32 bytes.
        ciphertext: the message, encrypted under the shared key, of any length.

    Returns:
        The signature, 64 bytes.

    Raises:
        DataError: an argument has the wrong length.
        UnsupportedError: there is no libsodium with ristretto255 on this machine.
    """
    if len(sender_sk) != SCALAR_BYTES:
        raise wrong_length("sender_sk", sender_sk, SCALAR_BYTES)
    loaded = _State(_check_state(state))
    r = _number(loaded.get(_HASH_STATE_BYTES, SCALAR_BYTES))
    # With r = 0 the signature would reveal the secret key. The recipient's state has no r.
    if r % _ORDER == 0:
        raise _not_a_state()
    r_point = loaded.get(_HASH_STATE_BYTES + SCALAR_BYTES, POINT_BYTES)
    loaded.update(ciphertext)
    challenge = _number(loaded.final())
    return r_point + _scalar(challenge * _number(sender_sk) - r)


def crypto_signcrypt_verify_before(
    signature: bytes,
    sender: bytes,
    recipient: bytes,
    additional: bytes,
    sender_pk: bytes,
    recipient_sk: bytes,
) -> tuple[bytes, bytes]:
    """Return the key that decrypts a message, the first step of the recipient; nothing is verified yet.

    Args:
        signature: the signature from ``crypto_signcrypt_sign_after``, 64 bytes.
        sender: the sender's identity, at most 255 bytes.
        recipient: the recipient's identity, at most 255 bytes.
        additional: the additional data of the sender, at most 255 bytes.
        sender_pk: the sender's public key, 32 bytes.
        recipient_sk: the recipient's secret key, 32 bytes.

    Returns:
        A state for ``crypto_signcrypt_verify_after``, 512 bytes, and the shared key, 32 bytes.

    Raises:
        DataError: an argument has the wrong length or is not acceptable.
        UnsupportedError: there is no libsodium with ristretto255 on this machine.
    """
    r_point, _ = _split(signature)
    identities = _identities(sender, recipient, additional)
    _check_point("sender_pk", sender_pk)
    if len(recipient_sk) != SCALAR_BYTES:
        raise wrong_length("recipient_sk", recipient_sk, SCALAR_BYTES)
    point = _add(r_point, _multiply(r_point, sender_pk, "sender_pk"))
    if point is None:
        raise not_authentic("signature")
    shared_key = _shared_key(_multiply(recipient_sk, point, "sender_pk"), identities)
    return _begin(r_point, identities).get(0, STATE_BYTES), shared_key


def _verify(state: _State, signature: bytes, sender_pk: bytes, ciphertext: bytes) -> bool:
    r_point, s = _split(signature)
    _check_point("sender_pk", sender_pk)
    state.update(ciphertext)
    challenge = _scalar(_number(state.final()))
    expected = _multiply(challenge, sender_pk, "sender_pk")
    s_point = _multiply_base(s)
    if s_point is None or _add(s_point, r_point) != expected:
        raise not_authentic("signature")
    return True


def crypto_signcrypt_verify_after(state: bytes, signature: bytes, sender_pk: bytes, ciphertext: bytes) -> bool:
    """Verify the signature of the ciphertext, the last step of the recipient.

    Args:
        state: the state from ``crypto_signcrypt_verify_before``, 512 bytes.
        signature: 64 bytes.
        sender_pk: the sender's public key, 32 bytes.
        ciphertext: the ciphertext, of any length.

    Returns:
        True.

    Raises:
        DataError: the signature does not verify, or an argument has the wrong length.
        UnsupportedError: there is no libsodium with ristretto255 on this machine.
    """
    return _verify(_State(_check_state(state)), signature, sender_pk, ciphertext)


def crypto_signcrypt_verify_public(
    signature: bytes,
    sender: bytes,
    recipient: bytes,
    additional: bytes,
    sender_pk: bytes,
    ciphertext: bytes,
) -> bool:
    """Verify a signature with public data only; this cannot decrypt the message.

    Args:
        signature: 64 bytes.
        sender: the sender's identity, at most 255 bytes.
        recipient: the recipient's identity, at most 255 bytes.
        additional: the additional data of the sender, at most 255 bytes.
        sender_pk: the sender's public key, 32 bytes.
        ciphertext: the ciphertext, of any length.

    Returns:
        True.

    Raises:
        DataError: the signature does not verify, or an argument has the wrong length.
        UnsupportedError: there is no libsodium with ristretto255 on this machine.
    """
    identities = _identities(sender, recipient, additional)
    r_point, _ = _split(signature)
    return _verify(_begin(r_point, identities), signature, sender_pk, ciphertext)
