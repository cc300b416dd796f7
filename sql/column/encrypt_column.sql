-- Encrypting a column. Python: column/encrypt_column.py

-- Encrypt a column: the table becomes <table>_encrypted, and a view with its name and columns takes its place. New
-- values are encrypted from now on; migrate_column() encrypts the values of existing rows. column_id is the id of the same
-- column in another database with the same key: ciphertexts can be moved between the two unchanged. compression => 'deflate'
-- compresses values before they are encrypted: the length of a ciphertext then depends on the content. Return the view.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.encrypt_column(
    relation regclass,
    column_name name,
    key text DEFAULT NULL,
    key_by name DEFAULT NULL,
    deterministic boolean DEFAULT false,
    drop_indexes boolean DEFAULT false,
    column_id uuid DEFAULT NULL,
    compression text DEFAULT 'none'
)
RETURNS regclass
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp
@catalog_settings@
SET row_security = off
AS $$
@load@
return GD['pgkeymgr'].encrypt_column(relation, column_name, key, key_by, deterministic, drop_indexes, column_id, compression)
$$;
