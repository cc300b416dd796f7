"""The protocol by which a client sends sealed secrets to a server. Both sides use this module.

The server makes an offer: an X25519 public key and a challenge of 32 random bytes, both for this one message,
and an Ed25519 signature of them under its long-term exchange key. The client checks the signature, and checks
that it has pinned the exchange key. Then the client seals the challenge, followed by each secret, to the offer's
public key. A secret is written as its length in 4 bytes (big-endian) and its bytes.

The protocol is safe for these reasons. Only the session that made the offer has the secret half of the offer's
key, and the session forgets it at the first message that arrives. So a sealed message is of no use in another
session, nor later in the same session. It is of no use to a thief of the exchange key either, since that key
signs and decrypts nothing. The signed text begins with a label that no other signature of pgkeymgr has. A sealed
box does not identify its maker: the connection and PostgreSQL's authentication do.

Sources: https://doc.libsodium.org/public-key_cryptography/sealed_boxes,
https://doc.libsodium.org/public-key_cryptography/public-key_signatures (Ed25519, RFC 8032)
"""

import hmac
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from nacl import bindings
from nacl.exceptions import CryptoError

from ..errors import ChallengeError, DataError, FingerprintError, wrong_length

PUBLIC_KEY_BYTES = 32
SECRET_KEY_BYTES = 32
CHALLENGE_BYTES = 32
SERVER_KEY_BYTES = 32
SIGNATURE_BYTES = 64
LENGTH_BYTES = 4
SEALED_BYTES_MAX = 65536

_LABEL = b"pgkeymgr exchange offer, format 1\0"


class Offer(NamedTuple):
    """The result of ``exchange_offer()``.

    Attributes:
        public: the X25519 public key to seal to, 32 bytes.
        challenge: 32 random bytes, to be sealed before the secrets.
        server_key: the server's long-term Ed25519 public key, 32 bytes.
        signature: the signature of the public key and the challenge under the server key, 64 bytes.
    """

    public: bytes
    challenge: bytes
    server_key: bytes
    signature: bytes


def fingerprint(server_key: bytes) -> str:
    """Return the fingerprint of an exchange key, which clients pin.

    Args:
        server_key: the Ed25519 public key, 32 bytes.

    Returns:
        Its SHA-256 as 64 hexadecimal digits.
    """
    return sha256(server_key).hexdigest()


def sign_offer(public: bytes, challenge: bytes, signing_key: bytes) -> Offer:
    """Make an offer.

    Args:
        public: the X25519 public key, 32 bytes.
        challenge: 32 random bytes.
        signing_key: the server's long-term Ed25519 secret key, 64 bytes (seed and public key).

    Returns:
        The offer.
    """
    signature = bindings.crypto_sign(_LABEL + public + challenge, signing_key)[:SIGNATURE_BYTES]
    return Offer(public, challenge, signing_key[-SERVER_KEY_BYTES:], signature)


def check_offer(offer: Offer, pinned: str) -> None:
    """Refuse an offer that the pinned server has not made.

    Args:
        offer: from the server.
        pinned: the fingerprint of the server's exchange key, from ``exchange_fingerprint()``. Upper case, colons
            and spaces are allowed.

    Raises:
        FingerprintError: the exchange key is not the pinned key, or the signature is not of this offer.
        DataError: a part of the offer has the wrong length.
    """
    sizes = (PUBLIC_KEY_BYTES, CHALLENGE_BYTES, SERVER_KEY_BYTES, SIGNATURE_BYTES)
    for name, part, size in zip(Offer._fields, offer, sizes, strict=True):
        if len(part) != size:
            raise wrong_length(name, part, size)
    found = fingerprint(offer.server_key)
    wanted = pinned.replace(":", "").replace(" ", "").lower()
    if not hmac.compare_digest(found.encode(), wanted.encode()):
        raise FingerprintError(
            f"the server's exchange key has the fingerprint {found}, and the pinned one is {pinned}",
            hint="Nothing was sent. Somebody may stand between you and the server. If the exchange key was "
            "rotated, get the new fingerprint in a way that you trust, and pin it.",
        )
    try:
        bindings.crypto_sign_open(offer.signature + _LABEL + offer.public + offer.challenge, offer.server_key)
    except CryptoError:
        raise FingerprintError(
            "the signature of the offer is not the server's",
            hint="Nothing was sent. Somebody stands between you and the server.",
        ) from None


def seal(offer: Offer, pinned: str, secrets: Sequence[bytes]) -> bytes:
    """Seal secrets to an offer of the pinned server.

    Args:
        offer: from ``exchange_offer()``, in the session that is to get the secrets.
        pinned: the fingerprint of the server's exchange key; see ``check_offer``.
        secrets: at least one secret; a passphrase is given as UTF-8.

    Returns:
        The sealed message, which is valid for one call in that session.

    Raises:
        FingerprintError: the pinned server did not make the offer.
        DataError: a part of the offer has the wrong length, or the secrets are too long.
    """
    check_offer(offer, pinned)
    packed = b"".join(len(secret).to_bytes(LENGTH_BYTES, "big") + secret for secret in secrets)
    sealed = bindings.crypto_box_seal(offer.challenge + packed, offer.public)
    if len(sealed) > SEALED_BYTES_MAX:
        raise DataError(f"sealed must be at most {SEALED_BYTES_MAX} bytes long, not {len(sealed)}")
    return sealed


def open_sealed(sealed: bytes, public: bytes, secret_key: bytes, challenge: bytes) -> list[bytes]:
    """Open a sealed message.

    Args:
        sealed: from ``seal``, or from another program that does the same.
        public: the offer's public key, 32 bytes.
        secret_key: the secret half of that key, 32 bytes.
        challenge: the challenge of the offer, 32 bytes.

    Returns:
        The secrets.

    Raises:
        ChallengeError: it was sealed to another offer, or has another challenge in it.
        DataError: the bytes after the challenge are not secrets with their lengths.
    """
    if len(sealed) > SEALED_BYTES_MAX:
        raise DataError(f"sealed must be at most {SEALED_BYTES_MAX} bytes long, not {len(sealed)}")
    try:
        opened = bindings.crypto_box_seal_open(sealed, public, secret_key)
    except (CryptoError, ValueError, TypeError):
        raise foreign() from None
    if not hmac.compare_digest(opened[:CHALLENGE_BYTES], challenge):
        raise foreign()
    secrets = []
    rest = opened[CHALLENGE_BYTES:]
    while rest:
        size = int.from_bytes(rest[:LENGTH_BYTES], "big")
        if len(rest) < LENGTH_BYTES + size:
            raise DataError("the sealed message is malformed: a secret is shorter than its length says")
        secrets.append(rest[LENGTH_BYTES : LENGTH_BYTES + size])
        rest = rest[LENGTH_BYTES + size :]
    return secrets


def foreign() -> ChallengeError:
    """Make the error for a message that was sealed to something else, or used before."""
    return ChallengeError(
        "the sealed message is not for the present offer of this session",
        hint="Each message needs a new exchange_offer() in the session that gets it, and is good for one call.",
    )
