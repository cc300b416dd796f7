"""Finds the obstacles to encrypting a column: objects that would stop working, or would keep plaintext."""

from dataclasses import dataclass, field
from typing import Any

from ..key.database import Database
from .catalog import OWN_TRIGGERS, Table
from .dependent_objects import Address
from .encrypted_table import Constraint
from .forms import Form
from .partitions import partition_obstacles, tree_of


@dataclass
class Unique:
    """A UNIQUE constraint or index with the column in it."""

    name: str
    columns: tuple[str, ...]
    is_constraint: bool
    definition: str


@dataclass(frozen=True)
class Index:
    """An index on the column that enforces nothing."""

    name: str
    definition: str

    @property
    def drop(self) -> str:
        """The statement that drops it."""
        return f"DROP INDEX {self.name}"


@dataclass(frozen=True)
class Obstacle:
    """An obstacle to encrypting a column.

    Attributes:
        reason: a phrase for messages.
        before: the statement that removes the obstacle, or nothing.
        after: the statement that creates the object again, perhaps after a change, or nothing.
    """

    reason: str
    before: str = ""
    after: str = ""


@dataclass
class Dependents:
    """The objects that mention a column: those that can be carried over, and the obstacles.

    Attributes:
        objects: views, rules, functions and policies, which are created again; see ``dependent_objects``.
    """

    checks: list[Constraint] = field(default_factory=list)
    uniques: list[Unique] = field(default_factory=list)
    indexes: list[Index] = field(default_factory=list)
    objects: list[Address] = field(default_factory=list)
    obstacles: list[Obstacle] = field(default_factory=list)


def table_obstacles(database: Database, table: Table) -> list[str]:
    """Return why a table can have no encrypted columns.

    Args:
        database: the session whose catalog is read.
        table: a relation.

    Returns:
        A phrase for each reason.
    """
    kinds = {
        "v": "it is a view", "m": "it is a materialized view", "f": "it is a "
        "foreign table",
        "i": "it is an index", "I": "it is an index", "S": "it is a sequence", "c": "it is a type",
        "t": "it is a TOAST table",
    }  # fmt: skip
    if table.kind not in "rp":
        return [kinds.get(table.kind, "it is not a table")]
    (row,) = database.query(
        "SELECT c.relispartition AS partition, c.relpersistence = 't' AS temporary, c.reloftype <> 0 AS typed,"
        " c.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits AS i WHERE c.oid IN (i.inhrelid, i.inhparent))"
        " AS inherits,"
        " EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid"
        "  AND d.deptype = 'e') AS member,"
        " c.relnamespace IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) AS system"
        " FROM pg_class AS c WHERE c.oid = $1",
        ("oid", table.oid),
    )
    phrases = {
        "partition": "it is a partition: encrypt the column of the table that is partitioned",
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
    if table.kind == "p":
        found += partition_obstacles(database, table)
    return found


def whole_row_dependents(database: Database, table: Table) -> Dependents:
    """Find the dependents of the whole rows of a table that a view will replace.

    Args:
        database: the session whose catalog is read.
        table: a table without encrypted columns.

    Returns:
        The objects, and the obstacles among them.
    """
    found = Dependents()
    for row in database.query(
        # The query finds rules on the table; views, policies and SQL functions that use a whole row of it; and
        # users of its row type. pg_depend does not distinguish a whole row from a mention of the table, and the
        # parse trees do.
        "WITH own AS (SELECT c.oid, c.reltype, '%:varattno 0 :vartype ' || c.reltype || ' %' AS pattern"
        "  FROM pg_class AS c WHERE c.oid = $1),"
        " users (classid, objid, objsubid) AS (SELECT 'pg_rewrite'::regclass::oid, r.oid, 0 FROM own,"
        " pg_rewrite AS r"
        "  WHERE r.ev_class = own.oid OR (r.ev_action::text LIKE own.pattern)"
        " UNION SELECT 'pg_proc'::regclass::oid, p.oid, 0 FROM own, pg_proc AS p"
        "  WHERE p.prosqlbody::text LIKE own.pattern"
        " UNION SELECT 'pg_policy'::regclass::oid, p.oid, 0 FROM own, pg_policy AS p"
        "  WHERE p.polqual::text LIKE own.pattern OR p.polwithcheck::text LIKE own.pattern"
        # In a constraint or an index, the whole row would be one with the ciphertext.
        " UNION SELECT 'pg_constraint'::regclass::oid, c.oid, 0 FROM own, pg_constraint AS c"
        "  WHERE c.conrelid = own.oid AND c.conbin::text LIKE own.pattern"
        " UNION SELECT 'pg_class'::regclass::oid, i.indexrelid, 0 FROM own, pg_index AS i"
        "  WHERE i.indrelid = own.oid AND concat(i.indexprs, i.indpred) LIKE own.pattern"
        " UNION SELECT d.classid, d.objid, d.objsubid FROM own, pg_depend AS d"
        "  WHERE d.refclassid = 'pg_type'::regclass AND d.refobjid IN (SELECT t.oid FROM pg_type AS t"
        "   WHERE t.oid = own.reltype OR t.typelem = own.reltype)"
        "  AND d.deptype <> 'i' AND NOT (d.classid = 'pg_class'::regclass AND d.objid = own.oid))"
        " SELECT u.classid::regclass::text AS class, u.objid::bigint AS oid,"
        " pg_describe_object(u.classid, u.objid, u.objsubid) AS object, w.ev_class::bigint AS view,"
        " w.rulename::text AS rule,"
        " p.polrelid::bigint AS of_table, c.relkind::text AS relation_kind FROM users AS u LEFT JOIN pg_class"
        " AS c ON u.classid = 'pg_class'::regclass AND c.oid = u.objid LEFT JOIN pg_rewrite AS w ON u.classid ="
        " 'pg_rewrite'::regclass"
        "  AND w.oid = u.objid LEFT JOIN pg_policy AS p ON u.classid = 'pg_policy'::regclass AND p.oid ="
        " u.objid ORDER BY 3",
        ("oid", table.oid),
    ):
        address = _address(row, table)
        if address is None:
            found.obstacles.append(
                Obstacle(f"{row['object']} depends on its whole rows", *_statements(database, row, table))
            )
        else:
            found.objects.append(address)
    found.obstacles += _callers(database, table)
    return found


def _callers(database: Database, table: Table) -> list[Obstacle]:
    """Return the triggers that give their row to a function of whole rows, which is to take rows of the view."""
    rows = database.query(
        "SELECT t.oid::bigint AS oid, t.tgname::text AS name, p.oid::regprocedure::text AS function,"
        " p.prosrc AS source, f.proname::text AS called_name, f.oid::regprocedure::text AS called"
        " FROM pg_trigger AS t JOIN pg_proc AS p ON p.oid = t.tgfoid JOIN pg_class AS c ON c.oid = t.tgrelid"
        " JOIN pg_type AS y ON y.oid = c.reltype"
        " JOIN pg_proc AS f ON ARRAY[y.oid, y.typarray] && f.proargtypes::oid[]"
        " WHERE t.tgrelid = $1 AND NOT t.tgisinternal ORDER BY t.tgname, called",
        ("oid", table.oid),
    )
    return [
        Obstacle(
            f'function {row["function"]} of trigger "{row["name"]}" calls {row["called"]}, which would take rows '
            "of the view",
            *_statements(database, {"class": "pg_trigger", "oid": row["oid"]}, table),
        )
        for row in rows
        if _mentions(row["source"], row["called_name"])
    ]


def _address(row: dict[str, Any], table: Table) -> Address | None:
    """Return the object that is created again, or None if it cannot be."""
    if row["class"] == "pg_rewrite":
        return ("pg_class", row["view"]) if row["rule"] == "_RETURN" else ("pg_rewrite", row["oid"])
    if row["class"] == "pg_class" and row["relation_kind"] in ("v", "m"):  # with a column of the row type
        return "pg_class", row["oid"]
    # A policy of the table itself would read the base table, where the value is encrypted.
    if row["class"] == "pg_proc" or (row["class"] == "pg_policy" and row["of_table"] != table.oid):
        return row["class"], row["oid"]
    return None


def _statements(database: Database, row: dict[str, Any], table: Table) -> tuple[str, str]:
    """Return the DDL that takes an object out of the way of encrypting a column, and that which brings it back."""
    (found,) = database.query(
        "SELECT CASE $1"
        " WHEN 'pg_constraint' THEN (SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', c.conrelid::regclass,"
        " c.conname)"
        # A table needs its primary key.
        "  FROM pg_constraint AS c WHERE c.oid = $2 AND c.contype <> 'p')"
        " WHEN 'pg_class' THEN (SELECT CASE WHEN c.relkind IN ('i', 'I') THEN format('DROP INDEX %s',"
        " c.oid::regclass)"
        "  WHEN c.relkind = 'S' THEN format('ALTER SEQUENCE %s OWNED BY NONE', c.oid::regclass) END"
        "  FROM pg_class AS c WHERE c.oid = $2)"
        " WHEN 'pg_statistic_ext' THEN (SELECT format('DROP STATISTICS %I.%I', n.nspname, s.stxname)"
        "  FROM pg_statistic_ext AS s JOIN pg_namespace AS n ON n.oid = s.stxnamespace WHERE s.oid = $2)"
        " WHEN 'pg_policy' THEN (SELECT format('DROP POLICY %I ON %s', p.polname, p.polrelid::regclass)"
        "  FROM pg_policy AS p WHERE p.oid = $2)"
        " WHEN 'pg_trigger' THEN (SELECT format('DROP TRIGGER %I ON %s', t.tgname, t.tgrelid::regclass)"
        "  FROM pg_trigger AS t WHERE t.oid = $2)"
        " WHEN 'pg_publication_rel' THEN (SELECT format('ALTER PUBLICATION %I DROP TABLE %s', p.pubname,"
        " r.prrelid::regclass)"
        "  FROM pg_publication_rel AS r JOIN pg_publication AS p ON p.oid = r.prpubid WHERE r.oid = $2)"
        " WHEN 'pg_attrdef' THEN (SELECT format('ALTER TABLE %s DROP COLUMN %I', d.adrelid::regclass, a.attname)"
        "  FROM pg_attrdef AS d JOIN pg_attribute AS a ON a.attrelid = d.adrelid AND a.attnum = d.adnum WHERE"
        " d.oid = $2)"
        " END AS before, CASE $1"
        " WHEN 'pg_constraint' THEN (SELECT format('ALTER TABLE %s ADD CONSTRAINT %I %s',"
        " c.conrelid::regclass, c.conname,"
        "   pg_get_constraintdef(c.oid)) FROM pg_constraint AS c WHERE c.oid = $2 AND c.contype = 'f' AND"
        " c.confrelid <> $3)"
        " WHEN 'pg_trigger' THEN pg_get_triggerdef($2)"
        " WHEN 'pg_publication_rel' THEN (SELECT format('ALTER PUBLICATION %I ADD TABLE %s', p.pubname,"
        " r.prrelid::regclass)"
        "  FROM pg_publication_rel AS r JOIN pg_publication AS p ON p.oid = r.prpubid WHERE r.oid = $2)"
        " END AS after",
        ("text", row["class"]),
        ("oid", row["oid"]),
        ("oid", table.oid),
    )
    return found["before"] or "", found["after"] or ""


def dependents(database: Database, table: Table, name: str, form: Form, view: int | None) -> Dependents:
    """Find the objects that mention a column.

    Args:
        database: the session whose catalog is read.
        table: the table of the column.
        name: the name of the column.
        form: the form in which the column would be encrypted.
        view: the OID of the table's own view, or None.

    Returns:
        The objects, and the obstacles among them.
    """
    column = table.column(name)
    found = Dependents()
    for row in database.query(
        "SELECT DISTINCT d.classid::regclass::text AS class, d.objid::bigint AS oid,"
        " pg_describe_object(d.classid, d.objid, 0) AS object, con.contype::text AS constraint, con.convalidated,"
        " con.conrelid::bigint AS constrained, rw.ev_class::bigint AS view, rw.rulename::text AS rule,"
        " pol.polrelid::bigint AS of_table, NULL AS relation_kind, def.adnum AS defaulted, i.indexrelid IS NOT"
        " NULL AS is_index"
        " FROM pg_depend AS d"
        " LEFT JOIN pg_constraint AS con ON d.classid = 'pg_constraint'::regclass AND con.oid = d.objid"
        " LEFT JOIN pg_rewrite AS rw ON d.classid = 'pg_rewrite'::regclass AND rw.oid = d.objid"
        " LEFT JOIN pg_attrdef AS def ON d.classid = 'pg_attrdef'::regclass AND def.oid = d.objid"
        " LEFT JOIN pg_index AS i ON d.classid = 'pg_class'::regclass AND i.indexrelid = d.objid"
        " LEFT JOIN pg_policy AS pol ON d.classid = 'pg_policy'::regclass AND pol.oid = d.objid"
        " WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = $1 AND d.refobjsubid = $2"
        " ORDER BY 3",
        ("oid", table.oid),
        ("integer", column.number),
    ):
        _sort(database, table, column.number, form, view, row, found)
    found.obstacles += _of_partitions(database, table, name)
    (named,) = database.query(
        "SELECT relname::text AS name FROM pg_class WHERE oid = $1", ("oid", view or table.oid)
    )
    found.obstacles += trigger_obstacles(database, table, name, named["name"])
    return found


def trigger_obstacles(database: Database, table: Table, name: str, row_type: str) -> list[Obstacle]:
    """Return the triggers that read a column, that keep copies of whole rows, or that convert their row.

    Args:
        database: the session whose catalog is read.
        table: the table of the column.
        name: the name of the column.
        row_type: the name that the view has, or will have, and so the type of the view's rows.
    """
    found = []
    for row in database.query(
        # The body of a trigger function is text to PostgreSQL. A body that has the column's name most likely uses
        # the column. A statement trigger gets rows in transition tables, and an argument can be a column's name.
        "SELECT 'pg_trigger' AS class, t.oid::bigint AS oid, t.tgname::text AS name,"
        " p.oid::regprocedure::text AS function, p.prosrc AS source,"
        # 1 row, 2 before
        " l.lanname::text AS language, t.tgtype & 3 = 3 AS is_before_row,"
        " encode(t.tgargs, 'escape') AS arguments,"
        " num_nonnulls(t.tgoldtable, t.tgnewtable) > 0 AS has_transition_tables"
        " FROM pg_trigger AS t JOIN pg_proc AS p ON p.oid = t.tgfoid"
        " JOIN pg_language AS l ON l.oid = p.prolang"
        " WHERE t.tgrelid = ANY ($1) AND NOT t.tgisinternal AND t.tgparentid = 0"
        " AND t.tgname <> ALL ($2::text[]::name[]) ORDER BY t.tgname",
        ("oid[]", tree_of(database, table)),
        ("text[]", list(OWN_TRIGGERS)),
    ):
        arguments = row["arguments"].split(r"\000")[:-1]
        if row["is_before_row"] and _only_assigns(row["language"], row["source"], arguments, name):
            continue
        if _mentions(row["source"], name):
            reason = f'function {row["function"]} of trigger "{row["name"]}" mentions the column'
        elif _mentions(" ".join(arguments), name):
            reason = f'an argument of trigger "{row["name"]}" mentions the column'
        elif _copies_rows(row["source"], has_transition_tables=row["has_transition_tables"]):
            reason = (
                f'function {row["function"]} of trigger "{row["name"]}" inserts whole rows elsewhere, which have '
                "a further column then"
            )
        elif _converts_rows(row["source"], row_type):
            reason = (
                f'function {row["function"]} of trigger "{row["name"]}" converts its row to type "{row_type}" or '
                "from it, which is the type of the view's rows then"
            )
        else:
            continue
        found.append(Obstacle(reason, *_statements(database, row, table)))
    return found


def _of_partitions(database: Database, table: Table, name: str) -> list[Obstacle]:
    """Return the objects on a column of single partitions: those that the partitioned table itself has not."""
    if table.kind != "p":
        return []
    found = []
    for row in database.query(
        "SELECT DISTINCT d.classid::regclass::text AS class, d.objid::bigint AS oid,"
        " pg_describe_object(d.classid, d.objid, 0) AS object, a.attrelid::regclass::text AS partition"
        " FROM pg_attribute AS a JOIN pg_depend AS d ON d.refclassid = 'pg_class'::regclass"
        " AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum AND d.deptype IN ('n', 'a')"
        " LEFT JOIN pg_constraint AS con ON d.classid = 'pg_constraint'::regclass AND con.oid = d.objid"
        " LEFT JOIN pg_attrdef AS def ON d.classid = 'pg_attrdef'::regclass AND def.oid = d.objid"
        " LEFT JOIN pg_class AS i ON d.classid = 'pg_class'::regclass AND i.oid = d.objid"
        " LEFT JOIN pg_trigger AS t ON d.classid = 'pg_trigger'::regclass AND t.oid = d.objid"
        " WHERE a.attrelid = ANY ($1) AND a.attrelid <> $2 AND a.attname = $3"
        # PostgreSQL has given the rest to the partition, and handles it with that of the partitioned table.
        " AND (con.oid IS NULL OR con.coninhcount = 0 AND con.conparentid = 0 AND con.contype <> 'n')"
        " AND (def.adnum IS NULL OR def.adnum <> a.attnum) AND i.relispartition IS NOT TRUE"
        " AND coalesce(t.tgparentid, 0) = 0 ORDER BY 3",
        ("oid[]", tree_of(database, table)),
        ("oid", table.oid),
        ("text", name),
    ):
        reason = f"{row['object']} is about the column in partition {row['partition']} only"
        found.append(Obstacle(reason, *_statements(database, row, table)))
    for row in database.query(
        "SELECT a.attrelid::regclass::text AS partition, format('ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL',"
        " a.attrelid::regclass, a.attname) AS before FROM pg_attribute AS a"
        " WHERE a.attrelid = ANY ($1) AND a.attname = $2 AND a.attnotnull ORDER BY 1",
        ("oid[]", tree_of(database, table)),
        ("text", name),
    ):
        if not table.column(name).not_null:
            found.append(Obstacle(f"it is NOT NULL in partition {row['partition']} only", row["before"]))
    for row in database.query(
        "SELECT d.adrelid::regclass::text AS partition, format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT',"
        " d.adrelid::regclass, a.attname) AS before FROM pg_attribute AS a"
        " JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum"
        " WHERE a.attrelid = ANY ($1) AND a.attname = $2"
        " AND pg_get_expr(d.adbin, d.adrelid) IS DISTINCT FROM $3 ORDER BY 1",
        ("oid[]", tree_of(database, table)),
        ("text", name),
        ("text", table.column(name).default),
    ):
        found.append(Obstacle(f"partition {row['partition']} has another default for it", row["before"]))
    return found


_IS_REPLICA_IDENTITY = " is the replica identity of the table"


def _sort(  # one row of the query above, with what it is about
    database: Database,
    table: Table,
    number: int,
    form: Form,
    view: int | None,
    row: dict[str, Any],
    found: Dependents,
) -> None:
    kind = row["class"]

    def hinder(reason: str) -> None:
        found.obstacles.append(Obstacle(reason, *_statements(database, row, table)))

    if kind == "pg_constraint" and row["constraint"] == "c" and row["constrained"] == table.oid:
        check = _check(database, row["oid"])
        if isinstance(check, str):
            hinder(f"{row['object']}{check}")
        else:
            found.checks.append(check)
    elif (kind == "pg_constraint" and row["constraint"] == "u") or row["is_index"]:
        unique = _unique(database, row["oid"], is_constraint=kind == "pg_constraint", form=form)
        if unique == _IS_REPLICA_IDENTITY:
            statement = f"ALTER TABLE {table.qualified} REPLICA IDENTITY DEFAULT"
            found.obstacles.append(Obstacle(f"{row['object']}{unique}", statement))
        elif isinstance(unique, str):
            hinder(f"{row['object']}{unique}")
        elif isinstance(unique, Index):
            found.indexes.append(unique)
        else:
            found.uniques.append(unique)
    elif (
        (kind == "pg_rewrite" and row["view"] == view)
        or (kind == "pg_attrdef" and row["defaulted"] == number)
        # From PostgreSQL 18 on, NOT NULL is a constraint with a name, and rows can violate it.
        or (row["constraint"] == "n" and row["constrained"] == table.oid and row["convalidated"])
    ):
        pass
    elif kind == "pg_attrdef":
        (generated,) = [column.name for column in table.columns if column.number == row["defaulted"]]
        hinder(f'column "{generated}" is generated from it')
    elif (address := _address(row, table)) is not None:
        found.objects.append(address)
    else:
        hinder(f"{row['object']} depends on it")


def _check(database: Database, oid: object) -> Constraint | str:
    # Return a phrase if the table's trigger cannot check the constraint as PostgreSQL does.
    (row,) = database.query(
        "SELECT c.conname::text AS name, pg_get_expr(c.conbin, c.conrelid) AS definition,"
        " (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute AS a"
        "  WHERE a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)) AS columns,"
        " obj_description(c.oid, 'pg_constraint') AS comment,"
        " to_jsonb(c) ->> 'conenforced' = 'false' AS is_off"
        " FROM pg_constraint AS c WHERE c.oid = $1",
        ("oid", oid),
    )
    if "tableoid" in row["columns"]:
        return " mentions tableoid, which a trigger does not see"
    if row["is_off"]:
        return " is NOT ENFORCED, and a trigger would enforce it"
    return Constraint(row["name"], "c", tuple(row["columns"]), row["definition"], row["comment"])


def _unique(database: Database, oid: object, *, is_constraint: bool, form: Form) -> Unique | Index | str:
    # Return a phrase if a unique blind index cannot stand for the constraint or the index.
    (row,) = database.query(
        "SELECT ic.relname::text AS name, ic.oid::regclass::text AS qualified, i.indisunique AS is_unique,"
        " i.indpred IS NULL AND i.indexprs IS NULL"
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
        "AS referenced, i.indisreplident AS is_identity"
        " FROM pg_index AS i JOIN pg_class AS ic ON ic.oid = i.indexrelid JOIN pg_am AS am ON am.oid = ic.relam"
        " LEFT JOIN pg_constraint AS con ON con.conindid = i.indexrelid AND con.contype IN ('u', 'p')"
        " WHERE i.indexrelid = $1 OR con.oid = $1",
        ("oid", oid),
    )
    if not row["is_unique"]:
        return Index(row["qualified"], row["def"])
    reasons = (
        (row["is_identity"], _IS_REPLICA_IDENTITY),
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


_NOT_NULL = (
    r"(pg_catalog\.)?(now|clock_timestamp|statement_timestamp|transaction_timestamp|gen_random_uuid)\s*\(\s*\)"
    r"|current_(timestamp|date|time|user|role)|localtime(stamp)?|session_user|true|false|[0-9]+(\.[0-9]+)?|'[^']+'"
)
"""Expressions that are never NULL."""
_ZONE = r"at\s+time\s+zone"


def _only_assigns(language: str, source: str, arguments: list[str], name: str) -> bool:
    """Return whether a BEFORE row trigger reads nothing of a column, and gives it values that are not NULL.

    The table's own trigger, which fires after it, encrypts such a value. NULL would mean that the value stays as
    it is.

    Args:
        language: the language of the trigger's function.
        source: the body of the function, or the name of the C function.
        arguments: the arguments of the trigger.
        name: the name of the column.
    """
    import re

    if language in ("c", "internal"):
        if source in ("moddatetime", "insert_username"):
            return name in arguments
        return source.startswith("tsvector_update_trigger") and arguments[:1] == [name] != arguments[2:3]
    if language != "plpgsql":
        return False
    # THEN and ELSE begin a statement, but for those of a CASE expression.
    starts = r";|\bbegin" if re.search(r"\bcase\b", source, re.IGNORECASE) else r";|\b(begin|then|else|loop)"
    column = rf'({re.escape(name)}|"{re.escape(name)}")'
    # The body is the owner's, and nothing stops a session while it looks for a pattern. So each text matches in
    # one way only, and a comment that is no part of an assignment is passed over as a whole.
    word = rf"(?!{_ZONE}\b)[\w.]+"
    cast = rf"(?:\s*::\s*{word}(?:\s+{word})*|\s+{_ZONE}\s+'[^']+')*"
    start = rf"(?P<start>{starts})(?:\s|--[^\n]*\n)*new\.{column}\s*:?=\s*"
    assignment = rf"{start}(?:\(\s*)?({_NOT_NULL}){cast}(?:\s*\){cast})?\s*(?=;)"
    number = 0

    def without_assignment(found: re.Match[str]) -> str:
        nonlocal number
        number += found["start"] is not None
        return found[0] if found["start"] is None else " "

    rest = re.sub(rf"--[^\n]*\n|{assignment}", without_assignment, source, flags=re.IGNORECASE)
    return number > 0 and not _mentions(rest, name) and not _mentions(" ".join(arguments), name)


def _mentions(source: str, name: str) -> bool:
    import re

    return re.search(rf"(?<![\w$]){re.escape(name)}(?![\w$])", source, re.IGNORECASE) is not None


def _one_line(source: str) -> str:
    """Return the body of a function without its comments to the end of a line, and on one line."""
    import re

    return re.sub(r"\s+", " ", re.sub(r"--[^\n]*", " ", source))


def _copies_rows(source: str, *, has_transition_tables: bool) -> bool:
    """Return whether a trigger's function inserts all columns of its row into a table, as an audit trigger does.

    Args:
        source: the body of the function.
        has_transition_tables: whether the trigger has its rows in tables.
    """
    import re

    source = _one_line(source)
    # A variable can have the row, too. In the text, it is the row from here on.
    copies = {
        (found["name"] or found["target"]).lower()
        for found in re.finditer(
            r"(?<![\w$])(begin |then |else |loop )?(?P<name>[\w$]+)( [\w$.%\"]+)? ?(:?=|default\b)"
            r" ?\(? ?(new|old) ?\)? ?;"
            r"|\bselect \(? ?(new|old) ?\)? ?\. ?\* ?into (strict )?(?P<target>[\w$]+)",
            source,
            re.IGNORECASE,
        )
    }
    source = re.sub(r"[\w$]+", lambda word: "new" if word[0].lower() in copies else word[0], source)
    row = r"(\b(new|old)\b|\( ?(new|old|\$\d+) ?(::[^()]*)?\)|\$\d+)"
    columns = rf"{row} ?\. ?\*"
    # One value, however many columns the row has.
    one_value = rf"\b(to_jsonb?|row_to_json|hstore|row) ?\( ?{columns}"
    whole_row = r"\b(new|old)\b( ?\. ?\*| ?[^. ])"
    if has_transition_tables:
        columns = rf"({columns}|\bselect \*|[\w\"] ?\. ?\*|\btable [\w\"])"
    # Not in one pattern, which would look for the columns from each INSERT to the end.
    for statement in source.split(";"):
        insert = re.search(r"\binsert into\b", statement, re.IGNORECASE)
        if insert is None:
            continue
        rest = statement[insert.end() :]
        is_filled = re.search(r"populate_record(set)? ?\(", rest, re.IGNORECASE) is not None
        if is_filled and re.search(whole_row, rest, re.IGNORECASE):
            return True
        if re.search(columns, re.sub(one_value, " ", rest, flags=re.IGNORECASE), re.IGNORECASE):
            return True
    return False


def _converts_rows(source: str, row_type: str) -> bool:
    """Return whether a trigger's function converts its row to a type, or makes its row of a value of this type.

    The type is that of the view's rows. The row of the trigger has further columns, also between the others.

    Args:
        source: the body of the function.
        row_type: the name of the type.
    """
    import re

    source = _one_line(source)
    quoted = row_type.replace('"', '""')
    type_ = rf"""(?:(?:[\w$]+|"[^"]*") ?\. ?)?(?:{re.escape(row_type)}|"{re.escape(quoted)}")(?![\w$"]| ?[.(])"""
    value = r"\(? ?(?P<{}>[\w$]+)"
    declared = rf"(?<![\w$])(?P<name>[\w$]+) (?:constant )?{type_}(?: ?% ?rowtype)?(?: not null)? ?"
    variables = set()
    initial = rf"(?::?=|default\b)(?: ?{value.format('initial')} ?\)? ?;)?"
    for found in re.finditer(rf"{declared}(?:;|{initial})", source, re.IGNORECASE):
        variables.add(found["name"].lower())
        if (found["initial"] or "").lower() in ("new", "old"):
            return True
    moves = (
        rf"(?<![\w$])(?P<target>[\w$]+) ?:?= ?{value.format('given')} ?\)? ?;"
        rf"|\breturn {value.format('returned')} ?\)? ?;"
        rf"|\bselect {value.format('read')} ?\)? ?\. ?\* into (?:strict )?(?P<filled>[\w$]+)"
    )
    for found in re.finditer(moves, source, re.IGNORECASE):
        target = found["target"] or found["filled"] or "new"
        given = found["given"] or found["read"] or found["returned"]
        pair = {target.lower(), given.lower()}
        if pair & {"new", "old"} and pair & variables:
            return True
    cast = re.compile(rf":: ?{type_}|\bas {type_} ?\)", re.IGNORECASE)
    row = re.compile(r"\b(new|old)\b(?! ?\. ?[\w\"])|\breturn\b", re.IGNORECASE)
    return any(cast.search(statement) and row.search(statement) for statement in source.split(";"))
