"""The place of a value: the column and the row that its ciphertext is bound to, as associated data."""

_PLACE_START = b"column"
PLACE_PREFIX_BYTES = len(_PLACE_START) + 16


def place_prefix(column_uuid: bytes) -> bytes:
    """Return the first part of the places of a column's values, which the row's key follows.

    Args:
        column_uuid: 16 bytes.

    Returns:
        The first 22 bytes of the associated data.
    """
    return _PLACE_START + column_uuid
