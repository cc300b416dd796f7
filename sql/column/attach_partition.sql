-- Attaching plain tables as partitions of encrypted tables. Python: column/attach_partition.py

-- Encrypt the rows of a plain table for the columns of a partitioned table, in committed batches, and attach it with the
-- given bound, such as 'FOR VALUES FROM (1) TO (9)' or 'DEFAULT'. If the procedure is stopped, the next call continues.
--
-- Names and functions in the bound need their schemas. A detached partition can be attached again in this way, too.
-- EXECUTE: pgkeymgr_admin
CREATE PROCEDURE @extschema@.attach_encrypted_partition(
    relation regclass,
    partition regclass,
    bound text,
    batch_size integer DEFAULT 5000
)
LANGUAGE plpython3u
AS $$
@load@
return GD['pgkeymgr'].attach_encrypted_partition(relation, partition, bound, batch_size)
$$;
