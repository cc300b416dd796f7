-- The view encrypted_tables of sql/column/tables.sql, with which adapters find base tables and their columns.

CREATE ROLE pgkeymgr_test_app;
CREATE ROLE pgkeymgr_test_stranger;

BEGIN;
SET search_path = pgkeymgr, tap, public;
SELECT plan(10);
SET client_min_messages = warning;
CREATE TABLE public.test_shop (
    id integer PRIMARY KEY,
    email text UNIQUE,
    amount integer DEFAULT 7 CHECK (amount > 0),
    plain text
);
GRANT SELECT (id, email) ON public.test_shop TO pgkeymgr_test_app;
SELECT encrypt_column('public.test_shop', name) FROM unnest('{email,amount}'::text[]) AS name;
SELECT add_blind_index('public.test_shop', 'amount');
-- So that all of them find it.
GRANT USAGE ON SCHEMA pgkeymgr, tap TO pgkeymgr_test_app, pgkeymgr_test_stranger;

SELECT results_eq(
    'SELECT relation::text, base_relation::text FROM encrypted_tables',
    $$VALUES ('test_shop', 'test_shop_encrypted')$$, 'the base table of a table'
);
SELECT is(columns -> 'email', '{"cipher_column": "email_encrypted", "column_default": null, "deterministic": false,
    "blind_column": "email_bidx", "blind_is_shown": false, "normalization": "none"}', 'a column with a UNIQUE constraint')
FROM encrypted_tables;
SELECT is(columns -> 'amount', '{"cipher_column": "amount_encrypted", "column_default": "7", "deterministic": false,
    "blind_column": "amount_bidx", "blind_is_shown": true, "normalization": "none"}', 'one with a blind index')
FROM encrypted_tables;
SELECT is(constraints, '{
    "test_shop_email_key": {"kind": "u", "columns": ["email"], "definition": "UNIQUE (email)"},
    "test_shop_amount_check": {"kind": "c", "columns": ["amount"], "definition": "(amount > 0)"}
}', 'the constraints that pg_constraint does not have') FROM encrypted_tables;
SELECT alike(definition, '%FROM public.test_shop_encrypted b;', 'the base table has its schema in the query')
FROM encrypted_tables;
SELECT alike(definition, '%pgkeymgr._open_text(%email_encrypted%', 'and so have functions, whatever the search_path')
FROM encrypted_tables;

SET LOCAL ROLE pgkeymgr_test_app;
SELECT is(count(*), 1::bigint, 'a role with a privilege on a column sees the table') FROM encrypted_tables;
SET LOCAL ROLE pgkeymgr_test_stranger;
SELECT is(count(*), 0::bigint, 'a role without privileges does not') FROM encrypted_tables;
RESET ROLE;

DROP VIEW public.test_shop;
SELECT is(count(*), 0::bigint, 'a table without its view is not there') FROM encrypted_tables;
SELECT refresh_encrypted_view('public.test_shop_encrypted');
SELECT is(count(*), 1::bigint, 'and comes back with it') FROM encrypted_tables;

SELECT finish();
ROLLBACK;
DROP ROLE pgkeymgr_test_app, pgkeymgr_test_stranger;
