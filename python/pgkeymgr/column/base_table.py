"""What has to hold of a base table so that its triggers seal all that is written to it."""

from collections.abc import Iterable

from ..key.database import Database
from .catalog import SEALING_TRIGGERS, Table
from .quoting import quote_name
from .registry import EncryptedColumn, EncryptedTable


def sealed_check(column: EncryptedColumn) -> str:
    """Return the change of a base table after which a column has no plaintext; the NULL datum is none."""
    constraint = quote_name(column.sealed_constraint)
    return f"ADD CONSTRAINT {constraint} CHECK ({quote_name(column.name)} IS NOT DISTINCT FROM NULL)"


def sealing_obstacles(database: Database, base: Table, key_columns: Iterable[str]) -> list[str]:
    """Return why values could not be sealed for the rows of a table as they are stored.

    Args:
        database: whose catalog.
        base: the table.
        key_columns: by which its rows are told apart, and those that ``key_by`` names.

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
        # tgtype: 1 row, 2 before, 4 insert, 16 update. PostgreSQL fires them in the order of their names' bytes.
        "SELECT t.tgname::text AS name FROM pg_trigger AS t WHERE t.tgrelid = $1 AND NOT t.tgisinternal"
        " AND t.tgtype & 3 = 3 AND t.tgtype & 20 <> 0 AND t.tgname <> ALL ($2::text[]::name[])"
        ' AND t.tgname::text COLLATE "C" > $3 COLLATE "C" ORDER BY 1',
        ("oid", base.oid),
        ("text[]", list(SEALING_TRIGGERS)),
        ("text", min(SEALING_TRIGGERS)),
    ):
        found.append(f'trigger "{row["name"]}" fires after the row was sealed: its name must sort before "zzzz"')
    return found


def base_table_obstacles(database: Database, table: EncryptedTable, base: Table) -> list[str]:
    """Return what is wrong with the base table of encrypted columns, after DDL on it.

    Args:
        database: whose catalog.
        table: as registered.
        base: the base table, as it is now.

    Returns:
        A phrase for each thing that has to be undone.
    """
    columns = table.encrypted.values()
    keys = [*table.key_columns, *(column.key_by for column in columns if column.key_by)]
    found = sealing_obstacles(database, base, keys)
    numbers = {}
    for column in base.columns:
        encrypted = table.encrypted.get(column.name)
        if encrypted is None:
            continue
        numbers[column.number] = encrypted
        if column.not_null:
            found.append(
                f'column "{column.name}" is NULL in every row, since its values are in "{encrypted.cipher}": '
                "NOT NULL belongs there"
            )
    own = [name for column in columns for name in column.constraints]
    for row in database.query(
        "SELECT DISTINCT d.refobjsubid AS number, pg_describe_object(d.classid, d.objid, 0) AS object"
        " FROM pg_depend AS d"
        " LEFT JOIN pg_rewrite AS rw ON d.classid = 'pg_rewrite'::regclass AND rw.oid = d.objid"
        " LEFT JOIN pg_constraint AS con ON d.classid = 'pg_constraint'::regclass AND con.oid = d.objid"
        " LEFT JOIN pg_attrdef AS def ON d.classid = 'pg_attrdef'::regclass AND def.oid = d.objid"
        " WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = $1 AND d.refobjsubid = ANY ($2)"
        " AND d.deptype IN ('n', 'a') AND (rw.ev_class IS NULL OR rw.ev_class <> $3)"
        " AND (con.oid IS NULL OR con.conname <> ALL ($4::text[]::name[]) AND con.contype <> 'n')"
        " AND (def.adnum IS NULL OR def.adnum <> d.refobjsubid) ORDER BY 1, 2",
        ("oid", base.oid),
        ("integer[]", list(numbers)),
        ("oid", table.relation),
        ("text[]", own),
    ):
        name = numbers[row["number"]].name
        found.append(f'{row["object"]} is about column "{name}", whose values are encrypted')
    return found
