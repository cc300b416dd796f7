-- step: create [is_change]
CREATE TABLE t (k integer PRIMARY KEY, s1 kinds.deep)
-- step: insert []
INSERT INTO t VALUES (1, '("(,)",sad,"{1,NULL}")')
-- step: encrypt [is_change RESULTS]
-- encrypted:
SELECT encrypt_column('t', 's1')
-- step: migrate [is_alone is_change RESULTS]
-- encrypted:
CALL migrate_column('t', 's1')
-- step: set []
SET array_nulls = off
-- step: update [STATEMENT_TRIGGERS]
UPDATE t SET k = 2 RETURNING k, s1
