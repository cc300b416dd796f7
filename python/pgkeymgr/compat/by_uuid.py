"""pgsodium's primitives with the uuid of a key of the table in place of their last argument, the key."""

from collections.abc import Callable
from typing import Any

from .. import crypto

_Function = Callable[..., Any]
_Secret = Callable[[str, str, bool], bytes]

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
}
_DECRYPTING = ("_verify", "_open", "_decrypt")
"""The endings of the primitives that need a grant to decrypt; the others need a grant to encrypt."""


def find(name: str, secret: _Secret) -> _Function | None:
    """Find the variant of a primitive.

    Args:
        name: the name of the primitive, with ``_by_uuid`` after it.
        secret: ``KeyTable.secret``.

    Returns:
        The function, or None if no function has that name.
    """
    primitive_name = name.removesuffix("_by_uuid")
    key_type = _KEY_TYPES.get(primitive_name)
    primitive = crypto.find(primitive_name)
    if key_type is None or primitive is None:
        return None
    return _by_uuid(primitive, secret, key_type, encrypt=not primitive_name.endswith(_DECRYPTING))


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
