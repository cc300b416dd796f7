"""Search terms beside a real server: a row that PostgreSQL finds is found by its terms, for random searches.

The random numbers have a fixed seed, so each run makes the same searches.
"""

import json
import os
from ipaddress import ip_interface
from random import Random
from typing import Any

import pytest
from conftest import Connection, rows
from pgkeymgr.column import json_terms, range_terms, text_terms
from pgkeymgr.column.folding import BREAK, folded
from pgkeymgr.column.json_terms import JsonOptions
from pgkeymgr.column.range_terms import RangeOptions
from pgkeymgr.column.text_terms import TextOptions

KEY = bytes(range(64))
UNNESTED = "unnest(%s::text[], %s::text[]) AS u (v, p)"

# The collations of the server, of the system, and of ICU for the languages with rules of their own. A server has
# some.
COLLATIONS = (
    "C", "C.utf8", "pg_c_utf8", "pg_unicode_fast", "und-x-icu", "tr-x-icu", "az-x-icu", "lt-x-icu", "el-x-icu",
)  # fmt: skip
# The blocks in which scripts with cases are, or all characters that PostgreSQL's lower() may know.
BLOCKS: tuple[tuple[int, int], ...] = (
    (0x1, 0x58F), (0x10A0, 0x13FF), (0x1C80, 0x2DFF), (0xA640, 0xABFF), (0xFB00, 0xFFEF), (0x10400, 0x105BF),
    (0x10C80, 0x10CFF), (0x118A0, 0x118DF), (0x16E40, 0x16EFF), (0x1E900, 0x1E95F),
)  # fmt: skip
if os.environ.get("PGK_EXHAUSTIVE"):
    BLOCKS = ((0x1, 0xD7FF), (0xE000, 0x10FFFF))
LETTERS = (
    *"aAbiIjJsSkKoO .-1%_\\",
    *"\u0131\u0130\u00df\u1e9e\u017f\u212a\u03a3\u03c3\u03c2\u0307\u0300\u0301\u00cc\u00ec\u012e\u012f",
    *"\u00e9\u00c9\u01c5\u01c4\u0149\ufb01\u0345\u1f88\u1f80\u0264\ua7cb\u10d0\u1c90\u13a0\uab70\u2c2f\u65e5",
    "\U0001f389",
)  # fmt: skip


def collations(connection: Connection) -> list[str]:
    found = {
        name for (name,) in rows(connection, "SELECT collname FROM pg_collation WHERE collencoding IN (-1, 6)")
    }
    return [name for name in COLLATIONS if name in found]


@pytest.mark.parametrize("function", ["lower", "upper"])
def test_folding_is_coarser(connection: Connection, function: str) -> None:
    # ILIKE compares the results of lower(), and Django's icontains those of upper().
    found = collations(connection)
    assert "C" in found
    changed = 0
    codes = " UNION ALL ".join(f"SELECT generate_series({first}, {last})" for first, last in BLOCKS)
    for collation in found:
        # Greek capitals lose their accents.
        is_greek = (function, collation) == ("upper", "el-x-icu")
        normalizations = ["unaccent"] if is_greek else ["casefold", "unaccent"]
        for before, after in (("", ""), ("a", ""), ("a", "b"), ("I", "\u0300")):
            query = f"""
                SELECT c, {function}(c COLLATE "{collation}") FROM (
                    SELECT '{before}' || chr(i) || '{after}' AS c FROM ({codes}) AS u (i)) AS s
                WHERE c <> {function}(c COLLATE "{collation}")"""
            for text, made in rows(connection, query):
                changed += 1
                for normalization in normalizations:
                    assert folded(text, normalization) == folded(made, normalization), (collation, ascii(text))
    assert changed > 1000


def random_text(chance: Random, longest: int) -> str:
    return "".join(chance.choices(LETTERS, k=chance.randrange(longest + 1)))


def random_pattern(chance: Random, value: str) -> str:
    """Return a pattern that often matches a value: a part of it with wildcards, in other cases."""
    start = chance.randrange(len(value) + 1)
    part = value[start:] if chance.random() < 0.5 else value[start : chance.randrange(start, len(value) + 1)]
    part = chance.choice((str, str.upper, str.lower, str.swapcase))(part)
    made = ["" if start == 0 and chance.random() < 0.5 else "%"]
    for character in part:
        if chance.random() < 0.1:
            made.append(chance.choice("_%"))
        else:
            made.append("\\" + character if character in "%_\\" or chance.random() < 0.05 else character)
    if chance.random() < 0.6:
        made.append("%")
    return "".join(made)


def test_like(connection: Connection) -> None:
    chance = Random(1)  # noqa: S311
    values = [random_text(chance, 9) for _ in range(1500)]
    patterns = [random_pattern(chance, value) for value in values]
    options = [TextOptions(normalization, 32, (2, 3)) for normalization in ("none", "casefold", "unaccent")]
    have = {(value, each): set(text_terms.value_terms(KEY, value, each)) for value in values for each in options}
    used = 0
    for collation in collations(connection):
        for operator in ("like", "ilike"):
            query = f'SELECT v, p FROM {UNNESTED} WHERE v {operator} p COLLATE "{collation}"'
            matching = connection.execute(query.encode(), (values, patterns)).fetchall()
            for value, pattern in matching:
                for each in options:
                    wanted = text_terms.pattern_terms(KEY, pattern, each, operator=operator)
                    used += wanted is not None
                    assert have[value, each].issuperset(wanted or ()), (collation, operator, ascii(value), pattern)
    assert used > 5000


def test_parts(connection: Connection) -> None:
    chance = Random(2)  # noqa: S311
    values = [random_text(chance, 6) for _ in range(1500)]
    parts = [value[chance.randrange(3) : chance.randrange(2, 7)] for value in values]
    conditions = {
        "prefix": "starts_with(v, p)",
        "suffix": "right(v, length(p)) = p AND length(p) <= length(v)",
        "contains": "strpos(v, p) > 0",
    }
    used = 0
    for operator, condition in conditions.items():
        query = f"SELECT v, p FROM {UNNESTED} WHERE {condition}"
        for value, part in connection.execute(query.encode(), (values, parts)).fetchall():
            for normalization in ("none", "casefold", "unaccent"):
                options = TextOptions(normalization)
                wanted = text_terms.pattern_terms(KEY, part, options, operator=operator)
                used += wanted is not None
                assert set(text_terms.value_terms(KEY, value, options)).issuperset(wanted or ())
    assert used > 500


def random_values(chance: Random, type_name: str) -> list[str]:
    def day() -> str:
        year = chance.choice(
            (1, 4, 999, 1000, 1582, 1900, 1969, 1970, 2000, 2024, 2024, 2024, 3177, 3870, 3871, 9999)
        )
        return f"{year:04}-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}"

    def time() -> str:
        second = chance.choice(("00", "59", "07.5", "07.000001"))
        return f"{chance.randrange(24):02}:{chance.randrange(60):02}:{second}"

    def whole(bits: int) -> str:
        limit = 1 << chance.choice((3, 8, 12, bits))
        return str(max(-(1 << bits), min(chance.randrange(-limit, limit), (1 << bits) - 1)))

    def address() -> str:
        if chance.random() < 0.3:
            start, bits = chance.choice(("2001:db8", "fe80")), chance.choice((16, 64, 127, 128))
            return f"{start}::{chance.randrange(65536):x}/{bits}"
        third, bits = chance.choice((0, 7, 128, 255)), chance.choice((7, 8, 9, 24, 32))
        return f"10.{chance.randrange(2)}.{third}.{chance.randrange(256)}/{bits}"

    def numeric() -> str:
        digits = f"{whole(63)}.{chance.choice(('', '0', '5', '50', '005', '999', '0000001'))}"
        return chance.choice((digits, digits, digits, f"{whole(40)}e{chance.choice((-30, 20, 60))}", "-0.001"))

    makers = {
        "int2": lambda: whole(15),
        "int4": lambda: whole(31),
        "int8": lambda: whole(63),
        "numeric": numeric,
        "date": day,
        "timestamp": lambda: f"{day()} {time()}",
        "timestamptz": lambda: f"{day()} {time()}{chance.choice(('+00', '-11:30', '+05:45'))}",
        "inet": address,
    }
    values = [makers[type_name]() for _ in range(300)]
    if type_name in ("date", "timestamp", "timestamptz"):
        values += ["infinity", "-infinity", "0044-03-15 BC", "4714-12-31 BC", "5874897-12-31", "2024-02-29"][
            : 6 if type_name == "date" else 3
        ]
    return values + (["NaN", "Infinity", "-Infinity"] if type_name == "numeric" else [])


RANGES = [
    RangeOptions("int2"),
    RangeOptions("int4", fanout_bits=2),
    RangeOptions("int8", precision=10),
    RangeOptions("int8", low="-100", high="1000", fanout_bits=3),
    RangeOptions("numeric"),
    RangeOptions("numeric", scale=2, precision=5),
    RangeOptions("numeric", scale=1, low="-10.5", high="99.95"),
    RangeOptions("date"),
    RangeOptions("date", precision=7, low="1970-01-01", high="2024-06-30"),
    RangeOptions("timestamp"),
    RangeOptions("timestamp", precision=3600, low="1990-01-01 00:00:00"),
    RangeOptions("timestamptz", fanout_bits=6),
    RangeOptions("inet"),
    RangeOptions("inet", precision=256),
]


@pytest.mark.parametrize("options", RANGES, ids=str)
def test_ranges(connection: Connection, options: RangeOptions) -> None:
    chance = Random(3)  # noqa: S311
    name = options.type_name
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET DateStyle = 'ISO, YMD'")
    query = f"SELECT u::{name}::text FROM unnest(%s::text[]) AS u"
    texts = connection.execute(query.encode(), (random_values(chance, name),)).fetchall()
    values = [text for (text,) in texts]
    have = {value: set(range_terms.value_terms(KEY, value, options)) for value in values}
    picked: list[tuple[Any, ...]] = []
    for _ in range(600):
        low, high = chance.choice(values), chance.choice(values)
        # Bounds are often values themselves.
        value = chance.choice((low, high, chance.choice(values)))
        low, high = (None if chance.random() < 0.1 else bound for bound in (low, high))
        picked.append((value, low, high, chance.random() < 0.5, chance.random() < 0.5))
    query = f"""
        SELECT v, lo, hi, lo_in, hi_in
        FROM unnest(%s::text[], %s::text[], %s::text[], %s::bool[], %s::bool[]) AS u (v, lo, hi, lo_in, hi_in)
        WHERE (lo IS NULL OR v::{name} > lo::{name} OR lo_in AND v::{name} = lo::{name})
        AND (hi IS NULL OR v::{name} < hi::{name} OR hi_in AND v::{name} = hi::{name})"""
    columns = [list(column) for column in zip(*picked, strict=True)]
    matching = connection.execute(query.encode(), columns).fetchall()
    for value, low, high, is_low_in, is_high_in in matching:
        wanted = range_terms.interval_terms(
            KEY, low, high, options, low_inclusive=is_low_in, high_inclusive=is_high_in
        )
        assert have[value].intersection(wanted), (value, low, high, is_low_in, is_high_in)
    assert len(matching) > 100


def test_networks(connection: Connection) -> None:
    chance = Random(4)  # noqa: S311
    values = random_values(chance, "inet")
    networks = random_values(chance, "inet")
    options = RangeOptions("inet")
    matching = connection.execute(
        "SELECT v::inet::text, n::inet::text FROM unnest(%s::text[]) AS v, unnest(%s::text[]) AS n"
        " WHERE v::inet <<= n::inet",
        (values[:60], networks[:60]),
    ).fetchall()
    for value, network in matching:
        bounds = ip_interface(network).network
        low, high = str(bounds.network_address), str(bounds.broadcast_address)
        have = range_terms.value_terms(KEY, value, options)
        assert set(have).intersection(range_terms.interval_terms(KEY, low, high, options)), (value, network)
    assert len(matching) > 50


def random_document(chance: Random, depth: int = 3) -> Any:
    kind = chance.random()
    if depth and kind < 0.35:
        keys = chance.choices(("a", "b", "c", "0", "1", "\u00e9", ""), k=chance.randrange(4))
        return {key: random_document(chance, depth - 1) for key in keys}
    if depth and kind < 0.65:
        return [random_document(chance, depth - 1) for _ in range(chance.randrange(4))]
    return chance.choice(
        ("a", "b", "", "1", "true", 1, 1.0, 0, -0.0, 10, 1e1, 1.5, 1e30, True, False, None, '"\\')
    )


def random_part(chance: Random, document: Any) -> Any:
    """Return a document that the given one often contains."""
    if chance.random() < 0.1:
        return random_document(chance, 2)
    if isinstance(document, dict):
        return {key: random_part(chance, value) for key, value in document.items() if chance.random() < 0.7}
    if isinstance(document, list):
        kept = [random_part(chance, value) for value in document if chance.random() < 0.6]
        chance.shuffle(kept)
        return kept[0] if len(kept) == 1 and chance.random() < 0.3 else kept
    return document


def test_documents(connection: Connection) -> None:
    chance = Random(5)  # noqa: S311
    documents = [random_document(chance) for _ in range(2500)]
    parts = [random_part(chance, document) for document in documents]
    paths = [
        chance.choices(("a", "b", "0", "1", "-1", " 1", "+0", ""), k=chance.randrange(1, 4)) for _ in documents
    ]
    options = JsonOptions()
    found = connection.execute(
        """SELECT d::text, p::text, d @> p, d ? 'a', d ?| '{b,""}', d ?& '{a,b}', path, (d #> path)::text
        FROM (SELECT d::jsonb AS d, p::jsonb AS p, path::text[] AS path
            FROM unnest(%s::text[], %s::text[], %s::text[]) AS u (d, p, path)) AS s""",
        (
            [json.dumps(document) for document in documents],
            [json.dumps(part) for part in parts],
            ["{" + ",".join(f'"{name}"' for name in path) + "}" for path in paths],
        ),
    ).fetchall()
    used = [0, 0, 0]
    for document, part, contains, has_a, has_any, has_both, path, at_path in found:
        have = set(json_terms.value_terms(KEY, document, options))
        wanted = json_terms.containment_terms(KEY, part, options)
        if contains:
            used[0] += wanted is not None
            assert have.issuperset(wanted or ()), (document, part)
        for names, is_there, is_any in (
            (["a"], has_a, False),
            (["b", ""], has_any, True),
            (["a", "b"], has_both, False),
        ):
            terms = json_terms.key_terms(KEY, names, options)
            if is_there:
                used[1] += 1
                assert have.intersection(terms) if is_any else have.issuperset(terms), (document, names)
        if at_path is not None:
            terms_at = json_terms.path_terms(KEY, path, at_path, options)
            used[2] += terms_at is not None
            assert have.issuperset(terms_at or ()), (document, path, at_path)
    assert min(used) > 50, used


def test_letters_have_terms() -> None:
    # The test of LIKE compares something: most of its letters are folded, and none is skipped.
    assert sum(BREAK in folded(letter, "casefold") for letter in LETTERS) < 5
