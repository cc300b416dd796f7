"""Names and literals in generated SQL."""

from collections.abc import Collection

NAME_BYTES_MAX = 63


def quote_name(name: str) -> str:
    """Return a name as SQL takes it, always in quotation marks."""
    return '"' + name.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """Return a text as a literal that means the same under either value of ``standard_conforming_strings``."""
    quoted = "'" + text.replace("'", "''").replace("\\", "\\\\") + "'"
    return "E" + quoted if "\\" in text else quoted


def quote_body(body: str) -> str:
    """Return a function's body in dollar quotes that do not occur in it."""
    tag = "$pgkeymgr$"
    while tag in body:
        tag = tag[:-1] + "_$"
    return f"{tag}\n{body}{tag}"


def bytes_literal(value: bytes) -> str:
    """Return bytes as an expression that means the same under all settings of the session."""
    return f"pg_catalog.decode('{value.hex()}', 'hex')"


def new_name(start: str, end: str, taken: Collection[str]) -> str:
    """Make a name that PostgreSQL does not cut and that is not taken.

    Args:
        start: the beginning of the name, which is cut if it is too long.
        end: the end of the name.
        taken: names that are not free.

    Returns:
        The name, at most 63 bytes in UTF-8.
    """
    number = 1
    while True:
        tail = end if number == 1 else f"{end}{number}"
        head = start.encode()[: NAME_BYTES_MAX - len(tail.encode())].decode(errors="ignore")
        if head + tail not in taken:
            return head + tail
        number += 1
