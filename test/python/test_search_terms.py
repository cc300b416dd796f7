"""The search terms of texts, ordered values and jsonb, without a server: their format, and what they promise."""

import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pgkeymgr.column import json_terms, range_terms, text_terms
from pgkeymgr.column.folding import BREAK, folded
from pgkeymgr.column.json_terms import JsonOptions
from pgkeymgr.column.range_terms import RangeOptions
from pgkeymgr.column.text_terms import TextOptions, literal_parts
from pgkeymgr.errors import DataError, ParameterError

VECTORS = Path(__file__).parents[1] / "data" / "search_terms.json"
SECRET = bytes(range(32))
KEY = bytes(range(64))
# The machine may be busy.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def computed(vector: dict[str, Any]) -> Any:
    """Compute the terms of a vector."""
    module = {"text": text_terms, "range": range_terms, "json": json_terms}[vector["kind"]]
    options: Any = {"text": TextOptions, "range": RangeOptions, "json": JsonOptions}[vector["kind"]](
        **{name: tuple(value) if isinstance(value, list) else value for name, value in vector["options"].items()}
    )
    key = module.subkey(SECRET)
    return getattr(module, vector["function"])(key, *vector["arguments"], options, **vector["named"])


def test_vectors() -> None:
    # Computed once with Python's hashlib, and frozen since then: the terms of an index are on disk.
    vectors = json.loads(VECTORS.read_text())
    assert {vector["kind"] for vector in vectors} == {"text", "range", "json"}
    for vector in vectors:
        assert computed(vector) == vector["terms"], vector


def test_subkeys_differ() -> None:
    assert len({module.subkey(SECRET) for module in (text_terms, range_terms, json_terms)}) == 3


def test_folding_is_frozen() -> None:
    # An index is written with one release of Python and read with another one.
    for normalization, expected in (
        ("casefold", "38d30d3e5a81495eeba6c3d32a16da3948cd33580c0e260039683002de78b078"),
        ("unaccent", "9271dc81a24e1f5fb7d3236baed75d7a0d46b5137fc8279f5aae780142a4140d"),
    ):
        sums = sha256()
        for code in range(0x20000):
            if not 0xD800 <= code < 0xE000:
                sums.update(folded(chr(code), normalization).encode("utf-8", "surrogatepass") + b"\n")
        assert sums.hexdigest() == expected


@pytest.mark.parametrize(
    ("text", "casefold", "unaccent"),
    [
        ("Stra\u00dfe", "strasse", "strasse"),
        ("STRA\u1e9eE", "strasse", "strasse"),
        ("\u0130\u0131I", "iii", "iii"),
        ("\u039f\u03a3\u03c2", "\u03bf\u03c3\u03c3", "\u03bf\u03c3\u03c3"),
        ("\u00c9t\u00e9", "e\u0301te\u0301", "ete"),
        ("\u0141\u00f3d\u017a", "\u0142o\u0301dz\u0301", "lodz"),
        ("\u65e5\u304c\U0001f389", "\u65e5\u304c\U0001f389", "\u65e5\u304c\U0001f389"),
        # Unicode 16 gave U+0264 a capital letter, U+A7CB.
        ("\u0264\ua7cb\U00010d50", BREAK * 3, BREAK * 3),
    ],
)
def test_folded(text: str, casefold: str, unaccent: str) -> None:
    assert folded(text, "none") == text
    assert folded(text, "casefold") == casefold
    assert folded(text, "unaccent") == unaccent


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
PATTERN = st.text(st.sampled_from("ab%_\\\u00e9"), max_size=8)


@PATIENT
@given(TEXT, TEXT)
def test_folding_of_a_concatenation(first: str, second: str) -> None:
    for normalization in ("none", "casefold", "unaccent"):
        assert folded(first + second, normalization) == folded(first, normalization) + folded(
            second, normalization
        )


@PATIENT
@given(TEXT)
def test_folding_ignores_case(text: str) -> None:
    # Python's lower() has the rule for the final sigma.
    assert folded(text.lower(), "casefold") == folded(text, "casefold") or BREAK in folded(
        text.lower() + text, "casefold"
    )


def regular_expression(pattern: str) -> str:
    """Translate a pattern of LIKE in another way than the module does."""

    def translated(found: re.Match[str]) -> str:
        wildcard = {"%": ".*", "_": "."}.get(found[0])
        return wildcard or re.escape(found[0][-1])

    return re.sub(r"\\.|.", translated, pattern, flags=re.DOTALL)


@PATIENT
@given(st.text(st.sampled_from("ab%_\\\u00e9"), max_size=8), PATTERN)
def test_like(value: str, pattern: str) -> None:
    if re.search(r"(?<!\\)(\\\\)*\\\Z", pattern):
        assert literal_parts(pattern) is None
        return
    if re.fullmatch(regular_expression(pattern), value, re.DOTALL):
        for options in (TextOptions("none", 32, (2,)), TextOptions("casefold", 12, (2, 3))):
            wanted = text_terms.pattern_terms(KEY, pattern, options, operator="like")
            assert set(text_terms.value_terms(KEY, value, options)).issuperset(wanted or ())


@pytest.mark.parametrize(
    ("pattern", "parts"),
    [
        ("abc", ["\0abc\0"]),
        ("", ["\0\0"]),
        ("%", ["\0", "\0"]),
        ("ab%", ["\0ab", "\0"]),
        ("a_c%", ["\0a", "c", "\0"]),
        (r"\%\_\\\a", ["\0%_\\a\0"]),
        (r"a\\%", ["\0a\\", "\0"]),
        ("a\\", None),
    ],
)
def test_literal_parts(pattern: str, parts: list[str] | None) -> None:
    assert literal_parts(pattern) == parts


@pytest.mark.parametrize(
    ("pattern", "operator", "is_usable"),
    [
        ("%ab%", "like", False),
        ("%abc%", "like", True),
        ("ab%", "like", True),
        ("a%", "like", False),
        ("a_b_c_d", "like", False),
        ("", "like", True),
        ("a", "like", True),
        ("abc", "ilike", True),
        ("%\u0264bc%", "ilike", False),
        ("ab", "contains", False),
        ("ab", "prefix", True),
        ("ab", "suffix", True),
        ("%", "prefix", False),
    ],
)
def test_patterns_that_an_index_answers(pattern: str, operator: str, is_usable: bool) -> None:
    terms = text_terms.pattern_terms(KEY, pattern, TextOptions(), operator=operator)
    assert bool(terms) is is_usable
    assert terms is None or all(-(2**15) <= term < 2**15 for term in terms)


def test_ilike_needs_a_normalization() -> None:
    assert text_terms.pattern_terms(KEY, "abc", TextOptions("none"), operator="ilike") is None


@PATIENT
@given(TEXT, st.integers(8, 32))
def test_truncated_terms(text: str, bits: int) -> None:
    full = text_terms.value_terms(KEY, text, TextOptions(bits=32))
    cut = text_terms.value_terms(KEY, text, TextOptions(bits=bits))
    assert cut == sorted({term >> (32 - bits) for term in full})
    assert all(-(1 << bits - 1) <= term < 1 << bits - 1 for term in cut)


NUMBER = st.integers(-70, 70)
BOUND = st.none() | NUMBER


@PATIENT
@given(NUMBER, BOUND, BOUND, st.booleans(), st.booleans(), st.integers(1, 4), st.sampled_from([1, 1, 3]))
def test_intervals_of_integers(
    value: int, low: int | None, high: int | None, low_in: bool, high_in: bool, fanout_bits: int, precision: int
) -> None:
    options = RangeOptions("int4", low="-50", high="50", fanout_bits=fanout_bits, precision=precision)
    first, last = (None if bound is None else str(bound) for bound in (low, high))
    wanted = range_terms.interval_terms(KEY, first, last, options, low_inclusive=low_in, high_inclusive=high_in)
    found = set(range_terms.value_terms(KEY, str(value), options)).intersection(wanted)
    is_in = (low is None or value > low or (low_in and value == low)) and (
        high is None or value < high or (high_in and value == high)
    )
    if is_in:
        assert found
    elif precision == 1 and all(abs(each) < 50 for each in (value, low or 0, high or 0)):
        assert not found  # within the domain, each integer is its own interval


@pytest.mark.parametrize("fanout_bits", [1, 2, 4])
def test_covers_are_the_shortest(fanout_bits: int) -> None:
    levels = 6 // fanout_bits + (6 % fanout_bits > 0)

    def shortest(start: int, end: int, level: int, node: int) -> int:
        """Return how many intervals below a node cover its part of the interval."""
        first, last = node << level * fanout_bits, ((node + 1) << level * fanout_bits) - 1
        if last < start or end < first:
            return 0
        if start <= first and last <= end and level < levels:
            return 1
        children = range(node << fanout_bits, (node + 1) << fanout_bits)
        return sum(shortest(start, end, level - 1, child) for child in children)

    for start in range(64):
        for end in range(start, 64):
            cover = list(range_terms._cover(start, end, levels, fanout_bits))
            assert len(cover) == len(set(cover)) == shortest(start, end, levels, 0)


def test_terms_are_few() -> None:
    today = {
        "date": "2026-11-29",
        "timestamp": "2026-11-29 23:51:45",
        "int8": "-5",
        "numeric": "12.50",
        "int4": "7",
    }
    count = {name: len(range_terms.value_terms(KEY, text, RangeOptions(name))) for name, text in today.items()}
    assert count == {"date": 5, "timestamp": 9, "int8": 16, "numeric": 16, "int4": 8}
    # Three months need few of them, and a day is its own interval.
    dates = RangeOptions("date")
    assert len(range_terms.interval_terms(KEY, "2026-01-01", "2026-03-31", dates)) <= 30
    assert len(range_terms.interval_terms(KEY, "2026-01-01", "2026-01-01", dates)) == 1
    assert range_terms.interval_terms(KEY, "2026-01-02", "2026-01-01", dates) == []
    assert (
        range_terms.interval_terms(
            KEY, "2026-01-01", "2026-01-02", dates, low_inclusive=False, high_inclusive=False
        )
        == []
    )
    assert len(text_terms.value_terms(KEY, "x" * 9 + "abcdefghijk", TextOptions(bits=32))) <= 20


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TextOptions("lower"), "normalization"),
        (lambda: TextOptions(bits=33), "bits"),
        (lambda: TextOptions(sizes=()), "sizes"),
        (lambda: TextOptions(sizes=(1,)), "sizes"),
        (lambda: RangeOptions("text"), "type_name"),
        (lambda: RangeOptions("int4", scale=1), "scale"),
        (lambda: RangeOptions("int4", precision=0), "precision"),
        (lambda: RangeOptions("int4", bits=7), "bits"),
        (lambda: RangeOptions("int4", fanout_bits=7), "fanout_bits"),
        (lambda: RangeOptions("inet", low="10.0.0.1"), "low and high"),
        (lambda: RangeOptions("int4", low="5", high="5"), "low must be less"),
        (lambda: RangeOptions("date", low="infinity"), "finite"),
        (lambda: RangeOptions("numeric", high="9" * 60), "domain"),
        (lambda: JsonOptions(bits=0), "bits"),
    ],
)
def test_refused_options(make: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        make()


SCALAR = st.sampled_from(["a", "", "1", 1, 10, 2.5, True, False, None])
DOCUMENT = st.recursive(
    SCALAR,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "0", ""]), inner, max_size=3)
    ),
    max_leaves=8,
)


def is_equal(first: Any, second: Any) -> bool:
    return type(first) is type(second) and bool(first == second)


def contains(document: Any, part: Any, is_top: bool = True) -> bool:
    """Return whether jsonb says so: ``document @> part``."""
    if isinstance(document, list) and is_top and not isinstance(part, list | dict):
        return any(is_equal(element, part) for element in document)
    if isinstance(part, dict):
        return isinstance(document, dict) and all(
            key in document and contains(document[key], value, False) for key, value in part.items()
        )
    if isinstance(part, list):
        return isinstance(document, list) and all(
            any(contains(element, value, False) for element in document) for value in part
        )
    return is_equal(document, part)


@PATIENT
@given(DOCUMENT, DOCUMENT)
def test_containment(document: Any, part: Any) -> None:
    have = set(json_terms.value_terms(KEY, json.dumps(document), JsonOptions()))
    for each in (part, document):
        if contains(document, each):
            assert have.issuperset(json_terms.containment_terms(KEY, json.dumps(each), JsonOptions()) or ())


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("1", "1.0"), ("1", "1e0"), ("100", "1E+2"), ("0.0010", "1e-3"), ("0", "-0.00"), ("-10", "-1.0e1"),
        ('"\\u00e9"', '"\u00e9"'), (' { "a" : [ 1 , 2 ] } ', '{"a":[2,1,1]}'),
    ],
)  # fmt: skip
def test_equal_documents(first: str, second: str) -> None:
    assert json_terms.value_terms(KEY, first, JsonOptions()) == json_terms.value_terms(KEY, second, JsonOptions())


@pytest.mark.parametrize(
    ("first", "second"),
    [("1", '"1"'), ("1", "-1"), ("1", "10"), ("true", '"true"'), ("null", "false"), ('{"a":{}}', '{"a":[]}')],
)
def test_different_documents(first: str, second: str) -> None:
    assert json_terms.value_terms(KEY, first, JsonOptions()) != json_terms.value_terms(KEY, second, JsonOptions())


@pytest.mark.parametrize("text", ["", "{", "[1", '{"a"', "nil", '{"a": -}'])
def test_refused_documents(text: str) -> None:
    with pytest.raises(DataError, match="not valid JSON"):
        json_terms.value_terms(KEY, text, JsonOptions())


@pytest.mark.parametrize("type_name", ["int4", "numeric", "date", "timestamp", "inet"])
@pytest.mark.parametrize("text", ["", "secret", "1_000", "\u0661", "2024-01"])
def test_refused_values(type_name: str, text: str) -> None:
    with pytest.raises(DataError) as refused:
        range_terms.value_terms(KEY, text, RangeOptions(type_name))
    assert not text or text not in str(refused.value)


def test_documents_of_any_depth() -> None:
    # Python's own reader refuses it.
    deep = "[" * 5000 + "1" + "]" * 5000
    have = set(json_terms.value_terms(KEY, deep, JsonOptions()))
    assert have.issuperset(json_terms.containment_terms(KEY, deep[4900:-4900], JsonOptions()) or ())
