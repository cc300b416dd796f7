-- What goes through all rows of a table in committed batches. Python: column/operation.py

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
    'Encrypt the rows that were there before encrypt_column(), in committed batches; then no plaintext is let in. '
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
