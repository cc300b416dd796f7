"""Folding of case and accents that is coarser than PostgreSQL's, in every locale and of every release.

PostgreSQL's ILIKE compares ``lower(value)`` with ``lower(pattern)``. The function ``lower`` depends on the
provider and the locale of the collation: in Turkish I becomes U+0131, an i without a dot; in Lithuanian a dot may
be added; a sigma at the end of a word has a form of its own; and "C" changes ASCII letters only. An index must
find all rows for all of them. Its folding F is therefore made so that

- F works character by character: F of a concatenation is the concatenation of F, so that a part of a text becomes
  a part;
- ``F(c) = F(lower(c))`` for each character, locale and context.

Then ``F(value) = F(lower(value))``, and if ``lower(value)`` contains a part of ``lower(pattern)``, F of the value
contains F of this part. So F decomposes letters (the Lithuanian rules separate marks), drops U+0307 (İ is i with
this mark, or i), makes U+0131 the same as i, and folds the rest as Unicode does, where ẞ and ß are ss, and both
small sigmas are the same.

The folding also must not change, since terms are stored: not with Python, whose Unicode data grow, nor with the
server's. New letters with two cases are added to Unicode, and a letter without a capital can receive one. F
therefore folds only letters of scripts with cases that were complete in Unicode 14 (Python 3.11), and pairs whose
letters are both among them. It replaces any other character of these scripts, and any of the rarer scripts above
U+FFFF, by BREAK: no term is made of a part with BREAK. All other characters stay as they are.

Sources: PostgreSQL's like.c and formatting.c; the Unicode Character Database's CaseFolding.txt and
SpecialCasing.txt; The Unicode Character Encoding Stability Policies (case pairs, case folding and decompositions
of a character stay).
"""

from unicodedata import category
from unicodedata import normalize as unicode

NORMALIZATIONS = ("none", "casefold", "unaccent")

BREAK = "\udc00"
"""A character that no text of PostgreSQL has. No term is made of a part that contains it."""

# The characters of scripts with cases that were assigned in Unicode 14, above ASCII.
_KNOWN = """
    80-377 37a-37f 384-38a 38c 38e-3a1 3a3-52f 531-556 559-58a 58d-58f 10a0-10c5 10c7 10cd 10d0-10ff 13a0-13f5
    13f8-13fd 1c80-1c88 1c90-1cba 1cbd-1cbf 1d00-1dbf 1e00-1f15 1f18-1f1d 1f20-1f45 1f48-1f4d 1f50-1f57 1f59 1f5b
    1f5d 1f5f-1f7d 1f80-1fb4 1fb6-1fc4 1fc6-1fd3 1fd6-1fdb 1fdd-1fef 1ff2-1ff4 1ff6-1ffe 2100-218b 24b0-24ff
    2c00-2cf3 2cf9-2d25 2d27 2d2d 2de0-2dff a640-a69f a720-a7ca a7d0-a7d1 a7d3 a7d5-a7d9 a7f2-a7ff ab30-ab6b
    ab70-abbf fb00-fb06 fb13-fb17 fb1d-fb1f ff01-ffbe ffc2-ffc7 ffca-ffcf ffd2-ffd7 ffda-ffdc ffe0-ffe6 ffe8-ffee
    10400-1049d 104a0-104a9 104b0-104d3 104d8-104fb 1e900-1e94b 1e950-1e959 1e95e-1e95f"""
# The blocks that they are in, and those in which scripts with cases may be added.
_CASED = """
    80-58f 10a0-10ff 13a0-13ff 1c80-1cbf 1d00-1dbf 1e00-1fff 2100-218f 24b0-24ff 2c00-2d2f 2de0-2dff a640-a69f
    a720-a7ff ab30-abbf fb00-fb1f ff00-ffef 10000-1efff"""
# Combining marks that the normalization "unaccent" drops, and letters that Unicode does not decompose.
_MARKS = "300-36f 1dc0-1dff 20d0-20ff fe20-fe2f"
_LETTERS = {"ł": "l", "ø": "o", "đ": "d", "ħ": "h", "ŧ": "t", "æ": "ae", "œ": "oe", "ð": "d", "þ": "th"}


def _ranges(text: str) -> list[range]:
    bounds = [part.partition("-") for part in text.split()]
    return [range(int(low, 16), int(high or low, 16) + 1) for low, _, high in bounds]


_KNOWN_RANGES, _CASED_RANGES, _MARK_RANGES = _ranges(_KNOWN), _ranges(_CASED), _ranges(_MARKS)
_ASCII_END = 0x80


def _is_in(ranges: list[range], code: int) -> bool:
    return any(code in each for each in ranges)


def _is_known(text: str) -> bool:
    return all(code < _ASCII_END or _is_in(_KNOWN_RANGES, code) for code in map(ord, text))


def _fold_letter(letter: str) -> str:
    """Return F of a character that has no decomposition."""
    if letter in "\u0131\u0307":
        return "i" if letter == "\u0131" else ""
    lower, upper, folded = letter.lower(), letter.upper(), letter.casefold()
    if letter in "\u00df\u1e9e":
        return folded
    if lower == upper == letter and category(letter) in ("Ll", "Lu", "Lt"):
        return BREAK  # a later Unicode may pair it
    return unicode("NFD", folded) if _is_known(lower + upper + folded) else BREAK


class _Folds(dict[int, str]):
    """A table for ``str.translate``, which fills itself."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if not _is_in(_CASED_RANGES, code) and code >= _ASCII_END:
            folded = character
        elif _is_known(character):
            folded = "".join(map(_fold_letter, unicode("NFD", character)))
        else:
            folded = BREAK
        self[code] = folded = self.further(folded)
        return folded

    def further(self, folded: str) -> str:
        return folded


class _Unaccented(_Folds):
    def further(self, folded: str) -> str:
        kept = (letter for letter in folded if not _is_in(_MARK_RANGES, ord(letter)))
        return "".join(_LETTERS.get(letter, letter) for letter in kept)


_FOLDS = _Folds()
_UNACCENTED = _Unaccented()


def folded(text: str, normalization: str) -> str:
    """Fold a text.

    Args:
        text: any text of PostgreSQL.
        normalization: ``none``, ``casefold``, or ``unaccent``, which folds case and also drops accents.

    Returns:
        The folded text, in which BREAK stands for characters that may be folded in another way one day.
    """
    if normalization == "none":
        return text
    if text.isascii():
        return text.lower()
    return text.translate(_FOLDS if normalization == "casefold" else _UNACCENTED)
