"""The wrapping of users' own secrets under the root key."""

from ..errors import not_authentic
from ..root_key import FINGERPRINT_BYTES
from ..root_key.wrap import OVERHEAD_BYTES
from .database import Database
from .root_wrap import RootWraps


class WrapKey:
    """The wrapping of users' own secrets, for one session."""

    def __init__(self, wraps: RootWraps, database: Database) -> None:
        self._wraps = wraps
        self._database = database

    def wrap_key(self, secret: bytes | None) -> bytes | None:
        """Wrap a secret under the root key.

        Args:
            secret: the secret, of any length; None gives None.

        Returns:
            The root key's fingerprint (16 bytes) and the wrap.

        Raises:
            RootKeyError: there is no root key.
        """
        if secret is None:
            return None
        root_key = self._database.root_key()
        fingerprint = bytes.fromhex(root_key.fingerprint)
        return fingerprint + root_key.wrap(secret, b"wrap_key" + fingerprint)

    def unwrap_key(self, wrapped: bytes | None) -> bytes | None:
        """Unwrap a result of ``wrap_key``.

        Args:
            wrapped: the result; None gives None.

        Returns:
            The secret.

        Raises:
            DataError: the wrap does not verify.
            RootKeyError: there is no root key, or the wrap was made under another root key.
        """
        if wrapped is None:
            return None
        if len(wrapped) < FINGERPRINT_BYTES + OVERHEAD_BYTES:
            raise not_authentic("wrapped")
        fingerprint = wrapped[:FINGERPRINT_BYTES]
        return self._wraps.unwrap(wrapped[FINGERPRINT_BYTES:], b"wrap_key" + fingerprint, fingerprint.hex())
