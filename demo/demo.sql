-- A table with an encrypted column: copy this, and put your own names in.
--
-- The names of the places are stored under a derived key, each with a nonce of its own. The application reads
-- and writes the view place, and has no right to the table place_encrypted behind it. Nothing here belongs
-- to a superuser or runs as one: the owner can use derived keys by their number, but can't see them.
--
-- secretbox does not bind a row's name to its code: who may write the table could swap two names unnoticed.
-- Where that matters, use crypto_aead_det_encrypt, with the code as its additional data.

CREATE ROLE registry_owner NOLOGIN;
CREATE ROLE application LOGIN;
GRANT pgkeymgr_user TO registry_owner, application;

CREATE SCHEMA registry AUTHORIZATION registry_owner;
SET ROLE registry_owner;
GRANT USAGE ON SCHEMA registry TO application;

CREATE TABLE registry.place_encrypted (
    code text PRIMARY KEY,
    key_id bigint NOT NULL,
    nonce bytea NOT NULL,
    data bytea NOT NULL
);
COMMENT ON TABLE registry.place_encrypted IS 'Places; data is the name, encrypted. Use the view place.';

-- Which key a new row gets. The primary key allows one row only.
CREATE TABLE registry.current_key (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    key_id bigint NOT NULL
);
INSERT INTO registry.current_key (key_id) VALUES (1);

-- The table is read with the rights of the view's owner, but a function in a view is called with the rights
-- of whoever reads the view: the application needs pgkeymgr_user for this one.
CREATE VIEW registry.place AS
    SELECT code, convert_from(pgkeymgr.crypto_secretbox_open(data, nonce, key_id), 'utf8') AS name
    FROM registry.place_encrypted;
GRANT SELECT, INSERT ON registry.place TO application;

-- A trigger's function runs with the rights of whoever writes the view, so it must be SECURITY DEFINER to
-- write the table. It encrypts before it inserts: a name that was stored first and encrypted by an UPDATE
-- afterwards would stay in the table's file, as a dead row, and in the WAL.
CREATE FUNCTION registry.place_insert() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    new_key_id bigint := (SELECT key_id FROM registry.current_key);
    new_nonce bytea := pgkeymgr.crypto_secretbox_noncegen();
BEGIN
    INSERT INTO registry.place_encrypted (code, key_id, nonce, data)
    VALUES (
        NEW.code,
        new_key_id,
        new_nonce,
        pgkeymgr.crypto_secretbox(convert_to(NEW.name, 'utf8'), new_nonce, new_key_id)
    );
    RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION registry.place_insert() FROM PUBLIC;

CREATE TRIGGER place_insert INSTEAD OF INSERT ON registry.place
    FOR EACH ROW EXECUTE FUNCTION registry.place_insert();

-- Re-encrypts some of the rows that are not under this key yet, each with a new nonce, and returns how many.
-- Call it until it returns 0: with each call a transaction of its own, nobody waits for long.
CREATE FUNCTION registry.rotate(new_key_id bigint, max_rows integer) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    place record;
    new_nonce bytea;
    rotated integer := 0;
BEGIN
    -- New rows first: else they would go on coming in under the old key.
    UPDATE registry.current_key SET key_id = new_key_id WHERE key_id <> new_key_id;
    FOR place IN
        SELECT code, key_id, nonce, data FROM registry.place_encrypted
        WHERE key_id <> new_key_id LIMIT max_rows FOR UPDATE
    LOOP
        new_nonce := pgkeymgr.crypto_secretbox_noncegen();
        UPDATE registry.place_encrypted
        SET key_id = new_key_id,
            nonce = new_nonce,
            data = pgkeymgr.crypto_secretbox(
                pgkeymgr.crypto_secretbox_open(place.data, place.nonce, place.key_id), new_nonce, new_key_id)
        WHERE code = place.code;
        rotated := rotated + 1;
    END LOOP;
    RETURN rotated;
END
$$;
REVOKE ALL ON FUNCTION registry.rotate(bigint, integer) FROM PUBLIC;

RESET ROLE;
