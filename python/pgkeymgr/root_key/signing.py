"""The keys that sign checkpoints of the audit trail. They are derived from the root key.

A checkpoint has two signatures: Ed25519, and ML-DSA-65, which a quantum computer could not forge. Each seed is
keyed BLAKE2b-256 of the root key with a personalization of its own. No number and no context from SQL gives one of
them; see the docstring of the package. Where the library has no ML-DSA, there is only the first signature.

Sources: RFC 8032, FIPS 204
"""

from __future__ import annotations

from typing import Any

from ..crypto.blake2b import blake2b_of_key
from ..crypto.libraries import import_library
from . import LocalRootKey
from .memory import wipe

ED25519 = "ed25519"
ML_DSA_65 = "ml-dsa-65"
PUBLIC_KEY_BYTES = {ED25519: 32, ML_DSA_65: 1952}
"""The length of a public key, by the name of the algorithm."""

_SEED_BYTES = 32
_PERSONS = {ED25519: b"pgkeymgred25519s", ML_DSA_65: b"pgkeymgrmldsa65s"}
_ASYMMETRIC = "cryptography.hazmat.primitives.asymmetric"


def _ml_dsa() -> Any:
    """Return the module with ML-DSA, or None. ``cryptography`` has it with OpenSSL 3.5 or AWS-LC."""
    try:
        module = import_library(f"{_ASYMMETRIC}.mldsa")
        module.MLDSA65PrivateKey.from_seed_bytes(bytes(_SEED_BYTES))
    except Exception:
        return None
    return module


def _keys(root_key: LocalRootKey, fingerprint: str) -> dict[str, Any]:
    root = root_key._keys[fingerprint]
    seeds = {name: blake2b_of_key(_SEED_BYTES, root, person) for name, person in _PERSONS.items()}
    ed25519 = import_library(f"{_ASYMMETRIC}.ed25519")
    keys = {ED25519: ed25519.Ed25519PrivateKey.from_private_bytes(seeds[ED25519])}
    ml_dsa = _ml_dsa()
    if ml_dsa is not None:
        keys[ML_DSA_65] = ml_dsa.MLDSA65PrivateKey.from_seed_bytes(seeds[ML_DSA_65])
    for seed in seeds.values():
        wipe(seed)
    return keys


def sign(root_key: LocalRootKey, message: bytes) -> dict[str, bytes]:
    """Sign a message with the keys of the newest root key.

    Args:
        root_key: the root key.
        message: the message. It must begin with text that says what it is, so that no signature of one kind of
            message is valid for another one.

    Returns:
        The signatures, by the name of the algorithm: 64 bytes, and 3,309 bytes.
    """
    return {name: key.sign(message) for name, key in _keys(root_key, root_key.fingerprint).items()}


def public_keys(root_key: LocalRootKey) -> dict[str, dict[str, bytes]]:
    """Return the public keys.

    Args:
        root_key: the root key.

    Returns:
        The public keys, by the fingerprint of the root key, newest first, and the name of the algorithm: 32
        bytes, and 1,952 bytes.
    """
    return {
        fingerprint: {
            name: key.public_key().public_bytes_raw() for name, key in _keys(root_key, fingerprint).items()
        }
        for fingerprint in (root_key.fingerprint, *root_key.previous)
    }


def verify(name: str, public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Return whether a signature is valid.

    Args:
        name: the name of the algorithm.
        public_key: the public key.
        signature: the signature.
        message: the signed message.

    Raises:
        UnsupportedError: the library on this machine has no such algorithm.
        DataError: the public key is malformed.
    """
    from ..errors import DataError, UnsupportedError

    try:
        if name == ED25519:
            key = import_library(f"{_ASYMMETRIC}.ed25519").Ed25519PublicKey.from_public_bytes(public_key)
        else:
            module = _ml_dsa() if name == ML_DSA_65 else None
            if module is None:
                raise UnsupportedError(
                    f"signatures of {name} cannot be verified on this machine",
                    hint="Use the version of cryptography that pgkeymgr installs.",
                )
            key = module.MLDSA65PublicKey.from_public_bytes(public_key)
    except ValueError:
        raise DataError(f"public key of {name} is malformed") from None
    try:
        key.verify(signature, message)
    except import_library("cryptography.exceptions").InvalidSignature:
        return False
    return True
