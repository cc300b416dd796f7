"""The differences between encrypted and plain tables that docs/encrypted-columns.md describes, and their reasons.

A step carries those that apply to it, and the comparison leaves the affected part out. The rest are things that no
generator writes.
"""

from enum import Enum


class Exclusion(Enum):
    """The parts of a step that are not compared, with the reason."""

    STATEMENT_TRIGGERS = (
        "The view's INSTEAD OF triggers write a row at a time: statement triggers of the base table fire for each "
        "row of an INSERT or an UPDATE, and do not fire if there is none."
    )
    TRIGGERS = (
        "upsert() tries an UPDATE and then an INSERT, and again if both fail: triggers that keep a row from being "
        "written fire each time. An UPDATE that finds a row twice may write it twice."
    )
    COUNT = (
        "PostgreSQL counts the lines of a COPY to a view, those included that a trigger of the base table skips. "
        "A row that an UPDATE finds twice is counted twice."
    )
    ORDER = "A join gives its rows in any order, and which of several rows is refused first differs."
    RESULTS = "The two sides run different statements for the same effect, which give different results."


NEVER_WRITTEN = {
    "an UPDATE that finds a row twice, where BEFORE triggers change rows": "They change it twice.",
    "INSERT ... ON CONFLICT, TRUNCATE, CREATE INDEX and row triggers on the view": (
        "PostgreSQL has no such thing for a view with INSTEAD OF triggers: upsert() and the base table are used."
    ),
    "ctid, xmin, tableoid, WHERE CURRENT OF, OVERRIDING SYSTEM VALUE": "A view does not have them.",
    "a value for a GENERATED ALWAYS identity, not even NULL": "The view cannot tell a NULL from no value.",
    "a referential chain within one statement and one table": (
        "Foreign keys are checked after each row, unless they are deferred."
    ),
    "an INSERT into the base table without an encrypted column that has a default": (
        "The default is the view's; the base table stores NULL."
    ),
    "SET secret = NULL alone on the base table": (
        "The column is NULL there already, and the value stays: secret_encrypted = NULL deletes it."
    ),
    "EXCLUDED.secret on the base table": (
        "The BEFORE INSERT trigger has sealed it already: EXCLUDED.secret_encrypted has the value."
    ),
    "UPDATE OF triggers on a table without a key": (
        "Rows that are not migrated yet are refused with 55000, since their plaintext would be an argument."
    ),
    "UPDATE OF triggers for a column that a statement names and does not change": (
        "The view's trigger sees values: it names the columns that they differ in."
    ),
    "blind indexes, and UPDATE row triggers, on the table of an owner who is no superuser": (
        "add_blind_index writes each row, and the owner cannot keep the triggers from firing."
    ),
    "triggers that mention an encrypted column": "encrypt_column refuses them.",
    "triggers that read the other rows of their table": "INSERT and UPDATE write row by row.",
}
"""Statements that the generators do not write, and why."""
