-- The keys that a session has unlocked. Python: sealed/session_keyring.py, key/unlocked.py

-- Forget everything that was unlocked in this session.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.lock()
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].lock()
$$;

-- Internal: return the keys that the current user has unlocked in this session, for the view session_keyring.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@._session_keyring(
    OUT kind text,
    OUT key_id integer,
    OUT key_name text,
    OUT until text
)
RETURNS SETOF record
LANGUAGE plpython3u STABLE PARALLEL RESTRICTED COST 10000
AS $$
@load@
return GD['pgkeymgr']._session_keyring()
$$;

CREATE VIEW @extschema@.session_keyring AS
SELECT k.kind, k.key_id, k.key_name, k.until FROM @extschema@._session_keyring() AS k;
GRANT SELECT ON @extschema@.session_keyring TO pgkeymgr_user;
COMMENT ON VIEW @extschema@.session_keyring IS
    'The keys that the current user has unlocked in this session, and when they are locked again: at the end of the '
    'session or of the transaction.';
