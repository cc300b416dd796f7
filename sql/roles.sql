-- The two roles. They belong to the cluster, not to the extension: another database may use them, so
-- DROP EXTENSION leaves them.

-- Another database of the cluster may be doing the same at this moment. Whoever comes second waits for the first to
-- commit, and finds that there is nothing to do.
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
        IF NOT pg_catalog.pg_has_role('pgkeymgr_admin', 'pgkeymgr_user', 'MEMBER') THEN
            GRANT pgkeymgr_user TO pgkeymgr_admin;
        END IF;
    EXCEPTION WHEN unique_violation THEN
        NULL;
    END;
END
$$;

-- So that one GRANT of a role is all that an application's role needs.
DO $$
BEGIN
    IF NOT pg_catalog.has_schema_privilege(
        'public', '@extschema@'::pg_catalog.regnamespace::pg_catalog.oid, 'USAGE'
    ) THEN
        GRANT USAGE ON SCHEMA @extschema@ TO pgkeymgr_user;
    END IF;
END
$$;
