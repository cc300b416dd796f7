-- The views for auditors and monitors. They show the keys of all roles, their grants and their uses. They show no wrap and
-- no secret, read no table of a user, and call no code of a user.

CREATE VIEW @extschema@.key_versions WITH (security_barrier) AS
SELECT
    k.id, k.uuid, k.name, k.family, k.parent_family, k.key_type, k.state,
    k.superseded_by IS NULL AS is_current, k.superseded_by, k.created, k.expires, o.rolname AS owner, k.comment,
    ARRAY(
        SELECT w.kind::pg_catalog.text FROM @extschema@.key_wrap AS w
        WHERE w.key_id OPERATOR(pg_catalog.=) k.id GROUP BY w.kind ORDER BY w.kind
    ) AS wraps,
    (
        SELECT w.fingerprint FROM @extschema@.key_wrap AS w
        WHERE w.key_id OPERATOR(pg_catalog.=) k.id AND w.kind OPERATOR(pg_catalog.=) 'root'::@extschema@.wrap_kind
    ) AS root_key,
    ARRAY(
        SELECT r.rolname FROM @extschema@.key_wrap AS w
        JOIN @extschema@.user_key AS u ON w.holder OPERATOR(pg_catalog.=) pg_catalog.encode(u.public, 'hex')
        JOIN pg_catalog.pg_roles AS r ON r.oid OPERATOR(pg_catalog.=) u.role
        WHERE w.key_id OPERATOR(pg_catalog.=) k.id AND w.kind OPERATOR(pg_catalog.=) 'user'::@extschema@.wrap_kind
        ORDER BY r.rolname
    ) AS shared_with,
    k.derivation_id, k.encrypts_until, k.destroy_after
FROM @extschema@.key AS k
LEFT JOIN pg_catalog.pg_roles AS o ON o.oid OPERATOR(pg_catalog.=) k.owner;
GRANT SELECT ON @extschema@.key_versions TO pgkeymgr_monitor;
COMMENT ON VIEW @extschema@.key_versions IS
    'All versions of all keys, without their secrets: the versions of a key have the same family. root_key is the '
    'fingerprint of the root key that the wrap is made under, and shared_with lists the roles that have a sealed copy. '
    'owner is NULL if the role was dropped. A key with a parent_family was made for a value of a column. After '
    'encrypts_until, a version only decrypts, and run_key_policies() destroys it after destroy_after.';

CREATE VIEW @extschema@.key_usage WITH (security_barrier) AS
SELECT
    k.id AS key_id, k.name AS key_name, k.state, k.superseded_by IS NULL AS is_current,
    coalesce(r.relation_name, r.relation::pg_catalog.text) AS relation, c.column_name, n.need
FROM @extschema@.key AS k
JOIN @extschema@.encrypted_column AS c ON
    c.key_family OPERATOR(pg_catalog.=) k.family
    OR c.blind_key OPERATOR(pg_catalog.=) k.id
    OR EXISTS (
        SELECT FROM @extschema@.encrypted_terms AS t
        WHERE t.column_id OPERATOR(pg_catalog.=) c.id AND t.terms_key OPERATOR(pg_catalog.=) k.id
    )
    OR (k.key_value IS NOT NULL AND c.key_by IS NOT NULL AND c.key_family OPERATOR(pg_catalog.=) k.parent_family)
JOIN @extschema@.encrypted_relation AS r ON r.id OPERATOR(pg_catalog.=) c.relation_id
CROSS JOIN LATERAL (
    SELECT CASE
        WHEN c.blind_key OPERATOR(pg_catalog.=) k.id OR EXISTS (
            SELECT FROM @extschema@.encrypted_terms AS t
            WHERE t.column_id OPERATOR(pg_catalog.=) c.id AND t.terms_key OPERATOR(pg_catalog.=) k.id
        ) THEN 'blind index'
        WHEN r.dropped IS NOT NULL THEN 'dropped table'
        WHEN k.superseded_by IS NULL THEN 'current'
        ELSE 'earlier values'
    END
) AS n (need)
WHERE k.state OPERATOR(pg_catalog.<>) 'destroyed'::@extschema@.key_state;
GRANT SELECT ON @extschema@.key_usage TO pgkeymgr_monitor;
COMMENT ON VIEW @extschema@.key_usage IS
    'The encrypted columns and blind indexes that need a version of a key. The need is current (the column is written '
    'with it), earlier values (the column may have values from before a rotation: key_dependents() reads the table to '
    'find out), blind index, or dropped table (a copy of the table may have values). Tokens in other columns are not known.';

CREATE VIEW @extschema@.key_grants WITH (security_barrier) AS
WITH named AS (
    -- A family has the name and the id of its current version.
    SELECT DISTINCT ON (k.family) k.family, k.id, k.name, k.parent_family
    FROM @extschema@.key AS k
    WHERE EXISTS (
        SELECT FROM @extschema@.key AS v WHERE v.family OPERATOR(pg_catalog.=) k.family
            AND v.state OPERATOR(pg_catalog.<>) 'destroyed'::@extschema@.key_state
    )
    ORDER BY k.family, k.superseded_by IS NULL DESC, k.id DESC
), given (family, holder, holder_name, usage, source) AS (
    SELECT DISTINCT k.family, k.owner, NULL::pg_catalog.name, ARRAY['encrypt', 'decrypt', 'search'], 'owner'
    FROM @extschema@.key AS k
    -- A key for a value of a column has the owner of the column's key.
    WHERE NOT EXISTS (
        SELECT FROM @extschema@.key AS p WHERE p.family OPERATOR(pg_catalog.=) k.parent_family
            AND p.owner OPERATOR(pg_catalog.=) k.owner
    )
    UNION ALL
    SELECT g.family, g.grantee, g.grantee_name, g.usage, 'grant' FROM @extschema@.key_grant AS g
), reached AS (
    SELECT g.family, r.oid, r.rolname AS role, r.rolcanlogin AS can_login, g.usage, g.source, NULL::pg_catalog.name AS through
    FROM given AS g JOIN pg_catalog.pg_roles AS r ON r.oid OPERATOR(pg_catalog.=) g.holder
    UNION ALL
    SELECT
        g.family, r.oid, r.rolname, r.rolcanlogin, g.usage,
        CASE WHEN pg_catalog.pg_has_role(r.oid, h.oid, 'USAGE') THEN 'membership' ELSE 'set role' END, h.rolname
    FROM given AS g
    JOIN pg_catalog.pg_roles AS h ON h.oid OPERATOR(pg_catalog.=) g.holder
    JOIN pg_catalog.pg_roles AS r ON r.oid OPERATOR(pg_catalog.<>) h.oid AND NOT r.rolsuper
        AND pg_catalog.pg_has_role(r.oid, h.oid, 'MEMBER')
    UNION ALL
    SELECT g.family, NULL, coalesce(g.holder_name, g.holder::pg_catalog.text::pg_catalog.name COLLATE pg_catalog."C"), false, g.usage, 'no role', NULL
    FROM given AS g
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.oid OPERATOR(pg_catalog.=) g.holder)
    UNION ALL
    SELECT
        f.family, r.oid, r.rolname, r.rolcanlogin, ARRAY['encrypt', 'decrypt', 'search'],
        CASE WHEN r.rolsuper THEN 'superuser' ELSE 'pgkeymgr_admin' END, NULL
    FROM named AS f
    JOIN pg_catalog.pg_roles AS r ON f.parent_family IS NULL AND (
        r.rolsuper OR (
            r.rolname OPERATOR(pg_catalog.<>) 'pgkeymgr_admin' AND pg_catalog.pg_has_role(r.oid, 'pgkeymgr_admin', 'MEMBER')
        )
    )
    UNION ALL
    SELECT f.family, r.oid, r.rolname, r.rolcanlogin, ARRAY['encrypt', 'decrypt'], 'number', 'pgkeymgr_user'
    FROM named AS f
    JOIN @extschema@.key AS k ON k.family OPERATOR(pg_catalog.=) f.family AND k.derivation_id IS NOT NULL
    -- A wrap of this length does not contain the key, which is derived at each use: see doctor/keys.py.
    JOIN @extschema@.key_wrap AS w ON w.key_id OPERATOR(pg_catalog.=) k.id
        AND w.kind OPERATOR(pg_catalog.=) 'root'::@extschema@.wrap_kind
        AND pg_catalog.octet_length(w.wrapped) OPERATOR(pg_catalog.=) 42
    JOIN pg_catalog.pg_roles AS r ON NOT r.rolsuper AND pg_catalog.pg_has_role(r.oid, 'pgkeymgr_user', 'MEMBER')
)
SELECT
    f.id AS key_id, f.name AS key_name, f.family, g.role, g.can_login, g.usage, g.source, g.through, e.role AS grantor,
    e.at AS granted
FROM reached AS g
JOIN named AS f ON f.family OPERATOR(pg_catalog.=) g.family
LEFT JOIN LATERAL (
    -- The table of grants does not have the grantor. The trail has the last role that granted something of the key.
    SELECT e.role, e.at
    FROM @extschema@.key AS v
    JOIN @extschema@.key_event AS e ON e.key_id OPERATOR(pg_catalog.=) v.id
        AND e.event OPERATOR(pg_catalog.=) 'grant'
        AND pg_catalog.right(
            e.detail, pg_catalog.length(pg_catalog.quote_ident(g.role)) OPERATOR(pg_catalog.+) 7
        ) OPERATOR(pg_catalog.=) pg_catalog.concat(', role ', pg_catalog.quote_ident(g.role))
    WHERE v.family OPERATOR(pg_catalog.=) g.family AND g.source OPERATOR(pg_catalog.=) 'grant'
    ORDER BY e.at DESC
    LIMIT 1
) AS e ON true;
GRANT SELECT ON @extschema@.key_grants TO pgkeymgr_monitor;
COMMENT ON VIEW @extschema@.key_grants IS
    'The roles that can use each key, with the usages. The source is owner, grant, membership (in the role through), set '
    'role (membership without INHERIT), number (a key of pgsodium), pgkeymgr_admin (the role can grant itself the key), '
    'superuser, or no role (the holder was dropped). grantor and granted are from the audit trail, if it has the grant. '
    'The rows of the key of a column are valid for the keys of its values, too.';

CREATE VIEW @extschema@.column_grants WITH (security_barrier) AS
SELECT
    r.relation, c.column_name, g.role, g.can_login, s.may_select,
    s.may_select AND 'decrypt' OPERATOR(pg_catalog.=) ANY (g.usage) AS can_read, g.usage, g.source, g.through, g.key_name
FROM @extschema@.encrypted_column AS c
JOIN @extschema@.encrypted_relation AS r ON r.id OPERATOR(pg_catalog.=) c.relation_id
JOIN pg_catalog.pg_class AS v ON v.oid OPERATOR(pg_catalog.=) r.relation::pg_catalog.oid
JOIN pg_catalog.pg_attribute AS a ON a.attrelid OPERATOR(pg_catalog.=) v.oid
    AND a.attname OPERATOR(pg_catalog.=) c.column_name
JOIN @extschema@.key_grants AS g ON g.family OPERATOR(pg_catalog.=) c.key_family
CROSS JOIN LATERAL (
    -- After SET ROLE, the privileges of the other role count.
    SELECT coalesce(pg_catalog.bool_or(
        pg_catalog.has_column_privilege(p.oid, v.oid, a.attnum, 'SELECT')
        AND pg_catalog.has_schema_privilege(p.oid, v.relnamespace, 'USAGE')
    ), false) AS may_select
    FROM pg_catalog.pg_roles AS p
    WHERE p.rolname OPERATOR(pg_catalog.=) g.role
        OR (g.source OPERATOR(pg_catalog.=) 'set role' AND p.rolname OPERATOR(pg_catalog.=) g.through)
) AS s;
GRANT SELECT ON @extschema@.column_grants TO pgkeymgr_monitor;
COMMENT ON VIEW @extschema@.column_grants IS
    'The roles that can use the key of each encrypted column, as in key_grants. may_select is true if the role has '
    'SELECT on the column and USAGE on its schema, and can_read if it may also decrypt.';
