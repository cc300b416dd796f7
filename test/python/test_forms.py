"""The bindings of encrypted values, and the texts that blind indexes are made of, without a server."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pgkeymgr.column.blinding import digest, normalized, subkey
from pgkeymgr.column.forms import describe_key, key_expression
from pgkeymgr.column.place import place_prefix
from pgkeymgr.column.quoting import NAME_BYTES_MAX, new_name, quote_body, quote_literal, quote_name

SECRET = bytes(range(32))


def test_blind_index_vectors() -> None:
    # Of Python's hashlib, written down when they were first made: an index on disk depends on them.
    assert subkey(SECRET).hex() == (
        "e82763b5cf7bd04e3e5a72ef0444a2cc69420385c9ae7762466288af87a8f25d"
        "243e1168d5e1cf7cb5d09a4bd7e1308513ccf06d334a115592b1d3230b8eaead"
    )
    assert digest(subkey(SECRET), "Ann@example.org").hex() == "847bf4076c6d422d9db11e1cbdefd04d"


@pytest.mark.parametrize(
    ("text", "normalize", "expected"),
    [
        ("Straße", "casefold", "strasse"),
        ("E\u0301", "casefold", "\u00e9"),
        ("Ann@Example.ORG", "casefold", "ann@example.org"),
        ("+49 (30) 123-456", "digits", "4930123456"),
        ("\u0661", "digits", "1"),
        (" As it is ", "none", " As it is "),
    ],
)
def test_normalized(text: str, normalize: str, expected: str) -> None:
    assert normalized(text, normalize) == expected


@given(st.text())
def test_normalized_twice_is_once(text: str) -> None:
    for normalize in ("none", "casefold", "digits"):
        once = normalized(text, normalize)
        assert normalized(once, normalize) == once


def test_place_prefix_is_the_column() -> None:
    assert place_prefix(bytes(range(16))) == b"column" + bytes(range(16))


# The SQL of key_expression has these two forms; their bytes are put together here as PostgreSQL does.
_PARTS = st.lists(
    st.one_of(
        st.tuples(st.just("integer"), st.integers(-(2**63), 2**63 - 1)),
        st.tuples(st.just("text"), st.text()),
    ),
    min_size=1,
    max_size=4,
)


def _place(parts: list[tuple[str, int | str]]) -> bytes:
    place = b""
    for _, value in parts:
        if isinstance(value, int):
            place += value.to_bytes(8, "big", signed=True)
        else:
            place += len(value.encode()).to_bytes(4, "big") + value.encode()
    return place


@given(_PARTS, st.data())
def test_no_two_keys_have_the_same_place(parts: list[tuple[str, int | str]], data: st.DataObject) -> None:
    others: list[tuple[str, int | str]] = [
        (kind, data.draw(st.integers(-(2**63), 2**63 - 1)) if kind == "integer" else data.draw(st.text()))
        for kind, _ in parts
    ]
    assert (_place(parts) == _place(others)) == (parts == others)
    encodings = [kind for kind, _ in parts]
    assert describe_key(encodings, _place(parts)) == ", ".join(str(value) for _, value in parts)


def test_lengths_stand_before_what_has_none() -> None:
    assert key_expression("integer", "b.id") == "pg_catalog.int8send((b.id)::pg_catalog.int8)"
    assert key_expression("text", "b.id").startswith("pg_catalog.int4send(pg_catalog.octet_length(")


def test_quoting() -> None:
    assert quote_name('a"b') == '"a""b"'
    assert quote_literal("it's") == "'it''s'"
    assert quote_literal("a\\b") == "E'a\\\\b'"
    assert quote_body("$pgkeymgr$ $pgkeymgr_$") == "$pgkeymgr__$\n$pgkeymgr$ $pgkeymgr_$$pgkeymgr__$"


def test_new_names_are_short_and_new() -> None:
    taken: set[str] = set()
    for start in ("customer", "ü" * 40, "x" * 63, "customer"):
        name = new_name(start, "_encrypted", taken)
        assert len(name.encode()) <= NAME_BYTES_MAX
        taken.add(name)
    assert len(taken) == 4
    assert all(one != other for one, other in combinations(sorted(taken), 2))
