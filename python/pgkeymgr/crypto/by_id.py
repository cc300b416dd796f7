"""Variants of the secret-key primitives that take a derived key's number instead of the key itself.

pgsodium has the same variants: https://github.com/michelp/pgsodium
"""

from __future__ import annotations

from collections.abc import Callable

from .. import crypto

TYPE_CHECKING = False  # see key/named_tuple.py
if TYPE_CHECKING:
    from typing import Any

    _Function = Callable[..., Any]

_KeyForRow = Callable[[int, int, bytes], bytes]

_KEY_LAST = (
    "crypto_auth",
    "crypto_auth_verify",
    "crypto_auth_hmacsha256",
    "crypto_auth_hmacsha256_verify",
    "crypto_auth_hmacsha512",
    "crypto_auth_hmacsha512_verify",
    "crypto_shorthash",
    "crypto_secretbox",
    "crypto_secretbox_open",
    "crypto_aead_ietf_encrypt",
    "crypto_aead_ietf_decrypt",
    "crypto_stream_xchacha20",
    "crypto_stream_xchacha20_xor",
    "crypto_stream_xchacha20_xor_ic",
    "crypto_ipcrypt_encrypt",
    "crypto_ipcrypt_decrypt",
    "crypto_ipcrypt_pfx_encrypt",
    "crypto_ipcrypt_pfx_decrypt",
    "crypto_ipcrypt_nd_encrypt",
    "crypto_ipcrypt_nd_decrypt",
    "crypto_ipcrypt_ndx_encrypt",
    "crypto_ipcrypt_ndx_decrypt",
)
_KEY_BYTES = 32
_SHORT_KEY_BYTES = 16
_SHORT_KEYS = (
    "crypto_shorthash",
    "crypto_ipcrypt_encrypt",
    "crypto_ipcrypt_decrypt",
    "crypto_ipcrypt_nd_encrypt",
    "crypto_ipcrypt_nd_decrypt",
)


def find(name: str, key_for_row: _KeyForRow) -> _Function | None:
    """Return the variant of a primitive.

    Args:
        name: the primitive's name, with ``_by_id`` after it.
        key_for_row: derives a key from its number, its length in bytes and its context of 8 bytes.

    Returns:
        The function, or None if no variant has that name.
    """
    primitive_name = name.removesuffix("_by_id")
    primitive = crypto.find(primitive_name)
    if primitive is None:
        return None
    if primitive_name in _KEY_LAST:
        return _by_id(primitive, key_for_row)
    make = {
        "crypto_generichash": _generichash,
        "crypto_aead_det_encrypt": _aead_det,
        "crypto_aead_det_decrypt": _aead_det,
    }.get(primitive_name)
    return make and make(primitive, key_for_row)


def _by_id(function: _Function, key_for_row: _KeyForRow) -> _Function:
    # Each number of arguments before the key has a function of its own, because *arguments would cost time in
    # every row: see _guard_1 in the bridge.
    before = function.__code__.co_argcount - 1
    key_len = _SHORT_KEY_BYTES if function.__name__ in _SHORT_KEYS else _KEY_BYTES

    def by_id_1(one: Any, key_id: int, context: bytes) -> Any:
        return function(one, key_for_row(key_id, key_len, context))

    def by_id_2(one: Any, two: Any, key_id: int, context: bytes) -> Any:
        return function(one, two, key_for_row(key_id, key_len, context))

    def by_id_3(one: Any, two: Any, three: Any, key_id: int, context: bytes) -> Any:
        return function(one, two, three, key_for_row(key_id, key_len, context))

    return _describe((by_id_1, by_id_2, by_id_3)[before - 1], function)


def _generichash(function: _Function, key_for_row: _KeyForRow) -> _Function:
    def by_id(message: bytes, key: int | None, context: bytes) -> Any:
        if key is None:
            return function(message)
        return function(message, key_for_row(key, _KEY_BYTES, context))

    return _name(by_id, function)


def _aead_det(function: _Function, key_for_row: _KeyForRow) -> _Function:
    def by_id(message: bytes, additional: bytes | None, key_id: int, context: bytes, nonce: bytes | None) -> Any:
        return function(message, additional, key_for_row(key_id, _KEY_BYTES, context), nonce)

    return _name(by_id, function)


def _describe(by_id: _Function, function: _Function) -> _Function:
    # The bridge reads the annotations to name the argument that must not be NULL.
    before = by_id.__code__.co_argcount - 2
    own = dict(list(function.__annotations__.items())[:before])
    by_id.__annotations__ = {**own, "key_id": int, "context": bytes}
    return _name(by_id, function)


def _name(by_id: _Function, function: _Function) -> _Function:
    by_id.__name__ = function.__name__ + "_by_id"
    return by_id
