"""What stands in the way of encrypting a column: what would stop working, or go on holding plaintext."""

from dataclasses import dataclass, field

from ..key.database import Database
from .catalog import SEALING_TRIGGERS, Table
from .forms import Form
from .registry import Constraint


@dataclass
class Unique:
    """A UNIQUE constraint or index with the column in it."""

    name: str
    columns: tuple[str, ...]
    is_constraint: bool
    definition: str


@dataclass
class Dependents:
    """What mentions a column: what can be carried over, and what is in the way."""

    checks: list[Constraint] = field(default_factory=list)
    uniques: list[Unique] = field(default_factory=list)
    obstacles: list[str] = field(default_factory=list)


def table_obstacles(database: Database, table: Table) -> list[str]:
    """Return why a table can have no encrypted columns.

    Args:
        database: whose catalog.
        table: a relation.

    Returns:
        A phrase for each reason.
    """
    kinds = {
        "p": "it is partitioned", "v": "it is a view", "m": "it is a materialized view", "f": "it is a "
        "foreign table",
        "i": "it is an index", "I": "it is an index", "S": "it is a sequence", "c": "it is a type",
        "t": "it is a TOAST table",
    }  # fmt: skip
    if table.kind != "r":
        return [kinds.get(table.kind, "it is not a table")]
    (row,) = database.query(
        "SELECT c.relispartition AS partition, c.relpersistence = 't' AS temporary, c.reloftype <> 0 AS typed,"
        " EXISTS (SELECT FROM pg_inherits AS i WHERE c.oid IN (i.inhrelid, i.inhparent)) AS inherits,"
        " EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid"
        "  AND d.deptype = 'e') AS member,"
        " c.relnamespace IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) AS system"
        " FROM pg_class AS c WHERE c.oid = $1",
        ("oid", table.oid),
    )
    phrases = {
        "partition": "it is a partition",
        "temporary": "it is temporary",
        "typed": "it is a typed table",
        "inherits": "it inherits, or is inherited from",
        "member": "it belongs to an extension",
        "system": "it is a table of the system",
    }
    found = [
        phrase for what, phrase in phrases.items() if row[what] and not (what == "inherits" and row["partition"])
    ]
    if table.has_row_security and table.has_column_grants:
        found.append("it has row-level security and privileges on single columns, which a view cannot both honour")
    for row in database.query(
        # Rules on it; views and SQL functions with a whole row of it, which the catalog does not tell from a mere
        # mention of the table, but their parse trees do; and whatever uses its row type.
        "WITH own AS (SELECT c.oid, c.reltype, '%:varattno 0 :vartype ' || c.reltype || ' %' AS pattern"
        "  FROM pg_class AS c WHERE c.oid = $1)"
        " SELECT pg_describe_object('pg_rewrite'::regclass, r.oid, 0) AS object FROM own, pg_rewrite AS r"
        "  WHERE r.ev_class = own.oid OR (r.ev_action::text LIKE own.pattern)"
        " UNION SELECT pg_describe_object('pg_proc'::regclass, p.oid, 0) FROM own, pg_proc AS p"
        "  WHERE p.prosqlbody::text LIKE own.pattern"
        " UNION SELECT pg_describe_object(d.classid, d.objid, d.objsubid) FROM own, pg_depend AS d"
        "  WHERE d.refclassid = 'pg_type'::regclass AND d.refobjid IN (SELECT t.oid FROM pg_type AS t"
        "   WHERE t.oid = own.reltype OR t.typelem = own.reltype)"
        "  AND d.deptype <> 'i' AND NOT (d.classid = 'pg_class'::regclass AND d.objid = own.oid)"
        " ORDER BY 1",
        ("oid", table.oid),
    ):
        found.append(f"{row['object']} depends on its whole rows")
    return found


def dependents(database: Database, table: Table, name: str, form: Form, view: int | None) -> Dependents:
    """Find what mentions a column.

    Args:
        database: whose catalog.
        table: the column's.
        name: the column's.
        form: how it would be encrypted.
        view: the OID of the table's own view, or None.

    Returns:
        What does.
    """
    column = table.column(name)
    found = Dependents()
    for row in database.query(
        "SELECT DISTINCT d.classid::regclass::text AS class, d.objid::bigint AS oid,"
        " pg_describe_object(d.classid, d.objid, 0) AS object, con.contype::text AS constraint,"
        " con.conrelid::bigint AS constrained,"
        " rw.ev_class::bigint AS view, def.adnum AS defaulted, i.indexrelid IS NOT NULL AS is_index"
        " FROM pg_depend AS d"
        " LEFT JOIN pg_constraint AS con ON d.classid = 'pg_constraint'::regclass AND con.oid = d.objid"
        " LEFT JOIN pg_rewrite AS rw ON d.classid = 'pg_rewrite'::regclass AND rw.oid = d.objid"
        " LEFT JOIN pg_attrdef AS def ON d.classid = 'pg_attrdef'::regclass AND def.oid = d.objid"
        " LEFT JOIN pg_index AS i ON d.classid = 'pg_class'::regclass AND i.indexrelid = d.objid"
        " WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = $1 AND d.refobjsubid = $2"
        " ORDER BY 3",
        ("oid", table.oid),
        ("integer", column.number),
    ):
        _sort(database, table, column.number, form, view, row, found)
    for row in database.query(
        # A trigger's function is text to PostgreSQL; where the text has the column's name, it most likely uses it.
        # A statement's trigger has the rows in transition tables. And some are given the name of a column.
        "SELECT t.tgname::text AS name, p.oid::regprocedure::text AS function, p.prosrc AS source,"
        " encode(t.tgargs, 'escape') AS arguments FROM pg_trigger AS t JOIN pg_proc AS p ON p.oid = t.tgfoid"
        " WHERE t.tgrelid = $1 AND NOT t.tgisinternal AND t.tgname <> ALL ($2::text[]::name[]) ORDER BY t.tgname",
        ("oid", table.oid),
        ("text[]", list(SEALING_TRIGGERS)),
    ):
        if _mentions(row["source"], name):
            found.obstacles.append(f'function {row["function"]} of trigger "{row["name"]}" mentions the column')
        elif _mentions(row["arguments"].replace(r"\000", " "), name):
            found.obstacles.append(f'an argument of trigger "{row["name"]}" mentions the column')
    return found


def _sort(  # one row of the query above, with what it is about
    database: Database,
    table: Table,
    number: int,
    form: Form,
    view: int | None,
    row: dict[str, object],
    found: Dependents,
) -> None:
    kind = row["class"]
    if kind == "pg_constraint" and row["constraint"] == "c" and row["constrained"] == table.oid:
        found.checks.append(_check(database, row["oid"]))
    elif (kind == "pg_constraint" and row["constraint"] == "u") or row["is_index"]:
        unique = _unique(database, row["oid"], is_constraint=kind == "pg_constraint", form=form)
        if isinstance(unique, str):
            found.obstacles.append(f"{row['object']}{unique}")
        else:
            found.uniques.append(unique)
    elif (
        (kind == "pg_rewrite" and row["view"] == view)
        or (kind == "pg_attrdef" and row["defaulted"] == number)
        # NOT NULL, which is a constraint with a name since PostgreSQL 18.
        or (kind == "pg_constraint" and row["constraint"] == "n" and row["constrained"] == table.oid)
    ):
        pass
    elif kind == "pg_attrdef":
        (generated,) = [column.name for column in table.columns if column.number == row["defaulted"]]
        found.obstacles.append(f'column "{generated}" is generated from it')
    else:
        found.obstacles.append(f"{row['object']} depends on it")


def _check(database: Database, oid: object) -> Constraint:
    (row,) = database.query(
        "SELECT c.conname::text AS name, pg_get_expr(c.conbin, c.conrelid) AS definition,"
        " (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute AS a"
        "  WHERE a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)) AS columns"
        " FROM pg_constraint AS c WHERE c.oid = $1",
        ("oid", oid),
    )
    return Constraint(row["name"], "c", tuple(row["columns"]), row["definition"])


def _unique(database: Database, oid: object, *, is_constraint: bool, form: Form) -> Unique | str:
    # The constraint's index, or the index itself; a phrase if a unique blind index cannot stand for it.
    (row,) = database.query(
        "SELECT ic.relname::text AS name, i.indisunique AS is_unique, i.indpred IS NULL AND i.indexprs IS NULL"
        " AND i.indnatts = i.indnkeyatts AS is_simple, to_jsonb(i) ->> 'indnullsnotdistinct' = 'true' AS nulls,"
        " coalesce(con.condeferrable, false) AS deferrable,"
        " am.amname::text AS method, coalesce(pg_get_constraintdef(con.oid), "
        "pg_get_indexdef(i.indexrelid)) AS def,"
        " coalesce((SELECT bool_and(co.collisdeterministic) FROM unnest(i.indcollation::oid[]) AS u (o)"
        "  JOIN pg_collation AS co ON co.oid = u.o), true) AS deterministic,"
        " (SELECT array_agg(a.attname::text ORDER BY k.position) FROM"
        "  unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, position)"
        "  JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number) AS columns,"
        " EXISTS (SELECT FROM pg_constraint AS fk WHERE fk.conindid = i.indexrelid AND fk.contype = 'f') "
        "AS referenced"
        " FROM pg_index AS i JOIN pg_class AS ic ON ic.oid = i.indexrelid JOIN pg_am AS am ON am.oid = ic.relam"
        " LEFT JOIN pg_constraint AS con ON con.conindid = i.indexrelid AND con.contype IN ('u', 'p')"
        " WHERE i.indexrelid = $1 OR con.oid = $1",
        ("oid", oid),
    )
    reasons = (
        (not row["is_unique"], " would index it: drop it; add_blind_index() gives equality search"),
        (row["referenced"], " is referenced by a foreign key"),
        (
            not row["is_simple"] or row["method"] != "btree",
            " is partial, over an expression, or has further columns",
        ),
        (row["deferrable"], " is deferrable"),
        (row["nulls"], " has NULLS NOT DISTINCT"),
        (not (form.is_comparable and row["deterministic"]), ", whose values can be equal in more than one form"),
    )
    for stands, reason in reasons:
        if stands:
            return reason
    return Unique(row["name"], tuple(row["columns"]), is_constraint, row["def"])


def _mentions(source: str, name: str) -> bool:
    import re

    return re.search(rf"(?<![\w$]){re.escape(name)}(?![\w$])", source, re.IGNORECASE) is not None
