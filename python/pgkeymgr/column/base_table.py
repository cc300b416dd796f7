"""The conditions under which the triggers of a base table seal every value that is written to it."""

from collections.abc import Iterable

from ..key.database import Database
from .catalog import OWN_TRIGGERS, Table
from .encrypted_table import EncryptedColumn, EncryptedTable
from .partitions import later_partition_obstacles, tree_of
from .quoting import quote_name

IS_ABOUT = "is about column"
"""The verb of an obstacle that is a constraint, an index or another object on an encrypted column."""


def sealed_check(column: EncryptedColumn) -> str:
    """Return the ALTER TABLE action for the CHECK that a column has no plaintext, so only the NULL datum."""
    constraint = quote_name(column.sealed_constraint)
    return f"ADD CONSTRAINT {constraint} CHECK ({quote_name(column.name)} IS NOT DISTINCT FROM NULL)"


def present_check(column: EncryptedColumn) -> str:
    """Return the ALTER TABLE action for the CHECK that each row has a ciphertext."""
    return (
        f"ADD CONSTRAINT {quote_name(column.present_constraint)} CHECK ({quote_name(column.cipher)} IS NOT NULL)"
    )


def opened_check(column: EncryptedColumn) -> str:
    """Return the ALTER TABLE action for the CHECK that a column has no ciphertext."""
    return f"ADD CONSTRAINT {quote_name(column.opened_constraint)} CHECK ({quote_name(column.cipher)} IS NULL)"


def sealing_obstacles(database: Database, base: Table, key_columns: Iterable[str]) -> list[str]:
    """Return the reasons why values cannot be sealed for the rows of a table as they are stored.

    Args:
        database: the session whose catalog is read.
        base: the table.
        key_columns: the columns that identify its rows, and the columns that ``key_by`` names.

    Returns:
        A phrase for each reason.
    """
    keys = set(key_columns)
    found = [
        f'column "{column.name}" is generated, and PostgreSQL computes it after a row was sealed for it'
        for column in base.columns
        if column.name in keys and column.generated is not None
    ]
    for row in database.query(
        # tgtype: 1 row, 2 before, 4 insert, 16 update. PostgreSQL fires triggers in the byte order of their names.
        "SELECT DISTINCT t.tgname::text AS name FROM pg_trigger AS t"
        " WHERE t.tgrelid = ANY ($1) AND NOT t.tgisinternal"
        " AND t.tgtype & 3 = 3 AND t.tgtype & 20 <> 0 AND t.tgname <> ALL ($2::text[]::name[])"
        ' AND t.tgname::text COLLATE "C" > $3 COLLATE "C" ORDER BY 1',
        ("oid[]", tree_of(database, base)),
        ("text[]", list(OWN_TRIGGERS)),
        ("text", min(OWN_TRIGGERS)),
    ):
        found.append(f'trigger "{row["name"]}" fires after the row was sealed: its name must sort before "zzzz"')
    return found


def base_table_obstacles(database: Database, table: EncryptedTable, base: Table) -> list[str]:
    """Return the faults of a base table after DDL on it.

    Args:
        database: the session whose catalog is read.
        table: the table as it is registered.
        base: the present base table.

    Returns:
        A phrase for each change that must be undone.
    """
    columns = table.encrypted.values()
    keys = [*table.key_columns, *(column.key_by for column in columns if column.key_by)]
    found = sealing_obstacles(database, base, keys)
    found += later_partition_obstacles(database, base, table.encrypted)
    tree = tree_of(database, base)
    for row in database.query(
        "SELECT a.attname::text AS name, a.attrelid::regclass::text AS relation, a.attrelid = $3 AS is_root"
        " FROM pg_attribute AS a WHERE a.attrelid = ANY ($1) AND a.attname = ANY ($2::text[]::name[])"
        " AND a.attnotnull ORDER BY 3 DESC, 1, 2",
        ("oid[]", tree),
        ("text[]", list(table.encrypted)),
        ("oid", base.oid),
    ):
        where = "" if row["is_root"] else f" of partition {row['relation']}"
        found.append(
            f'column "{row["name"]}"{where} is NULL in every row, since its values are in '
            f'"{table.encrypted[row["name"]].cipher}": NOT NULL belongs there'
        )
    found += [
        row["phrase"]
        for row in database.query(
            # The view would show rows of other tables, and its triggers would not find them.
            "SELECT CASE WHEN i.inhrelid = $1 THEN format('it inherits from %s', i.inhparent::regclass)"
            " ELSE format('%s inherits from it', i.inhrelid::regclass) END AS phrase"
            " FROM pg_inherits AS i WHERE $1 = i.inhrelid OR (i.inhparent = $1 AND NOT $2) ORDER BY 1",
            ("oid", base.oid),
            ("boolean", base.kind == "p"),
        )
    ]
    own = [name for column in columns for name in column.constraints]
    for row in database.query(
        "SELECT DISTINCT a.attname::text AS name, pg_describe_object(d.classid, d.objid, 0) AS object"
        " FROM pg_attribute AS a JOIN pg_depend AS d ON d.refclassid = 'pg_class'::regclass"
        " AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum"
        " LEFT JOIN pg_rewrite AS rw ON d.classid = 'pg_rewrite'::regclass AND rw.oid = d.objid"
        " LEFT JOIN pg_constraint AS con ON d.classid = 'pg_constraint'::regclass AND con.oid = d.objid"
        " LEFT JOIN pg_attrdef AS def ON d.classid = 'pg_attrdef'::regclass AND def.oid = d.objid"
        " WHERE a.attrelid = ANY ($1) AND a.attname = ANY ($2::text[]::name[]) AND NOT a.attisdropped"
        " AND d.deptype IN ('n', 'a') AND (rw.ev_class IS NULL OR rw.ev_class <> $3)"
        " AND (con.oid IS NULL OR con.conname <> ALL ($4::text[]::name[]) AND con.contype <> 'n')"
        " AND (def.adnum IS NULL OR def.adnum <> d.refobjsubid) ORDER BY 1, 2",
        ("oid[]", tree),
        ("text[]", list(table.encrypted)),
        ("oid", table.relation),
        ("text[]", own),
    ):
        found.append(f'{row["object"]} {IS_ABOUT} "{row["name"]}", whose values are encrypted')
    for row in database.query(
        # decrypt_column() gives the table its CHECK constraints back.
        "SELECT conname::text AS name FROM pg_constraint"
        " WHERE conrelid = $1 AND conname = ANY ($2::text[]::name[]) ORDER BY 1",
        ("oid", base.oid),
        ("text[]", [check.name for check in table.checks()]),
    ):
        found.append(f'constraint "{row["name"]}" has the name of a CHECK constraint of encrypted columns')
    return found
