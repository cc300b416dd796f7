-- The steps of the update from 0.1.0, which is commit 04df594. scripts/build_update.py makes the script of them.
\echo Use "ALTER EXTENSION pgkeymgr UPDATE" to load this file. \quit

@begin@

@install@

-- The rows of the old tables. A role or a table that is given by its number gets its name where the new tables have one.
INSERT INTO @extschema@.key_event SELECT * FROM pg_pgkeymgr_update.key_event;
INSERT INTO @extschema@.root_key_fingerprint SELECT * FROM pg_pgkeymgr_update.root_key_fingerprint;
INSERT INTO @extschema@.server_key SELECT * FROM pg_pgkeymgr_update.server_key;
INSERT INTO @extschema@.user_key (public, role, salt, opslimit, memlimit, wrapped, created)
SELECT u.public, u.role::pg_catalog.oid, u.salt, u.opslimit, u.memlimit, u.wrapped, u.created
FROM pg_pgkeymgr_update.user_key AS u;
INSERT INTO @extschema@.key_wrap SELECT * FROM pg_pgkeymgr_update.key_wrap;
INSERT INTO @extschema@.key_grant (family, grantee, usage)
SELECT g.family, g.grantee::pg_catalog.oid, g.usage FROM pg_pgkeymgr_update.key_grant AS g;

-- 0.1.0 found the key of a value of a key_by column by its name: that of the column's key, a colon, and the value.
INSERT INTO @extschema@.key (
    id, uuid, family, parent_family, key_value, name, key_type, state, created, expires, superseded_by, owner, comment,
    user_data, derivation_id, context
)
SELECT
    k.id, k.uuid, k.family, k.parent_family, (
        SELECT pg_catalog.substr(k.name, pg_catalog.length(c.key_name) OPERATOR(pg_catalog.+) 2)
        FROM pg_pgkeymgr_update.encrypted_column AS c
        WHERE c.key_by IS NOT NULL
            AND pg_catalog.starts_with(k.name, c.key_name OPERATOR(pg_catalog.||) ':')
            AND k.parent_family OPERATOR(pg_catalog.=) ANY (ARRAY(
                SELECT p.family FROM pg_pgkeymgr_update.key AS p WHERE p.name OPERATOR(pg_catalog.=) c.key_name
            ))
        LIMIT 1
    ), k.name, k.key_type, k.state, k.created, k.expires, k.superseded_by, k.owner::pg_catalog.oid, k.comment,
    k.user_data, k.derivation_id, k.context
FROM pg_pgkeymgr_update.key AS k;

-- A column is given by the family of its key from now on.
INSERT INTO @extschema@.encrypted_relation (id, base, relation, name, columns, key_columns, key_encodings, made_by)
SELECT r.id, r.base, r.relation, r.name, r.columns, r.key_columns, r.key_encodings, '0.1.0'
FROM pg_pgkeymgr_update.encrypted_relation AS r;
-- These rows do not come from a dump, see _note_loaded().
UPDATE @extschema@.encrypted_relation SET loaded = NULL;
INSERT INTO @extschema@.encrypted_column (
    id, data_type, uuid, relation_id, column_name, cipher_column, type_modifier, collation_name, not_null,
    column_default, key_name, key_family, key_by, deterministic, state, had_plaintext, blind_column, blind_key,
    normalization, blind_is_shown
)
SELECT
    c.id, c.data_type, c.uuid, c.relation_id, c.column_name, c.cipher_column, c.type_modifier, c.collation_name,
    c.not_null, c.column_default, c.key_name, (
        SELECT k.family FROM pg_pgkeymgr_update.key AS k WHERE k.name OPERATOR(pg_catalog.=) c.key_name
        ORDER BY k.state OPERATOR(pg_catalog.=) 'enabled'::@extschema@.key_state AND k.superseded_by IS NULL DESC,
            k.id DESC LIMIT 1
    ), c.key_by, c.deterministic, c.state, true, c.blind_column, c.blind_key, c.normalization, c.blind_is_shown
FROM pg_pgkeymgr_update.encrypted_column AS c;
INSERT INTO @extschema@.encrypted_constraint (relation_id, name, kind, columns, definition)
SELECT c.relation_id, c.name, c.kind, c.columns, c.definition FROM pg_pgkeymgr_update.encrypted_constraint AS c;
-- An operation goes through the table from its first block again.
INSERT INTO @extschema@.column_operation (column_id, operation, rows_done, rows_total, started, seconds)
SELECT o.column_id, o.operation, o.rows_done, o.rows_total, o.started, o.seconds
FROM pg_pgkeymgr_update.column_operation AS o;
SELECT
    pg_catalog.setval('@extschema@.key_id_seq'::pg_catalog.regclass, k.last_value, k.is_called),
    pg_catalog.setval('@extschema@.encrypted_relation_id_seq'::pg_catalog.regclass, r.last_value, r.is_called),
    pg_catalog.setval('@extschema@.encrypted_column_id_seq'::pg_catalog.regclass, c.last_value, c.is_called)
FROM pg_pgkeymgr_update.key_id_seq AS k, pg_pgkeymgr_update.encrypted_relation_id_seq AS r,
    pg_pgkeymgr_update.encrypted_column_id_seq AS c;

@end@
