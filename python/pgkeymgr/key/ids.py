"""The ids that are given to keys, encrypted tables and encrypted columns.

Ids come from sequences. Neither a logical replica nor a restore of data alone has the state of its publisher's
sequences: there, a sequence can be behind the ids that are taken. So an id is only used if it is greater than all
ids that this node has given, and otherwise the sequence is set forward first.

Nodes that share keys each give ids of one residue class: node 2 of 3 gives 2, 5, 8 and so on. The sequence itself
counts by ones, since a dump does not carry the increment of an extension's sequence.
"""

from __future__ import annotations

TYPE_CHECKING = False  # see named_tuple.py
if TYPE_CHECKING:
    from typing import NamedTuple

    from .database import Database, Rows
else:
    from .named_tuple import NamedTuple


class Lattice(NamedTuple):
    """The ids that a node gives: those from ``first_id`` on with the remainder ``node`` by ``nodes``."""

    node: int = 1
    nodes: int = 1
    first_id: int = 1


KEYS = "key"
TABLES = ("key", "encrypted_relation", "encrypted_column")
"""The tables whose ids come from a sequence, which has the table's name and ``_id_seq``."""

FIRST_ID_MAX = 1_000_000_000
"""The greatest id that an administrator can choose for the next key."""
GIVEN_ID_MAX = 2_000_000_000
"""The greatest id of an imported key. The sequence ends at 2,147,483,647, and a key is never removed again."""

_ALL = Lattice()

# One statement has one snapshot, which is older than the number that it draws: if another session has drawn a
# greater number since, that session's row is not in the snapshot. A row that is in it proves that the sequence is
# behind.
_DRAW = """
    SELECT drawn.id::integer AS id, drawn.id <= given.id AS is_behind
    -- The greatest id that this node has given.
    FROM (
        SELECT GREATEST($3 - 1, (SELECT max(t.id) FROM {s}.{table} AS t WHERE t.id % $2 = $1 % $2)) AS id
    ) AS given
    CROSS JOIN LATERAL (
        SELECT nextval('{s}.{table}_id_seq'::regclass) AS id
        FROM generate_series(1, $2)
    ) AS drawn
    WHERE drawn.id % $2 = $1 % $2
    LIMIT 1
"""
_SET_FORWARD = """
    SELECT setval('{s}.{table}_id_seq'::regclass, given.id)
    FROM {s}.{table}_id_seq AS s
    CROSS JOIN (
        SELECT GREATEST($3 - 1, (SELECT max(t.id) FROM {s}.{table} AS t WHERE t.id % $2 = $1 % $2)) AS id
    ) AS given
    WHERE given.id > s.last_value OR (given.id = s.last_value AND NOT s.is_called)
"""
_BEHIND = """
    SELECT s.last_value, given.id AS greatest
    FROM {s}.{table}_id_seq AS s
    CROSS JOIN (
        SELECT GREATEST($3 - 1, (SELECT max(t.id) FROM {s}.{table} AS t WHERE t.id % $2 = $1 % $2)) AS id
    ) AS given
    WHERE given.id >= $3 AND (given.id > s.last_value OR (given.id = s.last_value AND NOT s.is_called))
"""


def next_id(database: Database, table: str, lattice: Lattice = _ALL) -> int:
    """Return the next id for a row; within ``Database.as_owner``.

    Another session may get the same id if it sets the sequence forward at the same moment. So the caller inserts
    the row, and takes the next id if this one is there by then.

    Args:
        database: the database.
        table: one of ``TABLES``.
        lattice: the ids that this node gives.

    Returns:
        An id that no row had.
    """
    while True:
        rows = _run(database, _DRAW, table, lattice)
        # There may be no row: others may have drawn the number with the right remainder.
        for row in rows:
            if not row["is_behind"]:
                return int(row["id"])
            set_forward(database, table, lattice)


def set_forward(database: Database, table: str, lattice: Lattice = _ALL) -> bool:
    """Set the sequence of a table forward if it is behind the ids that are taken; within ``Database.as_owner``.

    Args:
        database: the database.
        table: one of ``TABLES``.
        lattice: see ``next_id``.

    Returns:
        Whether the sequence was behind.
    """
    return bool(_run(database, _SET_FORWARD, table, lattice))


def behind(database: Database, table: str, lattice: Lattice = _ALL) -> list[tuple[int, int]]:
    """Return the value of a table's sequence, and the id that it is behind; within ``Database.as_owner``.

    Args:
        database: the database.
        table: one of ``TABLES``.
        lattice: see ``next_id``.

    Returns:
        The two numbers, or an empty list if the sequence is not behind.
    """
    return [(row["last_value"], row["greatest"]) for row in _run(database, _BEHIND, table, lattice)]


def _run(database: Database, query: str, table: str, lattice: Lattice) -> Rows:
    return database.execute(
        query.replace("{table}", table),
        ("integer", lattice.node),
        ("integer", lattice.nodes),
        ("integer", lattice.first_id),
    )
