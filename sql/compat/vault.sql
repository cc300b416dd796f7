-- The schema of the extension Supabase Vault: secrets in a table, and their plaintexts in a view. Python: compat/vault.py

-- Internal: return the family of a key, for create_vault_schema().
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@._vault_family(key text)
RETURNS integer
LANGUAGE plpython3u STABLE PARALLEL UNSAFE COST 60
AS $$
@load@
return GD['pgkeymgr']._vault_family(key)
$$;

-- Internal: encrypt a secret of the schema that create_vault_schema() makes, under the current version of the key of
-- this family. place is the random number of the schema. With keep, a secret that is encrypted stays as it is.
--
-- The functions and triggers of existing schemas call this function, so its arguments must not change.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@._vault_seal(family integer, place uuid, id uuid, secret text, keep boolean)
RETURNS text
LANGUAGE plpython3u VOLATILE STRICT PARALLEL UNSAFE COST 60
AS $$
@load@
return GD['pgkeymgr']._vault_seal(family, place, id, secret, keep)
$$;

-- Internal: decrypt a secret of the schema that create_vault_schema() makes. It opens only under a key of this family, and
-- in the schema and the row that it was made for.
--
-- The views of existing schemas call this function, so its arguments must not change.
-- EXECUTE: pgkeymgr_user
CREATE FUNCTION @extschema@._vault_open(family integer, place uuid, id uuid, secret text)
RETURNS text
LANGUAGE plpython3u STABLE STRICT PARALLEL RESTRICTED COST 60
AS $$
@load@
return GD['pgkeymgr']._vault_open(family, place, id, secret)
$$;

-- Internal: encrypt a secret before it is stored. The arguments of the trigger are the family of the key, and the random
-- number of the schema.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@._vault_encrypt()
RETURNS trigger
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.id <> OLD.id THEN
        RAISE EXCEPTION USING
            ERRCODE = 'feature_not_supported',
            MESSAGE = format('pgkeymgr: the id of secret %s cannot be changed', OLD.id),
            HINT = 'Its ciphertext is bound to the id. Create another secret, and delete this one.';
    END IF;
    NEW.secret := @extschema@._vault_seal(TG_ARGV[0]::integer, TG_ARGV[1]::uuid, NEW.id, NEW.secret, true);
    RETURN NEW;
END
$$;

-- Create a schema with the table secrets, the view decrypted_secrets, and the functions create_secret() and
-- update_secret() of the extension Supabase Vault. The current user owns them, and pgkeymgr_admin may use them. The
-- secrets are encrypted under the key of this name, which is created if there is none. Return the schema.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.create_vault_schema(
    schema_name name DEFAULT 'vault',
    key text DEFAULT 'vault.secrets'
)
RETURNS regnamespace
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
    statement text;
    family integer;
    place uuid := gen_random_uuid();
BEGIN
    IF schema_name IS NULL OR key IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'data_exception',
            MESSAGE = format(
                'pgkeymgr: create_vault_schema: %s must not be NULL',
                CASE WHEN schema_name IS NULL THEN 'schema_name' ELSE 'key' END
            );
    END IF;
    IF EXISTS (SELECT FROM pg_namespace AS n WHERE n.nspname = schema_name) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'duplicate_schema',
            MESSAGE = format('pgkeymgr: schema "%s" already exists', schema_name),
            HINT = 'Call create_vault_schema() with another name. The schema can be renamed later.';
    END IF;
    IF NOT EXISTS (
        SELECT FROM @extschema@.data_keys AS k
        WHERE k.name = key AND k.key_type = 'data' AND k.state = 'enabled' AND k.superseded_by IS NULL
    ) THEN
        PERFORM @extschema@.create_data_key(key, comment => format('the secrets of schema %I', schema_name));
    END IF;
    -- The objects have the family, not the name, because another key can take the name. The schema has a random number,
    -- because it can be renamed.
    family := @extschema@._vault_family(key);
    -- The bodies of the functions are parsed here, so that they follow when the schema is renamed.
    FOREACH statement IN ARRAY ARRAY[
        'CREATE SCHEMA %1$I',
        $$CREATE TABLE %1$I.secrets (
            id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            name text,
            description text NOT NULL DEFAULT '',
            secret text NOT NULL,
            key_id uuid,
            nonce bytea,
            created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
            updated_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP
        )$$,
        'CREATE UNIQUE INDEX secrets_name_idx ON %1$I.secrets (name) WHERE name IS NOT NULL',
        $$CREATE TRIGGER encrypt_secret BEFORE INSERT OR UPDATE ON %1$I.secrets
            FOR EACH ROW EXECUTE FUNCTION @extschema@._vault_encrypt(%2$L, %3$L)$$,
        'ALTER TABLE %1$I.secrets ENABLE ALWAYS TRIGGER encrypt_secret',
        $$CREATE VIEW %1$I.decrypted_secrets WITH (security_invoker) AS
        SELECT s.id, s.name, s.description, s.secret,
            @extschema@._vault_open(%2$s, %3$L, s.id, s.secret) AS decrypted_secret, s.key_id, s.nonce, s.created_at, s.updated_at
        FROM %1$I.secrets AS s$$,
        $$CREATE FUNCTION %1$I.create_secret(
            new_secret text, new_name text DEFAULT NULL, new_description text DEFAULT '', new_key_id uuid DEFAULT NULL
        )
        RETURNS uuid LANGUAGE sql VOLATILE
        BEGIN ATOMIC
            INSERT INTO %1$I.secrets (id, secret, name, description)
            SELECT i.id, @extschema@._vault_seal(%2$s, %3$L, i.id, new_secret, false), new_name, new_description
            FROM (SELECT gen_random_uuid() AS id OFFSET 0) AS i
            RETURNING id;
        END$$,
        $$CREATE FUNCTION %1$I.update_secret(
            secret_id uuid, new_secret text DEFAULT NULL, new_name text DEFAULT NULL,
            new_description text DEFAULT NULL, new_key_id uuid DEFAULT NULL
        )
        RETURNS void LANGUAGE sql VOLATILE
        BEGIN ATOMIC
            UPDATE %1$I.secrets AS s SET
                secret = CASE WHEN new_secret IS NULL THEN s.secret
                    ELSE @extschema@._vault_seal(%2$s, %3$L, s.id, new_secret, false) END,
                name = coalesce(new_name, s.name),
                description = coalesce(new_description, s.description),
                updated_at = now()
            WHERE s.id = secret_id;
        END$$,
        $$COMMENT ON SCHEMA %1$I IS 'Secrets, as in the extension Supabase Vault. pgkeymgr made this schema.'$$,
        $$COMMENT ON TABLE %1$I.secrets IS
            'The secrets, encrypted by pgkeymgr. A plaintext that is written here is encrypted before it is stored. '
            'The columns key_id and nonce are there for compatibility.'$$,
        $$COMMENT ON VIEW %1$I.decrypted_secrets IS
            'The secrets with their plaintexts, for roles that may decrypt with their key.'$$,
        $$COMMENT ON FUNCTION %1$I.create_secret(text, text, text, uuid) IS
            'Store a secret, and return its id. new_key_id has no effect.'$$,
        $$COMMENT ON FUNCTION %1$I.update_secret(uuid, text, text, text, uuid) IS
            'Change a secret, its name and its description; NULL leaves each as it is. new_key_id has no effect.'$$,
        'REVOKE ALL ON SCHEMA %1$I FROM PUBLIC',
        'REVOKE ALL ON ALL TABLES IN SCHEMA %1$I FROM PUBLIC',
        'REVOKE ALL ON ALL FUNCTIONS IN SCHEMA %1$I FROM PUBLIC',
        'GRANT USAGE ON SCHEMA %1$I TO pgkeymgr_admin',
        'GRANT SELECT, INSERT, UPDATE, DELETE ON %1$I.secrets, %1$I.decrypted_secrets TO pgkeymgr_admin',
        'GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA %1$I TO pgkeymgr_admin'
    ] LOOP
        EXECUTE format(statement, schema_name, family, place);
    END LOOP;
    RETURN quote_ident(schema_name)::regnamespace;
END
$body$;
