-- Compression before encryption. Python: column/compression.py

-- Compress the values of an encrypted column before they are encrypted ('deflate'), or do not ('none'), from now on.
-- Values that are there stay as they are and can be read; rotate_column() converts them. The length of a compressed
-- value's ciphertext depends on its content.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.set_column_compression(
    relation regclass,
    column_name name,
    compression text
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp
@catalog_settings@
AS $$
@load@
return GD['pgkeymgr'].set_column_compression(relation, column_name, compression)
$$;
