"""The hash of search terms: BLAKE2b, keyed, cut to the number of bits that an index has.

An index of terms stores several small numbers for each value, and a search looks for rows that have the numbers of
its own terms. Each number is the keyed hash of one fact about the value. Terms need not be unique: the value
itself is decrypted and compared before a row is returned, so a collision costs time, and no correctness. Fewer
bits make more facts collide on purpose, and then a thief of the disk cannot be sure which fact a number stands
for.

The key is a sub-key of the index's own data key: BLAKE2b of the data key, with a personalization for each kind of
index that nothing else has. Without the key, not even a guess can be checked. Each term is a hash of its own:
parts of one longer hash could not be compared between values. A keyed BLAKE2b state is made once for each value
and copied for each term, because that takes a third of the time that a new state takes.

Source: RFC 7693.
"""

from __future__ import annotations

from hashlib import blake2b
from struct import unpack

from ..crypto.blake2b import blake2b_of_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


BITS_MIN = 8
BITS_MAX = 32

_DIGEST_BYTES = BITS_MAX // 8
_SUBKEY_BYTES = 64


def derive(secret: bytes, person: bytes) -> bytes:
    """Derive the key of an index of terms.

    Args:
        secret: the data key, 16 to 64 bytes.
        person: the personalization of the kind of index, 16 bytes.

    Returns:
        64 bytes.
    """
    return blake2b_of_key(_SUBKEY_BYTES, secret, person)


def keyed(key: bytes) -> blake2b:
    """Return the state that the hash of each term starts with.

    Args:
        key: of ``derive``.
    """
    return blake2b(digest_size=_DIGEST_BYTES, key=key)


def terms_of(digests: Iterable[bytes], bits: int) -> list[int]:
    """Return the terms of some digests.

    Args:
        digests: of ``keyed``, 4 bytes each.
        bits: the number of bits to keep, 8 to 32.

    Returns:
        Sorted and distinct signed numbers of that many bits: terms of up to 16 bits fit into int2, others into
        int4.
    """
    joined = b"".join(digests)
    numbers = set(unpack(f">{len(joined) // _DIGEST_BYTES}i", joined))
    if bits < BITS_MAX:
        # Python shifts a negative number as if it had endless leading ones, so the sign stays.
        numbers = {number >> (BITS_MAX - bits) for number in numbers}
    return sorted(numbers)
