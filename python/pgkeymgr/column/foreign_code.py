"""The functions of users that an UPDATE of a table calls, besides those of its triggers."""

import re

from ..key.database import Database
from .catalog import Table
from .partitions import ancestors_of, tree_of

_QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*\"""")
# PostgreSQL writes all names in a definition with their schema that are not its own.
_QUALIFIED = re.compile(r"\.\s*[^\W\d]")


def foreign_function(database: Database, base: Table) -> str | None:
    """Find a function that an UPDATE of a table calls and whose owner may not set session_replication_role.

    Args:
        database: the session whose catalog is read, with ``search_path`` = pg_catalog.
        base: the table.

    Returns:
        The name of one such function; None if there is none, or if the owner of the table may set the parameter.
    """
    rows = database.query(
        # From the table to its constraints, indexes, rules and generated columns, and to all that these name; from
        # a type to its CHECK constraints and its fields.
        "WITH RECURSIVE used (class, oid) AS (SELECT 'pg_class'::regclass::oid, r.oid FROM unnest($1) AS r (oid)"
        " UNION SELECT n.class, n.oid FROM used AS u CROSS JOIN LATERAL ("
        "  SELECT 'pg_constraint'::regclass::oid, c.oid FROM pg_constraint AS c"
        "   WHERE u.class = 'pg_class'::regclass AND u.oid = ANY ($1) AND c.conrelid = u.oid"
        "    AND c.contype IN ('c', 'x')"
        "  UNION ALL SELECT 'pg_constraint'::regclass, c.oid FROM pg_constraint AS c"
        "   WHERE u.class = 'pg_type'::regclass AND c.contypid = u.oid"
        "  UNION ALL SELECT 'pg_class'::regclass, i.indexrelid FROM pg_index AS i"
        "   WHERE u.class = 'pg_class'::regclass AND u.oid = ANY ($1) AND i.indrelid = u.oid"
        "  UNION ALL SELECT 'pg_rewrite'::regclass, r.oid FROM pg_rewrite AS r"
        "   WHERE u.class = 'pg_class'::regclass AND u.oid = ANY ($1) AND r.ev_class = u.oid"
        "  UNION ALL SELECT 'pg_attrdef'::regclass, f.oid FROM pg_attrdef AS f JOIN pg_attribute AS a"
        "    ON a.attrelid = f.adrelid AND a.attnum = f.adnum AND a.attgenerated <> ''"
        "   WHERE u.class = 'pg_class'::regclass AND u.oid = ANY ($1) AND f.adrelid = u.oid"
        "  UNION ALL SELECT 'pg_class'::regclass, t.typrelid FROM pg_type AS t"
        "   WHERE u.class = 'pg_type'::regclass AND t.oid = u.oid AND t.typrelid <> 0"
        "  UNION ALL SELECT d.refclassid, d.refobjid FROM pg_depend AS d"
        "   WHERE d.classid = u.class AND d.objid = u.oid AND d.refclassid IN ('pg_proc'::regclass,"
        "    'pg_operator'::regclass, 'pg_type'::regclass, 'pg_opclass'::regclass, 'pg_cast'::regclass)"
        " ) AS n (class, oid))"
        " SELECT p.oid::regprocedure::text AS name FROM used AS u JOIN pg_proc AS p"
        "  ON u.class = 'pg_proc'::regclass AND p.oid = u.oid"
        " WHERE NOT has_parameter_privilege(p.proowner, 'session_replication_role', 'SET')"
        "  AND NOT has_parameter_privilege($2, 'session_replication_role', 'SET') ORDER BY 1 LIMIT 1",
        # The rows of a partition are checked by the partition keys of the tables that it belongs to.
        ("oid[]", [*tree_of(database, base), *ancestors_of(database, base)]),
        ("oid", base.owner_oid),
    )
    if rows:
        return str(rows[0]["name"])
    checks = database.as_owner(
        lambda: database.execute(
            # The triggers of the table check them. In the registry, they are text.
            "SELECT c.definition FROM {s}.encrypted_constraint AS c JOIN {s}.encrypted_relation AS r"
            " ON r.id OPERATOR(pg_catalog.=) c.relation_id"
            " WHERE c.kind OPERATOR(pg_catalog.=) 'c' AND (r.base::pg_catalog.oid OPERATOR(pg_catalog.=) $1"
            " OR r.base OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT pg_catalog.pg_partition_ancestors($1))))"
            " AND NOT pg_catalog.has_parameter_privilege($2, 'session_replication_role', 'SET')",
            ("oid", base.oid),
            ("oid", base.owner_oid),
        )
    )
    if any(_QUALIFIED.search(_QUOTED.sub("quoted", row["definition"])) for row in checks):
        return "a function in a CHECK constraint"
    return None
