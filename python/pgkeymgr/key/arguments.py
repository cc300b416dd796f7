"""Arguments of SQL functions, above all those that name a key: their checks, and their words in messages."""

from ..errors import DataError, ParameterError

NAME_CHARACTERS_MAX = 255


def refuse_null(**arguments: object) -> None:
    """Refuse arguments of a SQL function that are NULL.

    Raises:
        DataError: an argument is None; the error names it.
    """
    for name, value in arguments.items():
        if value is None:
            raise DataError(f"{name} must not be NULL")


def check_name(name: str | None) -> None:
    """Refuse a name that is empty or too long.

    Raises:
        ParameterError: the name is empty or too long.
        DataError: the name is NULL.
    """
    if name is None:
        raise DataError("name must not be NULL")
    if not 1 <= len(name) <= NAME_CHARACTERS_MAX:
        raise ParameterError(f"name must be 1 to {NAME_CHARACTERS_MAX} characters long, not {len(name)}")


def check_length(length: int, smallest: int, largest: int) -> None:
    """Refuse a key's length that is out of range.

    Raises:
        ParameterError: the length is out of range.
        DataError: the length is NULL.
    """
    if length is None:
        raise DataError("length must not be NULL")
    if not smallest <= length <= largest:
        raise ParameterError(f"length must be {smallest} to {largest} bytes, not {length}")


def called(key: str | int | bytes) -> str:
    """Return the words of a message for a key. They contain only the argument that the user gave."""
    if isinstance(key, str):
        return f'"{shorten(key)}"'
    return f"with uuid {uuid_text(key)}" if isinstance(key, bytes) else str(key)


def shorten(text: str) -> str:
    """Return a text for a message, cut after 255 characters, the maximum of a name."""
    return text if len(text) <= NAME_CHARACTERS_MAX else text[:NAME_CHARACTERS_MAX] + "..."


def uuid_text(uuid: bytes) -> str:
    """Return a uuid of 16 bytes as PostgreSQL writes it."""
    digits = uuid.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
