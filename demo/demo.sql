-- A column of a table in use, encrypted: copy this, and put your own names in.
--
-- The extension is in the schema pgkeymgr, and the server has a root key. Each step says who runs it. `make demo`
-- runs them one after the other, with an application at work, and looks at what each has done.

-- 1. As a superuser: the owner of the table, and the application. Only the owner has to do with keys.
CREATE ROLE registry_owner LOGIN;
CREATE ROLE application LOGIN;
GRANT pgkeymgr_admin TO registry_owner;
CREATE SCHEMA registry AUTHORIZATION registry_owner;

-- 2. As the owner: a table like any other. Yours is there already.
CREATE TABLE registry.place (
    code text PRIMARY KEY,
    name text NOT NULL CHECK (name <> '')
);
GRANT USAGE ON SCHEMA registry TO application;
GRANT SELECT, INSERT, UPDATE ON registry.place TO application;

-- 3. As the owner: encrypt what is written from now on.
SELECT pgkeymgr.encrypt_column('registry.place', 'name');

-- 4. As the owner: encrypt what was there before, in batches.
CALL pgkeymgr.migrate_column('registry.place', 'name');

-- 5. As a superuser: remove what files still hold of the time before. VACUUM FULL locks the table while it writes a
-- copy of it, without the dead rows; pg_statistic had samples of the column. Old WAL files are kept and overwritten
-- later unless wal_recycle is off, and a WAL archive or a backup of that time remains.
VACUUM (FULL, ANALYZE) registry.place_encrypted, pg_catalog.pg_statistic;
SELECT pg_switch_wal();
CHECKPOINT;

-- 6. As the owner: an index to search by, whatever the case of the letters.
SELECT pgkeymgr.add_blind_index('registry.place', 'name', 'casefold');

-- 7. As the application: a new place, which the index finds.
INSERT INTO registry.place (code, name) VALUES ('XX-ATL', 'Ατλαντίς');
SELECT code, name FROM registry.place
WHERE name_bidx = pgkeymgr.blind_index('registry.place', 'name', 'ΑΤΛΑΝΤΊΣ');

-- 8. As the owner: a new version of the key, and all rows under it.
CALL pgkeymgr.rotate_column('registry.place', 'name');

-- 9. As the owner: destroy the old version. Backups of the time before need it, and are lost without it.
SELECT pgkeymgr.destroy_data_key(id, name) FROM pgkeymgr.data_keys
WHERE name = 'registry.place.name' AND superseded_by IS NOT NULL;
