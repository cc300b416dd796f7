-- Encrypt a column of a table in use. To use this script, replace the names by your own.
--
-- The extension is in the schema pgkeymgr, and the server has a root key. Each step names the role that runs it.
-- `make demo` runs the steps one after the other while an application works, and checks their results.

-- 1. As a superuser: create the owner of the table, and the application. Only the owner may manage keys.
CREATE ROLE registry_owner LOGIN;
CREATE ROLE application LOGIN;
GRANT pgkeymgr_admin TO registry_owner;
CREATE SCHEMA registry AUTHORIZATION registry_owner;

-- 2. As the owner: create an ordinary table. You already have yours.
CREATE TABLE registry.place (
    code text PRIMARY KEY,
    name text NOT NULL CHECK (name <> '')
);
GRANT USAGE ON SCHEMA registry TO application;
GRANT SELECT, INSERT, UPDATE ON registry.place TO application;

-- 3. As the owner: encrypt all new values from now on.
SELECT pgkeymgr.encrypt_column('registry.place', 'name');

-- 4. As the owner: encrypt the existing values, in batches.
CALL pgkeymgr.migrate_column('registry.place', 'name');

-- 5. As a superuser: remove the old plaintext from the files. VACUUM FULL locks the table while it writes a copy
-- without the dead rows. pg_statistic had samples of the column. PostgreSQL keeps old WAL files and overwrites them
-- later, unless wal_recycle is off. WAL archives and backups from that time remain.
VACUUM (FULL, ANALYZE) registry.place_encrypted, pg_catalog.pg_statistic;
SELECT pg_switch_wal();
CHECKPOINT;

-- 6. As the owner: make an index for searches that ignore the case of letters.
SELECT pgkeymgr.add_blind_index('registry.place', 'name', 'casefold');

-- 7. As the application: insert a province, and find it by the index.
INSERT INTO registry.place (code, name) VALUES ('XX-ATL', 'Ατλαντίς');
SELECT code, name FROM registry.place
WHERE name_bidx = pgkeymgr.blind_index('registry.place', 'name', 'ΑΤΛΑΝΤΊΣ');

-- 8. As the owner: make a new version of the key, and encrypt all rows under it.
CALL pgkeymgr.rotate_column('registry.place', 'name');

-- 9. As the owner: destroy the old version. Ciphertexts in older backups can then no longer be decrypted.
SELECT pgkeymgr.destroy_data_key(id, name) FROM pgkeymgr.data_keys
WHERE name = 'registry.place.name' AND superseded_by IS NOT NULL;
