"""Copies of a column's plaintext, or of parts of it, that encrypting the column does not encrypt."""

from collections.abc import Iterable
from typing import NamedTuple

from ..key.database import Database
from .catalog import Table
from .dependent_objects import MATERIALIZED_VIEW, DependentObject
from .encrypted_table import EncryptedTable

_COPIES = (
    "bidx|canonical|ci|clean|digest|domain|first|fts|hash|idx|index|initials?|last4?|lc|lower|lowercase|md5|metaphone|norm"
    "|"
    "normali[sz]ed|plain|prefix|search|sha1|sha256|soundex|suffix|trgm|trigrams?|tsv|tsvector|uc|upper|vector"
)


class Copy(NamedTuple):
    """A place that holds, or may hold, plaintext beside an encrypted column.

    Attributes:
        object: its name.
        detail: a phrase of which the object is the subject.
        hint: a sentence with the remedy.
    """

    object: str
    detail: str
    hint: str


def derived_plaintext(
    database: Database, base: Table, table: EncryptedTable | None, name: str, objects: Iterable[DependentObject]
) -> list[Copy]:
    """Find copies of a column's plaintext.

    Args:
        database: with ``search_path`` = pg_catalog.
        base: the column's table.
        table: the registered table, or None if it has no encrypted columns.
        name: the name of the column.
        objects: the objects that depend on the column.

    Returns:
        The copies. The catalog shows the sources of materialized views; a column is judged by its type and name.
    """
    found = [
        Copy(
            one.name,
            f'holds values that are made of column "{name}", in the clear',
            f"DROP MATERIALIZED VIEW {one.qualified}, or make it a view, unless these values may be on the disk.",
        )
        for one in objects
        if one.kind == MATERIALIZED_VIEW
    ]
    own = table.own_columns() if table else set()
    for row in database.query(
        "SELECT a.attname::text AS name, a.atttypid = 'tsvector'::regtype AS is_vector FROM pg_attribute AS a"
        " WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attname <> $2"
        " AND (a.atttypid = 'tsvector'::regtype OR a.attname::text ~* $3) ORDER BY a.attnum",
        ("oid", base.oid),
        ("name", name),
        ("text", f"^(({_COPIES})_{_escaped(name)}|{_escaped(name)}_({_COPIES}))$"),
    ):
        if row["name"] in own:
            continue
        found.append(
            Copy(
                f'column "{row["name"]}" of {base}',
                f'may hold {"words" if row["is_vector"] else "values"} of column "{name}" in the clear',
                "Encrypt it, too, or drop it, if it does.",
            )
        )
    return found


def _escaped(name: str) -> str:
    import re

    return re.sub(r"(\W)", r"\\\1", name)
