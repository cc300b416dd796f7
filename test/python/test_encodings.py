"""Databases whose encoding is not UTF8, to which PL/Python gives the text of queries in UTF-8 all the same."""

from collections.abc import Iterator

import pytest
from cluster import Cluster
from conftest import Connection, rows
from psycopg import errors, sql

TEXTS = {"LATIN1": "\u00e9t\u00e9", "EUC_JP": "\u65e5\u672c", "KOI8R": "\u044f"}


@pytest.fixture(params=TEXTS)
def encoded(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[tuple[Connection, str]]:
    """A superuser in a database with an encoding, and a text of the encoding."""
    with cluster.connect() as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE encoded TEMPLATE template0 ENCODING {} LC_COLLATE 'C' LC_CTYPE 'C'").format(
                request.param
            )
        )
    try:
        with cluster.connect("encoded") as connection:
            connection.execute("SET client_encoding = 'UTF8'")
            connection.execute("CREATE EXTENSION pgkeymgr CASCADE")
            yield connection, TEXTS[request.param]
    finally:
        with cluster.connect() as connection:
            connection.execute("DROP DATABASE encoded WITH (FORCE)")


def test_values(encoded: tuple[Connection, str]) -> None:
    """They are parameters, which PL/Python converts, or do not pass through it."""
    connection, text = encoded
    rows(connection, "CREATE TABLE t (id integer PRIMARY KEY, s text)")
    rows(connection, f"INSERT INTO t VALUES (1, '{text}')")
    rows(connection, "SELECT encrypt_column('t', 's')")
    rows(connection, "CALL migrate_column('t', 's')")
    rows(connection, f"INSERT INTO t VALUES (2, '{text}2')")
    assert rows(connection, "SELECT * FROM t ORDER BY id") == [(1, text), (2, text + "2")]


NAMES = {
    "column": "CREATE TABLE t (id integer PRIMARY KEY, s text, {} text)",
    "table": "CREATE TABLE {} (id integer PRIMARY KEY, s text)",
    "constraint": "CREATE TABLE t (id integer PRIMARY KEY, s text, CHECK (s <> '{}'))",
    "default": "CREATE TABLE t (id integer PRIMARY KEY, s text DEFAULT '{}')",
}


@pytest.mark.parametrize("name", NAMES)
def test_names(encoded: tuple[Connection, str], name: str) -> None:
    """They are refused, and nothing is changed; another query of the session does not crash the server."""
    connection, text = encoded
    rows(connection, NAMES[name].format(text))
    table = text if name == "table" else "t"
    for _ in range(2):
        with pytest.raises(errors.FeatureNotSupported, match="not in ASCII"):
            rows(connection, f"SELECT encrypt_column('{table}', 's')")
    rows(connection, f"INSERT INTO {table} (id, s) VALUES (1, 'x')")
    assert rows(connection, f"SELECT id, s FROM {table}") == [(1, "x")]


def test_a_later_name(encoded: tuple[Connection, str]) -> None:
    connection, text = encoded
    rows(connection, "CREATE TABLE t (id integer PRIMARY KEY, s text)")
    rows(connection, "SELECT encrypt_column('t', 's')")
    for statement in (f"ALTER TABLE t_encrypted ADD COLUMN {text} integer", f"ALTER TABLE t RENAME TO {text}"):
        with pytest.raises(errors.FeatureNotSupported, match="not in ASCII"):
            rows(connection, statement)
    rows(connection, "INSERT INTO t VALUES (1, 'x')")


def test_doctor(encoded: tuple[Connection, str]) -> None:
    connection, _ = encoded
    ((status, named),) = rows(connection, "SELECT status, object FROM doctor() WHERE check_name = 'encoding'")
    encoding = rows(connection, "SHOW server_encoding")[0][0]
    assert (status, named) == ("error", encoding)
