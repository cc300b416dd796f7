-- The exchange, by which secrets travel sealed. Python: sealed/exchange.py, sealed/message.py

CREATE FUNCTION @extschema@.exchange_offer(
    OUT public bytea,
    OUT challenge bytea,
    OUT server_key bytea,
    OUT signature bytea
)
RETURNS record
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].exchange_offer()
$$;
REVOKE ALL ON FUNCTION @extschema@.exchange_offer() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.exchange_offer() TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.exchange_offer() IS
    'Start of a sealed message: a public key and a challenge for one message from this session, and the '
    'signature of both under the server''s exchange key, whose fingerprint a client pins. Replaces the offer '
    'before.';

CREATE FUNCTION @extschema@.exchange_fingerprint()
RETURNS text
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].exchange_fingerprint()
$$;
REVOKE ALL ON FUNCTION @extschema@.exchange_fingerprint() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.exchange_fingerprint() TO pgkeymgr_user;
COMMENT ON FUNCTION @extschema@.exchange_fingerprint() IS
    'The fingerprint of the server''s exchange key, for clients to pin: SHA-256 of its public half, in '
    'hexadecimal.';

CREATE FUNCTION @extschema@.rotate_exchange_key()
RETURNS text
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].rotate_exchange_key()
$$;
REVOKE ALL ON FUNCTION @extschema@.rotate_exchange_key() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.rotate_exchange_key() TO pgkeymgr_admin;
COMMENT ON FUNCTION @extschema@.rotate_exchange_key() IS
    'Make a new exchange key; its fingerprint, which clients must pin from now on.';
