"""The encryption of IP addresses: deterministic, preserving prefixes (pfx), and with a tweak (nd and ndx).

An address has 16 bytes; an IPv4 address is the IPv6 address that it is mapped to. No result is authenticated: any
bytes decrypt to some address.

All but nd are composed from the AES of ``cryptography``. nd is KIASU-BC, an AES with the tweak in each round,
which no composition of AES gives. So nd needs a libsodium that has it: 1.0.21 or newer.

Sources: https://datatracker.ietf.org/doc/draft-denis-ipcrypt/, https://doc.libsodium.org, and for the names,
https://github.com/michelp/pgsodium
"""

from __future__ import annotations

from functools import cache

from ..errors import DataError, UnsupportedError, wrong_length
from . import sodium
from .libraries import import_library
from .randombytes import randombytes_buf

TYPE_CHECKING = False  # see key/named_tuple.py
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

    _Update = Callable[[bytes], bytes]

BYTES = 16
KEY_BYTES = 16
PFX_KEY_BYTES = 32
ND_KEY_BYTES = 16
ND_TWEAK_BYTES = 8
ND_BYTES = ND_TWEAK_BYTES + BYTES
NDX_KEY_BYTES = 32
NDX_TWEAK_BYTES = 16
NDX_BYTES = NDX_TWEAK_BYTES + BYTES

_HALF = 16
_BITS = 8 * BYTES
_BLOCK_MASK = (1 << _BITS) - 1
_IPV4_PREFIX = bytes(10) + b"\xff\xff"
_IPV4_PREFIX_BITS = 8 * len(_IPV4_PREFIX)

# PyNaCl's own libsodium, which has the functions as soon as it is new enough, and the machine's.
_LIBSODIUMS = (sodium.__file__, "libsodium.so.26", "libsodium.so.30")
# A vector of the draft. A library that fails it is not used.
_ND_VECTOR = (
    _IPV4_PREFIX + bytes(4),
    bytes.fromhex("08e0c289bff23b7c"),
    bytes.fromhex("0123456789abcdeffedcba9876543210"),
    bytes.fromhex("08e0c289bff23b7cb349aadfe3bcef56221c384c7c217b16"),
)


@cache
def _ciphers() -> Any:
    # An import of cryptography takes 10 ms, and most sessions never need it.
    return import_library("cryptography.hazmat.primitives.ciphers")


@cache
def _ipaddress() -> ModuleType:
    import ipaddress  # The import is slow, and most sessions never need it.

    return ipaddress


@cache
def _libsodium() -> Any:
    """Return a libsodium that has nd.

    Raises:
        UnsupportedError: there is none on this machine.
    """
    import ctypes  # The import is slow, and most sessions never need it.

    for name in _LIBSODIUMS:
        try:
            library = ctypes.CDLL(name)
            functions = (library.crypto_ipcrypt_nd_encrypt, library.crypto_ipcrypt_nd_decrypt)
        except (OSError, AttributeError):
            continue
        for function in functions:
            function.restype = None
        if library.sodium_init() >= 0:
            ip, tweak, key, expected = _ND_VECTOR
            result = ctypes.create_string_buffer(ND_BYTES)
            library.crypto_ipcrypt_nd_encrypt(result, ip, tweak, key)
            if result.raw == expected:
                return library
    raise UnsupportedError(
        "crypto_ipcrypt_nd needs libsodium 1.0.21 or newer, which this machine does not have",
        hint="Install it on this machine, or use crypto_ipcrypt_ndx.",
    )


def _encryptor(key: bytes) -> _Update:
    ciphers = _ciphers()
    update: _Update = ciphers.Cipher(ciphers.algorithms.AES(key), ciphers.modes.ECB()).encryptor().update
    return update


def _decryptor(key: bytes) -> _Update:
    ciphers = _ciphers()
    update: _Update = ciphers.Cipher(ciphers.algorithms.AES(key), ciphers.modes.ECB()).decryptor().update
    return update


def _halves(key: bytes) -> tuple[bytes, bytes]:
    first, second = key[:_HALF], key[_HALF:]
    if first == second:
        raise DataError("key must have two different halves")
    return first, second


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(len(one), "big")


def crypto_ipcrypt_ip2bin(ip: str) -> bytes:
    """Return the 16 bytes of an address.

    Args:
        ip: the text of an IPv4 or IPv6 address. The zone of an IPv6 address is left out, as in libsodium.

    Returns:
        16 bytes. An IPv4 address is mapped to IPv6.

    Raises:
        DataError: the text is not that of an address.
    """
    try:
        address = _ipaddress().ip_address(ip)
    except ValueError:
        raise DataError("ip is not an IP address") from None
    packed: bytes = address.packed
    return packed if len(packed) == BYTES else _IPV4_PREFIX + packed


def crypto_ipcrypt_bin2ip(bin: bytes) -> str:
    """Return the text of an address.

    Args:
        bin: 16 bytes.

    Returns:
        The text of an IPv4 address if the bytes are those of a mapped one, and of an IPv6 address otherwise.

    Raises:
        DataError: the length is another one.
    """
    if len(bin) != BYTES:
        raise wrong_length("bin", bin, BYTES)
    if bin.startswith(_IPV4_PREFIX):
        return str(_ipaddress().IPv4Address(bin[len(_IPV4_PREFIX) :]))
    return str(_ipaddress().IPv6Address(bin))


def _inet2bin(ip: str) -> bytes:
    # PostgreSQL's type inet has the length of a netmask, too. pgsodium encrypts the address alone.
    return crypto_ipcrypt_ip2bin(ip.partition("/")[0])


def crypto_ipcrypt_keygen() -> bytes:
    """Return a new random key for the deterministic encryption, 16 bytes."""
    return randombytes_buf(KEY_BYTES)


def crypto_ipcrypt_encrypt(ip: bytes, key: bytes) -> bytes:
    """Encrypt an address so that equal addresses have equal results.

    Args:
        ip: 16 bytes.
        key: 16 bytes.

    Returns:
        16 bytes.

    Raises:
        DataError: the address or the key has the wrong length.
    """
    _check(ip, key, KEY_BYTES)
    return _encryptor(key)(ip)


def crypto_ipcrypt_decrypt(ip: bytes, key: bytes) -> bytes:
    """Decrypt a result of ``crypto_ipcrypt_encrypt``.

    Args:
        ip: 16 bytes.
        key: 16 bytes.

    Returns:
        The address, 16 bytes.

    Raises:
        DataError: the address or the key has the wrong length.
    """
    _check(ip, key, KEY_BYTES)
    return _decryptor(key)(ip)


def crypto_ipcrypt_inet_encrypt(ip: str, key: bytes) -> str:
    """Return ``crypto_ipcrypt_encrypt`` of the text of an ``inet``, as text."""
    return crypto_ipcrypt_bin2ip(crypto_ipcrypt_encrypt(_inet2bin(ip), key))


def crypto_ipcrypt_inet_decrypt(ip: str, key: bytes) -> str:
    """Return ``crypto_ipcrypt_decrypt`` of the text of an ``inet``, as text."""
    return crypto_ipcrypt_bin2ip(crypto_ipcrypt_decrypt(_inet2bin(ip), key))


def crypto_ipcrypt_pfx_keygen() -> bytes:
    """Return a new random key for the encryption that preserves prefixes, 32 bytes."""
    return randombytes_buf(PFX_KEY_BYTES)


def crypto_ipcrypt_pfx_encrypt(ip: bytes, key: bytes) -> bytes:
    """Encrypt an address so that addresses with a common prefix have results with a common prefix of that length.

    Args:
        ip: 16 bytes.
        key: 32 bytes, whose halves differ.

    Returns:
        16 bytes. The result of an IPv4 address is one, too.

    Raises:
        DataError: the address or the key has the wrong length, or the key's halves are the same.
    """
    _check(ip, key, PFX_KEY_BYTES)
    first, second = _halves(key)
    start = _pfx_start(ip)
    # The prefixes are those of the plaintext, and so all of them are known.
    value = int.from_bytes(ip, "big")
    blocks = b"".join(_pfx_block(value >> (_BITS - length), length) for length in range(start, _BITS))
    pads = _xor(_encryptor(first)(blocks), _encryptor(second)(blocks))
    stream = 0
    for end in range(BYTES, len(pads) + 1, BYTES):
        stream = stream << 1 | pads[end - 1] & 1
    return (value ^ stream).to_bytes(BYTES, "big")


def crypto_ipcrypt_pfx_decrypt(ip: bytes, key: bytes) -> bytes:
    """Decrypt a result of ``crypto_ipcrypt_pfx_encrypt``.

    Args:
        ip: 16 bytes.
        key: 32 bytes, whose halves differ.

    Returns:
        The address, 16 bytes.

    Raises:
        DataError: the address or the key has the wrong length, or the key's halves are the same.
    """
    _check(ip, key, PFX_KEY_BYTES)
    first, second = map(_encryptor, _halves(key))
    start = _pfx_start(ip)
    value = int.from_bytes(ip, "big")
    prefix = value >> (_BITS - start)
    for length in range(start, _BITS):
        block = _pfx_block(prefix, length)
        pad = first(block)[-1] ^ second(block)[-1]
        prefix = prefix << 1 | (value >> (_BITS - 1 - length) ^ pad) & 1
    return prefix.to_bytes(BYTES, "big")


def _pfx_start(ip: bytes) -> int:
    """Return the number of bits that stay as they are: those that say that an address is one of IPv4."""
    return _IPV4_PREFIX_BITS if ip.startswith(_IPV4_PREFIX) else 0


def _pfx_block(prefix: int, length: int) -> bytes:
    """Return the block that stands for a prefix: zeros, a one, and the bits of the prefix."""
    return ((1 << length | prefix) & _BLOCK_MASK).to_bytes(BYTES, "big")


def crypto_ipcrypt_pfx_inet_encrypt(ip: str, key: bytes) -> str:
    """Return ``crypto_ipcrypt_pfx_encrypt`` of the text of an ``inet``, as text."""
    return crypto_ipcrypt_bin2ip(crypto_ipcrypt_pfx_encrypt(_inet2bin(ip), key))


def crypto_ipcrypt_pfx_inet_decrypt(ip: str, key: bytes) -> str:
    """Return ``crypto_ipcrypt_pfx_decrypt`` of the text of an ``inet``, as text."""
    return crypto_ipcrypt_bin2ip(crypto_ipcrypt_pfx_decrypt(_inet2bin(ip), key))


def crypto_ipcrypt_nd_keygen() -> bytes:
    """Return a new random key for the encryption with a tweak of 8 bytes, 16 bytes."""
    return randombytes_buf(ND_KEY_BYTES)


def crypto_ipcrypt_nd_tweakgen() -> bytes:
    """Return a new random tweak for ``crypto_ipcrypt_nd_encrypt``, 8 bytes."""
    return randombytes_buf(ND_TWEAK_BYTES)


def crypto_ipcrypt_nd_encrypt(ip: bytes, tweak: bytes, key: bytes) -> bytes:
    """Encrypt an address under a tweak.

    Args:
        ip: 16 bytes.
        tweak: 8 bytes. Equal addresses under equal tweaks have equal results.
        key: 16 bytes.

    Returns:
        The tweak and the ciphertext, 24 bytes.

    Raises:
        DataError: the address, the tweak or the key has the wrong length.
        UnsupportedError: this machine has no libsodium with this function.
    """
    _check(ip, key, ND_KEY_BYTES)
    if len(tweak) != ND_TWEAK_BYTES:
        raise wrong_length("tweak", tweak, ND_TWEAK_BYTES)
    result = bytearray(ND_BYTES)
    _libsodium().crypto_ipcrypt_nd_encrypt(_out(result), ip, tweak, key)
    return bytes(result)


def crypto_ipcrypt_nd_decrypt(ciphertext: bytes, key: bytes) -> bytes:
    """Decrypt a result of ``crypto_ipcrypt_nd_encrypt``.

    Args:
        ciphertext: 24 bytes.
        key: 16 bytes.

    Returns:
        The address, 16 bytes.

    Raises:
        DataError: the ciphertext or the key has the wrong length.
        UnsupportedError: this machine has no libsodium with this function.
    """
    if len(ciphertext) != ND_BYTES:
        raise wrong_length("ciphertext", ciphertext, ND_BYTES)
    if len(key) != ND_KEY_BYTES:
        raise wrong_length("key", key, ND_KEY_BYTES)
    result = bytearray(BYTES)
    _libsodium().crypto_ipcrypt_nd_decrypt(_out(result), ciphertext, key)
    return bytes(result)


def _out(buffer: bytearray) -> Any:
    import ctypes

    return (ctypes.c_char * len(buffer)).from_buffer(buffer)


def crypto_ipcrypt_ndx_keygen() -> bytes:
    """Return a new random key for the encryption with a tweak of 16 bytes, 32 bytes."""
    return randombytes_buf(NDX_KEY_BYTES)


def crypto_ipcrypt_ndx_tweakgen() -> bytes:
    """Return a new random tweak for ``crypto_ipcrypt_ndx_encrypt``, 16 bytes."""
    return randombytes_buf(NDX_TWEAK_BYTES)


def crypto_ipcrypt_ndx_encrypt(ip: bytes, tweak: bytes, key: bytes) -> bytes:
    """Encrypt an address under a tweak, with AES-XTS.

    Args:
        ip: 16 bytes.
        tweak: 16 bytes. Equal addresses under equal tweaks have equal results.
        key: 32 bytes, whose halves differ.

    Returns:
        The tweak and the ciphertext, 32 bytes.

    Raises:
        DataError: the address, the tweak or the key has the wrong length, or the key's halves are the same.
    """
    _check(ip, key, NDX_KEY_BYTES)
    if len(tweak) != NDX_TWEAK_BYTES:
        raise wrong_length("tweak", tweak, NDX_TWEAK_BYTES)
    first, second = _halves(key)
    mask = _encryptor(second)(tweak)
    return tweak + _xor(_encryptor(first)(_xor(ip, mask)), mask)


def crypto_ipcrypt_ndx_decrypt(ciphertext: bytes, key: bytes) -> bytes:
    """Decrypt a result of ``crypto_ipcrypt_ndx_encrypt``.

    Args:
        ciphertext: 32 bytes.
        key: 32 bytes, whose halves differ.

    Returns:
        The address, 16 bytes.

    Raises:
        DataError: the ciphertext or the key has the wrong length, or the key's halves are the same.
    """
    if len(ciphertext) != NDX_BYTES:
        raise wrong_length("ciphertext", ciphertext, NDX_BYTES)
    if len(key) != NDX_KEY_BYTES:
        raise wrong_length("key", key, NDX_KEY_BYTES)
    first, second = _halves(key)
    mask = _encryptor(second)(ciphertext[:NDX_TWEAK_BYTES])
    return _xor(_decryptor(first)(_xor(ciphertext[NDX_TWEAK_BYTES:], mask)), mask)


def _check(ip: bytes, key: bytes, key_bytes: int) -> None:
    if len(ip) != BYTES:
        raise wrong_length("ip", ip, BYTES)
    if len(key) != key_bytes:
        raise wrong_length("key", key, key_bytes)
