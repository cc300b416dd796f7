"""Finds tables that hold the ciphertext of encrypted columns, and are not registered.

Some tools replace a table by a copy, and drop the table. The copy is recognized by the CHECK that accepts only
tokens in a column, or by a view that decrypts it, since some tools create the former view again from its text.
"""

from collections.abc import Callable
from typing import NamedTuple

from ..key.database import Database


class UnregisteredTable(NamedTuple):
    """A table that can hold ciphertext, and is not registered.

    Attributes:
        oid: its OID.
        name: its qualified name.
        cipher: the column that can have the ciphertext.
        view: the qualified name of a view that decrypts it, and is not registered either; None if there is none.
        owner: the OID of its owner. Any role can make a table that looks like this, with tokens of its own
            invention.
    """

    oid: int
    name: str
    cipher: str
    view: str | None
    owner: int

    def __str__(self) -> str:
        return f"table {self.name}"


def unregistered_tables(database: Database) -> list[UnregisteredTable]:
    """Return the tables of the database that can have ciphertext, and have no row in the registry."""
    rows = database.as_owner(
        lambda: database.execute(
            "WITH found AS ("
            # A CHECK calls the function that recognizes tokens.
            "SELECT k.conrelid AS oid, k.conkey AS numbers, NULL::oid AS view FROM pg_proc AS p"
            " JOIN pg_depend AS d ON d.refclassid = 'pg_proc'::regclass AND d.refobjid = p.oid"
            " JOIN pg_constraint AS k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid"
            " WHERE p.pronamespace = '{s}'::regnamespace AND p.proname ~ '^_is_(deterministic_)?token$'"
            # A view calls a function that opens values, and reads the column.
            " UNION ALL SELECT t.refobjid, ARRAY[t.refobjsubid::int2], r.ev_class FROM pg_proc AS p"
            " JOIN pg_depend AS d ON d.refclassid = 'pg_proc'::regclass AND d.refobjid = p.oid"
            " JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid"
            " JOIN pg_depend AS t ON t.classid = 'pg_rewrite'::regclass AND t.objid = r.oid"
            "  AND t.refclassid = 'pg_class'::regclass AND t.refobjsubid > 0 AND t.refobjid <> r.ev_class"
            # A view can name any table, also one that its owner may not read.
            " JOIN pg_class AS w ON w.oid = r.ev_class"
            "  AND has_any_column_privilege(w.relowner, t.refobjid, 'SELECT')"
            " WHERE p.pronamespace = '{s}'::regnamespace"
            "  AND p.proname ~ '^_(open|show(_computed)?)_(text|bytes)$')"
            " SELECT f.oid::bigint AS oid, format('%I.%I', n.nspname, c.relname) AS name,"
            " a.attname::text AS cipher,"
            " max((SELECT format('%I.%I', vn.nspname, v.relname) FROM pg_class AS v"
            "  JOIN pg_namespace AS vn ON vn.oid = v.relnamespace WHERE v.oid = f.view)) AS view,"
            " c.relowner::bigint AS owner"
            " FROM found AS f JOIN pg_class AS c ON c.oid = f.oid"
            " JOIN pg_namespace AS n ON n.oid = c.relnamespace"
            " JOIN pg_attribute AS a ON a.attrelid = f.oid AND a.attnum = ANY (f.numbers)"
            " WHERE c.relkind IN ('r', 'p') AND a.atttypid = 'bytea'::regtype AND NOT a.attisdropped"
            " AND NOT EXISTS (SELECT FROM {s}.encrypted_relation AS r WHERE r.base = f.oid"
            # The registry has the root of a partitioned table, and not its partitions.
            "  OR r.base IN (SELECT ancestor FROM pg_partition_ancestors(f.oid) AS a (ancestor)))"
            " GROUP BY f.oid, 2, 3, c.relowner ORDER BY 2, 3"
        )
    )
    return [UnregisteredTable(**row) for row in rows]


def possible_copies(database: Database, may_use: Callable[[int], bool]) -> list[UnregisteredTable]:
    """Return the tables that are not registered, and whose ciphertext their owners can have made with a key.

    Args:
        database: the session.
        may_use: whether the role with this OID may use the key.
    """
    tables = unregistered_tables(database)
    owners = set(filter(may_use, {each.owner for each in tables}))
    return [each for each in tables if each.owner in owners]
