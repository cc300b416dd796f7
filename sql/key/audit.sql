-- The audit trail, a chain of hashed events of keys. Python: key/audit.py

CREATE TABLE @extschema@.key_event (
    id uuid PRIMARY KEY,
    link bigint UNIQUE CHECK (link OPERATOR(pg_catalog.>) 0),
    at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    event text NOT NULL,
    key_id integer,
    key_name text,
    -- The columns hold names, not references, since the trail outlives keys and roles.
    role text NOT NULL,
    session_role text NOT NULL,
    client text NOT NULL,
    detail text,
    hash bytea,
    CHECK ((link IS NULL) OPERATOR(pg_catalog.=) (hash IS NULL))
);
CREATE INDEX key_event_unlinked ON @extschema@.key_event (at) WHERE hash IS NULL;
CREATE INDEX key_event_key ON @extschema@.key_event (key_id);
REVOKE ALL ON @extschema@.key_event FROM PUBLIC;
COMMENT ON TABLE @extschema@.key_event IS
    'The events of keys: the action, the role, the session and the address. The table only grows. Each event has the '
    'hash of itself and of all events before it, and verify_key_events() checks the hashes.';

CREATE TABLE @extschema@.key_event_turn ();
REVOKE ALL ON @extschema@.key_event_turn FROM PUBLIC;
COMMENT ON TABLE @extschema@.key_event_turn IS
    'An empty table. A transaction locks it while it links its events to the chain, so that transactions link one '
    'after the other.';

SELECT pg_catalog.pg_extension_config_dump('@extschema@.key_event', '');

-- Internal: refuse changes of the audit trail.
-- EXECUTE: nobody
CREATE FUNCTION @extschema@._only_grow()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.hash IS NULL THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION USING
        ERRCODE = 'insufficient_privilege',
        MESSAGE = format('pgkeymgr: %s of the audit trail is refused: it only grows', TG_OP);
END
$$;
CREATE TRIGGER only_grow BEFORE UPDATE OR DELETE ON @extschema@.key_event
    FOR EACH ROW EXECUTE FUNCTION @extschema@._only_grow();
CREATE TRIGGER only_grow_whole BEFORE TRUNCATE ON @extschema@.key_event
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@._only_grow();

-- Internal: link the events of this transaction to the chain, when it commits.
-- EXECUTE: nobody
CREATE FUNCTION @extschema@._link_key_events()
RETURNS trigger
LANGUAGE plpython3u VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
@load@
return GD['pgkeymgr']._link_key_events()
$$;
-- The trigger is deferred, so that the chain is locked during the commit only. A restored row has its hash already.
CREATE CONSTRAINT TRIGGER link_key_events AFTER INSERT ON @extschema@.key_event
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.hash IS NULL)
    EXECUTE FUNCTION @extschema@._link_key_events();

CREATE VIEW @extschema@.key_events WITH (security_barrier) AS
SELECT e.link, e.at, e.event, e.key_id, e.key_name, e.role, e.session_role, e.client, e.detail, e.hash, e.id
FROM @extschema@.key_event AS e;
GRANT SELECT ON @extschema@.key_events TO pgkeymgr_admin;
GRANT SELECT ON @extschema@.key_events TO pgkeymgr_monitor;
COMMENT ON VIEW @extschema@.key_events IS
    'The audit trail: the events of keys, with the current role, the role of the session, and the address of the '
    'client.';

-- Check the chain of the audit trail. Return the number of its events, and the first broken link with the reason, or
-- NULL. With a link and its hash that were noted elsewhere, the check also finds a chain that was cut or computed
-- again.
-- EXECUTE: pgkeymgr_admin, pgkeymgr_monitor
CREATE FUNCTION @extschema@.verify_key_events(
    known_link bigint DEFAULT NULL,
    known_hash bytea DEFAULT NULL,
    OUT events bigint,
    OUT broken_link bigint,
    OUT reason text,
    OUT last_hash bytea
)
RETURNS record
LANGUAGE plpython3u STABLE PARALLEL UNSAFE COST 100000
AS $$
@load@
return GD['pgkeymgr'].verify_key_events(known_link, known_hash)
$$;

-- Have the agent sign a checkpoint of the audit trail of this database, and keep it outside the database. Return the
-- checkpoint, a line of JSON. It has the number and the hash of the last committed event.
-- EXECUTE: pgkeymgr_admin, pgkeymgr_monitor
CREATE FUNCTION @extschema@.checkpoint_key_events()
RETURNS text
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 100000
AS $$
@load@
return GD['pgkeymgr'].checkpoint_key_events()
$$;
