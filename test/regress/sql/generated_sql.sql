--
-- What is generated for a table with encrypted columns: the view, the functions of its triggers, and what the base
-- table gets. A change of it is to be seen here, and read.
--
\set VERBOSITY terse
\pset tuples_only on
\pset format unaligned
SET client_min_messages = warning;
CREATE SCHEMA pgkeymgr;
CREATE EXTENSION pgkeymgr SCHEMA pgkeymgr CASCADE;
SET search_path = public, pgkeymgr;
CREATE TABLE patient (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    clinic integer NOT NULL,
    name text NOT NULL,
    born date CHECK (born > '1900-01-01'),
    diagnosis jsonb,
    seen timestamptz DEFAULT pg_catalog.now()
);
INSERT INTO patient (clinic, name, born) VALUES (1, 'Ann', '1990-01-01');
SELECT encrypt_column('patient', 'name');
CALL migrate_column('patient', 'name');
SELECT add_blind_index('patient', 'name', 'casefold');
SELECT encrypt_column('patient', 'born', deterministic => true);
SELECT encrypt_column('patient', 'diagnosis', key_by => 'clinic');
RESET search_path;

-- A column's ciphertexts are bound to data that begins with 'column' and the column's uuid, which is always new.
CREATE FUNCTION without_uuid(text) RETURNS text LANGUAGE sql AS $$
    SELECT regexp_replace($1, '(?<=''|\\x)636f6c756d6e[0-9a-f]{32}', '<column and uuid>', 'g')
$$;
-- Before PostgreSQL 16, pg_get_viewdef() writes the alias of the only table before each column.
SELECT regexp_replace(without_uuid(pg_get_viewdef('patient'::regclass, true)), '\mb\.', '', 'g');
\d patient
\d patient_encrypted
SELECT format(E'-- %s\n%s', proname, without_uuid(prosrc)) FROM pg_proc
WHERE pronamespace = 'pgkeymgr'::regnamespace AND proname ~ '_1$' ORDER BY proname;
DROP TABLE patient_encrypted CASCADE;
DROP FUNCTION without_uuid;
ALTER EVENT TRIGGER pgkeymgr_keep_keys DISABLE;  -- the keys are not needed any more
DROP EXTENSION pgkeymgr, plpython3u;
DROP SCHEMA pgkeymgr;
