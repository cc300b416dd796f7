-- Before PostgreSQL 17, no worker of a parallel query can look up a key. So the functions that do are PARALLEL RESTRICTED
-- there, and the leader calls them. Functions that need more than a key in the middle of the query are PARALLEL UNSAFE,
-- which makes the query a serial one.
DO $$
DECLARE
    one pg_catalog.record;
BEGIN
    IF pg_catalog.current_setting('server_version_num')::pg_catalog.int4 OPERATOR(pg_catalog.>=) 170000 THEN
        RETURN;
    END IF;
    FOR one IN
        SELECT p.oid::pg_catalog.regprocedure AS function,
            CASE WHEN p.proname OPERATOR(pg_catalog.=) ANY (ARRAY[
                '_blind_compound', '_load_key', '_read_as_owner', '_take_key', 'blind_index', 'deterministic_tokens'
            ]::pg_catalog.name[]) OR p.proname OPERATOR(pg_catalog.~) '^search_' THEN 'UNSAFE' ELSE 'RESTRICTED' END AS parallel
        FROM pg_catalog.pg_proc AS p
        WHERE p.pronamespace OPERATOR(pg_catalog.=) '@extschema@'::pg_catalog.regnamespace::pg_catalog.oid
            AND p.proparallel OPERATOR(pg_catalog.=) 's'
            AND (
                p.proname OPERATOR(pg_catalog.=) ANY (ARRAY[
                    '_blind', '_blind_compound', '_load_key', '_open_bytes', '_open_text', '_problem', '_read_as_owner',
                    '_show_bytes', '_show_text', '_take_key', '_terms', '_text_terms', 'blind_index',
                    'deterministic_tokens', 'token_decrypt', 'token_decrypt_text', 'token_encrypt',
                    'token_encrypt_text', 'token_info', 'token_reencrypt', 'token_try_decrypt'
                ]::pg_catalog.name[])
                OR p.proname OPERATOR(pg_catalog.~) '^search_'
                -- The primitives that take a key of the table.
                OR p.prolang OPERATOR(pg_catalog.=) (
                    SELECT l.oid FROM pg_catalog.pg_language AS l WHERE l.lanname OPERATOR(pg_catalog.=) 'plpython3u'
                ) AND 'pg_catalog.uuid'::pg_catalog.regtype::pg_catalog.oid OPERATOR(pg_catalog.=) ANY (p.proargtypes)
            )
    LOOP
        EXECUTE pg_catalog.format('ALTER FUNCTION %s PARALLEL %s', one.function, one.parallel);
    END LOOP;
END
$$;
