-- The three roles. They belong to the cluster, not to the extension: another database may use them, so
-- DROP EXTENSION leaves them.

-- Another database of the cluster may create the roles at the same moment. The second transaction then waits for the
-- first to commit, and finds the roles.
DO $$
BEGIN
    BEGIN
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) 'pgkeymgr_user') THEN
            CREATE ROLE pgkeymgr_user NOLOGIN;
        END IF;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL;
    END;
    BEGIN
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) 'pgkeymgr_admin') THEN
            CREATE ROLE pgkeymgr_admin NOLOGIN;
        END IF;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL;
    END;
    BEGIN
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) 'pgkeymgr_monitor') THEN
            CREATE ROLE pgkeymgr_monitor NOLOGIN;
        END IF;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL;
    END;
    BEGIN
        IF NOT pg_catalog.pg_has_role('pgkeymgr_admin', 'pgkeymgr_user', 'MEMBER') THEN
            GRANT pgkeymgr_user TO pgkeymgr_admin;
        END IF;
    EXCEPTION WHEN unique_violation THEN
        NULL;
    END;
    BEGIN
        IF NOT pg_catalog.pg_has_role('pgkeymgr_admin', 'pgkeymgr_monitor', 'MEMBER') THEN
            GRANT pgkeymgr_monitor TO pgkeymgr_admin;
        END IF;
    EXCEPTION WHEN unique_violation THEN
        NULL;
    END;
END
$$;

-- With this, a single GRANT of a role is enough for an application's or a monitor's role.
-- An update must not GRANT again: PostgreSQL would take all privileges on the schema for the extension's, and a dump would
-- have none of them.
DO $$
BEGIN
    IF NOT pg_catalog.has_schema_privilege(
        'pgkeymgr_user', '@extschema@'::pg_catalog.regnamespace::pg_catalog.oid, 'USAGE'
    ) THEN
        GRANT USAGE ON SCHEMA @extschema@ TO pgkeymgr_user, pgkeymgr_monitor;
    END IF;
END
$$;
