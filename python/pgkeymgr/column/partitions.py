"""Finds the partitions of a table, and the facts about them that rule out encrypted columns.

The registry has only the root of a partitioned table. PostgreSQL gives each partition, also each later one, the
columns, CHECKs and row triggers of the root, and fires the triggers of the partition that stores the row. So a
value is sealed whichever partition a statement names.
"""

from collections.abc import Iterable

from ..key.database import Database
from ..key.shared_names import valid_name
from .catalog import TREE, Table


def tree_of(database: Database, table: Table) -> list[int]:
    """Return the OIDs of a table and of all its partitions, at any depth."""
    if table.kind != "p":
        return [table.oid]
    (row,) = database.query(f"SELECT ARRAY{TREE}::oid[]::bigint[] AS oids", ("oid", table.oid))
    return list(row["oids"])


def ancestors_of(database: Database, table: Table) -> list[int]:
    """Return the OIDs of the tables that a table is a partition of, at any depth."""
    (row,) = database.query(
        "SELECT ARRAY(SELECT a.oid::oid FROM pg_partition_ancestors($1) AS a (oid)"
        " WHERE a.oid::oid <> $1)::bigint[] AS oids",
        ("oid", table.oid),
    )
    return list(row["oids"])


def partition_obstacles(database: Database, table: Table) -> list[str]:
    """Return why a partitioned table can have no encrypted columns.

    Args:
        database: the session whose catalog is read.
        table: a partitioned table.

    Returns:
        A phrase for each partition that is an obstacle.
    """
    # Statements on the table run the CHECKs and triggers of a partition, with the rights of their role.
    return _of_others(database, table, "c.relowner <> $2", 'belongs to another role, "{owner}"')


def has_foreign_partition(database: Database, table: Table) -> bool:
    """Return whether a partition of a table is a foreign table, at any depth."""
    rows = database.query(
        f"SELECT FROM {TREE} AS t JOIN pg_class AS c ON c.oid = t.oid WHERE c.relkind = 'f' LIMIT 1",
        ("oid", table.oid),
    )
    return bool(rows)


def later_partition_obstacles(database: Database, table: Table, encrypted: Iterable[str]) -> list[str]:
    """Return the faults of the partitions of a table with encrypted columns after DDL on one of them.

    Args:
        database: the session whose catalog is read.
        table: the base table.
        encrypted: the names of its encrypted columns.

    Returns:
        A phrase for each fault.
    """
    if table.kind != "p":
        return []
    # A partition belongs to the role that has created it, and this must own the table. Another role's CHECKs and
    # triggers would run with the rights of the table's owner.
    found = _of_others(
        database,
        table,
        "NOT pg_has_role(c.relowner, $2, 'USAGE')",
        'belongs to "{owner}", who has not the rights of its owner',
    )
    keys = sorted(partition_key(database, table) & set(encrypted))
    return found + [f'column "{name}", which is encrypted, is in a partition key' for name in keys]


def _of_others(database: Database, table: Table, is_of_others: str, phrase: str) -> list[str]:
    """Return a phrase for each partition of a table that is a foreign table, or belongs to the wrong role.

    Args:
        database: the session whose catalog is read.
        table: a partitioned table.
        is_of_others: the condition that the owner of partition ``c`` is the wrong role; ``$2`` owns the table.
        phrase: the phrase for such a partition, with ``{owner}`` for its owner.
    """
    rows = database.query(
        "SELECT c.oid::regclass::text AS name, c.relkind = 'f' AS is_foreign,"
        f" {valid_name('pg_get_userbyid(c.relowner)')} AS owner"
        f" FROM {TREE} AS t JOIN pg_class AS c ON c.oid = t.oid"
        f" WHERE c.relkind = 'f' OR {is_of_others} ORDER BY 1",
        ("oid", table.oid),
        ("oid", table.owner_oid),
    )
    return [
        f"its partition {row['name']} "
        + ("is a foreign table" if row["is_foreign"] else phrase.format(owner=row["owner"]))
        for row in rows
    ]


def partition_key(database: Database, table: Table) -> set[str]:
    """Return the columns that say to which partition a row belongs, at any depth, those in expressions included.

    Args:
        database: the session whose catalog is read.
        table: any table.
    """
    rows = database.query(
        # The columns of a partition key depend on their table, which must not lose them.
        f"SELECT DISTINCT a.attname::text AS name FROM {TREE} AS t"
        " JOIN pg_partitioned_table AS p ON p.partrelid = t.oid"
        " JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum > 0 WHERE a.attnum = ANY (p.partattrs::int2[])"
        " OR EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = t.oid"
        "  AND d.objsubid = a.attnum AND d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid"
        "  AND d.refobjsubid = 0 AND d.deptype = 'i' AND a.attidentity = '')",
        ("oid", table.oid),
    )
    return {row["name"] for row in rows}


def has_expression_key(database: Database, table: Table) -> bool:
    """Return whether an expression says to which partition a row belongs, at any depth."""
    rows = database.query(
        f"SELECT FROM {TREE} AS t JOIN pg_partitioned_table AS p ON p.partrelid = t.oid"
        " WHERE p.partexprs IS NOT NULL LIMIT 1",
        ("oid", table.oid),
    )
    return bool(rows)
