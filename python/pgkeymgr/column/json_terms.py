"""Search terms of jsonb: keyed hashes of the values at paths and of keys, for @>, ? and equality at a path.

A document has a term for each scalar in it, of its path, its type and its value; for each object and array inside
it, of its path and its type; and for each key of its top level. In a path, all elements of an array have the same
name, since @> ignores their order and number. The outermost array has no name, since a search may give a scalar of
it alone: ``'["a"]' @> '"a"'``. A key that ``#>`` would also read as the position of an element also has a term
with the name of elements. Numbers are compared by value: 1, 1.0 and 1e0 are the same.

If PostgreSQL says that a document matches, it has all terms of the search. The reverse does not hold: ``[{"a": 1},
{"b": 2}]`` has the terms of ``[{"a": 1, "b": 2}]``, so the decrypted document has to be compared as well.

The format is frozen by test/data/search_terms.json: BLAKE2b-32 under the sub-key of the path, whose names are
UTF-8 and end with NUL, and of the byte 1, a letter for the type, and the value.

Sources: PostgreSQL's JsonbDeepContains in jsonb_util.c, jsonb_exists in jsonb_op.c and jsonb_get_element in
jsonfuncs.c; jsonb_path_ops, whose GIN index also hashes paths and values.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from json.decoder import scanstring  # type: ignore[attr-defined]

from ..errors import DataError, ParameterError
from .term_hash import BITS_MAX, BITS_MIN, derive, keyed, terms_of

_PERSON = b"pgkeymgrjsonterm"
_TOKEN = re.compile(r'[ \t\n\r]*([{}\[\]:,"]|true|false|null|-?\d[0-9.eE+-]*)', re.ASCII)
_NUMBER = re.compile(r"(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?", re.ASCII)
# PostgreSQL reads such a name as the position of an element: strtol() skips white space and accepts a sign.
_POSITION = re.compile(r"[ \t\n\v\f\r]*[+-]?\d+", re.ASCII)
_ELEMENT = "[]"
# The names of a path that count: a document that is deep must not take the square of its depth.
_NAMES_MAX = 64
_EXPONENT_DIGITS_MAX = 20


@dataclass(frozen=True)
class JsonOptions:
    """The options of an index of jsonb. They belong to the index and never change.

    Attributes:
        bits: the length of a term, 8 to 32. Terms of up to 16 bits fit into int2.

    Raises:
        ParameterError: an option is out of its range.
    """

    bits: int = BITS_MAX

    def __post_init__(self) -> None:
        if not BITS_MIN <= self.bits <= BITS_MAX:
            raise ParameterError(f"bits must be from {BITS_MIN} to {BITS_MAX}")


def subkey(secret: bytes) -> bytes:
    """Derive the key of an index of jsonb terms from its data key of 16 to 64 bytes; returns 64 bytes."""
    return derive(secret, _PERSON)


def value_terms(key: bytes, text: str, options: JsonOptions) -> list[int]:
    """Return the terms of a document.

    Args:
        key: a result of ``subkey``.
        text: the text of a jsonb value.
        options: the options of the index.

    Returns:
        Sorted and distinct signed numbers of ``options.bits`` bits; empty for an empty object or array.

    Raises:
        DataError: the text is not valid JSON.
    """
    return _hashed(key, _facts(text, ()), options)


def containment_terms(key: bytes, text: str, options: JsonOptions) -> list[int] | None:
    """Return the terms that each document has that contains another one (``@>``).

    Args:
        key: a result of ``subkey``.
        text: the text of the jsonb value that is contained.
        options: the options of the index.

    Returns:
        Sorted and distinct terms, at least one; or None if the index cannot help, as for ``{}``, which each object
        contains.

    Raises:
        DataError: the text is not valid JSON.
    """
    return path_terms(key, (), text, options)


def path_terms(key: bytes, path: Sequence[str], text: str, options: JsonOptions) -> list[int] | None:
    """Return the terms that each document has in which a value is at a path (``document #> path = value``).

    Args:
        key: a result of ``subkey``.
        path: keys of objects and positions in arrays.
        text: the text of the jsonb value.
        options: the options of the index.

    Returns:
        Sorted and distinct terms, at least one; or None if the index cannot help.

    Raises:
        DataError: the text is not valid JSON.
    """
    facts = ((names, kind, value) for names, kind, value in _facts(text, path) if kind != _KEY)
    return _hashed(key, facts, options) or None


def key_terms(key: bytes, names: Sequence[str], options: JsonOptions) -> list[int]:
    """Return the terms of top-level keys, or of strings in an array, for ``?``, ``?&`` and ``?|``.

    Args:
        key: a result of ``subkey``.
        names: the keys.
        options: the options of the index.

    Returns:
        Sorted and distinct terms. Documents with all of the keys have all terms, and documents with any of the
        keys have any of the terms.
    """
    return _hashed(key, [((), _KEY, name) for name in names], options)


_Fact = tuple[Sequence[str], str, str]
"""A path, one of the types that follow, and a value; the value is a key of the top level for _KEY."""
_STRING, _NUMERIC, _BOOLEAN, _NULL, _OBJECT, _ARRAY, _KEY = "s", "n", "b", "0", "o", "a", "k"


def _hashed(key: bytes, facts: Iterable[_Fact], options: JsonOptions) -> list[int]:
    digests = []
    # The names of the last path, and the hash up to the end of each. A name can be long, and many facts have it.
    names: list[str] = []
    states = [keyed(key)]
    for path, kind, value in facts:
        same = 0
        for one, other in zip(names, path, strict=False):
            if one is not other and one != other:
                break
            same += 1
        del names[same:], states[same + 1 :]
        for name in path[same:]:
            hashed = states[-1].copy()
            hashed.update(f"{name}\0".encode("utf-8", "surrogatepass"))
            names.append(name)
            states.append(hashed)
        hashed = states[-1].copy()
        hashed.update(f"\1{kind}{value}".encode("utf-8", "surrogatepass"))
        digests.append(hashed.digest())
    return terms_of(digests, options.bits)


def _name(key: str) -> str:
    """Return the name of a key in a path: all elements of arrays have one name."""
    return _ELEMENT if _POSITION.fullmatch(key) else key


def _shown(names: list[str]) -> list[str]:
    """Return the names of a path that count: none for the elements of the outermost array."""
    return names[names[:1] == [_ELEMENT] : _NAMES_MAX + 1]


def _canonical(number: str) -> str:
    """Return the same text for the same number: its digits without zeros at the ends, and its exponent."""
    found = _NUMBER.fullmatch(number)
    if not found:
        raise DataError("the text is not valid JSON")
    sign, whole, decimals, exponent = found.groups()
    digits = (whole + (decimals or "")).lstrip("0")
    kept = digits.rstrip("0")
    if not kept:
        return "0"
    minus = "-" if (exponent or "").startswith("-") else ""
    raised = (exponent or "").lstrip("+-0") or "0"
    if len(raised) > _EXPONENT_DIGITS_MAX:
        # A number in json text, which PostgreSQL compares with no other one, and which Python does not convert.
        return f"{sign}{kept}e{minus}{raised}"
    power = int(minus + raised) - len(decimals or "") + len(digits) - len(kept)
    return f"{sign}{kept}e{power}"


def _scalar(word: str) -> tuple[str, str]:
    """Return the type and the value of a scalar that is no string."""
    if word == "null":
        return _NULL, ""
    return (_BOOLEAN, word) if word in ("true", "false") else (_NUMERIC, _canonical(word))


def _string(text: str, at: int) -> tuple[str, int]:
    """Return the string that begins at a position, after its quotation mark, and the position after its end."""
    try:
        string, end = scanstring(text, at, False)
    except ValueError:
        # The error would hold the document.
        raise DataError("the text is not valid JSON") from None
    return string, end


def _facts(text: str, path: Sequence[str]) -> Iterator[_Fact]:
    """Yield the facts of a JSON text that is at a path. The text is read without recursion, to any depth.

    Raises:
        DataError: the text is not valid JSON.
    """
    names = [_name(each) for each in path]
    containers: list[str] = []
    at, is_key = 0, False
    while found := _TOKEN.match(text, at):
        word, at = found[1], found.end()
        if word in ":,":
            is_key = word == "," and containers[-1:] == ["{"]
            continue
        if word in "{[":
            if names:
                yield _shown(names), _OBJECT if word == "{" else _ARRAY, ""
            containers.append(word)
            is_key = word == "{"
            names += [_ELEMENT] if word == "[" else []
            continue
        if word == '"':
            string, at = _string(text, at)
            if (not names) if is_key else (not _shown(names)):
                yield (), _KEY, string  # also of a string that is the document, or an element of it
            if is_key:
                names.append(_name(string))
                is_key = False
                continue
            yield _shown(names), _STRING, string
        elif word not in "}]":
            yield _shown(names), *_scalar(word)
        elif containers:
            if containers.pop() == "[":
                names.pop()
            is_key = False
        # A value has ended.
        if not containers:
            return
        if containers[-1] == "{":
            names.pop()
    raise DataError("the text is not valid JSON")
