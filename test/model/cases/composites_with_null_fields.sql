-- step: create [is_change]
CREATE TABLE t (k integer PRIMARY KEY, n integer, s1 kinds.address NOT NULL, s2 kinds.deep)
-- step: insert []
INSERT INTO t VALUES (1, 1, '(geheim,)', '("(,)",,)'), (2, 2, '(,)', '(,,)'), (3, 3, '(a,b)', NULL)
-- step: encrypt [is_change RESULTS]
-- encrypted:
SELECT encrypt_column('t', 's1')
-- step: encrypt [is_change RESULTS]
-- encrypted:
SELECT encrypt_column('t_encrypted', 's2')
-- step: migrate [is_alone is_change RESULTS]
-- encrypted:
CALL migrate_column('t', 's1')
-- step: migrate [is_alone is_change RESULTS]
-- encrypted:
CALL migrate_column('t', 's2', 1)
-- step: update [STATEMENT_TRIGGERS]
UPDATE t SET k = k + 10, s2 = '(,,)' WHERE n < 3 RETURNING k, n, s1, s2
-- step: decrypt [is_alone is_change RESULTS]
-- encrypted:
CALL decrypt_column('t', 's1')
