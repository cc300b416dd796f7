"""Partitioned tables for the tests: an encrypted one, and a plain twin that gets the same statements."""

from conftest import Connection, rows
from psycopg import Error

PARTITIONS = {
    "range": (
        "RANGE (day)",
        "{t}_2024 PARTITION OF {t} FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')",
        "{t}_2025 PARTITION OF {t} FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')",
        "{t}_rest PARTITION OF {t} DEFAULT",
    ),
    "list": (
        "LIST (region)",
        "{t}_eu PARTITION OF {t} FOR VALUES IN ('eu')",
        "{t}_us PARTITION OF {t} FOR VALUES IN ('us', NULL)",
        "{t}_rest PARTITION OF {t} DEFAULT",
    ),
    "hash": (
        "HASH (id)",
        "{t}_0 PARTITION OF {t} FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
        "{t}_1 PARTITION OF {t} FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
    ),
    "sub": (
        "RANGE (day)",
        "{t}_2024 PARTITION OF {t} FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') PARTITION BY LIST (region)",
        "{t}_2024_eu PARTITION OF {t}_2024 FOR VALUES IN ('eu')",
        "{t}_2024_rest PARTITION OF {t}_2024 DEFAULT",
        "{t}_2025 PARTITION OF {t} FOR VALUES FROM ('2025-01-01') TO ('2026-01-01') PARTITION BY HASH (id)",
        "{t}_2025_0 PARTITION OF {t}_2025 FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
        "{t}_2025_1 PARTITION OF {t}_2025 FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
    ),
}
KEY = ", PRIMARY KEY (id, day, region)"
COLUMNS = "id bigint NOT NULL, day date NOT NULL, region text NOT NULL, ssn text, note text"
FILL = (
    "INSERT INTO {t} SELECT g, '2024-06-01'::date + g * 15, CASE g % 2 WHEN 0 THEN 'eu' ELSE 'us' END,"
    " 's' || g, 'n' FROM generate_series(1, 30) AS g"
)


def make_partitioned(connection: Connection, name: str, kind: str, more: str = KEY) -> None:
    """Make a partitioned table with 30 rows.

    Args:
        connection: the session.
        name: the table's.
        kind: of ``PARTITIONS``.
        more: the constraints of the table.
    """
    by, *partitions = PARTITIONS[kind]
    rows(connection, f"CREATE TABLE {name} ({COLUMNS}{more}) PARTITION BY {by}")
    for partition in partitions:
        rows(connection, "CREATE TABLE " + partition.format(t=name))
    rows(connection, FILL.format(t=name))


def result(connection: Connection, statement: str) -> object:
    """Return the rows of a statement, or the SQLSTATE of its error."""
    try:
        found = rows(connection, statement)
    except Error as error:
        connection.rollback()
        return error.sqlstate
    return sorted(found, key=repr)
