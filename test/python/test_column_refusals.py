"""Columns and blind indexes that are refused at the start, with nothing changed."""

import contextlib
from collections.abc import Iterator

import pytest
from cluster import Cluster
from conftest import Connection, rows, value
from pgkeymgr.column.blinding import normalized
from psycopg import errors


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> Iterator[Cluster]:
    """The shared cluster, with a database of its own for the extension."""
    with cluster.temporary_database("refusals"):
        yield cluster


@pytest.fixture
def admin(database: Cluster) -> Iterator[Connection]:
    """A superuser's session, whose changes are rolled back."""
    with database.connect("refusals") as connection:
        connection.execute("SET search_path = public, pgkeymgr")
        connection.execute("BEGIN")
        yield connection
        connection.execute("ROLLBACK")


@pytest.mark.parametrize(
    "definition",
    [
        "AS (amount money, currency text)",
        "AS (id integer, relation regclass)",
        "AS RANGE (subtype = money)",
    ],
)
@pytest.mark.parametrize("use", ["part", "part[]", "whole"])
def test_types_with_parts_that_mean_something_else_elsewhere(admin: Connection, definition: str, use: str) -> None:
    rows(admin, f"CREATE TYPE part {definition}")
    rows(admin, "CREATE TYPE whole AS (id integer, part part)")
    rows(admin, f"CREATE TABLE refused (id integer PRIMARY KEY, v {use}, t text)")
    with pytest.raises(errors.FeatureNotSupported, match="mean nothing outside"), admin.transaction():
        rows(admin, "SELECT encrypt_column('refused', 'v')")
    assert value(admin, "SELECT encrypt_column('refused', 't')::text") == "refused"


@pytest.mark.parametrize("type_", ["interval", "double precision", "real", "jsonb", "text[]"])
@pytest.mark.parametrize("is_unique", ["true", "false"])
def test_blind_indexes_of_types_whose_equal_values_have_several_texts(
    admin: Connection, type_: str, is_unique: str
) -> None:
    rows(admin, f"CREATE TABLE several (id integer PRIMARY KEY, v {type_}, t text)")
    rows(admin, "SELECT encrypt_column('several', 'v'), encrypt_column('several', 't')")
    with pytest.raises(errors.FeatureNotSupported, match="can have different texts"), admin.transaction():
        rows(admin, f"SELECT add_blind_index('several', 'v', 'none', {is_unique})")
    rows(admin, f"SELECT add_blind_index('several', 't', 'none', {is_unique})")


def test_digits_of_any_script() -> None:
    arabic, other = "\u0660\u0661\u0662", "\u0669\u0668\u0667"
    assert normalized("+49 30-12", "digits") == "493012"
    assert normalized(arabic, "digits") == "012"
    assert normalized(arabic, "digits") != normalized(other, "digits")
    assert normalized("\uff14\uff12", "digits") == "42"
    assert normalized("unknown", "digits") != normalized("", "digits")


def test_text_in_a_database_without_an_encoding(cluster: Cluster) -> None:
    """Its bytes may not be text, and PL/Python takes text only."""
    with cluster.connect() as connection:
        connection.execute("CREATE DATABASE odd ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    try:
        with cluster.connect("odd") as connection:
            connection.execute("CREATE SCHEMA pgkeymgr")
            connection.execute("CREATE EXTENSION pgkeymgr SCHEMA pgkeymgr CASCADE")
            connection.execute("CREATE TABLE t (id integer PRIMARY KEY, s text, b bytea)")
            connection.execute(r"INSERT INTO t VALUES (1, E'caf\xe9', '\xe9')")
            with pytest.raises(errors.FeatureNotSupported, match="SQL_ASCII"):
                connection.execute("SELECT pgkeymgr.encrypt_column('t', 's')")
            connection.execute("SELECT pgkeymgr.encrypt_column('t', 'b')")
            connection.execute("CALL pgkeymgr.migrate_column('t', 'b')")
            assert value(connection, "SELECT b FROM t") == b"\xe9"
    finally:
        with contextlib.suppress(errors.ObjectInUse), cluster.connect() as connection:
            connection.execute("DROP DATABASE odd WITH (FORCE)")


def test_another_schema_in_one_session(cluster: Cluster) -> None:
    """The functions that a session has loaded belong to the schema that they were loaded for."""
    with cluster.temporary_database("moved", schema="first"), cluster.connect("moved") as connection:
        connection.execute("SELECT first.token_encrypt(first.create_data_key('k'), 'x')")
        connection.execute("SELECT first.destroy_data_key(id, name) FROM first.data_keys")
        connection.execute("DROP EXTENSION pgkeymgr")
        connection.execute("CREATE SCHEMA second")
        connection.execute("CREATE EXTENSION pgkeymgr SCHEMA second")
        connection.execute("SELECT second.create_data_key('k')")
        assert value(connection, "SELECT second.token_decrypt(second.token_encrypt('k', 'y'))") == b"y"


def test_the_expiry_of_a_key_is_moved(admin: Connection) -> None:
    rows(admin, "SELECT create_data_key('short', expires => clock_timestamp() + interval '1 hour')")
    token = value(admin, "SELECT token_encrypt('short', 'x')")
    rows(admin, "UPDATE key SET expires = clock_timestamp() WHERE name = 'short'")
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="expired"), admin.transaction():
        admin.execute("SELECT token_decrypt(%s)", (token,))
    rows(admin, "SELECT move_expiry('short', clock_timestamp() + interval '1 hour')")
    assert admin.execute("SELECT token_decrypt(%s)", (token,)).fetchone() == (b"x",)
    rows(admin, "SELECT move_expiry(id, NULL) FROM key WHERE name = 'short'")
    assert value(admin, "SELECT expires FROM data_keys WHERE name = 'short'") is None
    with pytest.raises(errors.InvalidParameterValue, match="future"), admin.transaction():
        rows(admin, "SELECT move_expiry('short', clock_timestamp() - interval '1 hour')")
    events = rows(admin, "SELECT detail FROM key_event WHERE event = 'move_expiry' ORDER BY at")
    assert [detail[:3] for (detail,) in events] == ["to ", "to "]


def test_a_value_under_a_key_that_is_not_the_columns(admin: Connection) -> None:
    """A role that can write the table and use another key puts no value there that readers of both would see."""
    rows(admin, "CREATE TABLE forged (id integer PRIMARY KEY, s text)")
    rows(admin, "INSERT INTO forged VALUES (1, 'one'), (2, 'two')")
    rows(admin, "SELECT encrypt_column('forged', 's')")
    # A procedure commits: so the values are sealed by an UPDATE here.
    rows(admin, "UPDATE forged SET s = s || ''")
    rows(admin, "SELECT create_data_key('tickets')")
    token = value(
        admin,
        "SELECT token_encrypt_text('tickets', 'forged', 'column'::bytea || uuid_send(c.uuid) || int8send(1))"
        " FROM encrypted_column AS c JOIN encrypted_relation AS r ON r.id = c.relation_id WHERE r.name = 'forged'",
    )
    put = "UPDATE forged_encrypted SET s_encrypted = %s WHERE id = 1"
    with pytest.raises(errors.DataException), admin.transaction():
        admin.execute(put, (token,))
    rows(admin, "ALTER TABLE forged_encrypted DISABLE TRIGGER USER")
    admin.execute(put, (token,))
    assert value(admin, "SELECT s FROM forged WHERE id = 2") == "two"
    with pytest.raises(errors.DataException, match="not a key of the column"), admin.transaction():
        rows(admin, "SELECT s FROM forged WHERE id = 1")
    ((row_key, problem),) = rows(admin, "SELECT * FROM verify_column('forged', 's')")
    assert row_key == "1"
    assert "not a key of the column" in problem
