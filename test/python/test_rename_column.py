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
