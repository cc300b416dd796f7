"""What the catalog says of a table. To be used with ``search_path`` = pg_catalog, so that names are qualified."""

from dataclasses import dataclass

from ..errors import UndefinedColumnError
from ..key.database import Database
from .quoting import quote_name

SEALING_TRIGGERS = {"zzzz_pgkeymgr_insert": "INSERT", "zzzz_pgkeymgr_update": "UPDATE"}
"""The BEFORE triggers of a base table, and their events; PostgreSQL fires triggers in the order of their names."""

_IS_USERS = "t.tgname NOT IN ('" + "', '".join(SEALING_TRIGGERS) + "')"


@dataclass(frozen=True)
class Column:
    """A column of a table, as the catalog has it.

    Attributes:
        type: the type's name for people, and for DDL under a pinned search_path.
        sql_type: the type as generated SQL names it, which means the same in any search_path.
        identity: ``a`` for GENERATED ALWAYS AS IDENTITY, ``d`` for BY DEFAULT, else empty.
        generated: the expression of a generated column, or None.
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
        f" AND {name} OPERATOR(pg_catalog.!~) '^({_KEYWORDS})\\y'"
        f" THEN 'pg_catalog.' OPERATOR(pg_catalog.||) {name} ELSE {name} END"
    )


@dataclass(frozen=True)
class Table:
    """A relation, as the catalog has it."""

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

    @property
    def qualified(self) -> str:
        """Its name as SQL takes it."""
        return f"{quote_name(self.schema)}.{quote_name(self.name)}"

    @property
    def only(self) -> str:
        """Its name as SQL takes it where the rows of tables that inherit from it are none of its own."""
        # A partitioned table has no other rows than those.
        return self.qualified if self.kind == "p" else f"ONLY {self.qualified}"

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    def column(self, name: str) -> Column:
        """Return a column by its name.

        Raises:
            UndefinedColumnError: there is none.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise UndefinedColumnError(f'{self} has no column "{name}"')


def describe(database: Database, oid: int) -> Table | None:
    """Read what the catalog says of a relation.

    Args:
        database: whose catalog.
        oid: the relation's OID.

    Returns:
        What it says, or None if there is no such relation.
    """
    rows = database.query(
        "SELECT c.oid::bigint AS oid, n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind,"
        " pg_get_userbyid(c.relowner)::text AS owner, c.relowner::bigint AS owner_oid,"
        " c.relrowsecurity AS has_row_security,"
        " EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL"
        "  AND NOT a.attisdropped) AS has_column_grants,"
        # tgtype: 1 row, 2 before, 4 insert, 16 update
        " EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal"
        "  AND array_length(t.tgattr::int2[], 1) > 0) AS fires_on_columns,"
        " EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal"
        f"  AND t.tgtype & 7 = 7 AND {_IS_USERS}) AS changes_inserts,"
        " EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal"
        f"  AND t.tgtype & 19 = 19 AND {_IS_USERS}) AS changes_updates,"
        " ARRAY(SELECT DISTINCT a.attname::text FROM pg_index AS i JOIN pg_attribute AS a"
        "  ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[])"
        "  WHERE i.indrelid = c.oid AND i.indisunique) AS unique_columns"
        " FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = $1",
        ("oid", oid),
    )
    if not rows:
        return None
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
    unique = frozenset(rows[0].pop("unique_columns"))
    return Table(**rows[0], columns=tuple(Column(**column) for column in columns), unique_columns=unique)


def key_columns(database: Database, table: Table) -> list[str]:
    """Return the columns that tell the rows of a table apart.

    Args:
        database: whose catalog.
        table: the table.

    Returns:
        The primary key's columns, else those of a unique index without NULLs, else none.
    """
    rows = database.query(
        "SELECT (SELECT array_agg(a.attname::text ORDER BY k.position) FROM"
        "  unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, position)"
        "  JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number"
        "  WHERE k.position <= i.indnkeyatts) AS columns"
        " FROM pg_index AS i WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indimmediate"
        " AND i.indpred IS NULL AND i.indexprs IS NULL"
        " AND NOT EXISTS (SELECT FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, position)"
        "  JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number"
        "  WHERE k.position <= i.indnkeyatts AND NOT a.attnotnull)"
        " ORDER BY i.indisprimary DESC, i.indexrelid LIMIT 1",
        ("oid", table.oid),
    )
    return list(rows[0]["columns"]) if rows else []
