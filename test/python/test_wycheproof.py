"""Wycheproof's vectors, the invalid ones included, for every primitive that has them; see test/data/wycheproof."""

import json
from collections import Counter
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest
from nacl import bindings
from pgkeymgr.compat import pg_kmgr
from pgkeymgr.crypto import aead_ietf, auth, box, kx, shorthash, sign, sodium
from pgkeymgr.errors import DataError
from pgkeymgr.key import cipher

DATA = Path(__file__).parents[1] / "data" / "wycheproof"

RIGHT, REFUSED = "gives the result", "is refused"


class Vector(dict[str, bytes]):
    """One test of a file: its fields by name, its result and its flags."""

    def __init__(self, fields: dict[str, bytes], result: str, flags: list[str]) -> None:
        super().__init__(fields)
        self.result = result
        self.flags = frozenset(flags)


def vectors(name: str) -> list[tuple[str, Vector]]:
    """Return the tests of a file, each with what a failure says of it."""
    file = json.loads((DATA / f"{name}.json").read_text())
    found = []
    for test in file["tests"]:
        number, result, flags, comment, *values = test
        named = dict(zip(file["fields"][4:], map(bytes.fromhex, values), strict=True))
        found.append((f"{name} {number}: {comment} ({', '.join(flags)})", Vector(named, result, flags)))
    return found


def outcome(call: Callable[[], Any], right: Any) -> str:
    """Return what a call does: it gives the right result, or is refused. Anything else is a failure."""
    try:
        result = call()
    except DataError:
        return REFUSED
    assert result == right
    return RIGHT


def chacha20_poly1305(v: Vector) -> str:
    """ChaCha20-Poly1305 of RFC 8439."""
    rest = v["aad"], v["iv"], v["key"]
    done = outcome(lambda: aead_ietf.crypto_aead_ietf_decrypt(v["ct"] + v["tag"], *rest), v["msg"])
    if v.result == "valid":
        assert aead_ietf.crypto_aead_ietf_encrypt(v["msg"], *rest) == v["ct"] + v["tag"]
    elif "InvalidNonceSize" in v.flags:
        assert outcome(lambda: aead_ietf.crypto_aead_ietf_encrypt(v["msg"], *rest), None) == REFUSED
    return done


def xchacha20_poly1305(v: Vector) -> str:
    """The cipher of ``wrap``, which has an associated data of its own, as ``wrap`` calls it."""
    if len(v["iv"]) != 24:
        return REFUSED  # wrap and unwrap draw and cut the nonce themselves
    sealed = sodium.ffi.new("unsigned char[]", len(v["msg"]) + 16)
    sodium.lib.crypto_aead_xchacha20poly1305_ietf_encrypt(
        sealed,
        sodium.ffi.NULL,
        v["msg"],
        len(v["msg"]),
        v["aad"],
        len(v["aad"]),
        sodium.ffi.NULL,
        v["iv"],
        v["key"],
    )
    made, given = bytes(sodium.ffi.buffer(sealed)), v["ct"] + v["tag"]
    assert (made == given) == (v.result == "valid")
    opened = sodium.ffi.new("unsigned char[]", len(given))
    failed = sodium.lib.crypto_aead_xchacha20poly1305_ietf_decrypt(
        opened, sodium.ffi.NULL, sodium.ffi.NULL, given, len(given), v["aad"], len(v["aad"]), v["iv"], v["key"]
    )
    if failed:
        return REFUSED
    assert bytes(sodium.ffi.buffer(opened, len(v["msg"]))) == v["msg"]
    return RIGHT


def aes_gcm_siv(v: Vector) -> str:
    """The cipher of randomized tokens."""
    (gcm_siv, _), invalid_tag = cipher._library(), cipher._invalid_tag()
    with_key = gcm_siv(v["key"])
    if v.result == "valid":
        assert with_key.encrypt(v["iv"], v["msg"], v["aad"]) == v["ct"] + v["tag"]
    try:
        assert with_key.decrypt(v["iv"], v["ct"] + v["tag"], v["aad"]) == v["msg"]
    except invalid_tag:
        return REFUSED
    return RIGHT


def aes_siv(v: Vector, parts: list[bytes], sealed: bytes) -> str:
    """The cipher of deterministic tokens."""
    (_, siv), invalid_tag = cipher._library(), cipher._invalid_tag()
    with_key = siv(v["key"])
    if v.result == "valid":
        assert with_key.encrypt(v["msg"], parts) == sealed
    try:
        assert with_key.decrypt(sealed, parts) == v["msg"]
    except invalid_tag:
        return REFUSED
    return RIGHT


def aes_siv_cmac(v: Vector) -> str:
    """With one part of associated data, as tokens have it."""
    return aes_siv(v, [v["aad"]], v["ct"])


def aead_aes_siv_cmac(v: Vector) -> str:
    """With a nonce as the last part, and the tag, which is first here, told apart."""
    return aes_siv(v, [v["aad"], v["iv"]], v["tag"] + v["ct"])


def aes_cbc_pkcs5(v: Vector) -> str:
    """With a right tag, since only that lets the padding be looked at."""
    mac_key = bytes(range(32))
    key = v["key"] + mac_key
    sealed = v["iv"] + v["ct"]
    data = auth.crypto_auth_hmacsha256(sealed, mac_key) + sealed
    with pytest.MonkeyPatch.context() as patch:
        if len(v["key"]) != 32:
            assert outcome(lambda: pg_kmgr.pg_decrypt(data, key), v["msg"]) == REFUSED
            patch.setattr(pg_kmgr, "KEY_BYTES", len(key))
            patch.setattr(pg_kmgr, "_HALF", len(v["key"]))
        if v.result == "valid":
            patch.setattr("os.urandom", lambda size: v["iv"])
            assert pg_kmgr.pg_encrypt(v["msg"], key) == data
        return outcome(lambda: pg_kmgr.pg_decrypt(data, key), v["msg"])


def ed25519(v: Vector) -> str:
    """Verified in both forms, which must agree."""
    try:
        detached = RIGHT if sign.crypto_sign_verify_detached(v["sig"], v["msg"], v["pk"]) else REFUSED
    except DataError:
        assert len(v["sig"]) != sign.SIGNATURE_BYTES
        detached = REFUSED
    assert detached == outcome(lambda: sign.crypto_sign_open(v["sig"] + v["msg"], v["pk"]), v["msg"])
    return detached


def _hmac(v: Vector, make: Callable[[bytes, bytes], bytes], verify: Callable[[bytes, bytes, bytes], bool]) -> str:
    with pytest.MonkeyPatch.context() as patch:
        if len(v["key"]) != auth.KEY_BYTES:
            assert outcome(lambda: make(v["msg"], v["key"]), None) == REFUSED
            patch.setattr(auth, "KEY_BYTES", len(v["key"]))
        made = make(v["msg"], v["key"])
        # Half of the tags are cut. They can only be compared.
        is_right = made[: len(v["tag"])] == v["tag"]
        if len(v["tag"]) == len(made):
            assert verify(v["tag"], v["msg"], v["key"]) == is_right
    return RIGHT if is_right else REFUSED


def hmac_sha256(v: Vector) -> str:
    """HMAC-SHA-256, where another key than one of 32 bytes is refused unless the test allows it."""
    return _hmac(v, auth.crypto_auth_hmacsha256, auth.crypto_auth_hmacsha256_verify)


def hmac_sha512(v: Vector) -> str:
    """HMAC-SHA-512 likewise; crypto_auth is the first half of it."""
    done = _hmac(v, auth.crypto_auth_hmacsha512, auth.crypto_auth_hmacsha512_verify)
    if len(v["tag"]) == auth.MAC_BYTES:
        assert _hmac(v, auth.crypto_auth, auth.crypto_auth_verify) == done
    return done


def siphash_2_4(v: Vector) -> str:
    """SipHash-2-4, all of whose tests are valid."""
    return outcome(lambda: shorthash.crypto_shorthash(v["msg"], v["key"]), v["tag"])


def x25519(v: Vector) -> str:
    """Through key exchange, whose keys are BLAKE2b of what X25519 gives and the two public keys."""
    own = bindings.crypto_scalarmult_base(v["private"])
    as_client = blake2b(v["shared"] + own + v["public"]).digest()
    as_server = blake2b(v["shared"] + v["public"] + own).digest()
    done = outcome(
        lambda: kx.crypto_kx_client_session_keys(own, v["private"], v["public"]), (as_client[:32], as_client[32:])
    )
    assert done == outcome(
        lambda: kx.crypto_kx_server_session_keys(own, v["private"], v["public"]), (as_server[32:], as_server[:32])
    )
    # Boxes refuse the same public keys.
    if done == REFUSED:
        with pytest.raises(DataError, match="not an acceptable public key"):
            box.crypto_box(b"message", bytes(24), v["public"], v["private"])
        with pytest.raises(DataError, match="not an acceptable public key"):
            box.crypto_box_seal(b"message", v["public"])
    else:
        assert box.crypto_box(b"message", bytes(24), v["public"], v["private"])
        assert box.crypto_box_seal(b"message", v["public"])
    return done


def counted(valid: int, invalid: int = 0) -> dict[tuple[str, str], int]:
    """Return how many tests of each result a file has, all answered as they should be."""
    return {("valid", RIGHT): valid} | ({("invalid", REFUSED): invalid} if invalid else {})


ANSWERS: dict[str, tuple[Callable[[Vector], str], dict[tuple[str, str], int]]] = {
    "aead_aes_siv_cmac": (aead_aes_siv_cmac, counted(252, 648)),
    "aes_cbc_pkcs5": (aes_cbc_pkcs5, counted(72, 144)),
    "aes_gcm_siv": (aes_gcm_siv, counted(136, 66)),
    "aes_siv_cmac": (aes_siv_cmac, counted(118, 324)),
    "chacha20_poly1305": (chacha20_poly1305, counted(256, 69)),
    "ed25519": (ed25519, counted(88, 63)),
    "hmac_sha256": (hmac_sha256, counted(66, 108)),
    "hmac_sha512": (hmac_sha512, counted(66, 108)),
    "siphash_2_4": (siphash_2_4, counted(40)),
    "x25519": (x25519, {**counted(264), ("acceptable", RIGHT): 223, ("acceptable", REFUSED): 31}),
    "xchacha20_poly1305": (xchacha20_poly1305, counted(246, 69)),
}
"""For each file, the function that makes pgkeymgr answer a test, and the number of its tests for each answer."""


@pytest.mark.parametrize("name", ANSWERS)
def test_vectors(name: str) -> None:
    answer, expected = ANSWERS[name]
    counts: Counter[tuple[str, str]] = Counter()
    for which, vector in vectors(name):
        try:
            answered = answer(vector)
        except AssertionError as error:
            raise AssertionError(which) from error
        allowed = {"valid": {RIGHT}, "invalid": {REFUSED}, "acceptable": {RIGHT, REFUSED}}
        assert answered in allowed[vector.result], which
        counts[vector.result, answered] += 1
    print(name, *(f"{number} {result}: {answered}" for (result, answered), number in counts.items()), sep="\n  ")
    assert counts == expected


def test_acceptable_results_are_refused_only_for_zero_secrets() -> None:
    """X25519 has the only tests whose result is up to the implementation: what each flag means here."""
    for which, vector in vectors("x25519"):
        answered = x25519(vector)
        if vector.result == "acceptable":
            # A point of low order gives zeros with any other key: no secret. Everything else that has a
            # result has the right one: points on the twist, and numbers that are not reduced.
            assert (answered == REFUSED) == ("ZeroSharedSecret" in vector.flags), which
            assert ("ZeroSharedSecret" in vector.flags) == ("LowOrderPublic" in vector.flags), which
            assert vector.flags & {"Twist", "NonCanonicalPublic", "LowOrderPublic"}, which


def test_every_file_is_used() -> None:
    assert {path.stem for path in DATA.glob("*.json")} == set(ANSWERS)
