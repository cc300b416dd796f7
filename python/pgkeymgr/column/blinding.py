"""Blind indexes: keyed hashes of plaintexts, which are equal where the plaintexts are, and say nothing else.

BLAKE2b with a digest of 16 bytes, keyed with a sub-key of the blind index's own data key (BLAKE2b of the data key
with a personalization that nothing else has), over the UTF-8 of the normalized text. Without the key, not even a
guess can be checked. A role that may search or decrypt with the column's key can check guesses.
"""

from hashlib import blake2b

from ..crypto.blake2b import blake2b_of_key
from ..key.table import KeyTable
from ..key.use_cache import Conditions

NORMALIZATIONS = ("none", "casefold", "digits")
DIGEST_BYTES = 16

_PERSON = b"pgkeymgrblindidx"
_SUBKEY_BYTES = 64


def normalized(text: str, normalize: str) -> str:
    """Normalize a text.

    Args:
        text: any.
        normalize: ``none``; ``casefold``, after which texts that differ in case, or in how Unicode composes
            their characters, are the same; ``digits``, which leaves only the decimal digits
            of any script, as 0 to 9, and a text without digits as it is.

    Returns:
        The normalized text.
    """
    if normalize == "digits":
        from unicodedata import decimal

        digits = "".join(str(decimal(character)) for character in text if character.isdecimal())
        # A text without digits stands for itself: otherwise all of them would be equal.
        return digits or text
    if normalize == "casefold":
        from unicodedata import normalize as unicode

        return unicode("NFC", unicode("NFC", text).casefold())
    return text


def subkey(secret: bytes) -> bytes:
    """Derive what a blind index is keyed with.

    Args:
        secret: the data key, 16 to 64 bytes.

    Returns:
        64 bytes.
    """
    return blake2b_of_key(_SUBKEY_BYTES, secret, _PERSON)


def digest(key: bytes, text: str) -> bytes:
    """Return the blind index of a text.

    Args:
        key: of ``subkey``.
        text: normalized.

    Returns:
        16 bytes.
    """
    return blake2b(text.encode(), digest_size=DIGEST_BYTES, key=key).digest()


class Blinding:
    """The values of blind indexes, for one session."""

    def __init__(self, keys: KeyTable) -> None:
        self._keys = keys
        self._database = keys.database
        self._uses = keys.uses

    def _blind(self, key_id: int, normalize: str, value: str) -> bytes:
        """Return the blind index of a value that is written.

        Args:
            key_id: the key's.
            normalize: ``none``, ``casefold`` or ``digits``.
            value: its canonical text.

        Returns:
            16 bytes.

        Raises:
            PrivilegeError: the current user may neither encrypt nor search with the column's key.
        """
        return self._digest(key_id, normalize, value, is_search=False)

    def search_for(self, key_id: int, normalize: str, value: str) -> bytes:
        """Return the blind index of a value that is searched for; see ``_blind``.

        Raises:
            PrivilegeError: the current user may neither search nor decrypt with the column's key.
        """
        return self._digest(key_id, normalize, value, is_search=True)

    def _digest(self, key_id: int, normalize: str, value: str, *, is_search: bool) -> bytes:
        which = ("blind", key_id, is_search, self._database.user())
        key: bytes | None = self._uses.get(which)
        if key is None:
            record = self._keys.find(key_id, with_wraps=False)
            if is_search or not record.may_encrypt:
                record.check_search()
            record.check_state()
            key = subkey(self._keys.keyring.secret(record, self._keys.unlock))
            self._uses.put(which, key, Conditions.of(record))
        if normalize != "none":
            value = normalized(value, normalize)
        return digest(key, value)
