"""Search terms of ordered values: keyed hashes of the intervals that contain them, for <, <=, >=, > and BETWEEN.

A value becomes a position in the domain of the index, from 0. The domain is cut into intervals of several sizes:
the smallest has the width ``precision``, and each larger one holds 16 of the next smaller ones (2 to the power of
``fanout_bits``). A value has a term for each interval that contains it, one of each size. A search has the terms
of the fewest intervals that together cover what is searched for, and a value matches if it has any of them:
``terms && interval_terms``.

The position never falls when the value grows, in PostgreSQL's order of the type. It needs not grow: values outside
of the domain are at its ends, and values between two positions at the lower one. So all values that PostgreSQL
finds are found; the decrypted value has to be compared as well.

The format is frozen by test/data/search_terms.json: BLAKE2b-32 under the sub-key of the name of the order
(``number``, ``date``, ``timestamp``, ``inet4``, ``inet6``), NUL, the number of the size as a byte and the
interval's number as 16 bytes, most significant byte first.

Sources: PostgreSQL's network_cmp_internal in network.c and cmp_numerics in numeric.c; Hinnant, "chrono-Compatible
Low-Level Date Algorithms"; Demertzis and others, "Practical Private Range Search Revisited" (2016).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from ipaddress import IPv4Network, IPv6Network, ip_interface

from ..errors import DataError, ParameterError
from .term_hash import BITS_MAX, BITS_MIN, derive, keyed, terms_of

TYPES = ("int2", "int4", "int8", "numeric", "date", "timestamp", "timestamptz", "inet")

_PERSON = b"pgkeymgrrangeter"
_DAY_SECONDS = 86_400
_NUMBER_BYTES = 16
_FANOUT_BITS_MAX = 6
_SCALE_MAX = 1000
_INFINITE = {"Infinity": 1, "infinity": 1, "NaN": 1, "-Infinity": -1, "-infinity": -1}
_DATE = re.compile(
    r"(?P<year>\d{4,})-(?P<month>\d\d)-(?P<day>\d\d)"
    r"(?:[ T](?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d(?:\.\d+)?)"
    r"(?P<zone>[+-]\d\d(?::\d\d){0,2})?)?(?P<era> BC)?",
    re.ASCII,
)
_INTEGER = re.compile(r"-?\d{1,19}", re.ASCII)
_NUMERIC = re.compile(r"[+-]?\d+(?:\.\d*)?", re.ASCII)


@dataclass(frozen=True)
class RangeOptions:
    """The options of an index of ordered values. They belong to the index and never change.

    Attributes:
        type_name: one of TYPES.
        scale: for numeric, the digits after the point that the index distinguishes, 0 to 1000.
        precision: the width of the smallest interval in units of the type: 1 for integers, 10 to the power of
            ``-scale`` for numeric, a day for date, a second for timestamps, an address for inet. A greater one
            reveals less, and finds more rows that do not match.
        low: the first value of the domain, as text; None for that of the type (not for inet).
        high: the last value of the domain, likewise.
        bits: the length of a term, 8 to 32. Terms of up to 16 bits fit into int2.
        fanout_bits: an interval holds 2 to the power of this number of the next smaller ones, 1 to 6. Fewer bits
            make searches shorter, and the terms of each value more.

    Raises:
        ParameterError: an option is out of its range, or is not a value of the type.
    """

    type_name: str
    scale: int = 0
    precision: int = 1
    low: str | None = None
    high: str | None = None
    bits: int = BITS_MAX
    fanout_bits: int = 4

    def __post_init__(self) -> None:
        if self.type_name not in TYPES:
            raise ParameterError("type_name must be " + ", ".join(TYPES))
        if not 0 <= self.scale <= _SCALE_MAX:
            raise ParameterError(f"scale must be from 0 to {_SCALE_MAX}")
        if self.scale and self.type_name != "numeric":
            raise ParameterError("scale must be 0 for other types than numeric")
        if self.precision < 1:
            raise ParameterError("precision must be at least 1")
        if not BITS_MIN <= self.bits <= BITS_MAX:
            raise ParameterError(f"bits must be from {BITS_MIN} to {BITS_MAX}")
        if not 1 <= self.fanout_bits <= _FANOUT_BITS_MAX:
            raise ParameterError(f"fanout_bits must be from 1 to {_FANOUT_BITS_MAX}")
        if self.type_name == "inet" and (self.low is not None or self.high is not None):
            raise ParameterError("low and high must be NULL for inet")
        first, last = _domain(self)
        if first >= last:
            raise ParameterError("low must be less than high")
        if last - first >= 1 << (8 * _NUMBER_BYTES):
            raise ParameterError(
                "the domain from low to high must have fewer than 2 to the power of 128 positions"
            )


def subkey(secret: bytes) -> bytes:
    """Derive the key of an index of range terms from its data key of 16 to 64 bytes; returns 64 bytes."""
    return derive(secret, _PERSON)


def value_terms(key: bytes, value: str, options: RangeOptions) -> list[int]:
    """Return the terms of a value.

    Args:
        key: a result of ``subkey``.
        value: its canonical text: dates and times in the style ISO, timestamptz with its offset.
        options: the options of the index.

    Returns:
        Sorted and distinct signed numbers of ``options.bits`` bits, one for each size of intervals.

    Raises:
        DataError: the text is not a value of the type.
    """
    tree = _tree_of(options, value)
    leaf = tree.leaf(value)
    nodes = ((level, leaf >> (level * options.fanout_bits)) for level in range(tree.levels))
    return _hashed(key, [(tree.name, *node) for node in nodes], options)


def interval_terms(
    key: bytes,
    low: str | None,
    high: str | None,
    options: RangeOptions,
    *,
    low_inclusive: bool = True,
    high_inclusive: bool = True,
) -> list[int]:
    """Return terms of which each value in an interval has at least one.

    Args:
        key: a result of ``subkey``.
        low: the canonical text of the lower bound; None for no bound.
        high: the canonical text of the upper bound; None for no bound.
        options: the options of the index.
        low_inclusive: whether the lower bound itself is in the interval.
        high_inclusive: whether the upper bound itself is in the interval.

    Returns:
        Sorted and distinct terms; empty if no value is in the interval.

    Raises:
        DataError: a bound is not a value of the type.
    """
    nodes = []
    trees = _trees(options)
    first = _tree_of(options, low) if low is not None else trees[0]
    last = _tree_of(options, high) if high is not None else trees[-1]
    for tree in trees[trees.index(first) : trees.index(last) + 1]:
        start = tree.leaf(low, after=not low_inclusive) if low is not None and tree == first else 0
        end = tree.leaf(high, before=not high_inclusive) if high is not None and tree == last else tree.last_leaf
        nodes += [(tree.name, *node) for node in _cover(start, end, tree.levels, options.fanout_bits)]
    return _hashed(key, nodes, options)


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_interface(text).network
    except ValueError:
        # The message would have the value.
        raise DataError("the text is not a network address") from None


def _cover(start: int, end: int, levels: int, fanout_bits: int) -> Iterator[tuple[int, int]]:
    """Yield the fewest intervals, as size and number, that cover the smallest ones from ``start`` to ``end``."""
    siblings = (1 << fanout_bits) - 1
    if start > end:
        return
    for level in range(levels):
        if level == levels - 1:
            yield from ((level, node) for node in range(start, end + 1))
            return
        while start <= end and start & siblings:
            yield level, start
            start += 1
        while start <= end and end & siblings != siblings:
            yield level, end
            end -= 1
        if start > end:
            return
        start >>= fanout_bits
        end >>= fanout_bits


@dataclass(frozen=True)
class _Tree:
    """The intervals over one domain.

    Attributes:
        name: the name of the order.
        first: the position of the domain's first value, in units of the type.
        last: the position of the domain's last value.
        options: the options of the index.
    """

    name: str
    first: int
    last: int
    options: RangeOptions

    @property
    def last_leaf(self) -> int:
        return (self.last - self.first) // self.options.precision

    @property
    def levels(self) -> int:
        """The number of sizes. The largest intervals are not more than 2 to the power of ``fanout_bits``."""
        return max(1, -(-self.last_leaf.bit_length() // self.options.fanout_bits))

    def leaf(self, value: str, *, after: bool = False, before: bool = False) -> int:
        """Return the number of the smallest interval that has a value.

        Args:
            value: the text of the value.
            after: return the first that can have a greater value.
            before: return the last that can have a smaller value.
        """
        place = _position(self.options, value)
        if isinstance(place, int) or place.denominator == 1:
            place = (
                int(place) + (after and _is_exact(self.options)) - (before and not self.name.startswith("inet"))
            )
        offset = min(max(place - self.first, 0), self.last - self.first)
        return int(offset // self.options.precision)


def _is_exact(options: RangeOptions) -> bool:
    """Return whether different values within the domain have different positions.

    An upper bound that is excluded needs less than that: no smaller value is at its position, if it is an integer.
    This does not hold for networks: 10.0.0.0/7 is less than 10.0.0.0/8.
    """
    return options.type_name in ("int2", "int4", "int8", "date")


def _domain(options: RangeOptions) -> tuple[int, int]:
    """Return the positions of the first and the last value of the domain."""
    first, last = _DOMAINS[options.type_name]
    if options.low is not None:
        first = _bound(options, options.low)
    if options.high is not None:
        last = _bound(options, options.high)
    return first, last


def _bound(options: RangeOptions, text: str) -> int:
    if text in _INFINITE:
        raise ParameterError("low and high must be finite")
    return int(_position(options, text) // 1)


def _trees(options: RangeOptions) -> list[_Tree]:
    """Return the trees of an index, in the order of their values."""
    if options.type_name == "inet":
        return [_Tree("inet4", 0, 2**32 - 1, options), _Tree("inet6", 0, 2**128 - 1, options)]
    return [_Tree(_ORDERS[options.type_name], *_domain(options), options)]


def _tree_of(options: RangeOptions, value: str) -> _Tree:
    trees = _trees(options)
    return trees[-1] if ":" in value else trees[0]


def _position(options: RangeOptions, value: str) -> int | Fraction:
    """Return the position of a value in units of its type, from a zero that the type has.

    Raises:
        DataError: the text is not a value of the type.
    """
    if options.type_name == "inet":
        return int(_network(value).network_address)
    if options.type_name.startswith("int"):
        if not _INTEGER.fullmatch(value):
            raise DataError("the text is not an integer")
        return int(value)
    if value in _INFINITE:
        return _INFINITE[value] * _BEYOND
    if options.type_name == "numeric":
        if not _NUMERIC.fullmatch(value):
            raise DataError("the text is not a numeric value")
        return _scaled(value, options.scale)
    return _time(options, value)


def _scaled(value: str, scale: int) -> int | Fraction:
    """Return a number times 10 to the power of the scale, or a fraction between the same two integers."""
    whole, _, decimals = value.partition(".")
    kept, rest = decimals[:scale].ljust(scale, "0"), decimals[scale:].strip("0")
    is_negative = whole.startswith("-")
    digits = (whole.lstrip("+-") + kept).lstrip("0") or "0"
    if len(digits) > _DIGITS_MAX:
        return -_BEYOND if is_negative else _BEYOND
    number = -int(digits) if is_negative else int(digits)
    if not rest:
        return number
    return number + Fraction(-1 if is_negative else 1, 2)


def _time(options: RangeOptions, value: str) -> int | Fraction:
    """Return a date in days, or a timestamp in seconds, since 1970."""
    found = _DATE.fullmatch(value)
    if not found:
        raise DataError("the text is neither a date nor a timestamp")
    year = int(found["year"])
    days = _days(1 - year if found["era"] else year, int(found["month"]), int(found["day"]))
    if options.type_name == "date":
        return days
    seconds = days * _DAY_SECONDS + int(found["hour"] or 0) * 3600 + int(found["minute"] or 0) * 60
    exact = seconds + Fraction(found["second"] or "0")
    if options.type_name == "timestamptz" and found["zone"]:
        sign = -1 if found["zone"].startswith("-") else 1
        parts = [int(part) for part in found["zone"][1:].split(":")]
        exact -= sign * sum(part * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    return exact


def _days(year: int, month: int, day: int) -> int:
    """Return the days since 1970-01-01 of a date of the Gregorian calendar, in which the year 0 is 1 BC."""
    year -= month <= 2  # noqa: PLR2004
    era = year // 400
    year_of_era = year - era * 400
    day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1  # noqa: PLR2004
    day_of_era = year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year
    return era * 146_097 + day_of_era - 719_468


# Greater than any position in a domain.
_DIGITS_MAX = 1040
_BEYOND = 10**1100

_ORDERS = {
    "int2": "number", "int4": "number", "int8": "number", "numeric": "number", "date": "date",
    "timestamp": "timestamp", "timestamptz": "timestamp",
}  # fmt: skip
_FIRST_DAY = _days(1000, 1, 1)
# Unless an index says otherwise. Dates are from the year 1000 to 3870, and timestamps to 3177, so that the numbers
# of the intervals have 20 and 36 bits.
_DOMAINS = {
    "int2": (-(2**15), 2**15 - 1),
    "int4": (-(2**31), 2**31 - 1),
    "int8": (-(2**63), 2**63 - 1),
    "numeric": (-(2**63), 2**63 - 1),
    "date": (_FIRST_DAY, _FIRST_DAY + 2**20 - 1),
    "timestamp": (_FIRST_DAY * _DAY_SECONDS, _FIRST_DAY * _DAY_SECONDS + 2**36 - 1),
    "timestamptz": (_FIRST_DAY * _DAY_SECONDS, _FIRST_DAY * _DAY_SECONDS + 2**36 - 1),
    "inet": (0, 2**128 - 1),
}


def _hashed(key: bytes, nodes: list[tuple[str, int, int]], options: RangeOptions) -> list[int]:
    state = keyed(key)
    digests = []
    for name, level, number in nodes:
        hashed = state.copy()
        hashed.update(name.encode() + b"\0" + bytes((level,)) + number.to_bytes(_NUMBER_BYTES, "big"))
        digests.append(hashed.digest())
    return terms_of(digests, options.bits)
