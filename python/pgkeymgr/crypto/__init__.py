"""libsodium's primitives under libsodium's names: bytes in, bytes out, no server.

One module for each file in ``sql/crypto``. Each function raises ``TypeError`` where a value is None
that must not be, and ``pgkeymgr.errors.DataError`` for a wrong length or for what does not verify.
"""
