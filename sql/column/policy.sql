-- Policies for rotating keys and destroying old versions. Python: column/policy.py

CREATE TABLE @extschema@.key_policy (
    family integer PRIMARY KEY,
    rotate_every interval,
    keep_versions integer CHECK (keep_versions OPERATOR(pg_catalog.>=) 1),
    destroy_after interval NOT NULL,
    -- Whether the columns may have values under older versions, because run_key_policies() has superseded the key.
    is_rotating boolean NOT NULL DEFAULT false,
    last_run timestamptz,
    last_error text
);
REVOKE ALL ON @extschema@.key_policy FROM PUBLIC;
COMMENT ON TABLE @extschema@.key_policy IS
    'The policies of keys, by their families, and the outcome of the last run_key_policies().';
SELECT pg_catalog.pg_extension_config_dump('@extschema@.key_policy', '');

CREATE VIEW @extschema@.key_policies WITH (security_barrier) AS
SELECT
    k.id AS key_id, k.name, p.rotate_every, p.keep_versions, p.destroy_after,
    k.created OPERATOR(pg_catalog.+) p.rotate_every AS next_rotation, p.is_rotating, p.last_run, p.last_error
FROM @extschema@.key_policy AS p
JOIN @extschema@.key AS k ON k.family OPERATOR(pg_catalog.=) p.family AND k.superseded_by IS NULL;
GRANT SELECT ON @extschema@.key_policies TO pgkeymgr_monitor;
COMMENT ON VIEW @extschema@.key_policies IS
    'The policies of keys, with the time from which run_key_policies() makes the next version, and the error of its last '
    'run.';

-- Set the policy of a key: run_key_policies() makes a new version rotate_every after the current one was made, encrypts
-- the columns under it, and schedules the destruction of the superseded versions that no column needs, but for the
-- newest keep_versions, counted with the current one. rotate_every and keep_versions can be NULL. If both are NULL, the
-- key has no policy.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.set_key_policy(
    key text,
    rotate_every interval DEFAULT NULL,
    keep_versions integer DEFAULT NULL,
    destroy_after interval DEFAULT '30 days'
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].set_key_policy(key, rotate_every, keep_versions, destroy_after)
$$;

-- Set the policy of a key: run_key_policies() makes a new version rotate_every after the current one was made, encrypts
-- the columns under it, and schedules the destruction of the superseded versions that no column needs, but for the
-- newest keep_versions, counted with the current one. rotate_every and keep_versions can be NULL. If both are NULL, the
-- key has no policy.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.set_key_policy(
    key integer,
    rotate_every interval DEFAULT NULL,
    keep_versions integer DEFAULT NULL,
    destroy_after interval DEFAULT '30 days'
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].set_key_policy(key, rotate_every, keep_versions, destroy_after)
$$;

-- Carry out all policies of keys, and all destructions that are due, in many transactions. After an error with one key,
-- the procedure continues with the others: the error becomes a warning, stays in key_policies, and makes the call fail
-- at the end. If the procedure is stopped, the next call continues there, and two calls can run at the same time.
-- EXECUTE: pgkeymgr_admin
CREATE PROCEDURE @extschema@.run_key_policies(
    batch_size integer DEFAULT 5000
)
LANGUAGE plpython3u
AS $$
@load@
return GD['pgkeymgr'].run_key_policies(batch_size)
$$;
