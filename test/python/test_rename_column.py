"""New names of encrypted columns that PostgreSQL would accept for a plain table."""

from collections.abc import Iterator

import pytest
from cluster import Cluster
from conftest import Connection, rows
from psycopg import errors


@pytest.fixture
def person(cluster: Cluster) -> Iterator[Connection]:
    """A session with a table that has constraints on one encrypted column, and none on the other."""
    with cluster.temporary_database("names"), cluster.connect("names") as connection:
        rows(
            connection,
            "CREATE TABLE person (id integer PRIMARY KEY, note text, pin text UNIQUE,"
            " CONSTRAINT pin_has_digits CHECK (pin ~ '^[0-9]+$'))",
        )
        for column in ("note", "pin"):
            rows(connection, f"SELECT pgkeymgr.encrypt_column('person', '{column}')")
        yield connection


def test_a_constraint_is_named(person: Connection) -> None:
    """A reader of the error finds what is in the way, and what to do."""
    with pytest.raises(errors.FeatureNotSupported) as raised:
        rows(person, "ALTER VIEW person RENAME COLUMN pin TO code")
    message = str(raised.value.diag.message_primary)
    assert '"pin_has_digits"' in message
    assert '"person_pin_key"' in message
    assert "decrypt_column()" in str(raised.value.diag.message_hint)
    # A column without a constraint gets its name.
    rows(person, "ALTER VIEW person RENAME COLUMN note TO remark")
    assert rows(person, "SELECT remark FROM person_encrypted") == []


@pytest.mark.parametrize("name", ["id", "tenant", "note"])
def test_a_rename_without_event_triggers_is_followed_later(cluster: Cluster, name: str) -> None:
    """A script that sets session_replication_role leaves a view that cannot be written until it follows."""
    with cluster.temporary_database("names"), cluster.connect("names") as admin:
        rows(admin, "SET search_path = public, pgkeymgr")
        rows(admin, "CREATE TABLE person (id integer PRIMARY KEY, tenant integer, pin text, note text)")
        rows(admin, "INSERT INTO person VALUES (1, 1, '1', 'a')")
        rows(admin, "SELECT encrypt_column('person', 'pin', key_by => 'tenant')")
        rows(admin, "CALL migrate_column('person', 'pin')")
        rows(admin, "SET session_replication_role = replica")
        rows(admin, f"ALTER TABLE person_encrypted RENAME COLUMN {name} TO changed")
        rows(admin, "ALTER TABLE person_encrypted ADD COLUMN added integer DEFAULT 7")
        rows(admin, "RESET session_replication_role")
        rows(admin, "SELECT refresh_encrypted_view('person')")
        rows(admin, "INSERT INTO person VALUES (2, 2, '2', 'b')")
        rows(admin, "UPDATE person SET changed = changed WHERE pin = '1'")
        names = ["changed" if each == name else each for each in ("id", "tenant", "note")]
        assert rows(admin, f"SELECT {', '.join(names)}, pin, added FROM person ORDER BY pin") == [
            (1, 1, "a", "1", 7),
            (2, 2, "b", "2", 7),
        ]
        assert rows(admin, "SELECT * FROM verify_column('person', 'pin')") == []
