"""The options of the unique index that stands for a UNIQUE constraint while its columns are encrypted.

The index takes over the storage parameters, the tablespace, the comment and the mark of CLUSTER from the index of
the constraint, and gives them back in the end. ALTER INDEX changes them as on any other table.
"""

import re
from typing import NamedTuple

from ..key.database import Database
from .catalog import Table
from .quoting import quote_literal, quote_name

_NAME = r'(?:"(?:[^"]|"")*"|[^\s".]+)'
_DEFINITION = re.compile(
    rf"CREATE UNIQUE INDEX {_NAME} ON (?:ONLY )?{_NAME}\.{_NAME} USING btree (\(.*?\))(?: WITH \([^()]*\))?",
    re.DOTALL,
)


class IndexOptions(NamedTuple):
    """The options of an index, without those of its columns.

    Attributes:
        storage: its storage parameters, as in WITH, or nothing.
        tablespace: the name of its tablespace; None for that of the database, and for one in which the owner may
            not create an index.
        comment: the comment of its constraint, or else its own, or None.
        is_clustered: whether CLUSTER uses it.
    """

    storage: str = ""
    tablespace: str | None = None
    comment: str | None = None
    is_clustered: bool = False

    def create(self, base: Table, name: str, columns: str) -> str:
        """Return the statement that makes a unique index.

        Args:
            base: its table.
            name: its name.
            columns: the columns in parentheses, as SQL has them.
        """
        space = "" if self.tablespace is None else f" TABLESPACE {quote_name(self.tablespace)}"
        return f"CREATE UNIQUE INDEX {quote_name(name)} ON {base.qualified} {columns}{self._with()}{space}"

    def of_constraint(self) -> str:
        """Return the end of an ADD CONSTRAINT."""
        space = "" if self.tablespace is None else f" USING INDEX TABLESPACE {quote_name(self.tablespace)}"
        return self._with() + space

    def later(self, base: Table, name: str, *, is_constraint: bool = False) -> list[str]:
        """Return the statements for the options that a new index does not take.

        Args:
            base: its table.
            name: its name.
            is_constraint: whether it belongs to a constraint of this name, which gets the comment.
        """
        statements = []
        if self.comment is not None:
            index = f"INDEX {quote_name(base.schema)}.{quote_name(name)}"
            constraint = f"CONSTRAINT {quote_name(name)} ON {base.qualified}"
            commented = constraint if is_constraint else index
            statements.append(f"COMMENT ON {commented} IS {quote_literal(self.comment)}")
        if self.is_clustered:
            statements.append(f"ALTER TABLE {base.qualified} CLUSTER ON {quote_name(name)}")
        return statements

    def _with(self) -> str:
        return f" WITH ({self.storage})" if self.storage else ""


USUAL_OPTIONS = IndexOptions()


def options_of(database: Database, base: Table, name: str) -> IndexOptions:
    """Return the options of an index of a table; the usual ones if it has no index of this name."""
    rows = database.query(
        "SELECT array_to_string(ARRAY(SELECT format('%I = %L', o.option_name, o.option_value)"
        "  FROM pg_options_to_table(c.reloptions) AS o), ', ') AS storage,"
        " (SELECT t.spcname::text FROM pg_tablespace AS t WHERE t.oid = c.reltablespace"
        "  AND has_tablespace_privilege(c.relowner, t.oid, 'CREATE')) AS tablespace,"
        " coalesce((SELECT obj_description(o.oid, 'pg_constraint') FROM pg_constraint AS o"
        "  WHERE o.conindid = c.oid AND o.conrelid = i.indrelid AND o.contype IN ('u', 'p')),"
        "  obj_description(c.oid, 'pg_class')) AS comment, i.indisclustered AS is_clustered"
        " FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid WHERE i.indrelid = $1 AND c.relname = $2",
        ("oid", base.oid),
        ("text", name),
    )
    return IndexOptions(**rows[0]) if rows else USUAL_OPTIONS


def columns_in(definition: str) -> str | None:
    """Return the columns in the definition of a unique index, with their order and operator classes, or None."""
    found = _DEFINITION.fullmatch(definition)
    return found[1] if found else None
