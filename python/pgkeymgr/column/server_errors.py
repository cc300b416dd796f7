"""Errors of PostgreSQL: does one say that the statement is to end, and can its message show a value?"""

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import InvalidValueError

_SHOWS_VALUES = {
    "22003",  # numeric_value_out_of_range
    "22007",  # invalid_datetime_format
    "22008",  # datetime_field_overflow
    "22009",  # invalid_time_zone_displacement_value
    "22015",  # interval_field_overflow
    "22018",  # invalid_character_value_for_cast
    "22021",  # character_not_in_repertoire
    "2200L", "2200M", "2200N", "2200S", "2200T",  # of XML
    "22030", "22032", "22033", "22034", "22035", "22036", "22037", "22038", "22039", "2203A", "2203G",  # of JSON
    "22P02",  # invalid_text_representation
    "22P03",  # invalid_binary_representation
    "22P05",  # untranslatable_character
}  # fmt: skip
"""The SQLSTATEs of PostgreSQL's complaints about a value in whose messages the value stands."""
_INTERVENTION = "57"  # the class of SQLSTATEs
_LOCK_NOT_AVAILABLE = "55P03"
_SERIALIZATION_FAILURE = "40001"


def is_intervention(error: Exception) -> bool:
    """Return whether an error says that the statement was cancelled, or that the session is to end."""
    return str(getattr(error, "sqlstate", "")).startswith(_INTERVENTION)


def is_lock_timeout(error: Exception) -> bool:
    """Return whether an error says that a lock was not free within the time that a statement waits for one."""
    return getattr(error, "sqlstate", None) == _LOCK_NOT_AVAILABLE


def is_serialization_failure(error: Exception) -> bool:
    """Return whether an error says that another transaction has changed a row."""
    return getattr(error, "sqlstate", None) == _SERIALIZATION_FAILURE


@contextmanager
def without_values(message: str) -> Iterator[None]:
    """Put a message of our own in the place of PostgreSQL's complaints about a value, which show the value.

    Args:
        message: the fault, without the value.

    Raises:
        InvalidValueError: replaces such an error, with the same SQLSTATE.
    """
    try:
        yield
    except Exception as error:
        sqlstate = getattr(error, "sqlstate", None)
        if sqlstate not in _SHOWS_VALUES:
            raise
        raise InvalidValueError(message, sqlstate) from None
