"""Wrapping keys from passphrases: Argon2id, at libsodium's MODERATE limits.

Sources: RFC 9106, https://doc.libsodium.org/password_hashing/default_phf
"""

import os
from typing import NamedTuple, Self

from nacl import bindings

from ..errors import DataError
from ..root_key.wrap import KEY_BYTES

SALT_BYTES = 16
OPSLIMIT = 3
MEMLIMIT = 256 * 1024 * 1024
_OPSLIMIT_MAX = 1000
_MEMLIMIT_MAX = 4 * 1024 * 1024 * 1024


class Stretching(NamedTuple):
    """The parameters that turn a passphrase into a key. The wrap has them, since the defaults may change."""

    salt: bytes
    opslimit: int
    memlimit: int

    @classmethod
    def new(cls) -> Self:
        """Return the present limits with a random salt of 16 bytes."""
        return cls(os.urandom(SALT_BYTES), OPSLIMIT, MEMLIMIT)

    def stretch(self, passphrase: bytes) -> "Stretched":
        """Return a passphrase stretched this way; see ``wrapping_key``."""
        return Stretched(self, self.wrapping_key(passphrase))

    def wrapping_key(self, passphrase: bytes) -> bytes:
        """Return the key that a passphrase gives. The computation takes most of a second and 256 MiB, on purpose.

        Args:
            passphrase: the passphrase, of any length but 0.

        Returns:
            32 bytes.

        Raises:
            DataError: the passphrase is empty, or the limits are weaker than MODERATE or absurd.
        """
        if not passphrase:
            raise DataError("a passphrase must not be empty")
        if (
            len(self.salt) != SALT_BYTES
            or not OPSLIMIT <= self.opslimit <= _OPSLIMIT_MAX
            or not MEMLIMIT <= self.memlimit <= _MEMLIMIT_MAX
        ):
            # With lower limits in the table, an attacker could guess the passphrase of the next wrap cheaply.
            raise DataError("the Argon2id parameters of this wrap are out of range: it was altered")
        return bindings.crypto_pwhash_alg(
            KEY_BYTES,
            passphrase,
            self.salt,
            self.opslimit,
            self.memlimit,
            bindings.crypto_pwhash_ALG_ARGON2ID13,
        )


class Stretched(NamedTuple):
    """A stretched passphrase. Several wraps can share it: their nonces are long enough to be random."""

    stretching: Stretching
    wrapping_key: bytes
