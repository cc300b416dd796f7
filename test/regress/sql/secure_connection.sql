--
-- Whether nobody can listen to this session: it is encrypted with TLS, or it does not leave the machine. To be
-- asked before a secret goes to the client or comes from it.
--
-- The setting ssl does not tell: it says that the server offers TLS, and then a client may still have come
-- without. This session's row of pg_stat_ssl is what counts.
--
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE SCHEMA pgkeymgr;
CREATE EXTENSION pgkeymgr SCHEMA pgkeymgr CASCADE;
CREATE SCHEMA walkthrough;
SET search_path = walkthrough;

-- The rule by itself: TLS, or no address, which is a Unix-domain socket.
CREATE FUNCTION is_confidential(tls boolean, address inet) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT coalesce(tls, false) OR address IS NULL $$;

SELECT connection, is_confidential(tls, address)
FROM (VALUES
    (1, 'Unix-domain socket', false, NULL::inet),
    (2, 'TCP with TLS', true, '192.0.2.1'),
    (3, 'TCP without TLS', false, '192.0.2.1'),
    (4, 'TCP without TLS, to oneself', false, '127.0.0.1'),
    (5, 'TCP, nothing known of TLS', NULL, '192.0.2.1')
) AS connections (n, connection, tls, address)
ORDER BY n;

-- The rule for this session. A parallel worker has no client, so no address either: it must not be asked.
CREATE FUNCTION is_ssl_or_domain_socket() RETURNS boolean
LANGUAGE sql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$
    SELECT walkthrough.is_confidential(
        (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), inet_client_addr()
    )
$$;

-- A new key, but not for all the world to read.
CREATE FUNCTION new_key_for_client() RETURNS bytea
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT walkthrough.is_ssl_or_domain_socket() THEN
        RAISE EXCEPTION 'this connection is not confidential'
            USING ERRCODE = 'invalid_authorization_specification',
                HINT = 'Connect with sslmode=verify-full, or through a Unix-domain socket.';
    END IF;
    RETURN pgkeymgr.crypto_secretbox_keygen();
END
$$;

-- These tests come through a Unix-domain socket. No privilege is needed to know that.
CREATE ROLE regress_pgkeymgr_somebody;
GRANT USAGE ON SCHEMA walkthrough TO regress_pgkeymgr_somebody;
SET ROLE regress_pgkeymgr_somebody;
SELECT is_ssl_or_domain_socket();
RESET ROLE;
SELECT length(new_key_for_client());

-- Were it another connection, there would be no key.
BEGIN;
CREATE OR REPLACE FUNCTION is_ssl_or_domain_socket() RETURNS boolean
LANGUAGE sql STABLE PARALLEL RESTRICTED
AS $$ SELECT walkthrough.is_confidential(false, '192.0.2.1') $$;
SELECT new_key_for_client();
ROLLBACK;

DROP SCHEMA walkthrough CASCADE;
DROP EXTENSION pgkeymgr, plpython3u;
DROP SCHEMA pgkeymgr;
DROP ROLE regress_pgkeymgr_somebody;
