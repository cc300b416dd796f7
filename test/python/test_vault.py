"""The schema that create_vault_schema() makes, beside what the extension Supabase Vault does.

The steps of docs/from-vault.md run here, too, on a schema as version 0.3.1 of the extension makes it. Its
functions in C give what pgsodium's functions of the same names give, and so do ours.
"""

import os
import re
import subprocess
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster
from conftest import Connection, rows, value
from document_blocks import blocks
from psycopg import errors

SECRET = "s3kre3t_k3y"


@pytest.fixture(scope="module")
def template(cluster: Cluster) -> Iterator[str]:
    """A database with the extension, to copy."""
    with cluster.temporary_database("template_of_secrets"):
        yield "template_of_secrets"


@pytest.fixture
def database(cluster: Cluster, template: str) -> Iterator[Connection]:
    """A superuser in a new database, whose search_path has neither the schema nor the extension."""
    with cluster.database_copy(template, "secrets"), cluster.connect("secrets") as connection:
        yield connection
    with cluster.connect() as server:
        rows(server, "DROP DATABASE IF EXISTS copy WITH (FORCE)")
        rows(server, "DROP ROLE IF EXISTS vault_app, vault_admin")


@pytest.fixture
def vault(database: Connection) -> Connection:
    """The same, with the schema."""
    assert value(database, "SELECT pgkeymgr.create_vault_schema()::text") == "vault"
    return database


def test_the_walkthrough_of_its_readme(vault: Connection) -> None:
    """The statements of Supabase Vault's own README and tests."""
    first = value(vault, f"INSERT INTO vault.secrets (secret) VALUES ('{SECRET}') RETURNING id")
    second = value(vault, "SELECT vault.create_secret('another_s3kre3t')")
    third = value(vault, "SELECT vault.create_secret('x', 'unique_name', 'This is the description')")
    empty = value(vault, "SELECT vault.create_secret(new_secret := '', new_name := 'empty_secret')")
    assert dict(rows(vault, "SELECT id, decrypted_secret FROM vault.decrypted_secrets")) == {
        first: SECRET,
        second: "another_s3kre3t",
        third: "x",
        empty: "",
    }
    stored = rows(
        vault, f"SELECT name, description, secret, key_id, nonce FROM vault.secrets WHERE id = '{third}'"
    )
    ((name, description, secret, key_id, nonce),) = stored
    assert (name, description, key_id, nonce) == ("unique_name", "This is the description", None, None)
    assert secret.startswith("pgkeymgr:")
    with pytest.raises(errors.UniqueViolation):
        rows(vault, "SELECT vault.create_secret('y', 'unique_name')")
    rows(
        vault,
        f"SELECT vault.update_secret('{third}', 'n3w_upd@ted_s3kret', 'updated_unique_name',"
        " 'This is the updated description')",
    )
    shown = "SELECT decrypted_secret, name, description FROM vault.decrypted_secrets WHERE id = '{}'"
    updated = ("n3w_upd@ted_s3kret", "updated_unique_name", "This is the updated description")
    assert rows(vault, shown.format(third)) == [updated]
    rows(vault, f"SELECT vault.update_secret('{third}', new_description => 'later', new_key_id => '{third}')")
    assert rows(vault, shown.format(third)) == [(*updated[:2], "later")]
    rows(vault, f"SELECT vault.update_secret('{uuid.UUID(int=0)}', 'nobody''s')")
    rows(vault, f"UPDATE vault.secrets SET secret = 'direct' WHERE id = '{third}'")
    assert rows(vault, shown.format(third))[0][0] == "direct"
    assert value(vault, "SELECT count(*) FROM vault.secrets WHERE secret NOT LIKE 'pgkeymgr:%'") == 0
    rows(vault, f"DELETE FROM vault.secrets WHERE id = '{third}'")
    assert rows(vault, shown.format(third)) == []


def test_a_plaintext_is_not_taken_for_a_ciphertext(vault: Connection) -> None:
    """Even if it looks like one; and a ciphertext is not encrypted again."""
    secrets = [
        "pgkeymgr:",
        "pgkeymgr:AQ==",
        "pgkeymgr:not base64",
        "AQICAHhVb3J0ZXN0" * 5,
        "Gr\u00fc\u00dfe \u4e16",
    ]
    for secret in secrets:
        vault.execute("INSERT INTO vault.secrets (secret) VALUES (%s)", (secret,))
        vault.execute("SELECT vault.create_secret(%s)", (secret,))
    found = "SELECT decrypted_secret FROM vault.decrypted_secrets"
    twice = Counter({(secret,): 2 for secret in secrets})
    assert Counter(rows(vault, found)) == twice
    rows(vault, "CREATE TABLE kept AS SELECT * FROM vault.secrets")
    rows(vault, "DELETE FROM vault.secrets")
    rows(vault, "INSERT INTO vault.secrets SELECT * FROM kept")
    assert Counter(rows(vault, found)) == twice


def test_a_ciphertext_opens_in_its_row_only(vault: Connection) -> None:
    one, other = (value(vault, f"SELECT vault.create_secret('{name}', '{name}')") for name in ("one", "other"))
    rows(
        vault,
        f"UPDATE vault.secrets SET secret = (SELECT secret FROM vault.secrets WHERE id = '{one}')"
        f" WHERE id = '{other}'",
    )
    with pytest.raises(errors.DataException, match=f"secret {other}"):
        rows(vault, "SELECT decrypted_secret FROM vault.decrypted_secrets WHERE name = 'other'")
    with pytest.raises(errors.FeatureNotSupported, match=str(one)):
        rows(vault, f"UPDATE vault.secrets SET id = gen_random_uuid() WHERE id = '{one}'")
    rows(vault, "ALTER TABLE vault.secrets DISABLE TRIGGER encrypt_secret")
    rows(vault, f"UPDATE vault.secrets SET secret = '{SECRET}' WHERE id = '{one}'")
    with pytest.raises(errors.DataException, match=f"secret {one} is not encrypted") as caught:
        rows(vault, "SELECT decrypted_secret FROM vault.decrypted_secrets WHERE name = 'one'")
    assert SECRET not in str(caught.value)


def test_only_a_grant_of_the_key_lets_a_role_read_and_write(cluster: Cluster, vault: Connection) -> None:
    """The grant of the key decides who reads, and nobody has more rights than their own."""
    rows(vault, "CREATE ROLE vault_app LOGIN IN ROLE pgkeymgr_user")
    rows(vault, "CREATE ROLE vault_admin LOGIN IN ROLE pgkeymgr_admin")
    stored = value(vault, f"SELECT vault.create_secret('{SECRET}', 'api')")
    read = "SELECT decrypted_secret FROM vault.decrypted_secrets WHERE name = 'api'"
    with cluster.connect("secrets", "vault_app") as app, cluster.connect("secrets", "vault_admin") as admin:
        for session in (app, admin):
            with pytest.raises(errors.InsufficientPrivilege):
                rows(session, read)
        assert rows(admin, "SELECT name, decrypted_secret IS NULL FROM vault.decrypted_secrets WHERE false") == []
        assert value(admin, "SELECT name FROM vault.secrets") == "api"
        with pytest.raises(errors.InsufficientPrivilege, match=re.escape('key 1 "vault.secrets"')):
            rows(admin, "SELECT vault.create_secret('x')")
        rows(vault, "GRANT USAGE ON SCHEMA vault TO vault_app")
        rows(vault, "GRANT SELECT ON vault.secrets, vault.decrypted_secrets TO vault_app")
        with pytest.raises(errors.InsufficientPrivilege, match=f"secret {stored}: permission denied for key 1"):
            rows(app, read)
        rows(vault, "SELECT pgkeymgr.grant_data_key('vault.secrets', 'vault_app', '{decrypt}')")
        assert value(app, read) == SECRET
        with pytest.raises(errors.InsufficientPrivilege, match="create_secret"):
            rows(app, "SELECT vault.create_secret('x')")
        rows(vault, "SELECT pgkeymgr.grant_data_key('vault.secrets', 'vault_admin', '{encrypt}')")
        rows(admin, "SELECT vault.create_secret('by the admin', 'admin''s')")
        rows(admin, f"SELECT vault.update_secret('{stored}', 'changed')")
        assert value(app, read) == "changed"
        with pytest.raises(errors.InsufficientPrivilege):
            rows(admin, read)


def test_an_admin_makes_it_with_a_hostile_search_path(cluster: Cluster, database: Connection) -> None:
    """It needs the right to make a schema, and takes no name from the caller's search_path."""
    rows(database, "CREATE ROLE vault_admin LOGIN IN ROLE pgkeymgr_admin")
    with cluster.connect("secrets", "vault_admin") as admin:
        with pytest.raises(errors.InsufficientPrivilege):
            rows(admin, "SELECT pgkeymgr.create_vault_schema()")
        rows(database, "GRANT CREATE ON DATABASE secrets TO vault_admin")
        rows(admin, "CREATE SCHEMA evil")
        rows(admin, "CREATE TYPE evil.uuid AS (a integer)")
        rows(admin, "CREATE FUNCTION evil.coalesce(text) RETURNS text LANGUAGE sql AS 'SELECT 1 / 0'")
        rows(admin, "CREATE FUNCTION evil.gen_random_uuid() RETURNS uuid LANGUAGE sql AS 'SELECT NULL::uuid'")
        rows(admin, "SET search_path = evil, pg_catalog")
        assert value(admin, "SELECT pgkeymgr.create_vault_schema('it''s \"mine\"', 'it''s \\mine')::text") == (
            '"it\'s ""mine"""'
        )
        rows(admin, """SELECT "it's ""mine\""".create_secret('x', 'a')""")
        assert value(admin, """SELECT decrypted_secret FROM "it's ""mine\""".decrypted_secrets""") == "x"
        with pytest.raises(errors.DuplicateSchema):
            rows(admin, "SELECT pgkeymgr.create_vault_schema('evil')")
        (dependent,) = rows(admin, r"SELECT pgkeymgr.key_dependents('it''s \mine')")
        assert "is written with it" in dependent[0]


@pytest.mark.parametrize("arguments", ["NULL", "'vault', NULL"])
def test_null_names(database: Connection, arguments: str) -> None:
    with pytest.raises(errors.DataException, match="must not be NULL"):
        rows(database, f"SELECT pgkeymgr.create_vault_schema({arguments})")


def test_its_key_is_not_destroyed_while_it_is_needed(vault: Connection) -> None:
    rows(vault, "SELECT vault.create_secret('x', 'a')")
    destroy = "SELECT pgkeymgr.destroy_data_key({}, 'vault.secrets')"
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match=r"table vault\.secrets is written"):
        rows(vault, destroy.format(1))
    supersede, encrypt_again = statements("New version of the key")
    rows(vault, supersede)
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match=r"table vault\.secrets may have values"):
        rows(vault, destroy.format(1))
    rows(vault, encrypt_again)
    rows(vault, destroy.format(1))
    assert value(vault, "SELECT decrypted_secret FROM vault.decrypted_secrets") == "x"
    rows(vault, "DROP SCHEMA vault CASCADE")
    rows(vault, destroy.format(2))


def test_dump_and_restore(cluster: Cluster, vault: Connection) -> None:
    """The secrets and their schema come back, also data alone into a schema that has the trigger."""
    rows(vault, "CREATE ROLE vault_app LOGIN IN ROLE pgkeymgr_user")
    rows(vault, "GRANT USAGE ON SCHEMA vault TO vault_app")
    rows(vault, f"SELECT vault.create_secret('{SECRET}', 'api', 'the API')")
    file = str(cluster.directory / "dump")
    cluster.client(["pg_dump", "-Fc", "--file", file, "secrets"])
    assert SECRET.encode() not in Path(file).read_bytes()
    with cluster.connect() as server:
        server.execute("CREATE DATABASE copy TEMPLATE template0")
    cluster.client(["pg_restore", "--exit-on-error", "--dbname=copy", file])
    acl = "SELECT nspacl::text FROM pg_namespace WHERE nspname = 'vault'"
    found = "SELECT name, description, decrypted_secret FROM vault.decrypted_secrets ORDER BY name"
    with cluster.connect("copy") as copy:
        assert value(copy, acl) == value(vault, acl)
        assert rows(copy, found) == [("api", "the API", SECRET)]
        rows(copy, "SELECT vault.create_secret('later', 'b')")
        rows(copy, "DELETE FROM vault.secrets")
    cluster.client(["pg_restore", "--exit-on-error", "--data-only", "--table=secrets", "--dbname=copy", file])
    with cluster.connect("copy") as copy:
        assert rows(copy, found) == [("api", "the API", SECRET)]


# docs/from-vault.md


def block(title: str) -> str:
    """Return the block after a heading of the page."""
    (found,) = (each for each in blocks("docs/from-vault.md") if each.heading == title)
    return found.text


def statements(title: str) -> list[str]:
    """Return the statements of the block after a heading of the page."""
    return [statement.strip() for statement in block(title).split(";") if statement.strip()]


OLD = """
CREATE SCHEMA vault;
CREATE TABLE vault.secrets (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  name text,
  description text NOT NULL default '',
  secret text NOT NULL,
  key_id uuid,
  nonce bytea DEFAULT pgkeymgr.crypto_aead_det_noncegen(),
  created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE VIEW vault.decrypted_secrets AS
SELECT s.id, s.name, s.description, s.secret,
  convert_from(
    pgkeymgr.crypto_aead_det_decrypt(
      message := decode(s.secret, 'base64'::text), additional := convert_to(s.id::text, 'utf8'),
      key_id := 0, context := 'pgsodium'::bytea, nonce := s.nonce
    ), 'utf8'::name
  ) AS decrypted_secret, s.key_id, s.nonce, s.created_at, s.updated_at
FROM vault.secrets s;
INSERT INTO vault.secrets (secret, name, created_at)
SELECT 'placeholder', 'secret ' || n, '2024-01-01Z' FROM generate_series(1, 3) AS n;
UPDATE vault.secrets AS s SET secret = encode(pgkeymgr.crypto_aead_det_encrypt(
  message := convert_to(E'a\\tsecret of ' || s.name, 'utf8'), additional := convert_to(s.id::text, 'utf8'),
  key_id := 0, context := 'pgsodium'::bytea, nonce := s.nonce), 'base64');
"""
EXPECTED = """
SELECT id, name, description, decrypted_secret, created_at, updated_at FROM vault.decrypted_secrets ORDER BY id
"""


@pytest.fixture
def old(database: Connection) -> list[tuple[object, ...]]:
    """Return the secrets of a database with Supabase Vault."""
    for statement in OLD.split(";\n"):
        rows(database, statement)
    return rows(database, EXPECTED)


def test_from_another_database(cluster: Cluster, template: str, old: list[tuple[object, ...]]) -> None:
    """The plaintexts pass through a pipe, and are in no log."""
    with cluster.connect() as server:
        rows(server, f"CREATE DATABASE copy TEMPLATE {template}")
    environment = {
        **os.environ,
        **cluster.client_environment(),
        "OLD": cluster.dsn("secrets"),
        "NEW": cluster.dsn("copy"),
    }
    command = ["bash", "-e", "-o", "pipefail", "-c", block("From another database")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with cluster.connect("copy") as copy:
        assert rows(copy, EXPECTED) == old


def test_in_the_same_database(database: Connection, old: list[tuple[object, ...]]) -> None:
    for statement in statements("In the same database"):
        # The extension leaves its schema, too.
        rows(database, statement.replace("DROP EXTENSION supabase_vault", "DROP TABLE vault.secrets CASCADE"))
    assert rows(database, EXPECTED) == old
    rows(database, "SELECT vault.create_secret('later', 'after the renaming')")
    found = "SELECT decrypted_secret FROM vault.decrypted_secrets WHERE name = 'after the renaming'"
    assert value(database, found) == "later"


def test_from_its_ciphertexts(database: Connection, old: list[tuple[object, ...]]) -> None:
    """The root key of our server is that of the old one."""
    rows(database, "DROP VIEW vault.decrypted_secrets")
    rows(database, "ALTER TABLE vault.secrets RENAME TO old_secrets")
    rows(database, "ALTER TABLE vault.old_secrets SET SCHEMA public")
    rows(database, "DROP SCHEMA vault")
    for statement in statements("From a dump and the root key"):
        rows(database, statement)
    assert rows(database, EXPECTED) == old
