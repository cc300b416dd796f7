-- Migrating, rotating and decrypting columns, in committed batches. Python: column/operation.py, column/walk.py

-- Encrypt the values that were there before encrypt_column(), in committed batches, and then refuse plaintext in the
-- column. If the procedure is stopped, the next call continues there.
-- EXECUTE: pgkeymgr_admin
CREATE PROCEDURE @extschema@.migrate_column(
    relation regclass,
    column_name name,
    batch_size integer DEFAULT 5000
)
LANGUAGE plpython3u
AS $$
@load@
return GD['pgkeymgr'].migrate_column(relation, column_name, batch_size)
$$;

-- Do migrate_column() for several columns of a table, by default for all encrypted columns, and write each row only once.
-- EXECUTE: pgkeymgr_admin
CREATE PROCEDURE @extschema@.migrate_columns(
    relation regclass,
    column_names name[] DEFAULT NULL,
    batch_size integer DEFAULT 5000
)
LANGUAGE plpython3u
AS $$
@load@
return GD['pgkeymgr'].migrate_columns(relation, column_names, batch_size)
$$;

-- Supersede the key of an encrypted column, and encrypt all rows under the new version, in committed batches. If the
-- procedure is stopped, the next call continues there. With supersede => false, no new version is made, and the rows
-- under older versions are encrypted under the current one.
-- EXECUTE: pgkeymgr_admin
CREATE PROCEDURE @extschema@.rotate_column(
    relation regclass,
    column_name name,
    batch_size integer DEFAULT 5000,
    supersede boolean DEFAULT true
)
LANGUAGE plpython3u
AS $$
@load@
return GD['pgkeymgr'].rotate_column(relation, column_name, batch_size, supersede)
$$;

-- Do rotate_column() for several columns of a table, by default for all encrypted columns, and write each row only once.
-- EXECUTE: pgkeymgr_admin
CREATE PROCEDURE @extschema@.rotate_columns(
    relation regclass,
    column_names name[] DEFAULT NULL,
    batch_size integer DEFAULT 5000,
    supersede boolean DEFAULT true
)
LANGUAGE plpython3u
AS $$
@load@
return GD['pgkeymgr'].rotate_columns(relation, column_names, batch_size, supersede)
$$;

-- Decrypt an encrypted column, in committed batches. After the table's last encrypted column, the table gets its name
-- back. If the procedure is stopped, the next call continues there.
-- EXECUTE: pgkeymgr_admin
CREATE PROCEDURE @extschema@.decrypt_column(
    relation regclass,
    column_name name,
    batch_size integer DEFAULT 5000
)
LANGUAGE plpython3u
AS $$
@load@
return GD['pgkeymgr'].decrypt_column(relation, column_name, batch_size)
$$;

-- Do decrypt_column() for several columns of a table, by default for all encrypted columns, and write each row only once.
-- EXECUTE: pgkeymgr_admin
CREATE PROCEDURE @extschema@.decrypt_columns(
    relation regclass,
    column_names name[] DEFAULT NULL,
    batch_size integer DEFAULT 5000
)
LANGUAGE plpython3u
AS $$
@load@
return GD['pgkeymgr'].decrypt_columns(relation, column_names, batch_size)
$$;
