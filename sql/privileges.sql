-- The privileges on the objects of the extension: the intended ones, and no others, regardless of the default privileges
-- of the installing role. This file is the last of the install script.

-- Internal: return the privileges that roles other than the owner must have on the objects of the extension. The
-- grantee is a role or PUBLIC.
--
-- The build makes the rows from the GRANT statements. doctor() compares the existing privileges with them.
-- EXECUTE: nobody
CREATE FUNCTION @extschema@._intended_privileges(
    OUT catalog regclass,
    OUT object oid,
    OUT privilege text,
    OUT grantee text
)
RETURNS SETOF record
LANGUAGE sql STABLE ROWS 400
SET search_path = pg_catalog, pg_temp
AS $$
SELECT
    CASE i.kind WHEN 'TYPE' THEN 'pg_type' WHEN 'TABLE' THEN 'pg_class' WHEN 'SEQUENCE' THEN 'pg_class'
        ELSE 'pg_proc' END::regclass,
    CASE i.kind WHEN 'TYPE' THEN to_regtype(n.name)::oid WHEN 'TABLE' THEN to_regclass(n.name)::oid
        WHEN 'SEQUENCE' THEN to_regclass(n.name)::oid ELSE to_regprocedure(n.name)::oid END,
    i.privilege, i.grantee
FROM (VALUES
@privileges@
) AS i (kind, object, privilege, grantee)
JOIN pg_extension AS e ON e.extname = 'pgkeymgr'
CROSS JOIN LATERAL format(i.object, e.extnamespace::regnamespace) AS n (name)
$$;

-- Internal: revoke all privileges of other roles on functions (of the catalog pg_proc), tables, views and sequences
-- (pg_class), or types (pg_type), which the current role owns.
--
-- Functions that are created later need this, too: PostgreSQL gives each new object the default privileges of its
-- owner.
-- EXECUTE: nobody
CREATE FUNCTION @extschema@._revoke_all(catalog regclass, objects oid[])
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    one record;
BEGIN
    FOR one IN
        SELECT o.kind || string_agg(DISTINCT o.name, ', ') AS objects, o.owner::regrole AS owner,
            string_agg(DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END, ', ')
                AS grantees
        FROM (
            SELECT 'ROUTINE ' AS kind, p.oid::regprocedure::text AS name, p.proowner AS owner,
                coalesce(p.proacl, acldefault('f', p.proowner)) AS acl
            FROM pg_proc AS p WHERE catalog = 'pg_proc'::regclass AND p.oid = ANY (objects)
            UNION ALL
            -- The name of a sequence will do as that of a table.
            SELECT 'TABLE ', c.oid::regclass::text, c.relowner,
                coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))
            FROM pg_class AS c
            WHERE catalog = 'pg_class'::regclass AND c.oid = ANY (objects) AND c.relkind IN ('r', 'v', 'S')
            UNION ALL
            -- The row type of a table and the type of an array have no privileges of their own.
            SELECT 'TYPE ', t.oid::regtype::text, t.typowner, coalesce(t.typacl, acldefault('T', t.typowner))
            FROM pg_type AS t LEFT JOIN pg_class AS c ON c.oid = t.typrelid
            WHERE catalog = 'pg_type'::regclass AND t.oid = ANY (objects)
                AND t.typcategory <> 'A' AND coalesce(c.relkind, 'c') = 'c'
        ) AS o LEFT JOIN LATERAL aclexplode(o.acl) AS a ON true
        GROUP BY o.kind, o.owner
    LOOP
        -- Of the owner as well, since a default privilege may have taken the owner's or made them grantable.
        EXECUTE format('REVOKE ALL ON %s FROM %s CASCADE', one.objects, concat_ws(', ', one.owner, one.grantees));
        EXECUTE format('GRANT ALL ON %s TO %s', one.objects, one.owner);
    END LOOP;
END
$$;

-- Internal: give roles the intended privileges on the objects of the extension, and no others.
-- EXECUTE: nobody
CREATE FUNCTION @extschema@._set_privileges()
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    one record;
BEGIN
    PERFORM @extschema@._revoke_all(d.classid::regclass, array_agg(d.objid))
    FROM pg_depend AS d JOIN pg_extension AS e ON e.extname = 'pgkeymgr' AND e.oid = d.refobjid
    WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
    GROUP BY d.classid;
    FOR one IN
        SELECT i.privilege, i.grantee, CASE i.catalog
            WHEN 'pg_proc'::regclass THEN 'ROUTINE ' || string_agg(i.object::regprocedure::text, ', ')
            WHEN 'pg_type'::regclass THEN 'TYPE ' || string_agg(i.object::regtype::text, ', ')
            ELSE 'TABLE ' || string_agg(i.object::regclass::text, ', ')
        END AS objects
        FROM @extschema@._intended_privileges() AS i
        GROUP BY i.catalog, i.privilege, i.grantee ORDER BY i.catalog, i.grantee, i.privilege
    LOOP
        EXECUTE format('GRANT %s ON %s TO %s', one.privilege, one.objects, one.grantee);
    END LOOP;
END
$$;
SELECT @extschema@._set_privileges();
