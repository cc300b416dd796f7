"""Blind indexes: keyed hashes of plaintexts, or of parts of them, which say nothing but where these are equal.

BLAKE2b with a digest of 16 bytes, keyed with a sub-key of the blind index's own data key (BLAKE2b of the data key
with a personalization that nothing else has), over the UTF-8 of the normalized text. Without the key, not even a
guess can be checked. A role that may search or decrypt with the column's key can check guesses.

An equality index with the option ``bits`` has only the first bits of each digest, so that different values have
the same one, and nobody can tell how often each value occurs. A compound index has digests of the values of
several columns together, under a sub-key that no other kind has. Indexes of the other kinds have the search terms
that ``column/term_index.py`` makes.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b

from ..crypto.blake2b import blake2b_of_key
from ..errors import DataError, PrivilegeError, UndefinedError
from ..key.record import Record
from ..key.table import KeyTable
from ..key.use_cache import Conditions

TYPE_CHECKING = False  # see key/named_tuple.py
if TYPE_CHECKING:
    from .term_index import Terms

NORMALIZATIONS = ("none", "casefold", "digits")
DIGEST_BYTES = 16

_PERSON = b"pgkeymgrblindidx"
_COMPOUND_PERSON = b"pgkeymgrcompound"
_SUBKEY_BYTES = 64
_LENGTH_BYTES = 4
_BITS_CHARACTERS_MAX = 3
_MARKS_MAX = 1000
_MALFORMED = "the options of the blind index are malformed"


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
        # A text without digits is kept as it is. Otherwise all such texts would be equal.
        return digits or text
    if normalize == "casefold":
        return text.casefold() if text.isascii() else _composed(_composed(text).casefold())
    return text


def _composed(text: str) -> str:
    """Return the form NFC of a text, in a time that grows with its length.

    Python sorts the marks of a character by inserting one after the other, which no cancel ends: a text of half a
    million marks would take an hour. In marks that are sorted already, nothing is to be inserted.
    """
    from unicodedata import combining, is_normalized, normalize

    if len(text) > _MARKS_MAX and not is_normalized("NFC", text):
        marks: list[str] = []
        parts = []
        for character in "".join(normalize("NFD", each) for each in text):
            if combining(character):
                marks.append(character)
                continue
            parts += sorted(marks, key=combining)
            parts.append(character)
            marks.clear()
        text = "".join([*parts, *sorted(marks, key=combining)])
    return normalize("NFC", text)


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


def compound_subkey(secret: bytes) -> bytes:
    """Derive what a compound blind index is keyed with; see ``subkey``."""
    return blake2b_of_key(_SUBKEY_BYTES, secret, _COMPOUND_PERSON)


def compound_digest(key: bytes, texts: Sequence[str]) -> bytes:
    """Return the compound blind index of several texts.

    The lengths are hashed, too, so that no two lists of texts are the same message.

    Args:
        key: of ``compound_subkey``.
        texts: normalized, each less than 4 GiB of UTF-8.

    Returns:
        16 bytes.
    """
    state = blake2b(digest_size=DIGEST_BYTES, key=key)
    for text in texts:
        encoded = text.encode()
        state.update(len(encoded).to_bytes(_LENGTH_BYTES, "big"))
        state.update(encoded)
    return state.digest()


def compound_options(normalizations: Sequence[str], bits: int | None) -> str:
    """Return the options of a compound index as one constant.

    Args:
        normalizations: that of each column: ``none``, ``casefold`` or ``digits``.
        bits: the number of bits that are left of a digest; None for all.
    """
    return equality_options(",".join(normalizations), bits)


def equality_options(normalization: str, bits: int | None) -> str:
    """Return the options of an equality index as one constant.

    Args:
        normalization: ``none``, ``casefold`` or ``digits``.
        bits: the number of bits that are left of a digest; None for all.
    """
    return normalization if bits is None else f"{normalization}/{bits}"


def truncated(value: bytes, bits: int) -> bytes:
    """Return the first bits of a digest.

    Args:
        value: the digest.
        bits: how many, 1 to 128.

    Returns:
        As many bytes as the bits take; the bits of the last byte that are left over are zero.
    """
    length = -(-bits // 8)
    number = int.from_bytes(value[:length], "big")
    spare = 8 * length - bits
    return (number >> spare << spare).to_bytes(length, "big")


def _bits_of(text: str) -> int:
    """Return the number of bits in the options of an index, 1 to 128.

    Raises:
        DataError: it is another text. A user can call the functions of the triggers with any options, and the
            result has as many bits.
    """
    if text.isdecimal() and len(text) <= _BITS_CHARACTERS_MAX and 0 < (bits := int(text)) <= 8 * DIGEST_BYTES:
        return bits
    raise DataError(_MALFORMED)


class Blinding:
    """The values of blind indexes, for one session."""

    def __init__(self, keys: KeyTable, compounds_under: Callable[[int], list[list[int]]]) -> None:
        """Begin with no values.

        Args:
            keys: the session's.
            compounds_under: ``Registry.compounds_under``.
        """
        self._keys = keys
        self._compounds_under = compounds_under
        self._database = keys.database
        self._uses = keys.uses

    def _blind(self, key_id: int, options: str, value: str) -> bytes:
        """Return the blind index of a value that is written.

        Args:
            key_id: the key's.
            options: of ``equality_options``.
            value: its canonical text.

        Returns:
            16 bytes, or fewer with the option ``bits``.

        Raises:
            PrivilegeError: the current user may neither encrypt nor search with the column's key.
        """
        return self._digest(key_id, options, value, is_search=False)

    def search_for(self, key_id: int, options: str, value: str) -> bytes:
        """Return the blind index of a value that is searched for; see ``_blind``.

        Raises:
            PrivilegeError: the current user may neither search nor decrypt with the column's key.
        """
        return self._digest(key_id, options, value, is_search=True)

    def _digest(self, key_id: int, options: str, value: str, *, is_search: bool) -> bytes:
        which = ("blind", key_id, is_search, self._database.user())
        key: bytes | None = self._uses.get(which)
        if key is None:
            secret, conditions = self._secret(key_id, is_search=is_search)
            key = subkey(secret)
            self._uses.put(which, key, conditions)
        if options != "none":
            normalization, _, bits = options.partition("/")
            value = normalized(value, normalization)
            if bits:
                return truncated(digest(key, value), _bits_of(bits))
        return digest(key, value)

    def _blind_compound(self, key_id: int, options: str, values: Sequence[str | None]) -> bytes | None:
        """Return the compound blind index of values that are written.

        Args:
            key_id: the key's.
            options: of ``compound_options``.
            values: the canonical text of the value of each column.

        Returns:
            16 bytes, or fewer with the option ``bits``; None if a value is None.

        Raises:
            PrivilegeError: the current user may neither encrypt nor search with the key of one of the columns.
            UndefinedError: no compound index has the key.
        """
        return self._compound_digest(key_id, options, values, is_search=False)

    def search_for_compound(self, key_id: int, options: str, values: Sequence[str | None]) -> bytes | None:
        """Return the compound blind index of values that are searched for; see ``_blind_compound``.

        Raises:
            PrivilegeError: the current user may neither search nor decrypt with the key of one of the columns.
        """
        return self._compound_digest(key_id, options, values, is_search=True)

    def _compound_digest(
        self, key_id: int, options: str, values: Sequence[str | None], *, is_search: bool
    ) -> bytes | None:
        texts = [value for value in values if value is not None]
        if len(texts) < len(values):
            return None
        which = ("compound", key_id, is_search, self._database.user())
        key: bytes | None = self._uses.get(which)
        if key is None:
            secret, conditions = self._secret(key_id, is_search=is_search)
            conditions = _both(conditions, self._check_columns(key_id, is_search=is_search))
            key = compound_subkey(secret)
            self._uses.put(which, key, conditions)
        normalizations, _, bits = options.partition("/")
        each = normalizations.split(",")
        if len(each) != len(texts) or not set(each) <= set(NORMALIZATIONS):
            raise DataError(_MALFORMED)
        found = compound_digest(key, list(map(normalized, texts, each)))
        return truncated(found, _bits_of(bits)) if bits else found

    def _check_columns(self, key_id: int, *, is_search: bool) -> Conditions:
        """Refuse a user who may not use the keys of all columns of a compound index.

        The digest compares the values of all of them, and the key of the index is made for the first one. If
        several indexes were given one key, the columns of one of them are enough.

        Returns:
            The conditions under which the user may.

        Raises:
            PrivilegeError: the user may not use one of the keys for that.
            UndefinedError: no compound index has the key.
        """
        refused: PrivilegeError | None = None
        for families in self._compounds_under(key_id):
            try:
                records = [self._keys.find_current(family) for family in families]
                for record in records:
                    _check_use(record, is_search=is_search)
            except PrivilegeError as error:
                refused = refused or error
                continue
            roles = tuple(role for record in records for role in record.roles)
            return Conditions(None, roles, is_for_statement=False)
        if refused is not None:
            raise refused
        raise UndefinedError(f"no compound blind index has key {key_id}")

    def _secret(self, key_id: int, *, is_search: bool) -> tuple[bytes, Conditions]:
        """Return the secret of a key, and the conditions under which the current user may use it.

        Args:
            key_id: the key's.
            is_search: whether it is to search, and not to write.

        Raises:
            PrivilegeError: the current user may not use it for that.
        """
        record = self._keys.find(key_id, with_wraps=False)
        _check_use(record, is_search=is_search)
        record.check_state()
        return self._keys.keyring.secret(record, self._keys.unlock), Conditions.of(record)

    def _terms(self, key_id: int, options: str, value: str) -> list[int]:
        """Return the search terms of a value that is written.

        Args:
            key_id: the key's.
            options: the text of the options of ``column/term_index.py``.
            value: its canonical text.

        Returns:
            The terms in order, each once.

        Raises:
            PrivilegeError: the current user may neither encrypt nor search with the column's key.
        """
        return self.terms_of(key_id, options, is_search=False).of_value(value)

    def terms_of(self, key_id: int, options: str, *, is_search: bool) -> "Terms":
        """Return the maker of the search terms of an index.

        Args:
            key_id: the id of the key of the index.
            options: see ``_terms``.
            is_search: whether it is to search, and not to write.

        Raises:
            PrivilegeError: the current user may not use the key for that.
        """
        which = ("terms", key_id, options, is_search, self._database.user())
        found: Terms | None = self._uses.get(which)
        if found is None:
            from .term_index import terms_under

            secret, conditions = self._secret(key_id, is_search=is_search)
            found = terms_under(secret, options)
            self._uses.put(which, found, conditions)
        return found


def _check_use(record: Record, *, is_search: bool) -> None:
    """Refuse a user who may not search with a key, or neither write nor search."""
    if is_search or not record.may_encrypt:
        record.check_search()


def _both(one: Conditions, other: Conditions) -> Conditions:
    """Return the conditions under which two answers of the cache stay true."""
    return one._replace(roles=(*one.roles, *other.roles))
