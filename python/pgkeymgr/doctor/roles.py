"""Who could get at keys without having been granted them."""

from collections.abc import Iterator

from .finding import ERROR, NOTICE, WARNING, Context, Finding, listed

_BOOTSTRAP_SUPERUSER = 10
_SERVER_ROLES = {
    "pg_execute_server_program": "run programs",
    "pg_read_server_files": "read files",
    "pg_write_server_files": "write files",
}


def check_roles(context: Context) -> Iterator[Finding]:
    """Find roles that can do more with keys than one may think, and what is left of dropped ones."""
    yield from _members(context)
    yield from _schema(context)
    yield from _privileges(context)
    yield from _server_files(context)
    yield from _languages(context)
    yield from _dropped(context)


def _members(context: Context) -> Iterator[Finding]:
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
            f"these can call derive_key(), and grant themselves any key of the table: {listed(administrators)}",
            "See that they are as few as can be.",
        )
    if users:
        yield Finding(
            NOTICE,
            "pgkeymgr_user",
            f"these can encrypt and decrypt with every key by number, without a grant: {listed(users)}",
            "Use keys of the table where roles are to be kept apart.",
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
            f"these can make PL/Python functions, and so read the root key in a session: {listed(superusers)}",
            "See that they are as few as can be.",
        )


def _schema(context: Context) -> Iterator[Finding]:
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
            f"ALTER SCHEMA {schema} OWNER TO a superuser;"
            if row["is_owner"]
            else f"REVOKE CREATE ON SCHEMA {schema} FROM {row['quoted']};"
        )
        yield Finding(
            WARNING,
            f"schema {schema}",
            f"{row['name']} can create objects in the extension's schema, and so functions that others call "
            "instead of pgkeymgr's",
            change,
        )


def _privileges(context: Context) -> Iterator[Finding]:
    """Find privileges on the extension's objects that it did not give when it was created."""
    for row in context.rows(
        "SELECT m.kind, m.name, g.privilege_type AS privilege, coalesce(r.rolname::text, 'PUBLIC') AS grantee,"
        " coalesce(pg_catalog.quote_ident(r.rolname), 'PUBLIC') AS quoted, m.is_routine"
        " FROM (SELECT CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END AS kind, true AS is_routine,"
        "   p.oid::pg_catalog.regprocedure::text AS name, d.classid, d.objid, p.proowner AS owner,"
        "   coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner)) AS acl,"
        "   pg_catalog.acldefault('f', p.proowner) AS usual"
        "  FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_proc AS p ON p.oid OPERATOR(pg_catalog.=) d.objid"
        "  WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass AND " + _MEMBER + ""
        " UNION ALL SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, false,"
        "   c.oid::pg_catalog.regclass::text, d.classid, d.objid, c.relowner, c.relacl, NULL"
        "  FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) d.objid"
        "  WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"
        "  AND c.relkind OPERATOR(pg_catalog.<>) 'c' AND " + _MEMBER + ") AS m"
        " LEFT JOIN pg_catalog.pg_init_privs AS i ON i.classoid OPERATOR(pg_catalog.=) m.classid"
        "  AND i.objoid OPERATOR(pg_catalog.=) m.objid AND i.objsubid OPERATOR(pg_catalog.=) 0"
        " CROSS JOIN LATERAL pg_catalog.aclexplode(m.acl) AS g"
        " LEFT JOIN pg_catalog.pg_roles AS r ON r.oid OPERATOR(pg_catalog.=) g.grantee"
        " WHERE g.grantee OPERATOR(pg_catalog.<>) m.owner AND r.rolsuper IS NOT TRUE"
        " AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(coalesce(i.initprivs, m.usual)) AS first"
        "  WHERE first.grantee OPERATOR(pg_catalog.=) g.grantee"
        "  AND first.privilege_type OPERATOR(pg_catalog.=) g.privilege_type) ORDER BY 2, 4, 3"
    ):
        name = row["name"]
        is_public = row["grantee"] == "PUBLIC"
        for_a_role = NOTICE if row["is_routine"] else WARNING
        yield Finding(
            ERROR if is_public else for_a_role,
            name,
            f"{row['grantee']} has {row['privilege']} on it, which the extension did not grant",
            f"REVOKE {row['privilege']} ON {row['kind']} {name} FROM {row['quoted']};",
        )


_MEMBER = (
    "d.deptype OPERATOR(pg_catalog.=) 'e' AND d.refclassid OPERATOR(pg_catalog.=)"
    " 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid OPERATOR(pg_catalog.=) (SELECT x.oid"
    " FROM pg_catalog.pg_extension AS x WHERE x.extname OPERATOR(pg_catalog.=) 'pgkeymgr')"
)


def _server_files(context: Context) -> Iterator[Finding]:
    for row in context.rows(
        "SELECT r.rolname::text AS name, pg_catalog.quote_ident(r.rolname) AS quoted,"
        " pg_catalog.array_agg(p.rolname::text ORDER BY p.rolname) AS predefined"
        " FROM pg_catalog.pg_roles AS r JOIN pg_catalog.pg_roles AS p"
        " ON p.rolname OPERATOR(pg_catalog.=) ANY ($1::name[])"
        " WHERE NOT r.rolsuper AND r.oid OPERATOR(pg_catalog.<>) p.oid"
        " AND pg_catalog.pg_has_role(r.oid, p.oid, 'MEMBER') GROUP BY r.rolname ORDER BY 1",
        ("text[]", list(_SERVER_ROLES)),
    ):
        can = " and ".join(what for role, what in _SERVER_ROLES.items() if role in row["predefined"])
        yield Finding(
            WARNING,
            row["name"],
            f"it can {can} as the server's user in the operating system, to whom the getkey script belongs",
            f"REVOKE {', '.join(row['predefined'])} FROM {row['quoted']}; where it is a member through another "
            "role, from that one.",
        )


def _languages(context: Context) -> Iterator[Finding]:
    for row in context.rows(
        "SELECT lanname::text AS name FROM pg_catalog.pg_language WHERE lanpltrusted AND lanname"
        " OPERATOR(pg_catalog.=) ANY ('{c,internal,plpython3u,plpythonu,plpython2u,plperlu,pltclu}'::name[])"
    ):
        yield Finding(
            ERROR,
            f"language {row['name']}",
            "it is marked as trusted, so that who is no superuser can make functions in it, and so read the root "
            "key",
            f"UPDATE pg_catalog.pg_language SET lanpltrusted = false WHERE lanname = '{row['name']}';",
        )
    for row in context.rows(
        "SELECT p.oid::pg_catalog.regprocedure::text AS name, r.rolname::text AS owner"
        " FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_roles AS r ON r.oid OPERATOR(pg_catalog.=) p.proowner"
        " JOIN pg_catalog.pg_depend AS d ON d.objid OPERATOR(pg_catalog.=) p.oid"
        " AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass AND " + _MEMBER + ""
        " WHERE NOT r.rolsuper ORDER BY 1"
    ):
        yield Finding(
            ERROR,
            row["name"],
            f"it belongs to {row['owner']}, who is no superuser, and can alter it",
            f"ALTER FUNCTION {row['name']} OWNER TO a superuser;",
        )


def _dropped(context: Context) -> Iterator[Finding]:
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
            f"it is granted to a role that was dropped, number {row['role']}; another role may get that number",
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
            f"its owner was dropped, number {row['role']}; another role may get that number",
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
            "the key pair of a role that was dropped",
            f"SELECT drop_user_key('{row['role']}');",
        )
