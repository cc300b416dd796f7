"""Finds roles that can use or get keys without a grant on them."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from .finding import ERROR, NOTICE, WARNING, Context, Finding, join_names

_Row = dict[str, Any]

_BOOTSTRAP_SUPERUSER = 10
_AS_SERVER = "as the server's user in the operating system, who owns the getkey script"
_PREDEFINED_ROLES = {
    "pg_execute_server_program": (WARNING, f"run programs {_AS_SERVER}"),
    "pg_read_server_files": (WARNING, f"read files {_AS_SERVER}"),
    "pg_write_server_files": (WARNING, f"write files {_AS_SERVER}"),
    "pg_write_all_data": (WARNING, "write to the extension's tables, and so grant itself keys"),
    "pg_read_all_data": (NOTICE, "read wrapped keys, and so try passphrases on them outside of the server"),
}


def check_roles(context: Context) -> Iterator[Finding]:
    """Find roles that have unexpected rights on keys, and keys and grants of dropped roles."""
    yield from _check_members(context)
    yield from _check_schema(context)
    yield from _check_privileges(context)
    yield from _check_predefined_roles(context)
    yield from _check_languages(context)
    yield from _check_dropped_roles(context)


def _check_members(context: Context) -> Iterator[Finding]:
    rows = context.rows(
        "SELECT r.rolname::text AS name, pg_catalog.pg_has_role(r.oid, 'pgkeymgr_admin', 'MEMBER') AS is_admin"
        " FROM pg_catalog.pg_roles AS r WHERE r.rolcanlogin AND NOT r.rolsuper"
        " AND pg_catalog.pg_has_role(r.oid, 'pgkeymgr_user', 'MEMBER') ORDER BY 1"
    )
    administrators = [row["name"] for row in rows if row["is_admin"]]
    users = [row["name"] for row in rows if not row["is_admin"]]
    if administrators:
        yield Finding(
            NOTICE,
            "pgkeymgr_admin",
            f"these roles can call derive_key(), and grant themselves any data key: {join_names(administrators)}",
            "Keep this list as short as possible.",
        )
    if users:
        yield Finding(
            NOTICE,
            "pgkeymgr_user",
            f"these roles can encrypt and decrypt with every key by number, without a grant: {join_names(users)}",
            "Use data keys to keep roles apart.",
        )
    superusers = [
        row["name"]
        for row in context.rows(
            "SELECT rolname::text AS name FROM pg_catalog.pg_roles"
            " WHERE rolsuper AND rolcanlogin AND oid OPERATOR(pg_catalog.<>) $1 ORDER BY 1",
            ("oid", _BOOTSTRAP_SUPERUSER),
        )
    ]
    if superusers:
        yield Finding(
            NOTICE,
            "superusers",
            f"these roles can create PL/Python functions, and so read the root key in a session: "
            f"{join_names(superusers)}",
            "Keep this list as short as possible.",
        )


def _check_schema(context: Context) -> Iterator[Finding]:
    for row in context.rows(
        "SELECT coalesce(r.rolname::text, 'PUBLIC') AS name,"
        " coalesce(pg_catalog.quote_ident(r.rolname), 'PUBLIC') AS quoted,"
        " g.grantee OPERATOR(pg_catalog.=) n.nspowner AS is_owner"
        " FROM pg_catalog.pg_namespace AS n CROSS JOIN LATERAL pg_catalog.aclexplode(coalesce(n.nspacl,"
        "  pg_catalog.acldefault('n', n.nspowner))) AS g"
        " LEFT JOIN pg_catalog.pg_roles AS r ON r.oid OPERATOR(pg_catalog.=) g.grantee"
        " WHERE n.oid OPERATOR(pg_catalog.=) '{s}'::pg_catalog.regnamespace::pg_catalog.oid"
        " AND g.privilege_type OPERATOR(pg_catalog.=) 'CREATE' AND r.rolsuper IS NOT TRUE ORDER BY 1"
    ):
        schema = context.database.schema
        change = (
            f"ALTER SCHEMA {schema} OWNER TO a_superuser;"
            if row["is_owner"]
            else f"REVOKE CREATE ON SCHEMA {schema} FROM {row['quoted']};"
        )
        yield Finding(
            WARNING,
            f"schema {schema}",
            f"{row['name']} can create objects in the extension's schema, and so functions that other roles call "
            "instead of pgkeymgr's",
            change,
        )


def _check_privileges(context: Context) -> Iterator[Finding]:
    """Compare the privileges on the extension's objects with the intended privileges."""
    intended = {(_key(row), row["privilege"], row["grantee"]) for row in context.rows(_INTENDED)}
    objects: dict[tuple[int, int], _Row] = {}
    given = set()
    excess: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    for row in context.rows(_GIVEN):
        key, grantee = _key(row), row["grantee"]
        objects[key] = row
        if grantee in (None, row["owner"]):
            continue
        is_intended = not row["attribute"] and (key, row["privilege"], grantee) in intended
        if is_intended:
            given.add((key, row["privilege"], grantee))
        # A superuser revokes in the owner's name. Privileges that a role has passed on are revoked together with
        # its grant option.
        if row["grantor"] != row["owner"]:
            revoke, whom = "GRANT OPTION FOR ", row["grantor"]
        elif not is_intended:
            revoke, whom = "", grantee
        elif row["grantable"]:
            revoke, whom = "GRANT OPTION FOR ", grantee
        else:
            continue
        excess[row["name"], row["kind"], row["attribute"], grantee, revoke, whom].append(row["privilege"])
    for (name, kind, attribute, grantee, revoke, whom), privileges in sorted(excess.items()):
        column = f" ({attribute})" if attribute else ""
        option = " with grant option" if revoke and whom == grantee else ""
        yield Finding(
            ERROR,
            name,
            f"{grantee} has {', '.join(privileges)}{column} on the object{option}, which the extension did not "
            "grant",
            f"REVOKE {revoke}{', '.join(each + column for each in privileges)} ON {kind} {name}"
            f" FROM {whom} CASCADE;",
        )
    for row in objects.values():
        # The sequence of an identity column always has the owner of its table.
        if not row["has_superuser"] and row["kind"] != "SEQUENCE":
            yield Finding(
                ERROR,
                row["name"],
                f"the object belongs to {row['owner']}, who is not a superuser and can alter it",
                f"ALTER {row['kind']} {row['name']} OWNER TO a_superuser;",
            )
    for key, privilege, grantee in sorted(intended - given):
        if key in objects and grantee != objects[key]["owner"]:
            name = objects[key]["name"]
            yield Finding(
                WARNING,
                name,
                f"{grantee} does not have {privilege} on the object, which the extension granted",
                f"GRANT {privilege} ON {objects[key]['kind']} {name} TO {grantee};",
            )


def _key(row: _Row) -> tuple[int, int]:
    return row["catalog"], row["object"]


_MEMBER = (
    "d.deptype OPERATOR(pg_catalog.=) 'e' AND d.refclassid OPERATOR(pg_catalog.=)"
    " 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid OPERATOR(pg_catalog.=) (SELECT x.oid"
    " FROM pg_catalog.pg_extension AS x WHERE x.extname OPERATOR(pg_catalog.=) 'pgkeymgr')"
)


def _members_of(catalog: str) -> str:
    return (
        "SELECT d.objid FROM pg_catalog.pg_depend AS d WHERE d.classid OPERATOR(pg_catalog.=)"
        f" 'pg_catalog.{catalog}'::pg_catalog.regclass AND {_MEMBER}"
    )


# These functions are generated for encrypted tables, and their names end with the number of the table. The table's
# owner needs EXECUTE on a trigger function to create triggers. All writers need it on functions that triggers
# call.
_GENERATED = (
    " FROM pg_catalog.pg_proc AS p JOIN {s}.encrypted_relation AS r"
    " ON r.id::text OPERATOR(pg_catalog.=) pg_catalog.substring(p.proname::text, '^_[a-z_]+_([0-9]+)$')"
    " JOIN pg_catalog.pg_class AS b ON b.oid OPERATOR(pg_catalog.=) r.base::pg_catalog.oid"
    " WHERE p.pronamespace OPERATOR(pg_catalog.=) '{s}'::pg_catalog.regnamespace::pg_catalog.oid"
)
_INTENDED = (
    "SELECT i.catalog::pg_catalog.oid::bigint AS catalog, i.object::bigint AS object, i.privilege, i.grantee"
    " FROM {s}._intended_privileges() AS i UNION ALL"
    " SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid::bigint, p.oid::bigint, 'EXECUTE',"
    " CASE WHEN p.prorettype OPERATOR(pg_catalog.=) 'pg_catalog.trigger'::pg_catalog.regtype::pg_catalog.oid"
    " THEN b.relowner::pg_catalog.regrole::text ELSE 'PUBLIC' END" + _GENERATED
)
_GIVEN = (
    "SELECT o.catalog::pg_catalog.oid::bigint AS catalog, o.object::bigint AS object, o.kind, o.name, o.attribute,"
    " o.owner::pg_catalog.regrole::text AS owner, a.grantor::pg_catalog.regrole::text AS grantor,"
    " CASE WHEN a.grantee OPERATOR(pg_catalog.=) 0 THEN 'PUBLIC'"
    "  ELSE a.grantee::pg_catalog.regrole::text END AS grantee,"
    " a.privilege_type AS privilege, a.is_grantable AS grantable, r.rolsuper AS has_superuser FROM ("
    " SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass AS catalog, p.oid AS object,"
    "  CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END AS kind,"
    "  p.oid::pg_catalog.regprocedure::text AS name, '' AS attribute, p.proowner AS owner,"
    "  coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner)) AS acl FROM pg_catalog.pg_proc AS p"
    f" WHERE p.oid IN ({_members_of('pg_proc')} UNION ALL SELECT p.oid{_GENERATED})"
    " UNION ALL SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, c.oid,"
    "  CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.oid::pg_catalog.regclass::text, n.attribute,"
    "  c.relowner, n.acl FROM pg_catalog.pg_class AS c CROSS JOIN LATERAL (SELECT '' AS attribute, c.relacl AS acl"
    "   UNION ALL SELECT pg_catalog.quote_ident(t.attname), t.attacl FROM pg_catalog.pg_attribute AS t"
    "   WHERE t.attrelid OPERATOR(pg_catalog.=) c.oid AND t.attacl IS NOT NULL) AS n"
    f" WHERE c.oid IN ({_members_of('pg_class')})"
    " UNION ALL SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, t.oid, 'TYPE',"
    "  t.oid::pg_catalog.regtype::text, '', t.typowner,"
    "  coalesce(t.typacl, pg_catalog.acldefault('T', t.typowner)) FROM pg_catalog.pg_type AS t"
    "  LEFT JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) t.typrelid"
    f" WHERE t.oid IN ({_members_of('pg_type')})"
    # The row type of a table and the type of an array have no privileges of their own.
    " AND t.typcategory OPERATOR(pg_catalog.<>) 'A' AND coalesce(c.relkind, 'c') OPERATOR(pg_catalog.=) 'c'"
    ") AS o JOIN pg_catalog.pg_roles AS r ON r.oid OPERATOR(pg_catalog.=) o.owner"
    " LEFT JOIN LATERAL pg_catalog.aclexplode(o.acl) AS a ON true ORDER BY o.name, a.privilege_type"
)


def _check_predefined_roles(context: Context) -> Iterator[Finding]:
    for row in context.rows(
        "SELECT r.rolname::text AS name, pg_catalog.quote_ident(r.rolname) AS quoted,"
        " p.rolname::text AS predefined"
        " FROM pg_catalog.pg_roles AS r JOIN pg_catalog.pg_roles AS p"
        " ON p.rolname OPERATOR(pg_catalog.=) ANY ($1::name[])"
        " WHERE NOT r.rolsuper AND r.oid OPERATOR(pg_catalog.<>) p.oid"
        " AND pg_catalog.pg_has_role(r.oid, p.oid, 'MEMBER') ORDER BY 1, 3",
        ("text[]", list(_PREDEFINED_ROLES)),
    ):
        status, can = _PREDEFINED_ROLES[row["predefined"]]
        yield Finding(
            status,
            row["name"],
            f"the role can {can}",
            f"REVOKE {row['predefined']} FROM {row['quoted']}; or, for an indirect member, from the role between.",
        )


def _check_languages(context: Context) -> Iterator[Finding]:
    for row in context.rows(
        "SELECT lanname::text AS name FROM pg_catalog.pg_language WHERE lanpltrusted AND lanname"
        " OPERATOR(pg_catalog.=) ANY ('{c,internal,plpython3u,plpythonu,plpython2u,plperlu,pltclu}'::name[])"
    ):
        yield Finding(
            ERROR,
            f"language {row['name']}",
            "the language is marked trusted, so non-superusers can create functions in it and read the root key",
            f"UPDATE pg_catalog.pg_language SET lanpltrusted = false WHERE lanname = '{row['name']}';",
        )


def _check_dropped_roles(context: Context) -> Iterator[Finding]:
    schema = context.database.schema
    for row in context.rows(
        "SELECT g.family, g.grantee::pg_catalog.oid::bigint AS role, min(k.name) AS name, min(k.id) AS id"
        " FROM {s}.key_grant AS g LEFT JOIN {s}.key AS k ON k.family OPERATOR(pg_catalog.=) g.family"
        " WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles AS r"
        "  WHERE r.oid OPERATOR(pg_catalog.=) g.grantee::pg_catalog.oid) GROUP BY 1, 2 ORDER BY 1, 2"
    ):
        yield Finding(
            WARNING,
            f"key {row['family']} ({row['name'] or 'without a name'})",
            f"the key is granted to a dropped role with the number {row['role']}, which a new role may get",
            f"SELECT revoke_data_key({row['id']}, '{row['role']}');"
            if row["id"] is not None
            else f"DELETE FROM {schema}.key_grant WHERE family = {row['family']};",
        )
    for row in context.rows(
        "SELECT k.id, coalesce(k.name, 'without a name') AS name, k.owner::pg_catalog.oid::bigint AS role"
        " FROM {s}.key AS k WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles AS r"
        "  WHERE r.oid OPERATOR(pg_catalog.=) k.owner::pg_catalog.oid) ORDER BY k.id"
    ):
        yield Finding(
            WARNING,
            f"key {row['id']} ({row['name']})",
            f"the key belongs to a dropped role with the number {row['role']}, which a new role may get",
            f"As a superuser: UPDATE {schema}.key SET owner = 'a_role' WHERE id = {row['id']};",
        )
    for row in context.rows(
        "SELECT u.role::pg_catalog.oid::bigint AS role FROM {s}.user_key AS u"
        " WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles AS r"
        "  WHERE r.oid OPERATOR(pg_catalog.=) u.role::pg_catalog.oid) ORDER BY 1"
    ):
        yield Finding(
            WARNING,
            f"user key of role {row['role']}",
            "the key pair belongs to a dropped role",
            f"SELECT drop_user_key('{row['role']}');",
        )
