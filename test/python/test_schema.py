"""CREATE EXTENSION warns if the extension would be in public, and works in each schema."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from cluster import Cluster
from conftest import Connection, rows, value
from psycopg.errors import Diagnostic


@pytest.fixture
def plain(cluster: Cluster) -> Iterator[Connection]:
    """A superuser in a database without the extension."""
    with cluster.connect() as connection:
        connection.execute("CREATE DATABASE plain")
    try:
        with cluster.connect("plain") as connection:
            yield connection
    finally:
        with cluster.connect() as connection:
            connection.execute("DROP DATABASE plain")


class Said(NamedTuple):
    """The fields of a warning, which psycopg clears after the handler."""

    sqlstate: str | None
    message: str
    hint: str


def warnings_of(connection: Connection) -> list[Said]:
    """Return a list that gets the warnings of the session."""
    found: list[Said] = []

    def take(notice: Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING":
            found.append(Said(notice.sqlstate, notice.message_primary or "", notice.message_hint or ""))

    connection.add_notice_handler(take)
    return found


@pytest.mark.parametrize("clause", ["", "SCHEMA public"])
def test_public_gets_a_warning(plain: Connection, clause: str) -> None:
    """The statements of its hint move the extension into a schema of its own."""
    warnings = warnings_of(plain)
    rows(plain, f"CREATE EXTENSION pgkeymgr {clause} CASCADE")
    (warning,) = warnings
    assert warning.sqlstate == "01000"
    assert 'in the schema "public"' in warning.message
    _, _, statements = warning.hint.partition(": ")
    assert statements.count(";") == 3
    rows(plain, statements)
    assert len(warnings) == 1
    query = "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'pgkeymgr'"
    assert value(plain, query) == "pgkeymgr"
    assert value(plain, "SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace") == 0


@pytest.mark.parametrize("schema", ["pgkeymgr", '"Public"', '"pub lic"'])
def test_another_schema_gets_none(plain: Connection, schema: str) -> None:
    warnings = warnings_of(plain)
    rows(plain, f"CREATE SCHEMA {schema}")
    rows(plain, f"CREATE EXTENSION pgkeymgr SCHEMA {schema} CASCADE")
    assert warnings == []
