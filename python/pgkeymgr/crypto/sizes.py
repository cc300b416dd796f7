"""The largest value that PostgreSQL can hold, and the checks against it."""

from ..errors import DataError, LimitError

BYTEA_MAX = 0x3FFFFFFF - 4
"""Bytes in the largest ``bytea``: PostgreSQL's allocation limit less the length word."""


def check_size(size: int, name: str = "size") -> None:
    """Refuse a size that no ``bytea`` can have.

    Args:
        size: how many bytes the result would have.
        name: the argument's name, for the message.

    Raises:
        DataError: ``size`` is negative.
        LimitError: ``size`` is over ``BYTEA_MAX``.
    """
    if size < 0:
        raise DataError(f"{name} must not be negative, and is {size}")
    if size > BYTEA_MAX:
        raise LimitError(f"{name} must be at most {BYTEA_MAX} bytes, and is {size}")


def check_growth(message: bytes, growth: int) -> None:
    """Refuse a message that would not fit into a ``bytea`` any more once encrypted or signed.

    Args:
        message: what is to be encrypted or signed.
        growth: how many bytes the result is longer.

    Raises:
        LimitError: the result would be over ``BYTEA_MAX`` bytes.
    """
    if len(message) > BYTEA_MAX - growth:
        raise LimitError(f"message must be at most {BYTEA_MAX - growth} bytes long, not {len(message)}")
