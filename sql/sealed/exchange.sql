-- The exchange key, and the offers to which clients seal secrets. Python: sealed/exchange.py, sealed/message.py

-- Begin a sealed message: return a public key and a challenge for one message from this session, and their signature
-- under the server's exchange key, whose fingerprint clients pin. The offer replaces the previous one.
-- EXECUTE: pgkeymgr_user
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

-- Return the fingerprint of the server's exchange key, which clients pin: the SHA-256 of its public half, in
-- hexadecimal.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@.exchange_fingerprint()
RETURNS text
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].exchange_fingerprint()
$$;

-- Make a new exchange key. Return its fingerprint, which clients must pin from now on.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.rotate_exchange_key()
RETURNS text
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].rotate_exchange_key()
$$;
