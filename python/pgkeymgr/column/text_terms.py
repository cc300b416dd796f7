"""Search terms of texts: keyed hashes of n-grams, for LIKE and ILIKE.

A value has a term for each part of ``n`` characters (3, unless the options say otherwise), where the start and the
end of the text count as a character each. So ``Anna`` has terms for ``^An``, ``Ann``, ``nna`` and ``na$``. A
pattern has the terms of its literal parts, which stand between its wildcards. If PostgreSQL says that a value
matches, the terms of the value contain all terms of the pattern; the reverse does not hold, so the decrypted value
has to be compared as well.

This needs a collation that is deterministic, and a type in which LIKE compares the stored text (text or varchar;
LIKE on char(n) compares the padding, too). LIKE on citext ignores case: its operator is ``ilike``.

The format is frozen by test/data/search_terms.json: BLAKE2b-32 under the sub-key of the byte n and the UTF-8 of
the part, with NUL for the start and the end, which no text of PostgreSQL contains.

Sources: PostgreSQL's like_match.c and like.c; pg_trgm, which also pads; Cox, "Regular Expression Matching with a
Trigram Index" (2012).
"""

from dataclasses import dataclass

from ..errors import ParameterError
from .folding import BREAK, NORMALIZATIONS, folded
from .term_hash import BITS_MAX, BITS_MIN, derive, keyed, terms_of

OPERATORS = ("like", "ilike", "prefix", "suffix", "contains")

_PERSON = b"pgkeymgrtextterm"
_EDGE = "\0"
_SIZE_MIN, _SIZE_MAX = 2, 8
_DEFAULT_BITS = 16


@dataclass(frozen=True)
class TextOptions:
    """The options of an index of text terms. They belong to the index and never change.

    Attributes:
        normalization: ``none``; ``casefold``, which ILIKE needs; ``unaccent``, which also drops accents.
        bits: the length of a term, 8 to 32. Fewer bits reveal less and find more rows that do not match. Terms of
            up to 16 bits fit into int2.
        sizes: the lengths of the parts in characters, 2 to 8. With (2, 3), patterns of two characters are found,
            and the index is twice as big.

    Raises:
        ParameterError: an option is out of its range.
    """

    normalization: str = "casefold"
    bits: int = _DEFAULT_BITS
    sizes: tuple[int, ...] = (3,)

    def __post_init__(self) -> None:
        if self.normalization not in NORMALIZATIONS:
            raise ParameterError("normalization must be " + ", ".join(NORMALIZATIONS))
        if not BITS_MIN <= self.bits <= BITS_MAX:
            raise ParameterError(f"bits must be from {BITS_MIN} to {BITS_MAX}")
        if not self.sizes or not all(_SIZE_MIN <= size <= _SIZE_MAX for size in self.sizes):
            raise ParameterError(f"sizes must be from {_SIZE_MIN} to {_SIZE_MAX}")


def subkey(secret: bytes) -> bytes:
    """Derive the key of an index of text terms from its data key of 16 to 64 bytes; returns 64 bytes."""
    return derive(secret, _PERSON)


def value_terms(key: bytes, text: str, options: TextOptions) -> list[int]:
    """Return the terms of a value.

    Args:
        key: a result of ``subkey``.
        text: the value.
        options: the options of the index.

    Returns:
        Sorted and distinct signed numbers of ``options.bits`` bits.
    """
    return _hashed(key, [_EDGE + folded(text, options.normalization) + _EDGE], options)


def pattern_terms(key: bytes, pattern: str, options: TextOptions, *, operator: str) -> list[int] | None:
    r"""Return the terms that each matching value has.

    Args:
        key: a result of ``subkey``.
        pattern: for ``like`` and ``ilike`` a pattern of LIKE with the escape character ``\``; for ``prefix``,
            ``suffix`` and ``contains`` the text itself.
        options: the options of the index.
        operator: one of OPERATORS. All except ``ilike`` respect case; with a normalization they also find what a
            comparison that ignores case finds.

    Returns:
        Sorted and distinct terms, at least one; or None if the index cannot help, so that all rows have to be
        compared: the pattern has no part that is long enough, or ``ilike`` is asked of an index without
        normalization.

    Raises:
        ParameterError: the operator is unknown.
    """
    if operator not in OPERATORS:
        raise ParameterError("operator must be " + ", ".join(OPERATORS))
    if operator == "ilike" and options.normalization == "none":
        return None
    if operator in ("like", "ilike"):
        parts = literal_parts(pattern)
        if parts is None:
            return None
    else:
        start = _EDGE if operator == "prefix" else ""
        parts = [start + pattern + (_EDGE if operator == "suffix" else "")]
    return _hashed(key, [folded(part, options.normalization) for part in parts], options) or None


def literal_parts(pattern: str) -> list[str] | None:
    """Return the texts between the wildcards of a pattern of LIKE.

    Args:
        pattern: ``%`` and ``_`` are wildcards, and a backslash makes the next character an ordinary one.

    Returns:
        The texts, with NUL at the start of a text that starts the value, and at the end of a text that ends it; or
        None if the pattern ends with a backslash that escapes nothing, which PostgreSQL may refuse.
    """
    parts: list[str] = []
    part = _EDGE
    characters = iter(pattern)
    for character in characters:
        if character in "%_":
            parts.append(part)
            part = ""
            continue
        if character == "\\":
            character = next(characters, "")  # noqa: PLW2901
            if not character:
                return None
        part += character
    parts.append(part + _EDGE)
    return parts


def _hashed(key: bytes, parts: list[str], options: TextOptions) -> list[int]:
    """Return the terms of the n-grams of some folded texts."""
    pieces = [piece for part in parts for piece in part.split(BREAK)]
    digests: list[bytes] = []
    for size in options.sizes:
        grams = {piece[at : at + size] for piece in pieces for at in range(len(piece) - size + 1)}
        # A whole value that is shorter than a gram is a gram itself.
        grams.update(
            piece for piece in pieces if 1 < len(piece) < size and piece[0] == _EDGE and piece[-1] == _EDGE
        )
        state = keyed(key)
        state.update(bytes((size,)))
        copy = state.copy
        for gram in grams:
            hashed = copy()
            hashed.update(gram.encode())
            digests.append(hashed.digest())
    return terms_of(digests, options.bits)
