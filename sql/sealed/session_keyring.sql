-- The keys that a session has unlocked. Python: sealed/session_keyring.py, key/unlocked.py

CREATE FUNCTION @extschema@.lock()
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].lock()
$$;
REVOKE ALL ON FUNCTION @extschema@.lock() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.lock() TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.lock() IS
    'Forget everything that was unlocked in this session.';

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
REVOKE ALL ON FUNCTION @extschema@._session_keyring() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@._session_keyring() TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@._session_keyring() IS
    'Internal: what the current user has unlocked in this session, for the view session_keyring.';

CREATE VIEW @extschema@.session_keyring AS
SELECT k.kind, k.key_id, k.key_name, k.until FROM @extschema@._session_keyring() AS k;
GRANT SELECT ON @extschema@.session_keyring TO pgkeymgr_user;
COMMENT ON VIEW @extschema@.session_keyring IS
    'What the current user has unlocked in this session, and until when: the session or the transaction ends.';
