"""A secret of a schema like Supabase Vault's opens in its own row and schema, and under the schema's key only."""

import re

import pytest
import walls_database
from conftest import Connection, rows, value
from psycopg import errors
from walls_database import Database, run

server = walls_database.server
database = walls_database.database
superuser = walls_database.superuser

READ = "SELECT decrypted_secret FROM {}.decrypted_secrets WHERE id = '{}'"


def place(connection: Connection, schema: str) -> str:
    """Return the random number of a schema, which everybody can read in the definition of its view."""
    definition = value(connection, f"SELECT pg_get_viewdef('{schema}.decrypted_secrets'::regclass)")
    (found,) = set(re.findall(r"'([0-9a-f-]{36})'::uuid", str(definition)))
    return str(found)


def test_a_writer_stores_nothing_under_another_key(database: Database, superuser: Connection) -> None:
    run(
        superuser,
        "SELECT create_vault_schema()",
        "SELECT create_data_key('tickets')",
        "GRANT pgkeymgr_user TO wall_user",
        "SELECT grant_data_key('tickets', 'wall_user', '{encrypt}')",
        "GRANT USAGE ON SCHEMA vault TO wall_user",
        "GRANT SELECT, INSERT, UPDATE ON vault.secrets, vault.decrypted_secrets TO wall_user",
    )
    stored = value(superuser, "SELECT vault.create_secret('honest')")
    tickets = value(superuser, "SELECT family FROM pgkeymgr.key WHERE name = 'tickets'")
    with database.session("wall_user") as writer:
        forged = f"pgkeymgr._vault_seal({tickets}, '{place(writer, 'vault')}', '{stored}', 'forged', false)"
        run(writer, f"UPDATE vault.secrets SET secret = {forged} WHERE id = '{stored}'")
        with pytest.raises(errors.InsufficientPrivilege):
            rows(writer, f"UPDATE vault.secrets SET secret = 'forged' WHERE id = '{stored}'")
    with pytest.raises(errors.DataException, match=rf"secret {stored}: .* is not a key of the schema"):
        rows(superuser, READ.format("vault", stored))
    run(superuser, f"SELECT vault.update_secret('{stored}', 'honest again')")
    assert value(superuser, READ.format("vault", stored)) == "honest again"


def test_a_secret_does_not_open_in_another_schema(superuser: Connection) -> None:
    run(superuser, "SELECT create_vault_schema('one', 'shared')", "SELECT create_vault_schema('other', 'shared')")
    stored = value(superuser, "SELECT one.create_secret('of the first')")
    run(superuser, "INSERT INTO other.secrets SELECT * FROM one.secrets")
    with pytest.raises(errors.DataException, match=f"secret {stored}: this token of key 1 is not authentic"):
        rows(superuser, READ.format("other", stored))
    run(superuser, "ALTER SCHEMA one RENAME TO renamed")
    assert value(superuser, READ.format("renamed", stored)) == "of the first"


def test_the_key_is_the_same_under_each_version(superuser: Connection) -> None:
    run(superuser, "SELECT create_vault_schema()")
    old = value(superuser, "SELECT vault.create_secret('old')")
    run(superuser, "SELECT supersede_data_key('vault.secrets')")
    new = value(superuser, "SELECT vault.create_secret('new')")
    assert value(superuser, READ.format("vault", old)) == "old"
    assert value(superuser, READ.format("vault", new)) == "new"
    assert rows(superuser, "SELECT key_dependents(1)") == [("table vault.secrets may have values under it",)]
    assert rows(superuser, "SELECT key_dependents(2)") == [("table vault.secrets is written with it",)]
