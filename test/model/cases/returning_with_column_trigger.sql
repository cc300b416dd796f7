-- step: create [is_change]
CREATE TABLE t (k integer PRIMARY KEY, n integer, note text, s1 text, made integer GENERATED ALWAYS AS (n * 2) STORED);
CREATE FUNCTION bump() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.n := NEW.n + 1; RETURN NEW; END $$;
CREATE TRIGGER bump BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION bump();
CREATE FUNCTION of_note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := NEW.note || '!'; RETURN NEW; END $$;
CREATE TRIGGER of_note BEFORE UPDATE OF note ON t FOR EACH ROW EXECUTE FUNCTION of_note()
-- step: encrypt [is_change RESULTS]
-- encrypted:
SELECT encrypt_column('t', 's1')
-- step: insert [STATEMENT_TRIGGERS]
INSERT INTO t VALUES (1, 1, 'x', 'geheim') RETURNING k, n, note, s1, made
-- step: update [STATEMENT_TRIGGERS]
UPDATE t SET n = 5, note = 'y' RETURNING k, n, note, s1, made
-- step: update [STATEMENT_TRIGGERS]
UPDATE t SET s1 = s1 RETURNING k, n, note, s1, made
