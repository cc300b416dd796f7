"""The encryption of IP addresses: its properties, and the libsodium that only some machines have."""

import ctypes
import ipaddress
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pgkeymgr.crypto import ipcrypt
from pgkeymgr.errors import UnsupportedError

ADDRESSES = st.ip_addresses().map(str)
IPV4 = st.ip_addresses(v=4)


def key(size: int) -> st.SearchStrategy[bytes]:
    """Make a key whose halves differ."""
    return st.binary(min_size=size, max_size=size).filter(lambda k: k[:16] != k[16:])


@pytest.fixture
def libsodium(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Return a list that decides which libraries there are, and that each test fills."""
    there: list[str] = []

    class Function:
        def __init__(self, call: Any) -> None:
            self.call = call

        def __call__(self, *arguments: Any) -> Any:
            return self.call(*arguments)

    class Library:
        """A library with the draft's first vector, and with others that only this class has."""

        def __init__(self, name: str) -> None:
            if not any(each in name for each in there):
                raise OSError(name)
            if "old" in there:
                return
            result = b"\x01" if "wrong" in there else b"\x08"

            def encrypt(out: Any, ip: bytes, tweak: bytes, key: bytes) -> None:
                out[:] = (
                    bytes.fromhex("08e0c289bff23b7cb349aadfe3bcef56221c384c7c217b16")
                    if (ip, tweak, key) == ipcrypt._ND_VECTOR[:3] and result == b"\x08"
                    else tweak + bytes(a ^ b for a, b in zip(ip, key, strict=True))
                )

            def decrypt(out: Any, ciphertext: bytes, key: bytes) -> None:
                out[:] = bytes(a ^ b for a, b in zip(ciphertext[8:], key, strict=True))

            self.crypto_ipcrypt_nd_encrypt = Function(encrypt)
            self.crypto_ipcrypt_nd_decrypt = Function(decrypt)
            self.sodium_init = lambda: 0

    monkeypatch.setattr(ctypes, "CDLL", Library)
    ipcrypt._libsodium.cache_clear()
    yield there
    ipcrypt._libsodium.cache_clear()


def nd_round_trip() -> bytes:
    """Encrypt and decrypt an address with nd, and return the ciphertext."""
    ip = ipcrypt.crypto_ipcrypt_ip2bin("192.0.2.1")
    tweak, secret = bytes(range(8)), bytes(range(16))
    ciphertext = ipcrypt.crypto_ipcrypt_nd_encrypt(ip, tweak, secret)
    assert ipcrypt.crypto_ipcrypt_nd_decrypt(ciphertext, secret) == ip
    assert ciphertext[:8] == tweak
    assert len(ciphertext) == 24
    return ciphertext


@pytest.mark.parametrize("found", ["_sodium", "libsodium.so.26", "libsodium.so.30"])
def test_nd_takes_any_libsodium_that_has_it(libsodium: list[str], found: str) -> None:
    libsodium.append(found)
    nd_round_trip()


@pytest.mark.parametrize("fault", [[], ["libsodium", "old"], ["libsodium", "wrong"]])
def test_nd_takes_no_libsodium_without_it(libsodium: list[str], fault: list[str]) -> None:
    """There is none, or it is too old, or it has another function of this name."""
    libsodium.extend(fault)
    with pytest.raises(UnsupportedError) as caught:
        nd_round_trip()
    assert "crypto_ipcrypt_ndx" in str(caught.value.hint)


def test_nd_of_this_machine() -> None:
    try:
        ipcrypt._libsodium()
    except UnsupportedError:
        pytest.skip("this machine has no libsodium 1.0.21 or newer")
    nd_round_trip()


@given(ADDRESSES, key(16), key(32), st.binary(min_size=16, max_size=16))
def test_decryption_returns_the_address(ip: str, short: bytes, long: bytes, tweak: bytes) -> None:
    packed = ipcrypt.crypto_ipcrypt_ip2bin(ip)
    back = ipcrypt.crypto_ipcrypt_bin2ip(packed)
    assert ipcrypt.crypto_ipcrypt_ip2bin(back) == packed
    assert ipcrypt.crypto_ipcrypt_inet_decrypt(ipcrypt.crypto_ipcrypt_inet_encrypt(ip, short), short) == back
    sealed = ipcrypt.crypto_ipcrypt_pfx_inet_encrypt(ip, long)
    assert ("." in sealed) == ("." in back)
    assert ipcrypt.crypto_ipcrypt_pfx_inet_decrypt(sealed, long) == back
    sealed_bytes = ipcrypt.crypto_ipcrypt_ndx_encrypt(packed, tweak, long)
    assert sealed_bytes[:16] == tweak
    assert ipcrypt.crypto_ipcrypt_ndx_decrypt(sealed_bytes, long) == packed


@settings(max_examples=50)
@given(IPV4, IPV4, key(32))
def test_common_prefixes_stay_common(one: Any, other: Any, secret: bytes) -> None:
    def common(a: Any, b: Any) -> int:
        return 32 - (int(a) ^ int(b)).bit_length()

    sealed = [
        ipaddress.ip_address(ipcrypt.crypto_ipcrypt_pfx_inet_encrypt(str(each), secret)) for each in (one, other)
    ]
    assert common(*sealed) == common(one, other)
