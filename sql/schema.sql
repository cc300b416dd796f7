-- The schema is the choice of the role that creates the extension. In public, the extension's tables have general names
-- such as key among the tables of the users, and each role that can create objects in public is a danger to it.
DO $$
BEGIN
    IF '@extschema@' OPERATOR(pg_catalog.=) 'public' THEN
        RAISE WARNING 'pgkeymgr: the extension is in the schema "public", which other objects and roles use, too'
            USING HINT = 'To give it a schema of its own, run: DROP EXTENSION pgkeymgr; CREATE SCHEMA pgkeymgr; '
                'CREATE EXTENSION pgkeymgr SCHEMA pgkeymgr CASCADE;';
    END IF;
END
$$;

