"""libsodium's primitives under libsodium's names: bytes in, bytes out, no server.

One module for each file in ``sql/crypto``. Each function raises ``TypeError`` where a value is None
that must not be, and ``pgkeymgr.errors.DataError`` for a wrong length or for what does not verify.
"""

from ..libraries import import_library

# Before any of the modules imports it, so that a foreign version is called that.
import_library("nacl.bindings")
