"""libsodium's primitives under libsodium's names: bytes in, bytes out, no server.

One module for each file in ``sql/crypto``. Each function raises ``TypeError`` where a value is None
that must not be, and ``pgkeymgr.errors.DataError`` for a wrong length or for what does not verify.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from ..errors import LibraryError
from .libraries import import_library

# Before any of the modules imports it, so that a foreign version is called that.
sodium = import_library("nacl._sodium")
if sodium.lib.sodium_init() < 0:
    raise LibraryError("libsodium cannot be initialized")

_PREFIXES = ("crypto_", "randombytes_", "sodium_")
# Of two that begin alike, the longer one first.
_MODULES = (
    "aead_det",
    "aead_ietf",
    "auth",
    "box",
    "generichash",
    "hash",
    "kdf",
    "kx",
    "pwhash",
    "randombytes",
    "secretbox",
    "secretstream",
    "shorthash",
    "signcrypt",
    "sign",
    "stream_xchacha20",
)
_OTHER_MODULE = "utils"


def find(name: str) -> Callable[..., Any] | None:
    """Find a primitive; its module, which is named by it, is imported only now.

    Args:
        name: libsodium's.

    Returns:
        The function, or None if there is none of that name.
    """
    if not name.startswith(_PREFIXES):
        return None
    bare = name.removeprefix("crypto_")
    module = next((module for module in _MODULES if bare.startswith(module)), _OTHER_MODULE)
    return getattr(import_module(f".{module}", __name__), name, None)
