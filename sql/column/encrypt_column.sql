-- A column made encrypted, and its view made anew. Python: column/encrypt_column.py

CREATE FUNCTION @extschema@.encrypt_column(
    relation regclass,
    column_name name,
    key text DEFAULT NULL,
    key_by name DEFAULT NULL,
    deterministic boolean DEFAULT false
)
RETURNS regclass
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
SET standard_conforming_strings = on
SET row_security = off
AS $$
@load@
return GD['pgkeymgr'].encrypt_column(relation, column_name, key, key_by, deterministic)
$$;
REVOKE ALL ON FUNCTION @extschema@.encrypt_column(regclass, name, text, name, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.encrypt_column(regclass, name, text, name, boolean) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.encrypt_column(regclass, name, text, name, boolean) IS
    'Make a column encrypted: the table becomes <table>_encrypted, and a view with its name and columns takes its '
    'place. What is written from now on is encrypted; migrate_column() encrypts the rows that are there. The view.';

CREATE FUNCTION @extschema@.refresh_encrypted_view(
    relation regclass
)
RETURNS regclass
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
SET standard_conforming_strings = on
AS $$
@load@
return GD['pgkeymgr'].refresh_encrypted_view(relation)
$$;
REVOKE ALL ON FUNCTION @extschema@.refresh_encrypted_view(regclass) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.refresh_encrypted_view(regclass) TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.refresh_encrypted_view(regclass) IS
    'Make the view of a table with encrypted columns, and its triggers, what the base table needs by now. DDL on '
    'the base table does so by itself; after the view was dropped, this brings it back. The view.';

CREATE PROCEDURE @extschema@.migrate_column(
    relation regclass,
    column_name name,
    batch_size integer DEFAULT 1000
)
LANGUAGE plpython3u
AS $$
@load@
return GD['pgkeymgr'].migrate_column(relation, column_name, batch_size)
$$;
REVOKE ALL ON PROCEDURE @extschema@.migrate_column(regclass, name, integer) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE @extschema@.migrate_column(regclass, name, integer) TO pgkeymgr_admin;
COMMENT ON PROCEDURE @extschema@.migrate_column(regclass, name, integer) IS
    'Encrypt the rows that were there before encrypt_column(), in committed batches, and drop the plaintext column. '
    'Stopped at any point, it goes on where it was when it is called again.';

CREATE PROCEDURE @extschema@.rotate_column(
    relation regclass,
    column_name name,
    batch_size integer DEFAULT 1000
)
LANGUAGE plpython3u
AS $$
@load@
return GD['pgkeymgr'].rotate_column(relation, column_name, batch_size)
$$;
REVOKE ALL ON PROCEDURE @extschema@.rotate_column(regclass, name, integer) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE @extschema@.rotate_column(regclass, name, integer) TO pgkeymgr_admin;
COMMENT ON PROCEDURE @extschema@.rotate_column(regclass, name, integer) IS
    'Supersede the key of an encrypted column, and encrypt all rows under the new version, in committed batches. '
    'Stopped at any point, it goes on where it was when it is called again.';

CREATE PROCEDURE @extschema@.decrypt_column(
    relation regclass,
    column_name name,
    batch_size integer DEFAULT 1000
)
LANGUAGE plpython3u
AS $$
@load@
return GD['pgkeymgr'].decrypt_column(relation, column_name, batch_size)
$$;
REVOKE ALL ON PROCEDURE @extschema@.decrypt_column(regclass, name, integer) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE @extschema@.decrypt_column(regclass, name, integer) TO pgkeymgr_admin;
COMMENT ON PROCEDURE @extschema@.decrypt_column(regclass, name, integer) IS
    'Make an encrypted column a plain one again, in committed batches; with the last one, the table gets its name '
    'back. Stopped at any point, it goes on where it was when it is called again.';
