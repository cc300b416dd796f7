"""The types of the columns that are encrypted, with values of each as the text that PostgreSQL reads."""

from typing import NamedTuple

MARKER = "geheim"
"""A word in many of the values, and in nothing else, by which plaintext is found where there must be none."""


class Kind(NamedTuple):
    """A type of columns.

    Attributes:
        type: its name in SQL.
        values: texts that its input function takes.
        has_equality: whether it has an operator ``=``.
        is_unique: whether a UNIQUE constraint on such a column can be encrypted.
        is_text: whether its values are searched for as they are.
    """

    type: str
    values: tuple[str, ...]
    has_equality: bool = True
    is_unique: bool = False
    is_text: bool = False


TYPES = """
    CREATE SCHEMA kinds;
    GRANT USAGE ON SCHEMA kinds TO PUBLIC;
    CREATE TYPE kinds.mood AS ENUM ('sad', 'ok', 'a geheim one');
    CREATE TYPE kinds.address AS (street text, zip text);
    CREATE TYPE kinds.deep AS (at kinds.address, mood kinds.mood, numbers integer[]);
    CREATE TYPE kinds.addresses AS RANGE (subtype = kinds.address);
    CREATE DOMAIN kinds.email AS text CHECK (VALUE ~ '@');
    CREATE DOMAIN kinds.home AS kinds.address CHECK ((VALUE).street IS DISTINCT FROM 'nowhere');
    CREATE DOMAIN kinds.small AS integer CHECK (VALUE < 100);
    CREATE DOMAIN kinds.tags AS text[];
    CREATE DOMAIN kinds.present AS text NOT NULL;
"""
"""The types that the schemas of all examples share, in both databases."""

_ADDRESSES = ("(geheim,12345)", "(,)", "(geheim,)", '("","")', '("geheim, "" quoted",0)')

KINDS = (
    Kind(
        "text", ("", "geheim", "Geheim", "geheim é€", "a\\b\nc\td", "geheim" * 500), is_unique=True, is_text=True
    ),
    Kind("varchar(8)", ("", "geheim", "geheim99", "NULL"), is_unique=True, is_text=True),
    Kind("char(7)", ("", "geheim", " x"), is_unique=True),
    Kind('text COLLATE "C"', ("geheim", "a", "B"), is_unique=True, is_text=True),
    Kind("smallint", ("0", "-32768", "7"), is_unique=True),
    Kind("integer", ("0", "2147483647", "-7"), is_unique=True),
    Kind("bigint", ("0", "9223372036854775807", "7"), is_unique=True),
    Kind("numeric", ("1.0", "1.00", "0", "NaN", "123456789012345678901234567890.5"), is_unique=True),
    Kind("numeric(8,2)", ("1.005", "99.90", "-0.01"), is_unique=True),
    Kind("double precision", ("0", "-0", "NaN", "0.1", "1e300", "-Infinity")),
    Kind("real", ("0.1", "3.4e38")),
    Kind("boolean", ("t", "f"), is_unique=True),
    Kind("date", ("2026-11-29", "infinity", "0044-03-15 BC"), is_unique=True),
    Kind("timestamptz", ("2026-11-29 12:00:00.123456+05", "-infinity", "1900-01-01 00:00+00"), is_unique=True),
    Kind("timestamp", ("2026-11-29 12:00:00", "infinity"), is_unique=True),
    Kind("time", ("12:34:56.5", "24:00"), is_unique=True),
    Kind("interval", ("1 day", "24:00", "-1 year 2 mons 00:00:00.5")),
    Kind("uuid", ("00000000-0000-0000-0000-000000000000", "6d0a3f04-64d7-4f3b-8e93-0f5b4a2f1c11"), is_unique=True),
    Kind("bytea", ("", r"\x00", r"\x67656865696d", r"\xff00"), is_unique=True),
    Kind("json", ('{"geheim": 1}', '{ "a":1, "a":2 }', "null"), has_equality=False),
    Kind("jsonb", ('{"geheim": [1, null]}', "1.00", "null", '"geheim"')),
    Kind("inet", ("10.0.0.1/8", "::1"), is_unique=True),
    Kind("bit varying", ("", "1010"), is_unique=True),
    Kind("point", ("(1,2)", "(0.1,-0)"), has_equality=False),
    Kind("integer[]", ("{}", "{1,NULL,3}", "{{1,2},{3,4}}", "[2:3]={5,6}")),
    Kind("text[]", ("{}", '{geheim,NULL,"NULL",""}', '{"a\\"b"}')),
    Kind("int4range", ("empty", "[1,5)", "(,)", "[3,]")),
    Kind("tstzrange", ("empty", '["2026-01-01 00:00+00",infinity]')),
    Kind("datemultirange", ("{}", "{[2026-01-01,2026-02-01),[2026-03-01,)}")),
    Kind("kinds.mood", ("sad", "a geheim one"), is_unique=True),
    Kind("kinds.mood[]", ("{sad,NULL}", "{}")),
    Kind("kinds.address", _ADDRESSES),
    Kind("kinds.address[]", ('{"(geheim,)",NULL,"(,)"}', "{}")),
    Kind("kinds.addresses", ("empty", '["(a,)","(geheim,1)")', "(,)")),
    Kind("kinds.deep", ("(,,)", '("(,)",sad,"{1,NULL}")', '("(geheim,1)",,)')),
    Kind("kinds.email", ("geheim@example.org", "@", "none"), is_unique=True, is_text=True),
    Kind("kinds.home", (*_ADDRESSES, "(nowhere,)")),
    Kind("kinds.small", ("1", "100", "-5"), is_unique=True),
    Kind("kinds.tags", ("{geheim}", "{}")),
    Kind("kinds.address", _ADDRESSES),
)
"""Of composite types, the one with NULL fields is there twice: it is the one that most went wrong with."""


def literal(value: str | None, type_: str) -> str:
    """Return a value as an SQL expression.

    Args:
        value: the text that the type's input function takes, or None for NULL.
        type_: the type's name.
    """
    return "NULL" if value is None else f"{quoted(value)}::{type_.partition(' COLLATE')[0]}"


def quoted(text: str) -> str:
    """Return a text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"
