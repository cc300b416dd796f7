"""Checks the lengths of arguments, and compares the lengths of results with PostgreSQL's limit.

Source of the limit: MaxAllocSize in PostgreSQL's src/include/utils/memutils.h
"""

from ..errors import DataError, LimitError, wrong_length

BYTEA_MAX = 0x3FFFFFFF - 4
"""The number of bytes in the largest ``bytea``: PostgreSQL's allocation limit less the length word."""


def check_length(name: str, value: bytes, length: int) -> None:
    """Refuse an argument of the wrong length.

    A function that is called for each row does not call this one, but makes the comparison itself.

    Args:
        name: the argument's name, for the message.
        value: the argument.
        length: the only length that is right, in bytes.

    Raises:
        DataError: the length is another one.
    """
    if len(value) != length:
        raise wrong_length(name, value, length)


def check_size(size: int, name: str = "size") -> None:
    """Refuse a size that no ``bytea`` can have.

    Args:
        size: the length of the result in bytes.
        name: the argument's name, for the message.

    Raises:
        DataError: ``size`` is negative.
        LimitError: ``size`` is over ``BYTEA_MAX``.
    """
    if size < 0:
        raise DataError(f"{name} must not be negative: {size}")
    if size > BYTEA_MAX:
        raise LimitError(f"{name} must be at most {BYTEA_MAX} bytes, not {size}")


def check_growth(message: bytes, growth: int) -> None:
    """Refuse a message whose ciphertext or signed form would not fit into a ``bytea``.

    Args:
        message: the message to encrypt or to sign.
        growth: the number of bytes that encrypting or signing adds.

    Raises:
        LimitError: the result would have more than ``BYTEA_MAX`` bytes.
    """
    if len(message) > BYTEA_MAX - growth:
        raise LimitError(f"message must be at most {BYTEA_MAX - growth} bytes long, not {len(message)}")
