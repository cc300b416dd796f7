"""Descriptions of the extension and of some schemas in the catalog of a database, to compare two databases."""

from typing import Any

import psycopg
from psycopg import sql

# The privileges, in an order that does not depend on when they were granted. None means the default ones.
_ACL = "(SELECT pg_catalog.array_agg(a::text ORDER BY a::text) FROM unnest({}) AS a)"

# Each query has the placeholder for the schemas. Its rows are an identity and a description.
_QUERIES = {
    "function": f"""
        SELECT p.oid::regprocedure::text, jsonb_build_array(
            CASE WHEN p.prokind IN ('f', 'p') THEN pg_get_functiondef(p.oid)
                ELSE pg_get_function_arguments(p.oid) || pg_get_function_result(p.oid) || (
                    SELECT concat_ws(' ', g.aggtransfn, g.aggfinalfn, g.aggtranstype::regtype, g.agginitval)
                    FROM pg_aggregate AS g WHERE g.aggfnoid = p.oid
                ) END,
            obj_description(p.oid, 'pg_proc'), {_ACL.format("p.proacl")}, p.proowner::regrole, p.procost, p.prorows
        ) FROM pg_proc AS p WHERE p.pronamespace = ANY (%(schemas)s::regnamespace[])
    """,
    "relation": f"""
        SELECT c.oid::regclass::text, jsonb_build_array(
            c.relkind, c.relowner::regrole, c.reloptions, c.relrowsecurity, {_ACL.format("c.relacl")},
            obj_description(c.oid, 'pg_class'), CASE WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid) END,
            (SELECT jsonb_build_array(s.seqtypid::regtype, s.seqincrement, s.seqmin, s.seqmax, s.seqcache)
            FROM pg_sequence AS s WHERE s.seqrelid = c.oid)
        ) FROM pg_class AS c
        WHERE c.relnamespace = ANY (%(schemas)s::regnamespace[]) AND c.relkind IN ('r', 'v', 'S', 'p')
    """,
    "column": f"""
        SELECT format('%%s.%%I', c.oid::regclass, a.attname), jsonb_build_array(
            CASE WHEN %(is_ordered)s OR c.relkind = 'v'
                THEN row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum) END,
            format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated, a.attstorage,
            a.attcollation::regcollation, pg_get_expr(d.adbin, d.adrelid), {_ACL.format("a.attacl")},
            col_description(c.oid, a.attnum)
        ) FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relnamespace = ANY (%(schemas)s::regnamespace[]) AND c.relkind IN ('r', 'v', 'p')
    """,
    "constraint": """
        SELECT format('%%s %%I', c.conrelid::regclass, c.conname),
            jsonb_build_array(pg_get_constraintdef(c.oid), c.convalidated, c.condeferrable, c.condeferred)
        FROM pg_constraint AS c WHERE c.connamespace = ANY (%(schemas)s::regnamespace[])
    """,
    "index": """
        SELECT i.indexrelid::regclass::text, to_jsonb(pg_get_indexdef(i.indexrelid))
        FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid
        WHERE c.relnamespace = ANY (%(schemas)s::regnamespace[])
    """,
    "trigger": """
        SELECT format('%%s %%I', t.tgrelid::regclass, t.tgname),
            jsonb_build_array(pg_get_triggerdef(t.oid), t.tgenabled, obj_description(t.oid, 'pg_trigger'))
        FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
        WHERE c.relnamespace = ANY (%(schemas)s::regnamespace[]) AND NOT t.tgisinternal
    """,
    "type": f"""
        SELECT t.oid::regtype::text, jsonb_build_array(
            t.typtype, t.typowner::regrole, {_ACL.format("t.typacl")}, obj_description(t.oid, 'pg_type'),
            (SELECT jsonb_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum AS e WHERE e.enumtypid = t.oid),
            (SELECT jsonb_agg(format('%%s %%s', a.attname, a.atttypid::regtype) ORDER BY a.attnum)
            FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
            WHERE c.oid = t.typrelid AND c.relkind = 'c')
        ) FROM pg_type AS t WHERE t.typnamespace = ANY (%(schemas)s::regnamespace[])
    """,
    "schema": f"""
        SELECT n.nspname::text, to_jsonb({_ACL.format("n.nspacl")}) FROM pg_namespace AS n
        WHERE n.oid = ANY (%(schemas)s::regnamespace[])
    """,
    "event trigger": """
        SELECT t.evtname::text, jsonb_build_array(
            t.evtevent, t.evtfoid::regprocedure, t.evtenabled, t.evttags,
            obj_description(t.oid, 'pg_event_trigger')
        ) FROM pg_event_trigger AS t
    """,
    "member": """
        SELECT pg_describe_object(d.classid, d.objid, 0), to_jsonb(e.extversion)
        FROM pg_depend AS d JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'pgkeymgr'
        WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
    """,
    "initial privileges": f"""
        SELECT pg_describe_object(i.classoid, i.objoid, i.objsubid), to_jsonb({_ACL.format("i.initprivs")})
        FROM pg_init_privs AS i WHERE i.privtype = 'e'
    """,
    "dumped table": """
        SELECT c.oid::regclass::text, to_jsonb(c.condition)
        FROM pg_extension AS e, unnest(e.extconfig, e.extcondition) AS c (oid, condition)
        WHERE e.extname = 'pgkeymgr'
    """,
}


def snapshot(
    connection: psycopg.Connection[Any], *schemas: str, is_ordered: bool = True
) -> dict[tuple[str, str], str]:
    """Return a description of each object of the extension, and of each object in some schemas.

    Args:
        connection: a session of a superuser, in autocommit mode.
        schemas: the names.
        is_ordered: whether the order of the columns of tables counts.

    Returns:
        The descriptions, by the kinds and the names of the objects.
    """
    found: dict[tuple[str, str], str] = {}
    connection.execute("SET search_path = pg_catalog, pg_temp")
    for kind, query in _QUERIES.items():
        quoted = [f'"{schema}"' for schema in schemas]
        parameters = {"schemas": quoted, "is_ordered": is_ordered}
        for name, description in connection.execute(sql.SQL(query), parameters):
            found[kind, name] = str(description)
    connection.execute("RESET search_path")
    return found


def differences(one: dict[tuple[str, str], str], other: dict[tuple[str, str], str]) -> list[str]:
    """Return how two databases differ: a line with both descriptions for each object."""
    return [
        f"{kind} {name}: {one.get((kind, name), 'none')} / {other.get((kind, name), 'none')}"
        for kind, name in sorted(one.keys() | other.keys())
        if one.get((kind, name)) != other.get((kind, name))
    ]
