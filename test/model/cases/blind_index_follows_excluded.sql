-- step: create [is_change]
CREATE TABLE t (k integer PRIMARY KEY, n integer, s1 text)
-- step: encrypt [is_change RESULTS]
-- encrypted:
SELECT encrypt_column('t', 's1')
-- step: blind index [is_change RESULTS]
-- encrypted:
SELECT add_blind_index('t', 's1', 'casefold')
-- step: insert [STATEMENT_TRIGGERS]
INSERT INTO t VALUES (1, 1, 'geheim')
-- step: base upsert []
INSERT INTO t AS b (k, s1) VALUES (1, 'Other') ON CONFLICT (k) DO UPDATE SET s1 = EXCLUDED.s1
-- encrypted:
INSERT INTO t_encrypted AS b (k, s1) VALUES (1, 'Other')
ON CONFLICT (k) DO UPDATE SET s1 = NULL, s1_encrypted = EXCLUDED.s1_encrypted
