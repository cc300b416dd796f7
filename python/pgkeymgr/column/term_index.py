"""The kinds of blind indexes that have search terms: their options, and the makers of terms under a key.

The options of an index are stored as a JSON object, which is a constant in the triggers of its table. It has all
options, also those with default values, so that a later version with other defaults makes the same terms.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, Protocol

from ..errors import DataError, ParameterError, UnsupportedError
from . import json_terms, range_terms, text_terms
from .folding import BREAK, folded
from .index_kinds import JSON, RANGE, TEXT
from .json_terms import JsonOptions
from .range_terms import RangeOptions
from .text_terms import TextOptions

SIMILAR = "similar"

_TEXT_BITS_MAX = 16
_SIMILAR_NORMALIZATION = "casefold"
_SIMILAR_SIZE = 3
_TEXT_TYPES = ("text", "varchar")
_JSON_TYPES = ("json", "jsonb")

_OPTIONS = {TEXT: TextOptions, RANGE: RangeOptions, JSON: JsonOptions}
_FIXED = {"normalization", "type_name"}
_TEXTS = {"normalization", "type_name", "low", "high"}
_MAY_BE_NULL = {"low", "high"}
_ARRAYS = {"sizes"}


class Terms(Protocol):
    """The maker of the search terms of one index."""

    def of_value(self, value: str) -> list[int]:
        """Return the terms of a value, by its canonical text."""


class TextTerms:
    """The maker of the terms of a text index."""

    def __init__(self, key: bytes, options: TextOptions) -> None:
        self._key = key
        self._options = options

    def of_value(self, value: str) -> list[int]:
        """Return the terms of a value."""
        return text_terms.value_terms(self._key, value, self._options)

    def of_pattern(self, pattern: str, operator: str) -> list[int] | None:
        """Return the terms of a search; None if all values have to be compared.

        Raises:
            ParameterError: there is no such operator.
        """
        if operator == SIMILAR:
            return self._of_similar(pattern)
        if operator not in text_terms.OPERATORS:
            raise ParameterError("operator must be " + ", ".join((*text_terms.OPERATORS, SIMILAR)))
        return text_terms.pattern_terms(self._key, pattern, self._options, operator=operator)

    def _of_similar(self, other: str) -> list[int]:
        """Return terms of which each text that is similar to another one has at least one."""
        options = self._options
        if options.normalization != _SIMILAR_NORMALIZATION or min(options.sizes) > _SIMILAR_SIZE:
            raise UnsupportedError(
                "the blind index cannot find similar texts",
                hint=f"It needs the normalization {_SIMILAR_NORMALIZATION}, and parts of {_SIMILAR_SIZE}"
                " characters or fewer.",
            )
        return text_terms.value_terms(self._key, other, options)


def text_similarity(one: str, other: str) -> float:
    """Return the share of the parts of three characters of two texts that both have.

    The start and the end of a text count as a character each. Case does not matter.

    Returns:
        From 0 to 1.
    """
    first, second = _parts(one), _parts(other)
    every = first | second
    return len(first & second) / len(every) if every else 0.0


def _parts(text: str) -> set[str]:
    # As text_terms makes them, so that two texts that have one in common also have a term in common.
    pieces = f"\0{folded(text, _SIMILAR_NORMALIZATION)}\0".split(BREAK)
    return {piece[at : at + _SIMILAR_SIZE] for piece in pieces for at in range(len(piece) - _SIMILAR_SIZE + 1)}


class RangeTerms:
    """The maker of the terms of a range index."""

    def __init__(self, key: bytes, options: RangeOptions) -> None:
        self._key = key
        self._options = options

    def of_value(self, value: str) -> list[int]:
        """Return the terms of a value."""
        return range_terms.value_terms(self._key, value, self._options)

    def of_interval(self, low: str | None, high: str | None) -> list[int]:
        """Return the terms of an interval with both its ends, by their canonical texts; None for no end."""
        return range_terms.interval_terms(self._key, low, high, self._options)


class JsonTerms:
    """The maker of the terms of a json index."""

    def __init__(self, key: bytes, options: JsonOptions) -> None:
        self._key = key
        self._options = options

    def of_value(self, value: str) -> list[int]:
        """Return the terms of a value."""
        return json_terms.value_terms(self._key, value, self._options)

    def of_part(self, part: str) -> list[int] | None:
        """Return the terms that each value has that contains a part; None if all values have to be compared."""
        return json_terms.containment_terms(self._key, part, self._options)

    def of_path(self, path: list[str], expected: str) -> list[int] | None:
        """Return the terms that each value has with another one at a path; None like ``of_part``."""
        return json_terms.path_terms(self._key, path, expected, self._options)

    def of_key(self, name: str) -> list[int]:
        """Return the terms that each value has with a key at its top."""
        return json_terms.key_terms(self._key, [name], self._options)


def types_of(kind: str) -> tuple[str, ...]:
    """Return the names of the types whose values a kind is for."""
    if kind == RANGE:
        return range_terms.TYPES
    return _TEXT_TYPES if kind == TEXT else _JSON_TYPES


def options_text(kind: str, type_name: str, normalize: str | None, given: Mapping[str, Any] | None) -> str:
    """Return the options of an index as they are stored.

    Args:
        kind: ``text``, ``range`` or ``json``.
        type_name: the name of the type of the values.
        normalize: for text, the normalization, or None for the default; otherwise ``none`` or None.
        given: the options that the user gives, by name.

    Raises:
        ParameterError: there is no such option, it is of another type, or it is out of its range.
    """
    options: dict[str, Any] = {}
    if kind == RANGE:
        options["type_name"] = type_name
    if kind == TEXT:
        if normalize is not None:
            options["normalization"] = normalize
    elif normalize not in (None, "none"):
        raise ParameterError(f"normalize must be none for a blind index of kind {kind}")
    names = [each.name for each in fields(_OPTIONS[kind]) if each.name not in _FIXED]
    for name, value in (given or {}).items():
        if name not in names:
            raise ParameterError(
                f'a blind index of kind {kind} has no option "{name}"', hint=f"The options are {', '.join(names)}."
            )
        options[name] = _checked(name, value)
    made = _OPTIONS[kind](**options)
    if isinstance(made, TextOptions) and made.bits > _TEXT_BITS_MAX:
        raise ParameterError(f"bits must be at most {_TEXT_BITS_MAX} for a blind index of kind text")
    return json.dumps({"kind": kind, **asdict(made)}, ensure_ascii=True, sort_keys=True, separators=(",", ":"))


def _checked(name: str, value: Any) -> Any:
    """Return the value of an option that comes from JSON.

    Raises:
        ParameterError: it is of another type than the option.
    """
    if name in _ARRAYS:
        if isinstance(value, list) and all(type(each) is int for each in value):
            return tuple(value)
        raise ParameterError(f"{name} must be an array of integers")
    if name in _TEXTS:
        if isinstance(value, str) or (value is None and name in _MAY_BE_NULL):
            return value
        raise ParameterError(f"{name} must be a string")
    # In Python, true is an integer, too.
    if type(value) is int:
        return value
    raise ParameterError(f"{name} must be an integer")


def terms_under(secret: bytes, text: str) -> TextTerms | RangeTerms | JsonTerms:
    """Return the maker of the terms of an index.

    Args:
        secret: the data key of the index, 16 to 64 bytes.
        text: of ``options_text``.

    Raises:
        DataError: the text is another one. A user can call the functions of the triggers with any text.
        ParameterError: it is, except that an option is of another type, or out of its range.
    """
    try:
        found: dict[str, Any] = json.loads(text)
        kind = found.pop("kind")
        options: dict[str, Any] = {name: _checked(name, value) for name, value in found.items()}
        if kind == TEXT:
            return TextTerms(text_terms.subkey(secret), TextOptions(**options))
        if kind == RANGE:
            return RangeTerms(range_terms.subkey(secret), RangeOptions(**options))
        if kind == JSON:
            return JsonTerms(json_terms.subkey(secret), JsonOptions(**options))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass  # Raised below, outside this handler.
    raise DataError("the options of the blind index are malformed")
