"""Objects that depend on a table or on its view, dropped and created again in one transaction.

A view, a materialized view, a rule, a function or a policy refers to a relation by its OID, which cannot be
changed. Its definition as text refers to the relation by its name: under a pinned search_path, all names in it are
qualified. So the objects are dropped before the relation is replaced, and are created again from their definitions
afterwards, when the name means the new relation.

Every statement runs with the rights of the object's owner: a definition is the owner's code. The caller must be
able to act as that owner.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from ..errors import KeyStateError, UnsupportedError
from ..key.database import Database
from ..key.shared_names import valid_name
from .catalog import Table
from .definition import VIEW_TRIGGERS
from .kept_functions import KeptFunctions
from .quoting import quote_literal, quote_name
from .relations import users_path
from .server_errors import is_intervention

Address = tuple[str, int]
"""The catalog of an object, such as ``pg_class``, and the object's OID."""

_QUOTED_NAME = re.compile(r'"(?:[^"]|"")*"')

VIEW, MATERIALIZED_VIEW = "view", "materialized view"
_WITH_DATA = " WITH DATA"


@dataclass
class DependentObject:
    """An object that is dropped and created again.

    Attributes:
        name: PostgreSQL's description of the object, for messages.
        qualified: its name in SQL.
        owner: the role with whose rights the object is created.
        schema: the schema in which the owner must be able to create objects, or None.
        drop: the statement that drops it.
        create: the statements that create it.
        grants: the statements that grant the privileges on it, after those on a new object are revoked.
        privileges: the privileges on it: column or nothing, role or PUBLIC, privilege, with grant option.
        needs: the objects that must exist before it.
        columns: the columns of the relation that the object itself names.
        is_direct: whether it depends on the relation directly, and not only through another object.
        is_definer: whether it is a view that reads with the rights of its owner.
        table: the OID of the table that a policy belongs to, or 0.
        part_of: the OID of the relation that a rule or a trigger belongs to, or 0.
        obstacle: why it cannot be taken along, or None.
    """

    address: Address
    kind: str
    name: str
    qualified: str
    owner: str
    owner_oid: int
    schema: str | None
    drop: str = ""
    create: list[str] = field(default_factory=list)
    grants: list[str] = field(default_factory=list)
    privileges: set[tuple[str, str, str, bool]] = field(default_factory=set)
    needs: set[Address] = field(default_factory=set)
    columns: set[str] = field(default_factory=set)
    is_direct: bool = False
    is_definer: bool = False
    table: int = 0
    part_of: int = 0
    obstacle: str | None = None

    @property
    def is_relation(self) -> bool:
        """Whether the object has rows: a view or a materialized view."""
        return self.kind in (VIEW, MATERIALIZED_VIEW)

    @property
    def privileged(self) -> str:
        """The object as GRANT and REVOKE take it."""
        return self.qualified if self.is_relation else f"{self.kind.upper()} {self.qualified}"

    @property
    def statements(self) -> list[str]:
        """The statements that create it again, for people."""
        return [*self.create, *self.grants]


class DependentObjects:
    """Finds, drops and creates again dependent objects, for one session.

    All methods need ``search_path`` = pg_catalog, pg_temp.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_relation(self, relation: int) -> list[DependentObject]:
        """Find all objects that depend on a relation.

        Args:
            relation: its OID.

        Returns:
            The objects, each after those that it needs.
        """
        return self._closure({}, relation)

    def of_addresses(self, addresses: Iterable[Address]) -> list[DependentObject]:
        """Find some objects and all objects that depend on them.

        Args:
            addresses: the objects.

        Returns:
            The objects, each after those that it needs.
        """
        return self._closure(dict.fromkeys(addresses), 0)

    def _closure(self, roots: dict[Address, None], relation: int) -> list[DependentObject]:
        found: dict[Address, DependentObject] = {}
        waiting: list[Address] = []

        def add(address: Address, described: str) -> DependentObject:
            if address not in found:
                found[address] = self._read(address, described)
                waiting.append(address)
            return found[address]

        for address in roots:
            add(address, "").is_direct = True
        if relation:
            for row in self._dependents_of(("pg_class", relation), is_root=True):
                one = add((row["class"], row["oid"]), row["object"])
                one.is_direct = True
                if row["column"] is not None:
                    one.columns.add(row["column"])
        while waiting:
            needed = waiting.pop()
            for row in self._dependents_of(needed, is_root=False):
                address = (row["class"], row["oid"])
                if address != needed:
                    add(address, row["object"]).needs.add(needed)
        return _ordered(_without_parts(found))

    def note_columns(self, objects: list[DependentObject], relation: int) -> None:
        """Add to the columns of objects those of another relation.

        Args:
            objects: the objects.
            relation: the OID of the relation.
        """
        by_address = {one.address: one for one in objects}
        for row in self._dependents_of(("pg_class", relation), is_root=True):
            one = by_address.get((row["class"], row["oid"]))
            if one is not None and row["column"] is not None:
                one.columns.add(row["column"])

    def is_there(self, one: DependentObject) -> bool:
        """Return whether an object has not been dropped."""
        catalog, oid = one.address
        return bool(self._database.query(f"SELECT FROM {catalog} WHERE oid = $1", ("oid", oid)))

    def _dependents_of(self, address: Address, *, is_root: bool) -> list[dict[str, Any]]:
        """Return the dependents of an object. Its triggers, indexes, defaults and statistics are part of it."""
        return self._database.query(
            "WITH target (class, oid) AS (SELECT $1::regclass::oid, $2::oid"
            "  UNION SELECT 'pg_type'::regclass::oid, t.oid FROM pg_type AS t WHERE $1 = 'pg_class' AND"
            " (t.typrelid = $2"
            "   OR t.typelem = (SELECT c.reltype FROM pg_class AS c WHERE c.oid = $2 AND c.reltype <> 0))"
            "  UNION SELECT 'pg_rewrite'::regclass::oid, w.oid FROM pg_rewrite AS w WHERE $1 = 'pg_class'"
            "   AND w.ev_class = $2)"
            " SELECT DISTINCT CASE WHEN w.rulename = '_RETURN' THEN 'pg_class' ELSE d.classid::regclass::text"
            " END AS class,"
            "  CASE WHEN w.rulename = '_RETURN' THEN w.ev_class ELSE d.objid END::bigint AS oid,"
            "  CASE WHEN w.rulename = '_RETURN' THEN pg_describe_object('pg_class'::regclass, w.ev_class, 0)"
            "   ELSE pg_describe_object(d.classid, d.objid, d.objsubid) END AS object,"
            "  (SELECT a.attname::text FROM pg_attribute AS a WHERE d.refclassid = 'pg_class'::regclass"
            "   AND a.attrelid = d.refobjid AND a.attnum = d.refobjsubid AND d.refobjsubid <> 0) AS column"
            " FROM target JOIN pg_depend AS d ON d.refclassid = target.class AND d.refobjid = target.oid"
            " LEFT JOIN pg_rewrite AS w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid"
            " LEFT JOIN pg_trigger AS g ON d.classid = 'pg_trigger'::regclass AND g.oid = d.objid"
            " LEFT JOIN pg_attrdef AS f ON d.classid = 'pg_attrdef'::regclass AND f.oid = d.objid"
            " LEFT JOIN pg_index AS i ON d.classid = 'pg_class'::regclass AND i.indexrelid = d.objid"
            " LEFT JOIN pg_statistic_ext AS s ON d.classid = 'pg_statistic_ext'::regclass AND s.oid = d.objid"
            " LEFT JOIN pg_type AS t ON d.classid = 'pg_type'::regclass AND t.oid = d.objid"
            " WHERE d.deptype IN ('n', 'a')"
            "  AND ($1 = 'pg_class' AND (f.adrelid = $2 OR i.indrelid = $2 OR s.stxrelid = $2"
            "   OR (w.rulename = '_RETURN' AND w.ev_class = $2)"
            "   OR (NOT $3 AND (w.ev_class = $2 OR g.tgrelid = $2))"
            "   OR ($3 AND g.tgname = ANY ($4::text[]::name[]) AND g.tgrelid = $2)"
            "   OR (d.classid = 'pg_class'::regclass AND d.objid = $2) OR t.typrelid = $2)) IS NOT TRUE"
            " ORDER BY 3, 4",
            ("text", address[0]),
            ("oid", address[1]),
            ("boolean", is_root),
            ("text[]", list(VIEW_TRIGGERS)),
        )

    # Read the definitions.

    def _read(self, address: Address, described: str) -> DependentObject:
        class_name, oid = address
        read = {
            "pg_class": self._read_relation,
            "pg_proc": self._read_function,
            "pg_rewrite": self._read_rule,
            "pg_policy": self._read_policy,
            "pg_trigger": self._read_trigger,
        }.get(class_name)
        one = read(oid) if read else None
        if one is None:
            described = described or self._describe(address)
            one = DependentObject(address, class_name, described, described, "", 0, None)
            one.obstacle = f"{described} depends on it"
            return one
        self._find_obstacles(one)
        return one

    def _describe(self, address: Address) -> str:
        return str(
            self._query_one(
                "SELECT pg_describe_object($1::regclass, $2, 0) AS object",
                ("text", address[0]),
                ("oid", address[1]),
            )["object"]
        )

    def _query_one(self, query: str, *arguments: tuple[str, Any]) -> dict[str, Any]:
        (row,) = self._database.query(query, *arguments)
        return row

    def _read_relation(self, oid: int) -> DependentObject | None:
        row = self._query_one(
            "SELECT c.relkind::text AS kind, n.nspname::text AS schema, c.relname::text AS name,"
            f" {valid_name('pg_get_userbyid(c.relowner)')} AS owner, c.relowner::bigint AS owner_oid,"
            " pg_describe_object('pg_class'::regclass, c.oid, 0) AS object, c.relpersistence = 't' AS"
            " is_temporary,"
            " c.relispopulated AS has_data, am.amname::text AS method, sp.spcname::text AS space,"
            " ARRAY(SELECT quote_ident(o.option_name) || ' = ' || quote_literal(o.option_value)"
            "  FROM pg_options_to_table(c.reloptions) AS o)::text[] AS options,"
            " CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END AS definition,"
            " EXISTS (SELECT FROM pg_options_to_table(c.reloptions) AS o WHERE o.option_name = 'security_invoker'"
            "  AND o.option_value::boolean) AS is_invoker,"
            " obj_description(c.oid, 'pg_class') AS comment"
            " FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
            " LEFT JOIN pg_am AS am ON am.oid = c.relam LEFT JOIN pg_tablespace AS sp ON sp.oid = c.reltablespace"
            " WHERE c.oid = $1",
            ("oid", oid),
        )
        if row["kind"] not in ("v", "m"):
            return None
        is_view = row["kind"] == "v"
        kind = VIEW if is_view else MATERIALIZED_VIEW
        qualified = f"{quote_name(row['schema'])}.{quote_name(row['name'])}"
        one = DependentObject(
            ("pg_class", oid), kind, row["object"], qualified, row["owner"], row["owner_oid"], row["schema"]
        )
        one.is_definer = is_view and not row["is_invoker"]
        word = kind.upper()
        one.drop = f"DROP {word} {qualified}"
        options = f" WITH ({', '.join(row['options'])})" if row["options"] else ""
        definition = row["definition"].strip().removesuffix(";")
        if is_view:
            one.create.append(f"CREATE VIEW {qualified}{options} AS {definition}")
        else:
            method = f" USING {quote_name(row['method'])}" if row["method"] else ""
            space = f" TABLESPACE {quote_name(row['space'])}" if row["space"] else ""
            data = "DATA" if row["has_data"] else "NO DATA"
            one.create.append(
                f"CREATE MATERIALIZED VIEW {qualified}{method}{options}{space} AS {definition} WITH {data}"
            )
        if row["is_temporary"]:
            one.obstacle = f"{one.name}, which is temporary, depends on it"
        _comment(one, word, qualified, row["comment"])
        self._read_columns(one, oid)
        self._read_parts(one, oid)
        self._read_privileges(one)
        return one

    def _read_columns(self, one: DependentObject, oid: int) -> None:
        alter = f"ALTER {one.kind.upper()} {one.qualified} ALTER COLUMN"
        for row in self._database.query(
            "SELECT a.attname::text AS name, pg_get_expr(d.adbin, d.adrelid) AS default,"
            " col_description(a.attrelid, a.attnum) AS comment, CASE WHEN c.relkind = 'm' AND a.attstattarget >= 0"
            "  THEN a.attstattarget END AS target,"
            " ARRAY(SELECT quote_ident(o.option_name) || ' = ' || quote_literal(o.option_value)"
            "  FROM pg_options_to_table(a.attoptions) AS o WHERE c.relkind = 'm' AND o.option_name IN"
            " ('n_distinct', 'n_distinct_inherited'))::text[] AS options"
            " FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid"
            " LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum"
            " WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            ("oid", oid),
        ):
            name = quote_name(row["name"])
            if row["default"] is not None:
                one.create.append(f"{alter} {name} SET DEFAULT {row['default']}")
            if row["target"] is not None:
                one.create.append(f"{alter} {name} SET STATISTICS {row['target']}")
            if row["options"]:
                one.create.append(f"{alter} {name} SET ({', '.join(row['options'])})")
            _comment(one, "COLUMN", f"{one.qualified}.{name}", row["comment"])

    def _read_parts(self, one: DependentObject, oid: int) -> None:
        """Read the parts of a view or a materialized view: indexes, statistics, triggers and rules."""
        schema = quote_name(one.schema or "")
        for row in self._database.query(
            "SELECT c.relname::text AS name, pg_get_indexdef(i.indexrelid) AS definition, i.indisclustered AS"
            " is_clustered,"
            " obj_description(c.oid, 'pg_class') AS comment FROM pg_index AS i JOIN pg_class AS c ON c.oid ="
            " i.indexrelid"
            " WHERE i.indrelid = $1 ORDER BY 1",
            ("oid", oid),
        ):
            one.create.append(row["definition"])
            if row["is_clustered"]:
                one.create.append(f"ALTER MATERIALIZED VIEW {one.qualified} CLUSTER ON {quote_name(row['name'])}")
            _comment(one, "INDEX", f"{schema}.{quote_name(row['name'])}", row["comment"])
        for row in self._database.query(
            "SELECT pg_get_statisticsobjdef(s.oid) AS definition,"
            " quote_ident(n.nspname) || '.' || quote_ident(s.stxname) AS name,"
            " obj_description(s.oid, 'pg_statistic_ext') AS comment"
            " FROM pg_statistic_ext AS s JOIN pg_namespace AS n ON n.oid = s.stxnamespace WHERE s.stxrelid ="
            " $1 ORDER BY 2",
            ("oid", oid),
        ):
            one.create.append(row["definition"])
            _comment(one, "STATISTICS", row["name"], row["comment"])
        for row in self._database.query(
            "SELECT t.tgname::text AS name, pg_get_triggerdef(t.oid) AS definition, t.tgenabled::text AS enabled,"
            " obj_description(t.oid, 'pg_trigger') AS comment FROM pg_trigger AS t"
            " WHERE t.tgrelid = $1 AND NOT t.tgisinternal ORDER BY 1",
            ("oid", oid),
        ):
            one.create.append(row["definition"])
            _comment(one, "TRIGGER", f"{quote_name(row['name'])} ON {one.qualified}", row["comment"])
            if row["enabled"] != "O":
                one.obstacle = f'trigger "{row["name"]}" on {one.name} is not enabled as a usual one'
        for row in self._database.query(
            "SELECT r.rulename::text AS name, pg_get_ruledef(r.oid) AS definition, r.ev_enabled::text AS enabled,"
            " obj_description(r.oid, 'pg_rewrite') AS comment FROM pg_rewrite AS r"
            " WHERE r.ev_class = $1 AND r.rulename <> '_RETURN' ORDER BY 1",
            ("oid", oid),
        ):
            one.create.append(row["definition"].rstrip(";"))
            _comment(one, "RULE", f"{quote_name(row['name'])} ON {one.qualified}", row["comment"])
            if row["enabled"] != "O":
                one.obstacle = f'rule "{row["name"]}" on {one.name} is not enabled as a usual one'

    def _read_function(self, oid: int) -> DependentObject | None:
        row = self._query_one(
            "SELECT p.prokind::text AS kind, n.nspname::text AS schema,"
            f" {valid_name('pg_get_userbyid(p.proowner)')} AS owner,"
            " p.proowner::bigint AS owner_oid, pg_describe_object('pg_proc'::regclass, p.oid, 0) AS object,"
            " p.oid::regprocedure::text AS name,"
            " CASE WHEN p.prokind IN ('f', 'p') THEN pg_get_functiondef(p.oid) END AS definition,"
            " obj_description(p.oid, 'pg_proc') AS comment FROM pg_proc AS p JOIN pg_namespace AS n"
            " ON n.oid = p.pronamespace WHERE p.oid = $1",
            ("oid", oid),
        )
        if row["definition"] is None:
            return None
        kind = "procedure" if row["kind"] == "p" else "function"
        one = DependentObject(
            ("pg_proc", oid), kind, row["object"], row["name"], row["owner"], row["owner_oid"], row["schema"]
        )
        one.drop = f"DROP {kind.upper()} {row['name']}"
        one.create.append(row["definition"].rstrip())
        _comment(one, kind.upper(), row["name"], row["comment"])
        self._read_privileges(one)
        return one

    def _read_rule(self, oid: int) -> DependentObject | None:
        row = self._query_one(
            "SELECT r.rulename::text AS name, pg_get_ruledef(r.oid) AS definition, r.ev_enabled::text AS enabled,"
            " quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS relation, c.oid::bigint AS part_of,"
            f" {valid_name('pg_get_userbyid(c.relowner)')} AS owner, c.relowner::bigint AS owner_oid,"
            " pg_describe_object('pg_rewrite'::regclass, r.oid, 0) AS object,"
            " obj_description(r.oid, 'pg_rewrite') AS comment"
            " FROM pg_rewrite AS r JOIN pg_class AS c ON c.oid = r.ev_class JOIN pg_namespace AS n"
            " ON n.oid = c.relnamespace WHERE r.oid = $1",
            ("oid", oid),
        )
        one = _of_relation("pg_rewrite", oid, "rule", row, row["definition"].rstrip(";"))
        one.part_of = row["part_of"]
        if row["enabled"] != "O":
            one.obstacle = f"{one.name} is not enabled as a usual one"
        return one

    def _read_trigger(self, oid: int) -> DependentObject | None:
        row = self._query_one(
            "SELECT t.tgname::text AS name, pg_get_triggerdef(t.oid) AS definition, t.tgenabled::text AS enabled,"
            " quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS relation, c.relkind::text AS kind,"
            " c.oid::bigint AS part_of,"
            f" {valid_name('pg_get_userbyid(c.relowner)')} AS owner, c.relowner::bigint AS owner_oid,"
            " pg_describe_object('pg_trigger'::regclass, t.oid, 0) AS object,"
            " obj_description(t.oid, 'pg_trigger') AS comment"
            " FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid JOIN pg_namespace AS n"
            " ON n.oid = c.relnamespace WHERE t.oid = $1 AND NOT t.tgisinternal",
            ("oid", oid),
        )
        one = _of_relation("pg_trigger", oid, "trigger", row, row["definition"])
        one.part_of = row["part_of"]
        if row["kind"] != "v" or row["enabled"] != "O":
            one.obstacle = f"{one.name} depends on it"
        return one

    def _read_policy(self, oid: int) -> DependentObject | None:
        row = self._query_one(
            "SELECT p.polname::text AS name, p.polrelid::bigint AS table, p.polpermissive AS is_permissive,"
            " CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN"
            " 'DELETE'"
            "  ELSE 'ALL' END AS command, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS relation,"
            " ARRAY(SELECT CASE WHEN r.oid = 0 THEN 'PUBLIC'"
            f" ELSE quote_ident({valid_name('pg_get_userbyid(r.oid)')}) END"
            "  FROM unnest(p.polroles) AS r (oid))::text[] AS roles,"
            " pg_get_expr(p.polqual, p.polrelid) AS using, pg_get_expr(p.polwithcheck, p.polrelid) AS check,"
            f" {valid_name('pg_get_userbyid(c.relowner)')} AS owner, c.relowner::bigint AS owner_oid,"
            " pg_describe_object('pg_policy'::regclass, p.oid, 0) AS object,"
            " obj_description(p.oid, 'pg_policy') AS comment"
            " FROM pg_policy AS p JOIN pg_class AS c ON c.oid = p.polrelid JOIN pg_namespace AS n"
            " ON n.oid = c.relnamespace WHERE p.oid = $1",
            ("oid", oid),
        )
        create = (
            f"CREATE POLICY {_name_on(row)} AS {'PERMISSIVE' if row['is_permissive'] else 'RESTRICTIVE'}"
            f" FOR {row['command']} TO {', '.join(row['roles'])}"
        )
        if row["using"] is not None:
            create += f" USING ({row['using']})"
        if row["check"] is not None:
            create += f" WITH CHECK ({row['check']})"
        one = _of_relation("pg_policy", oid, "policy", row, create)
        one.table = row["table"]
        return one

    def _read_privileges(self, one: DependentObject) -> None:
        catalog, oid = one.address
        kind, acl, owner = ("r", "relacl", "relowner") if one.is_relation else ("f", "proacl", "proowner")
        queries = (
            f"SELECT '' AS name, x.grantee, x.privilege_type, x.is_grantable FROM {catalog} AS c,"
            f" aclexplode(coalesce(c.{acl}, acldefault('{kind}', c.{owner}))) AS x WHERE c.oid = $1",
            "SELECT a.attname::text, x.grantee, x.privilege_type, x.is_grantable FROM pg_attribute AS a,"
            " aclexplode(a.attacl) AS x WHERE $2 = 'pg_class' AND a.attrelid = $1 AND a.attnum > 0"
            " AND NOT a.attisdropped",
        )
        grants: dict[tuple[str, str, bool], list[str]] = {}
        for row in self._database.query(
            "SELECT DISTINCT g.name, g.privilege_type AS privilege, g.is_grantable,"
            " CASE WHEN g.grantee = 0 THEN 'PUBLIC'"
            f" ELSE quote_ident({valid_name('pg_get_userbyid(g.grantee)')}) END AS role"
            f" FROM ({' UNION ALL '.join(queries)}) AS g ORDER BY 1, 4, 3, 2",
            ("oid", oid),
            ("text", catalog),
        ):
            one.privileges.add((row["name"], row["role"], row["privilege"], row["is_grantable"]))
            column = f" ({quote_name(row['name'])})" if row["name"] else ""
            grants.setdefault((column, row["role"], row["is_grantable"]), []).append(row["privilege"])
        for (column, role, is_grantable), privileges in grants.items():
            what = ", ".join(f"{privilege}{column}" for privilege in privileges)
            option = " WITH GRANT OPTION" if is_grantable else ""
            one.grants.append(f"GRANT {what} ON {one.privileged} TO {role}{option}")

    def _find_obstacles(self, one: DependentObject) -> None:
        if one.obstacle is not None:
            return
        catalog, oid = one.address
        row = self._query_one(
            "SELECT (SELECT e.extname::text FROM pg_depend AS d JOIN pg_extension AS e ON e.oid = d.refobjid"
            "  WHERE d.classid = $1::regclass AND d.objid = $2 AND d.deptype = 'e') AS extension,"
            " EXISTS (SELECT FROM pg_seclabel AS l WHERE l.classoid = $1::regclass AND l.objoid = $2) AS"
            " is_labelled,"
            " pg_has_role($3, 'USAGE') AS may_act,"
            " $4 = '' OR has_schema_privilege($3, (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = $4),"
            " 'CREATE')"
            " AS may_create",
            ("text", catalog),
            ("oid", oid),
            ("oid", one.owner_oid),
            ("text", one.schema or ""),
        )
        if row["extension"] is not None:
            one.obstacle = f'{one.name} belongs to extension "{row["extension"]}"'
        elif row["is_labelled"]:
            one.obstacle = f"{one.name} has a security label"
        elif not row["may_act"]:
            one.obstacle = f'{one.name} belongs to role "{one.owner}", as which the current user cannot act'
        elif not row["may_create"]:
            one.obstacle = (
                f'{one.name} could not be created again: its owner, "{one.owner}", may create nothing in schema '
                f'"{one.schema}"'
            )

    def find_obstacles(self, objects: list[DependentObject], base: Table, *, becomes_view: bool) -> None:
        """Find the objects that do not work in the same way on a view as on a table.

        Args:
            objects: the objects.
            base: the table.
            becomes_view: whether a view replaces the table; otherwise, the table replaces the view.
        """
        for one in objects:
            if one.obstacle is not None or not one.is_direct:
                continue
            if one.is_definer and base.has_row_security:
                one.obstacle = (
                    f"{one.name} reads with the rights of its owner, to whom other policies apply on a table than "
                    "on a view with security_invoker"
                )
            elif becomes_view and one.is_relation and self._groups_by_key(one, base):
                one.obstacle = (
                    f"{one.name} groups by the primary key and uses other columns, which a view does not allow"
                )
            elif becomes_view and one.kind == "rule" and self._is_conditional_deletion(one, base):
                one.obstacle = (
                    f"{one.name} does something else instead of some DELETEs, which a view does not allow"
                )
            elif not becomes_view and one.kind == "trigger" and " INSTEAD OF " in one.create[0]:
                one.obstacle = f"{one.name} is an INSTEAD OF trigger, which a table cannot have"

    def _is_conditional_deletion(self, one: DependentObject, base: Table) -> bool:
        # PostgreSQL performs a DELETE on a view by itself only if no rule has a condition.
        rows = self._database.query(
            "SELECT FROM pg_rewrite WHERE oid = $1 AND ev_class = $2 AND ev_type = '4' AND is_instead"
            " AND ev_qual <> '<>'",
            ("oid", one.address[1]),
            ("oid", base.oid),
        )
        return bool(rows)

    def _groups_by_key(self, one: DependentObject, base: Table) -> bool:
        rows = self._database.query(
            "SELECT FROM pg_rewrite AS r JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid"
            " = r.oid"
            " JOIN pg_constraint AS c ON d.refclassid = 'pg_constraint'::regclass AND c.oid = d.refobjid"
            " WHERE r.ev_class = $1 AND c.conrelid = $2",
            ("oid", one.address[1]),
            ("oid", base.oid),
        )
        return bool(rows)

    def readers(self, objects: list[DependentObject]) -> set[str]:
        """Return the OIDs of the roles that may read views or materialized views; ``0`` is PUBLIC.

        Args:
            objects: some of which are views. A materialized view is filled as its owner, and its readers need no
                key.
        """
        names = {
            role
            for one in objects
            if one.kind == VIEW
            for _, role, privilege, _ in one.privileges
            if privilege in ("SELECT", "UPDATE")
        }
        names |= {quote_name(one.owner) for one in objects if one.is_relation}
        rows = self._database.query(
            "SELECT CASE WHEN n.name = 'PUBLIC' THEN '0' ELSE n.name::regrole::oid::text END AS oid"
            " FROM unnest($1) AS n (name)",
            ("text[]", sorted(names)),
        )
        return {row["oid"] for row in rows}

    # Drop and create the objects.

    def drop(
        self, objects: list[DependentObject], again: Iterable[Address] | None = None
    ) -> list[DependentObject]:
        """Drop objects, as they are now that nobody else changes them.

        Args:
            objects: a result of ``of_relation`` or ``of_addresses``, without obstacles.
            again: the addresses that were passed to ``of_addresses``; None for the addresses of the objects.

        Returns:
            The objects, for ``create``.

        Raises:
            KeyStateError: another session has changed them since.
        """
        if not objects:
            return []
        for one in objects:
            if one.is_relation:
                # LOCK TABLE would also lock all tables that the view reads. This statement changes nothing, and
                # locks the view.
                self._run(one, f"ALTER {one.kind.upper()} {one.qualified} OWNER TO {quote_name(one.owner)}")
        addresses = list(again) if again is not None else [one.address for one in objects]
        now = self.of_addresses(addresses)
        if {one.address for one in now} != {one.address for one in objects} or any(one.obstacle for one in now):
            raise KeyStateError(
                "another session has changed objects that depend on the table", hint="Call the function again."
            )
        known = {one.address: one for one in objects}
        for one in now:
            one.columns = known[one.address].columns
        for one in reversed(now):
            self._run(one, one.drop)
        return now

    def create(self, objects: list[DependentObject], *, for_caller: bool = False) -> None:
        """Create dropped objects again.

        Args:
            objects: from ``drop``.
            for_caller: whether the functions that fill a materialized view find what their bodies name in the
                search_path of the caller, who can act as the owner.

        Raises:
            UnsupportedError: an object does not work with the new relation.
        """
        for one in objects:
            try:
                self._create(one, for_caller=for_caller)
            except Exception as error:
                if is_intervention(error):
                    raise
                raise UnsupportedError(
                    f"{one.name} cannot be created again: {error}",
                    hint=remedy([one.drop], one.statements),
                ) from None

    def _create(self, one: DependentObject, *, for_caller: bool) -> None:
        name = one.qualified
        if one.table:
            # The table of a policy may have been renamed.
            row = self._query_one("SELECT $1::regclass::text AS name", ("oid", one.table))
            # Either name may have the word ON in it.
            name = f"{_QUOTED_NAME.findall(name)[0]} ON {row['name']}"
        is_filled_later = for_caller and one.kind == MATERIALIZED_VIEW and one.create[0].endswith(_WITH_DATA)
        for statement in one.create:
            text = statement.replace(one.qualified, name, 1) if one.table else statement
            if is_filled_later and text.endswith(_WITH_DATA):
                text = text.removesuffix(_WITH_DATA) + " WITH NO DATA"
            self._run(one, text)
        if is_filled_later:
            # Only the functions see this path. In the definitions, it could lead names elsewhere.
            path = users_path(self._database, one.schema or "")
            self._run(one, f"REFRESH MATERIALIZED VIEW {one.qualified}", path=path)
        if one.is_relation or one.address[0] == "pg_proc":
            # A new object has default privileges, also where the old one had none at all.
            self._grant(one)

    def _grant(self, one: DependentObject) -> None:
        """Give a new object the privileges that it had, regardless of the default privileges of its owner."""
        type_ = "regclass" if one.is_relation else "regprocedure"
        row = self._query_one(f"SELECT $1::{type_}::oid::bigint AS oid", ("text", one.qualified))
        new = DependentObject(
            (one.address[0], row["oid"]), one.kind, one.name, one.qualified, one.owner, one.owner_oid, None
        )
        self._read_privileges(new)
        if new.privileges == one.privileges:
            return
        for role in sorted({role for _, role, _, _ in new.privileges}):
            self._run(one, f"REVOKE ALL ON {one.privileged} FROM {role}")
        for grant in one.grants:
            self._run(one, grant)

    def _run(self, one: DependentObject, statement: str, *, path: str | None = None) -> None:
        self._check_literals(one, statement)
        # The block ends the settings, so the current user's own objects have a block, too.
        with self._database.acting_as(one.owner_oid):
            # The body of a function may need another search_path, or objects that come later.
            self._database.run("SET LOCAL check_function_bodies = off")
            if path is not None:
                self._database.query("SELECT set_config('search_path', $1, true)", ("text", path))
            self._database.run(statement)

    def _check_literals(self, one: DependentObject, statement: str) -> None:
        """Refuse a definition whose literals call a function that this session can have called first."""
        row = self._query_one("SELECT pg_has_role(session_user, $1, 'USAGE') AS is_own", ("oid", one.owner_oid))
        called = [] if row["is_own"] else KeptFunctions(self._database).in_literals(statement)
        if called:
            raise UnsupportedError(f"its literals call {called[0]}, which this session can have called first")


def check(objects: list[DependentObject], lost: Collection[str] = ()) -> None:
    """Refuse objects that cannot be created again.

    Args:
        objects: a result of ``DependentObjects.of_relation``.
        lost: the columns that the relation will not have any more.

    Raises:
        UnsupportedError: there are such objects; the error names all of them.
    """
    for one in objects:
        used = sorted(one.columns & set(lost))
        if used:
            one.obstacle = one.obstacle or f'{one.name} uses column "{used[0]}"'
    obstacles = [one.obstacle for one in objects if one.obstacle]
    if obstacles:
        raise UnsupportedError(
            f"cannot create the view again because of objects that depend on it: {'; '.join(obstacles)}",
            hint=remedy(
                [one.drop for one in reversed(objects) if one.obstacle],
                [statement for one in objects if one.obstacle for statement in one.statements],
            ),
        )


def remedy(before: Iterable[str], after: Iterable[str]) -> str:
    """Return the hint of a refusal: the DDL that takes objects out of the way, and that which brings them back.

    Args:
        before: statements; empty ones are left out.
        after: statements, which may have to be adapted.
    """
    first, then = (list(dict.fromkeys(filter(None, each))) for each in (before, after))
    found = "Nothing was changed."
    if first:
        found += f" Run before: {'; '.join(first)};"
    if first and then:
        found += f" And afterwards, adapted if need be: {'; '.join(then)};"
    return found


def _name_on(row: dict[str, Any]) -> str:
    return f"{quote_name(row['name'])} ON {row['relation']}"


def _of_relation(catalog: str, oid: int, kind: str, row: dict[str, Any], create: str) -> DependentObject:
    """Return a rule, a trigger or a policy.

    Args:
        catalog: the name of its catalog.
        oid: its OID.
        kind: what it is, in lower case.
        row: its name, relation, description, comment, and owner.
        create: the statement that creates it.
    """
    name = _name_on(row)
    one = DependentObject((catalog, oid), kind, row["object"], name, row["owner"], row["owner_oid"], None)
    one.drop = f"DROP {kind.upper()} {name}"
    one.create.append(create)
    _comment(one, kind.upper(), name, row["comment"])
    return one


def _comment(one: DependentObject, word: str, name: str, comment: str | None) -> None:
    if comment is not None:
        one.create.append(f"COMMENT ON {word} {name} IS {quote_literal(comment)}")


def _without_parts(found: dict[Address, DependentObject]) -> dict[Address, DependentObject]:
    """Leave out the rules and triggers of relations that are found, too: they are created with these."""
    kept = {address: one for address, one in found.items() if ("pg_class", one.part_of) not in found}
    for address, one in found.items():
        if address not in kept:
            whole = found["pg_class", one.part_of]
            whole.needs |= one.needs - {whole.address}
            whole.is_direct |= one.is_direct
            whole.columns |= one.columns
    return kept


def _ordered(found: dict[Address, DependentObject]) -> list[DependentObject]:
    """Return the objects such that each comes after those that it needs."""
    done: dict[Address, DependentObject] = {}
    rest = dict(found)
    while rest:
        ready = [address for address, one in rest.items() if one.needs <= done.keys()]
        if not ready:
            for one in rest.values():
                one.obstacle = one.obstacle or f"{one.name} depends on an object that depends on it"
            ready = list(rest)
        for address in ready:
            done[address] = rest.pop(address)
    return list(done.values())
