"""pgsodium's primitives with the uuid of a key of the table in place of their last argument, the key."""

from collections.abc import Callable
from typing import Any

from .. import crypto

_Function = Callable[..., Any]
_Secret = Callable[[str, str, bool], bytes]
_CheckSearch = Callable[[bytes, str], None]

_KEY_TYPES = {
    "crypto_auth": "auth",
    "crypto_auth_verify": "auth",
    "crypto_auth_hmacsha256": "hmacsha256",
    "crypto_auth_hmacsha256_verify": "hmacsha256",
    "crypto_auth_hmacsha512": "hmacsha512",
    "crypto_auth_hmacsha512_verify": "hmacsha512",
    "crypto_generichash": "generichash",
    "crypto_shorthash": "shorthash",
    "crypto_secretbox": "secretbox",
    "crypto_secretbox_open": "secretbox",
    "crypto_aead_ietf_encrypt": "aead-ietf",
    "crypto_aead_ietf_decrypt": "aead-ietf",
    "crypto_ipcrypt_encrypt": "ipcrypt-det",
    "crypto_ipcrypt_decrypt": "ipcrypt-det",
    "crypto_ipcrypt_inet_encrypt": "ipcrypt-det",
    "crypto_ipcrypt_inet_decrypt": "ipcrypt-det",
    "crypto_ipcrypt_pfx_encrypt": "ipcrypt-pfx",
    "crypto_ipcrypt_pfx_decrypt": "ipcrypt-pfx",
    "crypto_ipcrypt_pfx_inet_encrypt": "ipcrypt-pfx",
    "crypto_ipcrypt_pfx_inet_decrypt": "ipcrypt-pfx",
    "crypto_ipcrypt_nd_encrypt": "ipcrypt-nd",
    "crypto_ipcrypt_nd_decrypt": "ipcrypt-nd",
    "crypto_ipcrypt_ndx_encrypt": "ipcrypt-ndx",
    "crypto_ipcrypt_ndx_decrypt": "ipcrypt-ndx",
}
_DECRYPTING = ("_verify", "_open", "_decrypt")
"""The endings of the primitives that need a grant to decrypt; the others need a grant to encrypt."""
_SEARCHING = "ipcrypt-"
"""The start of the types with which a user who may only encrypt could find an address by trying all of them."""


def find(name: str, secret: _Secret, check_search: _CheckSearch) -> _Function | None:
    """Find the variant of a primitive.

    Args:
        name: the name of the primitive, with ``_by_uuid`` after it.
        secret: ``KeyTable.secret``.
        check_search: ``KeyTable.check_search``.

    Returns:
        The function, or None if no function has that name.
    """
    primitive_name = name.removesuffix("_by_uuid")
    key_type = _KEY_TYPES.get(primitive_name)
    primitive = crypto.find(primitive_name)
    if key_type is None or primitive is None:
        return None
    encrypt = not primitive_name.endswith(_DECRYPTING)
    if encrypt and key_type.startswith(_SEARCHING):

        def secret_for_search(key_uuid: str, key_type: str, encrypt: bool) -> bytes:
            check_search(bytes.fromhex(key_uuid.replace("-", "")), key_type)
            return secret(key_uuid, key_type, encrypt)

        return _by_uuid(primitive, secret_for_search, key_type, encrypt=encrypt)
    return _by_uuid(primitive, secret, key_type, encrypt=encrypt)


def _by_uuid(function: _Function, secret: _Secret, key_type: str, *, encrypt: bool) -> _Function:
    # There is one function for each number of arguments before the key, as in the bridge.
    before = function.__code__.co_argcount - 1

    def by_uuid_1(one: Any, key_uuid: str) -> Any:
        return function(one, secret(key_uuid, key_type, encrypt))

    def by_uuid_2(one: Any, two: Any, key_uuid: str) -> Any:
        return function(one, two, secret(key_uuid, key_type, encrypt))

    def by_uuid_3(one: Any, two: Any, three: Any, key_uuid: str) -> Any:
        return function(one, two, three, secret(key_uuid, key_type, encrypt))

    by_uuid: _Function = (by_uuid_1, by_uuid_2, by_uuid_3)[before - 1]
    by_uuid.__name__ = function.__name__ + "_by_uuid"
    own = dict(list(function.__annotations__.items())[:before])
    by_uuid.__annotations__ = {**own, "key_uuid": str}
    return by_uuid
