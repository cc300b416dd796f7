"""Reads the description of a table from the catalog.

The ``search_path`` must be pg_catalog, so that PostgreSQL qualifies the names in definitions.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import UndefinedColumnError
from ..key.database import Database
from ..key.shared_names import valid_name
from .quoting import quote_name

SEALING_TRIGGERS = {"zzzz_pgkeymgr_insert": "INSERT", "zzzz_pgkeymgr_update": "UPDATE"}
"""The BEFORE triggers of a base table, and their events; PostgreSQL fires triggers in the order of their names."""

DETACHED_TRIGGERS = {"zzzz_pgkeymgr_insert_detached": "INSERT", "zzzz_pgkeymgr_update_detached": "UPDATE"}
"""The same of a detached partition: PostgreSQL gives it the triggers of the other names when it is attached."""

OWN_TRIGGERS = (*SEALING_TRIGGERS, *DETACHED_TRIGGERS)

TREE = (
    "(WITH RECURSIVE tree (oid) AS (SELECT $1::oid UNION SELECT i.inhrelid FROM tree AS p"
    " JOIN pg_inherits AS i ON i.inhparent = p.oid JOIN pg_class AS c ON c.oid = i.inhrelid AND c.relispartition)"
    " SELECT oid FROM tree)"
)
"""An SQL subquery for the OIDs of a relation, ``$1``, and of all its partitions, at any depth.

``pg_partition_tree()`` would lock all of them.
"""

_IS_USERS = "t.tgname NOT IN ('" + "', '".join(OWN_TRIGGERS) + "')"


@dataclass(frozen=True)
class Column:
    """A column of a table, as the catalog has it.

    Attributes:
        type: the type's name for people, and for DDL under a pinned search_path.
        sql_type: the type as generated SQL names it, which means the same in any search_path.
        identity: ``a`` for GENERATED ALWAYS AS IDENTITY, ``d`` for BY DEFAULT, else empty.
        generated: the expression of a generated column, or None.
        collation: the qualified name of its collation, or None if it is that of its type.
        collated: the qualified name of its collation, or None if its type has none.
        is_collated_exactly: whether its collation calls only equal texts equal.
        sequence: the qualified name of an identity column's sequence, or None.
    """

    name: str
    number: int
    type: str
    sql_type: str
    type_oid: int
    modifier: int
    not_null: bool
    default: str | None
    identity: str
    generated: str | None
    collation: str | None
    collated: str | None
    is_collated_exactly: bool
    sequence: str | None
    comment: str | None


_KEYWORDS = "bigint|bit|boolean|character|double precision|integer|interval|numeric|real|smallint|time|timestamp"


def sql_type(oid: str, modifier: str) -> str:
    """Return an SQL expression for a type's name with its modifier that no search_path leads elsewhere.

    The names that are keywords of the grammar always mean PostgreSQL's own types, and some of them have a modifier
    that a qualified name cannot have; all others are qualified.

    Args:
        oid: the expression for the type's OID.
        modifier: the expression for its modifier.

    Returns:
        The expression, to be used under ``search_path`` = pg_catalog.
    """
    name = f"pg_catalog.format_type({oid}, {modifier})"
    return (
        f"CASE WHEN (SELECT n.nspname OPERATOR(pg_catalog.=) 'pg_catalog' FROM pg_catalog.pg_type AS n_t"
        f" JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) n_t.typnamespace"
        f" WHERE n_t.oid OPERATOR(pg_catalog.=) {oid})"
        f" AND {name} OPERATOR(pg_catalog.!~) E'^({_KEYWORDS})\\\\y'"
        f" THEN 'pg_catalog.' OPERATOR(pg_catalog.||) {name} ELSE {name} END"
    )


@dataclass(frozen=True)
class Table:
    """A relation, as the catalog has it.

    Attributes:
        unique_columns: the columns of all unique indexes.
        own_actions: the columns that an UPDATE of a row changes in other rows, by foreign keys of the table to
            itself.
        keys: the columns of each index that identifies a row: of the primary key first, then of each unique
            index without NULLs.
        is_distributed: whether Citus stores the rows in other tables, the shards. Rows that remain here are not
            part of the table any more.
    """

    oid: int
    schema: str
    name: str
    kind: str
    owner: str
    owner_oid: int
    has_row_security: bool
    columns: tuple[Column, ...]
    has_column_grants: bool
    fires_on_columns: bool
    changes_inserts: bool
    changes_updates: bool
    unique_columns: frozenset[str]
    own_actions: frozenset[str]
    keys: tuple[tuple[str, ...], ...]
    is_distributed: bool

    @property
    def qualified(self) -> str:
        """Its name as SQL takes it."""
        return f"{quote_name(self.schema)}.{quote_name(self.name)}"

    @property
    def only(self) -> str:
        """Its name as SQL takes it where the rows of tables that inherit from it are none of its own."""
        # All rows of a partitioned table are in its partitions, and those of a distributed table in its shards.
        return self.qualified if self.kind == "p" or self.is_distributed else f"ONLY {self.qualified}"

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    def is_identified_by(self, names: Iterable[str]) -> bool:
        """Return whether no two rows have the same values in some columns."""
        there = {column.name for column in self.columns if column.not_null}
        return there.issuperset(names) and any(set(key) <= set(names) for key in self.keys)

    def column(self, name: str) -> Column:
        """Return a column by its name.

        Raises:
            UndefinedColumnError: the column does not exist.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise UndefinedColumnError(f'{self} has no column "{name}"')


# The columns of each index that identifies the rows of a table, of the primary key first. Values that a
# collation calls equal can be two values to an index with another collation.
_KEYS = (
    "SELECT jsonb_agg((SELECT jsonb_agg(a.attname ORDER BY k.position) FROM"
    " unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, position)"
    " JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number"
    " WHERE k.position <= i.indnkeyatts) ORDER BY i.indisprimary DESC, i.indexrelid)"
    " FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate"
    " AND i.indpred IS NULL AND i.indexprs IS NULL"
    " AND NOT EXISTS (SELECT FROM"
    "  unnest(i.indkey::int2[], i.indcollation::oid[]) WITH ORDINALITY AS k (number, collated, position)"
    "  JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number"
    "  LEFT JOIN pg_collation AS co ON co.oid = a.attcollation"
    "  WHERE k.position <= i.indnkeyatts"
    "  AND (NOT a.attnotnull OR (NOT co.collisdeterministic AND k.collated <> a.attcollation)))"
)


# Whether Citus's catalog is there. A table of a user's with its name is in another schema, and in no extension.
_HAS_CITUS = (
    "EXISTS (SELECT FROM pg_extension AS x JOIN pg_depend AS d ON d.refclassid = 'pg_extension'::regclass"
    " AND d.refobjid = x.oid AND d.deptype = 'e' AND d.classid = 'pg_class'::regclass"
    " WHERE x.extname = 'citus' AND d.objid = to_regclass('pg_catalog.pg_dist_partition')::oid)"
)


def _has_trigger(condition: str) -> str:
    """Return the condition that ``c``, whose OID is ``$1``, or a partition of it has a trigger of some kind."""
    trigger = f"SELECT FROM pg_trigger AS t WHERE NOT t.tgisinternal AND {condition} AND t.tgrelid"
    return f"(EXISTS ({trigger} = c.oid) OR c.relkind = 'p' AND EXISTS ({trigger} IN {TREE}))"


def describe(database: Database, oid: int) -> Table | None:
    """Read the description of a relation from the catalog.

    Args:
        database: the session whose catalog is read.
        oid: the relation's OID.

    Returns:
        The description, or None if there is no such relation.
    """
    rows = database.query(
        "SELECT c.oid::bigint AS oid, n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind,"
        f" {valid_name('pg_get_userbyid(c.relowner)')} AS owner, c.relowner::bigint AS owner_oid,"
        " c.relrowsecurity AS has_row_security,"
        " EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL"
        "  AND NOT a.attisdropped) AS has_column_grants,"
        # tgtype: 1 row, 2 before, 4 insert, 16 update
        f" {_has_trigger('array_length(t.tgattr::int2[], 1) > 0')} AS fires_on_columns,"
        f" {_has_trigger(f't.tgtype & 7 = 7 AND {_IS_USERS}')} AS changes_inserts,"
        f" {_has_trigger(f't.tgtype & 19 = 19 AND {_IS_USERS}')} AS changes_updates,"
        " ARRAY(SELECT DISTINCT a.attname::text FROM pg_index AS i JOIN pg_attribute AS a"
        "  ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[])"
        "  WHERE i.indrelid = c.oid AND i.indisunique) AS unique_columns,"
        " ARRAY(SELECT DISTINCT a.attname::text FROM pg_constraint AS fk JOIN pg_attribute AS a"
        "  ON a.attrelid = fk.conrelid AND a.attnum = ANY (fk.conkey)"
        "  WHERE fk.contype = 'f' AND fk.conrelid = c.oid AND fk.confrelid = c.oid"
        "  AND fk.confupdtype IN ('c', 'n', 'd')) AS own_actions,"
        f" ({_KEYS})::text AS keys, {_HAS_CITUS} AS is_distributed"
        " FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = $1",
        ("oid", oid),
    )
    if not rows:
        return None
    if rows[0]["is_distributed"]:
        (found,) = database.query(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_dist_partition AS p WHERE p.logicalrelid::oid = $1)"
            " AS is_distributed",
            ("oid", oid),
        )
        rows[0].update(found)
    columns = database.query(
        "SELECT a.attname::text AS name, a.attnum AS number,"
        " pg_catalog.format_type(a.atttypid, a.atttypmod) AS type,"
        f" {sql_type('a.atttypid', 'a.atttypmod')} AS sql_type,"
        " a.atttypid::bigint AS type_oid, a.atttypmod AS modifier, a.attnotnull AS not_null,"
        " CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END AS default,"
        " a.attidentity::text AS identity,"
        " CASE WHEN a.attgenerated <> '' THEN pg_get_expr(d.adbin, d.adrelid) END AS generated,"
        " CASE WHEN a.attcollation <> 0 AND a.attcollation <> t.typcollation"
        "  THEN quote_ident(cn.nspname) || '.' || quote_ident(co.collname) END AS collation,"
        " quote_ident(cn.nspname) || '.' || quote_ident(co.collname) AS collated,"
        " coalesce(co.collisdeterministic, true) AS is_collated_exactly,"
        " CASE WHEN a.attidentity <> '' THEN (SELECT quote_ident(sn.nspname) || '.' || quote_ident(s.relname)"
        "  FROM pg_depend AS p JOIN pg_class AS s ON s.oid = p.objid AND s.relkind = 'S'"
        "  JOIN pg_namespace AS sn ON sn.oid = s.relnamespace WHERE p.classid = 'pg_class'::regclass"
        "  AND p.refclassid = 'pg_class'::regclass AND p.refobjid = a.attrelid AND p.refobjsubid = a.attnum"
        "  AND p.deptype = 'i') END AS sequence,"
        " col_description(a.attrelid, a.attnum) AS comment"
        " FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid"
        " LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum"
        " LEFT JOIN pg_collation AS co ON co.oid = a.attcollation"
        " LEFT JOIN pg_namespace AS cn ON cn.oid = co.collnamespace"
        " WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        ("oid", oid),
    )
    unique, own_actions = (frozenset(rows[0].pop(name)) for name in ("unique_columns", "own_actions"))
    keys = tuple(tuple(key) for key in json.loads(rows[0].pop("keys") or "[]"))
    return Table(
        **rows[0],
        columns=tuple(Column(**column) for column in columns),
        unique_columns=unique,
        own_actions=own_actions,
        keys=keys,
    )
