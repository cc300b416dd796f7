"""libsodium's primitives under libsodium's names, as functions of bytes that need no server.

Each file in ``sql/crypto`` has a module of the same name here. Each function raises ``TypeError`` if an argument
is None that must not be, and ``pgkeymgr.errors.DataError`` if a length is wrong or a ciphertext does not verify.

Source: https://doc.libsodium.org, and for the names that libsodium itself does not have,
https://github.com/michelp/pgsodium
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from ..errors import LibraryError
from .libraries import import_library

TYPE_CHECKING = False  # see key/named_tuple.py
if TYPE_CHECKING:
    from typing import Any

# This import comes before those of the modules, so that the error for a foreign version says what it is.
sodium = import_library("nacl._sodium")
if sodium.lib.sodium_init() < 0:
    raise LibraryError("could not initialize libsodium")

_PREFIXES = ("crypto_", "randombytes_", "sodium_")
# The search takes the first name that fits, so "signcrypt" stands before "sign".
_MODULES = (
    "aead_det",
    "aead_ietf",
    "auth",
    "box",
    "generichash",
    "hash",
    "ipcrypt",
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
    """Return the primitive of a name, and import its module if that is not done yet.

    Args:
        name: the primitive's name in libsodium, which begins with the name of its module.

    Returns:
        The function, or None if no primitive has that name.
    """
    if not name.startswith(_PREFIXES):
        return None
    bare = name.removeprefix("crypto_")
    module = next((module for module in _MODULES if bare.startswith(module)), _OTHER_MODULE)
    return getattr(import_module(f".{module}", __name__), name, None)
