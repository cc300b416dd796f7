"""Finds roles that can use or get keys without a grant on them."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from ..key.shared_names import valid_name
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
    yield from _check_missing_roles(context)


def _check_members(context: Context) -> Iterator[Finding]:
    rows = context.rows(
        f"""
        SELECT {valid_name("r.rolname")} AS name, pg_has_role(r.oid, 'pgkeymgr_admin', 'MEMBER') AS is_admin
        FROM pg_roles AS r
        WHERE r.rolcanlogin AND NOT r.rolsuper AND pg_has_role(r.oid, 'pgkeymgr_user', 'MEMBER')
        ORDER BY 1
        """
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
            f"""
            SELECT {valid_name("rolname")} AS name
            FROM pg_roles
            WHERE rolsuper AND rolcanlogin AND oid <> $1
            ORDER BY 1
            """,
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
    name = valid_name("r.rolname")
    for row in context.rows(
        f"""
        SELECT
            coalesce({name}, 'PUBLIC') AS name, coalesce(quote_ident({name}), 'PUBLIC') AS quoted,
            g.grantee = n.nspowner AS is_owner
        FROM pg_namespace AS n
        CROSS JOIN LATERAL aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) AS g
        LEFT JOIN pg_roles AS r ON r.oid = g.grantee
        WHERE n.oid = '{{s}}'::regnamespace::oid AND g.privilege_type = 'CREATE' AND r.rolsuper IS NOT TRUE
        ORDER BY 1
        """
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


def _members_of(catalog: str) -> str:
    return f"""
        SELECT d.objid
        FROM pg_depend AS d
        WHERE d.classid = '{catalog}'::regclass
            AND d.deptype = 'e'
            AND d.refclassid = 'pg_extension'::regclass
            AND d.refobjid = (SELECT x.oid FROM pg_extension AS x WHERE x.extname = 'pgkeymgr')
    """


# These functions are generated for encrypted tables, and their names end with the number of the table. The table's
# owner needs EXECUTE on a trigger function to create triggers. All writers need it on functions that triggers
# call.
_GENERATED = """
    FROM pg_proc AS p
    JOIN {s}.encrypted_relation AS r ON r.id::text = substring(p.proname::text, '^_[a-z_]+_([0-9]+)$')
    JOIN pg_class AS b ON b.oid = r.base::oid
    WHERE p.pronamespace = '{s}'::regnamespace::oid
"""
_INTENDED = (
    """
    SELECT i.catalog::oid::bigint AS catalog, i.object::bigint AS object, i.privilege, i.grantee
    FROM {s}._intended_privileges() AS i
    UNION ALL
    SELECT
        'pg_proc'::regclass::oid::bigint, p.oid::bigint, 'EXECUTE',
        CASE WHEN p.prorettype = 'trigger'::regtype::oid THEN b.relowner::regrole::text ELSE 'PUBLIC' END
    """
    + _GENERATED
)
_GIVEN = f"""
    SELECT
        o.catalog::oid::bigint AS catalog, o.object::bigint AS object, o.kind, o.name, o.attribute,
        {valid_name("o.owner::regrole")} AS owner, {valid_name("a.grantor::regrole")} AS grantor,
        CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE {valid_name("a.grantee::regrole")} END AS grantee,
        a.privilege_type AS privilege, a.is_grantable AS grantable, r.rolsuper AS has_superuser
    FROM (
        SELECT
            'pg_proc'::regclass AS catalog, p.oid AS object,
            CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END AS kind,
            p.oid::regprocedure::text AS name, '' AS attribute, p.proowner AS owner,
            coalesce(p.proacl, acldefault('f', p.proowner)) AS acl
        FROM pg_proc AS p
        WHERE p.oid IN ({_members_of("pg_proc")} UNION ALL SELECT p.oid {_GENERATED})
        UNION ALL
        SELECT
            'pg_class'::regclass, c.oid, CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
            c.oid::regclass::text, n.attribute, c.relowner, n.acl
        FROM pg_class AS c
        CROSS JOIN LATERAL (
            SELECT '' AS attribute, c.relacl AS acl
            UNION ALL
            SELECT quote_ident(t.attname), t.attacl
            FROM pg_attribute AS t
            WHERE t.attrelid = c.oid AND t.attacl IS NOT NULL
        ) AS n
        WHERE c.oid IN ({_members_of("pg_class")})
        UNION ALL
        SELECT
            'pg_type'::regclass, t.oid, 'TYPE', t.oid::regtype::text, '', t.typowner,
            coalesce(t.typacl, acldefault('T', t.typowner))
        FROM pg_type AS t
        LEFT JOIN pg_class AS c ON c.oid = t.typrelid
        WHERE t.oid IN ({_members_of("pg_type")})
            -- The row type of a table and the type of an array have no privileges of their own.
            AND t.typcategory <> 'A'
            AND coalesce(c.relkind, 'c') = 'c'
    ) AS o
    JOIN pg_roles AS r ON r.oid = o.owner
    LEFT JOIN LATERAL aclexplode(o.acl) AS a ON true
    ORDER BY o.name, a.privilege_type
"""


def _check_predefined_roles(context: Context) -> Iterator[Finding]:
    name = valid_name("r.rolname")
    for row in context.rows(
        f"""
        SELECT {name} AS name, quote_ident({name}) AS quoted, p.rolname::text AS predefined
        FROM pg_roles AS r
        JOIN pg_roles AS p ON p.rolname = ANY ($1::name[])
        WHERE NOT r.rolsuper AND r.oid <> p.oid AND pg_has_role(r.oid, p.oid, 'MEMBER')
        ORDER BY 1, 3
        """,
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
        """
        SELECT lanname::text AS name
        FROM pg_language
        WHERE lanpltrusted
            AND lanname = ANY ('{c,internal,plpython3u,plpythonu,plpython2u,plperlu,pltclu}'::name[])
        """
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
        """
        SELECT g.family, g.grantee::bigint AS role, min(k.name) AS name, min(k.id) AS id
        FROM {s}.key_grant AS g
        LEFT JOIN {s}.key AS k ON k.family = g.family
        WHERE g.grantee <> 0::oid AND NOT EXISTS (SELECT FROM pg_roles AS r WHERE r.oid = g.grantee)
        GROUP BY 1, 2
        ORDER BY 1, 2
        """
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
        """
        SELECT k.id, coalesce(k.name, 'without a name') AS name, k.owner::bigint AS role
        FROM {s}.key AS k
        WHERE k.owner <> 0::oid AND NOT EXISTS (SELECT FROM pg_roles AS r WHERE r.oid = k.owner)
        ORDER BY k.id
        """
    ):
        yield Finding(
            WARNING,
            f"key {row['id']} ({row['name']})",
            f"the key belongs to a dropped role with the number {row['role']}, which a new role may get",
            f"As a superuser: UPDATE {schema}.key SET owner = 'a_role'::regrole WHERE id = {row['id']};",
        )
    for row in context.rows(
        """
        SELECT u.role::bigint AS role
        FROM {s}.user_key AS u
        WHERE u.role <> 0::oid AND NOT EXISTS (SELECT FROM pg_roles AS r WHERE r.oid = u.role)
        ORDER BY 1
        """
    ):
        yield Finding(
            WARNING,
            f"user key of role {row['role']}",
            "the key pair belongs to a dropped role",
            f"SELECT drop_user_key('{row['role']}');",
        )


def _check_missing_roles(context: Context) -> Iterator[Finding]:
    schema = context.database.schema
    for row in context.rows(
        """
        SELECT
            o.name::text AS name, quote_literal(o.name) AS quoted,
            coalesce(string_agg(o.what, ', ' ORDER BY o.what), '') AS things
        FROM (
            SELECT k.owner_name AS name, format('owner of %s keys', count(*)) AS what
            FROM {s}.key AS k
            WHERE k.owner = 0::oid
            GROUP BY 1
            UNION ALL
            SELECT g.grantee_name, format('%s grants', count(*))
            FROM {s}.key_grant AS g
            WHERE g.grantee = 0::oid
            GROUP BY 1
            UNION ALL
            SELECT u.role_name, 'a key pair'
            FROM {s}.user_key AS u
            WHERE u.role = 0::oid
            GROUP BY 1
        ) AS o
        GROUP BY o.name
        ORDER BY o.name
        """
    ):
        if row["name"] is None:
            yield Finding(
                WARNING,
                "role without a name",
                f"a role that was dropped before the dump was made is named in the key tables: {row['things']}",
                f"As a superuser: UPDATE {schema}.key SET owner = 'a_role'::regrole WHERE owner = 0 "
                f"AND owner_name IS NULL; DELETE FROM {schema}.user_key WHERE role = 0 AND role_name IS NULL;",
            )
        else:
            yield Finding(
                WARNING,
                f"role {row['name']}",
                f"the role did not exist when the keys were restored, and they name it: {row['things']}",
                f"SELECT adopt_role({row['quoted']}, 'a_role');",
            )
