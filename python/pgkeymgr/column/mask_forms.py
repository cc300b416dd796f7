"""The masks that are no functions of owners: each makes the text of a masked value from the text of the value."""

import re
from collections.abc import Callable

_SHOWN_CHARACTERS_MAX = 4
_SHOWN_PART = 2
_DATE = re.compile(r"([0-9]{4,})-[0-9]{2}-[0-9]{2}")
_DOMAIN = re.compile(r"[\w.-]+")


def last4(value: str) -> str:
    """Return the last four characters of a value, or fewer: never more than half of the value."""
    count = min(_SHOWN_CHARACTERS_MAX, len(value) // _SHOWN_PART)
    return value[len(value) - count :]


def year(value: str) -> str | None:
    """Return the first of January of a date's year.

    Args:
        value: a date or a timestamp in ISO 8601, with the suffix BC before the year 1.

    Returns:
        The date, or None if the value has no year, as ``infinity``.
    """
    found = _DATE.match(value)
    if found is None:
        return None
    return f"{found[1]}-01-01{' BC' if value.endswith('BC') else ''}"


def email_domain(value: str) -> str | None:
    """Return the domain of an e-mail address, or None if the value is none."""
    name, at, domain = value.rpartition("@")
    return domain if name and at and _DOMAIN.fullmatch(domain) else None


def null(value: str) -> None:
    """Return None for each value."""


MASKS: dict[str, Callable[[str], str | None]] = {
    "null": null,
    "last4": last4,
    "year": year,
    "email_domain": email_domain,
}
"""The masks that are no functions of owners: they get the text of a value, and return that of its mask."""

TYPES: dict[str, frozenset[str] | None] = {
    "null": None,
    "last4": frozenset({"text", "varchar", "bpchar"}),
    "year": frozenset({"date", "timestamp", "timestamptz"}),
    "email_domain": frozenset({"text", "varchar", "bpchar"}),
}
"""The types of the columns that can have each mask; None for all."""
