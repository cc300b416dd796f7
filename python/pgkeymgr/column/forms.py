"""The form of each type: how its values become text or bytes to be encrypted, and are read back.

The encrypted text of a value must not depend on the settings of the session that wrote it, such as DateStyle,
since another session reads it. The expressions are SQL.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ..key.database import Database

_TEXTS = {"text", "varchar"}
# The text of these types is the same in every session.
_DIRECT = _TEXTS | {
    "bpchar", "name", "char", "int2", "int4", "int8", "numeric", "bool", "uuid", "json", "jsonb", "oid",
    "inet", "cidr", "macaddr", "macaddr8", "bit", "varbit",
}  # fmt: skip
# The text of these types means nothing in another session or another database.
MEANINGLESS = {
    "money", "regclass", "regcollation", "regconfig", "regdictionary", "regnamespace", "regoper", "regoperator",
    "regproc", "regprocedure", "regrole", "regtype", "refcursor", "xid", "xid8", "cid", "tid", "aclitem",
    "pg_snapshot", "txid_snapshot", "pg_node_tree", "pg_ndistinct", "pg_dependencies", "pg_mcv_list",
}  # fmt: skip
# Values of these types are equal exactly if their canonical texts are equal.
_COMPARABLE = _DIRECT - {"json", "jsonb"} | {"bytea", "date", "timestamp", "timestamptz", "time"}

TEXT = "text"
BYTES = "bytes"
SETTINGS = "settings"


@dataclass(frozen=True)
class Form:
    """The form in which the values of a type are encrypted.

    Attributes:
        kind: TEXT, BYTES, or SETTINGS for a text that is made under fixed settings.
        base: the name of the type, or of the base type of a domain.
        is_comparable: whether values are equal exactly if their canonical texts are equal.
        is_read_by_settings: whether the meaning of its text depends on the reader's settings, as that of an array
            depends on ``array_nulls``.
        is_row: whether it is a composite type, whose fields can depend on those settings.
    """

    kind: str
    base: str
    is_comparable: bool
    is_read_by_settings: bool
    is_row: bool = False

    def encoded(self, expression: str, schema: str) -> str:
        """Return the expression for the plaintext of a value: bytea for BYTES, text otherwise."""
        if self.kind == BYTES:
            return f"({expression})::pg_catalog.bytea"
        if self.kind == SETTINGS:
            return f"{schema}._to_text({expression})"
        return expression if self.base == "text" else f"({expression})::pg_catalog.text"

    def decoded(self, expression: str, type_: str, schema: str) -> str:
        """Return the expression for a value of a type, by its qualified name, from a result of ``encoded``."""
        if type_ == ("pg_catalog.bytea" if self.kind == BYTES else "pg_catalog.text"):
            return expression
        if self.is_row:
            # PL/pgSQL makes no row of a text, but it makes an array of rows.
            array = f"(ARRAY[{expression}])::pg_catalog.text"
            return f"({schema}._from_text({array}, NULL::{type_}[]))[1]"
        if self.is_read_by_settings:
            expression = f"{schema}._from_text({expression}, NULL::{type_})"
        return f"({expression})::{type_}"

    def canonical(self, expression: str, schema: str) -> str:
        """Return the expression for the text that blind indexes are made of."""
        if self.kind == BYTES:
            return f"pg_catalog.encode(({expression})::pg_catalog.bytea, 'hex')"
        if self.base == "numeric":
            return f"pg_catalog.trim_scale(({expression})::pg_catalog.numeric)::pg_catalog.text"
        return self.encoded(expression, schema)

    def has_one_text(self, modifier: int) -> bool:
        """Return whether equal values have equal texts, and so equal deterministic ciphertexts.

        Args:
            modifier: the type modifier of the column. With one, all values of a numeric have the same scale.
        """
        return self.is_comparable and (self.base != "numeric" or modifier >= 0)

    @property
    def is_text(self) -> bool:
        """Whether a value is its own canonical text."""
        return self.base in _TEXTS


def form_of(database: Database, type_oid: int) -> Form | None:
    """Return the form of a type.

    Args:
        database: the session whose catalog is read.
        type_oid: the type's OID; 0 for a type that this database does not have.

    Returns:
        Its form, or None if its values cannot be encrypted.
    """
    if not type_oid:
        return None
    names: list[str] = []
    is_read_by_settings = False
    for name, is_builtin, kind in _nested(database, type_oid):
        is_read_by_settings = kind in "rm" or name == "xml" or bool(names)
        names.append(name if is_builtin else "")
        if kind == "p" or (is_builtin and name in MEANINGLESS):
            return None
        if kind == "e":
            names[-1] = "enum"
    if names == ["bytea"]:
        return Form(BYTES, "bytea", True, False)
    is_direct = names[-1] in _DIRECT or names[-1] == "enum"
    is_comparable = len(names) == 1 and (names[0] in _COMPARABLE or names[0] == "enum")
    base = names[0] if len(names) == 1 else ""
    is_row = len(names) == 1 and kind == "c"
    return Form(TEXT if is_direct else SETTINGS, base, is_comparable, is_read_by_settings, is_row)


def _nested(database: Database, type_oid: int) -> Iterator[tuple[str, bool, str]]:
    # A domain stands for its base type. The element type of an array follows the array.
    while type_oid:
        rows = database.query(
            "SELECT t.typname::pg_catalog.text AS name, t.typtype::pg_catalog.text AS kind,"
            " t.typnamespace OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace AS builtin,"
            " t.typbasetype::pg_catalog.int8 AS base, CASE WHEN t.typcategory OPERATOR(pg_catalog.=) 'A'"
            " THEN t.typelem::pg_catalog.int8 ELSE 0 END AS element"
            " FROM pg_catalog.pg_type AS t WHERE t.oid OPERATOR(pg_catalog.=) $1",
            ("oid", type_oid),
        )
        if not rows:
            yield "", False, "p"  # the type was dropped: it has no values
            return
        (row,) = rows
        if row["kind"] == "d":
            type_oid = row["base"]
            continue
        yield row["name"], row["builtin"], row["kind"]
        type_oid = row["element"]


_KEY_EXPRESSIONS = {
    "integer": "pg_catalog.int8send(({})::pg_catalog.int8)",
    "uuid": "pg_catalog.uuid_send({})",
    "boolean": "pg_catalog.boolsend({})",
    "date": "pg_catalog.date_send({})",
    "timestamp": "pg_catalog.timestamp_send({})",
    "timestamptz": "pg_catalog.timestamptz_send({})",
    "text": "pg_catalog.convert_to(({})::pg_catalog.text, 'UTF8')",
    "numeric": "pg_catalog.convert_to(pg_catalog.trim_scale({})::pg_catalog.text, 'UTF8')",
    "bytea": "({})::pg_catalog.bytea",
}
_KEY_ENCODINGS = {
    "int2": "integer", "int4": "integer", "int8": "integer", "uuid": "uuid", "bool": "boolean", "date": "date",
    "timestamp": "timestamp", "timestamptz": "timestamptz", "text": "text", "varchar": "text", "bpchar": "text",
    "name": "text", "char": "text", "enum": "text", "inet": "text", "cidr": "text", "numeric": "numeric",
    "bytea": "bytea",
}  # fmt: skip
_LENGTHS = {"integer": 8, "uuid": 16, "boolean": 1, "date": 4, "timestamp": 8, "timestamptz": 8}


def key_encoding(form: Form | None) -> str | None:
    """Return how a column of a primary key becomes bytes that ciphertexts are bound to.

    Args:
        form: the form of the column's type.

    Returns:
        The name of the encoding, or None if there is none for the type.
    """
    return None if form is None else _KEY_ENCODINGS.get(form.base)


def key_expression(encoding: str, expression: str) -> str:
    """Return the expression for the bytes of one column of a key, such that no two keys have the same bytes.

    Args:
        encoding: a result of ``key_encoding``.
        expression: the expression for the value.

    Returns:
        The expression: bytes of a fixed length, or a length as four bytes before the bytes.
    """
    encoded = _KEY_EXPRESSIONS[encoding].format(expression)
    if encoding in _LENGTHS:
        return encoded
    return f"pg_catalog.int4send(pg_catalog.octet_length({encoded})) OPERATOR(pg_catalog.||) {encoded}"


def describe_key(encodings: list[str], place: bytes) -> str:
    """Return the values of a key for people, from the bytes that ciphertexts are bound to.

    Args:
        encodings: the encodings of the key's columns.
        place: the bytes.

    Returns:
        The values, with commas between them; those of types that people do not read in hexadecimal.
    """
    values = []
    for encoding in encodings:
        length = _LENGTHS.get(encoding)
        if length is None:
            length, place = int.from_bytes(place[:4], "big"), place[4:]
        value, place = place[:length], place[length:]
        if encoding == "integer":
            values.append(str(int.from_bytes(value, "big", signed=True)))
        elif encoding in ("text", "numeric"):
            values.append(value.decode(errors="replace"))
        else:
            values.append(value.hex())
    return ", ".join(values)
